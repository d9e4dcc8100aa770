package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	kiota "github.com/microsoft/kiota-abstractions-go"
	khttp "github.com/microsoft/kiota-http-go"

	"github.com/seed-f0abd057/rotate/rotator"
)

const readSignIns = "read the sign-in log"

// maxSignInPage is the largest page of the log.
// https://learn.microsoft.com/graph/api/signin-list?view=graph-rest-beta
const maxSignInPage = 1000

// signIn is one element of the log. The credential is known to beta only.
// https://learn.microsoft.com/graph/api/resources/signin?view=graph-rest-beta
type signIn struct {
	ID            string `json:"id"`
	Created       string `json:"createdDateTime"`
	CorrelationID string `json:"correlationId"`
	ClientID      string `json:"appId"`
	KeyID         string `json:"servicePrincipalCredentialKeyId"`
	Thumbprint    string `json:"servicePrincipalCredentialThumbprint"`
	Address       string `json:"ipAddress"`
	Resource      string `json:"resourceDisplayName"`
	Status        struct {
		ErrorCode int `json:"errorCode"`
	} `json:"status"`
}

// SignIns reads the log of the app's sign-ins, newest first; see [rotator.Entra].
//
// Without the event type in the filter the log answers with sign-ins of users only.
// It goes as raw JSON to beta: the models of v1.0 have no credential, and those of
// the beta SDK are as large as all of ours.
func (c *Client) SignIns(ctx context.Context, as rotator.Access, q rotator.SignInQuery) ([]rotator.LoggedSignIn, error) {
	k := call{Access: as, what: readSignIns}
	if strings.ContainsAny(string(as.ClientID)+string(q.KeyID), "'/?#& ") {
		return nil, k.fix(nil, "", "the client ID %q or the key ID %q is not a GUID", as.ClientID, q.KeyID)
	}
	t, err := c.tenant(k)
	if err != nil {
		return nil, err
	}
	filter := fmt.Sprintf("signInEventTypes/any(t:t eq 'servicePrincipal') and appId eq '%s'", as.ClientID)
	if q.KeyID != "" {
		filter += fmt.Sprintf(" and servicePrincipalCredentialKeyId eq '%s'", q.KeyID)
	}
	if !q.Since.IsZero() {
		filter += " and createdDateTime ge " + q.Since.UTC().Format(time.RFC3339)
	}
	base := "https://" + t.Cloud.graphHost() + "/beta/auditLogs/signIns?"
	// "+" for a space is not understood everywhere.
	address := base + strings.ReplaceAll(url.Values{"$filter": {filter}, "$top": {strconv.Itoa(min(max(q.Most, 1), maxSignInPage))}}.Encode(), "+", "%20")
	var list []rotator.LoggedSignIn
	for address != "" && len(list) < q.Most {
		var page struct {
			Value *[]signIn `json:"value"`
			Next  string    `json:"@odata.nextLink"`
		}
		if err := c.readAt(ctx, k, &page, address); err != nil {
			return nil, err
		}
		if page.Value == nil {
			return nil, k.fix(nil, "", "the answer holds no list")
		}
		for _, s := range *page.Value {
			// A proxy or a filter that was not understood must not show others'.
			if strings.EqualFold(s.ClientID, string(as.ClientID)) && len(list) < q.Most {
				list = append(list, s.logged())
			}
		}
		if page.Next != "" && (page.Next == address || !strings.HasPrefix(page.Next, base) || len(*page.Value) == 0) {
			return nil, k.fix(nil, "", "Graph's link to the next page leads astray")
		}
		address = page.Next
	}
	return list, nil
}

// readAt gets an address of the tenant's Graph and decodes its JSON.
func (c *Client) readAt(ctx context.Context, k call, into any, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return k.fix(nil, "", "Graph's link to the next page leads astray")
	}
	_, err = c.do(ctx, k, func(ctx context.Context, a *khttp.NetHttpRequestAdapter) error {
		r := kiota.NewRequestInformation()
		r.Method = kiota.GET
		r.SetUri(*u)
		r.Headers.TryAdd("Accept", "application/json")
		raw, err := a.SendPrimitive(ctx, r, "[]byte", errorAnswers())
		if err != nil {
			return err
		}
		body, ok := raw.([]byte)
		if !ok {
			return errors.New("the answer is empty")
		}
		return json.Unmarshal(body, into)
	})
	return err
}

func (s *signIn) logged() rotator.LoggedSignIn {
	return rotator.LoggedSignIn{
		At: parsed(s.Created), ID: strings.ToLower(clean(s.ID)), CorrelationID: strings.ToLower(clean(s.CorrelationID)),
		KeyID: rotator.KeyID(strings.ToLower(clean(s.KeyID))), ThumbprintSHA1: strings.ToUpper(clean(s.Thumbprint)),
		ErrorCode: s.Status.ErrorCode, Address: clean(s.Address), Resource: clean(s.Resource),
	}
}
