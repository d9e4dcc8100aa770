package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// outputFormat is the value of -o.
type outputFormat string

func (f *outputFormat) flag(cmd *cobra.Command) {
	*f = "table"
	cmd.Flags().VarP(f, "output", "o", "table (for people) or json")
	// It fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *outputFormat) isJSON() bool { return *f == "json" }

// String, Set and Type make it a flag.
func (f *outputFormat) String() string { return string(*f) }

// Set accepts table and json.
func (f *outputFormat) Set(text string) error {
	if text != "table" && text != "json" {
		return fmt.Errorf("use table or json")
	}
	*f = outputFormat(text)
	return nil
}

// Type is what help texts call the value.
func (f *outputFormat) Type() string { return "format" }

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// table prints rows in columns that are as wide as they must be. Cells may hold
// colours.
type table struct {
	rows [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-width(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// width counts the characters that show: colours do not.
func width(text string) int { return utf8.RuneCountInString(plain(text)) }

// plain removes colours.
func plain(text string) string {
	var out strings.Builder
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "\x1b[")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		_, rest, _ = strings.Cut(after, "m")
	}
}

// cut shortens a text, colours kept, to at most columns characters.
func cut(text string, columns int) string {
	if width(text) <= columns || columns < 1 {
		return text
	}
	var out strings.Builder
	shown, coloured := 0, false
	for i := 0; i < len(text); {
		if strings.HasPrefix(text[i:], "\x1b[") {
			end := strings.IndexByte(text[i:], 'm')
			if end < 0 {
				break
			}
			out.WriteString(text[i : i+end+1])
			i, coloured = i+end+1, true
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		if shown == columns-1 {
			out.WriteRune('…')
			break
		}
		out.WriteRune(r)
		shown++
		i += size
	}
	if coloured {
		out.WriteString("\x1b[0m")
	}
	return out.String()
}

const day = 24 * time.Hour

// span prints a length of time as people say it: 120 ms, 3 s, 5 min, 7 h, 12 d.
func span(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 2*day:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%d d", int((d+12*time.Hour)/day))
}

// relative prints an instant as seen from now: "in 12 d", "3 h ago".
func relative(t *time.Time, now time.Time) string {
	switch {
	case t == nil:
		return "–"
	case t.Sub(now).Abs() < time.Second:
		return "now"
	case t.After(now):
		return "in " + distance(now, *t)
	}
	return distance(*t, now) + " ago"
}

// distance is whole of the time between two instants, which may be more than the 292
// years of a [time.Duration]: certificates without an end have the year 9999.
func distance(from, to time.Time) string {
	if d := to.Sub(from); d < 2*day {
		return whole(d)
	}
	return fmt.Sprintf("%d d", (to.Unix()-from.Unix()+int64(12*time.Hour/time.Second))/int64(day/time.Second))
}

// whole is span without fractions of seconds.
func whole(d time.Duration) string {
	if d = d.Abs().Round(time.Second); d < 10*time.Second {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return span(d)
}

// moment prints an instant: the clock if it is near, else the date.
func moment(t time.Time, now time.Time) string {
	if t.Sub(now).Abs() < 20*time.Hour {
		return t.Local().Format(time.TimeOnly)
	}
	return t.Local().Format("2006-01-02 15:04")
}

// shortThumbprint is enough of a thumbprint for people to compare.
func shortThumbprint(sha1 string) string {
	if len(sha1) <= 8 {
		return sha1
	}
	return sha1[:8] + "…"
}

// sorted keys of a map.
func sorted[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// count prints a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
