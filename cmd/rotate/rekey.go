package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/store"
)

func newRekeyCommand(a *app) *cobra.Command {
	var (
		format                outputFormat
		openWith, newIdentity string
		recovery              string
		noRecovery            bool
	)
	cmd := &cobra.Command{
		Use:   "rekey",
		Short: "Seal everything to a new identity of this host",
		Long: `Makes a new identity and seals every key pair to it, in a new file without a trace of
what was sealed to the old one. The daemon must be stopped. It may be killed at any
point: the store then still opens, and the command is run again.

The identity file is replaced. Where somebody else provides it, such as the service
manager, name a file with --new-identity and put that in its place afterwards.

Where the host's identity is lost, --open-with names the recovery key.

Backups and copies made before stay sealed to whom they were sealed to.`,
		Example: `  rotate rekey
  rotate rekey --open-with recovery.key
  rotate rekey --recovery age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			if _, err := control.Dial(cmd.Context(), cfg.Control.Socket); err == nil {
				return withHint(errors.New("rekey: the daemon is running, and it holds the store"), "stop it first: systemctl stop rotate")
			}
			o := store.RekeyOptions{
				Options:  store.Options{Path: cfg.Store.Path, IdentityFile: cfg.Store.IdentityFile, LockTimeout: lockTimeout, Version: version()},
				OpenWith: openWith, NewIdentity: newIdentity, By: a.caller(),
			}
			switch {
			case recovery != "" && noRecovery:
				return usagef("rekey takes either --recovery or --no-recovery")
			case recovery != "":
				o.Recovery = &recovery
			case noRecovery:
				o.Recovery = new(string)
			}
			keeper, err := ownerOf(cfg.Store.Path)
			if err != nil {
				return err
			}
			if err := keeper.become(a.args, nil); err != nil {
				return err
			}
			if err := harden(); err != nil {
				return err
			}
			done, err := store.Rekey(cmd.Context(), o)
			if errors.Is(err, store.ErrNotReplaceable) {
				return withHint(err, "rotate rekey --new-identity FILE")
			}
			if err != nil {
				return err
			}
			file := cmp.Or(newIdentity, cfg.Store.IdentityFile)
			if format.isJSON() {
				return writeJSON(a.stdout, struct {
					IdentityFile string `json:"identity_file"`
					Recipient    string `json:"recipient"`
					Recovery     string `json:"recovery,omitempty"`
					Keys         int    `json:"keys"`
				}{file, done.Recipient, done.Recovery, done.Pairs})
			}
			fmt.Fprintf(a.stdout, "Sealed %s to the new identity in %s: %s\n", count(done.Pairs, "key pair", "key pairs"), file, done.Recipient)
			if newIdentity != "" {
				fmt.Fprintf(a.stdout, "From now on only this file opens the store. Put it in place of %s before the daemon starts.\n", cfg.Store.IdentityFile)
			}
			fmt.Fprintf(a.stdout, "Recovery recipient: %s\n", cmp.Or(done.Recovery, "none"))
			fmt.Fprintln(a.stdout, "Older backups and copies stay sealed as they are; make a new one: rotate backup FILE")
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&openWith, "open-with", "", "file with an identity that opens the store, such as the recovery key (default the identity file)")
	f.StringVar(&newIdentity, "new-identity", "", "file for the new identity, made if it is missing; the identity file then stays as it is")
	f.StringVar(&recovery, "recovery", "", "another recovery recipient (age1…)")
	f.BoolVar(&noRecovery, "no-recovery", false, "no recovery recipient any more")
	format.flag(cmd)
	return cmd
}
