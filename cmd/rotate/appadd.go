package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config/textfile"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
)

func newAppAddCommand(a *app) *cobra.Command {
	var (
		format             outputFormat
		flags              appFlags
		spec               control.AppSpec
		pair, passwordFile string
		certificate        string
		pemCert, pemKey    string
		profile            string
	)
	cmd := &cobra.Command{
		Use:   "add APP --tenant TENANT --client-id ID --pfx FILE --password-file FILE",
		Short: "Track an app with the certificate that it uses now",
		Long: `Tracks an app registration from now on. The key pair that its consumer uses now
is opened, checked, tried with a sign-in, and stored sealed. Nothing changes in
Entra.

In self mode (the default) the app adds its own next certificate, signed with its
current key: it needs no permission, but its object ID and key ID must be given if
it may not read itself. In managed mode the tenant's identity does it; without --pfx
rotate makes the first key of its own, and leaves what is on the app alone.

Where only the public part is known, --from-certificate monitors the app: alerts before
the certificate expires, and no rotation. Adding it again with --pfx, or with --mode
managed, has it rotated.`,
		Example: `  rotate app add contoso-sync --tenant contoso \
    --client-id 22222222-3333-4444-5555-666666666666 \
    --pfx contoso-sync.pfx --password-file contoso-sync.password \
    --deliver-file /srv/contoso-sync/contoso-sync.pfx`,
		Args: arguments(1, 1, "a name for the app"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name = args[0]
			switch {
			case spec.Tenant == "":
				return usagef("app %s: --tenant is needed: the name of a tenant of the configuration", spec.Name)
			case spec.ClientID == "":
				return withHint(usagef("app %s: --client-id is needed", spec.Name), `in the Entra portal: App registrations, the app, Overview, "Application (client) ID"`)
			case (pemCert != "") != (pemKey != ""):
				return usagef("app %s: --cert and --key go together: the certificate and its private key", spec.Name)
			case pemCert != "" && pair != "":
				return usagef("app %s: give either --pfx, or --cert and --key", spec.Name)
			case passwordFile != "" && pair == "" && pemCert == "":
				return usagef("app %s: --password-file only goes with --pfx", spec.Name)
			}
			if err := flags.finish(); err != nil {
				return err
			}
			spec.Mode, spec.ObjectID, spec.KeyID, spec.Owner = flags.mode, flags.objectID, flags.keyID, flags.owner
			spec.Permissions, spec.Tags, spec.Probe = flags.permissions, flags.tags, flags.probe
			spec.Evidence, spec.NoConsumer, spec.Verify, spec.FriendlyName = flags.evidence, flags.noConsumer, flags.verify, flags.friendlyName
			spec.Deliveries, spec.Confirm, spec.Policy.Encoding = flags.deliveries, flags.confirm.Confirm, flags.encoding
			if _, err := flags.policy.put(cmd, &spec.Policy); err != nil {
				return err
			}
			if cmd.Flags().Changed("prove-scope") {
				spec.Policy.ProveScopes = flags.scopes()
			}
			if profile != "" {
				p, err := a.profile(profile)
				if err == nil {
					err = useProfile(&spec, p)
				}
				if err != nil {
					return err
				}
			}
			if pair != "" {
				var err error
				if spec.PFX, spec.Password, err = readPair(pair, passwordFile); err != nil {
					return fmt.Errorf("app %s: %w", spec.Name, err)
				}
			}
			if pemCert != "" {
				var err error
				if spec.PFX, spec.Password, err = readPEMs(pemCert, pemKey, passwordFile); err != nil {
					return fmt.Errorf("app %s: %w", spec.Name, err)
				}
			}
			if certificate != "" {
				var err error
				if spec.Certificate, err = readCertificate(certificate); err != nil {
					return &usageError{fmt.Sprintf("app %s: %v", spec.Name, err)}
				}
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				added, err := conn.Add(ctx, spec)
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, added)
				}
				status, err := conn.Status(ctx, spec.Name)
				if err != nil {
					return err
				}
				writeAdded(newTerminal(a.stdout, a.getenv), added, status, conn.local)
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&spec.Tenant, "tenant", "", "name of a tenant of the configuration (needed)")
	f.StringVar(&spec.ClientID, "client-id", "", "application (client) ID (needed)")
	f.StringVar(&profile, "profile", "", "preset for its consumer (rotate profile list); the other flags win")
	f.StringVar(&pair, "pfx", "", "PFX or PEM file with the certificate and key in use")
	f.StringVar(&pemCert, "cert", "", "certificate file (PEM or DER) that goes with --key")
	f.StringVar(&pemKey, "key", "", "PEM file with its private key; --password-file opens an encrypted one")
	f.StringVar(&certificate, "from-certificate", "", "certificate file (PEM or DER) where nobody has the key: monitor only, never rotate")
	f.StringVar(&passwordFile, "password-file", "", "file with the password of the PFX")
	f.BoolVar(&spec.NewPassword, "new-password", false, "have the first rotation make a password of its own; needed if the one of the file is not one printable line")
	flags.register(cmd)
	format.flag(cmd)
	return cmd
}

// writeAdded sums up what is tracked now and what happens next.
func writeAdded(t *terminal, added control.Added, status control.Status, local bool) {
	tracked := added.App
	now := time.Now()
	in := ""
	if tracked.DisplayName != "" {
		in = fmt.Sprintf(" (%q in Entra)", tracked.DisplayName)
	}
	fmt.Fprintf(t.w, "%s %s%s is tracked.\n", t.paint(green, "✔"), t.paint(bold, tracked.Name), in)
	var rows table
	row := func(name, value string) {
		if value != "" {
			rows.row("  "+t.paint(dim, name), value)
		}
	}
	if tracked.Current == nil {
		row("certificate", "none yet; the first rotation makes it")
	} else {
		row("certificate", credentialText(tracked.Current, now))
		if tracked.Mode != string(rotator.ModeMonitor) {
			row("sign-in", tokenText(added, now))
		}
	}
	row("mode", modeText(tracked.Mode))
	for _, found := range added.Found {
		row("found", found)
	}
	for _, d := range tracked.Deliveries {
		row("delivery", deliveryText(d))
	}
	if tracked.NoConsumer {
		row("delivery", noConsumerText)
	}
	if tracked.Mode != string(rotator.ModeMonitor) {
		row("confirmed", confirmText(tracked.Confirm))
	}
	for _, s := range status.Apps {
		switch {
		case s.Mode == string(rotator.ModeMonitor):
			row("rotated", "never: it is only watched")
		case s.DueAt != nil && s.DueAt.After(now):
			row("rotated", fmt.Sprintf("%s, on %s", relative(s.DueAt, now), s.DueAt.Local().Format("2006-01-02")))
		default:
			row("rotated", t.paint(yellow, "due now"))
		}
	}
	rows.write(t.w)
	for _, warning := range added.Warnings {
		fmt.Fprintln(t.w, t.paint(yellow, "  ! "+warning))
	}
	if tracked.Mode == string(rotator.ModeMonitor) {
		fmt.Fprintf(t.w, "  Next: the daemon alerts before it expires; \"rotate app add %s … --pfx FILE\" has it rotated.\n", tracked.Name)
		return
	}
	next := fmt.Sprintf("  Next: the daemon rotates it when it is due; \"rotate now %s\" does it at once.", tracked.Name)
	if local {
		next = fmt.Sprintf("  Next: \"rotate daemon\" rotates it when it is due; \"rotate now %s\" does it at once.", tracked.Name)
	}
	fmt.Fprintln(t.w, next)
}

// tokenText says what a sign-in with its certificate gave, if one was made.
func tokenText(added control.Added, now time.Time) string {
	switch {
	case added.SignedIn:
		return rolesText(added.Roles)
	case added.App.Current.NotAfter.Before(now):
		return "not tried: the certificate has expired"
	}
	return "not tried, or refused from this host"
}

func rolesText(roles []string) string {
	if len(roles) == 0 {
		return "OK; the token carries no permission"
	}
	return "OK; permissions in the token: " + strings.Join(roles, ", ")
}

// readCertificate reads a certificate, DER or PEM.
func readCertificate(path string) ([]byte, error) {
	data, err := readFile(path, pfx.MaxBytes)
	if err != nil || len(data) > 0 && data[0] == 0x30 {
		return data, err
	}
	if data, err = textfile.Decode(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}
