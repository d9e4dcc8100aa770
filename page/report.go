package page

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// report shows the report of a year. It carries its own style, which a page of this site
// must not, so it has a policy of its own: that style, and nothing else.
func (s *site) report(w http.ResponseWriter, r *http.Request) {
	year, err := strconv.Atoi(r.PathValue("year"))
	if err != nil || year < 2000 || year > time.Now().Year() {
		s.fail(w, r, rotator.ErrNotFound)
		return
	}
	if !s.reporting.TryLock() {
		w.Header().Set("Retry-After", "5")
		s.fail(w, r, &refusal{http.StatusServiceUnavailable, "A report is being made.", "Try again in a moment."})
		return
	}
	defer s.reporting.Unlock()
	document, err := s.Report(r.Context(), year)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'")
	w.Header().Set("Content-Disposition", `inline; filename="rotate-report-`+strconv.Itoa(year)+`.html"`)
	_, _ = io.WriteString(w, document) // the visitor has gone
}
