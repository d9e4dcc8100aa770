package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/store"
)

// restoredStore is what "rotate restore" prints as JSON.
type restoredStore struct {
	DryRun   bool      `json:"dry_run"`
	Store    string    `json:"store"`
	StoreID  string    `json:"store_id"`
	BackupAt time.Time `json:"backup_at"`
	MadeBy   string    `json:"made_by"`
	Recovery string    `json:"recovery,omitempty"`
	Keys     int       `json:"keys"`
	AppCount int       `json:"app_count"`
	Open     int       `json:"open_rotations"`
	// Apps are the first ones by name.
	Apps        []restoredApp `json:"apps"`
	NewestAt    *time.Time    `json:"newest_change_at"`
	NewestWhat  string        `json:"newest_change,omitempty"`
	Recipient   string        `json:"recipient,omitempty"`
	NewIdentity bool          `json:"new_identity"`
}

type restoredApp struct {
	Name           string     `json:"name"`
	Tenant         string     `json:"tenant"`
	ThumbprintSHA1 string     `json:"thumbprint_sha1,omitempty"`
	NotAfter       *time.Time `json:"not_after"`
	// Phase of the open rotation; empty: none is open.
	Phase string `json:"phase,omitempty"`
}

func newRestoreCommand(a *app) *cobra.Command {
	var (
		format  outputFormat
		keyFile string
		dryRun  bool
	)
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the store again from a backup",
		Long: `Makes the store that the configuration names from a backup. The key file is the one
of a recipient of the backup: the recovery key, or where --key is not given the
identity file of the configuration. All key pairs are sealed to the identity of this
host, which is made if there is none. A store that exists is never overwritten.

With --dry-run the whole backup is read, and what it holds is shown: counts, and the
first 100 apps.

A restored store may know less than Entra. It reads and reports, and writes nothing,
until "rotate resume --all" has compared every app with Entra.`,
		Example: `  rotate restore rotate-2026-03-01.age --key recovery.key --dry-run
  rotate restore rotate-2026-03-01.age --key recovery.key
  rotate resume --all`,
		Args: arguments(1, 1, "the file of a backup"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			if err := harden(); err != nil {
				return err
			}
			// Both are read as the caller, before this becomes the store's owner.
			backup, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("backup: %w", err)
			}
			defer func() { _ = backup.Close() }() // only read from
			key, err := store.ReadBackupKey(cmp.Or(keyFile, cfg.Store.IdentityFile))
			if errors.Is(err, fs.ErrNotExist) && keyFile == "" {
				return withHint(err, "name the key of a recipient of the backup, such as the recovery key: --key FILE")
			}
			if err != nil {
				return err
			}
			if dryRun {
				at := a.progress()
				contents, err := store.ReadBackup(cmd.Context(), backup, key, at.at)
				at.end()
				if err != nil {
					return restoreError(fmt.Errorf("backup %s: %w", args[0], err))
				}
				return a.writeRestored(format, restoredOf(contents, cfg.Store.Path, true), keyFile)
			}
			keeper, err := ownerOf(cfg.Store.Path)
			if err != nil {
				return err
			}
			by := a.caller()
			if err := keeper.become(a.args, nil); err != nil {
				return err
			}
			if err := harden(); err != nil {
				return err
			}
			at := a.progress()
			restored, err := store.Restore(cmd.Context(), backup, key, store.RestoreOptions{
				Path: cfg.Store.Path, IdentityFile: cfg.Store.IdentityFile, Version: version(), By: by, Report: at.at,
			})
			at.end()
			if err != nil {
				return restoreError(fmt.Errorf("restore %s: %w", args[0], err))
			}
			made := restoredOf(restored.Contents, cfg.Store.Path, false)
			made.Recipient, made.NewIdentity = restored.Recipient, restored.MadeIdentity
			return a.writeRestored(format, made, cfg.Store.IdentityFile)
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "file with the age identity that opens the backup (default the identity file of the configuration)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "read the backup, show what it holds, and change nothing")
	format.flag(cmd)
	return cmd
}

func restoreError(err error) error {
	switch {
	case errors.Is(err, store.ErrExists):
		return withHint(err, `a damaged store is moved away first, never deleted: mv it, with its ".mark" file, then restore`)
	case errors.Is(err, store.ErrWrongKey):
		return withHint(err, "--key FILE names the key; \"rotate backup\" printed the recipients")
	}
	return err
}

func restoredOf(c store.Contents, path string, dryRun bool) restoredStore {
	made := restoredStore{
		DryRun: dryRun, Store: path, StoreID: c.StoreID, BackupAt: c.At, MadeBy: c.Version, Recovery: c.Recovery,
		Keys: c.Pairs, AppCount: c.Apps, Open: c.Open, Apps: []restoredApp{},
	}
	for _, app := range c.First {
		one := restoredApp{Name: app.Name, Tenant: app.Tenant, ThumbprintSHA1: app.ThumbprintSHA1, Phase: string(app.Phase)}
		if !app.NotAfter.IsZero() {
			one.NotAfter = &app.NotAfter
		}
		made.Apps = append(made.Apps, one)
	}
	if !c.Newest.At.IsZero() {
		made.NewestAt = &c.Newest.At
		made.NewestWhat = c.Newest.What
		if c.Newest.App != "" {
			made.NewestWhat = c.Newest.App + ": " + c.Newest.What
		}
	}
	return made
}

func (a *app) writeRestored(format outputFormat, made restoredStore, identityFile string) error {
	if format.isJSON() {
		return writeJSON(a.stdout, made)
	}
	now := time.Now()
	t := newTerminal(a.stdout, a.getenv)
	fmt.Fprintf(t.w, "Backup of store %s, made %s (%s) by version %s\n", made.StoreID, made.BackupAt.Local().Format("2006-01-02 15:04:05"),
		relative(&made.BackupAt, now), cmp.Or(made.MadeBy, "unknown"))
	if made.NewestAt != nil {
		fmt.Fprintf(t.w, "Newest change: %s, %s\n", made.NewestAt.Local().Format("2006-01-02 15:04:05"), made.NewestWhat)
	}
	fmt.Fprintf(t.w, "%s, %s, %s\n\n", count(made.AppCount, "app", "apps"), count(made.Keys, "key pair", "key pairs"),
		count(made.Open, "open rotation", "open rotations"))
	var rows table
	rows.row(t.heads("APP", "TENANT", "CERTIFICATE", "ENDS", "ROTATION")...)
	for _, one := range made.Apps {
		certificate := "none"
		if one.ThumbprintSHA1 != "" {
			certificate = shortThumbprint(one.ThumbprintSHA1)
		}
		rows.row(one.Name, one.Tenant, certificate, relative(one.NotAfter, now), cmp.Or(one.Phase, "–"))
	}
	rows.write(t.w)
	if more := made.AppCount - len(made.Apps); more > 0 {
		fmt.Fprintf(t.w, "… and %s more\n", count(more, "app", "apps"))
	}
	fmt.Fprintln(t.w)
	if made.DryRun {
		fmt.Fprintf(t.w, "Nothing was changed. Without --dry-run it becomes %s.\n", made.Store)
		return nil
	}
	fmt.Fprintf(t.w, "Restored %s\n", made.Store)
	if made.NewIdentity {
		fmt.Fprintf(t.w, "Made identity %s: %s\n", identityFile, made.Recipient)
	} else {
		fmt.Fprintf(t.w, "Sealed to the identity in %s\n", identityFile)
	}
	_, err := io.WriteString(t.w, "It writes nothing to Entra yet. Make sure that no other host uses this store, then: rotate resume --all\n")
	return err
}
