package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

func newAlertsCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "List open alerts, snoozed apps and channel health",
		Long: `Shows the conditions that last and that people were told of, with when they are
told again; the apps whose warnings are held back; and, for each channel, what it
took, what waits, and why it fails.`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				alerts, err := conn.Alerts(ctx)
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, alerts)
				}
				writeAlerts(newTerminal(a.stdout, a.getenv), alerts, time.Now())
				return nil
			})
		},
	}
	format.flag(cmd)
	return cmd
}

func writeAlerts(t *terminal, alerts control.Alerts, now time.Time) {
	if len(alerts.Open) == 0 {
		fmt.Fprintln(t.w, t.paint(green, "Nothing is open."))
	}
	for _, one := range alerts.Open {
		about := "the store"
		if one.App != nil {
			about = *one.App
		}
		paint := yellow
		if one.Severity == "critical" {
			paint = red
		}
		fmt.Fprintf(t.w, "%s  %s  %s, since %s\n", t.paint(bold, about), t.paint(paint, one.Severity+" "+one.Kind), shortEvent(one.Event), moment(one.Since, now))
		fmt.Fprintf(t.w, "  %s\n", one.Summary)
		if one.Next != nil {
			fmt.Fprintln(t.w, "  "+t.paint(yellow, "→ "+*one.Next))
		}
		told := "not told yet"
		if one.ToldAt != nil {
			told = "told " + relative(one.ToldAt, now)
			if one.Repeats > 0 {
				told = fmt.Sprintf("told %s, last %s", count(one.Repeats+1, "time", "times"), relative(one.ToldAt, now))
			}
		}
		if one.AckedBy != nil {
			told += ", acknowledged by " + *one.AckedBy
		}
		if one.NextAt != nil {
			told += ", again " + relative(one.NextAt, now)
		}
		fmt.Fprintln(t.w, "  "+t.paint(dim, told))
	}
	for _, s := range alerts.Snoozed {
		fmt.Fprintf(t.w, "%s is snoozed until %s\n", s.App, moment(s.Until, now))
	}
	if len(alerts.Channels) == 0 {
		return
	}
	fmt.Fprintln(t.w)
	var rows table
	rows.row(t.heads("CHANNEL", "STATE", "SENT", "LAST", "WAITING")...)
	for _, c := range alerts.Channels {
		state := t.paint(green, c.State)
		if c.FailingSince != nil {
			state = t.paint(red, c.State)
		}
		last := "never"
		if c.LastSentAt != nil {
			last = relative(c.LastSentAt, now)
		}
		rows.row(t.paint(bold, c.Name), state, count(int(c.Messages), "message", "messages"), last, fmt.Sprint(c.Waiting)) //nolint:gosec // far below the limit
	}
	rows.write(t.w)
	for _, c := range alerts.Channels {
		if c.LastError != nil {
			line := c.Name + ": " + *c.LastError
			if c.RetryAt != nil {
				line += "; next try " + relative(c.RetryAt, now)
			}
			fmt.Fprintln(t.w, t.paint(red, line))
		}
		if c.GivenUp > 0 {
			fmt.Fprintln(t.w, t.paint(red, fmt.Sprintf("%s: %s given up, for it refused them", c.Name, count(int(c.GivenUp), "event was", "events were")))) //nolint:gosec // far below the limit
		}
	}
}

// shortEvent is enough of an event's ID to type.
func shortEvent(id string) string { return id[:min(len(id), 8)] }

func newAckCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "ack EVENT|APP",
		Short: "Acknowledge an alert and stop its reminders",
		Long: `Notes that somebody knows of the alerts of an app, or of one alert by its event's
ID (six characters of it are enough). They are not told again before the app's last
safe date, or for a day where that has passed. Their end is told.`,
		Example: `  rotate ack contoso-sync
  rotate ack 5f0f3a52`,
		Args:              arguments(1, 1, "an app or the ID of an event"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				result, err := conn.Ack(ctx, args[0])
				if errors.Is(err, rotator.ErrNotFound) {
					return withHint(err, `"rotate alerts" shows what is open`)
				}
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, result)
				}
				for _, one := range result.Acked {
					about := "the store"
					if one.App != nil {
						about = *one.App
					}
					fmt.Fprintf(a.stdout, "%s: %s is not told again before %s.\n", about, one.Kind, one.Until.Local().Format("2006-01-02 15:04"))
				}
				return nil
			})
		},
	}
	format.flag(cmd)
	return cmd
}

func newSnoozeCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		until  string
	)
	cmd := &cobra.Command{
		Use:   "snooze APP",
		Short: "Mute warnings about an app until a date",
		Long: `Holds warnings about an app back. Critical events, and those of what was done, are
sent all the same. It ends by itself: at the given time, which may not lie beyond
the app's last safe date. "--until 0s" ends it at once.`,
		Example: `  rotate snooze contoso-sync --until 2026-12-27
  rotate snooze contoso-sync --until 3d`,
		Args:              arguments(1, 1, "one app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now()
			end, err := parseUntil("a snooze", until, now)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				if err := conn.Snooze(ctx, args[0], end); err != nil {
					return err
				}
				switch {
				case format.isJSON():
					return writeJSON(a.stdout, control.Snooze{App: args[0], Until: end})
				case !end.After(now):
					fmt.Fprintf(a.stdout, "%s is not snoozed any more.\n", args[0])
				default:
					fmt.Fprintf(a.stdout, "%s is snoozed until %s; critical events are sent all the same.\n", args[0], end.Local().Format("2006-01-02 15:04"))
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&until, "until", "", "a date (2026-12-27), a time (RFC 3339), or from now on (3d, 12h)")
	format.flag(cmd)
	return cmd
}
