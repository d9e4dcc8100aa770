package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

// backupMade is what "rotate backup" prints as JSON.
type backupMade struct {
	File    string    `json:"file"`
	StoreID string    `json:"store_id"`
	At      time.Time `json:"at"`
	To      []string  `json:"to"`
	Apps    int       `json:"apps"`
	Keys    int       `json:"keys"`
	Bytes   int64     `json:"bytes"`
	SHA256  string    `json:"sha256"`
	// Counts tells that its keys count as backed up.
	Counts bool `json:"counts"`
}

func newBackupCommand(a *app) *cobra.Command {
	var (
		format outputFormat
		to     []string
	)
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a sealed copy of the store",
		Long: `Writes a copy of the whole store into one age file, as you and for you alone (0600),
while the daemon goes on. It is sealed to the recovery recipient that "rotate init"
was given, or to the recipients of --to. Whoever has the key of a recipient and the
file has all key pairs; the host's identity is not in it. So --to with another recipient
is for root and members of control.keys_group, and raises an alert.

The daemon reads it again and opens every key pair in it before it sends it; the file
gets its name when it has the SHA-256 of what was sent. What is there is never
overwritten.`,
		Example: `  rotate backup /mnt/safe/rotate-$(date +%F).age
  rotate backup rotate.age --to age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p`,
		Args: arguments(1, 1, "a file to write"),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := createOut(args[0])
			if err != nil {
				return err
			}
			a.saved = &caller{}
			var made backupMade
			kept := false
			err = a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				at := a.progress()
				note, err := makeBackup(ctx, conn, out, to, &made, at)
				at.end()
				if err != nil {
					return err
				}
				if err := a.asCaller(out.commit); err != nil {
					return err
				}
				kept = true
				return conn.BackupDone(ctx, note)
			})
			if !kept {
				err = errors.Join(err, a.asCaller(out.discard))
			}
			if err != nil {
				return err
			}
			if format.isJSON() {
				return writeJSON(a.stdout, made)
			}
			fmt.Fprintf(a.stdout, "Wrote %s: %s and %s of store %s, %d bytes.\n", made.File,
				count(made.Apps, "app", "apps"), count(made.Keys, "key pair", "key pairs"), made.StoreID, made.Bytes)
			for _, recipient := range made.To {
				fmt.Fprintf(a.stdout, "Sealed to %s\n", recipient)
			}
			fmt.Fprintf(a.stdout, "Read again, and every key pair in it opened. SHA-256 %s\n", made.SHA256)
			if !made.Counts {
				fmt.Fprintln(a.stdout, "The recovery key does not open it, so \"rotate status\" still counts its keys as not backed up.")
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&to, "to", nil, "age recipient (age1…) to seal it to; may be repeated (default the recovery recipient)")
	format.flag(cmd)
	return cmd
}

// makeBackup writes a backup and reads it again from the file.
func makeBackup(ctx context.Context, conn *connection, out *outFile, to []string, made *backupMade, at *progress) (control.BackupNote, error) {
	sealed, proof, err := conn.Backup(ctx, control.BackupRequest{To: to}, at.show)
	if err != nil {
		return control.BackupNote{}, err
	}
	_, err = io.Copy(out, sealed)
	if err := errors.Join(err, sealed.Close()); err != nil {
		return control.BackupNote{}, fmt.Errorf("backup: write %s: %w", out.path, err)
	}
	if err := out.Sync(); err != nil {
		return control.BackupNote{}, fmt.Errorf("backup: write %s: %w", out.path, err)
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return control.BackupNote{}, fmt.Errorf("backup: read %s again: %w", out.path, err)
	}
	sum := sha256.New()
	size, err := io.Copy(sum, out)
	if err != nil {
		return control.BackupNote{}, fmt.Errorf("backup: read %s again: %w", out.path, err)
	}
	if read := hex.EncodeToString(sum.Sum(nil)); read != proof.SHA256 {
		return control.BackupNote{}, fmt.Errorf("backup: read %s again: its SHA-256 is %s and that of what was sent is %s", out.path, read, proof.SHA256)
	}
	*made = backupMade{
		File: out.path, StoreID: proof.StoreID, At: proof.At, To: proof.To, Apps: proof.Apps,
		Keys: proof.Keys, Bytes: size, SHA256: proof.SHA256, Counts: proof.Counts,
	}
	return control.BackupNote{SHA256: proof.SHA256}, nil
}
