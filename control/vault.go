package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Vault is what the API needs of the store besides what rotations need: copies,
// checks, and the audit trail.
type Vault interface {
	// ID of the store.
	ID() string
	// Backup returns a complete copy, sealed to the recipients or, without any,
	// to the recovery recipient; and to check, unless that is empty, which
	// nobody is told about.
	Backup(ctx context.Context, to []string, check string) (io.ReadCloser, error)
	// BackupDone notes one that was written and read again.
	BackupDone(ctx context.Context, at time.Time, to []string, sealed uint64, entry rotator.AuditEntry) error
	// Backups tells when the newest one was made and how many key pairs are
	// newer, the last one of newest.
	Backups(ctx context.Context) (last time.Time, newer uint64, newest time.Time, err error)
	// Findings of a check of everything.
	Findings(ctx context.Context) (faults, notes []string, err error)
	// AuditLines yields the audit trail.
	AuditLines(ctx context.Context, app string, since time.Time) iter.Seq2[rotator.AuditLine, error]
	// ProveAudit follows its hash chain and looks for the line with a hash.
	ProveAudit(ctx context.Context, expect string) (rotator.AuditProof, error)
	// SpareIdentities counts identities that the store does not use.
	SpareIdentities() int
}

// backupTimeout bounds sending a backup.
const backupTimeout = 30 * time.Minute

// BackupRequest asks for a backup.
type BackupRequest struct {
	// To are age recipients; empty: the store's recovery recipient.
	To []string `json:"to,omitempty"`
	// Check is one more recipient, whose key lives in the memory of whoever asks
	// and who reads the backup again with it.
	Check string `json:"check,omitempty"`
}

// BackupNote tells that a backup was written and read again.
type BackupNote struct {
	StoreID string    `json:"store_id"`
	At      time.Time `json:"at"`
	To      []string  `json:"to"`
	// Sealed is what the backup says about the number of sealed keys.
	Sealed uint64 `json:"sealed"`
	// SHA256 of the file, lower-case hex.
	SHA256 string `json:"sha256"`
}

// StoreReport is what a check of the whole store found.
type StoreReport struct {
	StoreID string `json:"store_id"`
	// Findings are faults; empty: all is well.
	Findings []string `json:"findings"`
	// Notes are no faults.
	Notes []string `json:"notes"`
}

// Backup returns a backup, sealed; the caller closes it.
func (c *Client) Backup(ctx context.Context, request BackupRequest) (io.ReadCloser, error) {
	response, err := c.send(ctx, http.MethodPost, "/v1/backup", request)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// BackupDone notes a backup.
func (c *Client) BackupDone(ctx context.Context, note BackupNote) error {
	return c.do(ctx, http.MethodPost, "/v1/backup/done", note, nil)
}

// CheckStore checks the whole store.
func (c *Client) CheckStore(ctx context.Context) (StoreReport, error) {
	var report StoreReport
	return report, c.do(ctx, http.MethodGet, "/v1/store/check", nil, &report)
}

// ErrNoVault says that the server keeps no store of its own.
var ErrNoVault = errors.New("there is no store to do this with")

func (s *Server) vault() (Vault, error) {
	if s.Vault == nil {
		return nil, ErrNoVault
	}
	return s.Vault, nil
}

// backup streams one. That it was taken is in the audit trail before the first
// byte leaves: whoever has it and a recipient's key has all keys.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	c := call{r, peerOf(r.Context()).by, http.MaxBytesReader(w, r.Body, maxBodyBytes)}
	sealed, err := s.makeBackup(c) //nolint:contextcheck // the request in c carries it
	if err != nil {
		writeError(w, err)
		return
	}
	defer func() { _ = sealed.Close() }() // only read from
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(backupTimeout)) // not in memory
	w.Header().Set("Content-Type", "application/age")
	_, _ = io.Copy(w, sealed) // the reader finds out that it was cut off
}

func (s *Server) makeBackup(c call) (io.ReadCloser, error) {
	vault, err := s.vault()
	if err != nil {
		return nil, err
	}
	var wire BackupRequest
	if err := c.decode(&wire); err != nil {
		return nil, err
	}
	to := "the recovery recipient"
	if len(wire.To) > 0 {
		to = strings.Join(wire.To, ", ")
	}
	// It is made first: what is no recipient, such as a private key given by
	// mistake, must not get into the audit trail.
	sealed, err := vault.Backup(c.Context(), wire.To, wire.Check)
	if err != nil {
		return nil, err
	}
	if err := s.Rotator.Record(c.Context(), rotator.AuditEntry{By: c.by, What: "backup taken", Note: "sealed to " + to}); err != nil {
		return nil, errors.Join(err, sealed.Close())
	}
	return sealed, nil
}

func (s *Server) backupDone(c call) (int, any, error) {
	vault, err := s.vault()
	if err != nil {
		return 0, nil, err
	}
	var wire BackupNote
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	if wire.StoreID != vault.ID() {
		return 0, nil, fmt.Errorf("backup of store %s: this is store %s: %w", wire.StoreID, vault.ID(), rotator.ErrUsage)
	}
	entry := rotator.AuditEntry{
		At: time.Now().UTC(), By: c.by, What: "backup written and read again",
		Note: "sealed to " + strings.Join(wire.To, ", ") + "; SHA-256 " + wire.SHA256,
	}
	return http.StatusNoContent, nil, vault.BackupDone(c.Context(), wire.At, wire.To, wire.Sealed, entry)
}

func (s *Server) checkStore(c call) (int, any, error) {
	vault, err := s.vault()
	if err != nil {
		return 0, nil, err
	}
	faults, notes, err := vault.Findings(c.Context())
	return http.StatusOK, StoreReport{vault.ID(), list(faults), list(notes)}, err
}

// addBackups tells in a status what a backup would save.
func (s *Server) addBackups(ctx context.Context, wire *Status) error {
	if s.Vault == nil {
		return nil
	}
	last, newer, newest, err := s.Vault.Backups(ctx)
	if err != nil {
		return err
	}
	wire.LastBackup, wire.KeysNotInBackup = instant(last), int(newer) //nolint:gosec // a number of keys
	if newer > 0 {
		wire.NewestKey = instant(newest)
	}
	if s.Vault.SpareIdentities() > 0 {
		wire.Warnings = append(wire.Warnings, "the identity file holds an identity that the store does not use, as an interrupted rekey leaves it; \"rotate rekey\" makes a new one and removes all others")
	}
	return nil
}
