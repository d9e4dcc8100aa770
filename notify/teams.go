package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Teams sends a card to a workflow of Microsoft Teams, "When a Teams webhook
// request is received". It is safe for concurrent use.
// https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook
type Teams struct {
	Web
}

const (
	// maxTeamsBytes is below the 28 KB that Teams is said to take.
	// https://learn.microsoft.com/microsoftteams/limits-specifications-teams
	maxTeamsBytes = 24 << 10
	// maxTeamsEvents keeps a card readable on a phone.
	maxTeamsEvents = 10
	// maxCardText is how much of one sentence a card shows.
	maxCardText = 600
)

// The parts of an Adaptive Card 1.2, the version that every client shows.
// https://learn.microsoft.com/adaptive-cards/schema-explorer/adaptive-card
type (
	teamsMessage struct {
		Type        string            `json:"type"`
		Attachments []teamsAttachment `json:"attachments"`
	}
	teamsAttachment struct {
		ContentType string    `json:"contentType"`
		ContentURL  *string   `json:"contentUrl"` // null: Workflows wants it to be there
		Content     teamsCard `json:"content"`
	}
	teamsCard struct {
		Schema  string         `json:"$schema"`
		Type    string         `json:"type"`
		Version string         `json:"version"`
		MSTeams map[string]any `json:"msteams,omitempty"`
		Body    []teamsElement `json:"body"`
		// FallbackText is shown by clients that know no cards.
		FallbackText string `json:"fallbackText"`
	}
	teamsElement struct {
		Type      string         `json:"type"`
		Text      string         `json:"text,omitempty"`
		Wrap      bool           `json:"wrap,omitempty"`
		Weight    string         `json:"weight,omitempty"`
		Size      string         `json:"size,omitempty"`
		Color     string         `json:"color,omitempty"`
		Spacing   string         `json:"spacing,omitempty"`
		Separator bool           `json:"separator,omitempty"`
		IsSubtle  bool           `json:"isSubtle,omitempty"`
		Items     []teamsElement `json:"items,omitempty"`
		Facts     []teamsFact    `json:"facts,omitempty"`
	}
	teamsFact struct {
		Title string `json:"title"`
		Value string `json:"value"`
	}
)

// Send sends one card.
func (t *Teams) Send(ctx context.Context, m Message) (string, error) {
	body, err := teamsBody(m)
	if err != nil {
		return "", &Error{Op: "encode the message", Permanent: true, Err: err}
	}
	return t.postTo(ctx, &scrubber{}, body, nil, teamsRefused)
}

// teamsStatus is the status that Teams had for a connector, in the body of a 200.
var teamsStatus = regexp.MustCompile(`(?i)HTTP error (\d{3})`)

// teamsRefused reads what a connector or a workflow answers beside its 200: "1" or nothing
// if Teams has the message, else that the delivery failed, or JSON with an error.
// https://github.com/MicrosoftDocs/msteams-docs/issues/1810
func teamsRefused(body string) int {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	isError := json.Unmarshal([]byte(body), &answer) == nil && len(answer.Error) > 0 && string(answer.Error) != "null"
	lower := strings.ToLower(body)
	if !isError && !strings.Contains(lower, "delivery failed") && !strings.Contains(lower, "http error") {
		return 0
	}
	if found := teamsStatus.FindStringSubmatch(body); found != nil {
		if code, err := strconv.Atoi(found[1]); err == nil && code >= 400 {
			return code
		}
	}
	return http.StatusInternalServerError
}

// teamsBody makes the largest card that is allowed.
func teamsBody(m Message) ([]byte, error) {
	for n := min(len(m.Events), maxTeamsEvents); ; n-- {
		body, err := encode(teamsOf(m, n))
		if err != nil || len(body) <= maxTeamsBytes || n == 0 {
			return body, err
		}
	}
}

func teamsOf(m Message, shown int) teamsMessage {
	headline := strings.TrimPrefix(subject(m), "[rotate] ")
	elements := []teamsElement{{
		Type: "TextBlock", Text: markdown(headline), Wrap: true, Weight: "Bolder", Size: "Medium", Color: teamsColor(worst(m)),
	}}
	if len(m.Events) > 1 {
		elements = append(elements, teamsElement{Type: "TextBlock", Text: markdown(cut(tally(m.Events), maxCardText)), Wrap: true, IsSubtle: true, Spacing: "None"})
	}
	for _, e := range worstFirst(m)[:shown] {
		elements = append(elements, teamsEvent(e, len(m.Events) > 1))
	}
	if rest := len(m.Events) - shown; rest > 0 {
		elements = append(elements, teamsElement{
			Type: "TextBlock", Wrap: true, Separator: true,
			Text: fmt.Sprintf("And %d more: \"rotate alerts\" shows them.", rest),
		})
	}
	return teamsMessage{
		Type: "message",
		Attachments: []teamsAttachment{{
			ContentType: "application/vnd.microsoft.card.adaptive",
			Content: teamsCard{
				Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.2",
				MSTeams: map[string]any{"width": "Full"}, Body: elements, FallbackText: headline,
			},
		}},
	}
}

func teamsEvent(e rotator.Event, named bool) teamsElement {
	c := teamsElement{Type: "Container", Separator: true, Spacing: "Medium"}
	add := func(t teamsElement) {
		t.Type, t.Wrap = "TextBlock", true
		c.Items = append(c.Items, t)
	}
	if named {
		add(teamsElement{Text: markdown(heading(e)), Weight: "Bolder", Color: teamsColor(e.Severity)})
	}
	add(teamsElement{Text: markdown(cut(oneLine(e.Summary), maxCardText))})
	if next := oneLine(e.Next); next != "" {
		add(teamsElement{Text: "**What to do:** " + markdown(cut(next, maxCardText))})
	}
	// No facts about facts: two columns leave little room on a phone.
	var facts []teamsFact
	for _, f := range chatFacts(e) {
		facts = append(facts, teamsFact{f[0], markdown(f[1])})
	}
	c.Items = append(c.Items, teamsElement{Type: "FactSet", Facts: facts, Spacing: "Small"})
	return c
}

// heading names an event in a list of several.
func heading(e rotator.Event) string {
	text := severityWord(e.Severity) + ": " + title(e.Kind)
	if e.App != "" {
		text += ": " + cut(oneLine(e.App), 80)
	}
	return text
}

// chatFacts are the few facts that chats show: name and value.
func chatFacts(e rotator.Event) [][2]string {
	var out [][2]string
	add := func(name, value string) {
		if value != "" {
			out = append(out, [2]string{name, cut(oneLine(value), 120)})
		}
	}
	add("Tenant", e.Tenant)
	add("Time", instantText(e.At))
	add("Ends", ends(e))
	if e.Old != nil {
		add("Old ends", instantText(e.Old.NotAfter))
	}
	if e.New != nil {
		add("New ends", instantText(e.New.NotAfter))
	}
	add("Event", e.ID)
	return out
}

func teamsColor(s rotator.Severity) string {
	switch s {
	case rotator.SeverityInfo:
		return "Good"
	case rotator.SeverityWarning:
		return "Warning"
	case rotator.SeverityCritical:
		return "Attention"
	}
	return "Default"
}

// markdown keeps names from being read as formatting, links or mentions.
// https://learn.microsoft.com/adaptive-cards/authoring-cards/text-features
func markdown(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune("\\`*_[]()#+!|~<>{}", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
