package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
)

func newReloadCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the daemon read its configuration again",
		Long: `Makes the daemon read its configuration again, without stopping a rotation: the
current step ends with the settings it began with, the next one has the new ones. A
configuration with an error is refused: the previous one stays active, and status shows
why. Channels and heartbeat (notify) are exchanged too. The store, the socket, the log
format, notify.expiry_stages, backup, discovery, metrics, page and otlp are read at start only: a
change of them is named, and everything else is active.`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The daemon says what is wrong with the file; only its socket is needed here.
			client, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			reloaded, err := client.Reload(cmd.Context())
			if err != nil {
				return err
			}
			if len(reloaded.RestartNeeded) == 0 {
				fmt.Fprintln(a.stdout, "The configuration was read again and is active.")
				return nil
			}
			fmt.Fprintf(a.stdout, "The configuration was read again and is active, except %s\n", restartText(reloaded.RestartNeeded))
			return nil
		},
	}
}

// reloader reads the configuration again for a running daemon.
type reloader struct {
	load  func() (*config.Config, error)
	level *slog.LevelVar

	service    *service
	log        *slog.Logger
	runtimeDir string

	mu      sync.Mutex
	inForce *config.Config // guarded by mu
	// started is the configuration of the start; nil before the first reload.
	started *config.Config // guarded by mu
}

// run reloads at each signal until ctx is done.
func (r *reloader) run(ctx context.Context, hangUps <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangUps:
			_, _ = r.reload(ctx, "SIGHUP") // it was logged, and status says it
		}
	}
}

// restartText says what a restart would change.
func restartText(settings []string) string {
	return strings.Join(settings, ", ") + ": a restart is needed (systemctl restart rotate)."
}

// reload puts the file's configuration in force, and names what only a restart can. If it
// cannot, the one before stays, and status says why.
func (r *reloader) reload(ctx context.Context, by string) (restart []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	restart, err = r.replace(ctx)
	if err != nil {
		why := fmt.Sprintf("configuration not reloaded at %s, the previous one is still active: %s",
			time.Now().UTC().Format("15:04 MST"), strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", " ")), " "))
		r.service.server.RefuseConfiguration(why)
		r.log.ErrorContext(ctx, "configuration refused, the one before stays in force", "err", err, "by", by)
		return nil, &control.Error{Code: "refused", Message: "the previous configuration is still active: " + err.Error(), Next: `correct the file, then "rotate reload"`}
	}
	r.log.InfoContext(ctx, "configuration read again", "by", by, "schedule", r.inForce.Schedule.String())
	if len(restart) > 0 {
		r.log.WarnContext(ctx, "settings of the configuration need a restart", "settings", strings.Join(restart, ", "))
	}
	return restart, r.service.rotator.RecordAct(ctx, by, "configuration read again", "", "")
}

// replace is reload without its words.
func (r *reloader) replace(ctx context.Context) (restart []string, err error) {
	cfg, err := r.load()
	if err != nil {
		return nil, err
	}
	if open := cfg.Credentials(); len(open) > 0 {
		return nil, &unusable{fmt.Errorf("%s: the service manager gave no credentials", strings.Join(open, ", "))}
	}
	if r.started == nil {
		r.started = r.inForce
	}
	restart = atStartOnly(r.started, cfg)
	settings, entra, err := settingsOf(cfg, r.service, r.service.store, cfg.Schedule, r.log, r.runtimeDir)
	if err != nil {
		return nil, err
	}
	if err := r.service.rotator.Reconfigure(ctx, settings); err != nil {
		return nil, errors.Join(err, entra.Close())
	}
	// Only its idle connections: a step under way ends with the client it began with.
	if err := r.service.entra.Swap(entra).Close(); err != nil {
		r.log.WarnContext(ctx, "connections of the configuration before cannot be closed", "err", err)
	}
	if !reflect.DeepEqual(r.inForce.Notify, cfg.Notify) || !reflect.DeepEqual(r.inForce.Page, cfg.Page) || r.inForce.Proxy != cfg.Proxy {
		r.service.alerts.replace(waysOf(cfg, &r.service.entra, r.service.store, r.log))
	}
	setLevel(r.level, cfg.Log.Level)
	warnings := hostWarnings(ctx, cfg, r.service.store)
	for _, warning := range append(cfg.Warnings(), warnings...) {
		r.log.WarnContext(ctx, "configuration", "warning", warning)
	}
	if len(restart) > 0 {
		warnings = append(warnings, "configuration reloaded, except "+restartText(restart))
	}
	r.service.server.Reconfigure(accessOf(cfg.Control), warnings)
	r.inForce = cfg
	return restart, nil
}

// atStartOnly lists the settings that differ and that a running daemon cannot
// change.
func atStartOnly(before, now *config.Config) []string {
	var changed []string
	for _, s := range []struct {
		name        string
		before, now any
	}{
		{"store", before.Store, now.Store},
		{"control.socket", before.Control.Socket, now.Control.Socket},
		{"log.format", before.Log.Format, now.Log.Format},
		{"notify.expiry_stages", before.Notify.ExpiryStages, now.Notify.ExpiryStages},
		{"backup", before.Backup, now.Backup},
		{"discovery", before.Discovery, now.Discovery},
		{"metrics", before.Metrics, now.Metrics},
		{"page", before.Page, now.Page},
		{"otlp", before.OTLP, now.OTLP},
	} {
		if !reflect.DeepEqual(s.before, s.now) {
			changed = append(changed, s.name)
		}
	}
	return changed
}
