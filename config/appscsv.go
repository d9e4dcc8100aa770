package config

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-f0abd057/rotate/config/textfile"
)

// AppColumns are the columns that a spreadsheet of apps may have, in the order in which
// "rotate discover -o apps" writes them. Lists within a cell are separated by spaces.
func AppColumns() []string {
	return []string{
		"name", "tenant", "client_id", "object_id", "key_id", "mode", "profile", "pfx", "password_file", "deliver_file", "deliver_exec",
		"handoff", "consumer", "confirm", "owner", "tags", "permissions", "renew_before", "overlap", "encoding",
	}
}

// loadAppsCSV reads apps from a spreadsheet that was saved as CSV: the first row names the
// columns; commas or semicolons separate them, as spreadsheets of different countries do.
func loadAppsCSV(data []byte, file, folder string) (*Apps, error) {
	data, err := textfile.Decode(data)
	if err != nil {
		return nil, &Error{File: file, Message: err.Error()}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, ErrEmpty
	}
	r := csv.NewReader(bytes.NewReader(data))
	first, _, _ := bytes.Cut(data, []byte("\n"))
	if bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")) {
		r.Comma = ';'
	}
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if err != nil {
		return nil, &Error{File: file, Line: 1, Message: err.Error()}
	}
	for i, name := range header {
		header[i] = strings.ToLower(strings.TrimSpace(name))
		if header[i] != "" && !slices.Contains(AppColumns(), header[i]) {
			return nil, &Error{File: file, Line: 1, Message: fmt.Sprintf("there is no column %q; allowed are %s", name, strings.Join(AppColumns(), ", "))}
		}
	}
	a := &Apps{}
	var lines []int
	var problems []error
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, &Error{File: file, Message: err.Error()}
		}
		line, _ := r.FieldPos(0)
		if strings.Join(row, "") == "" {
			continue // spreadsheets leave rows of commas behind
		}
		app, err := appOfRow(header, row)
		if err != nil {
			problems = append(problems, &Error{File: file, Line: line, Message: err.Error()})
		}
		a.Apps, lines = append(a.Apps, app), append(lines, line)
	}
	if folder != "" {
		resolve(folder, a.paths())
	}
	for _, p := range a.problems() {
		p.File = file
		if index, rest, ok := strings.Cut(strings.TrimPrefix(p.Path, "apps["), "]"); ok {
			if n, err := strconv.Atoi(index); err == nil && n < len(lines) {
				p.Line, p.Path = lines[n], strings.TrimPrefix(rest, ".")
			}
		}
		problems = append(problems, p)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return a, nil
}

// appOfRow is one row; a row may be shorter than the header.
func appOfRow(header, row []string) (App, error) {
	app := App{Mode: "self"}
	for i, text := range row {
		if text = strings.TrimSpace(text); text == "" || i >= len(header) {
			continue
		}
		switch header[i] {
		case "name":
			app.Name = text
		case "tenant":
			app.Tenant = text
		case "client_id":
			app.ClientID = text
		case "object_id":
			app.ObjectID = text
		case "key_id":
			app.KeyID = text
		case "mode":
			app.Mode = text
		case "profile":
			app.Profile = text
		case "pfx":
			app.PFX = text
		case "password_file":
			app.PasswordFile = text
		case "deliver_file":
			app.Deliveries = append(app.Deliveries, Delivery{Kind: "file", Path: text, PasswordPath: text + ".password"})
		case "deliver_exec":
			app.Deliveries = append(app.Deliveries, Delivery{Kind: "exec", Hook: text})
		case "handoff":
			if !slices.Contains([]string{"yes", "true", "x", "1"}, strings.ToLower(text)) {
				return app, fmt.Errorf("handoff: %q is not yes, or empty", text)
			}
			app.Deliveries = append(app.Deliveries, Delivery{Kind: "handoff"})
			app.Confirm.Rule = or(app.Confirm.Rule, "person")
		case "consumer":
			app.Consumer = text
		case "confirm":
			app.Confirm.Rule, app.Confirm.Hook, _ = strings.Cut(text, ":")
		case "owner":
			app.Owner = text
		case "tags":
			app.Tags = strings.Fields(text)
		case "permissions":
			app.Permissions = strings.Fields(text)
		case "renew_before", "overlap":
			d, err := ParseDuration(text)
			if err != nil {
				return app, fmt.Errorf("%s: %w", header[i], err)
			}
			if header[i] == "overlap" {
				app.Policy.Overlap = &d
			} else {
				app.Policy.RenewBefore = &d
			}
		case "encoding":
			app.Policy.Encoding = text
		}
	}
	return app, nil
}
