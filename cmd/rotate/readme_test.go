package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/config"
)

// TestReadme does what README.md, docs/getting-started.md and docs/tutorial.md tell their
// reader to do, each in order. Every block of them is run, here or where its first words say:
//
//	console                each "$ " line is run in one shell; the lines below it
//	                       are what it prints; "> " carries a line on
//	console keeps-running  the same for a command that runs on to the end
//	sh package             run by TestSystemd, with the package on a Debian
//	text                   no command
//
// In expected output "..." stands for anything within a line, and alone on a line
// for any lines. Commands exit 0; "; echo" shows another code.
func TestReadme(t *testing.T) {
	for document, least := range map[string]int{"README.md": 3, "docs/getting-started.md": 6, "docs/tutorial.md": 12} {
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			r := newReader(t)
			ran := 0
			for _, b := range readBlocks(t, filepath.Join("..", "..", document)) {
				switch b.info {
				case "console", "console keeps-running":
					r.do(t, b)
					ran++
				case "sh package":
					if document != "README.md" {
						t.Errorf("%s:%d: TestSystemd runs the one of README.md only", document, b.line)
					}
				case "text":
					if regexp.MustCompile(`(?m)^\$ `).MatchString(b.text) {
						t.Errorf("%s:%d: a command that no test runs", document, b.line)
					}
				default:
					t.Errorf("%s:%d: no rule for a block of %q", document, b.line, b.info)
				}
			}
			if ran < least {
				t.Errorf("%s has %d blocks that run, want at least %d; is it read well?", document, ran, least)
			}
			r.end(t)
		})
	}
}

// TestReadmeIsShort: a stranger reads it to the end.
func TestReadmeIsShort(t *testing.T) {
	const most = 200
	if lines := strings.Count(string(must1(os.ReadFile(filepath.Join("..", "..", "README.md")))(t)), "\n"); lines > most {
		t.Errorf("README.md has %d lines, want at most %d", lines, most)
	}
}

// TestDocumentedYAML loads each block of YAML that a document shows as a configuration, a
// file of apps.
func TestDocumentedYAML(t *testing.T) {
	seen := 0
	for _, path := range documents(t) {
		for _, b := range readBlocks(t, path) {
			var err error
			switch b.info {
			case "yaml config":
				_, err = config.Load(strings.NewReader(b.text))
			case "yaml apps":
				_, err = config.LoadApps(strings.NewReader(b.text))
			default:
				continue
			}
			seen++
			if err != nil {
				t.Errorf("%s:%d: %v", path, b.line, err)
			}
		}
	}
	if seen == 0 {
		t.Error("no document shows a configuration")
	}
}

// documents are the texts for users, all of which are in the package.
func documents(t *testing.T) []string {
	t.Helper()
	root := filepath.Join("..", "..")
	list := []string{filepath.Join(root, "README.md"), filepath.Join(root, "CHANGELOG.md"), filepath.Join(root, "SECURITY.md"), filepath.Join(root, "CONTRIBUTING.md")}
	if err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			list = append(list, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestU10Links follows each link of the documents to a file, and to the heading that it names.
func TestU10Links(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	anchors := func(path string) map[string]bool {
		all := map[string]bool{}
		for line := range strings.Lines(string(must1(os.ReadFile(path))(t))) {
			title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
			if !strings.HasPrefix(line, "#") || !ok {
				continue
			}
			all[strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
					return unicode.ToLower(r)
				}
				return -1
			}, strings.TrimSpace(title))] = true
		}
		return all
	}
	followed := 0
	for _, path := range documents(t) {
		for _, found := range link.FindAllStringSubmatch(string(must1(os.ReadFile(path))(t)), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: the link %s leads nowhere", path, found[1])
				continue
			}
			if anchor != "" && filepath.Ext(to) == ".md" && !anchors(to)[anchor] {
				t.Errorf("%s: the link %s names no heading", path, found[1])
			}
			followed++
		}
	}
	if followed < 40 {
		t.Errorf("%d links were followed; are they found?", followed)
	}
}

// TestU10DocumentsInPackage: every document is in the package, where its links lead.
func TestU10DocumentsInPackage(t *testing.T) {
	contents := string(must1(os.ReadFile(filepath.Join("..", "..", "systemd", "nfpm.yaml")))(t))
	for _, want := range []string{"src: README.md, dst: /usr/share/doc/rotate/README.md", "src: docs/, dst: /usr/share/doc/rotate/docs/", "src: CHANGELOG.md, dst: /usr/share/doc/rotate/", "src: config.example.yaml, dst: /usr/share/doc/rotate/", "rotate.yaml.5.gz"} {
		if !strings.Contains(contents, want) {
			t.Errorf("systemd/nfpm.yaml lacks %q", want)
		}
	}
}

// block is one fenced block of a document.
type block struct {
	line       int
	info, text string
	commands   []step
}

// step is a command and what it should print.
type step struct {
	line    int
	command string
	want    []string
}

func readBlocks(t *testing.T, path string) []block {
	t.Helper()
	data := must1(os.ReadFile(path))(t)
	var blocks []block
	inside := false
	for i, line := range strings.Split(string(data), "\n") {
		last := len(blocks) - 1
		switch info, isFence := strings.CutPrefix(line, "```"); {
		case isFence && !inside:
			inside = true
			blocks = append(blocks, block{line: i + 1, info: info})
		case isFence:
			inside = false
		case inside:
			blocks[last].text += line + "\n"
			blocks[last].add(i+1, line)
		}
	}
	if inside {
		t.Fatalf("%s: a block does not end", path)
	}
	return blocks
}

func (b *block) add(number int, line string) {
	last := len(b.commands) - 1
	if command, ok := strings.CutPrefix(line, "$ "); ok {
		b.commands = append(b.commands, step{line: number, command: command})
	} else if more, ok := strings.CutPrefix(line, "> "); ok && last >= 0 {
		b.commands[last].command += "\n" + more
	} else if last >= 0 {
		b.commands[last].want = append(b.commands[last].want, strings.TrimRight(line, " "))
	}
}

// lookAt makes sure that a block which is not run needs what a test has not.
func (b *block) lookAt(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		_, value, isAssigned := strings.Cut(words[0], "=$(")
		if isAssigned {
			words[0] = value
		}
		if !slices.Contains([]string{"az", "sudo", "sudoedit", "age-keygen"}, words[0]) {
			t.Errorf("line %d: %q can be run, so run it", b.line, strings.TrimSpace(line))
		}
	}
}

// want turns expected lines into a pattern for what is printed.
func want(lines []string) string {
	var pattern strings.Builder
	for _, line := range lines {
		if line == "..." {
			pattern.WriteString(`(?:.*\n)*?`)
			continue
		}
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, `.*`) + ` *\n`)
	}
	return `\A` + pattern.String()
}

// reader is somebody who types what the document says.
type reader struct {
	env     []string
	in      *bufio.Writer
	out     *bufio.Reader
	running []*process
}

// doneMark follows the output of each command, with its exit code.
const doneMark = "@@ done "

func newReader(t *testing.T) *reader {
	t.Helper()
	dir := shortDir(t)
	path := filepath.Dir(program(t)) + string(filepath.ListSeparator) + os.Getenv("PATH")
	r := &reader{env: []string{"PATH=" + path, "HOME=" + dir, "TMPDIR=" + dir, "NO_COLOR=1"}}
	shell := exec.Command("sh")
	shell.Dir, shell.Env = dir, r.env
	shell.SysProcAttr = diesWithUs()
	stdin := must1(shell.StdinPipe())(t)
	stdout := must1(shell.StdoutPipe())(t)
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // the shell then ends
		_ = shell.Wait()
	})
	r.in, r.out = bufio.NewWriter(stdin), bufio.NewReader(stdout)
	return r
}

// do carries a block out.
func (r *reader) do(t *testing.T, b block) {
	t.Helper()
	if len(b.commands) == 0 {
		t.Errorf("line %d: a block without a command", b.line)
	}
	for _, s := range b.commands {
		switch {
		case s.command == "go test ./...":
			// It is being run.
		case strings.HasPrefix(s.command, "go build "):
			flags := strings.TrimPrefix(s.command, "go build ")
			// The program under test is built already; flags and path must be right.
			s.command = "cd " + must1(filepath.Abs(filepath.Join("..", "..")))(t) + " && go list " + flags + " >/dev/null; cd - >/dev/null"
			r.check(t, s)
		case strings.Contains(s.command, "openssl ") && !isInstalled("openssl"):
			t.Logf("line %d: openssl is not installed", s.line)
		case b.info == "console keeps-running":
			r.keep(t, s)
		default:
			s.command = strings.ReplaceAll(s.command, "go run ./cmd/rotate", "rotate")
			r.check(t, s)
		}
	}
}

func isInstalled(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// run types a command and returns its output and exit code.
func (r *reader) run(t *testing.T, command string) (string, int) {
	t.Helper()
	fmt.Fprintf(r.in, "{ %s\n} </dev/null 2>&1; echo \"%s$?\"\n", command, doneMark)
	if err := r.in.Flush(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for {
		line, err := r.out.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out.String())
		}
		before, code, done := strings.Cut(line, doneMark)
		out.WriteString(before)
		if done {
			return out.String(), must1(strconv.Atoi(strings.TrimSpace(code)))(t)
		}
	}
}

// check runs a command and compares.
func (r *reader) check(t *testing.T, s step) {
	t.Helper()
	out, code := r.run(t, s.command)
	if code != 0 {
		t.Fatalf("line %d: %s: exit code %d\n%s", s.line, s.command, code, out)
	}
	if len(s.want) == 0 {
		s.want = []string{"..."} // the document does not show it
	}
	if !regexp.MustCompile(want(s.want) + `\z`).MatchString(out) {
		t.Errorf("line %d: %s: the document says\n%s\nand it printed\n%s", s.line, s.command, strings.Join(s.want, "\n"), out)
	}
}

// keep starts a command that runs to the end and waits for what it says first.
func (r *reader) keep(t *testing.T, s step) {
	t.Helper()
	words := strings.Fields(s.command)
	if words[0] != "rotate" {
		t.Fatalf("line %d: only rotate can keep running", s.line)
	}
	dir, _ := r.run(t, "pwd")
	configuration, _ := r.run(t, `echo "$ROTATE_CONFIG"`)
	env := append(slices.Clone(r.env), "ROTATE_CONFIG="+strings.TrimSpace(configuration))
	p := launch(t, strings.TrimSpace(dir), env, words[1:]...)
	r.running = append(r.running, p)
	pattern := regexp.MustCompile(want(s.want))
	eventually(t, patient, func() error {
		if out := p.stdout.String() + p.stderr.String(); !pattern.MatchString(out) {
			return fmt.Errorf("line %d: the document says\n%s\nand it printed\n%s", s.line, strings.Join(s.want, "\n"), out)
		}
		return nil
	})
}

// end stops what keeps running, last first.
func (r *reader) end(t *testing.T) {
	t.Helper()
	for _, p := range slices.Backward(r.running) {
		if code := p.stop(t); code != 0 {
			t.Errorf("%s: exit code %d\n%s", p, code, tail(p.stderr.String(), 20))
		}
	}
}

// TestHooksDocument compares docs/hooks.md with what a hook really gets, and runs
// the example in it.
func TestHooksDocument(t *testing.T) {
	document := filepath.Join("..", "..", "docs", "hooks.md")
	var example string
	for _, b := range readBlocks(t, document) {
		if b.info == "sh" {
			example = b.text
		}
	}
	if example == "" {
		t.Fatal("docs/hooks.md shows no hook")
	}
	s := startTenant(t, "contoso")
	m := newMachine(t)
	m.folder(t, "store")
	m.configure(t, "store", issueDefaults, s)
	hooks := m.folder(t, "hooks")
	seen := filepath.Join(hooks, "seen")
	script := "#!/bin/sh\nenv | sort >" + seen + "\n"
	for name, text := range map[string]string{"look": script, "example": strings.ReplaceAll(example, "/srv/contoso-sync", hooks)} {
		if err := os.WriteFile(filepath.Join(hooks, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	text := string(must1(os.ReadFile(m.config))(t)) + fmt.Sprintf(
		"hooks:\n  look: {command: [%q]}\n  example: {command: [%q]}\n", filepath.Join(hooks, "look"), filepath.Join(hooks, "example"))
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newAdopted(t, m, s, "app-1", "self", s.ready.Apps[0])
	m.must(t, 0, "init", "--no-recovery")
	m.must(t, 0, a.add("--deliver-exec", "look", "--deliver-exec", "example")...)
	m.must(t, 0, "now", "app-1", "--wait")

	documented := map[string]bool{}
	for _, name := range regexp.MustCompile("(?m)^\\| `([A-Z_0-9]+)`").FindAllStringSubmatch(string(must1(os.ReadFile(document))(t)), -1) {
		documented[name[1]] = true
	}
	given := map[string]bool{}
	for line := range strings.Lines(string(must1(os.ReadFile(seen))(t))) {
		name, _, _ := strings.Cut(line, "=")
		given[name] = true
	}
	delete(given, "PWD") // the shell's own
	delete(given, "OLDPWD")
	delete(given, "SHLVL")
	delete(given, "_")
	if diff := cmp.Diff(slices.Sorted(maps.Keys(given)), slices.Sorted(maps.Keys(documented))); diff != "" {
		t.Errorf("variables of a hook (-given +documented):\n%s", diff)
	}
	got := must1(readPFX(filepath.Join(hooks, "app.pfx"), filepath.Join(hooks, "app.pfx.password")))(t)
	if now := must1(readPFX(a.path, a.path+".password"))(t); got.thumbprint() != now.thumbprint() {
		t.Errorf("the example brought %s, want %s", got.thumbprint(), now.thumbprint())
	}
}
