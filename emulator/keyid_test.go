package emulator_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
)

// TestL1KeyIDs: addKey refuses a keyId of the client, PATCH keeps it.
func TestL1KeyIDs(t *testing.T) {
	tenant := newTenant(t)
	old := fresh(t, 0)
	app := addApp(t, tenant, emulator.Application{}, old)
	path := "applications/" + app.ObjectID
	add := func(entry map[string]any) answer {
		t.Helper()
		return newClient(t, tenant).as(app).call("POST", path+"/addKey",
			map[string]any{"keyCredential": entry, "passwordCredential": nil, "proof": old.proof(t, app.ObjectID)})
	}
	a := add(with(fresh(t, 1).entry(), map[string]any{"keyId": uuid.NewString()}))
	if a.status != 400 || a.code() != "Request_BadRequest" || a.message() != "KeyId value must be null." {
		t.Errorf("addKey with a keyId: %d %s", a.status, a.raw)
	}
	if n := len(tenant.KeyCredentials(app.ClientID)); n != 1 {
		t.Errorf("%d entries after the refusal, want 1", n)
	}
	if a := add(fresh(t, 1).entry()); a.status != 200 || a.text("keyId") != tenant.KeyCredentials(app.ClientID)[1].KeyID {
		t.Errorf("addKey without a keyId: %d %s", a.status, a.raw)
	}
	admin := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
	id := uuid.NewString()
	admin.want(204, "PATCH", path, map[string]any{"keyCredentials": []any{with(fresh(t, 2).entry(), map[string]any{"keyId": id})}})
	if got := tenant.KeyCredentials(app.ClientID); len(got) != 1 || got[0].KeyID != id {
		t.Errorf("PATCH kept %v, want %s", got, id)
	}
}

// TestL12BadCredentials: the texts of a certificate that is none and of a list of
// the wrong shape.
func TestL12BadCredentials(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{}, fresh(t, 0))
	admin := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
	path := "applications/" + app.ObjectID
	bad := with(fresh(t, 1).entry(), map[string]any{"key": "AAAA"})
	a := admin.want(400, "PATCH", path, map[string]any{"keyCredentials": []any{bad}})
	if a.code() != "Request_BadRequest" || a.message() != "Invalid credential value. Error: Cannot find the requested object." {
		t.Errorf("no certificate: %s", a.raw)
	}
	a = admin.want(400, "PATCH", path, map[string]any{"keyCredentials": map[string]any{"0": bad}})
	if a.code() != "BadRequest" || a.message() != "Property keyCredentials in payload has a value that does not match schema." {
		t.Errorf("no list: %s", a.raw)
	}
}

// TestL5TooManyKeys refuses the 601st certificate.
func TestL5TooManyKeys(t *testing.T) {
	tenant := newTenant(t)
	old := fresh(t, 0)
	app := addApp(t, tenant, emulator.Application{}, old)
	for range 599 {
		if _, err := tenant.AddKeyCredential(app.ClientID, emulator.KeyCredential{Certificate: old.cert.Raw}); err != nil {
			t.Fatal(err)
		}
	}
	a := newClient(t, tenant).as(app).want(403, "POST", "applications/"+app.ObjectID+"/addKey", map[string]any{
		"keyCredential": fresh(t, 1).entry(), "passwordCredential": nil, "proof": old.proof(t, app.ObjectID),
	})
	if a.code() != "Directory_ResourceSizeExceeded" {
		t.Errorf("the 601st: %s", a.raw)
	}
}

// TestL2AnswerOfAddKey has the shape that was captured live.
func TestL2AnswerOfAddKey(t *testing.T) {
	tenant := newTenant(t)
	old, next := fresh(t, 0), fresh(t, 1)
	app := addApp(t, tenant, emulator.Application{}, old)
	start := next.cert.NotBefore.Add(250 * time.Millisecond).Format(time.RFC3339Nano)
	a := newClient(t, tenant).as(app).want(200, "POST", "applications/"+app.ObjectID+"/addKey", map[string]any{
		"keyCredential":      with(next.entry(), map[string]any{"displayName": "next", "startDateTime": start}),
		"passwordCredential": nil, "proof": old.proof(t, app.ObjectID),
	})
	sum := next.sha1Hex()
	for name, want := range map[string]string{
		"customKeyIdentifier": strings.ToUpper(sum), "displayName": "next", "type": "AsymmetricX509Cert", "usage": "Verify",
		"startDateTime": next.cert.NotBefore.UTC().Format(time.RFC3339), "endDateTime": next.cert.NotAfter.UTC().Format(time.RFC3339),
	} {
		if got := a.text(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, err := hex.DecodeString(sum); err != nil || a.text("@odata.context") == "" {
		t.Errorf("answer %s", a.raw)
	}
	if key, has := a.body["key"]; !has || key != nil {
		t.Errorf("key is %v, want null", key)
	}
}
