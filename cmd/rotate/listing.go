package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// shownApps is how many apps a table shows that is not asked for more.
const shownApps = 100

// listFlags say which part of a long list is shown.
type listFlags struct {
	all   bool
	limit int
	after string
}

func (l *listFlags) add(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&l.all, "all", false, "show every "+what)
	cmd.Flags().IntVar(&l.limit, "limit", 0, "show at most so many")
}

func (l *listFlags) addAfter(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.after, "after", "", "show the apps behind this name, by name")
}

func (l *listFlags) check() error {
	if l.limit < 0 {
		return usagef("--limit %d: give a number from 1 on", l.limit)
	}
	return nil
}

// listed are rows that are written in blocks, each with columns of its own width, so that
// no more than a block is in memory.
type listed struct {
	w     io.Writer
	rows  table
	count int
}

// blockRows is how many rows make a block.
const blockRows = 256

func (l *listed) row(cells ...string) {
	l.rows.row(cells...)
	if l.count++; l.count%blockRows == 0 {
		l.end()
	}
}

func (l *listed) end() {
	l.rows.write(l.w)
	l.rows = table{}
}

// objectWithList prints an object with a list in it, as [writeJSON] does, element by element.
type objectWithList struct {
	w io.Writer
	// name of the list.
	name  string
	begun bool
}

// add prints an element; whole is the object as far as it is known.
func (j *objectWithList) add(whole, element any) error {
	if !j.begun {
		head, _, err := j.split(whole)
		if err != nil {
			return err
		}
		if _, err := j.w.Write(head); err != nil {
			return err
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("    ", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(element); err != nil {
		return err
	}
	between := ",\n    "
	if !j.begun {
		between = "[\n    "
	}
	j.begun = true
	_, err := j.w.Write(append([]byte(between), bytes.TrimRight(text.Bytes(), "\n")...))
	return err
}

// end prints what stands behind the list.
func (j *objectWithList) end(whole any) error {
	head, rest, err := j.split(whole)
	if err != nil {
		return err
	}
	if !j.begun {
		rest = append(append(head, "[]"...), rest...)
	} else {
		rest = append([]byte("\n  ]"), rest...)
	}
	_, err = j.w.Write(rest)
	return err
}

// split is the object before and behind its list, which is empty.
func (j *objectWithList) split(whole any) (head, rest []byte, err error) {
	var text bytes.Buffer
	if err := writeJSON(&text, whole); err != nil {
		return nil, nil, err
	}
	key := fmt.Appendf(nil, "%q: ", j.name)
	head, rest, ok := bytes.Cut(text.Bytes(), append(key, "[]"...))
	if !ok {
		return nil, nil, fmt.Errorf("there is no empty list %q", j.name)
	}
	return append(bytes.Clone(head), key...), rest, nil
}
