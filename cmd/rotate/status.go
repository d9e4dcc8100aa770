package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

func newStatusCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		check  bool
	)
	cmd := &cobra.Command{
		Use:   "status [APP…]",
		Short: "Show what is due, running, waiting and failing",
		Long: `Shows every app's certificate and rotation; what needs a person comes first.
With --check it prints one line for a monitoring system instead, and the exit code
is 3 if an app is late or needs a person, if a channel of alerts is failing, or if the
last good check is older than the schedule allows.

` + exitCodes,
		Example: `  rotate status
  rotate status contoso-sync -o json
  rotate status --check || echo look`,
		Args:              arguments(0, -1, ""),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				status, err := conn.Status(ctx, names...)
				if err != nil {
					return err
				}
				switch {
				case format.isJSON():
					err = writeJSON(a.stdout, status)
				case check:
					fmt.Fprintln(a.stdout, checkLine(status))
				default:
					writeStatus(newTerminal(a.stdout, a.getenv), status, conn.local)
				}
				if err == nil && check && needsAttention(status) {
					return &ended{code: exitAttention}
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "exit with 3 if something needs attention")
	format.flag(cmd)
	return cmd
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
		return "ok: " + count(len(s.Apps), "app", "apps") + ", no check yet"
	}
	return "ok: " + count(len(s.Apps), "app", "apps") + ", last good check " + relative(s.LastGoodCheck, s.At)
}

func needsAttention(s control.Status) bool {
	return len(s.Problems) > 0 || s.ReadOnly || s.Stopped != nil || s.LastCheckError != nil ||
		slices.ContainsFunc(s.Apps, func(a control.AppStatus) bool { return a.Attention })
}

// writeStatus prints the table for people: what needs attention first, then what
// runs, then by the next date.
func writeStatus(t *terminal, s control.Status, local bool) {
	now := s.At
	if len(s.Apps) == 0 {
		fmt.Fprintln(t.w, `No app is tracked yet. "rotate app add" tracks one.`)
	} else {
		apps := slices.Clone(s.Apps)
		slices.SortStableFunc(apps, func(a, b control.AppStatus) int {
			if d := rank(a) - rank(b); d != 0 {
				return d
			}
			return earlier(a.DueAt, b.DueAt)
		})
		var rows table
		rows.row(t.heads("APP", "TENANT", "MODE", "CERTIFICATE", "ENDS", "ROTATION")...)
		for _, a := range apps {
			rows.row(t.paint(bold, a.Name), a.Tenant, a.Mode, certificateCell(a), t.endsCell(a, now), t.stateCell(a, now))
		}
		rows.write(t.w)
		for _, a := range apps {
			t.details(a, now)
		}
	}
	fmt.Fprintln(t.w)
	t.footer(s, local)
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
