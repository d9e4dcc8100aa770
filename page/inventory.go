package page

import (
	"encoding/csv"
	"net/http"
	"strings"
	"time"
)

// inventory is every app as CSV.
func (s *site) inventory(w http.ResponseWriter, r *http.Request) {
	all, err := s.surveyor.survey(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", `attachment; filename="rotate-inventory-`+all.status.At.UTC().Format(time.DateOnly)+`.csv"`)
	out := csv.NewWriter(w)
	_ = out.Write([]string{"app", "display_name", "tenant", "owner", "tags", "mode", "state", "why", "phase", "thumbprint_sha1", "valid_from", "valid_until", "renews_at", "last_safe_start"})
	for i := range all.rows {
		a := &all.rows[i]
		line := []string{
			a.name, a.displayName, a.tenant, a.owner, strings.Join(a.tags, " "), string(a.mode), a.state.word(), a.why, string(a.phase),
			a.thumbprint, stamp(a.certificate.from), stamp(a.notAfter), stamp(a.due), stamp(a.lastSafe),
		}
		for i := range line {
			line[i] = harmless(line[i])
		}
		_ = out.Write(line)
	}
	out.Flush() // an error means that the visitor has gone
}

// harmless keeps spreadsheets from taking a text for a formula.
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
