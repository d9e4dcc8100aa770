package notify_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func indented(t *testing.T, raw []byte) []byte {
	t.Helper()
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(tree, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

func sent(t *testing.T, of func(*webServer) notify.Sender, m notify.Message) []byte {
	t.Helper()
	server := serveWeb(t, nil)
	if _, err := of(server).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	posts := server.taken()
	if len(posts) != 1 {
		t.Fatalf("%d requests, want 1", len(posts))
	}
	return posts[0].body
}

func teams(s *webServer) notify.Sender { return &notify.Teams{Web: s.web()} }
func slack(s *webServer) notify.Sender { return &notify.Slack{Web: s.web()} }

// TestChatForms compares cards and messages with files that were looked at.
func TestChatForms(t *testing.T) {
	for name, of := range map[string]func(*webServer) notify.Sender{"teams": teams, "slack": slack} {
		golden(t, name+"-one.json", indented(t, sent(t, of, message(failed("contoso-sync")))))
		golden(t, name+"-two.json", indented(t, sent(t, of, message(failed(hostile), event(rotator.EventExpiring, "fabrikam-mail")))))
	}
}

// storm is a message about many apps, each with the longest texts.
func storm(n int, text string) notify.Message {
	var events []rotator.Event
	for i := range n {
		events = append(events, event(rotator.EventRotationFailed, fmt.Sprintf("app-%04d", i), func(e *rotator.Event) {
			e.Summary, e.Next, e.Tenant = text, text, text
		}))
	}
	return message(events...)
}

// TestTeamsLimits: never more than Teams takes, always a whole card that says how
// much it left out.
func TestTeamsLimits(t *testing.T) {
	for name, text := range map[string]string{"long": strings.Repeat("long words ", 1000), "escaped": strings.Repeat("_*[<", 3000), "emoji": strings.Repeat("🔐", 5000), "short": "x"} {
		for _, n := range []int{1, 10, 11, 1000} {
			body := sent(t, teams, storm(n, text))
			if len(body) > 28_000 {
				t.Errorf("%s, %d events: %d bytes", name, n, len(body))
			}
			var card struct {
				Type        string `json:"type"`
				Attachments []struct {
					ContentType string `json:"contentType"`
					Content     struct {
						Type, Version string
						Body          []map[string]any
					} `json:"content"`
				} `json:"attachments"`
			}
			if err := json.Unmarshal(body, &card); err != nil {
				t.Fatal(err)
			}
			if len(card.Attachments) != 1 || card.Attachments[0].Content.Version != "1.2" || len(card.Attachments[0].Content.Body) < 2 {
				t.Errorf("%s, %d events: not a card: %.200s", name, n, body)
			}
			if n == 1000 && !strings.Contains(string(body), "more: \\\"rotate alerts\\\" shows them.") {
				t.Errorf("%s: the card does not say that it left something out", name)
			}
		}
	}
}

// TestSlackLimits: 50 blocks, 150 characters in a header, 3000 in a section, and no
// mention, link or channel call from a name.
func TestSlackLimits(t *testing.T) {
	for name, text := range map[string]string{"long": strings.Repeat("long words ", 1000), "escaped": strings.Repeat("&<>*", 3000), "mention": "<!channel> <@U123> <https://evil.example|x>"} {
		for _, n := range []int{1, 15, 16, 1000} {
			body := sent(t, slack, storm(n, text))
			var m struct {
				Text        string
				Attachments []struct {
					Blocks []struct {
						Type     string
						Text     struct{ Type, Text string }
						Elements []struct{ Text string }
					}
				}
			}
			if err := json.Unmarshal(body, &m); err != nil {
				t.Fatal(err)
			}
			blocks := m.Attachments[0].Blocks
			if len(blocks) > 50 {
				t.Errorf("%s, %d events: %d blocks", name, n, len(blocks))
			}
			for _, b := range blocks {
				texts := []string{b.Text.Text}
				for _, e := range b.Elements {
					texts = append(texts, e.Text)
				}
				for _, text := range texts {
					limit := 3000
					if b.Type == "header" {
						limit = 150
					}
					if utf8.RuneCountInString(text) > limit {
						t.Errorf("%s: a %s has %d characters", name, b.Type, utf8.RuneCountInString(text))
					}
					if b.Type != "header" && strings.ContainsAny(text, "<>") {
						t.Errorf("%s: not escaped: %s", name, text)
					}
				}
			}
		}
	}
}
