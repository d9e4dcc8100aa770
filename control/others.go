package control

import (
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Others are the credentials on an app that rotate did not make, as the last
// inspection saw them. Their texts are those of whoever made them.
type Others struct {
	Credentials []OtherCredential `json:"credentials"`
	// FederatedUnknown is why federated credentials may be missing in the list;
	// null: all are in it.
	FederatedUnknown *string `json:"federated_unknown"`
}

// OtherCredential is one of them.
type OtherCredential struct {
	// Kind is certificate, secret or federated.
	Kind        string `json:"kind"`
	KeyID       string `json:"key_id"`
	DisplayName string `json:"display_name"`
	// NotAfter is null if it never expires, or if Entra does not tell.
	NotAfter *time.Time `json:"not_after"`
	// Issuer and Subject are those of a federated one; null for others.
	Issuer  *string `json:"issuer"`
	Subject *string `json:"subject"`
}

// othersOf is nil if no inspection has read the app yet.
func othersOf(l *rotator.Listed) *Others {
	if l == nil {
		return nil
	}
	o := &Others{Credentials: []OtherCredential{}, FederatedUnknown: present(l.FederatedUnknown)}
	if !l.FederatedRead && l.FederatedUnknown == "" {
		o.FederatedUnknown = present("no inspection has read them yet")
	}
	for _, f := range l.Foreign {
		o.Credentials = append(o.Credentials, OtherCredential{
			Kind: f.Kind, KeyID: string(f.KeyID), DisplayName: f.DisplayName, NotAfter: instant(f.NotAfter),
			Issuer: present(f.Issuer), Subject: present(f.Subject),
		})
	}
	return o
}
