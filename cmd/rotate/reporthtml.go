package main

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

// reportStyle makes the page readable on a screen and on paper.
const reportStyle = `
:root{--ink:#1b1f24;--dim:#5b6470;--line:#d5dae0;--soft:#f4f6f8;--good:#166534;--bad:#9f1239;--warn:#92400e}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;color:var(--ink);background:#fff;max-width:62rem;margin:2.5rem auto;padding:0 1.5rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .25rem}
h2{font-size:1.25rem;margin:2.5rem 0 .75rem;padding-bottom:.3rem;border-bottom:2px solid var(--ink)}
h3{font-size:1.05rem;margin:1.75rem 0 .25rem}
p{margin:.4rem 0}
.dim{color:var(--dim)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;margin:1.25rem 0}
.tile{border:1px solid var(--line);border-radius:.4rem;padding:.6rem .8rem}
.tile b{display:block;font-size:1.6rem;line-height:1.2}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem;font-size:.87rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th{font-weight:600;color:var(--dim);white-space:nowrap}
td.t{white-space:nowrap}
code{font:0.92em ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
.rotation{border:1px solid var(--line);border-radius:.4rem;padding:.5rem .9rem .3rem;margin:.75rem 0;break-inside:avoid}
.rotation h4{margin:.1rem 0 .3rem;font-size:.95rem}
.rotation table{margin:.25rem 0 .5rem}
.rotation th{width:9rem}
.rotation tr:last-child th,.rotation tr:last-child td{border-bottom:0}
.badge{display:inline-block;border:1px solid currentColor;border-radius:1rem;padding:0 .6rem;font-size:.8rem;font-weight:600;margin-left:.4rem}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
footer{margin-top:3rem;border-top:1px solid var(--line);padding-top:.75rem;font-size:.87rem}
@media print{body{margin:0;max-width:none;padding:0;font-size:10.5pt}h2{break-after:avoid}h3{break-after:avoid}a{color:inherit}thead{display:table-header-group}tr{break-inside:avoid}@page{margin:18mm 16mm}}
`

// document builds HTML; everything that is not a literal of this file goes through
// text.
type document struct{ strings.Builder }

func (p *document) raw(literals ...string) {
	for _, literal := range literals {
		p.WriteString(literal) //nolint:gosec // never fails
	}
}

func (p *document) text(text string) {
	p.WriteString(html.EscapeString(text)) //nolint:gosec // never fails
}

// element writes <name class="class">text</name>.
func (p *document) element(name, class, text string) {
	p.raw("<", name)
	if class != "" {
		p.raw(` class="`, class, `"`)
	}
	p.raw(">")
	p.text(text)
	p.raw("</", name, ">")
}

// fact is a row of two cells; none without a value.
func (p *document) fact(name, value string) {
	if value == "" {
		return
	}
	p.raw("<tr>")
	p.element("th", "", name)
	p.element("td", "", value)
	p.raw("</tr>\n")
}

// reportHTML renders the proof of a year as one page that needs nothing else.
func reportHTML(r control.Report) string {
	p := &document{}
	p.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
	p.element("title", "", fmt.Sprintf("Certificate rotations %d", r.Year))
	p.raw("<style>", reportStyle, "</style></head><body>\n")
	p.element("h1", "", fmt.Sprintf("Certificate rotations %d", r.Year))
	span := fmt.Sprintf("%s to %s (UTC)", r.From.Format(time.DateOnly), r.To.AddDate(0, 0, -1).Format(time.DateOnly))
	if !r.Ended {
		span += "; the year had not ended when this was written"
	}
	p.element("p", "dim", span+". Store "+r.StoreID+", written "+utcStamp(r.MadeAt)+".")
	p.tiles(r.Summary)
	p.overview(r)
	p.raw("<h2>Every app, every rotation</h2>\n")
	for _, app := range r.Apps {
		p.reportApp(app)
	}
	p.changes(r.Changes)
	p.raw("<footer>\n")
	p.element("p", "", fmt.Sprintf("The audit trail had %d lines when this was written, each with the SHA-256 of the one before; the chain was followed from the first to the last.", r.Audit.Lines))
	if r.Audit.SHA256 != "" {
		p.raw("<p>Hash of its newest line: ")
		p.element("code", "", r.Audit.SHA256)
		p.raw("</p>\n<p class=\"dim\">To check it later: <code>rotate audit verify --expect ")
		p.text(r.Audit.SHA256)
		p.raw("</code></p>\n")
	}
	p.raw("</footer></body></html>\n")
	return p.String()
}

func utcStamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

func (p *document) tiles(s control.ReportSummary) {
	p.raw(`<div class="tiles">`)
	tile := func(n int, one, many string) {
		p.raw(`<div class="tile">`)
		p.element("b", "", fmt.Sprint(n))
		if n == 1 {
			many = one
		}
		p.text(many)
		p.raw("</div>")
	}
	tile(s.Apps, "app", "apps")
	tile(s.Rotations, "rotation", "rotations")
	tile(s.Retired, "completed", "completed")
	tile(s.RolledBack, "taken back", "taken back")
	tile(s.Open, "open", "open")
	tile(s.HeldUp, "hold-up", "hold-ups")
	p.raw("</div>\n")
}

// overview is one row an app.
func (p *document) overview(r control.Report) {
	if len(r.Apps) == 0 {
		p.element("p", "", "No app was tracked.")
		return
	}
	p.raw("<h2>Overview</h2>\n<table><thead><tr><th>App</th><th>Client ID</th><th>Owner</th><th>Rotations</th><th>Certificate in service</th><th>Ends</th></tr></thead><tbody>\n")
	for _, app := range r.Apps {
		p.raw("<tr>")
		p.element("td", "t", app.Name)
		p.element("td", "", app.ClientID)
		p.element("td", "", cmp.Or(app.Owner, "–"))
		p.element("td", "", fmt.Sprint(len(app.Rotations)))
		switch {
		case app.Certificate != nil:
			p.raw("<td>")
			p.element("code", "", app.Certificate.ThumbprintSHA1)
			p.raw("</td>")
			p.element("td", "t", app.Certificate.NotAfter.UTC().Format(time.DateOnly))
		case app.Tracked:
			p.raw("<td>none</td><td>–</td>")
		default:
			p.raw("<td>no longer tracked</td><td>–</td>")
		}
		p.raw("</tr>\n")
	}
	p.raw("</tbody></table>\n")
}

func (p *document) reportApp(app control.ReportApp) {
	p.element("h3", "", app.Name)
	if app.Tracked {
		p.raw("<p class=\"dim\">Credentials on the app that rotate did not make: ")
		p.text(strings.Join(othersText(app.Others), "; "))
		p.raw("</p>\n")
	}
	if len(app.Rotations) == 0 {
		p.element("p", "dim", "No rotation in this year.")
	}
	for _, r := range app.Rotations {
		p.reportRotation(r)
	}
	if len(app.HeldUp) > 0 {
		p.raw("<table><thead><tr><th>Held up</th><th>Rotation</th><th>Reason</th></tr></thead><tbody>\n")
		for _, l := range app.HeldUp {
			p.raw("<tr>")
			p.element("td", "t", utcStamp(l.At))
			p.element("td", "", l.RotationID)
			p.element("td", "", l.Result)
			p.raw("</tr>\n")
		}
		p.raw("</tbody></table>\n")
	}
}

func (p *document) reportRotation(r control.Rotation) {
	p.raw("<div class=\"rotation\"><h4>Rotation <code>")
	p.text(r.ID)
	p.raw("</code>")
	word, class := "completed", "good"
	switch {
	case r.Open:
		word, class = "open: "+phaseWord(rotator.Phase(r.Phase)), "warn"
	case r.Phase != string(rotator.PhaseRetired):
		word, class = "taken back", "bad"
	}
	p.element("span", "badge "+class, word)
	p.raw("</h4>\n<table><tbody>\n")
	p.fact("Started", utcStamp(r.StartedAt)+" by "+r.By)
	p.fact("Old certificate", certificateText(r.Old))
	p.fact("New certificate", certificateText(r.New))
	p.fact("Phases", phasesText(r))
	if r.Proofs > 0 || r.Unprovable {
		tests := count(r.Proofs, "fresh sign-in with the very file that is delivered was accepted by Entra", "fresh sign-ins with the very file that is delivered were accepted by Entra")
		if r.Unprovable {
			tests += "; Conditional Access keeps this host from signing in"
		}
		p.fact("Tests", tests)
	}
	for _, d := range r.Deliveries {
		result := "not delivered"
		if d.ThumbprintSHA256 != nil && d.At != nil {
			which := "another certificate"
			switch {
			case r.New != nil && r.New.ThumbprintSHA256 == *d.ThumbprintSHA256:
				which = "the new certificate"
			case r.Old != nil && r.Old.ThumbprintSHA256 == *d.ThumbprintSHA256:
				which = "the old certificate"
			}
			result = which + " was read back at " + utcStamp(*d.At)
		}
		if d.Error != nil {
			result += "; " + *d.Error
		}
		p.fact("Delivery", d.Name+": "+result)
	}
	p.fact("Confirmation", confirmedText(r))
	if r.EndedAt != nil {
		p.fact("Ended", utcStamp(*r.EndedAt)+": "+cmp.Or(r.Outcome, word))
	}
	for _, warning := range r.Warnings {
		p.fact("Warning", warning)
	}
	p.raw("</tbody></table></div>\n")
}

func certificateText(c *control.Credential) string {
	if c == nil {
		return "none"
	}
	return fmt.Sprintf("%s, valid %s to %s", c.ThumbprintSHA1, c.NotBefore.UTC().Format(time.DateOnly), c.NotAfter.UTC().Format(time.DateOnly))
}

// phasesText lists the phases in the order they were reached.
func phasesText(r control.Rotation) string {
	var phases []string
	for phase := range r.PhaseAt {
		phases = append(phases, phase)
	}
	slices.SortFunc(phases, func(a, b string) int {
		return cmp.Or(r.PhaseAt[a].Compare(r.PhaseAt[b]), strings.Compare(a, b))
	})
	for i, phase := range phases {
		phases[i] = phaseWord(rotator.Phase(phase)) + " " + r.PhaseAt[phase].UTC().Format("2006-01-02 15:04:05")
	}
	return strings.Join(phases, " → ")
}

func (p *document) changes(lines []control.AuditLine) {
	p.raw("<h2>Other changes</h2>\n")
	if len(lines) == 0 {
		p.element("p", "", "None.")
		return
	}
	p.raw("<table><thead><tr><th>Line</th><th>When</th><th>Who</th><th>What</th><th>App</th><th>Result</th></tr></thead><tbody>\n")
	for _, l := range lines {
		result := l.Result
		if l.Note != "" {
			result += "; " + l.Note
		}
		p.raw("<tr>")
		p.element("td", "", fmt.Sprint(l.Number))
		p.element("td", "t", utcStamp(l.At))
		p.element("td", "", l.By)
		p.element("td", "", l.What)
		p.element("td", "", cmp.Or(l.App, "–"))
		p.element("td", "", result)
		p.raw("</tr>\n")
	}
	p.raw("</tbody></table>\n")
}
