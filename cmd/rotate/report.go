package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newReportCommand(a *app) *cobra.Command {
	var (
		year        int
		out, format string
	)
	cmd := &cobra.Command{
		Use:   "report --year YEAR",
		Short: "Write the yearly report for auditors",
		Long: `Writes the proof of one year: every app, every rotation with its tests, deliveries
and confirmation, what held rotations up, and every change that a person made. As one
HTML page that needs nothing else and prints well, or as JSON. It holds no secret.

Of one app the store keeps the last 200 rotations.`,
		Example: `  rotate report --year 2026 --out rotate-2026.html
  rotate report --year 2026 -o json > rotate-2026.json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case format != "html" && format != "json":
				return usagef("--output %q: use html or json", format)
			case year < 2000 || year > time.Now().Year():
				return usagef("--year %d: name a year that has begun", year)
			}
			var (
				to   = a.stdout
				file *outFile
				err  error
			)
			if out != "" {
				if file, err = createOut(out); err != nil {
					return err
				}
				to = file
			}
			a.saved = &caller{}
			kept := false
			err = a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				report, err := conn.Report(ctx, year)
				if err != nil {
					return err
				}
				if err := writeReport(to, report, format); err != nil || file == nil {
					return err
				}
				if err := a.asCaller(file.commit); err != nil {
					return err
				}
				kept = true
				fmt.Fprintf(a.stdout, "Wrote %s: %s, %s\n", file.path, count(report.Summary.Apps, "app", "apps"), count(report.Summary.Rotations, "rotation", "rotations"))
				return nil
			})
			if file != nil && !kept {
				err = errors.Join(err, a.asCaller(file.discard))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&year, "year", time.Now().Year(), "the year")
	f.StringVar(&out, "out", "", "file to write (default the standard output)")
	f.StringVarP(&format, "output", "o", "html", "html (for people) or json")
	// It fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"html", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func writeReport(w io.Writer, report control.Report, format string) error {
	if format == "json" {
		return writeJSON(w, report)
	}
	_, err := io.WriteString(w, reportHTML(report))
	return err
}

// confirmedText says in words how a rotation was confirmed.
func confirmedText(r control.Rotation) string {
	if r.Confirmation == nil {
		return "not confirmed"
	}
	switch *r.Confirmation {
	case "automatic":
		return "by the deliveries and a fresh sign-in, after the time the consumer needs to read them"
	case "command":
		return "by the consumer's own test (a hook)"
	case "person":
		return "by " + cmp.Or(r.ConfirmedBy, "a person")
	case "never":
		return "never: the old certificate had ended"
	}
	return *r.Confirmation
}
