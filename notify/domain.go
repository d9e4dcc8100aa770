package notify

import (
	"strings"

	"golang.org/x/net/idna"
)

// wire is an address as mail servers that know no SMTPUTF8 take it: with its domain in
// the form xn--. What cannot be written so stays.
func wire(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	return address[:at+1] + wireHost(address[at+1:])
}

// wireHost is the name of a host as DNS and TLS have it.
func wireHost(host string) string {
	if ascii(host) {
		return host
	}
	if name, err := idna.Lookup.ToASCII(host); err == nil {
		return name
	}
	return host
}
