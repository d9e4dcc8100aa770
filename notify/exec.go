package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/config/guard"
)

// Exec hands messages to a program of this host: the JSON of [Payload] on standard
// input. Exit status 0 means that it was taken, 75 (EX_TEMPFAIL) and everything
// else that it comes again, 64 (EX_USAGE) and 65 (EX_DATAERR) that it need not.
//
// The program is run without a shell, with "/" as working directory, PATH, LANG
// and the variables named in Env. Its process group is killed whole at the time
// limit, and when it has ended. It is safe for concurrent use.
type Exec struct {
	// Command is the absolute path of the program, then its arguments.
	Command []string
	// Timeout is how long it may run. Zero: 60 s.
	Timeout time.Duration
	// Env names variables of the service that are passed on.
	Env []string
}

// Exit statuses of sysexits(3) that say that the message itself is not taken.
const (
	exitUsage     = 64
	exitDataError = 65
)

const (
	// maxOutputBytes of what the program prints are kept, the last ones.
	maxOutputBytes = 16 << 10
	// outputDelay is how long output is waited for once the program has ended: a
	// process that left the group may hold it open for ever.
	outputDelay = 2 * time.Second
	execPath    = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Send runs the program once. The answer is the last line that it printed.
func (x *Exec) Send(ctx context.Context, m Message) (string, error) {
	body, err := payload(m)
	if err != nil {
		return "", &Error{Op: "encode the message", Permanent: true, Err: err}
	}
	if len(x.Command) == 0 {
		return "", &Error{Op: "run", Permanent: true, Err: errors.New("there is no program")}
	}
	timeout := x.Timeout
	if timeout <= 0 {
		timeout = time.Minute
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var s scrubber
	env := []string{"PATH=" + execPath, "LANG=C.UTF-8"}
	for _, name := range x.Env {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value) // of two, the last one holds
			if len(value) >= minWord && name != "PATH" && name != "HOME" && name != "LANG" {
				s.hide(value)
			}
		}
	}
	if !canKillGroups {
		return "", &Error{Op: "run " + x.Command[0], Permanent: true, Err: &notSent{text: "programs are run on Linux only, and this is " + runtime.GOOS}}
	}
	if err := guard.Program(x.Command, os.Geteuid()); err != nil {
		return "", &Error{Op: "run " + x.Command[0], Err: &notSent{text: "it is not run, because others could change it: " + err.Error()}}
	}
	out := &lastBytes{}
	err = x.run(limited, env, append(body, '\n'), out)
	said := s.clean(out.lastLine())
	if err == nil {
		return orElse(said, "exit status 0"), nil
	}
	e := &Error{Op: "run " + x.Command[0]}
	if said != "" {
		said = ": " + said
	}
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		e.Err = &notSent{text: "interrupted", because: ctx.Err()}
	case limited.Err() != nil:
		e.Err = &notSent{text: fmt.Sprintf("it did not end within %s and was killed with everything it started%s", timeout, said)}
	case !exited:
		e.Permanent = !errors.Is(err, unix.ETXTBSY) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOMEM)
		e.Err = s.hidden("it cannot be started: ", err)
	case exit.ExitCode() < 0:
		e.Err = &notSent{text: "it was killed by a signal" + said}
	default:
		e.Permanent = exit.ExitCode() == exitUsage || exit.ExitCode() == exitDataError
		e.Err = &notSent{text: fmt.Sprintf("exit status %d%s", exit.ExitCode(), said)}
	}
	return "", e
}

// run returns when the program has ended and its process group was killed.
func (x *Exec) run(ctx context.Context, env []string, input []byte, out *lastBytes) error {
	cmd := exec.CommandContext(ctx, x.Command[0], x.Command[1:]...) //nolint:gosec // the root-owned configuration names it
	cmd.Dir = "/"
	cmd.Env = env
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = outputDelay
	cmd.SysProcAttr = ownGroup()

	// The group is killed only while its leader is not reaped yet, else its number
	// might be another group's by then.
	var mu sync.Mutex
	reaped := false
	kill := func() error {
		mu.Lock()
		defer mu.Unlock()
		if reaped {
			return os.ErrProcessDone
		}
		return unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	}
	cmd.Cancel = kill

	runtime.LockOSThread() // ownGroup is about the thread that starts the program
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	awaitEnd(cmd.Process.Pid)
	_ = kill() // what it left behind; usually nothing
	mu.Lock()
	reaped = true
	mu.Unlock()
	err := cmd.Wait()
	if cmd.ProcessState != nil && cmd.ProcessState.Success() {
		// It took the message, even if it did not read all of it, or if something
		// outside the group holds the output open.
		return nil
	}
	return err
}

// lastBytes keeps the end of what a program prints.
type lastBytes struct {
	mu  sync.Mutex
	raw []byte
}

func (l *lastBytes) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.raw = append(l.raw, b...)
	if len(l.raw) > 2*maxOutputBytes { // not at each write
		l.raw = slices.Delete(l.raw, 0, len(l.raw)-maxOutputBytes)
	}
	return len(b), nil
}

// lastLine returns the last line that says something.
func (l *lastBytes) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range slices.Backward(strings.Split(string(l.raw), "\n")) {
		if line = oneLine(line); line != "" {
			return line
		}
	}
	return ""
}
