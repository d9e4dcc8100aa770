package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/rotator"
)

// program writes a shell script.
func program(t *testing.T, dir, script string) string {
	t.Helper()
	path := filepath.Join(dir, "hook.sh")
	// A fork elsewhere that still has the file open for writing would make it busy.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// hooked has one hook, named h, that is given out as its argument.
func hooked(t *testing.T, script string) (d *deliver.Deliverer, out string) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "out")
	h := deliver.Hook{Command: []string{program(t, folder(t), script), out}}
	return &deliver.Deliverer{Encoder: encoder{}, Hooks: map[string]deliver.Hook{"h": h, "other": {}}, RuntimeDir: folder(t)}, out
}

var execH = rotator.Delivery{Kind: "exec", Hook: "h"}

func TestHook(t *testing.T) {
	t.Setenv("PASSED_ON", "yes")
	t.Setenv("NOT_PASSED_ON", "no")
	t.Setenv("LANG", "de_DE.UTF-8")
	d, out := hooked(t, `set -e
env | sort > $1
{ pwd; readlink /proc/self/fd/0; id -u; stat -c %a "$ROTATE_PFX_FILE" "$ROTATE_PASSWORD_FILE" "$ROTATE_CER_FILE" "$(dirname "$ROTATE_PFX_FILE")"; } > $1.facts
cp "$ROTATE_PFX_FILE" $1.pfx; cp "$ROTATE_PASSWORD_FILE" $1.password; cp "$ROTATE_CER_FILE" $1.cer
tr '\0' ' ' < /proc/$$/cmdline > $1.argv
echo $$ > $1.pid; cut -d ' ' -f 5 /proc/$$/stat > $1.group`)
	h := d.Hooks["h"]
	h.Env = []string{"PASSED_ON", "NOT_SET"}
	d.Hooks["h"] = h
	if err := d.Check(t.Context(), execH); err != nil {
		t.Fatal(err)
	}
	checkNames(t, d.RuntimeDir)
	for _, event := range []string{"deliver", "confirm"} {
		run := func() error { return d.Deliver(t.Context(), execH, pack()) }
		if event == "confirm" {
			run = func() error { return d.Confirm(t.Context(), "h", pack()) }
		}
		if err := run(); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "de_DE.UTF-8", "PASSED_ON": "yes",
			"ROTATE_HOOK_VERSION": "1", "ROTATE_EVENT": event, "ROTATE_APP": "contoso-sync", "ROTATE_TENANT": "contoso",
			"ROTATE_CLIENT_ID": "22222222-0000-0000-0000-000000000000", "ROTATE_ROTATION": "r1", "ROTATE_ENCODING": "modern",
			"ROTATE_THUMBPRINT_SHA1":   rotator.ThumbprintSHA1(newPair().Certificate),
			"ROTATE_THUMBPRINT_SHA256": string(newPair().Thumbprint()),
		}
		credential, err := rotator.CredentialOf(newPair().Certificate)
		if err != nil {
			t.Fatal(err)
		}
		want["ROTATE_NOT_AFTER"] = credential.NotAfter.Format(time.RFC3339)
		text := string(read(t, out))
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch name {
			case "PWD", "OLDPWD", "SHLVL", "_": // made by the shell
			case "ROTATE_PFX_FILE", "ROTATE_PASSWORD_FILE", "ROTATE_CER_FILE":
				if !strings.HasPrefix(value, d.RuntimeDir+"/hook-") {
					t.Errorf("%s = %s, want it in %s", name, value, d.RuntimeDir)
				}
			default:
				if want[name] != value {
					t.Errorf("%s = %q, want %q", name, value, want[name])
				}
				delete(want, name)
			}
		}
		for name := range want {
			t.Errorf("%s is not in the environment", name)
		}
		if got, want := string(read(t, out+".facts")), fmt.Sprintf("/\n/dev/null\n%d\n600\n600\n600\n700\n", os.Geteuid()); got != want {
			t.Errorf("working directory, stdin, uid, modes: %q, want %q", got, want)
		}
		if string(read(t, out+".pid")) != string(read(t, out+".group")) {
			t.Error("not in a process group of its own")
		}
		if string(read(t, out+".pfx")) != string(newPair().Encoded["modern"]) || string(read(t, out+".password")) != password ||
			string(read(t, out+".cer")) != string(newPair().Certificate) {
			t.Error("the files are not those of the package")
		}
		checkLeaks(t, text+string(read(t, out+".argv")))
		checkNames(t, d.RuntimeDir)
	}
	if _, err := d.Holds(t.Context(), execH, nil); !errors.Is(err, rotator.ErrCannotTell) {
		t.Errorf("Holds error %v, want %v", err, rotator.ErrCannotTell)
	}
}

func TestHookPEM(t *testing.T) {
	d, out := hooked(t, `cp "$ROTATE_PFX_FILE" $1; echo "$ROTATE_ENCODING" > $1.encoding`)
	delivery := execH
	delivery.Encoding = "pem"
	if err := d.Deliver(t.Context(), delivery, pack()); err != nil {
		t.Fatal(err)
	}
	if pair, err := (encoder{}).Decode(read(t, out), ""); err != nil || pair.Thumbprint() != newPair().Thumbprint() {
		t.Errorf("PEM holds %v, %v", pair, err)
	}
	if got := string(read(t, out+".encoding")); got != "pem\n" {
		t.Errorf("ROTATE_ENCODING %q", got)
	}
}

func TestHookFails(t *testing.T) {
	for _, test := range []struct {
		name, script string
		code         int
		words        []string
	}{
		{"exit status", "echo first; echo cannot reach vault >&2; exit 3", 3, []string{"hook h exited 3: cannot reach vault"}},
		{"silent", "exit 1", 1, []string{"hook h exited 1"}},
		{"signal", "kill -TERM $$", -1, []string{"hook h was killed by signal terminated"}},
		{"long line", "head -c 100000 /dev/zero | tr '\\0' 'x '; exit 2", 2, []string{"exited 2: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, _ := hooked(t, test.script)
			f := failure(t, d.Deliver(t.Context(), execH, pack()), rotator.ClassRetry, append(test.words, "app contoso-sync: ", "by hand")...)
			if len(f.Message) > 450 {
				t.Errorf("message of %d bytes", len(f.Message))
			}
			cause, ok := errors.AsType[*deliver.HookError](f)
			if !ok || cause.ExitCode != test.code || len(cause.Output) > 4096 {
				t.Errorf("cause %+v, want exit code %d and at most 4 KiB", cause, test.code)
			}
			failure(t, d.Confirm(t.Context(), "h", pack()), rotator.ClassWait, "not confirmed yet", "app contoso-sync: hook h ")
			checkNames(t, d.RuntimeDir)
		})
	}
}

// dead waits until the process whose number is in the file has ended.
func dead(t *testing.T, path string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(string(read(t, path))))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			unix.Kill(pid, unix.SIGKILL)
			t.Fatalf("process %d of %s is still there", pid, path)
		}
	}
}

// TestHookHangs kills a hook at its limit, and all that it started. How soon the hook
// has come as far as to wait is the machine's matter: the limit grows until it was long
// enough.
func TestHookHangs(t *testing.T) {
	t.Parallel()
	for _, confirms := range []bool{false, true} {
		for limit := 500 * time.Millisecond; ; limit *= 2 {
			d, out := hooked(t, `trap '' TERM INT; sleep 300 & echo $! > $1; echo $$ > $1.main; echo waiting; : > $1.waits; wait; sleep 300`)
			h := d.Hooks["h"]
			h.Timeout = limit
			d.Hooks["h"] = h
			var err error
			if confirms {
				err = d.Confirm(t.Context(), "h", pack())
			} else {
				err = d.Deliver(t.Context(), execH, pack())
			}
			f := failure(t, err, rotator.ClassRetry, fmt.Sprintf("did not end within %s and was killed", limit))
			checkNames(t, d.RuntimeDir)
			if _, err := os.Stat(out + ".waits"); err != nil && limit < 30*time.Second {
				continue
			}
			if !strings.Contains(f.Message, ": waiting") {
				t.Errorf("failure %q does not say what the hook said", f.Message)
			}
			dead(t, out)
			dead(t, out+".main")
			break
		}
	}
}

func TestHookForks(t *testing.T) {
	t.Parallel()
	for _, exit := range []string{"0", "4"} {
		d, out := hooked(t, `sleep 300 & echo $! > $1; (sleep 300; true) & echo $! > $1.sub; exit `+exit)
		err := d.Deliver(t.Context(), execH, pack())
		if exit == "0" && err != nil {
			t.Error(err)
		} else if exit != "0" {
			failure(t, err, rotator.ClassRetry, "exited 4")
		}
		dead(t, out)
		dead(t, out+".sub")
		checkNames(t, d.RuntimeDir)
	}
}

func TestHookLeavesGroup(t *testing.T) {
	t.Parallel()
	d, out := hooked(t, `setsid sh -c 'echo $$ > '$1'; sleep 300' & while [ ! -s $1 ]; do sleep 0.01; done`)
	if err := d.Deliver(t.Context(), execH, pack()); err != nil { // though it holds the output open
		t.Error(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(read(t, out))))
	if err != nil {
		t.Fatal(err)
	}
	unix.Kill(-pid, unix.SIGKILL)
}

func TestHookCancelled(t *testing.T) {
	t.Parallel()
	d, out := hooked(t, `sleep 300 & echo $! > $1.part; mv $1.part $1; wait`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() {
		for {
			if _, err := os.Stat(out); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	err := d.Deliver(ctx, execH, pack())
	group.Wait()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	dead(t, out)
	checkNames(t, d.RuntimeDir)
}

// TestHookPrintsSecrets holds ways in which a program may show what it was given.
func TestHookPrintsSecrets(t *testing.T) {
	pem := rotator.Delivery{Kind: "exec", Hook: "h", Encoding: "pem"}
	for _, script := range []string{
		`cat "$ROTATE_PASSWORD_FILE"`,
		`echo "login --password=$(cat "$ROTATE_PASSWORD_FILE") failed"`,
		`set -x; true "$(cat "$ROTATE_PASSWORD_FILE")"`,
		`base64 "$ROTATE_PASSWORD_FILE"`,
		`cat "$ROTATE_PFX_FILE"`,
		`base64 "$ROTATE_PFX_FILE"`,
		`base64 -w 0 "$ROTATE_PFX_FILE"`,
		`base64 -w 20 "$ROTATE_PFX_FILE"`,
		`od -An -v -tx1 "$ROTATE_PFX_FILE"`,
		`od -An -v -tx1 "$ROTATE_PFX_FILE" | tr -d ' \n'`,
		`sed 's/^/> /' "$ROTATE_PFX_FILE"`,
		`tail -n 30 "$ROTATE_PFX_FILE"`,
		`head -n 10 "$ROTATE_PFX_FILE"`,
		`grep -v -e ----- "$ROTATE_PFX_FILE"`,
		`tr -d '\n' < "$ROTATE_PFX_FILE"`,
		`for i in 1 2 3 4 5 6 7 8 9; do for j in 1 2 3 4 5; do cat "$ROTATE_PFX_FILE" "$ROTATE_PASSWORD_FILE"; done; done`,
		`for i in 1 2 3 4 5 6 7 8 9; do for j in 1 2 3 4 5; do base64 "$ROTATE_PFX_FILE"; done; done; echo the end`,
		`i=0; p=$(cat "$ROTATE_PASSWORD_FILE"); while [ $i -lt 4000 ]; do echo "$i $p"; i=$((i+1)); done`,
	} {
		for _, delivery := range []rotator.Delivery{execH, pem} {
			t.Run(delivery.Encoding+script, func(t *testing.T) {
				d, _ := hooked(t, script+"\nexit 1")
				log, lines := logged()
				d.Logger = log
				f := failure(t, d.Deliver(t.Context(), delivery, pack()), rotator.ClassRetry, "hook h exited 1")
				cause, ok := errors.AsType[*deliver.HookError](f)
				if !ok {
					t.Fatalf("no cause in %v", f)
				}
				checkLeaks(t, cause.Output+fmt.Sprintf("%+v %v", f.Err, f))
				checkLeaks(t, lines.String())
			})
		}
	}
}

// TestHookSaysThumbprint shows that what is no secret stays.
func TestHookSaysThumbprint(t *testing.T) {
	d, _ := hooked(t, `cat "$ROTATE_PASSWORD_FILE"; echo; echo "cannot write $ROTATE_THUMBPRINT_SHA256 ($ROTATE_THUMBPRINT_SHA1) to /srv/Vault/Production2/very/long/path of app"; exit 1`)
	failure(t, d.Deliver(t.Context(), execH, pack()), rotator.ClassRetry,
		"exited 1: cannot write "+string(newPair().Thumbprint())+" ("+rotator.ThumbprintSHA1(newPair().Certificate)+") to /srv/Vault/Production2/very/long/path of app")
}

// TestHookRefused holds programs that are not run.
func TestHookRefused(t *testing.T) {
	for _, test := range []struct {
		name    string
		command func(t *testing.T, dir, program string) []string
		words   []string
	}{
		{"empty", func(*testing.T, string, string) []string { return nil }, []string{"absolute path"}},
		{"relative", func(*testing.T, string, string) []string { return []string{"true"} }, []string{"absolute path"}},
		{"missing", func(_ *testing.T, dir, _ string) []string { return []string{dir + "/no"} }, []string{"/no does not exist"}},
		{"folder", func(_ *testing.T, dir, _ string) []string { return []string{dir} }, []string{"a folder"}},
		{"not executable", func(t *testing.T, _, p string) []string { t.Helper(); chmod(t, p, 0o644); return []string{p} }, []string{"may not execute", "chmod 0755"}},
		{"others can write", func(t *testing.T, _, p string) []string { t.Helper(); chmod(t, p, 0o757); return []string{p} }, []string{"everybody can write to", "go-w"}},
		{"group can write", func(t *testing.T, _, p string) []string { t.Helper(); chmod(t, p, 0o770); return []string{p} }, []string{"group ", "can write to"}},
		{"folder others can write", func(t *testing.T, dir, p string) []string { t.Helper(); chmod(t, dir, 0o777); return []string{p} }, []string{"everybody can write to"}},
		{"sticky folder", func(t *testing.T, dir, p string) []string {
			t.Helper()
			chmod(t, dir, 0o777|os.ModeSticky)
			return []string{p}
		}, []string{"everybody can write to"}},
		{"link to such", func(t *testing.T, _, p string) []string {
			t.Helper()
			chmod(t, p, 0o777)
			other := folder(t)
			os.Symlink(p, other+"/link")
			return []string{other + "/link"}
		}, []string{"everybody can write to", "hook.sh"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, out := hooked(t, "touch $1")
			path := d.Hooks["h"].Command[0]
			d.Hooks["h"] = deliver.Hook{Command: append(test.command(t, filepath.Dir(path), path), out)}
			if test.name == "empty" {
				d.Hooks["h"] = deliver.Hook{}
			}
			words := append(test.words, "hook h: ")
			failure(t, d.Check(t.Context(), execH), rotator.ClassFix, words...)
			failure(t, d.Deliver(t.Context(), execH, pack()), rotator.ClassFix, append(words, "app contoso-sync: ")...)
			failure(t, d.Confirm(t.Context(), "h", pack()), rotator.ClassFix, words...)
			checkNames(t, filepath.Dir(out))
		})
	}
	d, _ := hooked(t, "")
	nobody := rotator.Delivery{Kind: "exec", Hook: "nobody"}
	failure(t, d.Check(t.Context(), nobody), rotator.ClassFix, `hook "nobody" is not in the configuration`, "h, other")
	failure(t, d.Deliver(t.Context(), nobody, pack()), rotator.ClassFix, `"nobody"`, "app contoso-sync: ")
	failure(t, d.Confirm(t.Context(), "nobody", pack()), rotator.ClassFix, `"nobody"`)
	d.Hooks = nil
	failure(t, d.Check(t.Context(), nobody), rotator.ClassFix, "it has: none")
}

func TestHookCannotStart(t *testing.T) {
	d, _ := hooked(t, "")
	path := d.Hooks["h"].Command[0]
	write(t, path, []byte("#!/no/such/interpreter\n"))
	failure(t, d.Deliver(t.Context(), execH, pack()), rotator.ClassFix, "hook h cannot be started")
	checkNames(t, d.RuntimeDir)
}

// TestHookTouchesFiles shows that wiping reaches nothing but the private folder.
func TestHookTouchesFiles(t *testing.T) {
	d, out := hooked(t, `echo precious > $1
ln "$ROTATE_PFX_FILE" $1.pfx
mv "$ROTATE_CER_FILE" $1.cer
rm "$ROTATE_PASSWORD_FILE"; ln -s $1 "$ROTATE_PASSWORD_FILE"
mkdir "$(dirname "$ROTATE_PFX_FILE")/sub"; echo x > "$(dirname "$ROTATE_PFX_FILE")/sub/file"`)
	if err := d.Deliver(t.Context(), execH, pack()); err != nil {
		t.Fatal(err)
	}
	if string(read(t, out)) != "precious\n" || string(read(t, out+".pfx")) != string(newPair().Encoded["modern"]) ||
		string(read(t, out+".cer")) != string(newPair().Certificate) {
		t.Error("files of the consumer were changed")
	}
	checkNames(t, d.RuntimeDir)
}

func TestWipeRuntime(t *testing.T) {
	d, out := hooked(t, `echo $$ > $1.part; mv $1.part $1; while [ ! -e $1.go ]; do sleep 0.01; done; cp "$ROTATE_PFX_FILE" $1.pfx`)
	left := d.RuntimeDir + "/hook-left"
	os.Mkdir(left, 0o700)
	write(t, left+"/pair.pfx", newPair().Encoded["modern"])
	write(t, d.RuntimeDir+"/rotate.sock", nil)
	var group sync.WaitGroup
	group.Go(func() {
		if err := d.Deliver(t.Context(), execH, pack()); err != nil {
			t.Error(err)
		}
	})
	for {
		if _, err := os.Stat(out); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	other := &deliver.Deliverer{RuntimeDir: d.RuntimeDir}
	if err := other.WipeRuntime(); err != nil { // leaves the folder that is in use
		t.Error(err)
	}
	if got := names(t, d.RuntimeDir); len(got) != 2 || got[0] == "hook-left" {
		t.Errorf("runtime folder holds %q, want the folder in use and the socket", got)
	}
	write(t, out+".go", nil)
	group.Wait()
	if string(read(t, out+".pfx")) != string(newPair().Encoded["modern"]) {
		t.Error("the file in use was wiped")
	}
	checkNames(t, d.RuntimeDir, "rotate.sock")
	missing := &deliver.Deliverer{RuntimeDir: d.RuntimeDir + "/missing"}
	if err := missing.WipeRuntime(); err != nil {
		t.Error(err)
	}
	checkNames(t, d.RuntimeDir, "rotate.sock")
}

func TestRuntimeRefused(t *testing.T) {
	d, _ := hooked(t, "")
	chmod(t, d.RuntimeDir, 0o777)
	failure(t, d.Deliver(t.Context(), execH, pack()), rotator.ClassFix, "everybody can write to", d.RuntimeDir)
	failure(t, d.WipeRuntime(), rotator.ClassFix, "everybody can write to")
}

func TestDefaultRuntime(t *testing.T) {
	d, out := hooked(t, `dirname "$ROTATE_PFX_FILE" > $1`)
	d.RuntimeDir = ""
	t.Setenv("TMPDIR", folder(t))
	if err := d.Deliver(t.Context(), execH, pack()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%s/rotate-%d", os.Getenv("TMPDIR"), os.Geteuid())
	if got := string(read(t, out)); !strings.HasPrefix(got, want+"/hook-") {
		t.Errorf("files were in %q, want them below %s", got, want)
	}
	checkMode(t, want, 0o700|os.ModeDir)
	checkNames(t, want)
}

// TestB9HookOfDOS has scripts whose first line names no program that is there; the kernel
// says of the script itself that it is not.
func TestB9HookOfDOS(t *testing.T) {
	for text, want := range map[string]string{
		"#!/bin/sh\r\necho\r\n":               "line ends of DOS",
		"#!/nowhere/python3\nprint(1)\n":      "its interpreter \"/nowhere/python3\" is not there",
		"\xef\xbb\xbf#!/bin/sh\necho hello\n": "byte order mark",
	} {
		path := filepath.Join(folder(t), "hook")
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		d := &deliver.Deliverer{Encoder: encoder{}, Hooks: map[string]deliver.Hook{"h": {Command: []string{path}}}, RuntimeDir: folder(t)}
		failure(t, d.Deliver(t.Context(), execH, pack()), rotator.ClassFix, want)
	}
}
