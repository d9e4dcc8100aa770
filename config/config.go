// Package config reads the daemon's configuration and the file of apps for "rotate
// apply": strict YAML, defaults put in, every problem reported with its place.
//
// Start at [LoadFile], which gives a [Config], and [LoadAppsFile], which gives [Apps].
// The package checks form and ranges. Whether a policy can work, whether a file or a
// program exists and what a tenant says are not its business. It reads no environment
// and logs nothing.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/seed-f0abd057/rotate/config/guard"
)

// Config is the daemon's configuration. See config.example.yaml for every key.
type Config struct {
	// AllowRoot lets the daemon run as root.
	AllowRoot bool     `yaml:"allow_root,omitempty" about:"true lets the daemon run as root, which it refuses otherwise"`
	Store     Store    `yaml:"store" about:"where tracked apps and their sealed keys are kept"`
	Control   Control  `yaml:"control" about:"how the command line reaches the daemon"`
	Schedule  Schedule `yaml:"schedule" about:"when the daemon checks what is due, a cron expression in UTC; the certificates' dates decide what happens"`
	// Discovery is the regular look at whole tenants.
	Discovery Discovery `yaml:"discovery" about:"the regular look at what the tenants hold"`
	// Workers is the number of rotations side by side, at least 1.
	Workers Count `yaml:"workers" about:"rotations side by side"`
	Log     Log   `yaml:"log" about:"log lines on stderr"`
	// Proxy is a URL; empty means HTTPS_PROXY and NO_PROXY of the environment.
	Proxy    string   `yaml:"proxy" about:"URL of the proxy for Entra and Graph; empty is HTTPS_PROXY and NO_PROXY of the environment"`
	Defaults Defaults `yaml:"defaults" about:"policy of every app that says nothing else"`
	// Profiles is a folder with profiles of your own; empty is none.
	Profiles string          `yaml:"profiles,omitempty" about:"folder with profiles of your own, one NAME.yaml each"`
	Hooks    map[string]Hook `yaml:"hooks,omitempty" about:"programs that deliveries and confirmation rules may run, by name"`
	// DeliveryRoots are absolute; empty: anywhere.
	DeliveryRoots []string `yaml:"delivery_roots,omitempty" about:"folders in or below which files are delivered; absent is anywhere but the service's own files"`
	Tenants       []Tenant `yaml:"tenants,omitempty" about:"Entra tenants"`
	Backup        Backup   `yaml:"backup,omitempty" about:"regular backups; absent is none"`
	Notify        Notify   `yaml:"notify" about:"who hears of what"`
	Page          Page     `yaml:"page" about:"the web page"`
	Metrics       Metrics  `yaml:"metrics" about:"numbers and health for Prometheus and others"`
	OTLP          OTLP     `yaml:"otlp" about:"traces of rotations"`
}

// Store says where the daemon keeps its data.
type Store struct {
	// Path of the bbolt file.
	Path string `yaml:"path" about:"the database file"`
	// IdentityFile is the path of the age identity that opens sealed keys.
	IdentityFile string `yaml:"identity_file" about:"the age identity that opens sealed keys; keep it in another folder than the database"`
	// Recovery is an age recipient, "none", or empty: not decided.
	Recovery string `yaml:"recovery" about:"age recipient (age1…) for rotate init, or none; empty is to be decided at its command line"`
}

// Discovery says when the daemon looks at what the tenants hold.
type Discovery struct {
	// Schedule; the zero value never comes.
	Schedule Schedule `yaml:"schedule" about:"when the daemon looks for credentials that appeared, vanished or end, a cron expression in UTC"`
	// Off turns it off.
	Off bool `yaml:"off" about:"true turns it off"`
}

// Backup is when and where the daemon writes backups.
type Backup struct {
	// Path is the absolute path of a folder; empty: no backups.
	Path string `yaml:"path,omitempty" about:"folder that gets rotate-DATE.age, sealed to the recovery recipient; the service must be able to write to it"`
	// Schedule; the zero value is daily.
	Schedule Schedule `yaml:"schedule,omitempty" about:"when a backup is written, a cron expression in UTC; default once a day, 23 3 * * *"`
	// Keep is how many files stay; 0 is 14.
	Keep Count `yaml:"keep,omitempty" about:"how many of these files stay, the newest; default 14"`
}

// IsZero says whether there is none.
func (b Backup) IsZero() bool { return b.Path == "" && b.Schedule.IsZero() && b.Keep == 0 }

// Control says where the control API listens.
type Control struct {
	// Socket is the path of a unix socket, at most 107 bytes.
	Socket string `yaml:"socket" about:"unix socket of the control API, at most 107 bytes"`
	// ChangeGroup and ViewGroup are names or numbers; empty: no group is served.
	ChangeGroup string `yaml:"change_group" about:"group whose members may give orders, if this host has it; empty is none"`
	ViewGroup   string `yaml:"view_group" about:"group whose members may read only, if this host has it; empty is none"`
	// KeysGroup is a name or number; empty: only root takes keys.
	KeysGroup string `yaml:"keys_group" about:"group whose members may take private keys (export, hand-off packages, backups to other recipients), if this host has it; empty is root only"`
	// Export is on or off.
	Export string `yaml:"export" about:"off refuses exports and backups to other recipients, to root too" enum:"on|off"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level" about:"lowest level that is logged" enum:"debug|info|warn|error"`
	Format string `yaml:"format" about:"form of log lines" enum:"text|json"`
}

// Hook is a program that deliveries and confirmation rules may run by its name.
type Hook struct {
	// Command is the absolute path of the program and its arguments. No shell.
	Command []string `yaml:"command" about:"absolute path of the program, then its arguments; no shell"`
	// Timeout after which the program and all it started are killed.
	Timeout Duration `yaml:"timeout" about:"after this time it is killed with all it started; default 60s"`
	// Env names variables of the daemon's environment that it gets. Nil is none.
	Env []string `yaml:"env,omitempty" about:"names of the daemon's environment variables that are passed on; default none"`
}

// UnmarshalYAML puts the default time limit in first.
func (h *Hook) UnmarshalYAML(node ast.Node) error {
	type fields Hook
	f := fields{Timeout: Duration(time.Minute)}
	if err := plain(node, &f); err != nil {
		return err
	}
	*h = Hook(f)
	return nil
}

// Default returns the configuration of an empty file.
func Default() *Config {
	hourly, err := ParseSchedule("17 * * * *")
	if err != nil {
		panic(err) // a bug: the text is a constant
	}
	daily, err := ParseSchedule("41 4 * * *")
	if err != nil {
		panic(err) // a bug: the text is a constant
	}
	return &Config{
		Discovery: Discovery{Schedule: daily},
		Store:     Store{Path: "/var/lib/rotate/rotate.db", IdentityFile: "/etc/rotate/store.key"},
		Control:   Control{Socket: "/run/rotate/rotate.sock", ChangeGroup: "rotate", ViewGroup: "rotate-view", Export: "on"},
		Schedule:  hourly,
		Workers:   4,
		Log:       Log{Level: "info", Format: "text"},
		Metrics:   Metrics{PerApp: true, PerAppLimit: 10_000},
		Defaults:  Defaults{Policy: DefaultPolicy()},
		Notify:    Notify{ExpiryStages: DefaultExpiryStages()},
	}
}

// Load reads a configuration and checks it. Relative paths stay as they are. It
// returns [ErrEmpty], or one or more [*Error], joined.
func Load(r io.Reader) (*Config, error) { return load(r, "", "") }

// LoadFile reads the configuration in a file, makes relative paths relative to its
// folder, and checks it. "~" is not expanded. Errors are those of [Load] with the
// file's name, or what the system says about the file.
func LoadFile(path string) (*Config, error) {
	data, folder, err := open("configuration", path)
	if err != nil {
		return nil, err
	}
	return load(bytes.NewReader(data), path, folder)
}

func load(r io.Reader, file, folder string) (*Config, error) {
	c := Default()
	// The built-in policy is put under what the file says, not over it before: keys
	// inside prove and upload_limit are inherited one by one.
	c.Defaults.Policy = Policy{}
	s, err := decode(r, file, c)
	if err != nil {
		return nil, err
	}
	c.Defaults.Policy = c.Defaults.Over(DefaultPolicy())
	if folder != "" {
		resolve(folder, c.paths())
	}
	if err := s.report(c.problems()); err != nil {
		return nil, err
	}
	return c, nil
}

// report gives problems their places and joins them.
func (s *source) report(problems []*Error) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = s.locate(p)
	}
	return errors.Join(errs...)
}

// paths returns the settings that hold paths of files.
func (c *Config) paths() []*string {
	out := []*string{&c.Store.Path, &c.Store.IdentityFile, &c.Control.Socket, &c.Profiles, &c.Metrics.Textfile}
	out = append(out, &c.Page.TLS.CertificateFile, &c.Page.TLS.KeyFile)
	if c.Page.Clients != nil {
		out = append(out, &c.Page.Clients.CAFile)
	}
	if c.Page.Login != nil {
		out = append(out, &c.Page.Login.ClientSecretFile)
	}
	for i := range c.Tenants {
		t := &c.Tenants[i]
		out = append(out, &t.Cloud.CAFile)
		if t.Identity == nil {
			continue
		}
		out = append(out, &t.Identity.ClientSecretFile, &t.Identity.CertificateFile, &t.Identity.PasswordFile)
		if w := t.Identity.WorkloadIdentity; w != nil {
			out = append(out, &w.TokenFile)
		}
	}
	return append(out, c.Notify.paths()...)
}

// secretPaths are those of [Config.paths] whose files hold a secret. Tokens of a platform
// are not among them: it decides who may read them, and makes them anew.
func (c *Config) secretPaths() []string {
	out := []string{c.Page.TLS.KeyFile, c.Notify.Heartbeat.URLFile}
	if c.Page.Login != nil {
		out = append(out, c.Page.Login.ClientSecretFile)
	}
	for i := range c.Tenants {
		if id := c.Tenants[i].Identity; id != nil {
			out = append(out, id.ClientSecretFile, id.CertificateFile, id.PasswordFile)
		}
	}
	for i := range c.Notify.Channels {
		out = append(out, c.Notify.Channels[i].secretPaths()...)
	}
	return out
}

// holdsSecret reports whether the file itself holds a secret.
func (c *Config) holdsSecret() bool {
	inChannel := func(ch Channel) bool { return len(ch.inline()) > 0 }
	if c.Notify.Heartbeat.URL.value != nil || slices.ContainsFunc(c.Notify.Channels, inChannel) {
		return true
	}
	return slices.ContainsFunc(c.Tenants, func(t Tenant) bool {
		return t.Identity != nil && (!t.Identity.ClientSecret.IsZero() || !t.Identity.Password.IsZero())
	})
}

// Guard refuses files that somebody besides root and the user who runs the daemon could
// change, or read where they hold a secret: the configuration in path, what it
// names, profiles, and the programs of hooks and channels. The store looks at its own
// files. Errors are [*guard.Error], joined.
func (c *Config) Guard(path string, uid int) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	var errs []error
	secrets := c.secretPaths()
	if c.holdsSecret() {
		errs = append(errs, guard.Secret(path, uid))
	} else {
		errs = append(errs, guard.Deciding(path, uid))
	}
	done := map[string]bool{"": true, c.Store.Path: true, c.Store.IdentityFile: true, c.Control.Socket: true, c.Metrics.Textfile: true}
	for _, p := range c.paths() {
		if done[*p] || !filepath.IsAbs(*p) {
			continue
		}
		done[*p] = true
		if slices.Contains(secrets, *p) {
			errs = append(errs, guard.Secret(*p, uid))
		} else {
			errs = append(errs, guard.Deciding(*p, uid))
		}
	}
	if c.Profiles != "" {
		profiles, err := filepath.Glob(filepath.Join(c.Profiles, "*.yaml"))
		errs = append(errs, err)
		for _, p := range profiles {
			errs = append(errs, guard.Deciding(p, uid))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Hooks)) {
		if err := guard.Program(c.Hooks[name].Command, uid); err != nil {
			errs = append(errs, fmt.Errorf("hooks.%s: %w", name, err))
		}
	}
	for i := range c.Notify.Channels {
		if e := c.Notify.Channels[i].Exec; e != nil {
			if err := guard.Program(e.Command, uid); err != nil {
				errs = append(errs, fmt.Errorf("channel %s: %w", c.Notify.Channels[i].Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Files returns the files and folders that the configuration names, programs included. The
// store's path ends with "*": what it makes beside itself begins with that name.
func (c *Config) Files() []string {
	var out []string
	add := func(path string) {
		if filepath.IsAbs(path) {
			out = append(out, path)
		}
	}
	add(c.Store.Path + "*")
	add(c.Backup.Path)
	for _, p := range c.paths() {
		add(*p)
	}
	for _, h := range c.Hooks {
		if len(h.Command) > 0 {
			add(h.Command[0])
		}
	}
	for i := range c.Notify.Channels {
		if e := c.Notify.Channels[i].Exec; e != nil && len(e.Command) > 0 {
			add(e.Command[0])
		}
	}
	return out
}

// resolve makes relative paths relative to the folder. Empty ones stay empty.
func resolve(folder string, paths []*string) {
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) && !strings.HasPrefix(*p, credentialPrefix) {
			*p = filepath.Join(folder, *p)
		}
	}
}

// open reads a file and returns the absolute path of its folder.
func open(what, path string) (data []byte, folder string, err error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's own
	if err != nil {
		return nil, "", fmt.Errorf("open "+what+": %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, "", fmt.Errorf("open "+what+": %w", err)
	}
	if info.IsDir() {
		return nil, "", fmt.Errorf("open "+what+": %w", &os.PathError{Op: "open", Path: path, Err: errors.New("it is a folder; give the file in it")})
	}
	if data, err = io.ReadAll(io.LimitReader(f, maxBytes+1)); err != nil {
		return nil, "", fmt.Errorf("read "+what+": %w", err)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, "", fmt.Errorf("open "+what+": %w", err)
	}
	return data, filepath.Dir(absolute), nil
}
