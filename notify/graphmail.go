package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Mail is one mail for a [Mailbox].
type Mail struct {
	From      string
	To        []string
	Subject   string
	HTML      string
	Important bool
}

// Mailbox sends a mail from one mailbox, once. A [*rotator.Failure] says what went
// wrong; refused tells that a recipient is the reason.
type Mailbox interface {
	SendMail(ctx context.Context, m Mail) (refused bool, err error)
}

// GraphMail sends mail through Microsoft Graph. It is safe for concurrent use.
type GraphMail struct {
	Mailbox Mailbox
	From    string
	To      []string
	// Templates make the body; the text is not used, Graph takes one body.
	Templates *MailTemplates
}

// Send sends one mail to all recipients. If Graph refuses it because of one of
// several, it is sent to each alone, so that the others get it.
func (g *GraphMail) Send(ctx context.Context, m Message) (string, error) {
	to, bad := recipients(m, g.To)
	c := g.Templates.content(m)
	out := Mail{From: g.From, To: to, Subject: c.subject, HTML: c.html, Important: worst(m) == rotator.SeverityCritical}
	refused, err := g.Mailbox.SendMail(ctx, out)
	if err != nil && refused && len(to) > 1 {
		return g.sendEach(ctx, out, bad)
	}
	if err != nil {
		return "", mailboxError(err)
	}
	if len(bad) > 0 {
		return "202 Accepted", &Error{
			Op: "send mail", Permanent: true, Refused: bad,
			Err: fmt.Errorf("the others have it, but not %s: not an address", strings.Join(bad, ", ")),
		}
	}
	return "202 Accepted", nil
}

// sendEach sends a mail to each recipient alone.
func (g *GraphMail) sendEach(ctx context.Context, out Mail, bad []string) (string, error) {
	var why error
	sent := 0
	all := out.To
	for _, to := range all {
		out.To = []string{to}
		refused, err := g.Mailbox.SendMail(ctx, out)
		switch {
		case err == nil:
			sent++
		case refused:
			bad = append(bad, to)
			why = mailboxError(err)
		default:
			return "", mailboxError(err)
		}
	}
	if sent == 0 {
		return "", why
	}
	return "202 Accepted", &Error{
		Op: "send mail", Permanent: true, Refused: slices.Clip(bad),
		Err: fmt.Errorf("the others have it, but not %s: %w", strings.Join(bad, ", "), orError(why, "not an address")),
	}
}

func orError(err error, other string) error {
	if err == nil {
		return errors.New(other)
	}
	return err
}

// mailboxError says whether sending again can help.
func mailboxError(err error) error {
	e := &Error{Op: "send mail", Err: err}
	if f, ok := errors.AsType[*rotator.Failure](err); ok {
		e.RetryAfter = f.RetryAfter
		e.Permanent = f.Class == rotator.ClassFix || f.Class == rotator.ClassGone
		e.Err = errors.New(f.Message)
		if f.Next != "" {
			e.Err = fmt.Errorf("%s (%s)", f.Message, f.Next)
		}
	}
	return e
}
