package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

func newStatusCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		check  bool
		part   listFlags
	)
	cmd := &cobra.Command{
		Use:   "status [APP…]",
		Short: "Show what is due, running, waiting and failing",
		Long: `Shows every app's certificate and rotation; what needs a person comes first. Of more
than 100 apps it shows those that need a person, and how many others there are; --all,
--limit and --after show the others by name. JSON holds every app that is not left out.
With --check it prints one line for a monitoring system instead, and the exit code
is 3 if an app is late or needs a person, if a channel of alerts is failing, or if the
last good check is older than the schedule allows.

` + exitCodes,
		Example: `  rotate status
  rotate status contoso-sync -o json
  rotate status --after contoso --limit 20
  rotate status --check || echo look`,
		Args:              arguments(0, -1, ""),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := part.check(); err != nil {
				return err
			}
			err := a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				status, err := a.showStatus(ctx, conn, names, part, check, format)
				if err == nil && check && needsAttention(status) {
					return &ended{code: exitAttention}
				}
				return err
			})
			if steps, ok := a.freshHost(err); ok && !check && !format.isJSON() {
				fmt.Fprintf(a.stdout, "rotate is not set up on this host yet: %s\n\nThe first steps:\n", a.lacking())
				writeSteps(a.stdout, steps)
				fmt.Fprintln(a.stdout, "\nTo see all of it without an account: rotate demo")
				return &ended{code: exitUsage}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "exit with 3 if something needs attention")
	part.add(cmd, "app")
	part.addAfter(cmd)
	format.flag(cmd)
	return cmd
}

// freshHost tells whether a command failed because nothing was set up yet, and what
// comes first then.
func (a *app) freshHost(err error) (steps [][2]string, ok bool) {
	path, absErr := filepath.Abs(a.configPath())
	if absErr != nil {
		return nil, false
	}
	cfg, loadErr := config.LoadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && errors.Is(loadErr, fs.ErrNotExist):
		return a.nextSteps(nil, path)[:3], true
	case !errors.Is(err, store.ErrNotInitialised) || cfg == nil:
		return nil, false
	}
	steps = a.nextSteps(cfg, path)[:3]
	if _, configured := unconfigured(path); configured != nil {
		steps[0] = [2]string{strings.Replace(steps[0][0], " setup", " init", 1), "make the store, for the configuration that you wrote"}
	}
	return steps, true
}

// lacking is what a fresh host does not have.
func (a *app) lacking() string {
	if _, err := os.Stat(a.configPath()); err != nil {
		return a.configPath() + " is missing."
	}
	return a.configPath() + " is there, but no store yet."
}

// showStatus prints as much as was asked for.
func (a *app) showStatus(ctx context.Context, conn *connection, names []string, part listFlags, check bool, format outputFormat) (control.Status, error) {
	t := newTerminal(a.stdout, a.getenv)
	switch {
	case len(names) == 0 && format.isJSON():
		list := &objectWithList{w: a.stdout, name: "apps"}
		status, err := conn.Survey(ctx, part.after, part.limit, func(whole control.Status, one control.AppStatus) error {
			whole.Apps = []control.AppStatus{}
			return list.add(whole, one)
		})
		if err != nil {
			return status, err
		}
		return status, list.end(status)
	case len(names) == 0 && !check && (part.all || part.limit > 0 || part.after != ""):
		return a.listStatus(ctx, conn, t, part)
	}
	var status control.Status
	var err error
	if len(names) > 0 {
		status, err = conn.Status(ctx, names...)
	} else {
		status, err = conn.Overview(ctx, shownApps)
	}
	switch {
	case err != nil:
	case format.isJSON():
		err = writeJSON(a.stdout, status)
	case check:
		fmt.Fprintln(a.stdout, checkLine(status))
	default:
		writeStatus(t, status, conn.local)
	}
	return status, err
}

// listStatus prints apps by name, and what holds for all of them.
func (a *app) listStatus(ctx context.Context, conn *connection, t *terminal, part listFlags) (control.Status, error) {
	rows := &listed{w: t.w}
	rows.row(t.heads(statusHeads()...)...)
	status, err := conn.Survey(ctx, part.after, part.limit, func(whole control.Status, one control.AppStatus) error {
		rows.row(t.statusCells(one, whole.At)...)
		return nil
	})
	rows.end()
	if err == nil {
		fmt.Fprintln(t.w)
		t.footer(status, conn.local)
	}
	return status, err
}

// checkLine says in one line whether somebody should look.
func checkLine(s control.Status) string {
	if needsAttention(s) {
		if len(s.Problems) == 0 {
			return "attention: see rotate status"
		}
		return "attention: " + strings.ReplaceAll(strings.Join(s.Problems, "; "), "\n", " ")
	}
	if s.LastGoodCheck == nil {
		return "ok: " + count(s.Counts.Apps, "app", "apps") + ", no check yet"
	}
	return "ok: " + count(s.Counts.Apps, "app", "apps") + ", last good check " + relative(s.LastGoodCheck, s.At)
}

func needsAttention(s control.Status) bool {
	return len(s.Problems) > 0 || s.ReadOnly || s.Stopped != nil || s.LastCheckError != nil || s.Counts.Attention > 0
}

// writeStatus prints the table for people: what needs attention first, then what
// runs, then by the next date.
func writeStatus(t *terminal, s control.Status, local bool) {
	now := s.At
	if s.Counts.Apps == 0 {
		fmt.Fprintln(t.w, `No app is tracked yet. "rotate app add" tracks one.`)
	} else if len(s.Apps) > 0 {
		apps := slices.Clone(s.Apps)
		slices.SortStableFunc(apps, func(a, b control.AppStatus) int {
			if d := rank(a) - rank(b); d != 0 {
				return d
			}
			return earlier(a.DueAt, b.DueAt)
		})
		var rows table
		rows.row(t.heads(statusHeads()...)...)
		for _, a := range apps {
			rows.row(t.statusCells(a, now)...)
		}
		rows.write(t.w)
		for _, a := range apps {
			t.details(a, now)
		}
	}
	if s.Counts.Apps > len(s.Apps) {
		t.others(s)
	}
	fmt.Fprintln(t.w)
	t.footer(s, local)
}

func statusHeads() []string {
	return []string{"APP", "TENANT", "MODE", "CERTIFICATE", "ENDS", "ROTATION"}
}

// statusCells are one app's row.
func (t *terminal) statusCells(a control.AppStatus, now time.Time) []string {
	return []string{t.paint(bold, a.Name), a.Tenant, a.Mode, certificateCell(a), t.endsCell(a, now), t.stateCell(a, now)}
}

// others says how many apps are not shown.
func (t *terminal) others(s control.Status) {
	c := s.Counts
	if len(s.Apps) > 0 {
		fmt.Fprintln(t.w)
	}
	fmt.Fprintf(t.w, "%s: %d need a person", count(c.Apps, "app", "apps"), c.Attention)
	if c.Attention > len(s.Apps) {
		fmt.Fprintf(t.w, " (the first %d are shown)", len(s.Apps))
	}
	fmt.Fprintf(t.w, ", %d are rotating, %d are due. All of them: rotate status --all\n", c.Open, c.Due)
}

func (t *terminal) heads(names ...string) []string {
	heads := make([]string, len(names))
	for i, name := range names {
		heads[i] = t.paint(dim, name)
	}
	return heads
}

func rank(a control.AppStatus) int {
	switch {
	case a.Attention:
		return 0
	case a.Trouble != nil:
		return 1
	case a.Open:
		return 2
	}
	return 3
}

func earlier(a, b *time.Time) int {
	if a == nil || b == nil {
		return 0
	}
	return a.Compare(*b)
}

func certificateCell(a control.AppStatus) string {
	if a.ThumbprintSHA1 == nil {
		return "none"
	}
	return shortThumbprint(*a.ThumbprintSHA1)
}

func (t *terminal) endsCell(a control.AppStatus, now time.Time) string {
	if a.NotAfter == nil {
		return "–"
	}
	text := relative(a.NotAfter, now)
	switch {
	case !a.NotAfter.After(now):
		return t.paint(red, "ended "+text)
	case a.Late:
		return t.paint(red, text)
	case a.DueAt != nil && !a.DueAt.After(now):
		return t.paint(yellow, text)
	}
	return text
}

// stateCell says where the app's rotation stands.
func (t *terminal) stateCell(a control.AppStatus, now time.Time) string {
	phase := ""
	if a.Phase != nil {
		phase = phaseWord(rotator.Phase(*a.Phase))
	}
	switch {
	case a.Trouble != nil && a.Open:
		return t.paint(red, phase+", failing")
	case a.Trouble != nil:
		return t.paint(red, "cannot start")
	case a.Open && a.WaitingFor != nil && *a.WaitingFor == rotator.WaitingPerson:
		return t.paint(yellow, phase+", waits for a person")
	case a.Open && a.WaitingFor != nil && a.WaitingUntil != nil:
		return phase + ", waits for " + strings.ReplaceAll(*a.WaitingFor, "_", " ") + ", on " + relative(a.WaitingUntil, now)
	case a.Open:
		return t.paint(cyan, phase+", at work")
	case a.PausedUntil != nil && a.PausedUntil.After(now):
		return t.paint(yellow, "paused until "+moment(*a.PausedUntil, now))
	case a.Mode == string(rotator.ModeMonitor):
		return t.paint(dim, "only watched")
	case a.DueAt != nil && !a.DueAt.After(now):
		return t.paint(yellow, "due now")
	case a.DueAt != nil:
		return t.paint(green, "next "+relative(a.DueAt, now))
	}
	return "–"
}

// details tells the troubles of one app, with the next step.
func (t *terminal) details(a control.AppStatus, now time.Time) {
	var text []string
	add := func(s style, mark, format string, args ...any) {
		text = append(text, "  "+t.paint(s, mark+" "+fmt.Sprintf(format, args...)))
	}
	if a.Trouble != nil {
		add(red, "✖", "%s", a.Trouble.Message)
		if a.Trouble.Next != "" {
			add(yellow, "→", "%s", a.Trouble.Next)
		}
		tried := fmt.Sprintf("tried %s, last %s", count(a.Trouble.Attempts, "time", "times"), relative(&a.Trouble.At, now))
		if a.RetryAt != nil {
			tried += ", next " + relative(a.RetryAt, now)
		}
		add(dim, " ", "%s", tried)
	}
	if a.WaitingFor != nil && *a.WaitingFor == rotator.WaitingPerson {
		until := ""
		if a.Deadline != nil {
			until = "; before " + a.Deadline.Local().Format("2006-01-02") + ", so that the overlap still fits"
		}
		add(yellow, "→", "%s%s", a.NextStep, until)
	}
	if a.Late {
		add(red, "!", "the last safe start was %s; type  rotate now %s", relative(a.LastSafeStart, now), a.Name)
	}
	for _, warning := range a.Warnings {
		add(yellow, "!", "%s", warning)
	}
	if len(text) == 0 {
		return
	}
	fmt.Fprintf(t.w, "\n%s\n%s\n", t.paint(bold, a.Name), strings.Join(text, "\n"))
}

// footer tells what holds for the whole store.
func (t *terminal) footer(s control.Status, local bool) {
	now := s.At
	if s.Stopped != nil {
		fmt.Fprintln(t.w, t.paint(red, "stopped: "+*s.Stopped))
		if s.ReadOnly {
			fmt.Fprintln(t.w, t.paint(yellow, "→ make sure that no other host uses this store, then: rotate resume --all"))
		}
	}
	if s.PausedUntil != nil && s.PausedUntil.After(now) {
		fmt.Fprintln(t.w, t.paint(yellow, "all apps are paused until "+moment(*s.PausedUntil, now)+"; \"rotate resume --all\" ends it"))
	}
	for _, warning := range s.Warnings {
		fmt.Fprintln(t.w, t.paint(yellow, "! "+warning))
	}
	t.backups(s)
	for _, cloud := range clouds(s.Apps) {
		fmt.Fprintln(t.w, t.paint(dim, cloud))
	}
	if s.LastCheckError != nil {
		fmt.Fprintln(t.w, t.paint(red, "the last check failed: "+*s.LastCheckError))
	}
	switch {
	case local:
		fmt.Fprintln(t.w, t.paint(yellow, "no daemon is running: nothing happens by itself; \"rotate daemon\" starts it"))
	case s.LastCheck == nil:
		fmt.Fprintln(t.w, t.paint(dim, "no check yet; the next one is "+relative(s.NextCheck, now)))
	default:
		fmt.Fprintln(t.w, t.paint(dim, "last check "+relative(s.LastCheck, now)+", next "+relative(s.NextCheck, now)))
	}
}

// backups tells what would be lost with the host.
func (t *terminal) backups(s control.Status) {
	if s.KeysNotInBackup == 0 {
		return
	}
	since := "no backup was made yet"
	if s.LastBackup != nil {
		since = "the last backup is of " + s.LastBackup.Local().Format("2006-01-02 15:04")
	}
	fmt.Fprintln(t.w, t.paint(yellow, fmt.Sprintf("backup: %s, and %s newer (%s): rotate backup FILE", since,
		count(s.KeysNotInBackup, "key is", "keys are"), relative(s.NewestKey, s.At))))
}

// clouds lists the custom ones that the apps live in.
func clouds(apps []control.AppStatus) []string {
	var all []string
	for _, a := range apps {
		if a.Cloud != nil {
			all = append(all, "tenant "+a.Tenant+": "+*a.Cloud)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// writeLines prints each line after a mark.
func writeLines(w io.Writer, mark string, all []string) {
	for _, line := range all {
		fmt.Fprintln(w, mark+line)
	}
}
