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
		Short: "Have the daemon read its configuration again",
		Long: `Has the daemon read its configuration again, without stopping a rotation: the step
under way ends as it began, the next one finds the new settings. A configuration
that is wrong is refused: the one before stays in force, and status says why. Where
the store and the socket are, the form of log lines, notify, discovery, metrics, page,
otlp and profiles are read at start only; a change of them is refused and named.`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The daemon says what is wrong with the file; only its socket is needed here.
			client, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			if err := client.Reload(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintln(a.stdout, "The configuration was read again and is in force.")
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
}

// run reloads at each signal until ctx is done.
func (r *reloader) run(ctx context.Context, hangUps <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangUps:
			_ = r.reload(ctx, "SIGHUP") // it was logged, and status says it
		}
	}
}

// reload puts the file's configuration in force. If it cannot, the one before
// stays, and status says why.
func (r *reloader) reload(ctx context.Context, by string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.replace(ctx)
	if err != nil {
		why := fmt.Sprintf("the configuration of %s is not in force, the one before is: %s",
			time.Now().UTC().Format("15:04 MST"), strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", " ")), " "))
		r.service.server.RefuseConfiguration(why)
		r.log.ErrorContext(ctx, "configuration refused, the one before stays in force", "err", err, "by", by)
		return &control.Error{Code: "refused", Message: "the configuration before stays in force: " + err.Error(), Next: `correct the file, then "rotate reload"`}
	}
	r.log.InfoContext(ctx, "configuration read again", "by", by, "schedule", r.inForce.Schedule.String())
	return r.service.rotator.RecordAct(ctx, by, "configuration read again", "", "")
}

// replace is reload without its words.
func (r *reloader) replace(ctx context.Context) error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	if open := cfg.Credentials(); len(open) > 0 {
		return &unusable{fmt.Errorf("%s: the service manager gave no credentials", strings.Join(open, ", "))}
	}
	if fixed := atStartOnly(r.inForce, cfg); len(fixed) > 0 {
		return &unusable{fmt.Errorf("%s changed, which is read at start only: systemctl restart rotate", strings.Join(fixed, ", "))}
	}
	settings, entra, err := settingsOf(cfg, r.service, r.service.store, cfg.Schedule, r.log, r.runtimeDir)
	if err != nil {
		return err
	}
	if err := r.service.rotator.Reconfigure(ctx, settings); err != nil {
		return errors.Join(err, entra.Close())
	}
	// Only its idle connections: a step under way ends with the client it began with.
	if err := r.service.entra.Swap(entra).Close(); err != nil {
		r.log.WarnContext(ctx, "connections of the configuration before cannot be closed", "err", err)
	}
	setLevel(r.level, cfg.Log.Level)
	warnings := hostWarnings(ctx, cfg, r.service.store)
	for _, warning := range append(cfg.Warnings(), warnings...) {
		r.log.WarnContext(ctx, "configuration", "warning", warning)
	}
	r.service.server.Reconfigure(accessOf(cfg.Control), warnings)
	r.inForce = cfg
	return nil
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
		{"notify", before.Notify, now.Notify},
		{"discovery", before.Discovery, now.Discovery},
		{"metrics", before.Metrics, now.Metrics},
		{"page", before.Page, now.Page},
		{"otlp", before.OTLP, now.OTLP},
		{"profiles", before.Profiles, now.Profiles},
	} {
		if !reflect.DeepEqual(s.before, s.now) {
			changed = append(changed, s.name)
		}
	}
	return changed
}
