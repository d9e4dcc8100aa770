package config

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Page says where the web page listens, and who may see it.
type Page struct {
	// Listen is HOST:PORT; empty: there is no page.
	Listen string `yaml:"listen" about:"address and port of the web page, such as 127.0.0.1:9780; empty is no page"`
	// Names are those under which browsers ask for it; loopback names always hold.
	Names []string `yaml:"names,omitempty" about:"host names under which browsers may ask for the page; others are refused"`
	TLS   PageTLS  `yaml:"tls,omitempty" about:"certificate of the page; needed where others than this host can reach it"`
	// Clients and Login say who may look; nil: everybody who reaches it. With both,
	// a visitor needs both.
	Clients *PageClients `yaml:"clients,omitempty" about:"certificates that visitors must show"`
	Login   *PageLogin   `yaml:"login,omitempty" about:"sign-in of visitors at their tenant"`
}

// PageTLS are PEM files.
type PageTLS struct {
	CertificateFile string `yaml:"certificate_file,omitempty" about:"PEM file of the page's certificate and chain"`
	KeyFile         string `yaml:"key_file,omitempty" about:"PEM file of its private key"`
}

// IsZero says whether there is none.
func (t PageTLS) IsZero() bool { return t == PageTLS{} }

// PageClients says which client certificates are let in.
type PageClients struct {
	CAFile string `yaml:"ca_file" about:"PEM file of the authority that signs visitors' certificates"`
	// Names, if any, are common names, DNS names or mail addresses.
	Names []string `yaml:"names,omitempty" about:"names in certificates that may look; default all of the authority"`
}

// PageLogin is an OpenID Connect login.
type PageLogin struct {
	Tenant           string `yaml:"tenant" about:"name of the tenant where visitors sign in"`
	ClientID         string `yaml:"client_id" about:"client ID of an app registration for the page"`
	ClientSecretFile string `yaml:"client_secret_file" about:"file with its secret"`
	// Group is the object ID of a group, as the groups claim names it.
	Group string `yaml:"group" about:"object ID of the group whose members may look"`
	// Address is https://HOST[:PORT], as browsers know the page.
	Address string `yaml:"address" about:"https URL of the page as browsers know it; ADDRESS/login/callback is its redirect URI"`
}

// isWide reports whether others than this host can reach an address.
func isWide(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.IsLoopback()
}

func (c *checker) page(p *Page, tenants []Tenant) {
	c.pageTLS(p)
	names := map[string]string{}
	for i, n := range p.Names {
		q := "page.names[" + strconv.Itoa(i) + "]"
		if _, err := netip.ParseAddr(n); err != nil && !isHostName(n) {
			c.add(q, "%q is not a host name; write it without scheme and port, such as rotate.contoso.example", n)
		}
		c.unique(names, q, strings.ToLower(n))
	}
	if p.Login != nil {
		c.pageLogin("page.login", p, tenants)
	}
	if p.Listen == "" {
		return
	}
	host, port, err := net.SplitHostPort(p.Listen)
	if err != nil {
		c.add("page.listen", "%q is not an address and a port, such as 127.0.0.1:9780", p.Listen)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		c.add("page.listen", "the port %q is not a number up to 65535", port)
	} else if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		c.add("page.listen", "%q is not an IP address; a name would not say who can reach it (port %d)", host, n)
	}
	if !isWide(host) {
		return
	}
	switch {
	case p.TLS.IsZero():
		c.add("page.listen", "others than this host can reach %q, and without page.tls everybody on the way could read along; set page.tls and page.clients or page.login, or listen on 127.0.0.1", p.Listen)
	case p.Clients == nil && p.Login == nil:
		c.add("page.listen", "others than this host can reach %q, and nothing says who may look; set page.clients (certificates) or page.login (sign-in at the tenant), or listen on 127.0.0.1", p.Listen)
	}
	if len(p.Names) == 0 {
		c.add("page.names", "it is empty; others than this host can reach the page, so write the names under which they ask for it")
	}
}

func (c *checker) pageTLS(p *Page) {
	if (p.TLS.CertificateFile == "") != (p.TLS.KeyFile == "") {
		c.add("page.tls", "certificate_file and key_file belong together; give both")
	}
	if p.Clients != nil {
		c.text("page.clients.ca_file", p.Clients.CAFile)
		c.texts("page.clients.names", p.Clients.Names)
		if p.TLS.IsZero() {
			c.add("page.clients", "visitors show certificates in TLS only; set page.tls")
		}
	}
	if p.Login != nil && p.TLS.IsZero() {
		c.add("page.login", "a sign-in needs TLS; set page.tls")
	}
}

func (c *checker) pageLogin(p string, page *Page, tenants []Tenant) {
	l := page.Login
	known := make([]string, len(tenants))
	for i := range tenants {
		known[i] = tenants[i].Name
	}
	c.oneOf(p+".tenant", l.Tenant, known...)
	c.guid(p+".client_id", l.ClientID)
	c.guid(p+".group", l.Group)
	c.text(p+".client_secret_file", l.ClientSecretFile)
	u, err := url.Parse(l.Address)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "":
		c.add(p+".address", "%q is not allowed; allowed is https://HOST or https://HOST:PORT, as browsers know the page", l.Address)
	case isWide(u.Hostname()) && !slices.ContainsFunc(page.Names, func(n string) bool { return strings.EqualFold(n, u.Hostname()) }):
		c.add(p+".address", "%q is not in page.names; browsers that come back from the tenant would be refused", u.Hostname())
	}
}

func isHostName(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
}
