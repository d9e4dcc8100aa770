package config

import (
	"path/filepath"
	"strings"
)

// credentialPrefix begins a path that the service manager decides: "credential:NAME"
// is the file NAME in $CREDENTIALS_DIRECTORY.
//
// https://systemd.io/CREDENTIALS/
const credentialPrefix = "credential:" //nolint:gosec // a prefix

// UseCredentials puts paths in the given folder for all settings of the form
// "credential:NAME". With an empty folder they stay as they are.
func (c *Config) UseCredentials(folder string) {
	if folder == "" {
		return
	}
	for _, p := range c.paths() {
		if name, ok := strings.CutPrefix(*p, credentialPrefix); ok {
			*p = filepath.Join(folder, name)
		}
	}
}

// Credentials returns the settings of that form that have no file yet.
func (c *Config) Credentials() []string {
	var open []string
	for _, p := range c.paths() {
		if strings.HasPrefix(*p, credentialPrefix) {
			open = append(open, *p)
		}
	}
	return open
}

// credential checks names: one file, no folder.
func (c *checker) credential(path string) {
	name, ok := strings.CutPrefix(path, credentialPrefix)
	if ok && (name == "" || name != filepath.Base(name) || name == "." || name == "..") {
		c.add("", "%q is not the name of a credential; write %sNAME, with NAME as in LoadCredential=NAME:PATH", path, credentialPrefix)
	}
}

// recovery checks the form only: what a recipient is, store.Init says.
func (c *checker) recovery(text string) {
	if text != "" && text != "none" && !strings.HasPrefix(text, "age1") {
		c.add("store.recovery", "%q is not allowed; allowed is an age recipient (age1…), or none", text)
	}
}
