package config

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// builtin holds the profiles that come with the program.
//
//go:embed profiles/*.yaml
var builtin embed.FS

// Profile is a named preset for a kind of consumer. What is empty in it is left to
// the app and to the defaults.
type Profile struct {
	Name  string `yaml:"name" about:"name of the profile, that of its file"`
	About string `yaml:"about,omitempty" about:"one line about it"`
	// DisplayName of a new registration. Empty: the app's local name.
	DisplayName string              `yaml:"display_name,omitempty" about:"name of a new registration in Entra"`
	Permissions []ProfilePermission `yaml:"permissions,omitempty" about:"application permissions of Microsoft Graph that it needs"`
	Policy      Policy              `yaml:"policy,omitempty" about:"what differs from the defaults of the configuration"`
	Probe       []string            `yaml:"probe,omitempty" about:"paths that a new key must be able to GET from Graph"`
	Deliveries  []Delivery          `yaml:"deliveries,omitempty" about:"where a new key pair goes, in this order"`
	Confirm     Confirm             `yaml:"confirm,omitempty" about:"when the consumer counts as using the new key"`
	HandOff     HandOff             `yaml:"handoff,omitempty" about:"what a person does with a delivery of the kind handoff"`
	// Source is where it comes from: a path, or "built in".
	Source string `yaml:"-"`
}

// ProfilePermission is one application permission and why it is needed.
type ProfilePermission struct {
	Name   string `yaml:"name" about:"such as Mail.Read"`
	Reason string `yaml:"reason" about:"why it is needed"`
}

// PermissionNames returns the names alone.
func (p *Profile) PermissionNames() []string {
	var names []string
	for _, one := range p.Permissions {
		names = append(names, one.Name)
	}
	return names
}

// ErrNoProfile says that there is no profile of that name.
var ErrNoProfile = errors.New("no such profile")

// LoadProfileFile reads one profile and checks it. Errors are those of [LoadFile].
func LoadProfileFile(path string) (*Profile, error) {
	data, _, err := open("profile", path)
	if err != nil {
		return nil, err
	}
	return loadProfile(bytes.NewReader(data), path)
}

func loadProfile(r io.Reader, file string) (*Profile, error) {
	p := &Profile{}
	s, err := decode(r, file, p)
	if err != nil {
		return nil, err
	}
	p.Source = file
	if err := s.report(p.problems(strings.TrimSuffix(filepath.Base(file), ".yaml"))); err != nil {
		return nil, err
	}
	return p, nil
}

// Profiles returns the profiles of a folder and the built-in ones, by name. One of
// the folder hides a built-in one of its name. An empty folder name means none. A
// profile that is wrong is left out, and its error joined to the others.
func Profiles(folder string) ([]*Profile, error) {
	var list []*Profile
	var failed []error
	if folder != "" {
		paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if _, statErr := os.Stat(folder); err == nil && statErr != nil {
			err = fmt.Errorf("profiles: %w", statErr)
		}
		failed = append(failed, err)
		for _, path := range paths {
			p, err := LoadProfileFile(path)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			list = append(list, p)
		}
	}
	names, err := fs.Glob(builtin, "profiles/*.yaml")
	failed = append(failed, err)
	for _, name := range names {
		data, err := builtin.ReadFile(name)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		p, err := loadProfile(bytes.NewReader(data), filepath.Base(name))
		if err != nil {
			failed = append(failed, err)
			continue
		}
		p.Source = "built in"
		if !slices.ContainsFunc(list, func(o *Profile) bool { return o.Name == p.Name }) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *Profile) int { return strings.Compare(a.Name, b.Name) })
	return list, errors.Join(failed...)
}

// ProfileByName returns one profile of a folder or a built-in one. It returns
// [ErrNoProfile], naming those that there are.
func ProfileByName(folder, name string) (*Profile, error) {
	list, err := Profiles(folder)
	var names []string
	for _, p := range list {
		if p.Name == name {
			return p, nil // that another one is wrong is its own affair
		}
		names = append(names, p.Name)
	}
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("profile %q: %w; there are: %s", name, ErrNoProfile, strings.Join(names, ", "))
}

func (p *Profile) problems(file string) []*Error {
	k := &checker{}
	k.name("name", p.Name)
	if p.Name != file {
		k.add("name", "%q is not the name of the file, %q", p.Name, file)
	}
	if !printable(p.About) {
		k.add("about", "%q holds control characters", p.About)
	}
	if !printable(p.DisplayName) || len(p.DisplayName) > 120 {
		k.add("display_name", "%q is not a name of at most 120 characters", p.DisplayName)
	}
	form := regexp.MustCompile(`^[A-Z][A-Za-z]*(-[A-Za-z]+)*(\.[A-Za-z]+)+$`)
	seen := map[string]string{}
	for i, one := range p.Permissions {
		at := fmt.Sprintf("permissions[%d]", i)
		if !form.MatchString(one.Name) {
			k.add(at+".name", "%q is not an application permission of Microsoft Graph such as Mail.Read", one.Name)
		}
		k.unique(seen, at+".name", one.Name)
		if strings.TrimSpace(one.Reason) == "" || !printable(one.Reason) {
			k.add(at+".reason", "say in one line why %s is needed", one.Name)
		}
	}
	k.uses("", App{Policy: p.Policy, Probe: p.Probe, Deliveries: p.Deliveries, Confirm: p.Confirm, HandOff: p.HandOff})
	return k.problems
}
