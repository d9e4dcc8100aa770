package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// defaultConfig is read where neither -c nor $ROTATE_CONFIG says otherwise.
const defaultConfig = "/etc/rotate/config.yaml"

// app is what the commands share: the environment and the global flags.
type app struct {
	*environment
	configFlag string
	// saved is set by commands that write a file as the caller after they became
	// the store's owner.
	saved *caller
}

func newRootCommand(env *environment) *cobra.Command {
	a := &app{environment: env}
	root := &cobra.Command{
		Use:   "rotate",
		Short: "Renew the certificates of Entra app registrations before they expire",
		Long: `rotate tracks the certificates of Microsoft Entra app registrations and replaces
them in time: it makes a new key pair, uploads the certificate, proves that it
works, brings the new PFX to whoever needs it, and removes the old certificate
only when the new one is confirmed.

To see all of it in a minute, without an account:  rotate demo

` + exitCodes,
		Version:       version(),
		Args:          arguments(0, 0, ""),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return withHint(usagef("%s", strings.TrimPrefix(err.Error(), "flag: ")), `"`+cmd.CommandPath()+` --help" shows the flags`)
	})
	root.PersistentFlags().StringVarP(&a.configFlag, "config", "c", "", "configuration file (default $ROTATE_CONFIG, else "+defaultConfig+")")
	root.CompletionOptions.HiddenDefaultCmd = false
	groups := []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"start", "Begin:", []*cobra.Command{newDemoCommand(a), newSetupCommand(a), newInitCommand(a), newAppCommand(a), newApplyCommand(a), newDaemonCommand(a)}},
		{"see", "See:", []*cobra.Command{newStatusCommand(a), newPlanCommand(a), newHistoryCommand(a), newAlertsCommand(a), newDiscoverCommand(a), newAuditCommand(a), newReportCommand(a)}},
		{"do", "Do:", []*cobra.Command{newNowCommand(a), newCheckCommand(a), newHandOffCommand(a), newConfirmCommand(a), newRollBackCommand(a), newAckCommand(a), newSnoozeCommand(a), newPauseCommand(a), newResumeCommand(a), newReloadCommand(a)}},
		{"keep", "Keep:", []*cobra.Command{newBackupCommand(a), newRestoreCommand(a), newRekeyCommand(a), newStoreCommand(a), newExportCommand(a)}},
		{"more", "More:", []*cobra.Command{newProfileCommand(a), newCertificateCommand(a), newTenantCommand(a), newNotifyCommand(a), newConfigCommand(a), newEmulatorCommand(a), newManCommand(a), newVersionCommand(a)}},
	}
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.SetHelpCommandGroupID("more")
	root.SetCompletionCommandGroupID("more")
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.Args = knownCommand
	}
	a.completeNames(root)
	return root
}

// knownCommand refuses help for a command that does not exist.
func knownCommand(help *cobra.Command, args []string) error {
	found, rest, err := help.Root().Find(args)
	if err == nil && len(rest) > 0 && found.HasSubCommands() {
		return unknownCommand(found, rest[0])
	}
	return err
}

// arguments checks the number of arguments; what names them in the message. A
// most of -1 is any number.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case cmd.HasSubCommands() && len(args) > 0:
			return unknownCommand(cmd, args[0])
		case len(args) < least:
			return withHint(usagef("%s needs %s", short(cmd), what), `"`+cmd.CommandPath()+` --help" shows how`)
		case most >= 0 && len(args) > most && most == 0:
			return usagef("%s takes no argument; got %q", short(cmd), args[0])
		case most >= 0 && len(args) > most:
			return usagef("%s takes %s; %q is one too many", short(cmd), what, args[most])
		}
		return nil
	}
}

// short is a command without the program's name, which begins each error.
func short(cmd *cobra.Command) string {
	_, rest, _ := strings.Cut(cmd.CommandPath(), " ")
	return rest
}

// unknownCommand suggests the commands that may have been meant.
func unknownCommand(cmd *cobra.Command, typed string) error {
	err := usagef("unknown command %q for %q", typed, cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	suggestions := cmd.SuggestionsFor(typed)
	if len(suggestions) == 0 {
		return err
	}
	for i, name := range suggestions {
		suggestions[i] = cmd.CommandPath() + " " + name
	}
	return withHint(err, "did you mean: "+strings.Join(suggestions, ", "), `"`+cmd.CommandPath()+` --help" lists the commands`)
}

// group makes a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(commands...)
	return c
}
