package config

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Apps is the file that "rotate apply -f" reads.
type Apps struct {
	Apps []App `yaml:"apps" about:"app registrations to track"`
}

// App is one app registration as it should be tracked.
type App struct {
	Name     string `yaml:"name" about:"local name of the app"`
	Tenant   string `yaml:"tenant" about:"name of a tenant of the configuration"`
	ClientID string `yaml:"client_id" about:"application (client) ID, a GUID"`
	ObjectID string `yaml:"object_id,omitempty" about:"object ID of the registration, a GUID; needed in self mode if the app may not read itself"`
	KeyID    string `yaml:"key_id,omitempty" about:"key ID of its present certificate, a GUID"`
	Profile  string `yaml:"profile,omitempty" about:"preset for its consumer (rotate profile list); what stands here wins"`
	// Mode is self or managed.
	Mode         string     `yaml:"mode" about:"who asks Entra: the app itself or the tenant's identity; default self" enum:"self|managed"`
	PFX          string     `yaml:"pfx,omitempty" about:"PFX or PEM file of its present key pair, read while the app is not tracked yet"`
	PasswordFile string     `yaml:"password_file,omitempty" about:"file with the password of the PFX"`
	Permissions  []string   `yaml:"permissions,omitempty" about:"application permissions that its token must carry"`
	Tags         []string   `yaml:"tags,omitempty" about:"words to find it by"`
	Owner        string     `yaml:"owner,omitempty" about:"who answers for it"`
	Policy       Policy     `yaml:"policy,omitempty" about:"what differs from the defaults of the configuration"`
	Deliveries   []Delivery `yaml:"deliveries,omitempty" about:"where a new key pair goes, in this order"`
	Probe        []string   `yaml:"probe,omitempty" about:"paths that a new key must be able to GET from Graph"`
	Confirm      Confirm    `yaml:"confirm,omitempty" about:"when the consumer counts as using the new key"`
	Evidence     bool       `yaml:"evidence,omitempty" about:"managed mode: ask the sign-in log, before a certificate is removed, whether the consumer still uses it"`
	Verify       bool       `yaml:"verify,omitempty" about:"self mode: let rotate tenant verify --app add and remove certificates of its own"`
	Consumer     string     `yaml:"consumer,omitempty" about:"none: no program signs in with its certificates, so no delivery is needed" enum:"none"`
	// FriendlyName is at most 128 characters, printable.
	FriendlyName string  `yaml:"friendly_name,omitempty" about:"name of the key in delivered files, by which a consumer looks it up (Java: alias); default that of the file adopted"`
	HandOff      HandOff `yaml:"handoff,omitempty" about:"what a person does with a delivery of the kind handoff"`
}

// UnmarshalYAML puts the default mode in first.
func (a *App) UnmarshalYAML(node ast.Node) error {
	type fields App
	f := fields{Mode: "self"}
	if err := plain(node, &f); err != nil {
		return err
	}
	*a = App(f)
	return nil
}

// Delivery brings a key pair to one place.
type Delivery struct {
	Kind string `yaml:"kind" about:"a file that is written, a hook that is run, or a person who fetches it" enum:"file|exec|handoff"`
	// Path of the target of a file.
	Path     string `yaml:"path,omitempty" about:"the file to write"`
	Encoding string `yaml:"encoding,omitempty" about:"form of the file or of the hand-off; absent is the policy's" enum:"modern|legacy-des|pem"`
	// Mode is octal, such as 0640; empty is by the file that is there, or by its folder.
	Mode         Mode   `yaml:"mode,omitempty" about:"permission bits of the file, octal, nothing for others; default that of the file that is there, else 0640 in a folder made for a group, else 0600"`
	Group        string `yaml:"group,omitempty" about:"group of the file; default that of its folder"`
	PasswordPath string `yaml:"password_path,omitempty" about:"file that gets the password, once"`
	Previous     bool   `yaml:"previous,omitempty" about:"also write the pair that is replaced, to PATH.previous"`
	Replace      bool   `yaml:"replace,omitempty" about:"overwrite a file that holds somebody else's certificate"`
	// Hook is the name of the program of an exec.
	Hook string `yaml:"hook,omitempty" about:"name of a program in hooks, with exec"`
}

// Mode is the permission bits of a file as octal text. In YAML it may stand with or
// without quotes.
type Mode string

// MarshalYAML writes the digits, quoted by the encoder.
func (m Mode) MarshalYAML() (any, error) { return string(m), nil }

// UnmarshalYAML reads the digits as they stand there.
func (m *Mode) UnmarshalYAML(node ast.Node) error {
	text, err := scalar(node)
	if err != nil {
		return err
	}
	*m = Mode(text)
	return nil
}

// Confirm is an app's rule for "the consumer uses the new key".
type Confirm struct {
	// Rule is empty for the default, automatic.
	Rule string `yaml:"rule,omitempty" about:"by time, by a hook that exits 0, or by a person; default automatic" enum:"automatic|command|person"`
	// Hook is the name of the program of a command.
	Hook string `yaml:"hook,omitempty" about:"name of a program in hooks, with command"`
}

// HandOff tells a person how to bring a key pair to a consumer.
type HandOff struct {
	Consumer string `yaml:"consumer,omitempty" about:"the program or service that gets it"`
	// Steps in order.
	Steps []string `yaml:"steps,omitempty" about:"what to do there, in order; {app}, {file}, {code}, {client_id} and {tenant_id} stand for those of the app"`
}

// LoadApps reads a file of apps and checks it. Relative paths stay as they are. Errors
// are those of [Load].
func LoadApps(r io.Reader) (*Apps, error) { return loadApps(r, "", "") }

// LoadAppsFile reads a file of apps, YAML or, if its name ends with .csv, a spreadsheet, makes relative paths relative to its folder, and
// checks it. Errors are those of [LoadFile].
func LoadAppsFile(path string) (*Apps, error) {
	data, folder, err := open("file of apps", path)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(filepath.Ext(path), ".csv") {
		return loadAppsCSV(data, path, folder)
	}
	return loadApps(bytes.NewReader(data), path, folder)
}

func loadApps(r io.Reader, file, folder string) (*Apps, error) {
	a := &Apps{}
	s, err := decode(r, file, a)
	if err != nil {
		return nil, err
	}
	if folder != "" {
		resolve(folder, a.paths())
	}
	if err := s.report(a.problems()); err != nil {
		return nil, err
	}
	return a, nil
}

// paths returns the settings that hold paths of files.
func (a *Apps) paths() []*string {
	var out []*string
	for i := range a.Apps {
		app := &a.Apps[i]
		out = append(out, &app.PFX, &app.PasswordFile)
		for j := range app.Deliveries {
			out = append(out, &app.Deliveries[j].Path, &app.Deliveries[j].PasswordPath)
		}
	}
	return out
}
