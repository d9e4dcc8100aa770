package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newNotifyCommand(a *app) *cobra.Command {
	return group("notify", "Try the channels of alerts", newNotifyTestCommand(a), newNotifyShowCommand(a))
}

func newNotifyTestCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "test [CHANNEL]",
		Short: "Send a test message and print what the server said",
		Long: `Really sends a test message on one channel, or on all, and prints what each server
said. A channel that takes it goes on at once with what waits for it.`,
		Args: arguments(0, 1, "at most one channel"),
		RunE: func(cmd *cobra.Command, args []string) error {
			channel := strings.Join(args, "")
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				tests, err := conn.TestChannels(ctx, channel)
				if err != nil {
					return withHint(err, `"rotate alerts" lists the channels`)
				}
				failed := 0
				for _, one := range tests.Channels {
					if one.Error != nil {
						failed++
					}
				}
				if format.isJSON() {
					if err := writeJSON(a.stdout, tests); err != nil {
						return err
					}
				} else {
					t := newTerminal(a.stdout, a.getenv)
					for _, one := range tests.Channels {
						if one.Error != nil {
							fmt.Fprintf(t.w, "%s: %s\n", one.Channel, t.paint(red, *one.Error))
							continue
						}
						answer := "sent"
						if one.Answer != nil {
							answer = *one.Answer
						}
						fmt.Fprintf(t.w, "%s: %s\n", one.Channel, t.paint(green, answer))
					}
				}
				if failed > 0 {
					return &ended{code: exitFailed, err: fmt.Errorf("%s did not take the test message", count(failed, "channel", "channels"))}
				}
				return nil
			})
		},
	}
	format.flag(cmd)
	return cmd
}
