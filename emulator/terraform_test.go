package emulator_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
)

// A clientStep is one request of a client that cannot be run here, and where it comes
// from.
type clientStep struct {
	Name, Source, Method, Path string
	Status                     int
	Body                       any
	// Save keeps properties of the answer by name; "${name}" stands for them after it.
	Save map[string]string
	// Want are properties of the answer.
	Want map[string]any
}

// filled replaces what stands for something in a JSON value.
func filled(value any, known map[string]any) any {
	switch v := value.(type) {
	case string:
		if whole, ok := known[strings.TrimSuffix(strings.TrimPrefix(v, "${"), "}")]; ok && strings.HasPrefix(v, "${") {
			return whole
		}
		for name, text := range known {
			if s, ok := text.(string); ok {
				v = strings.ReplaceAll(v, "${"+name+"}", s)
			}
		}
		return v
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = filled(v[i], known)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for name := range v {
			out[name] = filled(v[name], known)
		}
		return out
	}
	return value
}

// TestTerraform replays the requests of Terraform's azuread provider.
func TestTerraform(t *testing.T) {
	raw, err := os.ReadFile("testdata/terraform.json")
	if err != nil {
		t.Fatal(err)
	}
	var steps []clientStep
	if err := json.Unmarshal(raw, &steps); err != nil {
		t.Fatal(err)
	}
	tenant := newTenant(t)
	caller := addAdmin(t, tenant, "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All", "Directory.Read.All")
	other := addApp(t, tenant, emulator.Application{Name: "another owner"})
	c := newClient(t, tenant).as(caller)
	p := fresh(t, 0)
	known := map[string]any{
		"tenant": tenant.TenantID(), "caller": caller.ServicePrincipalID, "other": other.ServicePrincipalID,
		"graph": c.want(200, "GET", "servicePrincipals(appId='00000003-0000-0000-c000-000000000000')", nil).text("id"),
		"pem":   base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})),
		"start": p.cert.NotBefore.UTC().Format(time.RFC3339), "end": p.cert.NotAfter.UTC().Format(time.RFC3339),
	}
	for _, s := range steps {
		path, _ := filled(s.Path, known).(string)
		var body []byte
		contentType := "application/json; charset=utf-8; IEEE754Compatible=false"
		if s.Body != nil {
			if body, err = json.Marshal(filled(s.Body, known)); err != nil {
				t.Fatal(err)
			}
		}
		a := c.send(s.Method, path, contentType, body)
		if a.status != s.Status || s.Source == "" {
			t.Fatalf("%s (%s): %s %s: got %d %s, want %d", s.Name, s.Source, s.Method, path, a.status, a.raw, s.Status)
		}
		for name, property := range s.Save {
			known[name] = a.body[property]
		}
		for name, want := range s.Want {
			if diff := cmp.Diff(filled(want, known), a.body[name]); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", s.Name, name, diff)
			}
		}
		switch s.Name {
		case "the owners":
			if n := len(a.values()); n != 2 {
				t.Errorf("%d owners, want 2: %s", n, a.raw)
			}
		case "send the certificate again, as it was read":
			client, _ := known["client"].(string)
			if keys := tenant.KeyCredentials(client); len(keys) != 1 || string(keys[0].Certificate) != string(p.cert.Raw) {
				t.Errorf("certificates: %v", keys)
			}
		}
	}
}
