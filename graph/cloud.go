package graph

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
)

// Cloud is where a tenant lives. The zero value is the global cloud.
type Cloud struct {
	// Name is global, usgov, usgov-dod or china; empty for custom hosts.
	Name string
	// Login and Graph are https URLs of a host, which may have a port.
	Login, Graph string
	// CAFile holds further root certificates (PEM) for the tenant. It may be
	// set with custom hosts only. Empty: the system's roots.
	CAFile string
	// Transport carries every request in place of the network, for tests. Nil:
	// the network.
	Transport http.RoundTripper
}

// The clouds of Microsoft and their hosts:
// https://learn.microsoft.com/graph/deployments#microsoft-graph-and-graph-explorer-service-root-endpoints
// https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
func clouds() []Cloud {
	return []Cloud{
		globalCloud(),
		{Name: "usgov", Login: "https://login.microsoftonline.us", Graph: "https://graph.microsoft.us"},
		{Name: "usgov-dod", Login: "https://login.microsoftonline.us", Graph: "https://dod-graph.microsoft.us"},
		{Name: "china", Login: "https://login.chinacloudapi.cn", Graph: "https://microsoftgraph.chinacloudapi.cn"},
	}
}

func globalCloud() Cloud {
	return Cloud{Name: "global", Login: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com"}
}

// CloudByName returns one of Microsoft's clouds: global, usgov, usgov-dod or
// china.
func CloudByName(name string) (Cloud, error) {
	var names []string
	for _, c := range clouds() {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return Cloud{}, fmt.Errorf("cloud %q is unknown; there are %s", name, strings.Join(names, ", "))
}

func (c Cloud) isZero() bool {
	return c.Name == "" && c.Login == "" && c.Graph == "" && c.CAFile == "" && c.Transport == nil
}

func (c Cloud) check() error {
	if c.Name != "" {
		known, err := CloudByName(c.Name)
		if err != nil {
			return err
		}
		if c.Login != known.Login || c.Graph != known.Graph {
			return fmt.Errorf("cloud %q has the hosts %s and %s; leave the name away for others", c.Name, known.Login, known.Graph)
		}
	}
	for _, host := range []struct{ key, value string }{{"login", c.Login}, {"graph", c.Graph}} {
		u, err := url.Parse(host.value)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
			strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("cloud.%s: %q is not https://HOST or https://HOST:PORT", host.key, host.value)
		}
	}
	if c.CAFile != "" && c.isMicrosoft() {
		return errors.New("cloud.ca_file is allowed with custom hosts only")
	}
	return nil
}

// isMicrosoft reports whether one of the hosts is Microsoft's.
func (c Cloud) isMicrosoft() bool {
	return slices.ContainsFunc(clouds(), func(m Cloud) bool {
		return hostOf(c.Login) == hostOf(m.Login) || hostOf(c.Graph) == hostOf(m.Graph)
	})
}

// loginHosts are the hosts that a request for a token may go to.
//
// The metadata that the login host answers names the token endpoint. In the
// China cloud it may be on the host's newer name.
// https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
func (c Cloud) loginHosts() []string {
	hosts := []string{hostOf(c.Login)}
	if hosts[0] == "login.chinacloudapi.cn" {
		hosts = append(hosts, "login.partner.microsoftonline.cn")
	}
	return hosts
}

func (c Cloud) graphHost() string { return hostOf(c.Graph) }

// scope of a token for the cloud's Graph: tokens do not cross clouds.
func (c Cloud) scope() string { return "https://" + c.graphHost() + "/.default" }

// azure pins azidentity to the cloud. Without it, AZURE_AUTHORITY_HOST of the
// environment would choose the login host.
// https://pkg.go.dev/github.com/Azure/azure-sdk-for-go/sdk/azidentity#section-readme
func (c Cloud) azure() cloud.Configuration {
	return cloud.Configuration{ActiveDirectoryAuthorityHost: "https://" + hostOf(c.Login)}
}

// hostOf returns host and port of a URL that was checked.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}
