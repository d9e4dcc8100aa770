package graph

import (
	"context"
	"errors"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	kiota "github.com/microsoft/kiota-abstractions-go"
	khttp "github.com/microsoft/kiota-http-go"

	"github.com/seed-f0abd057/rotate/rotator"
)

// What is being done, in messages.
const (
	sendMail  = "send mail"
	mailToken = "get a token for the mail server"
)

// Mail is one mail to send from a mailbox of a tenant.
type Mail struct {
	// From is the mailbox: its address or ID.
	From    string
	To      []string
	Subject string
	HTML    string
	// Important marks it so.
	Important bool
}

// mailBody is what sendMail takes.
// https://learn.microsoft.com/graph/api/user-sendmail
type mailBody struct {
	Message         mailMessage `json:"message"`
	SaveToSentItems bool        `json:"saveToSentItems"`
}

type mailMessage struct {
	Subject      string          `json:"subject"`
	Body         mailContent     `json:"body"`
	ToRecipients []mailRecipient `json:"toRecipients"`
	Importance   string          `json:"importance,omitempty"`
}

type mailContent struct {
	ContentType string `json:"contentType"`
	Content     string `json:"content"`
}

type mailRecipient struct {
	EmailAddress mailAddress `json:"emailAddress"`
}

type mailAddress struct {
	Address string `json:"address"`
}

// SendMail sends one mail with the tenant's identity, which needs the permission
// Mail.Send. Nothing is kept in the sent items. The mail is never sent again by
// itself; after an ambiguous failure it may have been sent. refused tells that a
// recipient is the reason: then nobody got it.
// https://learn.microsoft.com/graph/api/user-sendmail
func (c *Client) SendMail(ctx context.Context, tenant string, m Mail) (refused bool, err error) {
	k := call{Access: rotator.Access{Registration: rotator.Registration{Tenant: tenant}}, what: sendMail, write: true}
	body := mailBody{Message: mailMessage{Subject: m.Subject, Body: mailContent{"html", m.HTML}}}
	for _, to := range m.To {
		body.Message.ToRecipients = append(body.Message.ToRecipients, mailRecipient{mailAddress{to}})
	}
	if m.Important {
		body.Message.Importance = "high"
	}
	_, err = c.do(ctx, k, func(ctx context.Context, a *khttp.NetHttpRequestAdapter) error {
		// The generated builder of users is not used: its package pulls in all that
		// hangs on a user, some 1,400 files.
		to := kiota.NewBaseRequestBuilder(a, "{+baseurl}/users/{user}/sendMail", map[string]string{"user": m.From})
		r, err := newWrite(kiota.POST, *to, body)
		if err != nil {
			return err
		}
		return a.SendNoContent(ctx, r, errorAnswers())
	})
	if e, ok := errors.AsType[*Error](err); ok {
		// Seen in https://learn.microsoft.com/answers/questions/1290394 and others;
		// the reference does not list it.
		refused = e.Code == "ErrorInvalidRecipients"
	}
	return refused, err
}

// MailToken returns a token of the tenant's identity for signing in to the mail
// servers of Exchange Online, which needs the permission SMTP.SendAsApp there. It is
// asked from memory while it is valid.
// https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
func (c *Client) MailToken(ctx context.Context, tenant string) (string, error) {
	k := call{Access: rotator.Access{Registration: rotator.Registration{Tenant: tenant}}, what: mailToken}
	t, err := c.tenant(k)
	if err != nil {
		return "", err
	}
	by, err := c.credential(ctx, t, k)
	if err != nil {
		return "", err
	}
	limited, cancel := c.deadline(ctx)
	defer cancel()
	token := ""
	err = repeat(limited, func() (bool, *rotator.Failure) {
		got, err := by.GetToken(limited, policy.TokenRequestOptions{Scopes: []string{t.Cloud.outlookScope()}})
		token = got.Token
		f := coldFailure(k, err)
		if f != nil && !passes(f) {
			c.forget(by)
		}
		return true, f
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// outlookScope of a token for the cloud's Exchange Online.
// https://learn.microsoft.com/microsoft-365/enterprise/microsoft-365-endpoints
func (c Cloud) outlookScope() string {
	host := "outlook.office365.com"
	switch hostOf(c.Login) {
	case "login.microsoftonline.us":
		host = "outlook.office365.us"
	case "login.chinacloudapi.cn":
		host = "partner.outlook.cn"
	}
	return "https://" + host + "/.default"
}

// isMail tells calls that are about no app.
func (k call) isMail() bool { return slices.Contains([]string{sendMail, mailToken}, k.what) }
