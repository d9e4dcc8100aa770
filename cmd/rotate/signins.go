package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newAppSignInsCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "signins APP",
		Short: "Show the last sign-ins with each credential of an app",
		Long: `Shows the newest sign-ins with each certificate of ours, and with what else signs in
as the app, from Entra's sign-in log: when, by whom (the consumer, or rotate itself),
from where and to what. The tenant's identity asks; it needs the application
permission AuditLog.Read.All, and the tenant Entra ID P1.

The log is minutes behind, shows a program that keeps its token only once an hour,
and forgets after 30 days. That nothing is listed proves nothing.`,
		Example: `  rotate app signins contoso-sync
  rotate app signins contoso-sync -o json`,
		Args:              arguments(1, 1, "the name of an app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				found, err := conn.SignIns(ctx, args[0])
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, found)
				}
				writeSignIns(newTerminal(a.stdout, a.getenv), found, time.Now())
				return nil
			})
		},
	}
	format.flag(cmd)
	return cmd
}

func writeSignIns(t *terminal, found control.SignIns, now time.Time) {
	var rows table
	rows.row(t.heads("CREDENTIAL", "KEY ID", "SIGNED IN", "BY", "FROM", "TO")...)
	for _, c := range found.Credentials {
		name, key := c.Role, "–"
		if c.ThumbprintSHA1 != nil {
			name += " " + *c.ThumbprintSHA1
		}
		if c.KeyID != nil {
			key = *c.KeyID
		} else if c.Role == "foreign" {
			name, key = t.paint(dim, "refused"), "–"
		}
		if len(c.SignIns) == 0 {
			rows.row(name, key, t.paint(dim, "not in the log"), "", "", "")
		}
		for _, s := range c.SignIns {
			at := s.At
			by := "the consumer"
			if s.Own {
				by = t.paint(dim, "rotate")
			}
			if s.ErrorCode != 0 {
				by = t.paint(yellow, fmt.Sprintf("AADSTS%d", s.ErrorCode))
			}
			rows.row(name, key, fmt.Sprintf("%s (%s)", at.Local().Format("2006-01-02 15:04:05"), relative(&at, now)), by, s.Address, s.Resource)
			name, key = "", ""
		}
	}
	rows.write(t.w)
	if len(found.Credentials) == 0 {
		fmt.Fprintln(t.w, "The log shows no sign-in of the app.")
	}
}
