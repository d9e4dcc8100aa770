package notify

import (
	"embed"
	"fmt"
	"net/mail"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-f0abd057/rotate/config/textfile"
	"github.com/seed-f0abd057/rotate/rotator"
)

//go:embed templates/mail.txt templates/mail.html
var mailTemplates embed.FS

const (
	// maxEvents of one mail are shown in full, the rest by name and title.
	maxEvents = 25
	// maxInfos is how many of a mail without warnings are shown in full.
	maxInfos = 3
	// maxMore is how many are named after those.
	maxMore = 2000
	// maxTemplateBytes is more than any template has.
	maxTemplateBytes = 1 << 20
)

// MailTemplates make the bodies of mails. It is made by [LoadMailTemplates].
type MailTemplates struct {
	// Host is named as the sender; may be empty.
	Host string
	// Page is the URL of the web page as browsers know it; empty: there is none.
	Page       string
	text, html *template
}

// LoadMailTemplates reads the templates. An empty path is the built-in one. An
// error names file and line of what is wrong, a field that does not exist too.
func LoadMailTemplates(textPath, htmlPath string) (*MailTemplates, error) {
	t := &MailTemplates{}
	var err error
	if t.text, err = loadTemplate(textPath, "templates/mail.txt", false); err != nil {
		return nil, err
	}
	if t.html, err = loadTemplate(htmlPath, "templates/mail.html", true); err != nil {
		return nil, err
	}
	return t, nil
}

func loadTemplate(path, builtIn string, isHTML bool) (*template, error) {
	name := path
	var data []byte
	var err error
	if path == "" {
		name = builtIn
		data, err = mailTemplates.ReadFile(builtIn)
	} else {
		data, err = os.ReadFile(path) //nolint:gosec // the root-owned configuration names it
	}
	if err != nil {
		return nil, fmt.Errorf("read a mail template: %w", err)
	}
	if data, err = textfile.Decode(data); err != nil {
		return nil, fmt.Errorf("read a mail template: %s: %w", name, err)
	}
	if len(data) > maxTemplateBytes {
		return nil, fmt.Errorf("read a mail template: %s has more than %d bytes", name, maxTemplateBytes)
	}
	return parse(name, string(data), isHTML, mailFields())
}

// mailFields are the names that templates may use.
func mailFields() known {
	brief := []string{"kind", "title", "severity", "severity_color", "app", "tenant", "summary", "time", "event_id"}
	return known{
		texts: []string{
			"subject", "headline", "preheader", "tally", "count", "more_count", "worst", "worst_color",
			"message_id", "message_time", "host", "page",
		},
		lists: map[string]known{
			"events": {texts: append(slices.Clone(brief), "next", "rotation", "owner", "tags", "stage", "ends", "repeat", "channel", "link",
				"old_thumbprint", "old_thumbprint_sha256", "old_not_after", "old_key_id",
				"new_thumbprint", "new_thumbprint_sha256", "new_not_after", "new_key_id")},
			"more": {texts: brief},
		},
	}
}

// content is what a mail says.
type content struct {
	subject, text, html string
}

// content fills the templates.
func (t *MailTemplates) content(m Message) content {
	about := mailSubject(m)
	shown, rest := inFull(worstFirst(m))
	f := fields{
		texts: map[string]string{
			"subject": about, "headline": strings.TrimPrefix(about, "[rotate] "), "preheader": oneLine(shown[0].Summary),
			"page": oneLine(t.Page), "count": strconv.Itoa(len(m.Events)), "worst": severityWord(worst(m)), "worst_color": severityColor(worst(m)),
			"message_id": oneLine(m.ID), "message_time": instantText(m.At), "host": oneLine(t.Host), "tally": "", "more_count": "",
		},
		lists: map[string][]fields{},
	}
	if len(m.Events) > 1 {
		f.texts["tally"] = tally(m.Events)
	}
	if len(rest) > 0 {
		f.texts["more_count"] = strconv.Itoa(len(rest))
	}
	for _, e := range shown {
		texts := briefFields(e)
		for name, value := range map[string]string{
			"next": e.Next, "rotation": e.Rotation, "owner": e.Owner, "tags": strings.Join(e.Tags, ", "),
			"stage": e.Stage, "ends": ends(e), "channel": e.Channel, "repeat": "",
		} {
			texts[name] = oneLine(value)
		}
		if e.Repeat > 0 {
			texts["repeat"] = strconv.Itoa(e.Repeat)
		}
		texts["link"] = t.link(e)
		credentialFields(texts, "old", e.Old)
		credentialFields(texts, "new", e.New)
		f.lists["events"] = append(f.lists["events"], fields{texts: texts})
	}
	for _, e := range rest[:min(len(rest), maxMore)] {
		f.lists["more"] = append(f.lists["more"], fields{texts: briefFields(e)})
	}
	return content{about, t.text.render(f), t.html.render(f)}
}

// inFull chooses the events that a mail shows in full; the others are named. Where
// anything asks for attention, information is only named.
func inFull(events []rotator.Event) (shown, rest []rotator.Event) {
	n := min(len(events), maxEvents)
	for n > 1 && events[n-1].Severity == rotator.SeverityInfo && (events[0].Severity != rotator.SeverityInfo || n > maxInfos) {
		n--
	}
	return events[:n], events[n:]
}

// link is the page of the event's app; empty without a page or an app.
func (t *MailTemplates) link(e rotator.Event) string {
	if t.Page == "" || e.App == "" {
		return ""
	}
	return strings.TrimSuffix(t.Page, "/") + "/apps/" + url.PathEscape(e.App)
}

func briefFields(e rotator.Event) map[string]string {
	return map[string]string{
		"kind": oneLine(string(e.Kind)), "title": title(e.Kind), "severity": severityWord(e.Severity),
		"severity_color": severityColor(e.Severity), "app": oneLine(e.App), "tenant": oneLine(e.Tenant),
		"summary": oneLine(e.Summary), "time": instantText(e.At), "event_id": oneLine(e.ID),
	}
}

func credentialFields(texts map[string]string, which string, c *rotator.Credential) {
	names := []string{"_thumbprint", "_thumbprint_sha256", "_not_after", "_key_id"}
	values := make([]string, len(names))
	if c != nil {
		values = []string{c.ThumbprintSHA1, string(c.ThumbprintSHA256), instantText(c.NotAfter), string(c.KeyID)}
	}
	for i, n := range names {
		texts[which+n] = oneLine(values[i])
	}
}

// severityColor has at least 4.5 to 1 against white, for text on it and as text.
func severityColor(s rotator.Severity) string {
	switch s {
	case rotator.SeverityInfo:
		return "#1a6b3c"
	case rotator.SeverityWarning:
		return "#9a5b00"
	case rotator.SeverityCritical:
		return "#b3261e"
	}
	return "#5b6472"
}

// recipients returns to whom a message goes: those that it names, else the
// channel's own; and what is not an address among those that it names.
func recipients(m Message, own []string) (to, bad []string) {
	for _, r := range m.To {
		a, err := mail.ParseAddress(r)
		switch {
		case err != nil || strings.ContainsAny(a.Address, "\r\n"):
			bad = append(bad, oneLine(r))
		case !containsFold(to, a.Address):
			to = append(to, a.Address)
		}
	}
	if len(to) == 0 {
		return own, bad
	}
	return to, bad
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(o string) bool { return strings.EqualFold(o, s) })
}
