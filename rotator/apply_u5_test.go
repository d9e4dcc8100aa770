package rotator

import (
	"testing"
	"time"
)

// TestU5ReadableChanges: what changed is written as people say it, not as JSON.
func TestU5ReadableChanges(t *testing.T) {
	long := 60 * 24 * time.Hour
	for want, value := range map[string]any{
		"none":                           []string{},
		"Mail.Read, User.Read.All":       []string{"Mail.Read", "User.Read.All"},
		"true":                           true,
		"ops@contoso.example":            "ops@contoso.example",
		"automatic":                      Confirmation{Rule: ConfirmAutomatic},
		"encoding pem, renew before 60d": PolicyOverride{Encoding: "pem", RenewBefore: &long},
		"file /srv/a/app.pfx, mode 0640, password path /srv/a/app.password, exec reload": []Delivery{
			{Kind: DeliverFile, Path: "/srv/a/app.pfx", Mode: "0640", PasswordPath: "/srv/a/app.password"}, {Kind: DeliverExec, Hook: "reload"},
		},
	} {
		if got := plain(value); got != want {
			t.Errorf("plain(%v) = %q, want %q", value, got, want)
		}
	}
}
