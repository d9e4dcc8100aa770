package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Report is the proof of one year for auditors: every app, every rotation, with
// its tests and confirmation, and every change that a person made.
type Report struct {
	Year int `json:"year"`
	// From is its first instant, To the first one after it, both UTC.
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	MadeAt time.Time `json:"made_at"`
	// Ended tells that the year was over when the report was made.
	Ended   bool          `json:"ended"`
	StoreID string        `json:"store_id"`
	Summary ReportSummary `json:"summary"`
	Apps    []ReportApp   `json:"apps"`
	// Changes are lines of the audit trail of this year that belong to no
	// rotation.
	Changes []AuditLine `json:"changes"`
	// Audit is the state of the audit trail when the report was made.
	Audit AuditProof `json:"audit"`
}

// ReportSummary counts.
type ReportSummary struct {
	Apps int `json:"apps"`
	// Rotations that were open at some time of the year, and how they ended.
	Rotations  int `json:"rotations"`
	Retired    int `json:"retired"`
	RolledBack int `json:"rolled_back"`
	Open       int `json:"open"`
	// Confirmations, by rule: automatic, command, person, never.
	Confirmations map[string]int `json:"confirmations"`
	// HeldUp counts failures that held a rotation up.
	HeldUp int `json:"held_up"`
}

// ReportApp is one app's year.
type ReportApp struct {
	Name string `json:"name"`
	// Tracked tells that the app was tracked when the report was made.
	Tracked  bool   `json:"tracked"`
	Tenant   string `json:"tenant,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	Owner    string `json:"owner,omitempty"`
	Mode     string `json:"mode,omitempty"`
	// ConfirmRule is automatic, command or person.
	ConfirmRule string `json:"confirm_rule,omitempty"`
	// Certificate in service when the report was made; null: none.
	Certificate *Credential `json:"certificate"`
	// Others are the credentials on it then that rotate did not make; null: it was
	// not tracked, or no inspection had read it.
	Others *Others `json:"others"`
	// Rotations that were open at some time of the year, oldest first.
	Rotations []Rotation `json:"rotations"`
	// HeldUp are the failures that held them up.
	HeldUp []AuditLine `json:"held_up"`
}

// Report returns the proof of one year.
func (c *Client) Report(ctx context.Context, year int) (Report, error) {
	var report Report
	return report, c.do(ctx, http.MethodGet, "/v1/report?"+url.Values{"year": {strconv.Itoa(year)}}.Encode(), nil, &report)
}

func (s *Server) report(c call) (int, any, error) {
	text := c.URL.Query().Get("year")
	year, err := strconv.Atoi(text)
	if err != nil || year < 2000 || year > 9999 {
		return 0, nil, fmt.Errorf("year %q is not one: %w", text, rotator.ErrUsage)
	}
	report, err := s.makeReport(c.Context(), year, time.Now().UTC())
	return http.StatusOK, report, err
}

// Report is the proof of a year, as the API answers it.
func (s *Server) Report(ctx context.Context, year int) (Report, error) {
	return s.makeReport(ctx, year, time.Now().UTC())
}

func (s *Server) makeReport(ctx context.Context, year int, now time.Time) (Report, error) {
	vault, err := s.vault()
	if err != nil {
		return Report{}, err
	}
	status, err := s.Rotator.Status(ctx)
	if err != nil {
		return Report{}, err
	}
	rotations, err := s.Rotator.History(ctx, "", 0)
	if err != nil {
		return Report{}, err
	}
	from := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
	b := reportBuilder{
		apps: map[string]*ReportApp{},
		Report: Report{
			Year: year, From: from, To: from.AddDate(1, 0, 0), MadeAt: now, StoreID: vault.ID(),
			Apps: []ReportApp{}, Changes: []AuditLine{},
			Summary: ReportSummary{Confirmations: map[string]int{}},
		},
	}
	b.Ended = !now.Before(b.To)
	for _, a := range status.Apps {
		if a.App.AddedAt.Before(b.To) {
			b.tracked(a.App)
		}
	}
	for _, r := range slices.Backward(rotations) {
		b.rotation(r)
	}
	for line, err := range vault.AuditLines(ctx, "", from) {
		if err != nil {
			return Report{}, err
		}
		b.line(line)
	}
	// A trail that does not hold together is the first thing an auditor must know.
	proof, err := vault.ProveAudit(ctx, "", nil)
	if err != nil {
		return Report{}, errors.Join(errors.New("the audit trail does not hold together, so there is no proof"), err)
	}
	b.Audit = auditProofOf(proof)
	return b.done(), nil
}

// reportBuilder collects what a year saw.
type reportBuilder struct {
	Report
	apps map[string]*ReportApp
}

func (b *reportBuilder) app(name string) *ReportApp {
	app, ok := b.apps[name]
	if !ok {
		app = &ReportApp{Name: name, Rotations: []Rotation{}, HeldUp: []AuditLine{}}
		b.apps[name] = app
	}
	return app
}

func (b *reportBuilder) tracked(a rotator.App) {
	app := b.app(a.Name)
	app.Tracked, app.Tenant, app.ClientID, app.Owner = true, a.Tenant, string(a.ClientID), a.Owner
	app.Mode, app.ConfirmRule, app.Certificate = string(a.Mode), a.ConfirmRule(), credentialOf(a.Current)
	app.Others = othersOf(a.Listed)
}

func (b *reportBuilder) rotation(r rotator.Rotation) {
	if !r.StartedAt.Before(b.To) || !r.EndedAt.IsZero() && r.EndedAt.Before(b.From) {
		return
	}
	app := b.app(r.App)
	app.Rotations = append(app.Rotations, rotationOf(r))
	if app.ClientID == "" {
		app.ClientID = string(r.ClientID)
	}
	b.Summary.Rotations++
	switch {
	case !r.Phase.IsEnd():
		b.Summary.Open++
	case r.Phase == rotator.PhaseRetired:
		b.Summary.Retired++
	default:
		b.Summary.RolledBack++
	}
	if r.Confirmation != "" {
		b.Summary.Confirmations[r.Confirmation]++
	}
}

func (b *reportBuilder) line(l rotator.AuditLine) {
	if !l.At.Before(b.To) {
		return
	}
	switch {
	case l.Rotation != "" && l.Result != "":
		b.Summary.HeldUp++
		app := b.app(l.App)
		app.HeldUp = append(app.HeldUp, auditLineOf(l))
	case l.Rotation == "":
		b.Changes = append(b.Changes, auditLineOf(l))
		if strings.HasPrefix(l.What, "app ") {
			b.app(l.App)
		}
	}
}

func (b *reportBuilder) done() Report {
	for _, app := range b.apps {
		b.Apps = append(b.Apps, *app)
	}
	slices.SortFunc(b.Apps, func(x, y ReportApp) int { return strings.Compare(x.Name, y.Name) })
	b.Summary.Apps = len(b.Apps)
	return b.Report
}
