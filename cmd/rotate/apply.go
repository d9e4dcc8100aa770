package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
)

func newApplyCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		file   string
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Track or change many apps as a file declares them",
		Long: `Reads apps from a YAML file, or from a spreadsheet saved as CSV, and tracks those that are new, changes those that
differ, and leaves others alone: applying twice changes nothing. What changes is
printed. The PFX of an app is read only while it is not tracked yet.

  apps:
    - name: contoso-sync
      tenant: contoso
      client_id: 22222222-3333-4444-5555-666666666666
      pfx: contoso-sync.pfx
      password_file: contoso-sync.password
      deliveries:
        - {kind: file, path: /srv/contoso-sync/contoso-sync.pfx}
      policy: {overlap: 7d}

A CSV file has one app in each row, and the names of its columns in the first one:
` + strings.Join(config.AppColumns(), ", ") + `.
"rotate discover -o apps" writes such a file to edit.`,
		Example: "  rotate apply -f apps.yaml --dry-run",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("apply needs -f FILE")
			}
			apps, err := config.LoadAppsFile(file)
			if err != nil {
				return &ended{exitUsage, withoutHints(err)}
			}
			for _, warning := range apps.Warnings() {
				fmt.Fprintf(a.stderr, "rotate: warning: %s\n", warning)
			}
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			// Files are read before the store is opened: as the caller. That an app is
			// tracked already is not known yet, so a missing file only counts later.
			specs := make([]control.AppSpec, len(apps.Apps))
			unread := map[string]error{}
			for i, declared := range apps.Apps {
				var preset *config.Profile
				if declared.Profile != "" {
					if preset, err = config.ProfileByName(cfg.Profiles, declared.Profile); err != nil {
						return &ended{exitUsage, fmt.Errorf("app %s: %w", declared.Name, withoutHints(err))}
					}
				}
				specs[i], err = specOf(declared, preset, cfg.Defaults.Policy, false)
				if err != nil {
					unread[declared.Name] = err
					if specs[i], err = specOf(declared, preset, cfg.Defaults.Policy, true); err != nil {
						return err
					}
				}
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				return a.apply(ctx, conn, control.ApplyRequest{Apps: specs, DryRun: dryRun}, unread, format)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "file of apps (needed)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print the difference")
	format.flag(cmd)
	return cmd
}

func (a *app) apply(ctx context.Context, conn *connection, request control.ApplyRequest, unread map[string]error, format outputFormat) error {
	if len(unread) > 0 {
		apps, err := conn.Apps(ctx)
		if err != nil {
			return err
		}
		for _, tracked := range apps {
			delete(unread, tracked.Name)
		}
		var wrong []error
		for _, name := range sorted(unread) {
			wrong = append(wrong, unread[name])
		}
		if len(wrong) > 0 {
			return &ended{exitUsage, joined(wrong)}
		}
	}
	differences, err := conn.Apply(ctx, request)
	if err != nil {
		return err
	}
	if format.isJSON() {
		if err := writeJSON(a.stdout, control.Applied{Differences: differences}); err != nil {
			return err
		}
	} else {
		writeDifferences(newTerminal(a.stdout, a.getenv), differences, request.DryRun)
	}
	var failed []error
	code := exitDone
	for _, d := range differences {
		if d.Error != nil {
			failed = append(failed, d.Error)
			code = worse(code, exitCode(d.Error))
		}
	}
	if len(failed) > 0 {
		return &ended{code, errors.Join(failed...)}
	}
	return nil
}

// withoutHints leaves out hints that are about the configuration.
func withoutHints(err error) error {
	var all []error
	for _, one := range split(err) {
		all = append(all, withHint(one))
	}
	return joined(all)
}

func writeDifferences(t *terminal, differences []control.Difference, dryRun bool) {
	same := 0
	for _, d := range differences {
		switch {
		case d.Error != nil:
			fmt.Fprintf(t.w, "%s %s: failed\n", t.paint(red, "✖"), d.App)
		case d.Action == "add":
			fmt.Fprintf(t.w, "%s %s\n", t.paint(green, "+"), t.paint(bold, d.App))
		case d.Action == "change":
			fmt.Fprintf(t.w, "%s %s\n", t.paint(yellow, "~"), t.paint(bold, d.App))
		default:
			same++
			continue
		}
		writeLines(t.w, "    ", d.Fields)
		for _, warning := range d.Warnings {
			fmt.Fprintln(t.w, t.paint(yellow, "    ! "+warning))
		}
	}
	if same > 0 {
		fmt.Fprintf(t.w, "%s as declared.\n", count(same, "app is", "apps are"))
	}
	if dryRun {
		fmt.Fprintln(t.w, "Nothing was changed (--dry-run).")
	}
}
