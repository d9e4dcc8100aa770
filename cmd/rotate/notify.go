package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newNotifyCommand(a *app) *cobra.Command {
	return group("notify", "Try the channels of alerts", newNotifyTestCommand(a), newNotifyShowCommand(a))
}

// warnInactive says which channels of the file were not tested, because the daemon does not
// have them yet.
func (a *app) warnInactive(channel string, tested []control.ChannelTest) {
	cfg, err := a.loadConfig()
	if err != nil || channel != "" {
		return
	}
	for i := range cfg.Notify.Channels {
		name := cfg.Notify.Channels[i].Name
		if !slices.ContainsFunc(tested, func(t control.ChannelTest) bool { return t.Channel == name }) {
			fmt.Fprintf(a.stderr, "rotate: warning: channel %s is in the configuration but not active yet, so it was not tested: rotate reload\n", name)
		}
	}
}

// inactiveHint helps where a channel is not known to the daemon.
func (a *app) inactiveHint(channel string) string {
	if cfg, err := a.loadConfig(); err == nil {
		for i := range cfg.Notify.Channels {
			if cfg.Notify.Channels[i].Name == channel {
				return "it is in the configuration but not active yet: rotate reload"
			}
		}
	}
	return `"rotate alerts" lists the channels`
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
					return withHint(err, a.inactiveHint(channel))
				}
				a.warnInactive(channel, tests.Channels)
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
