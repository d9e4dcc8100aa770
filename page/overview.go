package page

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// rowsPerPage bounds a document whatever the number of apps.
const rowsPerPage = 60

// question is what a visitor asks the overview for.
type question struct {
	tenant, tag, text string
	// show is the word of a state; empty: all.
	show string
	page int
}

func questionOf(r *http.Request) question {
	v := r.URL.Query()
	n, err := strconv.Atoi(v.Get("page"))
	if err != nil || n < 1 {
		n = 1
	}
	return question{tenant: v.Get("tenant"), tag: v.Get("tag"), text: strings.TrimSpace(v.Get("q")), show: v.Get("show"), page: n}
}

// address is the way back to the same question.
func (q question) address() string {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("tenant", q.tenant)
	set("tag", q.tag)
	set("q", q.text)
	set("show", q.show)
	if q.page > 1 {
		v.Set("page", strconv.Itoa(q.page))
	}
	if len(v) == 0 {
		return "/"
	}
	return "/?" + v.Encode()
}

// isFiltered reports whether some apps are left out on purpose.
func (q question) isFiltered() bool {
	return q.tenant != "" || q.tag != "" || q.text != "" || q.show != ""
}

// matches reports whether the visitor asked for the app.
func (q question) matches(r *row) bool {
	if q.tenant != "" && r.tenant != q.tenant || q.tag != "" && !slices.Contains(r.tags, q.tag) || q.show != "" && r.state.word() != q.show {
		return false
	}
	for word := range strings.FieldsSeq(strings.ToLower(q.text)) {
		if !strings.Contains(r.text, word) {
			return false
		}
	}
	return true
}

func (s *site) overview(r *http.Request) (string, error) {
	all, err := s.surveyor.survey(r.Context())
	if err != nil {
		return "", err
	}
	q := questionOf(r)
	var found []*row
	for i := range all.rows {
		if q.matches(&all.rows[i]) {
			found = append(found, &all.rows[i])
		}
	}
	pages := max(1, (len(found)+rowsPerPage-1)/rowsPerPage)
	q.page = min(q.page, pages)
	shown := found[(q.page-1)*rowsPerPage : min(q.page*rowsPerPage, len(found))]
	now := time.Now()
	headline, more := answer(all, now)
	return document(headline, s.frame(&all.status.At,
		el("div", id("answer"), class("answer "+mood(all)), attr{"data-live", ""},
			el("h1", text(headline)), more, oldness(all, now)),
		s.notices(&all.status),
		el("section", attr{"aria-labelledby", "apps"},
			el("h2", id("apps"), class("hidden"), text("Apps")),
			filters(all, q),
			el("div", id("list"), attr{"data-live", ""},
				tally(len(found), len(all.rows), q),
				timeline(shown, now),
				pager(q, pages)),
		),
	)), nil
}

// oldness tells that the page shows what was, and that loading it again shows more; with
// the script that happens by itself.
func oldness(all *survey, now time.Time) node {
	if now.Sub(all.status.At) < telling {
		return nodes(nil)
	}
	return el("p", class("lead"), text("As of "), date(all.status.At), text(all.status.At.UTC().Format(", 15:04 UTC; what is newer is being read: ")),
		el("a", attr{"href", "/"}, text("load the page again")), text("."))
}

// mood is the colour of the answer.
func mood(all *survey) string {
	if all.counts[needsYou] > 0 || all.status.ReadOnly || all.status.Stopped != "" {
		return "alarm"
	}
	return "calm"
}

// answer is the one sentence, and what stands below it.
func answer(all *survey, now time.Time) (string, node) {
	n, needs := len(all.rows), all.counts[needsYou]
	var first *row
	ended := 0
	for i := range all.rows {
		r := &all.rows[i]
		if r.notAfter.IsZero() {
			continue
		}
		if !r.notAfter.After(now) {
			ended++
			continue
		}
		if (r.state != needsYou || needs == n) && (first == nil || r.notAfter.Before(first.notAfter)) {
			first = r
		}
	}
	lead := func(parts ...node) node { return el("p", append([]node{class("lead")}, parts...)...) }
	until := func() nodes {
		if first == nil {
			return nil
		}
		return nodes{
			text("The first certificate to end is that of "), appLink(first.name), text(" on "), date(first.notAfter),
			text("; its renewal " + renewal(first, now) + "."),
		}
	}
	switch {
	case n == 0:
		return "No app is tracked yet", lead(text("Track one with "), el("code", text("rotate app add")), text("."))
	case all.status.ReadOnly:
		return "Nothing is written to Entra", lead(text(all.status.Stopped+". Make sure that no other host uses this store, then: "), el("code", text("rotate resume --all")), text("."))
	case ended > 0:
		return fmt.Sprintf("%s ended", plural(ended, "certificate has", "certificates have")), lead(text("Programs that use them can not sign in."))
	case needs > 0:
		rest := nodes{}
		if safe := n - needs; safe > 0 && first != nil {
			rest = nodes{text(plural(safe, "other app is", "other apps are") + " safe until "), date(first.notAfter), text(".")}
		}
		return plural(needs, "app needs", "apps need") + " you today", lead(rest)
	case first == nil:
		return plural(n, "app has", "apps have") + " no certificate yet", lead(text("The next check makes one."))
	case n == 1:
		return first.name + " is safe until " + first.notAfter.UTC().Format(dateLayout), lead(text("Its renewal " + renewal(first, now) + "."))
	}
	return "All " + thousands(n) + " apps are safe until " + first.notAfter.UTC().Format(dateLayout), lead(until())
}

// renewal says when an app's next rotation begins.
func renewal(r *row, now time.Time) string {
	switch {
	case r.open:
		return "is under way"
	case !r.due.After(now):
		return "is due now"
	}
	return "begins on " + r.due.UTC().Format(dateLayout) + " by itself"
}

// plural is a number with what it does.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// notices are what holds for the whole store.
func (s *site) notices(status *rotator.Status) node {
	var list nodes
	add := func(parts ...node) { list = append(list, el("li", parts...)) }
	if status.Stopped != "" && !status.ReadOnly {
		add(text("Nothing starts by itself: "+status.Stopped+". Go on with "), el("code", text("rotate resume --all")), text("."))
	}
	if !status.PausedUntil.IsZero() && status.PausedUntil.After(status.At) {
		add(text("Everything is paused until "), clock(status.PausedUntil), text("."))
	}
	if status.LastCheckError != "" {
		add(text("The last check failed: " + status.LastCheckError))
	}
	for _, w := range slices.Concat(status.Warnings, s.Warnings) {
		add(text(w))
	}
	content := node(nil)
	if list != nil {
		content = el("ul", class("notices"), attr{"aria-label", "Notices"}, list)
	}
	return el("div", id("notices"), attr{"data-live", ""}, content)
}

// filters is the form; it works without a script.
func filters(all *survey, q question) node {
	choice := func(field, label, none, now string, values []string) node {
		options := nodes{el("option", attr{"value", ""}, text(none))}
		for _, v := range values {
			o := nodes{text(v)}
			parts := []node{attr{"value", v}, o}
			if v == now {
				parts = append(parts, attr{"selected", ""})
			}
			options = append(options, el("option", parts...))
		}
		return el("p", el("label", attr{"for", field}, text(label)), el("select", id(field), attr{"name", field}, options))
	}
	var tabs nodes
	tab := func(word, title string, n int) {
		to := q
		to.show, to.page = word, 1
		parts := []node{href(to.address()), text(title + " "), el("span", class("count"), text(thousands(n)))}
		if q.show == word {
			parts = append(parts, attr{"aria-current", "page"})
		}
		tabs = append(tabs, el("li", el("a", parts...)))
	}
	tab("", "All", len(all.rows))
	for _, st := range []state{needsYou, rotating, safe} {
		tab(st.word(), st.title(), all.counts[st])
	}
	var show node
	if q.show != "" {
		show = el("input", attr{"type", "hidden"}, attr{"name", "show"}, attr{"value", q.show})
	}
	return el("div", class("tools"),
		el("nav", id("states"), attr{"data-live", ""}, attr{"aria-label", "Apps by state"}, el("ul", class("tabs"), tabs)),
		el("form", class("filters"), attr{"method", "get"}, attr{"action", "/"}, attr{"role", "search"}, attr{"aria-label", "Filter apps"},
			show,
			el("p", class("find"), el("label", attr{"for", "q"}, text("Find")),
				el("input", id("q"), attr{"type", "search"}, attr{"name", "q"}, attr{"value", q.text}, attr{"maxlength", "200"}, attr{"autocomplete", "off"})),
			choice("tenant", "Tenant", "all tenants", q.tenant, all.tenants),
			choice("tag", "Tag", "all tags", q.tag, all.tags),
			el("p", el("button", text("Filter"))),
		))
}

// tally says how many apps are shown of how many.
func tally(found, all int, q question) node {
	said := ""
	if q.isFiltered() {
		said = thousands(found) + " of " + count(all, "app")
	}
	var every node
	if q.isFiltered() {
		every = nodes{text(" · "), el("a", href("/"), text("show all"))}
	}
	return el("p", class("tally"), attr{"role", "status"}, text(said), every)
}

// timeline is the table of apps, each with its row of the drawing.
func timeline(rows []*row, now time.Time) node {
	if len(rows) == 0 {
		return el("p", class("empty"), text("No app is like that."))
	}
	x := newAxis(now)
	role := func(r string) attr { return attr{"role", r} }
	head := func(kind string, parts ...node) node {
		return el("th", append([]node{class(kind), attr{"scope", "col"}, role("columnheader")}, parts...)...)
	}
	var bodies nodes
	for first := 0; first < len(rows); {
		st := rows[first].state
		lines := nodes{el("tr", role("row"), class("group "+st.word()),
			el("th", attr{"colspan", "4"}, attr{"scope", "rowgroup"}, role("rowheader"), text(st.title())))}
		last := first
		for ; last < len(rows) && rows[last].state == st; last++ {
			lines = append(lines, x.line(rows[last]))
		}
		bodies = append(bodies, el("tbody", role("rowgroup"), lines))
		first = last
	}
	return nodes{
		el("table", class("timeline"), role("table"), attr{"aria-label", "Apps and their certificates over the next twelve months"},
			el("thead", role("rowgroup"), el("tr", role("row"),
				head("app", text("App")), head("drawing", el("span", class("hidden"), text("Timeline")), x.scale()),
				head("when", text("Renews")), head("when", text("Ends")))),
			bodies),
		legend(),
	}
}

// line is one app.
func (x axis) line(r *row) node {
	role := func(r string) attr { return attr{"role", r} }
	about := nodes{name(r.tenant)}
	if r.displayName != "" && r.displayName != r.name {
		about = nodes{name(r.displayName), text(" · "), about}
	}
	for _, tag := range r.tags {
		about = append(about, text(" "), el("span", class("tag"), name(tag)))
	}
	var why node
	if r.why != "" {
		why = el("p", class("why"), name(capital(r.why)))
	}
	return el("tr", role("row"), class(r.state.word()),
		el("th", class("app"), attr{"scope", "row"}, role("rowheader"), appLink(r.name), el("p", class("about"), about), why),
		el("td", class("drawing"), role("cell"), el("span", class("hidden"), text(x.words(r))), x.draw(r)),
		el("td", class("when"), role("cell"), el("span", class("label"), text("Renews ")), x.renews(r)),
		el("td", class("when"), role("cell"), el("span", class("label"), text("Ends ")), x.ends(r)),
	)
}

// words is what the drawing shows.
func (x axis) words(r *row) string {
	day := func(t time.Time) string { return t.UTC().Format(dateLayout) }
	switch {
	case r.certificate.isZero():
		return "No certificate yet."
	case r.open && !r.retires.IsZero():
		return "The old certificate is accepted until " + day(r.retires) + ", the new one until " + day(r.next.until) + "."
	case r.open:
		return "The old certificate ends on " + day(r.certificate.until) + ", the new one on " + day(r.next.until) + "."
	}
	return "Valid from " + day(r.certificate.from) + " to " + day(r.certificate.until) + ", renewed from " + day(r.due) +
		", last safe start " + day(r.lastSafe) + "."
}

func (x axis) renews(r *row) node {
	switch {
	case r.open:
		return text("now")
	case r.certificate.isZero(), !r.due.After(x.now):
		return text("due now")
	}
	return instant(r.due, shortLayout)
}

func (x axis) ends(r *row) node {
	if r.notAfter.IsZero() {
		return text("–")
	}
	return nodes{instant(r.notAfter, shortLayout), el("span", class("in"), text(relative(r.notAfter, x.now)))}
}

// pager leads through the pages.
func pager(q question, pages int) node {
	if pages < 2 {
		return nil
	}
	var links nodes
	link := func(n int, title string, current bool) {
		to := q
		to.page = n
		parts := []node{href(to.address()), text(title)}
		if current {
			parts = append(parts, attr{"aria-current", "page"})
		}
		links = append(links, el("li", el("a", parts...)))
	}
	if q.page > 1 {
		link(q.page-1, "Previous", false)
	}
	for n := 1; n <= pages; n++ {
		if n == 1 || n == pages || n >= q.page-2 && n <= q.page+2 {
			link(n, strconv.Itoa(n), n == q.page)
		} else if n == q.page-3 || n == q.page+3 {
			links = append(links, el("li", text("…")))
		}
	}
	if q.page < pages {
		link(q.page+1, "Next", false)
	}
	return el("nav", class("pager"), attr{"aria-label", "Pages"}, el("ul", links))
}

// appLink leads to the page of an app.
func appLink(app string) node {
	return el("a", class("name"), href("/apps/"+url.PathEscape(app)), name(app))
}

// capital begins a sentence.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// frame is what stands around every page. at is when what it shows was read.
func (s *site) frame(at *time.Time, parts ...node) node {
	var read, report node
	if s.Report != nil {
		year := strconv.Itoa(time.Now().UTC().Year())
		report = el("li", el("a", href("/report/"+year), text("Report "+year)))
	}
	if at != nil {
		read = el("p", id("read"), attr{"data-live", ""}, text("As of "), clock(*at))
	}
	return nodes{
		el("a", class("skip"), href("#main"), text("Skip to content")),
		el("header", class("top"),
			el("p", class("brand"), el("a", href("/"), text("rotate"))),
			el("nav", attr{"aria-label", "Pages of this site"}, el("ul",
				el("li", el("a", href("/"), text("Overview"))),
				el("li", el("a", href("/inventory.csv"), text("Inventory (CSV)"))),
				report,
			))),
		el("main", id("main"), attr{"tabindex", "-1"}, nodes(parts)),
		el("footer", read, el("p", text("This page only reads. Changes are made with the "), el("code", text("rotate")), text(" command."))),
	}
}
