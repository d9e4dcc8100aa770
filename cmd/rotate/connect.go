package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/store"
)

// completionTimeout bounds asking for names while somebody types.
const completionTimeout = time.Second

// connection is a way to the control API: to the daemon, or to the same code in
// this process.
type connection struct {
	*control.Client
	// local tells that no daemon runs: nothing goes on when this command ends.
	local bool
	// monitoring is nil where a daemon answers.
	monitoring *monitoring
	// flush sends the alerts that wait; only where local.
	flush func(ctx context.Context) error
	close func() error
}

// configPath of this command line.
func (a *app) configPath() string {
	if a.configFlag != "" {
		return a.configFlag
	}
	if path := a.getenv("ROTATE_CONFIG"); path != "" {
		return path
	}
	return defaultConfig
}

func (a *app) loadConfig() (*config.Config, error) {
	cfg, err := config.LoadFile(a.configPath())
	if _, isPath := errors.AsType[*fs.PathError](err); isPath {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, withHint(&unusable{err}, `"rotate setup" makes one; another file is named with -c FILE or $ROTATE_CONFIG`)
		}
		return nil, &unusable{err}
	}
	if err != nil {
		return nil, err
	}
	cfg.UseCredentials(a.getenv("CREDENTIALS_DIRECTORY"))
	if err := checkProxies(a.getenv); err != nil {
		return nil, err
	}
	if err := checkDefaults(cfg.Defaults.Policy); err != nil {
		return nil, fmt.Errorf("%s: defaults: %w", a.configPath(), err)
	}
	return cfg, nil
}

// loadGuarded is loadConfig for who acts on what is in it.
func (a *app) loadGuarded() (*config.Config, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	return cfg, guardFiles(a.configPath(), cfg, os.Geteuid())
}

// checkProxies refuses proxies of the environment that are no URL: the library that
// reads them goes directly then, without a word. Their values are not shown, because they
// may hold a password.
func checkProxies(getenv func(string) string) error {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		value := getenv(name)
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		hasScheme := strings.Contains(value, "://")
		if !hasScheme && (err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme)) {
			u, err = url.Parse("http://" + value) // HOST:PORT, as the library reads it
		}
		if err != nil || u.Hostname() == "" {
			return withHint(&unusable{fmt.Errorf("%s is set in the environment and is not a URL such as http://HOST:PORT", name)},
				"write special characters in its user name and password as %XX: \\ is %5C, % is %25, @ is %40, : is %3A")
		}
	}
	return nil
}

// dial asks the daemon only.
func (a *app) dial(ctx context.Context) (*control.Client, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return a.dialBroken(ctx, err)
	}
	return control.Dial(ctx, cfg.Control.Socket)
}

// dialBroken asks a daemon that runs on although its file cannot be used any more.
// Where none answers, or the file does not tell which one it is about, what is wrong
// with the file is the answer: an order must not reach another daemon.
func (a *app) dialBroken(ctx context.Context, broken error) (*control.Client, error) {
	socket, ok := config.SocketOf(a.configPath())
	if !ok {
		return nil, broken
	}
	client, err := control.Dial(ctx, socket)
	if err != nil {
		return nil, broken
	}
	return client, nil
}

// with connects, runs do, and takes the connection apart.
func (a *app) with(ctx context.Context, do func(context.Context, *connection) error) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	err = do(ctx, conn)
	return errors.Join(err, conn.close())
}

// connect finds the daemon; where none answers it opens the store itself and
// serves the same API in memory, as the store's owner. Files that the caller
// named must have been read before.
func (a *app) connect(ctx context.Context) (*connection, error) {
	cfg, broken := a.loadConfig()
	if broken != nil {
		client, err := a.dialBroken(ctx, broken)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(a.stderr, "rotate: the daemon runs on with an earlier configuration: %v\n", broken)
		return &connection{Client: client, close: func() error { return nil }}, nil
	}
	client, err := control.Dial(ctx, cfg.Control.Socket)
	if err == nil {
		return &connection{Client: client, close: func() error { return nil }}, nil
	}
	keeper, ownerErr := ownerOf(cfg.Store.Path)
	if errors.Is(err, fs.ErrPermission) && ownerErr == nil {
		return nil, withHint(
			fmt.Errorf("%w: the daemon serves root, its own user, and members of its groups", err),
			"run it as that user: "+sudoLine(keeper, a.args))
	}
	if !errors.Is(err, control.ErrNoDaemon) {
		return nil, err
	}
	if ownerErr != nil {
		return nil, ownerErr
	}
	if open := cfg.Credentials(); len(open) > 0 {
		return nil, withHint(
			&unusable{fmt.Errorf("nobody answers on %s, and only the service itself can read %s", cfg.Control.Socket, strings.Join(open, ", "))},
			"start it: systemctl start rotate")
	}
	by := a.caller()
	if err := keeper.become(a.args, a.saved); err != nil {
		return nil, err
	}
	if err := harden(); err != nil {
		return nil, err
	}
	if err := guardFiles(a.configPath(), cfg, os.Geteuid()); err != nil {
		return nil, err
	}
	s, err := openService(ctx, cfg, nil, slog.New(slog.DiscardHandler), a.getenv("RUNTIME_DIRECTORY"))
	if locked, ok := errors.AsType[*store.LockedError](err); ok {
		return nil, fmt.Errorf("%w, and nobody answers on %s", locked, cfg.Control.Socket)
	}
	if err != nil {
		return nil, err
	}
	// What a command sends without a daemon is seen where the command was typed.
	log, _ := newLogger(a.stderr, cfg.Log, false)
	s.alerts.logTo(log)
	transport := s.server.Transport(ctx, by)
	running, stop := context.WithCancel(ctx)
	var work errgroup.Group
	work.Go(func() error { return s.rotator.Run(running) })
	return &connection{
		Client: control.NewClient(transport),
		local:  true, monitoring: s.monitoring,
		flush: s.alerts.flush,
		close: func() error {
			stop()
			return errors.Join(transport.Close(), work.Wait(), s.close())
		},
	}, nil
}

// caller names who runs the command, for the audit trail.
func (a *app) caller() string {
	by := control.UserName(uint32(os.Getuid())) //nolint:gosec // a uid
	if sudo := a.getenv("SUDO_USER"); sudo != "" {
		by += ", sudo by " + sudo
	}
	return by
}
