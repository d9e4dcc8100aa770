package graph

import (
	"context"
	"crypto/sha1" //nolint:gosec // Entra's thumbprints are SHA-1
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unsafe"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/rotator"
)

const listRegistered = "list app registrations"

const (
	// maxPageBytes bounds one page of an inventory, of which one object at a time is in
	// memory: 999 objects of 32 KiB.
	maxPageBytes = 32 << 20
	// maxObjectBytes bounds one object of it: an app may have some 1,200 entries.
	maxObjectBytes = 512 << 10
	// maxKeptBytes bounds what is kept of one page, as it lies in memory.
	maxKeptBytes = 8 << 20
	// maxFederatedBytes bounds what is kept of all federated credentials of a tenant.
	maxFederatedBytes = 32 << 20
	// maxPages bounds an inventory, should Graph send links for ever: two million apps.
	maxPages = 2_000
	// pageTries is how often one page is asked for while Graph throttles or does
	// not answer.
	pageTries = 8
	// longestPause bounds one wait between them.
	longestPause = time.Hour
)

// Registered lists what a tenant holds, as its identity; see
// [rotator.Inventory].
//
// keyCredentials is named in $select, 999 objects an answer, so that 20,000 apps cost
// 21 of the 150 such requests that Graph allows a minute. The certificates themselves
// are null in every list; live tenants were seen to do so, whatever the page says.
// https://learn.microsoft.com/graph/api/application-list
//
// Federated credentials come from a list of their own before that, see federatedOf.
//
// Owners come with $expand, which gives 20 of an object at most. No $select is
// nested in it: owners are of several types, and Graph was seen to refuse it.
// https://learn.microsoft.com/graph/query-parameters#expand
// https://github.com/microsoftgraph/microsoft-graph-docs/issues/12838
func (c *Client) Registered(ctx context.Context, name string, each func(rotator.InventoryPage) error) error {
	k := call{Access: rotator.Access{Registration: rotator.Registration{Tenant: name}}, what: listRegistered}
	t, err := c.tenant(k)
	if err != nil {
		return err
	}
	federated, unknown, err := c.federatedOf(ctx, t, k, each)
	if err != nil {
		return err
	}
	withFederated := func(page rotator.InventoryPage) error {
		for i := range page.Found {
			r := &page.Found[i]
			if r.Kind == rotator.RegisteredServicePrincipal {
				continue
			}
			r.Credentials = append(r.Credentials, federated[r.ObjectID]...)
			r.FederatedUnknown = unknown
		}
		return each(page)
	}
	for _, list := range []struct{ kind, path string }{
		{rotator.RegisteredApp, "/applications?$select=id,appId,displayName,keyCredentials,passwordCredentials&$expand=owners&$top=999"},
		{rotator.RegisteredServicePrincipal, "/servicePrincipals?$select=id,appId,displayName,servicePrincipalType,keyCredentials,passwordCredentials&$expand=owners&$top=999"},
	} {
		if err := c.pages(ctx, t, k, list.kind, "v1.0", list.path, withFederated); err != nil {
			return err
		}
	}
	return nil
}

// pages gets one list of a version of Graph, page after page.
func (c *Client) pages(ctx context.Context, t *tenant, k call, kind, version, path string, each func(rotator.InventoryPage) error) error {
	base := "https://" + t.Cloud.graphHost() + "/" + version + "/"
	address := base + strings.TrimPrefix(path, "/")
	for n := 0; address != ""; n++ {
		if n == maxPages {
			return k.fix(nil, "", "Graph sends more than %d pages", maxPages)
		}
		page, err := c.pagePatiently(ctx, t, k, kind, address, each)
		if err != nil {
			return err
		}
		if err := each(page.InventoryPage); err != nil {
			return err
		}
		if page.next != "" && (page.next == address || !strings.HasPrefix(page.next, base)) {
			return k.fix(nil, "", "Graph's link to the next page leads astray")
		}
		address = page.next
	}
	return nil
}

// page is one answer and where the next is.
type page struct {
	rotator.InventoryPage
	next string
}

// pagePatiently gets one page; while Graph asks for a pause it waits, and tells
// each.
func (c *Client) pagePatiently(ctx context.Context, t *tenant, k call, kind, address string, each func(rotator.InventoryPage) error) (page, error) {
	pause := 5 * time.Second
	for n := 1; ; n++ {
		got, err := c.page(ctx, t, k, kind, address)
		var f *rotator.Failure
		if err == nil || !errors.As(err, &f) || !passes(f) || n == pageTries || ctx.Err() != nil {
			return got, err
		}
		wait := min(max(f.RetryAfter, jitter(pause)), longestPause)
		if err := each(rotator.InventoryPage{Waiting: wait}); err != nil {
			return page{}, err
		}
		if untilDone(ctx, wait) != nil {
			return page{}, err
		}
		pause *= 2
	}
}

// page asks for one page. It is handed on only when it was read to its end, so
// that a page that broke off can be asked for again.
func (c *Client) page(ctx context.Context, t *tenant, k call, kind, address string) (page, error) {
	if kind != federatedList { // the others ask for certificates
		if err := c.waitTurn(ctx, k); err != nil {
			return page{}, err
		}
	}
	by, err := c.credential(ctx, t, k)
	if err != nil {
		return page{}, err
	}
	limited, cancel := c.deadline(ctx)
	defer cancel()
	var got page
	err = repeat(limited, func() (bool, *rotator.Failure) {
		x := &exchange{next: t.pages}
		token, err := by.GetToken(limited, policy.TokenRequestOptions{Scopes: []string{by.scope}})
		if err == nil {
			got, err = readPage(limited, x, address, token.Token, kind)
		}
		failure := c.failure(k, by, x, err)
		if much, ok := errors.AsType[tooMuch](err); ok {
			failure = &rotator.Failure{Class: rotator.ClassWait, Reason: rotator.ReasonOther, Message: k.prefix() + "the answer is not read: " + much.Error(), Err: much}
		}
		if failure != nil && spoils(failure, x) {
			c.forget(by)
		}
		return true, failure
	})
	return got, err
}

// tooMuch is what is wrong with an answer that would take too much memory. It is not asked
// for again at once.
type tooMuch string

func (e tooMuch) Error() string { return string(e) }

func readPage(ctx context.Context, x *exchange, address, token, kind string) (page, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return page{}, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	a, err := x.RoundTrip(r)
	if err != nil {
		return page{}, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return page{}, fmt.Errorf("%s", a.Status)
	}
	return decodePage(a.Body, kind)
}

// decodePage reads {"value": […], "@odata.nextLink": …} without holding more
// than one object of it.
func decodePage(body io.Reader, kind string) (page, error) {
	var p page
	part := &part{Reader: body}
	d := json.NewDecoder(part)
	kept := 0
	if err := expect(d, json.Delim('{')); err != nil {
		return page{}, err
	}
	listed := false
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return page{}, err
		}
		switch name {
		case "value":
			listed = true
			if err := expect(d, json.Delim('[')); err != nil {
				return page{}, err
			}
			for d.More() {
				var o object
				if err := part.decode(d, &o); err != nil {
					return page{}, err
				}
				p.Read++
				found, ok := o.registered(kind)
				if !ok {
					continue
				}
				if kept += sizeOf(&found); kept > maxKeptBytes {
					return page{}, tooMuch(fmt.Sprintf("one page holds more than %d MiB of names and credentials", maxKeptBytes>>20))
				}
				p.Found = append(p.Found, found)
			}
			err = expect(d, json.Delim(']'))
		case "@odata.nextLink":
			err = part.decode(d, &p.next)
		default:
			err = part.decode(d, new(json.RawMessage))
		}
		if err != nil {
			return page{}, err
		}
	}
	if err := expect(d, json.Delim('}')); err != nil {
		return page{}, err
	}
	if !listed {
		return page{}, errors.New("the answer holds no list")
	}
	return p, nil
}

// part reads a body whose values have a bound each: a decoder holds one whole value
// before it gives it.
type part struct {
	io.Reader
	read int64
}

// Read implements [io.Reader].
func (p *part) Read(b []byte) (int, error) {
	if p.read > maxObjectBytes {
		return 0, tooMuch(fmt.Sprintf("one object is larger than %d KiB", maxObjectBytes>>10))
	}
	n, err := p.Reader.Read(b)
	p.read += int64(n)
	return n, err
}

func (p *part) decode(d *json.Decoder, into any) error {
	p.read = 0
	return d.Decode(into)
}

// sizeOf is about what an object takes in memory.
func sizeOf(r *rotator.Registered) int {
	size := int(unsafe.Sizeof(*r)) + len(r.DisplayName)
	for _, owner := range r.Owners {
		size += int(unsafe.Sizeof(owner)) + len(owner)
	}
	for i := range r.Credentials {
		c := &r.Credentials[i]
		size += int(unsafe.Sizeof(*c)) + len(c.DisplayName) + len(c.Issuer) + len(c.Subject) + len(c.KeyID)
		for _, audience := range c.Audiences {
			size += int(unsafe.Sizeof(audience)) + len(audience)
		}
	}
	return size
}

func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err == nil && got != want {
		err = fmt.Errorf("%q where %q was expected", got, want)
	}
	return err
}

// object is an application or a service principal in a list.
type object struct {
	ID      string       `json:"id"`
	AppID   string       `json:"appId"`
	Name    string       `json:"displayName"`
	Type    string       `json:"servicePrincipalType"`
	Keys    []listedKey  `json:"keyCredentials"`
	Secrets []listedKey  `json:"passwordCredentials"`
	Owners  []listedUser `json:"owners"`
	// Federated is there where it was expanded, ODataType where the object is not
	// just what the list is of.
	Federated []federated `json:"federatedIdentityCredentials"`
	ODataType string      `json:"@odata.type"`
}

type listedKey struct {
	KeyID string `json:"keyId"`
	Name  string `json:"displayName"`
	Start string `json:"startDateTime"`
	End   string `json:"endDateTime"`
	Usage string `json:"usage"`
	Key   string `json:"key"`
	// Custom contains hex, base64 or anything: it says which entries belong together,
	// and hints at the certificate.
	Custom string `json:"customKeyIdentifier"`
}

type listedUser struct {
	ID        string `json:"id"`
	Name      string `json:"displayName"`
	Principal string `json:"userPrincipalName"`
}

// registered is what is kept of an object. Service principals without
// credentials are left out, and so are managed identities, whose certificates
// Azure replaces by itself.
func (o *object) registered(kind string) (rotator.Registered, bool) {
	if kind == rotator.RegisteredServicePrincipal && (len(o.Keys)+len(o.Secrets) == 0 || o.Type == "ManagedIdentity") {
		return rotator.Registered{}, false
	}
	if kind == federatedList {
		r := rotator.Registered{ObjectID: rotator.ObjectID(strings.ToLower(o.ID))}
		for _, f := range o.Federated {
			r.Credentials = append(r.Credentials, f.found())
		}
		return r, len(r.Credentials) > 0
	}
	if kind == rotator.RegisteredApp && o.ODataType == blueprintType {
		kind = rotator.RegisteredBlueprint
	}
	r := rotator.Registered{
		Kind: kind, ObjectID: rotator.ObjectID(strings.ToLower(o.ID)), ClientID: rotator.ClientID(strings.ToLower(o.AppID)), DisplayName: o.Name,
	}
	for _, owner := range o.Owners {
		switch {
		case owner.Principal != "":
			r.Owners = append(r.Owners, owner.Principal)
		case owner.Name != "":
			r.Owners = append(r.Owners, owner.Name)
		case owner.ID != "":
			r.Owners = append(r.Owners, owner.ID)
		}
	}
	// A SAML signing certificate is three entries: the certificate, its private
	// key, and the password of that under the same KeyID.
	// https://learn.microsoft.com/graph/api/serviceprincipal-addtokensigningcertificate
	signs, passwords := map[string]bool{}, map[string]bool{}
	for _, key := range o.Keys {
		if key.Usage == "Sign" {
			signs[key.Custom], passwords[key.KeyID] = true, true
		}
	}
	shown := map[string]bool{}
	for _, key := range o.Keys {
		if key.Usage == keyUsage && signs[key.Custom] {
			shown[key.Custom] = true
		}
	}
	for _, key := range o.Keys {
		if key.Usage == "Sign" && shown[key.Custom] {
			continue
		}
		found := key.found(rotator.FoundCertificate)
		if signs[key.Custom] {
			found.Kind = rotator.FoundSAML
		}
		r.Credentials = append(r.Credentials, found)
	}
	for _, secret := range o.Secrets {
		if !passwords[secret.KeyID] {
			r.Credentials = append(r.Credentials, secret.found(rotator.FoundSecret))
		}
	}
	return r, true
}

func (l listedKey) found(kind string) rotator.FoundCredential {
	f := rotator.FoundCredential{Kind: kind, DisplayName: l.Name, NotBefore: parsed(l.Start), NotAfter: parsed(l.End)}
	if id, err := uuid.Parse(l.KeyID); err == nil {
		f.KeyID = keyID(&id)
	}
	if der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(l.Key), "")); err == nil && len(der) > 0 {
		// Some tools store the PEM text instead of DER.
		if block, _ := pem.Decode(der); block != nil {
			der = block.Bytes
		}
		f.Thumbprint, f.ThumbprintSHA1 = rotator.ThumbprintOf(der), rotator.ThumbprintSHA1(der)
	} else if kind != rotator.FoundSecret {
		f.ThumbprintSHA1 = thumbprintIn(l.Custom)
	}
	return f
}

// thumbprintIn returns the SHA-1 thumbprint in a customKeyIdentifier, upper-case hex;
// empty if it has not the form of one. Two encodings are in use: the hex digits
// themselves, and base64 of the 20 bytes.
//
// https://learn.microsoft.com/graph/api/resources/keycredential
func thumbprintIn(custom string) string {
	sum, err := hex.DecodeString(custom)
	if err != nil {
		sum, err = base64.StdEncoding.DecodeString(custom)
	}
	if err != nil || len(sum) != sha1.Size {
		return ""
	}
	return strings.ToUpper(hex.EncodeToString(sum))
}

// parsed is a time as Graph writes it; zero if it is none.
func parsed(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
