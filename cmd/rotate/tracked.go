package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newAppCommand(a *app) *cobra.Command {
	return group("app", "Track apps, and change what is tracked",
		newAppCreateCommand(a), newAppDeleteCommand(a), newAppAddCommand(a), newAppListCommand(a), newAppShowCommand(a), newAppEditCommand(a), newAppRemoveCommand(a), newAppTestCommand(a), newAppSignInsCommand(a))
}

func newAppListCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		part   listFlags
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the tracked apps",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := part.check(); err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				if format.isJSON() {
					list, whole := &objectWithList{w: a.stdout, name: "apps"}, control.Apps{Apps: []control.App{}}
					err := conn.EachApp(ctx, part.after, part.limit, func(tracked control.App) error { return list.add(whole, tracked) })
					if err != nil {
						return err
					}
					return list.end(whole)
				}
				t := newTerminal(a.stdout, a.getenv)
				rows, shown := &listed{w: t.w}, 0
				err := conn.EachApp(ctx, part.after, part.limit, func(tracked control.App) error {
					if shown++; shown == 1 {
						rows.row(t.heads("APP", "TENANT", "MODE", "CLIENT ID", "CERTIFICATE", "UNTIL", "DELIVERIES", "OWNER")...)
					}
					until := "–"
					if tracked.Current != nil {
						until = tracked.Current.NotAfter.Local().Format("2006-01-02")
					}
					rows.row(t.paint(bold, tracked.Name), tracked.Tenant, tracked.Mode, tracked.ClientID, thumbprintOf(tracked.Current), until,
						fmt.Sprint(len(tracked.Deliveries)), tracked.Owner)
					return nil
				})
				rows.end()
				if err == nil && shown == 0 {
					fmt.Fprintln(t.w, `No app is tracked yet. "rotate app add" tracks one.`)
				}
				return err
			})
		},
	}
	cmd.Flags().IntVar(&part.limit, "limit", 0, "show at most so many")
	part.addAfter(cmd)
	format.flag(cmd)
	return cmd
}

func newAppShowCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:               "show APP",
		Short:             "Show all that is known about an app",
		Args:              arguments(1, 1, "the name of an app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				tracked, err := conn.App(ctx, args[0])
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, tracked)
				}
				writeApp(newTerminal(a.stdout, a.getenv), tracked)
				return nil
			})
		},
	}
	format.flag(cmd)
	return cmd
}

func writeApp(t *terminal, tracked control.App) {
	now := time.Now()
	var rows table
	row := func(name, value string) {
		if value != "" {
			rows.row(t.paint(dim, name), value)
		}
	}
	row("app", t.paint(bold, tracked.Name))
	row("in Entra", tracked.DisplayName)
	row("tenant", tracked.Tenant)
	row("client ID", tracked.ClientID)
	row("object ID", tracked.ObjectID)
	row("mode", modeText(tracked.Mode))
	row("permissions", strings.Join(tracked.Permissions, ", "))
	row("probe", strings.Join(tracked.Probe, ", "))
	row("owner", tracked.Owner)
	row("tags", strings.Join(tracked.Tags, ", "))
	row("certificate", credentialText(tracked.Current, now))
	row("previous", credentialText(tracked.Previous, now))
	for _, c := range tracked.Former {
		row("former", credentialText(&c, now))
	}
	for _, o := range tracked.Orphans {
		row("left behind", credentialText(&o.Credential, now)+": "+o.Reason)
	}
	for _, m := range tracked.Removals {
		row("removal", shortThumbprint(m.ThumbprintSHA1)+": "+m.State)
	}
	for _, text := range othersText(tracked.Others) {
		row("others'", text)
	}
	for _, d := range tracked.Deliveries {
		row("delivery", deliveryText(d))
	}
	switch {
	case len(tracked.Deliveries) > 0 || tracked.Mode == "monitor":
	case tracked.NoConsumer:
		row("delivery", noConsumerText)
	default:
		row("delivery", t.paint(yellow, "none"))
	}
	row("confirmed", confirmText(tracked.Confirm))
	if tracked.Evidence {
		row("evidence", "the sign-in log is asked before a certificate is removed: rotate app signins "+tracked.Name)
	}
	p := tracked.PolicyInForce
	if p.Prove != nil {
		row("policy", fmt.Sprintf("%s for %s, renewed %s before its end; %s %s apart within %s; reload within %s, overlap %s; previous key kept %s; %s",
			p.Key, p.Validity, p.RenewBefore, count(p.Prove.Successes, "proof", "proofs"), p.Prove.Spacing, p.Prove.Within,
			p.ReloadWithin, p.Overlap, p.KeepPrevious, p.Encoding))
	}
	if p.ProveScopes != nil && len(*p.ProveScopes) > 0 {
		row("proven for", "Microsoft Graph and "+strings.Join(*p.ProveScopes, ", "))
	}
	if p.Window != nil {
		row("window", fmt.Sprintf("%s for %s %s", p.Window.Cron, p.Window.Duration, p.Window.Zone))
	}
	if tracked.RotationID != nil {
		row("rotation", *tracked.RotationID+" is open")
	}
	if tracked.PausedUntil != nil && tracked.PausedUntil.After(now) {
		row("paused", "until "+moment(*tracked.PausedUntil, now))
	}
	row("added", tracked.AddedAt.Local().Format("2006-01-02 15:04")+" by "+tracked.AddedBy)
	rows.write(t.w)
}

// noConsumerText stands for the deliveries of an app that nobody uses.
const noConsumerText = "none needed: no program signs in with its certificates (--no-consumer)"

func modeText(mode string) string {
	switch mode {
	case "self":
		return "self: the app adds its own next certificate, signed with the current key; no permission is needed"
	case "managed":
		return "managed: the tenant's identity changes the app, as its owner"
	case "monitor":
		return "monitor: it is only watched; nobody here holds its private key"
	}
	return mode
}

func credentialText(c *control.Credential, now time.Time) string {
	if c == nil {
		return ""
	}
	key := "key ID not known"
	if c.KeyID != nil {
		key = "key ID " + *c.KeyID
	}
	return fmt.Sprintf("%s until %s (%s), %s", c.ThumbprintSHA1, c.NotAfter.Local().Format("2006-01-02"), relative(&c.NotAfter, now), key)
}

func deliveryText(d control.Delivery) string {
	switch d.Kind {
	case "exec":
		return "exec " + d.Hook
	case "handoff":
		return "handed to a person, who fetches it: rotate handoff APP"
	}
	text := "file " + d.Path
	if d.Encoding != "" {
		text += " as " + d.Encoding
	}
	if d.Mode != "" {
		text += ", mode " + d.Mode
	}
	if d.PasswordPath != "" {
		text += ", password in " + d.PasswordPath
	}
	if d.Replace {
		text += ", may overwrite what is not ours"
	}
	return text
}

func confirmText(c control.Confirm) string {
	switch c.Rule {
	case "automatic":
		return "automatically, once deliveries hold it and the consumer had its time to read it"
	case "command":
		return "when the hook " + c.Hook + " exits 0"
	case "person":
		return "by you: rotate confirm APP"
	}
	return c.Rule
}

func newAppRemoveCommand(a *app) *cobra.Command {
	var (
		format         outputFormat
		purge, abandon bool
	)
	cmd := &cobra.Command{
		Use:   "remove APP",
		Short: "Stop tracking an app; nothing changes in Entra",
		Long: `Stops tracking an app. Its certificates stay on the app in Entra, and its keys
stay sealed in the store until --purge. While a rotation is open it is refused,
unless --abandon leaves that rotation where it stands; what it leaves behind on the
app is printed.`,
		Args:              arguments(1, 1, "the name of an app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				removed, err := conn.Remove(ctx, args[0], purge, abandon)
				if err != nil {
					return err
				}
				if format.isJSON() {
					return writeJSON(a.stdout, removed)
				}
				fmt.Fprintf(a.stdout, "%s is no longer tracked.\n", args[0])
				for _, c := range removed.Left {
					fmt.Fprintf(a.stdout, "It stays on the app in Entra: %s\n", credentialText(&c, time.Now()))
				}
				if removed.KeysKept {
					fmt.Fprintln(a.stdout, "Its keys stay sealed in the store; adding the app again finds them, \"--purge\" deletes them.")
				} else {
					fmt.Fprintln(a.stdout, "Its keys were deleted.")
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "delete its sealed keys too")
	cmd.Flags().BoolVar(&abandon, "abandon", false, "leave an open rotation where it stands")
	format.flag(cmd)
	return cmd
}
