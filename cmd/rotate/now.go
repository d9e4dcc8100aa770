package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

// nowFlags are those of "rotate now".
type nowFlags struct {
	due, all, wait, force, cutNow bool
	compromised, confirmName      string
	retireKeys                    []string
	format                        outputFormat
}

func newNowCommand(a *app) *cobra.Command {
	var flags nowFlags
	cmd := &cobra.Command{
		Use:   "now APP… | --due | --all",
		Short: "Rotate now, and show each phase",
		Long: `Rotates the certificates of the named apps at once, or carries on with rotations
that are open. It returns when each has ended or must wait for the overlap, a
window, a pause or a person; --wait stays for the overlap too, and until it is confirmed
that the old certificate was removed: reads of the app do not list it, and sign-ins with
it are refused.

A key on the app that rotate did not make stays. --retire-key KEYID tells it to go:
it is removed after the overlap of the rotation that is open or begins with it. If the
certificate in service was confirmed before, no new one is made.

` + exitCodes,
		Example: `  rotate now contoso-sync --wait
  rotate now --due -o json
  rotate now contoso-sync --compromised current`,
		Args:              arguments(0, -1, ""),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := a.checkNow(&flags, names); err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error { return a.now(ctx, conn, names, flags) })
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.due, "due", false, "all apps that are due, and all rotations that are open")
	f.BoolVar(&flags.all, "all", false, "all apps")
	f.BoolVar(&flags.wait, "wait", false, "stay until the removal of the old certificate is confirmed")
	f.BoolVar(&flags.force, "force", false, "go beyond the ceilings, and upload a certificate again that somebody removed")
	f.StringVar(&flags.compromised, "compromised", "", "the private key that is known to others: current or next")
	f.BoolVar(&flags.cutNow, "cut-now", false, "with --compromised: remove its certificate as soon as the fresh one is proven, before the consumer has it")
	f.StringVar(&flags.confirmName, "confirm-name", "", "with --cut-now in a script: the app's name again, instead of typing it")
	f.StringArrayVar(&flags.retireKeys, "retire-key", nil, "key ID on the app that rotate did not make: remove it once ours is proven, delivered and confirmed; repeatable")
	flags.format.flag(cmd)
	return cmd
}

// checkNow refuses flags that do not go together, and asks before an outage.
func (a *app) checkNow(flags *nowFlags, names []string) error {
	chosen := 0
	for _, on := range []bool{len(names) > 0, flags.due, flags.all} {
		if on {
			chosen++
		}
	}
	switch {
	case chosen == 0:
		return withHint(usagef("now needs the name of an app, --due or --all"), `"rotate app list" shows the names`)
	case chosen > 1:
		return usagef("now takes either names, or --due, or --all")
	case flags.compromised != "" && flags.compromised != "current" && flags.compromised != "next":
		return usagef("--compromised is current or next, not %q", flags.compromised)
	case flags.compromised != "" && len(names) == 0:
		return usagef("--compromised needs the names of the apps")
	case flags.cutNow && flags.compromised == "":
		return usagef("--cut-now only goes with --compromised")
	case flags.cutNow && len(names) != 1:
		return usagef("--cut-now takes one app at a time")
	case flags.confirmName != "" && !flags.cutNow:
		return usagef("--confirm-name only goes with --cut-now")
	case len(flags.retireKeys) > 0 && len(names) != 1:
		return usagef("--retire-key takes one app at a time")
	case !flags.cutNow:
		return nil
	}
	typed := flags.confirmName
	if typed == "" {
		f, ok := a.stdin.(*os.File)
		if !ok || !term.IsTerminal(int(f.Fd())) {
			return usagef("--cut-now stops the consumer of %s until it has the new file; on no terminal it needs --confirm-name %s", names[0], names[0])
		}
		fmt.Fprintf(a.stderr, "The consumer of %s will stop working until it has the new file.\nType the app's name to go on: ", names[0])
		line, err := bufio.NewReader(a.stdin).ReadString('\n')
		if err != nil {
			return fmt.Errorf("read the name: %w", err)
		}
		typed = strings.TrimSpace(line)
	}
	if typed != names[0] {
		return usagef("%q is not the app's name %q; nothing was done", typed, names[0])
	}
	return nil
}

// startAtOnce bounds how many apps are started side by side: making keys is work.
const startAtOnce = 4

func (a *app) now(ctx context.Context, conn *connection, names []string, flags nowFlags) error {
	rotations, failed, err := a.begin(ctx, conn, names, flags)
	if err != nil {
		return err
	}
	if len(rotations)+len(failed) == 0 && !flags.format.isJSON() {
		fmt.Fprintln(a.stdout, "Nothing is due and no rotation is open.")
	}
	var outcomes []outcome
	if len(rotations) > 0 {
		f := &follower{conn: conn, view: a.newView(flags.format), wait: flags.wait}
		outcomes = f.follow(ctx, rotations)
	}
	outcomes = append(outcomes, failed...)
	if flags.format.isJSON() {
		results := make([]result, len(outcomes))
		for i, o := range outcomes {
			results[i] = resultOf(o)
		}
		if err := writeJSON(a.stdout, results); err != nil {
			return err
		}
	}
	return a.conclude(outcomes, flags.format.isJSON())
}

// begin starts the rotations; failed are those that could not.
func (a *app) begin(ctx context.Context, conn *connection, names []string, flags nowFlags) (rotations []control.Rotation, failed []outcome, err error) {
	if flags.due {
		started, err := conn.StartDue(ctx)
		for i := range started.Errors {
			failed = append(failed, failure(appIn(started.Errors[i].Message), &started.Errors[i]))
		}
		return started.Rotations, failed, err
	}
	if flags.all {
		apps, err := conn.Apps(ctx)
		if err != nil {
			return nil, nil, err
		}
		for _, tracked := range apps {
			if tracked.Mode == string(rotator.ModeMonitor) {
				continue // there is nothing of it to rotate
			}
			names = append(names, tracked.Name)
		}
	}
	request := control.StartRequest{Force: flags.force, Compromised: flags.compromised, CutNow: flags.cutNow, RetireKeys: flags.retireKeys}
	started := make([]control.Rotation, len(names))
	errs := make([]error, len(names))
	slots := make(chan struct{}, startAtOnce)
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			started[i], errs[i] = conn.Start(ctx, name, request)
		})
	}
	all.Wait()
	for i, name := range names {
		if errs[i] != nil {
			failed = append(failed, failure(name, errs[i]))
			continue
		}
		rotations = append(rotations, started[i])
	}
	return rotations, failed, nil
}

// failure is the outcome of an app whose rotation did not start.
func failure(name string, err error) outcome {
	code := exitCode(err)
	if errors.Is(err, context.Canceled) {
		code = exitWaiting
	}
	return outcome{app: name, code: code, err: err}
}

// appIn finds the app that a message of many is about: each begins with its name.
func appIn(message string) string {
	rest, _ := strings.CutPrefix(message, "app ")
	name, _, _ := strings.Cut(rest, " ")
	return strings.TrimSuffix(name, ":")
}
