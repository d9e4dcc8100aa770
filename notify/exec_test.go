package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/notify"
)

func shell(script string) *notify.Exec {
	return &notify.Exec{Command: []string{"/bin/sh", "-c", script}}
}

func TestExec(t *testing.T) {
	t.Setenv("PAGER_TOKEN", "S3cr3t-Pager-Token")
	t.Setenv("OTHER", "not for the program")
	out := filepath.Join(t.TempDir(), "got")
	x := shell("cat >" + out + "; env; pwd; echo paged")
	x.Env = []string{"PAGER_TOKEN"}
	m := message(failed(hostile))
	answer, err := x.Send(t.Context(), m)
	if err != nil || answer != "paged" {
		t.Fatalf("Send = %q, %v", answer, err)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var got notify.Payload
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.Events, got.Data.Events); diff != "" || got.ID != m.ID || got.Version != 1 {
		t.Errorf("the program got (-want +got):\n%s", diff)
	}
	if answer, err = shell("exec >&2; [ \"$PWD\" = / ] && [ -z \"$OTHER$PAGER_TOKEN\" ]").Send(t.Context(), m); err != nil {
		t.Errorf("the program got variables or a folder that it should not: %q, %v", answer, err)
	}
}

// TestExecFaults checks the outcome of each way that a program can end.
func TestExecFaults(t *testing.T) {
	t.Setenv("PAGER_TOKEN", "S3cr3t-Pager-Token")
	tests := map[string]struct {
		sender    *notify.Exec
		temporary bool
		want      string
	}{
		"fails":         {shell("echo line one; echo no connection >&2; exit 1"), true, "run /bin/sh: exit status 1: no connection"},
		"comes again":   {shell("exit 75"), true, "exit status 75"},
		"refuses":       {shell("echo unknown form; exit 65"), false, "exit status 65: unknown form"},
		"signal":        {shell("kill -9 $$"), true, "killed by a signal"},
		"quotes":        {shell("echo \"bad token: $PAGER_TOKEN\"; exit 1"), true, "bad token: [removed]"},
		"prints a lot":  {shell("head -c 20000000 /dev/zero | tr '\\0' 'x '; echo; echo end; exit 3"), true, "exit status 3: end"},
		"not there":     {&notify.Exec{Command: []string{"/nowhere/page"}}, false, "run /nowhere/page: it cannot be started: fork/exec /nowhere/page: no such file or directory"},
		"no program":    {&notify.Exec{}, false, "there is no program"},
		"reads nothing": {shell("exec <&-; exit 1"), true, "exit status 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.sender.Env = []string{"PAGER_TOKEN"}
			answer, err := test.sender.Send(t.Context(), storm(500, "x"))
			if err == nil || !strings.Contains(err.Error(), test.want) || notify.Temporary(err) != test.temporary {
				t.Errorf("Send = %q, %v; want %q, temporary %v", answer, err, test.want, test.temporary)
			}
			noSecret(t, answer, err, "S3cr3t-Pager-Token")
		})
	}
}

// TestExecNeverEnds: a program that does not end is killed at its limit, and what it
// said until then is told. How soon it says it is the machine's matter: the limit grows
// until it was long enough.
func TestExecNeverEnds(t *testing.T) {
	for limit := 300 * time.Millisecond; ; limit *= 2 {
		x := shell("echo working; while :; do sleep 1000; done")
		x.Timeout = limit
		answer, err := x.Send(t.Context(), message(failed("x")))
		killed := fmt.Sprintf("did not end within %s and was killed with everything it started", limit)
		if err == nil || !strings.Contains(err.Error(), killed) || !notify.Temporary(err) {
			t.Fatalf("Send = %q, %v; want a temporary error with %q", answer, err, killed)
		}
		if strings.HasSuffix(err.Error(), killed+": working") {
			return
		}
		if limit > 30*time.Second {
			t.Fatalf("%v; want what the program said", err)
		}
	}
}

// TestExecLeavesNobody: what the program started in the background ends with it.
func TestExecLeavesNobody(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(pid, 0o600); err != nil {
		t.Fatal(err)
	}
	// The child holds the FIFO open for writing; its end is the end of the file.
	x := shell("sh -c 'exec 3>" + pid + "; echo ready >&3; exec sleep 1000' >/dev/null 2>&1 & cat <&0 >/dev/null; read x <" + pid + "; exit 0")
	if _, err := x.Send(t.Context(), message(failed("x"))); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(pid, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		_ = f.Close()
		t.Error("somebody reads the FIFO still")
	} else if !errors.Is(err, syscall.ENXIO) {
		t.Fatal(err)
	}
	r, err := os.OpenFile(pid, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// Blocks for ever if the child lives.
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("Read = %d, %v; want the end, since nobody writes", n, err)
	}
}

func TestExecCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		if _, err := os.ReadFile(fifo); err == nil {
			cancel()
		}
	}()
	if _, err := shell("echo >"+fifo+"; sleep 1000").Send(ctx, message(failed("x"))); !errors.Is(err, context.Canceled) || !notify.Temporary(err) {
		t.Errorf("Send = %v; want it interrupted", err)
	}
}

// A program that others could change, or one behind a shell, is not run; it comes again.
func TestS9Channel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	commands := [][]string{{path}, {"/bin/sh", path}}
	for _, command := range commands {
		if _, err := (&notify.Exec{Command: command}).Send(t.Context(), message(failed(hostile))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, command := range commands {
		_, err := (&notify.Exec{Command: command}).Send(t.Context(), message(failed(hostile)))
		if wrong, ok := errors.AsType[*notify.Error](err); !ok || wrong.Permanent || !strings.Contains(err.Error(), "everybody can write to "+path) {
			t.Errorf("%v with mode 0777: %v, want that it is not run and comes again", command, err)
		}
	}
}
