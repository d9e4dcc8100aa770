package guard

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// programPath is where programs are found that are named without a folder.
const programPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// runners are programs that run what their arguments name.
func runners() *regexp.Regexp {
	return regexp.MustCompile(`^(ba|da|z|k|mk|a)?sh$|^(python|perl|ruby|lua|php|tclsh|node)[0-9.]*$|^(nodejs|pwsh|busybox|env|sudo|doas|nice|ionice|timeout|setpriv|runuser|chrt|stdbuf|flock|unshare|systemd-run)$`)
}

// maxInterpreters is how many "#!" lines are followed.
const maxInterpreters = 4

// Program refuses, with an [Error], a command that somebody other than root and the user
// could change: the program and its folder, the interpreters that its "#!" lines name,
// and where it is an interpreter itself, or runs other programs, the files that its
// arguments name.
func Program(command []string, uid int) error {
	if len(command) == 0 || !filepath.IsAbs(command[0]) {
		return nil
	}
	if err := script(command[0], uid, 0); err != nil {
		return err
	}
	if !runners().MatchString(filepath.Base(command[0])) {
		return nil
	}
	for _, argument := range command[1:] {
		// An argument may be a whole line of a shell.
		for _, word := range strings.FieldsFunc(argument, func(r rune) bool { return strings.ContainsRune(" \t\n;&|()<>'\"`=", r) }) {
			path := word
			if !strings.Contains(word, "/") {
				if _, err := os.Stat("/" + word); err != nil { // programs run in "/"
					path = inPath(word)
				}
			}
			if path == "" {
				continue
			}
			if !filepath.IsAbs(path) {
				path = filepath.Join("/", path)
			}
			if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
				continue
			}
			if err := script(path, uid, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// script looks at a file that is executed, its folder, and its interpreters.
func script(path string, uid, depth int) error {
	actual, info, err := find(path, uid)
	if err != nil || info == nil {
		return err
	}
	if err := deciding(actual, info, uid); err != nil {
		return err
	}
	folder, err := os.Lstat(filepath.Dir(actual))
	if err != nil {
		return err
	}
	if problem := Problem(filepath.Dir(actual), folder, uid); problem != "" {
		return refuse("move the program, or chown root "+filepath.Dir(actual)+"; chmod go-w "+filepath.Dir(actual), "%s", problem)
	}
	if depth == maxInterpreters || !info.Mode().IsRegular() {
		return nil
	}
	for _, interpreter := range interpreters(actual) {
		if err := script(interpreter, uid, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// interpreters of the first line of a file: what it names, and what that finds in PATH.
func interpreters(path string) []string {
	file, err := os.Open(path) //nolint:gosec // the configuration names it
	if err != nil {
		return nil // whoever runs it says more
	}
	defer func() { _ = file.Close() }() // it was only read
	line, _ := bufio.NewReader(io.LimitReader(file, 256)).ReadString('\n')
	rest, isScript := strings.CutPrefix(line, "#!")
	words := strings.Fields(rest)
	if !isScript || len(words) == 0 || !filepath.IsAbs(words[0]) {
		return nil
	}
	found := words[:1]
	if filepath.Base(words[0]) != "env" {
		return found
	}
	for _, word := range words[1:] {
		if strings.HasPrefix(word, "-") || strings.Contains(word, "=") {
			continue
		}
		if program := inPath(word); program != "" {
			found = append(found, program)
		}
		break
	}
	return found
}

// inPath finds a program by its name; empty: there is none.
func inPath(name string) string {
	for _, folder := range filepath.SplitList(programPath) {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}
