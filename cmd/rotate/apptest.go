package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
)

func newAppTestCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		file   testedFile
	)
	cmd := &cobra.Command{
		Use:   "test APP | test --pfx FILE --password-file FILE --tenant TENANT --client-id ID",
		Short: "Test an app: sign-in, permissions, certificate, delivery",
		Long: `Signs in as the app, with a cold cache, and looks at everything that a consumer's
own test button leaves unsaid: the file, the key, the dates, tenant and client ID,
whether the certificate is on the app, each permission (declared, consented, in the
token), each probe, permissions beyond those that are needed, the clock, the
tenant's policy for the next certificate, and the days left. Each line has a mark,
what was seen, and the next step. Nothing is changed.

With --pfx it tests a file that you hold, without the store and without a daemon.

It ends with 1 if a check failed; warnings alone end with 0.`,
		Example: `  rotate app test contoso-sync
  rotate app test --pfx contoso.pfx --password-file contoso.password \
    --tenant contoso --client-id 22222222-3333-4444-5555-666666666666 --permission Mail.Read`,
		Args:              arguments(0, 1, "the name of an app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && file.pfx == "":
				return usagef("app test needs the name of an app, or --pfx with a file to test")
			case len(args) == 1 && file.pfx != "":
				return usagef("app test takes the name of an app or --pfx, not both: a file is tested without the store")
			case file.pfx != "":
				checks, err := a.testFile(cmd.Context(), file)
				if err != nil {
					return err
				}
				return a.tested(checks, format)
			case file.isGiven():
				return usagef("app test %s: the other flags only go with --pfx", args[0])
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				checks, err := conn.Test(ctx, args[0])
				if err != nil {
					return err
				}
				return a.tested(checks, format)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&file.pfx, "pfx", "", "PFX or PEM file to test, without the store")
	f.StringVar(&file.passwordFile, "password-file", "", "file with the password of the PFX")
	f.StringVar(&file.tenant, "tenant", "", "name of a tenant of the configuration")
	f.StringVar(&file.clientID, "client-id", "", "application (client) ID")
	f.StringArrayVar(&file.permissions, "permission", nil, "application permission that it should have; repeatable")
	f.StringArrayVar(&file.probe, "probe", nil, "Graph path that it should be able to read; repeatable")
	f.StringVar(&file.profile, "profile", "", "preset whose permissions and probes it should have (rotate profile list)")
	format.flag(cmd)
	return cmd
}

// testedFile is a key pair in a file, and the registration that it should be of.
type testedFile struct {
	pfx, passwordFile, tenant, clientID string
	permissions, probe                  []string
	profile                             string
}

func (f testedFile) isGiven() bool {
	return f.passwordFile != "" || f.tenant != "" || f.clientID != "" || f.profile != "" || len(f.permissions)+len(f.probe) > 0
}

// testFile tests a file in this process, as the caller.
func (a *app) testFile(ctx context.Context, f testedFile) ([]control.TestCheck, error) {
	switch {
	case f.tenant == "":
		return nil, usagef("app test --pfx: --tenant is needed: the name of a tenant of the configuration")
	case f.clientID == "":
		return nil, withHint(usagef("app test --pfx: --client-id is needed"), `in the Entra portal: App registrations, the app, Overview, "Application (client) ID"`)
	}
	cfg, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	if f.profile != "" {
		p, err := config.ProfileByName(cfg.Profiles, f.profile)
		if err != nil {
			return nil, err
		}
		f.permissions, f.probe = append(p.PermissionNames(), f.permissions...), append(p.Probe, f.probe...)
	}
	c := rotator.Connection{
		App: rotator.App{
			Name: f.pfx, Tenant: f.tenant, ClientID: rotator.ClientID(f.clientID), Mode: rotator.ModeSelf,
			Permissions: f.permissions, Probe: f.probe,
		},
		Untracked: true,
	}
	if c.File, err = readFile(f.pfx, pfx.MaxBytes); err != nil {
		return nil, &usageError{err.Error()}
	}
	if f.passwordFile != "" {
		if c.Password, err = readPassword(f.passwordFile); err != nil {
			return nil, &usageError{err.Error()}
		}
	}
	defaults, err := policyOf(cfg.Defaults.Policy, config.DefaultPolicy())
	if err != nil {
		return nil, err
	}
	c.Policy = rotator.DefaultPolicy()
	c.Policy.Validity, c.Policy.RenewBefore = *defaults.Validity, *defaults.RenewBefore
	entra, err := a.anonymous(cfg, f.tenant)
	if err != nil {
		return nil, err
	}
	checks := rotator.TestConnection(ctx, entra, encoder{}, c)
	wire := make([]control.TestCheck, len(checks))
	for i, check := range checks {
		wire[i] = control.TestCheck(check)
	}
	return wire, entra.Close()
}

// anonymous is a client of one tenant without its identity and without the store:
// only pairs that are given sign in.
func (a *app) anonymous(cfg *config.Config, name string) (*graph.Client, error) {
	for _, t := range cfg.Tenants {
		if t.Name != name {
			continue
		}
		t.Identity = nil
		tenants, err := tenantsOf([]config.Tenant{t}, nil)
		if err != nil {
			return nil, err
		}
		client, err := graph.New(graph.Config{Tenants: tenants, Proxy: cfg.Proxy})
		if err != nil {
			return nil, &unusable{err}
		}
		return client, nil
	}
	return nil, usagef("the configuration has no tenant %q; add it under tenants", name)
}

// tested prints a connection test and returns the error of the command.
func (a *app) tested(checks []control.TestCheck, format outputFormat) error {
	code := exitDone
	for _, c := range checks {
		if c.Result == rotator.CheckFailed {
			code = exitFailed
		}
	}
	if format.isJSON() {
		if err := writeJSON(a.stdout, control.Tested{Checks: checks}); err != nil {
			return err
		}
	} else {
		writeTest(newTerminal(a.stdout, a.getenv), checks)
	}
	if code != exitDone {
		return &ended{code: code}
	}
	return nil
}

func writeTest(t *terminal, checks []control.TestCheck) {
	var rows table
	for _, c := range checks {
		mark := t.paint(green, "✔")
		switch c.Result {
		case rotator.CheckWarning:
			mark = t.paint(yellow, "!")
		case rotator.CheckFailed:
			mark = t.paint(red, "✖")
		}
		text := c.Fact
		if c.Next != "" {
			text += t.paint(yellow, " → "+c.Next)
		}
		rows.row(mark, c.Name, text)
	}
	rows.write(t.w)
}
