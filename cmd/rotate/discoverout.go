package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

// listFormat is the value of -o for lists that others read too.
type listFormat string

func listFormats() []string { return []string{"table", "json", "yaml", "csv", "apps"} }

func (f *listFormat) flag(cmd *cobra.Command) {
	cmd.Flags().VarP(f, "output", "o", "table (for people), json, yaml, csv, or apps: a file to edit for \"rotate apply -f apps.csv\"")
	// It fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(listFormats(), cobra.ShellCompDirectiveNoFileComp))
}

// String, Set and Type make it a flag.
func (f *listFormat) String() string { return string(*f) }

// Set accepts the formats.
func (f *listFormat) Set(text string) error {
	if !slices.Contains(listFormats(), text) {
		return fmt.Errorf("use table, json, yaml, csv or apps")
	}
	*f = listFormat(text)
	return nil
}

// Type is what help texts call the value.
func (f *listFormat) Type() string { return "format" }

func (f *listFormat) writer(t *terminal, now time.Time) listWriter {
	switch *f {
	case "json":
		return &jsonList{w: t.w}
	case "yaml":
		return &yamlList{w: t.w}
	case "csv":
		return &csvList{w: csv.NewWriter(t.w), now: now}
	case "apps":
		return &appList{w: csv.NewWriter(t.w), names: map[string]bool{}}
	}
	return &tableList{t: t, now: now}
}

// jsonList is an array, one element after the other.
type jsonList struct {
	w     io.Writer
	begun bool
}

func (l *jsonList) found(f control.Found) error {
	data, err := json.MarshalIndent(f, "  ", "  ")
	if err != nil {
		return err
	}
	before := ",\n  "
	if !l.begun {
		before, l.begun = "[\n  ", true
	}
	_, err = io.WriteString(l.w, before+string(data))
	return err
}

func (l *jsonList) flush() {}

func (l *jsonList) end() error {
	text := "\n]\n"
	if !l.begun {
		text = "[]\n"
	}
	_, err := io.WriteString(l.w, text)
	return err
}

// yamlList is a sequence, one element after the other.
type yamlList struct {
	w     io.Writer
	begun bool
}

func (l *yamlList) found(f control.Found) error {
	l.begun = true
	var b strings.Builder
	fmt.Fprintf(&b, "- tenant: %s\n  kind: %s\n  display_name: %s\n  client_id: %s\n  object_id: %s\n  app: %s\n",
		quoted(f.Tenant), f.Kind, quoted(f.DisplayName), quoted(f.ClientID), quoted(f.ObjectID), orNull(f.App))
	b.WriteString("  owners:" + emptyList(len(f.Owners)) + "\n")
	for _, owner := range f.Owners {
		b.WriteString("  - " + quoted(owner) + "\n")
	}
	b.WriteString("  credentials:" + emptyList(len(f.Credentials)) + "\n")
	for _, c := range f.Credentials {
		fmt.Fprintf(&b, "  - kind: %s\n    key_id: %s\n    display_name: %s\n    not_before: %s\n    not_after: %s\n    thumbprint_sha1: %s\n    thumbprint_sha256: %s\n    ours: %t\n",
			c.Kind, quoted(c.KeyID), quoted(c.DisplayName), instantOrNull(c.NotBefore), instantOrNull(c.NotAfter),
			orNull(c.ThumbprintSHA1), orNull(c.ThumbprintSHA256), c.Ours)
		if c.Issuer != nil {
			fmt.Fprintf(&b, "    issuer: %s\n    subject: %s\n    audiences:%s\n", orNull(c.Issuer), orNull(c.Subject), emptyList(len(c.Audiences)))
			for _, audience := range c.Audiences {
				b.WriteString("    - " + quoted(audience) + "\n")
			}
		}
	}
	if f.FederatedUnknown != nil {
		b.WriteString("  federated_unknown: " + quoted(*f.FederatedUnknown) + "\n")
	}
	_, err := io.WriteString(l.w, b.String())
	return err
}

// quoted is a text as YAML, in double quotes. YAML reads every escape that Go
// writes there; a general encoder was seen to write control characters as they
// are.
// https://yaml.org/spec/1.2.2/#57-escaped-characters
func quoted(text string) string { return strconv.Quote(strings.ToValidUTF8(text, "\ufffd")) }

func orNull(text *string) string {
	if text == nil {
		return "null"
	}
	return quoted(*text)
}

func instantOrNull(t *time.Time) string {
	if t == nil {
		return "null"
	}
	return quoted(t.UTC().Format(time.RFC3339Nano))
}

func emptyList(n int) string {
	if n == 0 {
		return " []"
	}
	return ""
}

func (l *yamlList) flush() {}

func (l *yamlList) end() error {
	if l.begun {
		return nil
	}
	_, err := io.WriteString(l.w, "[]\n")
	return err
}

// csvList has one line for each credential, and one for what has none.
type csvList struct {
	w     *csv.Writer
	now   time.Time
	begun bool
}

func (l *csvList) head() error {
	if l.begun {
		return nil
	}
	l.begun = true
	return l.w.Write([]string{
		"tenant", "kind", "name", "client_id", "object_id", "tracked_as", "owners",
		"credential", "credential_name", "key_id", "thumbprint_sha1", "not_before", "not_after", "days_left", "whose",
		"issuer", "subject",
	})
}

func (l *csvList) found(f control.Found) error {
	if err := l.head(); err != nil {
		return err
	}
	tracked := ""
	if f.App != nil {
		tracked = *f.App
	}
	first := []string{f.Tenant, f.Kind, f.DisplayName, f.ClientID, f.ObjectID, tracked, strings.Join(f.Owners, " ")}
	credentials := f.Credentials
	if len(credentials) == 0 {
		credentials = []control.FoundCredential{{}}
	}
	for _, c := range credentials {
		row := slices.Concat(first, []string{c.Kind, c.DisplayName, c.KeyID, value(c.ThumbprintSHA1), stamp(c.NotBefore), stamp(c.NotAfter), "", "", value(c.Issuer), value(c.Subject)})
		if c.NotAfter != nil {
			row[13] = strconv.Itoa(daysUntil(*c.NotAfter, l.now))
		}
		if c.Kind != "" {
			row[14] = whose(c)
		}
		for i := range row {
			if i != 13 { // days can be negative numbers
				row[i] = safeCell(row[i])
			}
		}
		if err := l.w.Write(row); err != nil {
			return err
		}
	}
	return nil
}

func (l *csvList) flush() { l.w.Flush() }

func (l *csvList) end() error {
	if err := l.head(); err != nil {
		return err
	}
	l.w.Flush()
	return l.w.Error()
}

// safeCell keeps a spreadsheet from taking somebody's text for a formula, and a
// terminal from taking it for a command.
// https://owasp.org/www-community/attacks/CSV_Injection
func safeCell(text string) string {
	text = printable(text)
	if trimmed := strings.TrimLeftFunc(text, unicode.IsSpace); trimmed != "" && strings.ContainsAny(trimmed[:1], "=+-@") || strings.HasPrefix(trimmed, "＝") ||
		strings.HasPrefix(trimmed, "＋") || strings.HasPrefix(trimmed, "－") || strings.HasPrefix(trimmed, "＠") {
		return "'" + text
	}
	return text
}

// printable replaces what does not print, or changes how the rest prints: control
// characters, changes of direction, broken bytes.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, text)
}

func value(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// daysUntil counts whole days. A [time.Duration] ends after 292 years.
func daysUntil(t, now time.Time) int { return int((t.Unix() - now.Unix()) / int64(day/time.Second)) }

func whose(c control.FoundCredential) string {
	if c.Ours {
		return "ours"
	}
	return "foreign"
}

// tableRows is how many rows are held to give columns their widths.
const tableRows = 200

// tableList has one line for each credential. Its columns are as wide as some
// rows at a time need.
type tableList struct {
	t    *terminal
	now  time.Time
	rows table
	any  bool
}

func (l *tableList) found(f control.Found) error {
	name := cut(printable(f.DisplayName), 40)
	switch f.Kind {
	case "service_principal":
		name += " (enterprise app)"
	case "agent_identity_blueprint":
		name += " (agent identity blueprint)"
	}
	tracked := l.t.paint(dim, "–")
	if f.App != nil {
		tracked = l.t.paint(bold, *f.App)
	}
	owner := ""
	if len(f.Owners) > 0 {
		owner = cut(printable(f.Owners[0]), 40)
		if len(f.Owners) > 1 {
			owner += fmt.Sprintf(" +%d", len(f.Owners)-1)
		}
	}
	first := []string{name, f.ClientID, tracked}
	if len(f.Credentials) == 0 {
		l.row(append(first, "–", "", "", "", owner)...)
		return nil
	}
	for _, c := range f.Credentials {
		id := cut(printable(c.DisplayName), 30)
		if c.ThumbprintSHA1 != nil {
			id = shortThumbprint(*c.ThumbprintSHA1)
		}
		if c.Issuer != nil {
			id = trusted(c.Issuer, c.Subject)
		}
		ends, colour := "–", dim
		if c.NotAfter != nil {
			days := daysUntil(*c.NotAfter, l.now)
			ends = c.NotAfter.Local().Format(time.DateOnly) + " (" + relative(c.NotAfter, l.now) + ")"
			switch {
			case c.NotAfter.Before(l.now):
				colour = red
			case days < 60:
				colour = yellow
			default:
				colour = ""
			}
		}
		if colour != "" {
			ends = l.t.paint(colour, ends)
		}
		l.row(append(slices.Clone(first), c.Kind, id, ends, whose(c), owner)...)
	}
	return nil
}

func (l *tableList) row(cells ...string) {
	if len(l.rows.rows) == 0 {
		l.any = true
		l.rows.row(l.t.heads("APP IN ENTRA", "CLIENT ID", "TRACKED AS", "CREDENTIAL", "WHICH", "ENDS", "WHOSE", "OWNER")...)
	}
	l.rows.row(cells...)
	if len(l.rows.rows) > tableRows {
		l.flush()
	}
}

func (l *tableList) flush() {
	l.rows.write(l.t.w)
	l.rows = table{}
}

func (l *tableList) end() error {
	l.flush()
	if !l.any {
		fmt.Fprintln(l.t.w, "Nothing was found.")
	}
	return nil
}
