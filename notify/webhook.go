package notify

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Webhook sends the documented JSON to a web server, signed as Standard Webhooks
// has it. It is safe for concurrent use.
// https://www.standardwebhooks.com
type Webhook struct {
	Web
	// Secrets are asked for each request: each non-empty one signs, so that
	// receivers can change from one to the other. "whsec_" and base64. Nil or
	// none: requests are not signed.
	Secrets func() ([]string, error)
	// Headers of the operator are asked for each request; their values are
	// secrets. May be nil.
	Headers func() (http.Header, error)
}

// Send sends one request.
func (w *Webhook) Send(ctx context.Context, m Message) (string, error) {
	body, err := payload(m)
	if err != nil {
		return "", &Error{Op: "encode the message", Permanent: true, Err: err}
	}
	var s scrubber
	header := http.Header{}
	if w.Headers != nil {
		if header, err = w.Headers(); err != nil {
			return "", &Error{Op: "read the headers", Err: err}
		}
		for _, values := range header {
			for _, v := range values {
				s.hide(v)
				if _, credentials, ok := strings.Cut(v, " "); ok { // Bearer …
					s.hide(credentials)
				}
			}
		}
	}
	if w.Secrets != nil {
		secrets, err := w.Secrets()
		if err != nil {
			return "", &Error{Op: "read the secret", Err: err}
		}
		if err := sign(header, &s, m.ID, body, secrets); err != nil {
			return "", &Error{Op: "sign the message", Permanent: true, Err: err}
		}
	}
	return w.post(ctx, &s, body, header)
}

// sign adds the three headers, with one signature for each secret. The time is
// that of the attempt: receivers refuse old ones.
func sign(header http.Header, s *scrubber, id string, body []byte, secrets []string) error {
	now := time.Now()
	var signatures []string
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		s.hide(secret, strings.TrimPrefix(secret, "whsec_"))
		by, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return errors.New("the secret is not \"whsec_\" and base64") // the library's error tells at which byte
		}
		signature, err := by.Sign(id, now, body)
		if err != nil {
			return errors.New("the message cannot be signed")
		}
		signatures = append(signatures, signature)
	}
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if len(signatures) > 0 {
		header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	}
	return nil
}
