package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newPlanCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		part   listFlags
	)
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what the next check would do, and the latest safe starts",
		Long: `Shows what comes next for each app, soonest first: of more than 100 apps the first 100.
JSON holds all that is not left out.`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := part.check(); err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				if format.isJSON() {
					list, whole := &objectWithList{w: a.stdout, name: "items"}, control.Plan{Items: []control.PlanItem{}}
					err := conn.Plan(ctx, part.limit, func(item control.PlanItem) error { return list.add(whole, item) })
					if err != nil {
						return err
					}
					return list.end(whole)
				}
				return writePlan(ctx, newTerminal(a.stdout, a.getenv), conn, part)
			})
		},
	}
	part.add(cmd, "app")
	format.flag(cmd)
	return cmd
}

func writePlan(ctx context.Context, t *terminal, conn *connection, part listFlags) error {
	limit := part.limit
	if limit == 0 && !part.all {
		limit = shownApps
	}
	now := time.Now()
	rows, shown := &listed{w: t.w}, 0
	err := conn.Plan(ctx, limit, func(item control.PlanItem) error {
		if shown++; shown == 1 {
			rows.row(t.heads("APP", "WHEN", "WHAT", "LAST SAFE START", "HELD")...)
		}
		when := relative(item.At, now)
		if item.At != nil && !item.At.After(now) {
			when = t.paint(yellow, "at the next check")
		}
		held := ""
		if item.Held != nil {
			held = t.paint(yellow, *item.Held)
		}
		rows.row(t.paint(bold, item.App), when, item.Action, relative(item.LastSafeStart, now), held)
		return nil
	})
	rows.end()
	switch {
	case err != nil:
		return err
	case shown == 0:
		fmt.Fprintln(t.w, `No app is tracked yet. "rotate app add" tracks one.`)
	case shown == limit:
		fmt.Fprintf(t.w, "The first %d are shown; rotate plan --all shows every one.\n", shown)
	}
	return nil
}
