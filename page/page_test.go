package page_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/seed-f0abd057/rotate/page"
	"github.com/seed-f0abd057/rotate/rotator"
)

// found are the texts of elements with a name, in order.
func found(t *testing.T, document, element string) []string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == element {
			var text strings.Builder
			for d := range n.Descendants() {
				if d.Type == html.TextNode {
					text.WriteString(d.Data)
				}
			}
			list = append(list, text.String())
		}
	}
	return list
}

// rowsOf are the names of the apps that an overview lists.
func rowsOf(t *testing.T, document string) []string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for n := range root.Descendants() {
		if n.Data == "a" && n.Parent.Data == "th" && slices.Contains(n.Attr, html.Attribute{Key: "class", Val: "name"}) {
			names = append(names, n.FirstChild.FirstChild.Data)
		}
	}
	return names
}

func heading(t *testing.T, document string) string {
	t.Helper()
	return found(t, document, "h1")[0]
}

func needing(name, message string) rotator.AppStatus {
	a := safeApp(name, 30*day)
	a.Attention, a.Trouble = true, &rotator.Trouble{Class: rotator.ClassFix, Message: message, Next: "grant it"}
	return a
}

func inRotation(name string) rotator.AppStatus {
	a := safeApp(name, 40*day)
	old := *a.App.Current
	fresh := old
	fresh.ThumbprintSHA1, fresh.ThumbprintSHA256 = strings.Repeat("12", 20), rotator.Thumbprint(strings.Repeat("34", 32))
	fresh.NotAfter = time.Now().Add(365 * day)
	began := time.Now().Add(-time.Hour)
	a.Rotation = &rotator.Rotation{
		ID: "r1", App: name, By: "schedule", Phase: rotator.PhaseUploaded, Old: &old, New: fresh, StartedAt: began,
		PhaseAt: map[rotator.Phase]time.Time{rotator.PhasePlanned: began, rotator.PhaseUploaded: began.Add(time.Minute)},
	}
	a.Phase, a.Open = a.Rotation.Phase, true
	return a
}

func TestAnswer(t *testing.T) {
	ended := safeApp("gone", -2*day)
	ended.Attention = true
	sync := safeApp("sync", 90*day)
	end := sync.NotAfter.Format("2 January 2006")
	for name, c := range map[string]struct {
		status rotator.Status
		want   string
	}{
		"nothing": {rotator.Status{}, "No app is tracked yet"},
		"one":     {rotator.Status{Apps: []rotator.AppStatus{sync}}, "sync is safe until " + end},
		"all":     {rotator.Status{Apps: []rotator.AppStatus{safeApp("a", 200*day), sync}}, "All 2 apps are safe until " + end},
		"needs":   {rotator.Status{Apps: []rotator.AppStatus{safeApp("a", 200*day), needing("b", "no")}}, "1 app needs you today"},
		"both":    {rotator.Status{Apps: []rotator.AppStatus{needing("a", "no"), needing("b", "no")}}, "2 apps need you today"},
		"ended":   {rotator.Status{Apps: []rotator.AppStatus{safeApp("a", 200*day), ended}}, "1 certificate has ended"},
		"copy":    {rotator.Status{Apps: []rotator.AppStatus{safeApp("a", 200*day)}, ReadOnly: true, Stopped: "restored"}, "Nothing is written to Entra"},
		"first":   {rotator.Status{Apps: []rotator.AppStatus{{App: rotator.App{Name: "new"}}}}, "1 app has no certificate yet"},
	} {
		t.Run(name, func(t *testing.T) {
			source := newFixed()
			source.status = c.status
			if got := heading(t, serve(t, &page.Server{Source: source}).get("/")); got != c.want {
				t.Errorf("the answer is %q, want %q", got, c.want)
			}
		})
	}
}

// TestCopyGoesOn: who sees that a copy writes nothing is told how it goes on.
func TestCopyGoesOn(t *testing.T) {
	source := newFixed(safeApp("a", 200*day))
	source.status.ReadOnly, source.status.Stopped = true, "restored"
	if got := serve(t, &page.Server{Source: source}).get("/"); !strings.Contains(got, "<code>rotate resume --all</code>") {
		t.Error("the page names no command that ends it")
	}
}

func TestOverview(t *testing.T) {
	tagged := safeApp("zulu", 300*day)
	tagged.App.Tags, tagged.App.Tenant = []string{"backup"}, "fabrikam"
	s := serve(t, &page.Server{Source: newFixed(safeApp("alpha", 200*day), tagged, inRotation("mike"), needing("yankee", "permission is missing"))})
	for name, c := range map[string]struct {
		path string
		want []string
	}{
		"needs first": {"/", []string{"yankee", "mike", "alpha", "zulu"}},
		"tenant":      {"/?tenant=fabrikam", []string{"zulu"}},
		"tag":         {"/?tag=backup", []string{"zulu"}},
		"text":        {"/?q=ALP", []string{"alpha"}},
		"two words":   {"/?q=back+fabrikam", []string{"zulu"}},
		"state":       {"/?show=rotating", []string{"mike"}},
		"nothing":     {"/?q=nobody", nil},
		"odd page":    {"/?page=-3", []string{"yankee", "mike", "alpha", "zulu"}},
		"far page":    {"/?page=999999999999999999999", []string{"yankee", "mike", "alpha", "zulu"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := rowsOf(t, s.get(c.path))
			if !slices.Equal(got, c.want) {
				t.Errorf("%s shows %q, want %q", c.path, got, c.want)
			}
		})
	}
	if body := s.get("/?q=nobody"); !strings.Contains(body, "No app is like that") {
		t.Error("an empty list does not say so")
	}
	if body := s.get("/"); !strings.Contains(body, "Permission is missing") {
		t.Error("why an app needs a person is not said")
	}
}

func TestPaging(t *testing.T) {
	var apps []rotator.AppStatus
	for i := range 150 {
		apps = append(apps, safeApp("app-"+strconv.Itoa(1000+i), time.Duration(100+i)*day))
	}
	s := serve(t, &page.Server{Source: newFixed(apps...)})
	seen := map[string]bool{}
	for p := 1; p <= 3; p++ {
		for _, a := range rowsOf(t, s.get("/?page="+strconv.Itoa(p))) {
			seen[a] = true
		}
	}
	if len(seen) != 150 {
		t.Errorf("three pages show %d apps, want 150", len(seen))
	}
	if body := s.get("/?page=2&q=app"); !strings.Contains(body, `href="/?page=3&amp;q=app"`) || !strings.Contains(body, `href="/?q=app"`) {
		t.Error("the pager forgets the filter")
	}
}

func TestApp(t *testing.T) {
	s := serve(t, &page.Server{Source: newFixed(inRotation("mike"), needing("yankee", "permission is missing"))})
	body := s.get("/apps/mike")
	if !strings.Contains(body, "Not tested yet") {
		t.Error("that there was no connection test is not said")
	}
	for _, want := range []string{strings.Repeat("12", 20), strings.Repeat("AB", 20), "12345678-0000", "file /srv/mike.pfx", "renew_before", "45d", "14d", "Last safe start", "In service", "Next", "At work"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page of the app lacks %q", want)
		}
	}
	if got := found(t, body, "h3"); !slices.Equal(got, []string{"Planned, reached", "Uploaded, reached", "Proven, at work", "Delivered, not yet", "Confirmed, not yet", "Retired, not yet"}) {
		t.Errorf("the phases are %q", got)
	}
	if body := s.get("/apps/yankee"); !strings.Contains(body, "grant it") {
		t.Error("what to do next is not said")
	}
	if body := s.get("/apps/yankee"); !strings.Contains(body, "Nothing is open") {
		t.Error("that no alert is open is not said")
	}
	sick := safeApp("sick", 90*day)
	sick.App.Alerts = []rotator.Alert{{Kind: rotator.EventCertificateMissing, Severity: rotator.SeverityCritical, Since: time.Now(), Summary: "it is gone", Next: "find out who"}}
	sick.App.Tested = &rotator.Tested{At: time.Now(), Checks: []rotator.TestCheck{{Name: "token", Result: rotator.CheckFailed, Fact: "AADSTS700027", Next: "rotate now sick"}}}
	if got := found(t, serve(t, &page.Server{Source: newFixed(sick)}).get("/apps/sick"), "td"); !slices.Contains(got, "Result failed") || !slices.Contains(got, "Seen AADSTS700027") || !slices.Contains(got, "What it is gone") || !slices.Contains(got, "Severity critical") {
		t.Errorf("the connection test and the alert show %q", got)
	}
}

// TestOverlapOfACompromise has an overlap in which the certificate that a person gave
// up is gone: nothing says that it is still accepted.
func TestOverlapOfACompromise(t *testing.T) {
	cut := inRotation("mike")
	cut.Rotation.WaitingFor, cut.Rotation.RetiresAt = rotator.WaitingOverlap, time.Now().Add(day)
	cut.Rotation.Compromised = &rotator.Compromise{Which: "current", Thumbprint: cut.Rotation.Old.ThumbprintSHA256}
	for _, c := range []struct {
		at      time.Time
		left    []rotator.Thumbprint
		removed bool
	}{
		{},
		{at: time.Now(), removed: true},
		{at: time.Now(), left: []rotator.Thumbprint{cut.Rotation.Old.ThumbprintSHA256}}, // a person has to remove it
	} {
		removed := c.removed
		cut.Rotation.Compromised.RemovedAt, cut.Rotation.LeftBehind = c.at, c.left
		s := serve(t, &page.Server{Source: newFixed(cut)})
		for path, says := range map[string]map[bool]string{
			"/":          {false: "both are accepted until", true: "the one given up is removed"},
			"/apps/mike": {false: "both certificates are accepted", true: "the certificate given up is removed, the others are accepted"},
		} {
			body := s.get(path)
			if !strings.Contains(body, says[removed]) || strings.Contains(body, says[!removed]) {
				t.Errorf("%s, removed %t: does not say %q alone: %s", path, removed, says[removed], body)
			}
		}
	}
}

// TestLeftBehind has a certificate that only a person can remove: the records call it
// removed, the page does not.
func TestLeftBehind(t *testing.T) {
	a := inRotation("mike")
	a.Rotation.Old.RemovedAt = time.Now()
	a.App.Current, a.App.Previous = &a.Rotation.New, a.Rotation.Old
	gone := serve(t, &page.Server{Source: newFixed(a)}).get("/apps/mike")
	if !strings.Contains(gone, "removed from Entra") || strings.Contains(gone, "accepted until it is retired") {
		t.Errorf("a certificate that was removed: %s", gone)
	}
	a.App.Orphans = []rotator.Orphan{{Credential: *a.Rotation.Old, Reason: "nobody could tell its KeyID"}}
	left := serve(t, &page.Server{Source: newFixed(a)}).get("/apps/mike")
	if !strings.Contains(left, "nobody could tell its KeyID") || strings.Contains(left, "removed from Entra") {
		t.Errorf("a certificate that was left behind: %s", left)
	}
}

func TestInventory(t *testing.T) {
	a := safeApp("alpha", 200*day)
	a.App.DisplayName, a.App.Owner = `=cmd|' /C calc'!A0`, "@owner"
	s := serve(t, &page.Server{Source: newFixed(a)})
	lines, err := csv.NewReader(strings.NewReader(s.get("/inventory.csv"))).ReadAll()
	if err != nil || len(lines) != 2 {
		t.Fatalf("inventory: %v, %q", err, lines)
	}
	if lines[1][0] != "alpha" || lines[1][1] != `'=cmd|' /C calc'!A0` || lines[1][3] != "'@owner" {
		t.Errorf("inventory: %q", lines[1])
	}
}

func TestReport(t *testing.T) {
	s := serve(t, &page.Server{Source: newFixed(), Report: func(_ context.Context, year int) (string, error) {
		return "proof of " + strconv.Itoa(year), nil
	}})
	year := strconv.Itoa(time.Now().UTC().Year())
	if !strings.Contains(s.get("/"), `href="/report/`+year+`"`) {
		t.Error("nothing leads to the report")
	}
	answer, err := s.client.Get("http://" + s.address + "/report/" + year)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got := answer.Header.Get("Content-Disposition"); !strings.HasPrefix(got, "inline") {
		t.Errorf("Content-Disposition %q", got)
	}
	if got := s.get("/report/2001"); got != "proof of 2001" {
		t.Errorf("the report is %q", got)
	}
	for _, path := range []string{"/report/1999", "/report/9999", "/report/x", "/report/" + year + "/x"} {
		answer, err := s.client.Get("http://" + s.address + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s, want 404", path, answer.Status)
		}
	}
}

// TestEvents follows a change as a browser does.
func TestEvents(t *testing.T) {
	source := newFixed(inRotation("mike"))
	s := serve(t, &page.Server{Source: source})
	answer, err := (&http.Client{}).Get("http://" + s.address + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("Content-Type %q", got)
	}
	lines := bufio.NewScanner(answer.Body)
	event := func() {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == "event: changed" {
				return
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
	}
	event()
	source.change(func(st *rotator.Status) { st.Apps[0].Rotation.Phase = rotator.PhaseProven })
	event()
}
