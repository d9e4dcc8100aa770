package verify

import (
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Fact is one thing that was found out.
type Fact struct {
	Step  int    `json:"step"`
	Name  string `json:"name"`
	Value string `json:"value"`
	// At is when.
	At time.Time `json:"at"`
	// Answer is status, code and message, masked; empty where they say nothing.
	Answer string `json:"answer,omitempty"`
	// Verdict compares it with what is assumed.
	Verdict Verdict `json:"verdict"`
}

// RequestID is for Microsoft's support, and not for others.
type RequestID struct {
	Step   int       `json:"step"`
	At     time.Time `json:"at"`
	ID     string    `json:"request_id"`
	Status int       `json:"status"`
}

// Report is what a run found. It names nothing of the tenant, but for Requests.
type Report struct {
	Version string    `json:"version"`
	Begun   time.Time `json:"begun"`
	// Took in seconds.
	Took   int    `json:"took_seconds"`
	Region string `json:"region,omitempty"`
	// Ended is why the run did not come to its last step; empty: it did.
	Ended string `json:"ended,omitempty"`
	// Left is what stays in the tenant and until when; empty: nothing.
	Left   string `json:"left,omitempty"`
	Writes int    `json:"writes"`
	Keys   int    `json:"keys"`
	Tokens int    `json:"tokens"`
	Facts  []Fact `json:"facts"`
	// Requests are not part of the report that is given away.
	Requests []RequestID `json:"-"`
}

func (r *Report) finish(run *Run) {
	r.Took = int(time.Since(r.Begun).Seconds())
	r.Writes, r.Keys, r.Tokens = run.writes, run.keys, run.tokens
	r.Ended = run.masks.mask(r.Ended)
	if r.Facts == nil {
		r.Facts = []Fact{}
	}
	for i := range r.Facts {
		r.Facts[i].Verdict, _ = Judge(r.Facts[i].Name, r.Facts[i].Value)
	}
}

// Worst verdict of all facts. A run that ended early is no worse for that.
func (r *Report) Worst() Verdict {
	worst := AsAssumed
	order := []Verdict{AsAssumed, NotKnown, Differs, Fails}
	for _, f := range r.Facts {
		if slices.Index(order, f.Verdict) > slices.Index(order, worst) {
			worst = f.Verdict
		}
	}
	return worst
}

// Value of a fact; empty: it was not found out.
func (r *Report) Value(name string) string {
	for _, f := range r.Facts {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Markdown writes the report for people; issues is where it can be attached.
func (r *Report) Markdown(w io.Writer, issues string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# rotate tenant verify\n\n- rotate %s, %s, %d s\n- region: %s\n- %d writes, %d certificates, %d token requests\n",
		r.Version, r.Begun.UTC().Format("2006-01-02 15:04 UTC"), r.Took, orUnknown(r.Region), r.Writes, r.Keys, r.Tokens)
	if r.Ended != "" {
		fmt.Fprintf(&b, "- %s\n", r.Ended)
	}
	if r.Left != "" {
		fmt.Fprintf(&b, "- %s\n", r.Left)
	}
	b.WriteString("\n## What differs\n\n")
	n := 0
	for _, f := range r.Facts {
		if f.Verdict != Differs && f.Verdict != Fails {
			continue
		}
		n++
		_, a := Judge(f.Name, f.Value)
		word := "rotate copes with it"
		if f.Verdict == Fails {
			word = "**this version cannot cope with it**"
		}
		fmt.Fprintf(&b, "- %s: expected %s, found **%s**; %s: %s\n", a.What, a.Expected(), f.Value, word, a.Then)
	}
	if n == 0 {
		b.WriteString("Nothing: all that was found is as rotate assumes.\n")
	}
	b.WriteString("\n## All facts\n\n| step | fact | expected | found | consequence | answer |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, f := range r.Facts {
		_, a := Judge(f.Name, f.Value)
		then := "–"
		if f.Verdict == Differs || f.Verdict == Fails {
			then = a.Then
		}
		fmt.Fprintf(&b, "| %d | `%s` | %s | %s | %s | %s |\n", f.Step, f.Name, a.Expected(), f.Value, then, strings.ReplaceAll(f.Answer, "|", "/"))
	}
	fmt.Fprintf(&b, "\nAttach this file to %s. It has no names, addresses, certificates or IDs of the tenant.\n", issues)
	_, err := io.WriteString(w, b.String())
	return err
}

func orUnknown(text string) string {
	if text == "" {
		return Unknown
	}
	return text
}

// masks give each identifier a letter and a number, the same each time.
type masks struct {
	known map[string]string
	count map[string]int
	names []string
}

func newMasks(about About) *masks {
	m := &masks{known: map[string]string{
		graphAppID: graphAppID, proofAudience: proofAudience,
		"00000000-0000-0000-0000-000000000000": "00000000-0000-0000-0000-000000000000",
	}, count: map[string]int{}}
	m.add("T", strings.ToLower(about.TenantID))
	for _, address := range []string{about.Login, about.Graph} {
		if u, err := url.Parse(address); err == nil && !strings.HasSuffix(u.Hostname(), ".microsoftonline.com") && !strings.HasSuffix(u.Hostname(), ".microsoft.com") {
			m.names = append(m.names, u.Host)
		}
	}
	return m
}

// add gives an identifier a letter.
func (m *masks) add(letter, id string) string {
	id = strings.ToLower(id)
	if known, ok := m.known[id]; ok {
		return known
	}
	m.count[letter]++
	m.known[id] = fmt.Sprintf("%s%d", letter, m.count[letter])
	return m.known[id]
}

// mask removes from a message what names anything of the tenant.
func (m *masks) mask(text string) string {
	guid := regexp.MustCompile(`[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}`)
	text = guid.ReplaceAllStringFunc(text, func(id string) string { return m.add("R", id) })
	for id, letter := range m.known {
		if !guid.MatchString(id) && id != "" {
			text = regexp.MustCompile(`(?i)`+regexp.QuoteMeta(id)).ReplaceAllString(text, letter)
		}
	}
	for _, name := range m.names {
		text = strings.ReplaceAll(text, name, "HOST")
	}
	text = regexp.MustCompile(`eyJ[A-Za-z0-9_.-]+`).ReplaceAllString(text, "TOKEN")
	text = regexp.MustCompile(`[0-9a-fA-F]{16,}|[0-9A-Za-z+/_-]{40,}={0,2}`).ReplaceAllString(text, "…")
	text = regexp.MustCompile(`\S+@\S+|(?:\d{1,3}\.){3}\d{1,3}`).ReplaceAllString(text, "…")
	// What stands in quotes may be a name; properties and our letters are not.
	text = regexp.MustCompile(`(^|[^A-Za-z])'([^']*)'`).ReplaceAllStringFunc(text, func(quoted string) string {
		before, inner, _ := strings.Cut(quoted, "'")
		inner = strings.TrimSuffix(inner, "'")
		if regexp.MustCompile(`^(?:[A-Z]\d+|[0-9-]+)$`).MatchString(inner) || slices.Contains(properties(), inner) {
			return quoted
		}
		return before + "'…'"
	})
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "…"
	}
	return text
}

// properties may be shown in quotes.
func properties() []string {
	return []string{
		"keyCredentials", "keyCredential", "keyId", "key", "usage", "type", "displayName", "endDateTime", "startDateTime", "customKeyIdentifier",
		"proof", "uniqueName", "tags", "signInAudience", "appId", "scope", "client_assertion", "client_id", "grant_type", "Application",
	}
}
