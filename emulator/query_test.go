package emulator_test

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
)

// fifty fills a tenant with 50 apps that differ in everything that can be asked for,
// each with its service principal.
func fifty(t *testing.T) (*client, []emulator.Application) {
	t.Helper()
	tenant := newTenant(t)
	admin := addAdmin(t, tenant, "Application.ReadWrite.All")
	c := newClient(t, tenant).as(admin)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var apps []emulator.Application
	for i := range 50 {
		app := addApp(t, tenant, emulator.Application{
			Name: fmt.Sprintf("%s it's %02d", []string{"Alpha", "beta", "OneGamma"}[i%3], i), Created: start.Add(time.Duration(i) * 24 * time.Hour),
		})
		body := map[string]any{
			"tags":           []any{fmt.Sprintf("team-%d", i%4), "all"},
			"identifierUris": []any{"api://app-" + fmt.Sprint(i)},
			"web":            map[string]any{"redirectUris": []any{fmt.Sprintf("https://app%d.contoso.example/cb", i)}},
			"signInAudience": []string{"AzureADMyOrg", "AzureADMultipleOrgs"}[i%2],
		}
		if i%5 == 0 {
			body["description"] = fmt.Sprintf("number %d", i)
			body["notes"] = "note"
		}
		c.want(204, "PATCH", "applications/"+app.ObjectID, body)
		c.want(204, "PATCH", "servicePrincipals/"+app.ServicePrincipalID, map[string]any{"accountEnabled": i%2 == 0, "tags": []any{fmt.Sprintf("team-%d", i%4)}})
		if i%10 == 0 {
			c.want(204, "POST", "applications/"+app.ObjectID+"/owners/$ref", map[string]any{
				"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/" + admin.ServicePrincipalID,
			})
			c.want(201, "POST", "applications/"+app.ObjectID+"/federatedIdentityCredentials", map[string]any{
				"name": fmt.Sprint("fic-", i), "issuer": "https://idp.example", "subject": fmt.Sprint("s", i), "audiences": []any{"api://AzureADTokenExchange"},
			})
		}
		apps = append(apps, app)
	}
	return c, apps
}

// A queryForm is one form of a query that Graph documents, with the plain loop that
// says what it must give.
type queryForm struct {
	set, query string
	advanced   bool
	keep       func(i int) bool
}

func queryForms(apps []emulator.Application) []queryForm {
	const a, s = "applications", "servicePrincipals"
	not := func(f func(int) bool) func(int) bool { return func(i int) bool { return !f(i) } }
	is := func(want ...int) func(int) bool { return func(i int) bool { return slices.Contains(want, i) } }
	every := func(n, rest int) func(int) bool { return func(i int) bool { return i%n == rest } }
	all := func(int) bool { return true }
	name := func(i int) string { return strings.ReplaceAll(apps[i].Name, "'", "''") }
	begins := func(part string) func(int) bool {
		return func(i int) bool { return strings.HasPrefix(strings.ToLower(apps[i].Name), strings.ToLower(part)) }
	}
	return []queryForm{
		{a, "appId eq '" + apps[7].ClientID + "'", false, is(7)},
		{a, "appId in ('" + apps[7].ClientID + "','" + apps[8].ClientID + "')", false, is(7, 8)},
		{a, "appId ne '" + apps[7].ClientID + "'", true, not(is(7))},
		{a, "id eq '" + apps[9].ObjectID + "'", false, is(9)},
		{a, "id in ('" + apps[9].ObjectID + "')", false, is(9)},
		{a, "displayName eq '" + name(3) + "'", false, is(3)},
		{a, "displayName eq '" + strings.ToUpper(name(3)) + "'", false, is(3)},
		{a, "displayName ne '" + name(3) + "'", true, not(is(3))},
		{a, "displayName in ('" + name(3) + "', '" + name(4) + "')", false, is(3, 4)},
		{a, "startswith(displayName,'alpha')", false, begins("alpha")},
		{a, "startsWith(displayName, 'Alpha')", false, begins("alpha")},
		{a, "not startswith(displayName,'alpha')", true, not(begins("alpha"))},
		{a, "NOT(startsWith(displayName,'beta'))", true, not(begins("beta"))},
		{a, "not(displayName eq '" + name(1) + "')", true, not(is(1))},
		{a, "displayName eq null", true, is()},
		{a, "displayName ne null", true, all},
		{a, "startswith(displayName,'alpha') and appId eq '" + apps[6].ClientID + "'", false, is(6)},
		{a, "startswith(displayName,'alpha') or startswith(displayName,'beta')", false, func(i int) bool { return i%3 != 2 }},
		{a, "(startswith(displayName,'alpha') or startswith(displayName,'beta')) and signInAudience eq 'AzureADMyOrg'", false, func(i int) bool { return i%3 != 2 && i%2 == 0 }},
		{a, "startswith(displayName,'alpha') or startswith(displayName,'beta') and signInAudience eq 'AzureADMyOrg'", false, func(i int) bool { return i%3 == 0 || i%3 == 1 && i%2 == 0 }},
		{a, "identifierUris/any(s:s eq 'api://app-12')", false, is(12)},
		{a, "identifierUris/any(x:startswith(x,'api://app-1'))", false, func(i int) bool { return i == 1 || i/10 == 1 }},
		{a, "not identifierUris/any(s:s eq 'api://app-12')", true, not(is(12))},
		{a, "tags/any(t:t eq 'team-2')", false, every(4, 2)},
		{a, "tags/any(t:t in ('team-1','team-2'))", false, func(i int) bool { return i%4 == 1 || i%4 == 2 }},
		{a, "tags/any(t:startswith(t,'TEAM-3'))", false, every(4, 3)},
		{a, "tags/any(t:t eq 'team-2' or t eq 'team-3')", false, func(i int) bool { return i%4 > 1 }},
		{a, "web/redirectUris/any(p:p eq 'https://app4.contoso.example/cb')", true, is(4)},
		{a, "web/redirectUris/any(p:startswith(p,'https://app4'))", true, func(i int) bool { return i == 4 || i/10 == 4 }},
		{a, "publicClient/redirectUris/any(p:p eq 'x')", true, is()},
		{a, "spa/redirectUris/any(p:p eq 'x')", true, is()},
		{a, "web/homePageUrl eq null", true, all},
		{a, "createdDateTime ge 2026-02-01T00:00:00Z", false, func(i int) bool { return i >= 31 }},
		{a, "createdDateTime le 2026-01-05T00:00:00Z", false, func(i int) bool { return i <= 4 }},
		{a, "createdDateTime ge 2026-01-11 and createdDateTime le 2026-01-20", false, func(i int) bool { return i >= 10 && i <= 19 }},
		{a, "createdDateTime eq 2026-01-08T01:00:00+01:00", false, is(7)},
		{a, "description eq 'number 10'", true, is(10)},
		{a, "description eq null", true, func(i int) bool { return i%5 != 0 }},
		{a, "startswith(description,'number')", true, every(5, 0)},
		{a, "notes eq 'note'", true, every(5, 0)},
		{a, "signInAudience eq 'AzureADMultipleOrgs'", false, every(2, 1)},
		{a, "signInAudience ne 'AzureADMyOrg'", true, every(2, 1)},
		{a, "publisherDomain eq 'contoso.onmicrosoft.com'", false, all},
		{a, "startswith(publisherDomain,'contoso')", false, all},
		{a, "uniqueName eq 'x'", false, is()},
		{a, "serviceManagementReference eq null", true, all},
		{a, "verifiedPublisher/displayName eq null", true, all},
		{a, "info/termsOfServiceUrl eq 'x'", true, is()},
		{a, "requiredResourceAccess/any(r:r/resourceAppId eq '00000003-0000-0000-c000-000000000000')", true, is()},
		{a, "owners/$count eq 0", true, not(every(10, 0))},
		{a, "owners/$count eq 1", true, every(10, 0)},
		{a, "owners/$count ne 0", true, every(10, 0)},
		{a, "federatedIdentityCredentials/$count eq 0", true, not(every(10, 0))},
		{a, "federatedIdentityCredentials/any(f:f/subject eq 's20')", true, is(20)},
		{a, "federatedIdentityCredentials/any(f:startswith(f/name,'fic-'))", true, every(10, 0)},
		{s, "appId eq '" + apps[7].ClientID + "'", false, is(7)},
		{s, "servicePrincipalNames/any(c:c eq '" + apps[7].ClientID + "')", false, is(7)},
		{s, "servicePrincipalNames/any(c:c eq 'api://app-12')", false, is(12)},
		{s, "servicePrincipalNames/any(c:startswith(c,'api://app-2'))", false, func(i int) bool { return i == 2 || i/10 == 2 }},
		{s, "startswith(displayName,'onegamma')", false, every(3, 2)},
		{s, "displayName eq '" + name(5) + "'", false, is(5)},
		{s, "accountEnabled eq true and startswith(displayName,'alpha')", false, every(6, 0)},
		{s, "accountEnabled eq false", false, every(2, 1)},
		{s, "accountEnabled ne true", true, every(2, 1)},
		{s, "tags/any(t:t eq 'team-0')", false, every(4, 0)},
		{s, "servicePrincipalType eq 'Application' and tags/any(t:t eq 'team-0')", false, every(4, 0)},
		{s, "appOwnerOrganizationId eq TENANT and tags/any(t:t eq 'team-0')", true, every(4, 0)},
		{s, "appRoleAssignmentRequired eq false and tags/any(t:t eq 'team-0')", true, every(4, 0)},
	}
}

// TestQueryForms compares each documented form with a plain loop over 50 objects, and
// asks for those that need the advanced parameters without them.
func TestQueryForms(t *testing.T) {
	c, apps := fifty(t)
	forms := queryForms(apps)
	if len(forms) < 60 {
		t.Errorf("%d forms, want 60", len(forms))
	}
	plain, advanced := *c, *c
	advanced.header = http.Header{}
	advanced.header.Set("ConsistencyLevel", "eventual")
	for _, f := range forms {
		filter := "?$filter=" + url.QueryEscape(strings.ReplaceAll(f.query, "TENANT", c.tenant.TenantID()))
		var want []string
		for i, app := range apps {
			if f.keep(i) {
				want = append(want, app.ClientID)
			}
		}
		// What was made for the test beside the 50.
		ids := func(a answer) []string {
			var got []string
			for _, v := range a.values() {
				id, _ := v["appId"].(string)
				if slices.ContainsFunc(apps, func(app emulator.Application) bool { return app.ClientID == id }) {
					got = append(got, id)
				}
			}
			return got
		}
		if f.advanced {
			if a := plain.want(400, "GET", f.set+filter, nil); a.code() != "Request_UnsupportedQuery" {
				t.Errorf("%s without the advanced parameters: %s", f.query, a.raw)
			}
			plain.want(400, "GET", f.set+filter+"&$count=true", nil)
		} else if diff := cmp.Diff(want, ids(plain.want(200, "GET", f.set+filter+"&$select=appId", nil))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.query, diff)
		}
		a := advanced.want(200, "GET", f.set+filter+"&$count=true&$select=appId", nil)
		if diff := cmp.Diff(want, ids(a)); diff != "" {
			t.Errorf("%s, advanced (-want +got):\n%s", f.query, diff)
		}
		if got := a.body["@odata.count"]; got != float64(len(a.values())) {
			t.Errorf("%s: @odata.count is %v, want %d", f.query, got, len(a.values()))
		}
		if got, want := string(advanced.want(200, "GET", f.set+"/$count"+filter, nil).raw), fmt.Sprint(len(a.values())); got != want {
			t.Errorf("%s: /$count is %s, want %s", f.query, got, want)
		}
		// In pages of 7 it is the same.
		var paged []string
		for path := f.set + filter + "&$count=true&$top=7"; path != ""; {
			page := advanced.want(200, "GET", path, nil)
			paged = append(paged, ids(page)...)
			_, path, _ = strings.Cut(page.text("@odata.nextLink"), "https://"+host+"/v1.0/")
		}
		if diff := cmp.Diff(want, paged); diff != "" {
			t.Errorf("%s, in pages (-want +got):\n%s", f.query, diff)
		}
	}
}

// TestSortSearchExpand holds the other options to plain loops.
func TestSortSearchExpand(t *testing.T) {
	c, apps := fifty(t)
	c.header.Set("ConsistencyLevel", "eventual")
	names := func(a answer) []string {
		var got []string
		for _, v := range a.values() {
			got = append(got, fmt.Sprint(v["displayName"]))
		}
		return got
	}
	var sorted, sync []string
	for _, app := range apps {
		sorted = append(sorted, app.Name)
		if strings.HasPrefix(app.Name, "OneGamma") {
			sync = append(sync, app.Name)
		}
	}
	slices.SortFunc(sorted, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	const alpha = "&$filter=tags/any(t:t eq 'all')&$count=true"
	if diff := cmp.Diff(sorted, names(c.want(200, "GET", "applications?$orderby=displayName"+alpha, nil))); diff != "" {
		t.Errorf("$orderby (-want +got):\n%s", diff)
	}
	slices.Reverse(sorted)
	var paged []string
	for path := "applications?$top=9&$orderby=displayName desc" + alpha; path != ""; {
		page := c.want(200, "GET", path, nil)
		paged = append(paged, names(page)...)
		_, path, _ = strings.Cut(page.text("@odata.nextLink"), "https://"+host+"/v1.0/")
	}
	if diff := cmp.Diff(sorted, paged); diff != "" {
		t.Errorf("$orderby desc, in pages (-want +got):\n%s", diff)
	}
	for search, want := range map[string][]string{
		`"displayName:gamma"`: sync, `"displayName:one gam"`: sync, `"displayName:amma"`: nil,
		`"displayName:07" OR "displayName:08"`: {apps[7].Name, apps[8].Name}, `"displayName:07" AND "displayName:beta"`: {apps[7].Name},
	} {
		if diff := cmp.Diff(want, names(c.want(200, "GET", "applications?$search="+url.QueryEscape(search), nil))); diff != "" {
			t.Errorf("$search=%s (-want +got):\n%s", search, diff)
		}
	}
	c.header.Del("ConsistencyLevel")
	for query, code := range map[string]string{
		"$search=" + url.QueryEscape(`"displayName:x"`): "Request_UnsupportedQuery", "$orderby=displayName": "Request_UnsupportedQuery",
		"$filter=appId eq 7ab1d382-f21e-4acd-a863-ba3e13f7da61": "Request_BadRequest", "$filter=missing eq 'x'": "BadRequest",
	} {
		if a := c.want(400, "GET", "applications?"+query, nil); a.code() != code {
			t.Errorf("%s: %s", query, a.raw)
		}
	}
	c.want(400, "GET", "applications/$count", nil)

	for _, path := range []string{"applications?$top=1&$filter=appId eq '" + apps[10].ClientID + "'&", "applications/" + apps[10].ObjectID + "?"} {
		for expand, want := range map[string]string{
			"owners": "admin", "owners($select=id,displayName)": "admin", "federatedIdentityCredentials": "fic-10",
		} {
			a := c.want(200, "GET", path+"$select=id&$expand="+expand, nil)
			object := a.body
			if values := a.values(); len(values) == 1 {
				object = values[0]
			}
			name, _, _ := strings.Cut(expand, "(")
			list, _ := object[name].([]any)
			if len(list) != 1 {
				t.Errorf("%s$expand=%s: %s", path, expand, a.raw)
				continue
			}
			one, _ := list[0].(map[string]any)
			if one["displayName"] != want && one["name"] != want {
				t.Errorf("%s$expand=%s: got %v, want %s", path, expand, one, want)
			}
			if _, whole := one["appId"]; strings.Contains(expand, "$select") && (whole || one["@odata.type"] != "#microsoft.graph.servicePrincipal") {
				t.Errorf("nested $select: %v", one)
			}
		}
	}
}

// TestEveryProperty walks the properties of the schema: each is served, or answered 501
// by name, in every option.
func TestEveryProperty(t *testing.T) {
	raw, err := os.ReadFile("contract/graph-v1.0-subset.csdl.xml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Types []struct {
			Name     string `xml:",attr"`
			BaseType string `xml:",attr"`
			Property []struct {
				Name string `xml:",attr"`
				Type string `xml:",attr"`
			}
			NavigationProperty []struct {
				Name string `xml:",attr"`
			}
		} `xml:"DataServices>Schema>EntityType"`
	}
	if err := xml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	tenant := &emulator.Tenant{}
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All", "User.Read.All", "Organization.Read.All"))
	c.header.Set("ConsistencyLevel", "eventual")
	sets := map[string]string{"application": "applications", "servicePrincipal": "servicePrincipals", "user": "users", "organization": "organization"}
	ask := func(path, name string, allowed ...int) int {
		t.Helper()
		a := c.call("GET", path, nil)
		if !slices.Contains(allowed, a.status) || a.status == 501 && !strings.Contains(a.message(), name) {
			t.Errorf("GET %s: got %d %.300s", path, a.status, a.raw)
		}
		return a.status
	}
	served := map[string]int{}
	for _, typ := range doc.Types {
		set, ok := sets[typ.Name]
		if !ok {
			continue
		}
		for _, p := range typ.Property {
			if ask(set+"?$select="+p.Name, p.Name, 200, 501) == 200 {
				served["$select"]++
			}
			if ask(set+"?$count=true&$orderby="+p.Name, p.Name, 200, 501) == 200 {
				served["$orderby"]++
			}
			literal, path := "'x'", p.Name
			inner, collection := strings.CutPrefix(p.Type, "Collection(")
			switch inner = strings.TrimSuffix(inner, ")"); inner {
			case "Edm.Boolean":
				literal = "true"
			case "Edm.Guid":
				literal = "7ab1d382-f21e-4acd-a863-ba3e13f7da61"
			case "Edm.DateTimeOffset":
				literal = "2026-01-01T00:00:00Z"
			case "Edm.Int32":
				literal = "1"
			}
			if collection {
				path += "/any(x:x eq " + literal + ")"
			} else {
				path += " eq " + literal
			}
			if ask(set+"?$count=true&$filter="+url.QueryEscape(path), p.Name, 200, 501) == 200 {
				served["$filter"]++
			}
			for _, more := range []string{"startswith(%s,'x')", "endswith(%s,'x')", "contains(%s,'x')", "%s gt 'x'", "%s has 'x'"} {
				ask(set+"?$count=true&$filter="+url.QueryEscape(fmt.Sprintf(more, p.Name)), "", 200, 501)
			}
		}
		for _, n := range typ.NavigationProperty {
			ask(set+"?$select="+n.Name, n.Name, 501)
			ask(set+"?$filter="+url.QueryEscape(n.Name+"/any(x:x/id eq 'x')"), n.Name, 501)
		}
	}
	t.Log("served:", served)
	if served["$select"] < 70 || served["$filter"] < 25 || served["$orderby"] < 4 {
		t.Errorf("served only %v", served)
	}
	for _, unknown := range []string{"$apply=aggregate($count as n)", "$compute=1", "$skip=1", "$format=json", "$deltatoken=x", "$filter=contains(displayName,'x')", "$expand=createdOnBehalfOf", "$levels=1"} {
		a := c.call("GET", "applications?"+strings.ReplaceAll(unknown, " ", "%20"), nil)
		if a.status != 501 {
			t.Errorf("%s: got %d %s, want 501", unknown, a.status, a.raw)
		}
	}
}
