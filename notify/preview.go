package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Preview is what a channel makes of a message: what its Send would send, without
// the secrets. It marshals to JSON.
type Preview struct {
	// Headers are in the order in which they are sent; none for programs.
	Headers []PreviewHeader `json:"headers"`
	// Parts hold at least one.
	Parts []PreviewPart `json:"parts"`
}

// PreviewHeader is one header of a mail or a request. A value that is a secret, or is
// only known when the message is sent, is words in brackets.
type PreviewHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// PreviewPart is one body.
type PreviewPart struct {
	// Type is its media type without parameters.
	Type string `json:"type"`
	Text string `json:"text"`
}

// What stands in a preview instead of a value.
const (
	notShown   = "[not shown]"
	whenItGoes = "[the second in which it is sent]"
)

// Preview is the mail that Send sends. Nothing but From, To and Templates is used.
func (s *SMTP) Preview(m Message) (Preview, error) {
	var raw bytes.Buffer
	if _, err := s.compose(m, s.To).WriteTo(&raw); err != nil {
		return Preview{}, fmt.Errorf("compose the mail: %w", err)
	}
	head, _, _ := strings.Cut(raw.String(), "\r\n\r\n")
	p := Preview{}
	for line := range strings.SplitSeq(strings.ReplaceAll(head, "\r\n ", " "), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if plain, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
			value = plain
		}
		p.Headers = append(p.Headers, PreviewHeader{name, value})
	}
	c := s.Templates.content(m)
	p.Parts = []PreviewPart{{"text/plain", c.text}, {"text/html", c.html}}
	return p, nil
}

// Preview is the mail that Send sends. Nothing but From, To and Templates is used.
func (g *GraphMail) Preview(m Message) (Preview, error) {
	c := g.Templates.content(m)
	p := Preview{
		Headers: []PreviewHeader{{"From", g.From}, {"To", strings.Join(g.To, ", ")}, {"Subject", c.subject}},
		Parts:   []PreviewPart{{"text/html", c.html}},
	}
	if worst(m) == rotator.SeverityCritical {
		p.Headers = append(p.Headers, PreviewHeader{"Importance", "high"})
	}
	return p, nil
}

// PreviewWebhook is the request that a [Webhook] sends which has headers of its own of
// these names and signs with so many secrets.
func PreviewWebhook(m Message, headers []string, secrets int) (Preview, error) {
	p, err := previewJSON(payload(m))
	p.Headers = webHeaders()
	for _, name := range headers {
		p.Headers = append(p.Headers, PreviewHeader{name, notShown})
	}
	p.Headers = append(p.Headers, PreviewHeader{"webhook-id", m.ID}, PreviewHeader{"webhook-timestamp", whenItGoes})
	if secrets > 0 {
		p.Headers = append(p.Headers, PreviewHeader{"webhook-signature", strings.TrimSpace(strings.Repeat("v1,"+notShown+" ", secrets))})
	}
	return p, err
}

// Preview is the card that Send sends.
func (t *Teams) Preview(m Message) (Preview, error) {
	p, err := previewJSON(teamsBody(m))
	p.Headers = webHeaders()
	return p, err
}

// Preview is the message that Send sends.
func (s *Slack) Preview(m Message) (Preview, error) {
	p, err := previewJSON(encode(slackOf(m)))
	p.Headers = webHeaders()
	return p, err
}

// Preview is what the program gets on standard input.
func (x *Exec) Preview(m Message) (Preview, error) {
	return previewJSON(payload(m))
}

// webHeaders are those of every request to a web server.
func webHeaders() []PreviewHeader {
	return []PreviewHeader{{"Content-Type", "application/json"}, {"User-Agent", "rotate"}}
}

// previewJSON indents a body for people.
func previewJSON(body []byte, err error) (Preview, error) {
	if err != nil {
		return Preview{}, fmt.Errorf("encode the message: %w", err)
	}
	var text bytes.Buffer
	if err := json.Indent(&text, body, "", "  "); err != nil {
		return Preview{}, fmt.Errorf("indent the message: %w", err)
	}
	return Preview{Headers: []PreviewHeader{}, Parts: []PreviewPart{{"application/json", text.String()}}}, nil
}
