package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newConfirmCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		note   string
	)
	cmd := &cobra.Command{
		Use:   "confirm APP [CODE]",
		Short: "Confirm that the consumer uses the new certificate",
		Long: `Confirms the new certificate of an app whose rule is "person". CODE is the first
8 digits of the thumbprint that the consumer shows (SHA-1, as in the portal and in
Windows; those of SHA-256 are accepted too): whoever reads it there has seen that the
consumer has the new file. On a terminal it is asked for.

One code speaks for every consumer of the app that only you can reach, and for all
machines behind it: confirm when the last one has the new file. From then on rotate
knows nothing else of them. Destroy a key that was fetched and then rolled back.`,
		Example:           "  rotate confirm contoso-sync 5B1F09C2 --note \"ticket 4711\"",
		Args:              arguments(1, 2, "the name of an app and a code"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			code, err := a.confirmCode(args)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				since := time.Now()
				r, err := conn.Confirm(ctx, args[0], control.ConfirmRequest{Code: code, Note: note})
				if err != nil {
					return err
				}
				err = a.goOn(ctx, conn, r, since, format)
				if end, ok := errors.AsType[*ended](err); ok && end.code == exitWaiting {
					return nil // it is confirmed; the overlap is for the daemon
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "a remark for the history")
	format.flag(cmd)
	return cmd
}

// confirmCode takes the code from the command line, or asks for it.
func (a *app) confirmCode(args []string) (string, error) {
	if len(args) > 1 {
		return args[1], nil
	}
	q := a.newQuestions()
	if q == nil {
		return "", withHint(usagef("confirm %s needs a code: the first 8 digits of the thumbprint that the consumer shows", args[0]), `"rotate confirm --help" shows how`)
	}
	return q.ask("First 8 digits of the thumbprint that the consumer of "+args[0]+" shows", "", func(text string) error {
		if len(strings.TrimSpace(text)) < 8 {
			return errors.New("type 8 digits, such as 5B1F09C2; look in the consumer's settings")
		}
		return nil
	})
}

// goOn follows one rotation until it ended or must wait, and prints it.
func (a *app) goOn(ctx context.Context, conn *connection, r control.Rotation, since time.Time, format outputFormat) error {
	f := &follower{conn: conn, view: a.newView(format)}
	if l, ok := f.view.(*lines); ok {
		l.skip(r, since)
	}
	outcomes := f.follow(ctx, []control.Rotation{r})
	if format.isJSON() {
		if err := writeJSON(a.stdout, outcomes[0].rotation); err != nil {
			return err
		}
	}
	return a.conclude(outcomes, format.isJSON())
}
