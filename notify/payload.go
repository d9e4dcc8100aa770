package notify

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Payload is the JSON of webhooks and programs; docs/alerts.md describes it.
type Payload struct {
	// Type is always "rotate.alerts".
	Type string `json:"type"`
	// Version is that of this form. Fields may be added under the same number;
	// what changes or goes makes another.
	Version int `json:"version"`
	// ID is the same when the message is sent again.
	ID string `json:"id"`
	// Timestamp is when the message was put together, UTC.
	Timestamp time.Time   `json:"timestamp"`
	Data      PayloadData `json:"data"`
}

// PayloadData is what happened.
type PayloadData struct {
	// Summary is one line for people.
	Summary string `json:"summary"`
	// Events are oldest first, at least one.
	Events []rotator.Event `json:"events"`
}

// payload encodes a message.
func payload(m Message) ([]byte, error) {
	return encode(Payload{
		Type: "rotate.alerts", Version: 1, ID: m.ID, Timestamp: m.At.UTC(),
		Data: PayloadData{Summary: subject(m), Events: m.Events},
	})
}

// encode makes JSON in which "<" stays readable: no browser reads it as HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
