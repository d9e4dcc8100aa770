package emulator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
)

func TestPermissions(t *testing.T) {
	tenant := newTenant(t)
	p := fresh(t, 0)
	owner := addApp(t, tenant, emulator.Application{Name: "owner", Permissions: []string{"Application.ReadWrite.OwnedBy"}})
	app := addApp(t, tenant, emulator.Application{Owners: []string{owner.ClientID}}, p)
	app2 := addApp(t, tenant, emulator.Application{Name: "not owned"}, p)
	users, err := tenant.AddApplication(emulator.Application{Name: "x", Secrets: []emulator.Secret{{}}, Permissions: []string{"User.Read.All"}})
	if err != nil {
		t.Fatal(err)
	}
	user := fmt.Sprint(newClient(t, tenant).as(users).want(200, "GET", "users?$top=1", nil).values()[0]["id"])

	proof := func(a emulator.Application) map[string]any {
		t.Helper()
		return map[string]any{"keyCredential": fresh(t, 1).entry(), "proof": p.proof(t, a.ObjectID)}
	}
	note := map[string]any{"notes": "x"}
	grant := map[string]any{"principalId": app.ServicePrincipalID, "resourceId": app.ServicePrincipalID, "appRoleId": uuid.NewString()}
	requests := map[string]func(*client) answer{
		"organization": func(c *client) answer { return c.call("GET", "organization", nil) },
		"users":        func(c *client) answer { return c.call("GET", "users?$top=1", nil) },
		"messages":     func(c *client) answer { return c.call("GET", "users/"+user+"/messages", nil) },
		"send mail": func(c *client) answer {
			return c.call("POST", "users/"+user+"/sendMail", testMail("a@contoso.example"))
		},
		"settings":     func(c *client) answer { return c.call("GET", "users/"+user+"/mailboxSettings", nil) },
		"list":         func(c *client) answer { return c.call("GET", "applications", nil) },
		"read":         func(c *client) answer { return c.call("GET", "applications/"+app2.ObjectID, nil) },
		"policies":     func(c *client) answer { return c.call("GET", "policies/defaultAppManagementPolicy", nil) },
		"create":       func(c *client) answer { return c.call("POST", "applications", map[string]any{"displayName": "x"}) },
		"patch owned":  func(c *client) answer { return c.call("PATCH", "applications/"+app.ObjectID, note) },
		"patch other":  func(c *client) answer { return c.call("PATCH", "applications/"+app2.ObjectID, note) },
		"addKey owned": func(c *client) answer { return c.call("POST", "applications/"+app.ObjectID+"/addKey", proof(app)) },
		"addKey other": func(c *client) answer { return c.call("POST", "applications/"+app2.ObjectID+"/addKey", proof(app2)) },
		"secret other": func(c *client) answer {
			return c.call("POST", "applications/"+app2.ObjectID+"/addPassword", map[string]any{})
		},
		"delete other": func(c *client) answer { return c.call("DELETE", "servicePrincipals/"+app2.ServicePrincipalID, nil) },
		"owners other": func(c *client) answer { return c.call("GET", "applications/"+app2.ObjectID+"/owners", nil) },
		"become owner": func(c *client) answer {
			return c.call("POST", "applications/"+app2.ObjectID+"/owners/$ref", map[string]any{"@odata.id": "https://x/" + owner.ServicePrincipalID})
		},
		"grant": func(c *client) answer {
			return c.call("POST", "servicePrincipals/"+app.ServicePrincipalID+"/appRoleAssignedTo", grant)
		},
		"list of roles": func(c *client) answer {
			return c.call("GET", "servicePrincipals/"+app.ServicePrincipalID+"/appRoleAssignments", nil)
		},
	}
	for _, tt := range []struct {
		roles string
		may   string // requests that are not 403
	}{
		{"", ""},
		{"Organization.Read.All", "organization"},
		{"User.Read.All", "users"},
		{"Mail.Read", "messages"},
		{"Mail.Send", "send mail"},
		{"MailboxSettings.Read", "settings"},
		{"Policy.Read.All", "policies"},
		{"Directory.Read.All", "organization,users,list,read,owners other,list of roles"},
		{"Application.Read.All", "list,read,owners other,list of roles"},
		{"AppRoleAssignment.ReadWrite.All", ""},
		{"AppRoleAssignment.ReadWrite.All Application.Read.All", "list,read,owners other,list of roles,grant"},
		{"Application.ReadWrite.OwnedBy", "list,read,owners other,list of roles,create,patch owned,addKey owned"},
		{"Application.ReadWrite.All", "list,read,owners other,list of roles,create,patch owned,patch other,addKey owned,addKey other,secret other,delete other,become owner"},
	} {
		for _, r := range owner.Permissions {
			if err := tenant.Withdraw(owner.ClientID, r); err != nil {
				t.Fatal(err)
			}
		}
		owner.Permissions = strings.Fields(tt.roles)
		for _, r := range owner.Permissions {
			if err := tenant.Grant(owner.ClientID, r); err != nil {
				t.Fatal(err)
			}
		}
		c := newClient(t, tenant).as(owner)
		for name, request := range requests {
			a := request(c)
			want := strings.Contains(","+tt.may+",", ","+name+",")
			if got := a.status != 403; got != want {
				t.Errorf("with %q, %s: got %d %s, allowed must be %v", tt.roles, name, a.status, a.raw, want)
			}
			if a.status == 403 && (a.code() != "Authorization_RequestDenied" || a.message() != "Insufficient privileges to complete the operation.") {
				t.Errorf("%s: not Graph's words: %s", name, a.raw)
			}
		}
	}
}

func TestSelfNeedsNoPermission(t *testing.T) {
	tenant := newTenant(t)
	p := fresh(t, 0)
	app, other := addApp(t, tenant, emulator.Application{}, p), addApp(t, tenant, emulator.Application{}, p)
	c := newClient(t, tenant).as(app)
	body := func(objectID string) map[string]any {
		t.Helper()
		return map[string]any{"keyCredential": fresh(t, 1).entry(), "proof": p.proof(t, objectID)}
	}
	c.want(200, "POST", "applications/"+app.ObjectID+"/addKey", body(app.ObjectID))
	c.want(200, "POST", "applications(appId='"+app.ClientID+"')/addKey", body(app.ObjectID))
	c.want(403, "POST", "applications/"+other.ObjectID+"/addKey", body(other.ObjectID))
	c.want(403, "GET", "applications/"+app.ObjectID, nil)
	c.want(403, "PATCH", "applications/"+app.ObjectID, map[string]any{"keyCredentials": []any{}})
	// The page for service principals does not have the sentence.
	c.want(403, "POST", "servicePrincipals/"+app.ServicePrincipalID+"/addKey", body(app.ServicePrincipalID))
	if err := tenant.DeleteApplication(app.ClientID); err != nil {
		t.Fatal(err)
	}
	c.want(404, "POST", "applications/"+app.ObjectID+"/addKey", body(app.ObjectID))
}

func TestPolicyLimitsLifetime(t *testing.T) {
	day := 24 * time.Hour
	for _, tt := range []struct {
		name     string
		standard *emulator.Policy
		custom   *emulator.Policy
		days     int
		ok       bool
	}{
		{"none", nil, nil, 365, true},
		{"default", &emulator.Policy{MaxLifetime: 90 * day}, nil, 91, false},
		{"default, just", &emulator.Policy{MaxLifetime: 90 * day}, nil, 90, true},
		{"default, older app", &emulator.Policy{MaxLifetime: 90 * day, CreatedAfter: time.Now().Add(time.Hour)}, nil, 91, true},
		{"default, disabled", &emulator.Policy{MaxLifetime: 90 * day, Disabled: true}, nil, 91, true},
		{"custom", nil, &emulator.Policy{MaxLifetime: 30 * day}, 31, false},
		{"custom wins", &emulator.Policy{MaxLifetime: 30 * day}, &emulator.Policy{MaxLifetime: 90 * day}, 90, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tenant := newTenant(t)
			old := fresh(t, 0)
			app := addApp(t, tenant, emulator.Application{}, old)
			id := tenant.SetDefaultPolicy(tt.standard)
			if custom, err := tenant.SetPolicy(app.ClientID, tt.custom); err != nil {
				t.Fatal(err)
			} else if tt.custom != nil {
				id = custom
			}
			c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
			start := time.Now().Add(-15 * time.Minute)
			next := newPair(t, 1, start, start.Add(time.Duration(tt.days)*day))
			entries, _ := c.want(200, "GET", "applications/"+app.ObjectID, nil).body["keyCredentials"].([]any)
			for name, a := range map[string]answer{
				"addKey": c.call("POST", "applications/"+app.ObjectID+"/addKey", map[string]any{"keyCredential": next.entry(), "proof": old.proof(t, app.ObjectID)}),
				"PATCH":  c.call("PATCH", "applications/"+app.ObjectID, map[string]any{"keyCredentials": append(entries, next.entry())}),
			} {
				if tt.ok {
					if a.status >= 300 {
						t.Errorf("%s: got %d %s", name, a.status, a.raw)
					}
					continue
				}
				want := "Credential lifetime exceeds the max value allowed as per assigned policy '" + id + "'."
				if a.status != 400 || a.code() != "CredentialInvalidLifetimeAsPerAppPolicy" || a.message() != want || !strings.Contains(string(a.raw), `"code":"InvalidKeyEndDate"`) {
					t.Errorf("%s: got %d %s", name, a.status, a.raw)
				}
			}
		})
	}
}

func TestPolicyIsReadable(t *testing.T) {
	tenant := newTenant(t)
	tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 90 * 24 * time.Hour})
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Policy.Read.All"))
	a := c.want(200, "GET", "policies/defaultAppManagementPolicy", nil)
	if !strings.Contains(string(a.raw), `"maxLifetime":"P90D"`) || a.body["isEnabled"] != true {
		t.Errorf("policy: %s", a.raw)
	}
}

func TestServicePrincipalLock(t *testing.T) {
	tenant := newTenant(t)
	old := fresh(t, 0)
	app := addApp(t, tenant, emulator.Application{}, old)
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
	c.want(204, "PATCH", "servicePrincipals/"+app.ServicePrincipalID, map[string]any{"keyCredentials": []any{old.entry()}})
	list := map[string]any{"keyCredentials": []any{fresh(t, 1).entry()}}
	c.want(204, "PATCH", "applications/"+app.ObjectID, map[string]any{"servicePrincipalLockConfiguration": map[string]any{"isEnabled": true, "allProperties": true}})
	if a := c.want(400, "PATCH", "servicePrincipals/"+app.ServicePrincipalID, list); a.code() != "CannotUpdateLockedServicePrincipalProperty" {
		t.Errorf("locked: %s", a.raw)
	}
	roll := map[string]any{"keyCredential": fresh(t, 1).entry(), "proof": old.proof(t, app.ServicePrincipalID)}
	if a := c.want(400, "POST", "servicePrincipals/"+app.ServicePrincipalID+"/addKey", roll); a.code() != "CannotUpdateLockedServicePrincipalProperty" {
		t.Errorf("locked, addKey: %s", a.raw)
	}
	c.want(204, "PATCH", "applications/"+app.ObjectID, map[string]any{"servicePrincipalLockConfiguration": nil})
	c.want(204, "PATCH", "servicePrincipals/"+app.ServicePrincipalID, list)
}
