package main

import (
	"encoding/csv"
	"fmt"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
)

// appList writes the apps that are not tracked and carry certificates as rows of apps.csv:
// what is left to fill in is how the key reaches the program that uses it.
type appList struct {
	w     *csv.Writer
	begun bool
	// names are those given out.
	names map[string]bool
}

func (l *appList) found(f control.Found) error {
	if f.Kind != "app" || f.App != nil {
		return nil
	}
	newest := ""
	var until time.Time
	for _, c := range f.Credentials {
		if c.Kind == "certificate" && c.NotAfter != nil && c.NotAfter.After(until) {
			newest, until = c.KeyID, *c.NotAfter
		}
	}
	if newest == "" {
		return nil
	}
	owner := ""
	if len(f.Owners) > 0 {
		owner = f.Owners[0]
	}
	cells := map[string]string{
		"name": l.name(f), "tenant": f.Tenant, "client_id": f.ClientID, "object_id": f.ObjectID, "key_id": newest, "mode": "managed", "owner": safeCell(owner),
	}
	if err := l.head(); err != nil {
		return err
	}
	var row []string
	for _, column := range config.AppColumns() {
		row = append(row, cells[column])
	}
	return l.w.Write(row)
}

func (l *appList) head() error {
	if l.begun {
		return nil
	}
	l.begun = true
	return l.w.Write(config.AppColumns())
}

// name makes one that apps may have from the name in Entra.
func (l *appList) name(f control.Found) string {
	const longest = 40
	name := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return '-'
	}, strings.ToLower(f.DisplayName)), "-")
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	name = strings.Trim(name[:min(len(name), longest)], "-")
	if name == "" {
		name = "app"
	}
	unique := name
	for n := 2; l.names[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", name, n)
	}
	l.names[unique] = true
	return unique
}

func (l *appList) flush() { l.w.Flush() }

func (l *appList) end() error {
	if err := l.head(); err != nil {
		return err
	}
	l.w.Flush()
	return l.w.Error()
}
