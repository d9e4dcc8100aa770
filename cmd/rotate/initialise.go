package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/store"
)

func newInitCommand(a *app) *cobra.Command {
	var (
		format       outputFormat
		recovery     string
		noRecovery   bool
		keepIdentity bool
	)
	cmd := &cobra.Command{
		Use:   "init --recovery AGE_RECIPIENT | --no-recovery",
		Short: "Make the store, its identity and the folders",
		Long: `Makes what the configuration names: the store, the age identity that seals the
keys in it, and the folders. Nothing that exists is overwritten.

Everything is sealed to the identity of this host. With --recovery it is sealed to
a second age recipient as well, whose private half you keep off this host: then a
lost host does not mean lost keys. "rotate setup" makes such a key; "age-keygen" does
too. With --no-recovery you decide against it. Without either flag, store.recovery of the configuration decides.`,
		Example: "  rotate init --recovery age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			if recovery == "" && !noRecovery {
				noRecovery = cfg.Store.Recovery == "none"
				if !noRecovery {
					recovery = cfg.Store.Recovery
				}
			}
			switch {
			case recovery == "" && !noRecovery:
				return withHint(
					usagef("init needs --recovery or --no-recovery: without a recovery recipient, a lost host means lost keys"),
					`"rotate setup" makes one and asks for the rest; a recipient (age1…) that you have already is --recovery`,
					"or decide against it with --no-recovery")
			case recovery != "" && noRecovery:
				return usagef("init takes either --recovery or --no-recovery")
			}
			if err := harden(); err != nil {
				return err
			}
			made, err := store.Init(cmd.Context(), store.InitOptions{
				Path: cfg.Store.Path, IdentityFile: cfg.Store.IdentityFile, KeepIdentity: keepIdentity,
				Recovery: recovery, Version: version(),
			})
			if err != nil {
				return initError(err, cfg.Store, keepIdentity)
			}
			socketFolder := filepath.Dir(cfg.Control.Socket)
			if err := os.MkdirAll(socketFolder, 0o750); err != nil {
				fmt.Fprintf(a.stderr, "rotate: warning: the folder of the control socket is missing and cannot be made (%v); the service manager may make it\n", err)
			}
			if filepath.Dir(cfg.Store.IdentityFile) == filepath.Dir(cfg.Store.Path) {
				fmt.Fprintf(a.stderr, "rotate: warning: %s lies beside the store; whoever copies that folder has the keys, so keep it elsewhere\n", cfg.Store.IdentityFile)
			}
			if format.isJSON() {
				return writeJSON(a.stdout, struct {
					StoreID      string `json:"store_id"`
					Store        string `json:"store"`
					IdentityFile string `json:"identity_file"`
					Recipient    string `json:"recipient"`
					Recovery     string `json:"recovery,omitempty"`
				}{made.ID, cfg.Store.Path, cfg.Store.IdentityFile, made.Recipient, recovery})
			}
			fmt.Fprintf(a.stdout, "Made store %s: %s\n", made.ID, cfg.Store.Path)
			fmt.Fprintf(a.stdout, "Its identity: %s (%s)\n", cfg.Store.IdentityFile, made.Recipient)
			if recovery != "" {
				fmt.Fprintf(a.stdout, "Everything is sealed to %s too.\n", recovery)
			} else {
				fmt.Fprintln(a.stdout, "There is no recovery recipient: a copy of the identity, kept safe elsewhere, is the only way back after a lost host.")
			}
			fmt.Fprintln(a.stdout, `Next: "rotate app add" tracks an app; "rotate daemon" serves.`)
			return nil
		},
	}
	cmd.Flags().StringVar(&recovery, "recovery", "", "age recipient (age1…) whose private half is kept elsewhere")
	cmd.Flags().BoolVar(&noRecovery, "no-recovery", false, "seal to this host's identity only")
	cmd.Flags().BoolVar(&keepIdentity, "keep-identity", false, "use the identity file that is there, such as a credential of the service manager")
	format.flag(cmd)
	return cmd
}

// initError adds what helps.
func initError(err error, paths config.Store, keepIdentity bool) error {
	_, noDatabase := os.Stat(paths.Path)
	_, noIdentity := os.Stat(paths.IdentityFile)
	switch exists := errors.Is(err, store.ErrExists); {
	case exists && errors.Is(noIdentity, fs.ErrNotExist):
		return withHint(fmt.Errorf("%w; what is missing is its identity: %s", err, paths.IdentityFile), noIdentityHints()...)
	case exists && errors.Is(noDatabase, fs.ErrNotExist):
		return withHint(fmt.Errorf("%w; what is missing is its database: %s", err, paths.Path), noDatabaseHints()...)
	case exists:
		return withHint(err, `if this is the store you mean, it is ready: "rotate status" shows it`)
	case keepIdentity && errors.Is(noIdentity, fs.ErrNotExist):
		return withHint(err, "put the identity there first; without --keep-identity one is made")
	case errors.Is(err, fs.ErrPermission):
		return withHint(err, "run it as the user that the daemon will run as, in folders that this user may write to")
	}
	return err
}
