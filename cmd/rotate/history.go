package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

func newHistoryCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		limit  int
	)
	cmd := &cobra.Command{
		Use:               "history [APP]",
		Short:             "Show past and open rotations, newest first",
		Example:           "  rotate history contoso-sync -n 3",
		Args:              arguments(0, 1, "at most one app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, names []string) error {
			name := ""
			if len(names) == 1 {
				name = names[0]
			}
			if limit < 0 {
				return usagef("--limit %d: use 0 for all, or a positive number", limit)
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				rotations, err := conn.History(ctx, name, limit)
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, control.History{Rotations: rotations})
				}
				writeHistory(newTerminal(a.stdout, a.getenv), rotations)
				return nil
			})
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "how many at most; 0: all")
	format.flag(cmd)
	return cmd
}

func writeHistory(t *terminal, rotations []control.Rotation) {
	if len(rotations) == 0 {
		fmt.Fprintln(t.w, "There was no rotation yet.")
		return
	}
	var rows table
	rows.row(t.heads("STARTED", "APP", "ROTATION", "PHASE", "TOOK", "OLD", "NEW", "ASKED BY")...)
	for _, r := range rotations {
		ended := time.Now()
		if r.EndedAt != nil {
			ended = *r.EndedAt
		}
		rows.row(r.StartedAt.Local().Format("2006-01-02 15:04:05"), r.App, r.ID, t.phaseCell(r), span(ended.Sub(r.StartedAt)),
			thumbprintOf(r.Old), thumbprintOf(r.New), r.By)
	}
	rows.write(t.w)
}

func (t *terminal) phaseCell(r control.Rotation) string {
	word := phaseWord(rotator.Phase(r.Phase))
	switch {
	case r.Phase == string(rotator.PhaseRetired):
		return t.paint(green, word)
	case r.Trouble != nil:
		return t.paint(red, word)
	case r.Open:
		return t.paint(cyan, word)
	}
	return t.paint(yellow, word)
}

func thumbprintOf(c *control.Credential) string {
	if c == nil {
		return "–"
	}
	return shortThumbprint(c.ThumbprintSHA1)
}
