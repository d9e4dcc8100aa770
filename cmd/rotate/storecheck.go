package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/store"
)

func newStoreCommand(a *app) *cobra.Command {
	return group("store", "Look after the store", newStoreCheckCommand(a))
}

func newStoreCheckCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read the whole store and compare everything that must agree",
		Long: `Reads the whole store and changes nothing: the pages of the file, the checksum of
every record, the due index and the other indexes, the audit trail, and every sealed
key pair, which must open. Each finding is a line; with one the exit code is 1. Notes
are no faults: keys that no app uses, certificates that a person must remove.`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at := a.progress()
			report, err := a.checkStore(cmd.Context(), at)
			at.end()
			if err != nil {
				return err
			}
			if format.isJSON() {
				err = writeJSON(a.stdout, report)
			} else {
				writeLines(a.stdout, "fault: ", report.Findings)
				writeLines(a.stdout, "note: ", report.Notes)
				if len(report.Findings) == 0 {
					fmt.Fprintf(a.stdout, "Store %s is sound.\n", report.StoreID)
				}
			}
			if err == nil && len(report.Findings) > 0 {
				return withHint(errors.New("the store is damaged"), "docs/recovery.md, \"The database is damaged\"")
			}
			return err
		},
	}
	format.flag(cmd)
	return cmd
}

// checkStore asks the daemon; where none runs it opens the store itself, without
// the loop that would bring indexes up to date.
func (a *app) checkStore(ctx context.Context, at *progress) (control.StoreReport, error) {
	none := control.StoreReport{Findings: []string{}, Notes: []string{}}
	cfg, err := a.loadConfig()
	if err != nil {
		return none, err
	}
	client, err := control.Dial(ctx, cfg.Control.Socket)
	if err == nil {
		return client.CheckStore(ctx, at.show)
	}
	if !errors.Is(err, control.ErrNoDaemon) && !errors.Is(err, fs.ErrPermission) {
		return none, err
	}
	keeper, err := ownerOf(cfg.Store.Path)
	if err != nil {
		return none, err
	}
	if err := keeper.become(a.args, nil); err != nil {
		return none, err
	}
	if err := harden(); err != nil {
		return none, err
	}
	s, err := store.Open(ctx, store.Options{Path: cfg.Store.Path, IdentityFile: cfg.Store.IdentityFile, LockTimeout: lockTimeout, Version: version()})
	if errors.Is(err, store.ErrCorrupt) {
		none.Findings = append(none.Findings, err.Error())
		return none, nil
	}
	if err != nil {
		return none, err
	}
	report := control.StoreReport{StoreID: s.ID()}
	report.Findings, report.Notes, err = s.Findings(ctx, at.at)
	if report.Findings == nil {
		report.Findings = []string{}
	}
	if report.Notes == nil {
		report.Notes = []string{}
	}
	return report, errors.Join(err, s.Close())
}
