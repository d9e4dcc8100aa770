package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// The checks of single values.

func encodings() []string { return []string{"modern", "legacy-des", "pem"} }

// text asks for something printable.
func (c *checker) text(p, s string) {
	switch {
	case s == "":
		c.add(p, "it is empty")
	case !printable(s):
		c.add(p, "%q holds control characters", s)
	}
}

// texts asks for a list of distinct words.
func (c *checker) texts(p string, list []string) {
	seen := map[string]string{}
	for i, s := range list {
		q := fmt.Sprintf("%s[%d]", p, i)
		if s == "" || !printable(s) || strings.TrimSpace(s) != s || len(s) > 2*maxNameBytes {
			c.add(q, "%q is not allowed; allowed is text without spaces at its ends, up to %d bytes", s, 2*maxNameBytes)
		}
		c.unique(seen, q, s)
	}
}

func printable(s string) bool { return !strings.ContainsFunc(s, unicode.IsControl) }

// upTo asks for 1 or more, and at most most.
func (c *checker) upTo(p string, n, most Count) {
	if n < 1 || n > most {
		c.add(p, "%d is not allowed; allowed is 1 to %d", n, most)
	}
}

// span checks a duration, nil for absent; least is in nanoseconds.
func (c *checker) span(p string, d *Duration, least Duration) {
	switch {
	case d == nil:
	case *d < 0:
		c.add(p, "%s is negative", *d)
	case *d < least:
		c.add(p, "%s is not allowed; it must be longer than 0s", *d)
	case *d > maxDuration:
		c.add(p, "%s is not allowed; allowed is up to %s", *d, maxDuration)
	}
}

func (c *checker) optional(p, s string, allowed ...string) {
	if s != "" {
		c.oneOf(p, s, allowed...)
	}
}

func (c *checker) oneOf(p, s string, allowed ...string) {
	switch {
	case slices.Contains(allowed, s):
	case s == "":
		c.add(p, "it is missing; allowed is %s", strings.Join(allowed, ", "))
	default:
		c.add(p, "%q is unknown; allowed is %s", s, strings.Join(allowed, ", "))
	}
}

// unique remembers a value under its path and refuses it a second time. The empty
// value is other checks' business.
func (c *checker) unique(seen map[string]string, p, s string) {
	if s == "" {
		return
	}
	if first, ok := seen[s]; ok {
		c.add(p, "%q stands already at %s", s, first)
		return
	}
	seen[s] = p
}

// name checks a local name of a tenant or a hook.
func (c *checker) name(p, s string) {
	c.named(p, s, "letters", func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	})
}

// appName checks the local name of an app, which stands in file names.
func (c *checker) appName(p, s string) {
	c.named(p, s, "lower-case letters", func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' })
}

func (c *checker) named(p, s, letters string, ends func(rune) bool) {
	bad := func(r rune) bool { return !ends(r) && !strings.ContainsRune("-_.", r) }
	switch {
	case s == "":
		c.add(p, "it is missing; allowed are 1 to %d %s, digits, \"-\", \"_\" and \".\"", maxNameBytes, letters)
	case len(s) > maxNameBytes, strings.ContainsFunc(s, bad), !ends(rune(s[0])), !ends(rune(s[len(s)-1])):
		c.add(p, "%q is not a name; allowed are 1 to %d %s, digits, \"-\", \"_\" and \".\", with a letter or digit at both ends", s, maxNameBytes, letters)
	}
}

func (c *checker) optionalGUID(p, s string) {
	if s != "" {
		c.guid(p, s)
	}
}

func (c *checker) guid(p, s string) {
	const form = "11111111-2222-3333-4444-555555555555"
	switch {
	case s == "":
		c.add(p, "it is missing; allowed is a GUID such as %s", form)
	case !isGUID(s):
		c.add(p, "%q is not a GUID such as %s", s, form)
	}
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		switch dash := i == 8 || i == 13 || i == 18 || i == 23; {
		case dash && r == '-':
		case dash || !strings.ContainsRune("0123456789abcdefABCDEF", r):
			return false
		}
	}
	return true
}

func isVariable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) && (s[0] < '0' || s[0] > '9')
}

// host checks the URL of a login or Graph host. User and password of a URL are never
// repeated in the problem.
func (c *checker) host(p, s string) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		c.add(p, "it is missing; a cloud of your own needs login and graph, both https URLs")
	case err != nil || u.Host == "":
		c.add(p, "it is not a URL such as https://login.contoso.example")
	case u.User != nil:
		c.add(p, "the URL holds a user name or password; remove it")
	case u.Scheme != "https":
		c.add(p, "%q is not allowed; allowed is https://HOST, because tokens are sent there", s)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Hostname() == "":
		c.add(p, "%q is not allowed; allowed is https://HOST without a path", s)
	}
}

func (c *checker) proxy(s string) {
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "":
		c.add("proxy", "it is not a URL such as http://proxy.contoso.example:3128")
	case u.User != nil:
		c.add("proxy", "the URL holds a user name or password; set HTTPS_PROXY in the daemon's environment instead, and leave proxy empty")
	case !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme):
		c.add("proxy", "%q is not allowed; allowed are http, https and socks5", s)
	}
}

// lastKey returns the last key of a path.
func lastKey(p string) string { return p[strings.LastIndex(p, ".")+1:] }
