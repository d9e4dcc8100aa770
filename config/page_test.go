package config_test

import (
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

// TestPage says where the page may listen, and what it needs there.
func TestPage(t *testing.T) {
	const (
		tenants = "tenants: [{name: contoso, id: 11111111-2222-3333-4444-555555555555}]\n"
		tls     = "tls: {certificate_file: /a, key_file: /b}, "
		clients = "clients: {ca_file: /c}, "
		login   = "login: {tenant: contoso, client_id: 22222222-2222-3333-4444-555555555555, client_secret_file: /s, group: 33333333-2222-3333-4444-555555555555, address: 'https://rotate.contoso.example'}, "
		names   = "names: [rotate.contoso.example], "
	)
	for name, c := range map[string]struct{ page, want string }{
		"off":                        {"", ""},
		"loopback":                   {"listen: '127.0.0.1:9780'", ""},
		"loopback of IPv6":           {"listen: '[::1]:9780'", ""},
		"localhost":                  {"listen: 'localhost:9780'", ""},
		"wide with clients":          {tls + clients + names + "listen: '0.0.0.0:9780'", ""},
		"wide with a login":          {tls + login + names + "listen: '10.1.2.3:443'", ""},
		"wide with both":             {tls + clients + login + names + "listen: ':9780'", ""},
		"all addresses, open":        {names + "listen: '0.0.0.0:9780'", "without page.tls everybody on the way could read along; set page.tls and page.clients or page.login, or listen on 127.0.0.1"},
		"no address, open":           {names + "listen: ':9780'", "others than this host can reach \":9780\""},
		"an address, open":           {names + "listen: '192.0.2.1:9780'", "others than this host can reach"},
		"IPv6, open":                 {names + "listen: '[::]:9780'", "others than this host can reach"},
		"wide with TLS only":         {tls + names + "listen: '0.0.0.0:9780'", "nothing says who may look; set page.clients (certificates) or page.login (sign-in at the tenant)"},
		"clients without TLS":        {clients + "listen: '127.0.0.1:9780'", "visitors show certificates in TLS only"},
		"a login without TLS":        {login + names + "listen: '127.0.0.1:9780'", "a sign-in needs TLS"},
		"wide without a name":        {tls + clients + "listen: '0.0.0.0:9780'", "write the names under which they ask for it"},
		"half a certificate":         {"tls: {key_file: /b}, listen: '127.0.0.1:9780'", "give both"},
		"a name with a scheme":       {"names: ['https://rotate.contoso.example']", "is not a host name"},
		"a host name to listen on":   {names + "listen: 'rotate.contoso.example:9780'", "is not an IP address"},
		"no port":                    {"listen: 127.0.0.1", "is not an address and a port"},
		"a port that is none":        {"listen: '127.0.0.1:http'", "is not a number"},
		"a login of nobody":          {tls + names + strings.Replace(login, "contoso", "fabrikam", 1), "\"fabrikam\" is unknown"},
		"a login under another name": {tls + login + "names: [other.contoso.example]", "is not in page.names"},
		"a login over HTTP":          {tls + names + strings.Replace(login, "https:", "http:", 1), "allowed is https://HOST"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(strings.NewReader(tenants + "page: {" + strings.TrimSuffix(c.page, ", ") + "}\n"))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
