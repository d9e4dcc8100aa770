package config

import (
	"net"
	"net/url"
	"path/filepath"
	"strings"
)

// Metrics says where the daemon tells its numbers and its health.
type Metrics struct {
	// Listen is "unix:/PATH" or HOST:PORT of this host alone; empty: nothing listens.
	Listen string `yaml:"listen" about:"where /metrics, /healthz and /readyz are answered: 127.0.0.1:PORT, [::1]:PORT or unix:/PATH; empty is nowhere"`
	// Textfile is the path of a file that ends in .prom; empty: none is written.
	Textfile string `yaml:"textfile" about:"file for node_exporter's textfile collector, written once a minute; empty is none"`
	// PerApp tells that each app has series of its own.
	PerApp bool `yaml:"per_app" about:"series for each app; false leaves sums only"`
	// PerAppLimit is how many apps have them at most, at least 1.
	PerAppLimit Count `yaml:"per_app_limit" about:"so many apps have series of their own at most; of more there are sums only"`
}

// OTLP says where traces of rotations go.
type OTLP struct {
	// Endpoint is a URL; empty: no traces.
	Endpoint string `yaml:"endpoint" about:"URL of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318; empty is none"`
}

const unixPrefix = "unix:"

func (c *checker) metrics(m Metrics) {
	if m.Textfile != "" && !strings.HasSuffix(m.Textfile, ".prom") {
		c.add("metrics.textfile", "%q does not end in .prom; node_exporter reads no other files", m.Textfile)
	}
	if m.PerAppLimit < 1 {
		c.add("metrics.per_app_limit", "%d is not a number of apps; for no series of single apps write per_app: false", m.PerAppLimit)
	}
	if m.Listen == "" {
		return
	}
	if path, isUnix := strings.CutPrefix(m.Listen, unixPrefix); isUnix {
		switch {
		case !filepath.IsAbs(path):
			c.add("metrics.listen", "%q has no absolute path; write unix:/run/rotate/metrics.sock", m.Listen)
		case len(path) > maxSocketBytes:
			c.add("metrics.listen", "%q: the path has %d bytes; a unix socket's path may have at most %d", m.Listen, len(path), maxSocketBytes)
		}
		return
	}
	host, port, err := net.SplitHostPort(m.Listen)
	if err != nil || port == "" {
		c.add("metrics.listen", "%q is no address; write 127.0.0.1:PORT, [::1]:PORT or unix:/PATH", m.Listen)
		return
	}
	if !isLoopback(host) {
		c.add("metrics.listen", "%q could be reached by others, and nobody is asked who they are; allowed are 127.0.0.1, ::1, localhost and unix:/PATH (a proxy that checks callers can stand in front)", m.Listen)
	}
}

func (c *checker) otlp(o OTLP) {
	if o.Endpoint == "" {
		return
	}
	u, err := url.Parse(o.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		c.add("otlp.endpoint", "it is not a URL such as http://127.0.0.1:4318")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		c.add("otlp.endpoint", "it may not hold a user, a query or a fragment; send to a collector on this host that signs in for you")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.add("otlp.endpoint", "http to another host would show the names of apps to the network; write https, or send to a collector on this host")
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
