package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/store"
)

func newDaemonCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "daemon",
		Short: "Rotate what is due, on schedule, until stopped",
		Long: `Runs the service: checks on schedule what is due, carries rotations on, and
answers the other commands on the control socket. It stops gracefully on SIGTERM
and SIGINT: a step under way is recorded, and goes on at the next start. On SIGHUP,
and for "rotate reload", it reads its configuration again.`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A daemon that hangs is aborted by the watchdog. Go ends such a process,
			// and one that panics, with exit code 2, which is that of a wrong
			// configuration: the service manager would not start it again. So it ends
			// by the signal.
			debug.SetTraceback("crash")
			if !canServe {
				return withHint(
					&unusable{fmt.Errorf("the service needs Linux, and this is %s: rights by group, hooks and access lists are not there", runtime.GOOS)},
					"here you can try \"rotate demo\", \"rotate emulator\" and the commands without a daemon")
			}
			a.tuneRuntime()
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			keeper, err := ownerOf(cfg.Store.Path)
			if err != nil {
				return err
			}
			if err := keeper.become(a.args, nil); err != nil {
				return err
			}
			if _, err := os.Stat(cfg.Store.Path); err == nil && os.Geteuid() == 0 && !cfg.AllowRoot {
				return withHint(
					&unusable{fmt.Errorf("the store %s belongs to root, and the daemon does not run as root: a fault in it or in a hook would have the whole host", cfg.Store.Path)},
					"give the folders of the store and of its identity to a user of their own, such as that of the packages: chown -R rotate: FOLDER; allow_root: true in the configuration lets it run as root")
			}
			if err := harden(); err != nil {
				return err
			}
			if err := guardFiles(a.configPath(), cfg, os.Geteuid()); err != nil {
				return err
			}
			if open := cfg.Credentials(); len(open) > 0 {
				return withHint(
					&unusable{fmt.Errorf("%s: the service manager gave no credentials", strings.Join(open, ", "))},
					"add LoadCredential=NAME:PATH or LoadCredentialEncrypted=NAME:PATH to the unit: systemctl edit rotate")
			}
			log, level := newLogger(a.stderr, cfg.Log, a.getenv("JOURNAL_STREAM") != "")
			return runDaemon(cmd.Context(), cfg, &reloader{load: a.loadGuarded, inForce: cfg, level: level}, log, a.getenv("RUNTIME_DIRECTORY"), nil)
		},
	}
}

// tuneRuntime suits Go's runtime to the service, unless the environment says
// otherwise. A goroutine that waits for the disk may keep its P for as long as that
// takes, and then waits for another: with two Ps more, it and others go on at once.
// And garbage is collected half as often as by default, for a few MiB (TestMemory).
// BenchmarkRotations has the same.
func (a *app) tuneRuntime() {
	if a.getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	}
	if a.getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}

// waitEvery is how often a daemon looks whether a locked store is free.
const waitEvery = time.Second

// runDaemon is the service from start to stop. held is where its page listens already;
// nil: it listens where the configuration says.
func runDaemon(ctx context.Context, cfg *config.Config, reload *reloader, log *slog.Logger, runtimeDir string, held net.Listener) error {
	// Whoever reads stderr may go away. Without this Go ends the process at the next line
	// of the log. Not ignored: programs that are run would inherit that.
	brokenPipes := make(chan os.Signal, 1)
	signal.Notify(brokenPipes, syscall.SIGPIPE)
	defer signal.Stop(brokenPipes)
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP)
	defer signal.Stop(hangUps)
	log.InfoContext(ctx, "starting", "version", version(), "store", cfg.Store.Path)
	for _, warning := range cfg.Warnings() {
		log.WarnContext(ctx, "configuration", "warning", warning)
	}
	s, err := waitForStore(ctx, cfg, log, runtimeDir)
	if s == nil || err != nil {
		return err
	}
	s.verifier.stopped = make(chan struct{})
	listener, err := control.Listen(ctx, cfg.Control.Socket)
	if err != nil {
		return errors.Join(err, s.close())
	}
	if err := s.monitoring.listen(ctx); err != nil {
		return errors.Join(err, listener.Close(), s.close())
	}
	for _, warning := range s.server.Warnings {
		log.WarnContext(ctx, "configuration", "warning", warning)
	}
	web, visitors, err := openPage(ctx, cfg, s, log, held)
	if err != nil {
		// Rotations matter more than looking at them.
		log.ErrorContext(ctx, "there is no page", "err", err)
		s.server.Warnings = append(s.server.Warnings, "the web page is not served: "+err.Error())
	}
	scheduled, err := backupsOf(cfg, s.server, log)
	if err != nil {
		return errors.Join(err, listener.Close(), s.close())
	}
	reload.service, reload.log, reload.runtimeDir = s, log, runtimeDir
	s.server.Reload = reload.reload
	log.InfoContext(ctx, "ready", "socket", cfg.Control.Socket, "schedule", cfg.Schedule.String(), "store_id", s.store.ID())
	work, running := errgroup.WithContext(ctx)
	work.Go(func() error { return s.server.Serve(running, listener) })
	work.Go(func() error { return s.rotator.Run(running) })
	work.Go(func() error { return s.rotator.RunInspections(running) })
	work.Go(func() error { s.verifier.resume(running); return nil })
	s.monitoring.run(running, work)
	if web != nil {
		work.Go(func() error { servePage(running, web, visitors, log); return nil })
	}
	work.Go(func() error { return s.alerts.run(running) })
	work.Go(func() error { return reload.run(running, hangUps) })
	if scheduled != nil {
		work.Go(func() error { return scheduled.run(running) })
	}
	work.Go(func() error { return (&supervised{rotator: s.rotator, log: log}).run(running) })
	err = errors.Join(work.Wait(), s.close())
	log.InfoContext(ctx, "stopped")
	return err
}

// waitForStore opens the store; while another process holds it, it waits and
// says so once. It returns nil and nil if ctx ends before.
func waitForStore(ctx context.Context, cfg *config.Config, log *slog.Logger, runtimeDir string) (*service, error) {
	said := 0
	for {
		s, err := openService(ctx, cfg, cfg.Schedule, log, runtimeDir)
		locked, isLocked := errors.AsType[*store.LockedError](err)
		if !isLocked {
			if ctx.Err() != nil && s == nil {
				return nil, nil //nolint:nilnil // stopped before it began
			}
			return s, err
		}
		if _, err := control.Dial(ctx, cfg.Control.Socket); err == nil {
			return nil, fmt.Errorf("control socket %s: %w (process %d holds the store)", cfg.Control.Socket, control.ErrRunning, locked.PID)
		}
		if said != locked.PID {
			log.WarnContext(ctx, "the store is in use, waiting", "pid", locked.PID, "command", locked.Command, "store", locked.Path)
			said = locked.PID
		}
		tellManager(log, "EXTEND_TIMEOUT_USEC=15000000\nSTATUS=waiting for process "+strconv.Itoa(locked.PID)+", which has the store")
		timer := time.NewTimer(waitEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, nil //nolint:nilnil // stopped before it began
		case <-timer.C:
		}
	}
}
