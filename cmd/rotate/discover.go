package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
)

func newDiscoverCommand(a *app) *cobra.Command {
	var (
		tenant, expiring    string
		watchAll, watchNone bool
	)
	format := listFormat("table")
	cmd := &cobra.Command{
		Use:   "discover",
		Short: "List what a tenant holds: apps, their credentials, and whether they are tracked",
		Long: `Lists every app registration of a tenant with its certificates, secrets and
federated credentials, their dates and owners, and the SAML signing certificates of
service principals. Agent identity blueprints are listed as what they are: they are
not app registrations, and rotate does not renew their certificates. A
credential is "ours" if rotate made or adopted it, else foreign. Nothing is changed
in Entra. The tenant's identity must be allowed to read applications.

With --watch-all the daemon alerts on what ends there too, tracked or not; it never
changes what is not tracked. --watch-none takes that back.`,
		Example: `  rotate discover --expiring 60d
  rotate discover --tenant contoso -o csv >contoso.csv
  rotate discover --tenant contoso --watch-all`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var within time.Duration
			if expiring != "" {
				d, err := config.ParseDuration(expiring)
				if err != nil {
					return usagef("--expiring: %v", err)
				}
				if d <= 0 {
					return usagef("--expiring %s is not a time from now", expiring)
				}
				within = time.Duration(d)
			}
			if watchAll && watchNone {
				return usagef("--watch-all and --watch-none exclude each other")
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				if watchAll || watchNone {
					if err := a.watch(ctx, conn, tenant, watchAll); err != nil {
						return err
					}
				}
				return a.discover(ctx, conn, tenant, within, format)
			})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "the tenant; all that are configured if it is not given")
	cmd.Flags().StringVar(&expiring, "expiring", "", "only what ends within this time, such as 60d, or has ended")
	cmd.Flags().BoolVar(&watchAll, "watch-all", false, "from now on alert on what ends there, tracked or not")
	cmd.Flags().BoolVar(&watchNone, "watch-none", false, "alert on tracked apps only")
	format.flag(cmd)
	return cmd
}

// watch turns alerts for apps that are not tracked on or off.
func (a *app) watch(ctx context.Context, conn *connection, tenant string, all bool) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	names := []string{tenant}
	if tenant == "" {
		names = nil
		for _, t := range cfg.Tenants {
			names = append(names, t.Name)
		}
	}
	for _, name := range names {
		if err := conn.Watch(ctx, name, all); err != nil {
			return err
		}
		if all {
			fmt.Fprintf(a.stderr, "Tenant %s is watched: the daemon alerts on every credential that ends there.\n", name)
		} else {
			fmt.Fprintf(a.stderr, "Tenant %s: the daemon alerts on tracked apps only.\n", name)
		}
	}
	return nil
}

// progressEvery bounds how often the progress line is drawn.
const progressEvery = 200 * time.Millisecond

func (a *app) discover(ctx context.Context, conn *connection, tenant string, expiring time.Duration, format listFormat) error {
	out := format.writer(newTerminal(a.stdout, a.getenv), time.Now())
	progress := newTerminal(a.stderr, a.getenv)
	clearLine := func() {
		if progress.live {
			fmt.Fprint(progress.w, "\r\x1b[K")
		}
	}
	var drawn time.Time
	apps, credentials, read := 0, 0, map[string]int{}
	unknown := map[string]string{}
	for step, err := range conn.Discover(ctx, tenant, expiring) {
		if err != nil {
			clearLine()
			return closeWith(out, err)
		}
		if step.Found != nil {
			apps++
			credentials += len(step.Found.Credentials)
			if why := step.Found.FederatedUnknown; why != nil {
				unknown[step.Found.Tenant] = *why
			}
			clearDrawn(&drawn, clearLine)
			if err := out.found(*step.Found); err != nil {
				return err
			}
			continue
		}
		read[step.Tenant] = step.Read
		if progress.live && (time.Since(drawn) > progressEvery || step.Waiting > 0) {
			drawn = time.Now()
			text := fmt.Sprintf("%s: %d objects read, %d listed", step.Tenant, step.Read, apps)
			if step.Waiting > 0 {
				text = fmt.Sprintf("%s; Graph asks for a pause of %s", text, whole(time.Duration(step.Waiting*float64(time.Second))))
			}
			fmt.Fprint(progress.w, "\r\x1b[K"+text)
		}
	}
	clearLine()
	if err := out.end(); err != nil {
		return err
	}
	for _, tenant := range slices.Sorted(maps.Keys(unknown)) {
		fmt.Fprintf(a.stderr, "Federated credentials of tenant %s are not known: %s.\n", tenant, unknown[tenant])
	}
	total := 0
	for _, n := range read {
		total += n
	}
	fmt.Fprintf(a.stderr, "%s with %s, of %s read.\n",
		count(apps, "app or service principal", "apps and service principals"), count(credentials, "credential", "credentials"), count(total, "object", "objects"))
	return nil
}

// clearDrawn removes a progress line before a result is written.
func clearDrawn(drawn *time.Time, clearLine func()) {
	if !drawn.IsZero() {
		clearLine()
		*drawn = time.Time{}
	}
}

// closeWith ends a list that could not be told whole: nothing is added that would
// make it look complete.
func closeWith(out listWriter, err error) error {
	out.flush()
	return err
}

// listWriter writes a list as it comes.
type listWriter interface {
	found(control.Found) error
	// flush writes what is held back, end what closes the list.
	flush()
	end() error
}
