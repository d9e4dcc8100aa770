package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Slack sends a message to an incoming webhook of Slack, or of what understands
// the same form. It is safe for concurrent use.
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
type Slack struct {
	Web
}

// Limits of blocks, with room to spare.
// https://docs.slack.dev/reference/block-kit/blocks
const (
	maxSlackHeader = 150  // characters of a header
	maxSlackText   = 2900 // of 3000 characters of a section
	maxSlackEvents = 15   // two blocks each, of 50 in a message
)

type (
	slackMessage struct {
		// Text is shown in notifications, and where there are no blocks.
		Text        string            `json:"text"`
		Attachments []slackAttachment `json:"attachments"`
	}
	slackAttachment struct {
		Color    string       `json:"color"`
		Fallback string       `json:"fallback"`
		Blocks   []slackBlock `json:"blocks"`
	}
	slackBlock struct {
		Type     string      `json:"type"`
		Text     *slackText  `json:"text,omitempty"`
		Elements []slackText `json:"elements,omitempty"`
	}
	slackText struct {
		Type  string `json:"type"`
		Text  string `json:"text"`
		Emoji *bool  `json:"emoji,omitempty"`
	}
)

// Send sends one message.
func (s *Slack) Send(ctx context.Context, m Message) (string, error) {
	body, err := encode(slackOf(m))
	if err != nil {
		return "", &Error{Op: "encode the message", Permanent: true, Err: err}
	}
	return s.postTo(ctx, &scrubber{}, body, nil, slackRefused)
}

// slackRefused reads what Slack answers: "ok", or what went wrong. Those that understand
// the same form answer nothing at all, or JSON that says so.
func slackRefused(body string) int {
	var answer struct {
		OK      *bool `json:"ok"`
		Success *bool `json:"success"`
	}
	switch err := json.Unmarshal([]byte(body), &answer); {
	case body == "", strings.EqualFold(body, "ok"):
		return 0
	case err == nil && (answer.OK != nil && *answer.OK || answer.Success != nil && *answer.Success):
		return 0
	}
	return http.StatusInternalServerError // sent again: most of what it says passes
}

func slackOf(m Message) slackMessage {
	headline := strings.TrimPrefix(subject(m), "[rotate] ")
	literal := false
	blocks := []slackBlock{{Type: "header", Text: &slackText{Type: "plain_text", Text: cut(headline, maxSlackHeader), Emoji: &literal}}}
	if len(m.Events) > 1 {
		blocks = append(blocks, slackContext(tally(m.Events)))
	}
	shown := worstFirst(m)[:min(len(m.Events), maxSlackEvents)]
	for _, e := range shown {
		blocks = append(blocks, slackEvent(e, len(m.Events) > 1)...)
	}
	if rest := len(m.Events) - len(shown); rest > 0 {
		blocks = append(blocks, slackContext(fmt.Sprintf("And %d more: \"rotate alerts\" shows them.", rest)))
	}
	return slackMessage{
		Text: mrkdwn(subject(m)),
		Attachments: []slackAttachment{{
			Color: severityColor(worst(m)), Fallback: subject(m), Blocks: blocks,
		}},
	}
}

func slackEvent(e rotator.Event, named bool) []slackBlock {
	var lines []string
	if named {
		lines = append(lines, "*"+mrkdwn(heading(e))+"*")
	}
	lines = append(lines, mrkdwn(cut(oneLine(e.Summary), maxCardText)))
	if next := oneLine(e.Next); next != "" {
		lines = append(lines, "*What to do:* "+mrkdwn(cut(next, maxCardText)))
	}
	var facts []string
	for _, f := range chatFacts(e) {
		facts = append(facts, f[0]+": "+f[1])
	}
	return []slackBlock{
		{Type: "section", Text: &slackText{Type: "mrkdwn", Text: cut(strings.Join(lines, "\n"), maxSlackText)}},
		slackContext(strings.Join(facts, " · ")),
	}
}

func slackContext(text string) slackBlock {
	return slackBlock{Type: "context", Elements: []slackText{{Type: "mrkdwn", Text: mrkdwn(cut(text, maxCardText))}}}
}

// mrkdwn keeps names from being read as mentions, links or formatting. Slack has
// no escape for its signs of formatting, so an invisible character parts them.
// https://docs.slack.dev/messaging/formatting-message-text#escaping
func mrkdwn(text string) string {
	return strings.NewReplacer(
		"&", "&amp;", "<", "&lt;", ">", "&gt;",
		"*", "\u200b*\u200b", "~", "\u200b~\u200b", "`", "\u200b`\u200b",
	).Replace(text)
}
