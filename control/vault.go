package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Vault is what the API needs of the store besides what rotations need: copies,
// checks, and the audit trail.
type Vault interface {
	// ID of the store.
	ID() string
	// Recovery recipient of the store; empty: none.
	Recovery() string
	// Backup returns a complete copy, sealed to the recipients or, without any,
	// to the recovery recipient. It was read again, and every key pair in it opened.
	// report, here and below, is called with how far it is.
	Backup(ctx context.Context, to []string, report func(what string, done, total uint64)) (io.ReadCloser, rotator.BackupProof, error)
	// BackupDone notes one that was written.
	BackupDone(ctx context.Context, at time.Time, to []string, sealed uint64, entry rotator.AuditEntry) error
	// Backups tells when the newest one was made and how many key pairs are
	// newer, the last one of newest.
	Backups(ctx context.Context) (last time.Time, newer uint64, newest time.Time, err error)
	// Findings of a check of everything.
	Findings(ctx context.Context, report func(what string, done, total uint64)) (faults, notes []string, err error)
	// AuditLines yields the audit trail.
	AuditLines(ctx context.Context, app string, since time.Time) iter.Seq2[rotator.AuditLine, error]
	// ProveAudit follows its hash chain and looks for the line with a hash.
	ProveAudit(ctx context.Context, expect string, report func(what string, done, total uint64)) (rotator.AuditProof, error)
	// SpareIdentities counts identities that the store does not use.
	SpareIdentities() int
}

// BackupRequest asks for a backup.
type BackupRequest struct {
	// To are age recipients; empty: the store's recovery recipient. Others than that
	// one are for who may take keys.
	To []string `json:"to,omitempty"`
}

// BackupProof is what the daemon found when it read a backup again, before it sent it: the
// result before its bytes.
type BackupProof struct {
	StoreID string    `json:"store_id"`
	At      time.Time `json:"at"`
	To      []string  `json:"to"`
	Apps    int       `json:"apps"`
	Keys    int       `json:"keys"`
	// Counts tells that its keys count as backed up: the recovery key opens it.
	Counts bool `json:"counts"`
	// SHA256 of the file, lower-case hex.
	SHA256 string `json:"sha256"`
}

// BackupNote tells that a backup was written: what is in the file has the hash of what
// the daemon sent.
type BackupNote struct {
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

// Backup returns a backup, sealed, and what it holds; the caller closes it. It is whole
// before the first byte comes; report, unless it is nil, is called with how far that is.
func (c *Client) Backup(ctx context.Context, request BackupRequest, report func(Progress)) (io.ReadCloser, BackupProof, error) {
	var proof BackupProof
	response, err := c.send(ctx, http.MethodPost, "/v1/backup", request) //nolint:bodyclose // the caller closes it
	if err != nil {
		return nil, proof, err
	}
	body := &bufferedBody{bufio.NewReader(response.Body), response.Body}
	for {
		line, err := nextLine(ctx, body.Reader, report)
		if err == nil && line.Error != nil {
			err = line.Error
		}
		if err == nil && line.Result != nil {
			err = json.Unmarshal(line.Result, &proof)
		}
		if err != nil {
			return nil, proof, errors.Join(fmt.Errorf("backup: %w", err), body.Close())
		}
		if line.Result != nil {
			return body, proof, nil // the rest are its bytes
		}
	}
}

// bufferedBody is the body of an answer of which the first lines were read.
type bufferedBody struct {
	*bufio.Reader
	io.Closer
}

// BackupDone notes a backup.
func (c *Client) BackupDone(ctx context.Context, note BackupNote) error {
	return c.do(ctx, http.MethodPost, "/v1/backup/done", note, nil)
}

// CheckStore checks the whole store. report, unless it is nil, is called with how far
// that is.
func (c *Client) CheckStore(ctx context.Context, report func(Progress)) (StoreReport, error) {
	var found StoreReport
	return found, c.long(ctx, "/v1/store/check", &found, report)
}

// ErrNoVault says that the server keeps no store of its own.
var ErrNoVault = errors.New("there is no store to do this with")

func (s *Server) vault() (Vault, error) {
	if s.Vault == nil {
		return nil, ErrNoVault
	}
	return s.Vault, nil
}

// backup streams one: lines that say how far it is, one with its result, and then its
// bytes. That it was taken is in the audit trail before the first byte leaves: whoever
// has it and a recipient's key has all keys.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	c := call{r, peerOf(r.Context()).by, http.MaxBytesReader(w, r.Body, maxBodyBytes)}
	lines := &longAnswer{w: w}
	sealed, proof, err := s.makeBackup(c, lines.report) //nolint:contextcheck // the request in c carries it
	var result json.RawMessage
	if err == nil {
		result, err = json.Marshal(proof)
	}
	switch {
	case err != nil && lines.begun:
		lines.write(longLine{Error: errorOf(err)})
		return
	case err != nil:
		writeError(w, err)
		return
	}
	defer func() { _ = sealed.Close() }() // only read from
	lines.write(longLine{Result: result})
	_, _ = io.Copy(&patientWriter{w, http.NewResponseController(w)}, sealed) // the reader finds out that it was cut off
}

// stalled is how long a reader of a backup may take for its next part. There is no limit
// for all of it.
const stalled = 10 * time.Minute

// patientWriter gives the reader time for each write.
type patientWriter struct {
	io.Writer
	control *http.ResponseController
}

func (p *patientWriter) Write(data []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(stalled)) // not in memory
	return p.Writer.Write(data)
}

func (s *Server) makeBackup(c call, report reporter) (_ io.ReadCloser, proof BackupProof, err error) {
	vault, err := s.vault()
	if err != nil {
		return nil, proof, err
	}
	var wire BackupRequest
	if err := c.decode(&wire); err != nil {
		return nil, proof, err
	}
	isOther := func(recipient string) bool { return recipient != vault.Recovery() }
	toOthers := slices.ContainsFunc(wire.To, isOther)
	if toOthers {
		if err := s.mayTake(c); err != nil {
			return nil, proof, err
		}
	}
	// It is made first: what is no recipient, such as a private key given by
	// mistake, must not get into the audit trail.
	sealed, made, err := vault.Backup(c.Context(), wire.To, report)
	if err != nil {
		return nil, proof, err
	}
	entry := rotator.AuditEntry{By: c.by, What: "backup taken", Note: "sealed to " + strings.Join(made.To, ", ") + "; SHA-256 " + made.SHA256}
	if toOthers {
		err = s.Rotator.RecordTaken(c.Context(), entry)
	} else {
		err = s.Rotator.Record(c.Context(), entry)
	}
	if err != nil {
		return nil, proof, errors.Join(err, sealed.Close())
	}
	s.backups.add(made)
	return sealed, BackupProof{made.StoreID, made.At, made.To, made.Apps, made.Pairs, made.Counts, made.SHA256}, nil
}

// mayTake is the check of [toTake] where the body of a request decides.
func (s *Server) mayTake(c call) error {
	access := s.access()
	if err := access.may(peerOf(c.Context()), os.Geteuid(), toTake); err != nil {
		return s.refuse(c.Request, err)
	}
	if access.NoExport {
		return errNoExport()
	}
	return nil
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
	made, ok := s.backups.find(wire.SHA256)
	if !ok {
		return 0, nil, fmt.Errorf("backup: none with this SHA-256 was made since the daemon started: make another one: %w", rotator.ErrUsage)
	}
	entry := rotator.AuditEntry{
		At: time.Now().UTC(), By: c.by, What: "backup written and read again",
		Note: "sealed to " + strings.Join(made.To, ", ") + "; SHA-256 " + made.SHA256,
	}
	return http.StatusNoContent, nil, vault.BackupDone(c.Context(), made.At, made.To, made.Sealed, entry)
}

// maxBackups is how many are remembered until they are written.
const maxBackups = 16

// backups are those that were made last. What was written is looked up here: who asked
// for one is not believed what it holds. It is safe for concurrent use.
type backups struct {
	mu   sync.Mutex
	made []rotator.BackupProof // guarded by mu; oldest first
}

func (b *backups) add(made rotator.BackupProof) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.made = append(b.made[max(0, len(b.made)-maxBackups+1):], made)
}

func (b *backups) find(sum string) (rotator.BackupProof, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.made, func(made rotator.BackupProof) bool { return made.SHA256 == sum })
	if i < 0 {
		return rotator.BackupProof{}, false
	}
	return b.made[i], true
}

func (s *Server) checkStore(c call, report reporter) (any, error) {
	vault, err := s.vault()
	if err != nil {
		return nil, err
	}
	faults, notes, err := vault.Findings(c.Context(), report)
	return StoreReport{vault.ID(), list(faults), list(notes)}, err
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
