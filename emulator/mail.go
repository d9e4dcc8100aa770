package emulator

import (
	"fmt"
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"time"
)

// A SentMail is one that an app sent from a mailbox of the tenant.
type SentMail struct {
	// At is when, by the tenant's clock.
	At time.Time
	// From is the mailbox, To the recipients.
	From string
	To   []string
	// Subject, Content and its type ("text" or "html"), Importance ("low",
	// "normal", "high"; empty if it was not said).
	Subject, Content, ContentType, Importance string
	// Saved tells that it lies in the sent items.
	Saved bool
}

// sendMailBody is the type of the body of sendMail.
const sendMailBody = "user.sendMail"

// SentMails returns the mails that were sent, oldest first.
func (t *Tenant) SentMails() []SentMail {
	t.lock()
	defer t.mu.Unlock()
	return slices.Clone(t.dir.mails)
}

// upperFirst gives the parameters of sendMail the names of the metadata. The
// documentation writes them small, and Graph takes both.
//
// https://learn.microsoft.com/graph/api/user-sendmail
func upperFirst(object map[string]any) map[string]any {
	out := make(map[string]any, len(object))
	for name, value := range object {
		if name != "" {
			name = strings.ToUpper(name[:1]) + name[1:]
		}
		out[name] = value
	}
	return out
}

// sendMail takes a mail. The schema and the permission were checked.
//
// https://learn.microsoft.com/graph/api/user-sendmail
func (t *Tenant) sendMail(c *call) (*response, *graphError) {
	from, err := t.user(c)
	if err != nil {
		return nil, &graphError{status: http.StatusNotFound, code: "ErrorInvalidUser", message: fmt.Sprintf("The requested user '%s' is invalid.", c.params[0].id)}
	}
	body := upperFirst(c.object)
	message, _ := body["Message"].(map[string]any)
	content, _ := message["body"].(map[string]any)
	sent := SentMail{
		At: t.now(), From: from.address, Subject: text(message, "subject"), Importance: text(message, "importance"),
		Content: text(content, "content"), ContentType: strings.ToLower(text(content, "contentType")), Saved: body["SaveToSentItems"] != false,
	}
	list, _ := message["toRecipients"].([]any)
	for _, r := range list {
		recipient, _ := r.(map[string]any)
		address, _ := recipient["emailAddress"].(map[string]any)
		to := text(address, "address")
		// Seen where an address cannot be resolved; the mail goes to nobody.
		if a, err := mail.ParseAddress(to); err != nil || a.Address != to {
			return nil, &graphError{status: http.StatusBadRequest, code: "ErrorInvalidRecipients", message: "At least one recipient is not valid., Recipient '" + to + "' is not resolved. All recipients must be resolved before a message can be submitted."}
		}
		sent.To = append(sent.To, to)
	}
	if len(sent.To) == 0 {
		return nil, &graphError{status: http.StatusBadRequest, code: "ErrorInvalidRecipients", message: "At least one recipient is not valid., A message can't be sent because it contains no recipients."}
	}
	t.dir.mails = append(t.dir.mails, sent)
	return &response{status: http.StatusAccepted, header: http.Header{}}, nil
}
