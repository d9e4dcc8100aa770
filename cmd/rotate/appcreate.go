package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/graph"
)

// adminFlags say how an administrator signs in.
type adminFlags struct{ how, clientID, secretFile string }

// adminApp is an app that acts as the administrator, for automation.
const adminApp = "app"

func (f *adminFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.how, "auth", graph.AdminDevice, "how an administrator signs in: device (a code), browser, cli (az login), identity (the tenant's), app")
	flags.StringVar(&f.clientID, "auth-client-id", "", "with --auth app: its application (client) ID")
	flags.StringVar(&f.secretFile, "auth-secret-file", "", "with --auth app: file with its client secret")
}

func (f *adminFlags) check() error {
	if (f.how == adminApp) != (f.clientID != "" && f.secretFile != "") {
		return usagef("--auth app, --auth-client-id and --auth-secret-file go together")
	}
	return nil
}

// adminToken signs an administrator in, in this process. The token is kept nowhere.
func (a *app) adminToken(ctx context.Context, tenant string, f adminFlags) (control.Admin, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return "", err
	}
	for _, t := range cfg.Tenants {
		if t.Name != tenant {
			continue
		}
		how := f.how
		if how == adminApp {
			t.Identity = &config.Identity{ClientID: f.clientID, ClientSecretFile: f.secretFile}
			how = graph.AdminIdentity
		}
		tenants, err := tenantsOf([]config.Tenant{t}, nil)
		if err != nil {
			return "", err
		}
		client, err := graph.New(graph.Config{Tenants: tenants, Proxy: cfg.Proxy})
		if err != nil {
			return "", &unusable{err}
		}
		token, err := client.AdminToken(ctx, tenant, how, func(text string) { fmt.Fprintln(a.stderr, text) })
		return control.Admin(token), errors.Join(err, client.Close())
	}
	return "", usagef("the configuration has no tenant %q; add it under tenants", tenant)
}

// consentEvery is how often a consent of somebody else is looked for.
const consentEvery = 5 * time.Second

func newAppCreateCommand(a *app) *cobra.Command {
	var (
		format       outputFormat
		flags        appFlags
		admin        adminFlags
		request      control.CreateRequest
		profile, out string
		noWait       bool
	)
	cmd := &cobra.Command{
		Use:   "create APP --tenant TENANT --out DIR [--profile PROFILE]",
		Short: "Make an app registration, with certificate, permissions and consent",
		Long: `Makes an app registration of this tenant only, with its service principal, a
certificate, its permissions and admin consent, tests it, tracks it, and writes
APP.pfx, APP.cer and APP-info.txt into a folder, as you and for you alone (0600).
The password of the PFX is shown once.

An administrator signs in for this one command, in this process; the token goes with
the request and is kept nowhere. With --no-consent somebody else consents: the
address is printed, and the command waits. It can be interrupted anywhere: run it
again, and it goes on and makes nothing twice. --dry-run prints every request that
it would make, and makes none.`,
		Example: `  rotate app create contoso-sync --tenant contoso --profile cloudm-continuity --out ~/contoso
  rotate app create contoso-sync --tenant contoso --profile cloudm-continuity --out ~/contoso --dry-run`,
		Args: arguments(1, 1, "a name for the app"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec := &request.Spec
			spec.Name = args[0]
			switch {
			case spec.Tenant == "":
				return usagef("app %s: --tenant is needed: the name of a tenant of the configuration", spec.Name)
			case out == "" && !request.DryRun:
				return usagef("app %s: --out is needed: the folder for the three files", spec.Name)
			case flags.objectID != "" || flags.keyID != "":
				return usagef("app %s: --object-id and --key-id are those of an app that exists; \"rotate app add\" adopts it", spec.Name)
			}
			if err := errors.Join(admin.check(), flags.finish()); err != nil {
				return err
			}
			spec.Mode, spec.Owner = flags.mode, flags.owner
			spec.Permissions, spec.Tags, spec.Probe = flags.permissions, flags.tags, flags.probe
			spec.Evidence, spec.NoConsumer = flags.evidence, flags.noConsumer
			spec.Deliveries, spec.Confirm, spec.Policy.Encoding = flags.deliveries, flags.confirm.Confirm, flags.encoding
			if cmd.Flags().Changed("prove-scope") {
				spec.Policy.ProveScopes = flags.scopes()
			}
			if profile != "" {
				p, err := a.profile(profile)
				if err == nil {
					err = useProfile(spec, p)
				}
				if err != nil {
					return err
				}
				if request.DisplayName == "" {
					request.DisplayName = p.DisplayName
				}
			}
			if request.DryRun {
				return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
					planned, err := conn.Create(ctx, request)
					if err != nil {
						return err
					}
					if format.isJSON() {
						return writeJSON(a.stdout, struct {
							Calls []string `json:"calls"`
						}{planned.Calls})
					}
					fmt.Fprintf(a.stdout, "Nothing was asked or changed. rotate app create %s would send:\n", spec.Name)
					writeLines(a.stdout, "  ", planned.Calls)
					return nil
				})
			}
			if format.isJSON() {
				return usagef("app create shows a password, so only --dry-run has JSON")
			}
			if err := emptyForPackage(out, spec.Name); err != nil {
				return err
			}
			token, err := a.adminToken(cmd.Context(), spec.Tenant, admin)
			if err != nil {
				return err
			}
			request.Admin = token
			files, err := newPackageFiles(out, spec.Name)
			if err != nil {
				return err
			}
			err = a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				return a.create(ctx, conn, request, files, noWait)
			})
			return errors.Join(err, files.close(err == nil))
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.Spec.Tenant, "tenant", "", "name of a tenant of the configuration (needed)")
	f.StringVar(&out, "out", "", "folder for the three files, new or empty (needed)")
	f.StringVar(&profile, "profile", "", "preset for its consumer (rotate profile list); the other flags win")
	f.StringVar(&request.DisplayName, "display-name", "", "name in Entra (default that of the profile, else APP)")
	f.BoolVar(&request.NoConsent, "no-consent", false, "let somebody else consent: print the address and wait")
	f.BoolVar(&noWait, "no-wait", false, "with --no-consent: do not wait for it; run the command again later")
	f.BoolVar(&request.DryRun, "dry-run", false, "print every request that would be made, and make none")
	admin.register(cmd)
	flags.register(cmd)
	format.flag(cmd)
	return cmd
}

// create asks until the app is there, and writes the files.
func (a *app) create(ctx context.Context, conn *connection, request control.CreateRequest, files *packageFiles, noWait bool) error {
	t := newTerminal(a.stdout, a.getenv)
	told := ""
	for {
		made, err := conn.Create(ctx, request)
		if err != nil {
			return err
		}
		if made.ConsentURL == "" {
			return a.created(t, request.Spec, made, files)
		}
		if told != made.ConsentURL {
			told = made.ConsentURL
			writeLines(t.w, t.paint(green, "✔")+" ", made.Steps)
			fmt.Fprintf(t.w, "An administrator consents here:\n\n  %s\n\n", told)
		}
		if noWait {
			return &ended{code: exitWaiting, err: fmt.Errorf("app %s waits for the consent; run the same command again after it", request.Spec.Name)}
		}
		timer := time.NewTimer(consentEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (a *app) created(t *terminal, spec control.AppSpec, made control.Created, files *packageFiles) error {
	tracked := made.App
	if tracked == nil || tracked.Current == nil {
		return fmt.Errorf("app %s: the answer names no certificate", spec.Name)
	}
	tenantID := a.tenantID(tracked.Tenant)
	info := infoText(appInfo{
		Name: tracked.Name, DisplayName: tracked.DisplayName, TenantID: tenantID, ClientID: tracked.ClientID,
		ObjectID: tracked.ObjectID, Permissions: tracked.Permissions, Certificate: *tracked.Current,
	})
	if err := files.write(made.PFX, made.CER, []byte(info)); err != nil {
		return withHint(err, "the app is there; make room and run the same command again, it gives the same files")
	}
	writeLines(t.w, t.paint(green, "✔")+" ", made.Steps)
	fmt.Fprintf(t.w, "%s %s is tracked: client ID %s, tenant ID %s\n", t.paint(green, "✔"), t.paint(bold, tracked.Name), tracked.ClientID, tenantID)
	for _, o := range made.Owners {
		fmt.Fprintf(t.w, "  owner  %s (%s %s)\n", o.Name, o.Kind, o.ID)
	}
	fmt.Fprintln(t.w)
	writeTest(t, made.Checks)
	if len(made.Checks) > 0 {
		fmt.Fprintln(t.w)
	}
	writePackage(t, files)
	writeFirstSteps(t.w, *tracked, tenantID, files.pfx.Name())
	fmt.Fprintf(t.w, "\nPassword of the PFX, shown this once:\n\n  %s\n", made.Password)
	return nil
}

// writeFirstSteps tells how the consumer gets its first key pair. Nothing waits for a
// confirmation: there is no older certificate to protect.
func writeFirstSteps(w io.Writer, tracked control.App, tenantID, file string) {
	if tracked.HandOff == nil || len(tracked.HandOff.Steps) == 0 {
		fmt.Fprintf(w, "Next: give %s and its password to the consumer.\n", file)
		return
	}
	fmt.Fprintf(w, "Next, for %s:\n", tracked.HandOff.Consumer)
	n := 0
	for _, s := range tracked.HandOff.Steps {
		if strings.Contains(s, "rotate confirm") {
			continue
		}
		n++
		fmt.Fprintf(w, "  %d. %s\n", n, strings.NewReplacer("{app}", tracked.Name, "{file}", file, "{client_id}", tracked.ClientID, "{tenant_id}", tenantID).Replace(s))
	}
}

// emptyForPackage refuses a folder with anything in it but the empty files that a run
// which was killed left.
func emptyForPackage(dir, name string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &usageError{err.Error()}
	}
	var left []string
	for _, e := range entries {
		info, err := e.Info()
		ours := e.Name() == name+".pfx" || e.Name() == name+".cer" || e.Name() == name+"-info.txt"
		if err != nil || !ours || !info.Mode().IsRegular() || info.Size() > 0 {
			return withHint(usagef("%s is not empty: it holds %s", dir, e.Name()), "name a folder that is new or empty, so that nothing is mixed up")
		}
		left = append(left, e.Name())
	}
	for _, file := range left {
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	return nil
}

func newAppDeleteCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		admin  adminFlags
		tenant string
		yes    bool
	)
	cmd := &cobra.Command{
		Use:   "delete APP --tenant TENANT --yes",
		Short: "Undo \"app create\": delete the registration that it made, and only that",
		Long: `Deletes the registration that "rotate app create" made, with its service principal
and consent, and stops tracking it. Its keys are deleted. An app that was adopted is
not deleted, nor one that carries credentials which rotate did not make. An
administrator signs in for this one command.`,
		Args:              arguments(1, 1, "the name of an app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case tenant == "":
				return usagef("app %s: --tenant is needed: where the administrator signs in", args[0])
			case !yes:
				return withHint(usagef("app %s: its consumer is cut off at once when the registration is deleted", args[0]), "if that is meant, add --yes")
			}
			if err := admin.check(); err != nil {
				return err
			}
			token, err := a.adminToken(cmd.Context(), tenant, admin)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				fmt.Fprintf(a.stderr, "%s: checking that the registration is gone takes about two minutes; the command can be interrupted and run again\n", args[0])
				deleted, err := conn.Delete(ctx, args[0], control.DeleteRequest{Admin: token})
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, deleted)
				}
				writeLines(a.stdout, args[0]+": ", deleted.Steps)
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&tenant, "tenant", "", "name of a tenant of the configuration (needed)")
	f.BoolVar(&yes, "yes", false, "it is meant")
	admin.register(cmd)
	format.flag(cmd)
	return cmd
}
