package graph

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

const readFederated = "read federated credentials"

// federatedList is the kind of an inventory's first list: the applications that
// have federated credentials, and nothing else of them.
const federatedList = "federated"

// blueprintType marks an agent identity blueprint among the applications.
// https://learn.microsoft.com/graph/api/application-list
const blueprintType = "#microsoft.graph.agentIdentityBlueprint"

// federated is a federated identity credential.
// https://learn.microsoft.com/graph/api/resources/federatedidentitycredential
type federated struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
	// Expression takes the place of the subject, in beta only.
	Expression struct {
		Value string `json:"value"`
	} `json:"claimsMatchingExpression"`
	Audiences []string `json:"audiences"`
}

func (f federated) found() rotator.FoundCredential {
	c := rotator.FoundCredential{
		Kind: rotator.FoundFederated, KeyID: rotator.KeyID(strings.ToLower(f.ID)), DisplayName: f.Name,
		Issuer: f.Issuer, Subject: f.Subject, Audiences: f.Audiences,
	}
	if c.Subject == "" {
		c.Subject = f.Expression.Value
	}
	return c
}

// versions are asked in turn for federated credentials: v1.0 was seen to break its
// answer off at a credential that has an expression in place of a subject, so
// that one of them would hide all others.
// https://github.com/microsoftgraph/msgraph-sdk-python/issues/1359
func versions() []string { return []string{"v1.0", "beta"} }

// brokeOff reports whether the other version may do better.
func brokeOff(err error) bool {
	f, ok := errors.AsType[*rotator.Failure](err)
	return ok && (f.Reason == rotator.ReasonOther || f.Reason == rotator.ReasonUnsupported || f.Reason == rotator.ReasonUnavailable)
}

// Federated reads the app's federated credentials; see [rotator.Entra]. An app has
// 20 at most, so that there is no second page.
// https://learn.microsoft.com/graph/api/application-list-federatedidentitycredentials
func (c *Client) Federated(ctx context.Context, as rotator.Access) ([]rotator.FoundCredential, error) {
	k := call{Access: as, what: readFederated}
	t, err := c.tenant(k)
	if err != nil {
		return nil, err
	}
	path := "/applications/" + url.PathEscape(string(as.ObjectID))
	if as.ObjectID == "" {
		path = "/applications(appId=" + quoted(string(as.ClientID)) + ")"
	}
	var list struct {
		Value *[]federated `json:"value"`
	}
	for _, version := range versions() {
		list.Value = nil
		err = c.readAt(ctx, k, &list, "https://"+t.Cloud.graphHost()+"/"+version+path+"/federatedIdentityCredentials")
		if err == nil && list.Value == nil {
			err = k.fix(nil, "", "the answer holds no list")
		}
		if !brokeOff(err) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	found := make([]rotator.FoundCredential, 0, len(*list.Value))
	for _, f := range *list.Value {
		found = append(found, f.found())
	}
	return found, nil
}

// federatedOf are the federated credentials of a tenant's applications, by object
// ID. Where they cannot be read it says why: an inventory is worth having without.
//
// One relationship can be expanded in a request, so that it takes a list of its own;
// it does not ask for certificates and counts against no limit of theirs. What is
// held is what there is of them: most applications have none.
// https://learn.microsoft.com/graph/query-parameters#expand
func (c *Client) federatedOf(ctx context.Context, t *tenant, k call, each func(rotator.InventoryPage) error) (found map[rotator.ObjectID][]rotator.FoundCredential, unknown string, err error) {
	k.what = readFederated
	for _, version := range versions() {
		found = map[rotator.ObjectID][]rotator.FoundCredential{}
		kept := 0
		err = c.pages(ctx, t, k, federatedList, version, "/applications?$select=id&$expand=federatedIdentityCredentials&$top=999", func(p rotator.InventoryPage) error {
			for _, r := range p.Found {
				if kept += sizeOf(&r); kept > maxFederatedBytes {
					return k.fix(nil, "", "the tenant holds more than %d MiB of federated credentials", maxFederatedBytes>>20)
				}
				found[r.ObjectID] = r.Credentials
			}
			if p.Waiting > 0 {
				return each(p)
			}
			return nil
		})
		if !brokeOff(err) {
			break
		}
	}
	f, failed := errors.AsType[*rotator.Failure](err)
	switch {
	case err == nil:
		return found, "", nil
	case !failed || ctx.Err() != nil:
		return nil, "", err
	}
	return nil, rotator.FederatedUnknown(f), nil
}

// notAnApp is the refusal to take an agent identity blueprint for an app: it has
// permissions of its own for its certificates.
// https://learn.microsoft.com/graph/api/agentidentityblueprint-addkey
func (k call) notAnApp(id rotator.ClientID, name string) *rotator.Failure {
	f := k.fix(nil, "give the client ID of an app registration; rotate does not renew the certificates of agent identity blueprints",
		"%s (%q) is an agent identity blueprint, not an app registration", id, name)
	f.Reason = rotator.ReasonBlueprint
	return f
}
