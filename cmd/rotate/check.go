package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newCheckCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Run the scheduled check now",
		Long: `Starts what is due and looks at what is open, within the limits that hold for
unasked work. Without a daemon it carries the rotations on until they must wait,
and sends the alerts that wait, so that it can run from cron.
The exit code is 3 if something needs attention.

` + exitCodes,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error { return a.check(ctx, conn, format) })
		},
	}
	format.flag(cmd)
	return cmd
}

func (a *app) check(ctx context.Context, conn *connection, format outputFormat) error {
	since := time.Now()
	report, err := conn.Check(ctx)
	if err != nil {
		return err
	}
	t := newTerminal(a.stdout, a.getenv)
	if !format.isJSON() {
		writeCheck(t, report)
	}
	var failed error
	if conn.local {
		failed = a.carryOn(ctx, conn, append(report.Started, report.Continued...), since, format)
		if err := conn.monitoring.writeFile(ctx); err != nil {
			failed = errors.Join(failed, err)
		}
		if err := conn.flush(ctx); err != nil {
			fmt.Fprintf(a.stderr, "rotate: warning: alerts wait for the next check: %v\n", err)
		}
	}
	if format.isJSON() {
		if err := writeJSON(a.stdout, report); err != nil {
			return err
		}
	}
	if len(report.Attention) > 0 && worse(exitCode(failed), exitAttention) == exitAttention {
		return &ended{code: exitAttention}
	}
	return failed
}

// carryOn follows the open rotations of some apps.
func (a *app) carryOn(ctx context.Context, conn *connection, names []string, since time.Time, format outputFormat) error {
	if len(names) == 0 {
		return nil
	}
	status, err := conn.Status(ctx, names...)
	if err != nil {
		return err
	}
	var rotations []control.Rotation
	for _, s := range status.Apps {
		if s.RotationID == nil || !s.Open {
			continue
		}
		r, err := conn.Rotation(ctx, *s.RotationID)
		if err != nil {
			return err
		}
		if r.Trouble != nil && !r.Trouble.At.Before(since) {
			r.Trouble = nil // of this very check, not of an earlier try
		}
		rotations = append(rotations, r)
	}
	if len(rotations) == 0 {
		return nil
	}
	f := &follower{conn: conn, view: a.newView(format)}
	return a.conclude(f.follow(ctx, rotations), format.isJSON())
}

func writeCheck(t *terminal, report control.CheckReport) {
	fmt.Fprintf(t.w, "Checked %s.\n", count(report.Apps, "app", "apps"))
	for _, name := range report.Started {
		fmt.Fprintf(t.w, "%s: started\n", name)
	}
	for _, name := range report.Continued {
		fmt.Fprintf(t.w, "%s: carried on\n", name)
	}
	for _, name := range sorted(report.Held) {
		fmt.Fprintf(t.w, "%s: %s %s\n", name, t.paint(yellow, "held:"), report.Held[name])
	}
	for _, name := range sorted(report.Attention) {
		fmt.Fprintf(t.w, "%s: %s %s\n", name, t.paint(red, "needs attention:"), report.Attention[name])
	}
	if len(report.Started)+len(report.Continued)+len(report.Held)+len(report.Attention) == 0 {
		fmt.Fprintln(t.w, "Nothing is due.")
	}
}
