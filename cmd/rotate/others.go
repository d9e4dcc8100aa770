package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/control"
)

// trusted is who may sign in with a federated credential.
func trusted(issuer, subject *string) string {
	return printable(strings.TrimSuffix(value(issuer), "/") + "/" + value(subject))
}

// otherText is a credential that rotate did not make, in one line.
func otherText(c control.OtherCredential) string {
	name := cut(printable(c.DisplayName), 60)
	if name == "" {
		name = "without a name"
	}
	if c.Kind == "federated" {
		return fmt.Sprintf("federated credential %s: anyone who controls %s can sign in as this app without a key", name, trusted(c.Issuer, c.Subject))
	}
	until := "expiry not known"
	if c.NotAfter != nil {
		until = "until " + c.NotAfter.UTC().Format(time.DateOnly)
	}
	return fmt.Sprintf("%s %s %s, key ID %s", c.Kind, name, until, c.KeyID)
}

// othersText says what is on an app besides what rotate made, a line each.
func othersText(o *control.Others) []string {
	if o == nil {
		return []string{"not known: no inspection has read the app yet"}
	}
	var lines []string
	for _, c := range o.Credentials {
		lines = append(lines, otherText(c))
	}
	switch {
	case o.FederatedUnknown != nil:
		lines = append(lines, "federated credentials: not known: "+*o.FederatedUnknown)
	case len(lines) == 0:
		lines = append(lines, "none")
	}
	return lines
}
