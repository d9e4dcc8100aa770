package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
)

func newAuditCommand(a *app) *cobra.Command {
	var name, since, format string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who changed what",
		Long: `Shows the audit trail, oldest first: when, who, what, which app, which certificates,
and the result. Who is "schedule", or the user at the other end of the socket. Each
line holds the hash of the one before; "rotate audit verify" follows them.`,
		Example: `  rotate audit --app contoso-sync --since 90d
  rotate audit --since 2026-01-01 -o csv > audit.csv`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "table" && format != "json" && format != "csv" {
				return usagef("--output %q: use table, json or csv", format)
			}
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				lines := []control.AuditLine{}
				for line, err := range conn.Audit(ctx, name, from) {
					if err != nil {
						return err
					}
					lines = append(lines, line)
				}
				switch format {
				case "json":
					return writeJSON(a.stdout, struct {
						Lines []control.AuditLine `json:"lines"`
					}{lines})
				case "csv":
					return writeAuditCSV(a.stdout, lines)
				}
				writeAudit(newTerminal(a.stdout, a.getenv), lines)
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "app", "", "of one app only")
	f.StringVar(&since, "since", "", "a date (2026-01-01), a time (RFC 3339), or a length back from now (90d)")
	f.StringVarP(&format, "output", "o", "table", "table (for people), json or csv")
	// They fail only for flags that are not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "csv"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("app", a.completeApps)
	cmd.AddCommand(newAuditVerifyCommand(a))
	return cmd
}

// parseSince reads a date, an instant or a length back from now; empty: all.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := config.ParseDuration(text); err == nil {
		return now.Add(-time.Duration(d)), nil
	}
	return time.Time{}, usagef("--since %q is neither a date (2026-01-01), nor a time (2026-01-01T08:00:00Z), nor a length (90d, 12h)", text)
}

func writeAudit(t *terminal, lines []control.AuditLine) {
	if len(lines) == 0 {
		fmt.Fprintln(t.w, "There is no such line.")
		return
	}
	var rows table
	rows.row(t.heads("LINE", "WHEN", "WHO", "WHAT", "APP", "CERTIFICATE", "RESULT")...)
	for _, l := range lines {
		result := l.Result
		if l.Note != "" {
			result += " (" + l.Note + ")"
		}
		rows.row(strconv.FormatUint(l.Number, 10), l.At.Local().Format("2006-01-02 15:04:05"), l.By, l.What, cmp.Or(l.App, "–"),
			cmp.Or(shortThumbprint(l.ThumbprintSHA256), "–"), strings.ReplaceAll(result, "\n", " "))
	}
	rows.write(t.w)
}

// writeAuditCSV writes a header and a row a line. A cell that a spreadsheet would
// take for a formula begins with an apostrophe.
func writeAuditCSV(w io.Writer, lines []control.AuditLine) error {
	rows := csv.NewWriter(w)
	err := rows.Write([]string{
		"line", "at", "by", "what", "app", "rotation_id", "thumbprint_sha256", "old_thumbprint_sha256", "result", "note", "sha256",
	})
	for _, l := range lines {
		row := []string{
			strconv.FormatUint(l.Number, 10), l.At.UTC().Format(time.RFC3339Nano), l.By, l.What, l.App, l.RotationID,
			l.ThumbprintSHA256, l.OldThumbprintSHA256, l.Result, l.Note, l.SHA256,
		}
		for i, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				row[i] = "'" + cell
			}
		}
		err = errors.Join(err, rows.Write(row))
	}
	rows.Flush()
	return errors.Join(err, rows.Error())
}

func newAuditVerifyCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		expect string
	)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Follow the hash chain of the audit trail",
		Long: `Follows the hash chain from the first line to the last: a line that was changed, taken
out or put in breaks it. Lines cut off at the end, with the record of where it ended
rewritten, do not; for that the daemon writes number and hash of the newest line to
its log. With --expect HASH there must be a line with this hash.`,
		Example: `  rotate audit verify
  rotate audit verify --expect "$(journalctl -u rotate -g 'audit line' -n 1 -o cat | sed 's/.*sha256=//')"`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			expect = strings.ToLower(strings.TrimSpace(expect))
			if cmd.Flags().Changed("expect") && (len(expect) != 64 || strings.Trim(expect, "0123456789abcdef") != "") {
				return usagef("--expect %q is not a SHA-256 in hex, 64 digits", expect)
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				at := a.progress()
				proof, err := conn.ProveAudit(ctx, expect, at.show)
				at.end()
				if err != nil {
					return err
				}
				if format.isJSON() {
					err = writeJSON(a.stdout, proof)
				} else {
					fmt.Fprintf(a.stdout, "%s, each with the hash of the one before. Newest: %s\n", count(int(proof.Lines), "line", "lines"), cmp.Or(proof.SHA256, "–")) //nolint:gosec // a number of lines
					if proof.ExpectedLine != nil {
						fmt.Fprintf(a.stdout, "Line %d has the expected hash: it and all lines before it are as they were.\n", *proof.ExpectedLine)
					}
				}
				if err == nil && expect != "" && proof.ExpectedLine == nil {
					return withHint(fmt.Errorf("no line of the audit trail has the hash %s: lines were cut off and others written in their place, or it is an older copy of the store", expect),
						"the log of the daemon (journalctl -u rotate) and the newest backup tell what is missing")
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&expect, "expect", "", "hash of a line, as the log of the daemon shows it")
	format.flag(cmd)
	return cmd
}
