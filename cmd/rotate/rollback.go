package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

func newRollBackCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "rollback APP",
		Short: "Take the new certificate back, while the old one is still there",
		Long: `Brings the previous key pair back to the consumer, waits for the confirmation by
the app's rule, and only then removes the new certificate. It is refused where
the previous certificate no longer works, ends too soon, or was given up.

` + exitCodes,
		Args:              arguments(1, 1, "the name of an app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				since := time.Now()
				r, err := conn.RollBack(ctx, args[0])
				if err != nil {
					return err
				}
				return a.goOn(ctx, conn, r, since, format)
			})
		},
	}
	format.flag(cmd)
	return cmd
}
