package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newAppEditCommand(a *app) *cobra.Command {
	var (
		format       outputFormat
		flags        appFlags
		newPassword  bool
		noDeliveries bool
		forget       string
		moved        bool
	)
	cmd := &cobra.Command{
		Use:   "edit APP",
		Short: "Change a tracked app",
		Long: `Changes what the flags name; all else stays. Flags that can be repeated replace
the whole list. Parts of a policy that have no flag are set with "rotate apply".`,
		Example: `  rotate app edit contoso-sync --deliver-file /srv/contoso-sync/contoso-sync.pfx
  rotate app edit contoso-sync --mode managed`,
		Args:              arguments(1, 1, "the name of an app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.finish(); err != nil {
				return err
			}
			edit := control.Edit{ForgetOrphan: forget, Moved: moved}
			changed := cmd.Flags().Changed
			set := func(flag string, to **string, value *string) {
				if changed(flag) {
					*to = value
				}
			}
			setAll := func(flag string, to **[]string, value *[]string) {
				if changed(flag) {
					*to = value
				}
			}
			set("mode", &edit.Mode, &flags.mode)
			set("object-id", &edit.ObjectID, &flags.objectID)
			set("key-id", &edit.KeyID, &flags.keyID)
			set("owner", &edit.Owner, &flags.owner)
			set("friendly-name", &edit.FriendlyName, &flags.friendlyName)
			setAll("permission", &edit.Permissions, &flags.permissions)
			setAll("tag", &edit.Tags, &flags.tags)
			setAll("probe", &edit.Probe, &flags.probe)
			switch {
			case noDeliveries && len(flags.deliveries) > 0:
				return usagef("--no-delivery does not go with --deliver-file or --deliver-exec")
			case noDeliveries:
				edit.Deliveries = &[]control.Delivery{}
			case len(flags.deliveries) > 0:
				edit.Deliveries = &flags.deliveries
			}
			if changed("confirm") {
				edit.Confirm = &flags.confirm.Confirm
			}
			if changed("verify") {
				edit.Verify = &flags.verify
			}
			if changed("evidence") {
				edit.Evidence = &flags.evidence
			}
			if changed("no-consumer") {
				edit.NoConsumer = &flags.noConsumer
			}
			if changed("new-password") {
				edit.NewPassword = &newPassword
			}
			policed, err := flags.policy.put(cmd, &control.Policy{})
			if err != nil {
				return err
			}
			if edit == (control.Edit{}) && !changed("encoding") && !changed("prove-scope") && !policed {
				return withHint(usagef("app edit %s: nothing to change", args[0]), `"rotate app edit --help" shows the flags`)
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				if changed("encoding") || changed("prove-scope") || policed {
					tracked, err := conn.App(ctx, args[0])
					if err != nil {
						return err
					}
					if changed("encoding") {
						tracked.Policy.Encoding = flags.encoding
					}
					if changed("prove-scope") {
						tracked.Policy.ProveScopes = flags.scopes()
					}
					if _, err := flags.policy.put(cmd, &tracked.Policy); err != nil {
						return err
					}
					edit.Policy = &tracked.Policy
				}
				edited, err := conn.Edit(ctx, args[0], edit)
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, edited)
				}
				if len(edited.Changes) == 0 {
					fmt.Fprintf(a.stdout, "%s: nothing changed.\n", args[0])
				}
				writeLines(a.stdout, args[0]+": ", edited.Changes)
				return nil
			})
		},
	}
	f := cmd.Flags()
	flags.register(cmd)
	f.BoolVar(&noDeliveries, "no-delivery", false, "remove all deliveries; with --no-consumer, or the app is not rotated any more")
	f.BoolVar(&newPassword, "new-password", false, "give the next key pair a password of its own")
	f.BoolVar(&moved, "moved", false, "who read a delivery that is taken away, now or before, reads one of the others now, or is no more: nobody has to confirm for it")
	f.StringVar(&forget, "forget-orphan", "", "thumbprint of a certificate left behind that you have removed in the portal")
	format.flag(cmd)
	return cmd
}
