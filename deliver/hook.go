package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/config/guard"
	"github.com/seed-f0abd057/rotate/rotator"
)

// Hook is a program of the configuration that brings a key pair to a consumer
// (exec delivery) or tells whether the consumer uses it (command confirmation). Apps
// refer to it by name.
//
// It is run without a shell, as the service's user, with "/" as working directory
// and nothing on standard input. Exit status 0 means done; it may run again for the
// same pair. Its environment holds PATH, LANG, the variables named in Env, and
//
//	ROTATE_HOOK_VERSION       1
//	ROTATE_EVENT              deliver or confirm
//	ROTATE_APP                name of the app
//	ROTATE_TENANT             name of its tenant
//	ROTATE_CLIENT_ID          its client ID in Entra
//	ROTATE_ROTATION           id of the rotation
//	ROTATE_PFX_FILE           path of the file with key and certificate
//	ROTATE_ENCODING           its encoding: modern, legacy-des or pem
//	ROTATE_PASSWORD_FILE      path of the file with its password, without a line end
//	ROTATE_CER_FILE           path of the certificate alone, DER
//	ROTATE_THUMBPRINT_SHA1    upper-case hex
//	ROTATE_THUMBPRINT_SHA256  lower-case hex
//	ROTATE_NOT_AFTER          when the certificate ends, RFC 3339, UTC
//
// The files can be read by the service's user only and are wiped when the program
// has ended. Whatever it started and left running in its process group is killed
// then too; a program that should stay belongs to the service manager.
type Hook struct {
	// Command is the absolute path of the program, then its arguments.
	Command []string
	// Timeout is how long it may run; zero: 60 seconds. Then its whole process group
	// is killed.
	Timeout time.Duration
	// Env names variables of the service that are passed on.
	Env []string
}

const (
	defaultTimeout = 60 * time.Second
	// outputDelay is how long output is waited for once the program has ended: a
	// process that left the group may hold it open for ever.
	outputDelay = 2 * time.Second
	hookVersion = "1"
	hookPath    = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	eventDeliver = "deliver"
	eventConfirm = "confirm"

	// runPrefix begins the names of the folders that hold the files for one run.
	runPrefix = "hook-"
)

var errTimeLimit = errors.New("time limit")

// HookError is how a hook ended that did not exit 0: the cause inside the failure.
type HookError struct {
	Hook string
	// ExitCode is -1 if the program was killed by a signal.
	ExitCode int
	// Output is the end of what it printed, at most 4 KiB, without PEM blocks and
	// the secrets of the package.
	Output string
}

func (e *HookError) Error() string { return fmt.Sprintf("hook %s exited %d", e.Hook, e.ExitCode) }

// hook finds one that can be run.
func (d *Deliverer) hook(name string) (Hook, error) {
	h, ok := d.Hooks[name]
	if !ok {
		known := "none"
		if names := slices.Sorted(maps.Keys(d.Hooks)); len(names) > 0 {
			known = strings.Join(names, ", ")
		}
		return Hook{}, fixf("add it to hooks in the configuration, or correct the name",
			"hook %q is not in the configuration (it has: %s)", name, known)
	}
	if err := d.checkProgram(h); err != nil {
		return Hook{}, about("hook "+name, err)
	}
	return h, nil
}

// checkProgram refuses what somebody other than root and the service could exchange.
func (d *Deliverer) checkProgram(h Hook) error {
	if !canKillGroups {
		return fixf("run rotate on Linux, or deliver to a file", "hooks are run on Linux only, and this is %s", runtime.GOOS)
	}
	if len(h.Command) == 0 || !filepath.IsAbs(h.Command[0]) {
		return fixf("begin its command with the absolute path of a program",
			"the command %.80q does not begin with an absolute path", strings.Join(h.Command, " "))
	}
	path, info, err := resolve(h.Command[0], d.uid())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f := fixf("install it, or correct the command", "the program %s does not exist", h.Command[0])
		f.Err = err
		return f
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fixf("correct the command", "%s is not a program but %s", path, kindOf(info.Mode()))
	}
	if err := guard.Program(h.Command, d.uid()); err != nil {
		if refused, ok := errors.AsType[*guard.Error](err); ok {
			return fixf(refused.Fix, "%s", refused.Problem)
		}
		return system("look at "+path, err)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS); err != nil {
		f := fixf("chmod 0755 "+path, "user %s may not execute %s", userName(os.Geteuid()), path)
		f.Err = err
		return f
	}
	return nil
}

// run runs a hook with the files of the package and turns its end into an error.
func (d *Deliverer) run(ctx context.Context, event, name, encoding string, p rotator.Package) (err error) {
	h, err := d.hook(name)
	if err != nil {
		return err
	}
	if p.Pair.IsZero() || len(p.Pair.Certificate) == 0 {
		return fixf("", "hook %s: there is no key pair to give to it", name)
	}
	encoding = encodingOf(encoding, p.Encoding)
	content, _, err := d.encoded(p.Pair, encoding)
	if err != nil {
		return err
	}
	base, err := d.openRuntime(true)
	if err != nil {
		return about("hook "+name, err)
	}
	defer base.close()
	files, err := newRun(base)
	if err != nil {
		return about("hook "+name, err)
	}
	defer func() {
		if wiped := files.wipe(); wiped != nil && err == nil {
			err = about("hook "+name, system("wipe "+files.path, wiped))
		} else if wiped != nil {
			d.logger().ErrorContext(ctx, "files of a hook not wiped", "app", p.App, "path", files.path, "err", wiped)
		}
	}()
	pairName := "pair.pfx"
	if encoding == encodingPEM {
		pairName = "pair.pem"
	}
	variables, err := files.fill(pairName, content, p)
	if err != nil {
		return about("hook "+name, system("write to "+files.path, err))
	}
	variables = append(variables, "ROTATE_EVENT="+event, "ROTATE_ENCODING="+encoding)
	out := &output{secrets: newSecrets(p.Pair, content)}
	err = h.execute(ctx, environment(h.Env, variables), out)
	return h.judge(ctx, event, name, err, out)
}

func (h Hook) timeout() time.Duration {
	if h.Timeout <= 0 {
		return defaultTimeout
	}
	return h.Timeout
}

// environment returns the fixed variables, those passed on, and those of the run.
func environment(passed, variables []string) []string {
	env := []string{"PATH=" + hookPath, "LANG=C.UTF-8"}
	for _, name := range append([]string{"LANG"}, passed...) {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value) // of two, the last one holds
		}
	}
	return append(env, variables...)
}

// execute returns when the program has ended and its process group was killed.
func (h Hook) execute(ctx context.Context, env []string, out *output) error {
	ctx, cancel := context.WithTimeoutCause(ctx, h.timeout(), errTimeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Command[0], h.Command[1:]...) //nolint:gosec // the root-owned configuration names it
	cmd.Dir = "/"
	cmd.Env = env
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
	switch cause := context.Cause(ctx); {
	case cmd.ProcessState != nil && cmd.ProcessState.Success():
		return nil // even if something outside the group holds the output open
	case cause != nil:
		return cause
	}
	return err
}

// explain says why a program that is there is "no such file": the interpreter in its
// first line is not.
func (h Hook) explain(name string, failure *rotator.Failure) {
	file, err := os.Open(h.Command[0])
	if err != nil {
		return
	}
	defer file.Close() //nolint:errcheck // it was only read
	head := make([]byte, 256)
	n, err := file.Read(head)
	if err != nil {
		return
	}
	head, hasMark := bytes.CutPrefix(head[:n], []byte("\xef\xbb\xbf"))
	line, _, _ := bytes.Cut(head, []byte("\n"))
	interpreter, isScript := bytes.CutPrefix(line, []byte("#!"))
	switch {
	case !isScript:
	case hasMark:
		failure.Message = fmt.Sprintf("hook %s cannot be started: %s begins with a byte order mark", name, h.Command[0])
		failure.Next = "save it as UTF-8 without one: sed -i '1s/^\\xef\\xbb\\xbf//' " + h.Command[0]
	case bytes.HasSuffix(line, []byte("\r")):
		failure.Message = fmt.Sprintf("hook %s cannot be started: %s has the line ends of DOS (CR LF), so its interpreter is not found", name, h.Command[0])
		failure.Next = "sed -i 's/\\r$//' " + h.Command[0]
	default:
		failure.Message = fmt.Sprintf("hook %s cannot be started: its interpreter %q is not there", name, strings.TrimSpace(string(interpreter)))
		failure.Next = "install it, or correct the first line of " + h.Command[0]
	}
}

// judge turns the end of a program into what the rotation is told.
func (h Hook) judge(ctx context.Context, event, name string, err error, out *output) error {
	if err == nil {
		return nil
	}
	tail := out.tail()
	said := lastLine(tail)
	if said != "" {
		said = ": " + said
	}
	cause := &HookError{Hook: name, ExitCode: -1, Output: tail}
	failure := &rotator.Failure{Class: rotator.ClassRetry, Reason: rotator.ReasonOther, Err: cause}
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("hook %s: %w", name, ctx.Err())
	case errors.Is(err, errTimeLimit):
		failure.Message = fmt.Sprintf("hook %s did not end within %s and was killed with everything it started%s", name, h.timeout(), said)
		failure.Next = "find out what it waits for, or give it a longer timeout in the configuration"
		return failure
	case !exited:
		failure.Message = fmt.Sprintf("hook %s cannot be started: %s", name, reasonText(err))
		failure.Next = "run it by hand: " + strings.Join(h.Command[:1], " ")
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOEXEC) {
			h.explain(name, failure)
		}
		failure.Err = err
		if !errors.Is(err, unix.ETXTBSY) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOMEM) {
			failure.Class = rotator.ClassFix
		}
		return failure
	}
	cause.ExitCode = exit.ExitCode()
	how := fmt.Sprintf("exited %d", cause.ExitCode)
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		how = "was killed by signal " + status.Signal().String()
	}
	failure.Message = fmt.Sprintf("hook %s %s%s", name, how, said)
	failure.Next = "run " + h.Command[0] + " by hand to see what is wrong; it is tried again"
	if event == eventConfirm {
		failure.Class = rotator.ClassWait
		failure.Message = fmt.Sprintf("hook %s %s: not confirmed yet%s", name, how, said)
		failure.Next = ""
	}
	return failure
}
