package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

// defaultKeep is how many backups stay where the configuration does not say it.
const defaultKeep = 14

// backups writes one of the store on schedule, in the daemon.
type backups struct {
	folder   string
	schedule rotator.Schedule
	keep     int
	server   *control.Server
	log      *slog.Logger
}

// backupsOf returns nil if none are configured.
func backupsOf(cfg *config.Config, server *control.Server, log *slog.Logger) (*backups, error) {
	if cfg.Backup.Path == "" {
		return nil, nil //nolint:nilnil // none is an ordinary choice
	}
	b := &backups{folder: cfg.Backup.Path, schedule: cfg.Backup.Schedule, keep: int(cfg.Backup.Keep), server: server, log: log}
	if cfg.Backup.Schedule.IsZero() {
		daily, err := config.ParseSchedule("23 3 * * *")
		if err != nil {
			return nil, err
		}
		b.schedule = daily
	}
	if b.keep == 0 {
		b.keep = defaultKeep
	}
	return b, nil
}

// run writes backups until ctx is done.
func (b *backups) run(ctx context.Context) error {
	for {
		timer := time.NewTimer(time.Until(b.schedule.Next(time.Now())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		made, err := b.write(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // stopped on the way; nothing is left
			}
			b.log.ErrorContext(ctx, "the scheduled backup failed", "err", err)
			b.server.NoteBackup(fmt.Sprintf("the scheduled backup of %s failed: %v", time.Now().UTC().Format("2006-01-02 15:04 UTC"), err))
			continue
		}
		b.log.InfoContext(ctx, "backup written", "file", made.File, "keys", made.Keys, "sha256", made.SHA256)
		b.server.NoteBackup("")
	}
}

// write makes one backup, reads it again, and removes those beyond the number to keep.
func (b *backups) write(ctx context.Context) (made backupMade, err error) {
	if err := os.MkdirAll(b.folder, 0o700); err != nil {
		return made, err
	}
	out, err := createOut(filepath.Join(b.folder, time.Now().UTC().Format("rotate-20060102T150405Z.age")))
	if err != nil {
		return made, err
	}
	transport := b.server.Transport(ctx, "schedule")
	conn := &connection{Client: control.NewClient(transport)}
	note, err := makeBackup(ctx, conn, out, nil, &made, &progress{t: &terminal{w: io.Discard}})
	if err != nil {
		return made, errors.Join(err, out.discard(), transport.Close())
	}
	if err := out.commit(); err != nil {
		return made, errors.Join(err, transport.Close())
	}
	return made, errors.Join(conn.BackupDone(ctx, note), transport.Close(), b.prune())
}

// prune removes the oldest files of this name; their names are in the order of time.
func (b *backups) prune() error {
	files, err := filepath.Glob(filepath.Join(b.folder, "rotate-????????T??????Z.age"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	for len(files) > b.keep {
		if err := os.Remove(files[0]); err != nil {
			return err
		}
		files = files[1:]
	}
	return nil
}
