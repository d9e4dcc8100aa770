package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newHandOffCommand(a *app) *cobra.Command {
	var (
		format  outputFormat
		out     string
		request control.HandOverRequest
	)
	cmd := &cobra.Command{
		Use:   "handoff APP [--out DIR]",
		Short: "Fetch a new key pair and upload it to its consumer yourself",
		Long: `Shows what waits to be brought to the consumer of an app by a person, and the steps.

With --out it writes NAME.pfx, NAME.cer and NAME-info.txt into a folder, as you and
for you alone (0600), and shows the password of the PFX: once. --again shows it
again, which the audit trail records. Nothing is overwritten. That is for root and
members of control.keys_group, and an alert is sent.

When the consumer uses the new certificate, "rotate confirm" says so. Until then the
old one stays, for as long as it is valid.`,
		Example: `  rotate handoff contoso-sync
  rotate handoff contoso-sync --out ~/contoso-sync
  rotate confirm contoso-sync --note "test connection was green"`,
		Args:              arguments(1, 1, "the name of an app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			switch {
			case out == "" && (request.Again || request.Encoding != ""):
				return usagef("handoff %s: --again and --encoding only go with --out", name)
			case out != "" && format.isJSON():
				return usagef("handoff %s: --out shows a password, so it has no JSON", name)
			}
			if out == "" {
				return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
					h, err := conn.HandOff(ctx, name)
					if err != nil {
						return err
					}
					if format.isJSON() {
						return writeJSON(a.stdout, h)
					}
					writeHandOff(newTerminal(a.stdout, a.getenv), h, a.tenantID(h.Tenant), "")
					return nil
				})
			}
			// The files are made first, as the caller: the connection may become
			// the store's owner, and a folder that cannot be written to must not
			// cost the one showing of the password.
			files, err := newPackageFiles(out, name)
			if err != nil {
				return err
			}
			err = a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				given, err := conn.HandOver(ctx, name, request)
				if err != nil {
					return err
				}
				tenantID := a.tenantID(given.HandOff.Tenant)
				info := infoText(infoOf(given.HandOff, tenantID))
				if err := files.write(given.PFX, given.CER, []byte(info)); err != nil {
					return withHint(err, fmt.Sprintf("make room and fetch it again: rotate handoff %s --out DIR --again", name))
				}
				t := newTerminal(a.stdout, a.getenv)
				writePackage(t, files)
				writeHandOff(t, given.HandOff, tenantID, files.pfx.Name())
				writePassword(t, given.Password, name)
				return nil
			})
			return errors.Join(err, files.close(err == nil))
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "folder to write the package to; it is made if it is not there")
	f.StringVar(&request.Encoding, "encoding", "", "form of the PFX: modern, legacy-des or pem (default that of the app)")
	f.BoolVar(&request.Again, "again", false, "show the password once more")
	format.flag(cmd)
	return cmd
}

// tenantID is the ID of a tenant of the configuration; its name where it cannot
// be known.
func (a *app) tenantID(name string) string {
	if cfg, err := a.loadConfig(); err == nil {
		for _, t := range cfg.Tenants {
			if t.Name == name {
				return t.ID
			}
		}
	}
	return name
}

func infoOf(h control.HandOff, tenantID string) appInfo {
	return appInfo{
		Name: h.App, TenantID: tenantID, ClientID: h.ClientID, Permissions: h.Permissions, Certificate: *h.Certificate,
	}
}

// writePackage names the files that were written.
func writePackage(t *terminal, files *packageFiles) {
	for _, f := range files.all() {
		fmt.Fprintf(t.w, "%s wrote %s\n", t.paint(green, "✔"), f.Name())
	}
	fmt.Fprintln(t.w)
}

// writePassword shows the password, the only time it is shown.
func writePassword(t *terminal, password, name string) {
	if password == "" {
		fmt.Fprintf(t.w, "\nThe password was shown before; \"rotate handoff %s --out DIR --again\" shows it again.\n", name)
		return
	}
	fmt.Fprintf(t.w, "\nPassword of the PFX, shown this once:\n\n  %s\n", password)
}

// generalSteps are those of a consumer that nothing is known about.
func generalSteps() []string {
	return []string{
		"Open the settings of the consumer where its certificate is kept.",
		"Upload {file} and give its password.",
		"Let the consumer test its connection.",
		"Confirm: rotate confirm {app}",
	}
}

// writeHandOff shows what waits and the steps. file is where the PFX lies; empty:
// it was not fetched now.
func writeHandOff(t *terminal, h control.HandOff, tenantID, file string) {
	now := time.Now()
	consumer := cmp.Or(h.Text.Consumer, "its consumer")
	fmt.Fprintf(t.w, "%s: a key pair for %s\n", t.paint(bold, h.App), consumer)
	var rows table
	row := func(name, value string) {
		if value != "" {
			rows.row("  "+t.paint(dim, name), value)
		}
	}
	row("certificate", credentialText(h.Certificate, now))
	if h.Old != nil && !h.Confirmed {
		row("in use", credentialText(h.Old, now))
	}
	row("client ID", h.ClientID)
	row("tenant ID", tenantID)
	row("owner", h.Owner)
	switch {
	case h.Confirmed:
		row("confirmed", "the consumer uses it already")
	case h.Deadline != nil && h.Deadline.Before(now):
		row("until", t.paint(red, fmt.Sprintf("it should have been done before %s; the certificate in use ends on %s and is not removed before",
			h.Deadline.Local().Format("2006-01-02"), h.Old.NotAfter.Local().Format("2006-01-02"))))
	case h.Deadline != nil:
		row("until", t.paint(yellow, h.Deadline.Local().Format("2006-01-02")+" ("+relative(h.Deadline, now)+")"))
	}
	if h.FetchedAt != nil {
		row("fetched", h.FetchedAt.Local().Format("2006-01-02 15:04")+" by "+h.FetchedBy)
	}
	rows.write(t.w)
	if h.Confirmed {
		return
	}
	fmt.Fprintln(t.w)
	n := 0
	step := func(text string) {
		n++
		fmt.Fprintf(t.w, "  %d. %s\n", n, text)
	}
	if file == "" {
		step(fmt.Sprintf("Fetch it: rotate handoff %s --out DIR", h.App))
		file = h.App + ".pfx"
	}
	steps := h.Text.Steps
	if len(steps) == 0 {
		steps = generalSteps()
	}
	confirms := false
	for _, s := range steps {
		step(strings.NewReplacer("{app}", h.App, "{file}", file, "{code}", "CODE", "{client_id}", h.ClientID, "{tenant_id}", tenantID).Replace(s))
		confirms = confirms || strings.Contains(s, "rotate confirm")
	}
	if !confirms {
		step(fmt.Sprintf("Confirm: rotate confirm %s", h.App))
	}
	fmt.Fprintln(t.w, "\nConfirming asks for the first 8 digits of the thumbprint that the consumer shows.")
}

// appInfo is what NAME-info.txt holds: everything that a consumer asks for, but
// no secret.
type appInfo struct {
	Name, DisplayName, TenantID, ClientID, ObjectID string
	Permissions                                     []string
	Certificate                                     control.Credential
}

func infoText(i appInfo) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-26s%s\n", name+":", value)
		}
	}
	line("App", i.Name)
	line("Name in Entra", i.DisplayName)
	line("Application (client) ID", i.ClientID)
	line("Directory (tenant) ID", i.TenantID)
	line("Object ID", i.ObjectID)
	line("Thumbprint (SHA-1)", i.Certificate.ThumbprintSHA1)
	line("Thumbprint (SHA-256)", i.Certificate.ThumbprintSHA256)
	line("Valid from", i.Certificate.NotBefore.UTC().Format(time.RFC3339))
	line("Valid until", i.Certificate.NotAfter.UTC().Format(time.RFC3339))
	line("Permissions", strings.Join(i.Permissions, ", "))
	_, _ = io.WriteString(&b, "\nThe password of "+i.Name+".pfx is not in this file.\n") // a builder never fails
	return b.String()
}
