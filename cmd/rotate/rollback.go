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
		Short: "Go back to the previous certificate, until it is removed",
		Long: `Brings the newest earlier key pair that the consumer may have back to it, waits for
the confirmation by the app's rule and for the overlap, and only then removes the
new certificate. It is refused, with the reason for each earlier certificate, where
none works any more, each expires too soon, or was given up.

A new key that somebody fetched by hand must be destroyed: rotate cannot do that.

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
