package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newConfirmCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		note   string
	)
	cmd := &cobra.Command{
		Use:   "confirm APP CODE",
		Short: "Say that the consumer uses the new certificate",
		Long: `Confirms the new certificate of an app whose rule is "person". CODE is the first
8 digits of the thumbprint, SHA-1 or SHA-256, that the consumer shows: who reads
it there has seen that the consumer has the new file.`,
		Example:           "  rotate confirm contoso-sync 5B1F09C2 --note \"ticket 4711\"",
		Args:              arguments(2, 2, "the name of an app and a code"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				since := time.Now()
				r, err := conn.Confirm(ctx, args[0], control.ConfirmRequest{Code: args[1], Note: note})
				if err != nil {
					return err
				}
				err = a.goOn(ctx, conn, r, since, format)
				if end, ok := errors.AsType[*ended](err); ok && end.code == exitWaiting {
					return nil // it is confirmed; the overlap is for the daemon
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "a remark for the history")
	format.flag(cmd)
	return cmd
}

// goOn follows one rotation until it ended or must wait, and prints it.
func (a *app) goOn(ctx context.Context, conn *connection, r control.Rotation, since time.Time, format outputFormat) error {
	f := &follower{conn: conn, view: a.newView(format), since: since}
	outcomes := f.follow(ctx, []control.Rotation{r})
	if format.isJSON() {
		if err := writeJSON(a.stdout, outcomes[0].rotation); err != nil {
			return err
		}
	}
	return a.conclude(outcomes, format.isJSON())
}
