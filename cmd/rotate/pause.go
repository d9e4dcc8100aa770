package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
)

func newPauseCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		all    bool
		until  string
	)
	cmd := &cobra.Command{
		Use:   "pause APP | --all",
		Short: "Pause rotations of an app, or of all, until a date",
		Long: `Pauses new starts, deliveries and the removal of old certificates, of one app or
of all. It ends by itself: at the given time, and in any case before an app's last
safe date.`,
		Example: `  rotate pause contoso-sync --until 2026-12-27
  rotate pause --all --until 3d`,
		Args:              arguments(0, 1, "one app, or --all"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, names []string) error {
			name, err := oneOrAll(cmd, names, all)
			if err != nil {
				return err
			}
			end, err := parseUntil("a pause", until, time.Now())
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				if err := conn.Pause(ctx, name, end); err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, control.PauseRequest{App: name, Until: end})
				}
				what, of := "All apps are", "--all"
				if name != "" {
					what, of = name+" is", name
				}
				fmt.Fprintf(a.stdout, "%s paused until %s; \"rotate resume %s\" ends it before.\n", what, end.Local().Format("2006-01-02 15:04"), of)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all apps")
	cmd.Flags().StringVar(&until, "until", "", "a date (2026-12-27), a time (RFC 3339), or from now on (3d, 12h)")
	format.flag(cmd)
	return cmd
}

func newResumeCommand(a *app) *cobra.Command {
	var (
		format    outputFormat
		all, hold bool
	)
	cmd := &cobra.Command{
		Use:   "resume APP | --all",
		Short: "End a pause or a stop",
		Long: `Ends the pause or the hold of one app; with --all that of all apps, and a stop of
the whole store. A store that is a copy or was restored goes on only if every
stored certificate still works and nothing differs from Entra; what differs is
shown. With --hold-differing the other apps go on, and nothing is written for those
that differ until each is resumed by its name.`,
		Args:              arguments(0, 1, "one app, or --all"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, names []string) error {
			name, err := oneOrAll(cmd, names, all)
			if err != nil {
				return err
			}
			if hold && name != "" {
				return usagef("--hold-differing goes with --all only")
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				done, err := conn.Resume(ctx, name, hold)
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, control.Resumed{Done: done})
				}
				writeLines(a.stdout, "", done)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all apps, and the store itself")
	cmd.Flags().BoolVar(&hold, "hold-differing", false, "after a restore: let the apps go on that agree with Entra, and hold the others")
	format.flag(cmd)
	return cmd
}

// oneOrAll returns the name of one app, or nothing for all.
func oneOrAll(cmd *cobra.Command, names []string, all bool) (string, error) {
	switch {
	case len(names) == 1 && all:
		return "", usagef("%s takes either the name of an app or --all", short(cmd))
	case len(names) == 1:
		return names[0], nil
	case all:
		return "", nil
	}
	return "", usagef("%s needs the name of an app, or --all", short(cmd))
}

// parseUntil reads the end of what: a date (its start, in local time), an instant or
// a length.
func parseUntil(what, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, usagef("%s needs an end: --until 2026-12-27, or --until 3d", what)
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := config.ParseDuration(text); err == nil {
		return now.Add(time.Duration(d)).Truncate(time.Second), nil
	}
	return time.Time{}, usagef("--until %q is neither a date (2026-12-27), nor a time (2026-12-27T08:00:00Z), nor a length (3d, 12h)", text)
}
