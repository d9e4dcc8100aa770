package emulator

import (
	"net"
	"slices"
	"strings"
)

// A service is one of those that the tenant stands for.
type service string

const (
	serviceLogin      service = "login"
	serviceGraph      service = "Graph"
	serviceManagement service = "Resource Manager"
	servicePortal     service = "portal"
	serviceUnknown    service = ""
)

// loginHosts are the names of the login host of the global cloud, the preferred one
// first.
//
// https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud;
// the aliases are those of its instance discovery.
func loginHosts() []string {
	return []string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"}
}

// graphHost is Graph's name in the global cloud.
//
// https://learn.microsoft.com/graph/deployments
const graphHost = "graph.microsoft.com"

// managementHosts are the names of Azure Resource Manager in the global cloud.
//
// https://learn.microsoft.com/rest/api/azure
func managementHosts() []string {
	return []string{"management.azure.com", "management.core.windows.net"}
}

// PublicHosts are the names of Microsoft's hosts that a tenant answers for if its
// PublicHosts is set, as clients of the global cloud ask for them.
func PublicHosts() []string {
	return slices.Concat(loginHosts(), []string{graphHost, portalHost}, managementHosts())
}

// hostName returns a host without its port, in lower case.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(host)
}

// service says who a request is for: by the host if that is one of Microsoft's, else
// by the path, so that all can share one host.
func (r Request) service() service {
	switch name := hostName(r.Host); {
	case slices.Contains(loginHosts(), name):
		return serviceLogin
	case name == graphHost:
		return serviceGraph
	case name == portalHost:
		return servicePortal
	case slices.Contains(managementHosts(), name):
		return serviceManagement
	case strings.HasPrefix(r.Path, "/v1.0/") || strings.HasPrefix(r.Path, "/beta/"):
		return serviceGraph
	case slices.Contains([]string{"/tenants", "/subscriptions"}, r.Path):
		return serviceManagement
	}
	return serviceLogin
}

// service is that of the request. With PublicHosts a host that is none of Microsoft's
// is unknown.
func (t *Tenant) service(r Request) service {
	t.lock()
	public := t.PublicHosts
	t.mu.Unlock()
	if public && !slices.Contains(PublicHosts(), hostName(r.Host)) {
		return serviceUnknown
	}
	return r.service()
}
