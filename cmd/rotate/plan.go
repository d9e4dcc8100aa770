package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newPlanCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what the next check would do, and the latest safe starts",
		Args:  arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				items, err := conn.Plan(ctx)
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, control.Plan{Items: items})
				}
				writePlan(newTerminal(a.stdout, a.getenv), items)
				return nil
			})
		},
	}
	format.flag(cmd)
	return cmd
}

func writePlan(t *terminal, items []control.PlanItem) {
	if len(items) == 0 {
		fmt.Fprintln(t.w, `No app is tracked yet. "rotate app add" tracks one.`)
		return
	}
	now := time.Now()
	var rows table
	rows.row(t.heads("APP", "WHEN", "WHAT", "LAST SAFE START", "HELD")...)
	for _, item := range items {
		when := relative(item.At, now)
		if item.At != nil && !item.At.After(now) {
			when = t.paint(yellow, "at the next check")
		}
		held := ""
		if item.Held != nil {
			held = t.paint(yellow, *item.Held)
		}
		rows.row(t.paint(bold, item.App), when, item.Action, relative(item.LastSafeStart, now), held)
	}
	rows.write(t.w)
}
