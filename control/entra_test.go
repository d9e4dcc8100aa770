package control_test

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// entra asks the tenant directly, without HTTP and without the Graph SDK, which takes
// longer to link than these tests to run. What is on the wire is tested in graph and in
// cmd/rotate; here a rotation only has to start, to wait and to finish. A method that
// is not written down panics.
type entra struct {
	rotator.Entra
	tenant *emulator.Tenant
}

func (e entra) Hosts(tenant string) (rotator.Hosts, error) {
	if tenant != "contoso" {
		return rotator.Hosts{}, fmt.Errorf("tenant %q: %w", tenant, rotator.ErrNoTenant)
	}
	return rotator.Hosts{Login: "https://tenant.test", Graph: "https://tenant.test"}, nil
}

func (e entra) SignIn(_ context.Context, app rotator.Registration, pair rotator.KeyPair, _ []string) (rotator.SignIn, error) {
	a, err := e.tenant.Application(string(app.ClientID))
	if err != nil {
		return rotator.SignIn{}, err
	}
	for _, k := range a.KeyCredentials {
		if bytes.Equal(k.Certificate, pair.Certificate) {
			return rotator.SignIn{At: time.Now(), Roles: a.Permissions}, nil
		}
	}
	return rotator.SignIn{}, &rotator.Failure{
		Class: rotator.ClassWait, Reason: rotator.ReasonNotRegistered, Message: "sign in: the certificate is not on the app", ServerTime: time.Now(),
	}
}

func (e entra) Keys(_ context.Context, as rotator.Access, withKeys bool) (rotator.Listing, error) {
	a, err := e.tenant.Application(string(as.ClientID))
	if err != nil {
		return rotator.Listing{}, err
	}
	l := rotator.Listing{
		At: time.Now(), ObjectID: rotator.ObjectID(a.ObjectID), ClientID: as.ClientID, DisplayName: a.Name, Secrets: len(a.Secrets),
	}
	for _, k := range a.KeyCredentials {
		entry := rotator.Entry{KeyID: rotator.KeyID(k.KeyID), DisplayName: k.DisplayName, NotBefore: k.Start, NotAfter: k.End, Usage: "Verify"}
		if withKeys {
			entry.Thumbprint = rotator.ThumbprintOf(k.Certificate)
		}
		l.Entries = append(l.Entries, entry)
	}
	return l, nil
}

func (e entra) AddKey(_ context.Context, as rotator.Access, _ rotator.KeyPair, add rotator.NewKey) (rotator.KeyID, error) {
	id, err := e.tenant.AddKeyCredential(string(as.ClientID), emulator.KeyCredential{DisplayName: add.DisplayName, Certificate: add.Certificate})
	return rotator.KeyID(id), err
}

func (e entra) RemoveKey(_ context.Context, as rotator.Access, _ rotator.KeyPair, id rotator.KeyID) error {
	return e.tenant.RemoveKeyCredential(string(as.ClientID), string(id))
}

func (e entra) LongestLifetime(context.Context, rotator.Access) (time.Duration, string, error) {
	return 0, "", nil
}

func (e entra) Grants(_ context.Context, as rotator.Access) (rotator.Grants, error) {
	a, err := e.tenant.Application(string(as.ClientID))
	return rotator.Grants{Declared: a.Declared, Consented: a.Permissions}, err
}
