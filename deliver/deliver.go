// Package deliver brings key pairs to the programs that sign in with them: as a
// file in a folder (kind file), or by running a program that the configuration
// names (kind exec).
//
// [Deliverer] is the type to start from; it is what the domain knows as
// [rotator.Deliverer]. The package decides nothing about rotations: it makes one
// target hold one pair, or says in a [*rotator.Failure] why it could not. Nothing
// it returns or logs holds a password or a private key.
package deliver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Deliverer carries out deliveries of the kinds [rotator.DeliverFile] and
// [rotator.DeliverExec], and does nothing for [rotator.DeliverHandOff]. It is safe for concurrent use: deliveries into one folder
// wait for each other, others run side by side.
type Deliverer struct {
	// Encoder makes and opens the files. Required.
	Encoder rotator.Encoder
	// Hooks are the programs of the configuration, by name.
	Hooks map[string]Hook
	// RuntimeDir is where the files for hooks lie while one runs; it is created
	// with mode 0700 if it is missing. Empty: rotate-UID in the system's folder for
	// temporary files.
	RuntimeDir string
	// ServiceUID may own the folders that are written to and the programs that are
	// run, besides root. Zero: the effective uid of the process.
	ServiceUID int
	// Own are files and folders that the service or its configuration uses: never a
	// target, nor is what lies in them. Absolute paths; with "*" at its end it is what
	// all names begin with.
	Own []string
	// Roots are the folders in or below which files are delivered. Empty: anywhere.
	Roots []string
	// Logger gets what nobody is told otherwise. Nil: nothing is logged.
	Logger *slog.Logger

	mu sync.Mutex
	// busy holds the folders that are being written to; a channel is closed when
	// its folder is free.
	busy map[string]chan struct{}
	// known are the certificates of files that were opened, by [fileKey].
	known map[[sha256.Size]byte]rotator.Thumbprint
}

// Check reports what would keep the delivery from working, as far as that can be
// known without a key pair and without changing anything. Errors are
// [*rotator.Failure] of class fix.
func (d *Deliverer) Check(_ context.Context, delivery rotator.Delivery) error {
	switch delivery.Kind {
	case rotator.DeliverFile:
		return about(delivery.Name(), d.checkFile(delivery))
	case rotator.DeliverExec:
		_, err := d.hook(delivery.Hook)
		return err
	case rotator.DeliverHandOff:
		return nil
	}
	return unknownKind(delivery)
}

// Deliver makes the target hold the package's pair. Doing it again changes nothing
// for a file; a hook runs again.
//
// When it returns nil for a file, the file is durable and was read back and opened.
// On an error the target is what it was before, except after the last rename, when
// it is the new one. Errors are [*rotator.Failure], or wrap the error of ctx.
func (d *Deliverer) Deliver(ctx context.Context, delivery rotator.Delivery, p rotator.Package) error {
	app := "app " + p.App
	if p.Pair.IsZero() || len(p.Pair.Certificate) == 0 {
		return about(app, fixf("", "%s: there is no key pair to deliver", delivery.Name()))
	}
	switch delivery.Kind {
	case rotator.DeliverFile:
		return about(app+": deliver "+delivery.Name(), d.deliverFile(ctx, delivery, p))
	case rotator.DeliverExec:
		return about(app, d.run(ctx, eventDeliver, delivery.Hook, delivery.Encoding, p))
	case rotator.DeliverHandOff:
		return nil // the rotator announces it; a person fetches it
	}
	return about(app, unknownKind(delivery))
}

// Holds returns the certificate in the target file and which file that is; zero if
// there is no file (or no folder) yet. It follows no symbolic link and tries the
// passwords in turn, then the empty one.
//
// It returns [rotator.ErrCannotTell] for the kinds exec and handoff, and a [*rotator.Failure] of
// class fix for a file that cannot be read or opened.
func (d *Deliverer) Holds(_ context.Context, delivery rotator.Delivery, passwords []string) (rotator.Target, error) {
	switch delivery.Kind {
	case rotator.DeliverFile:
		target, err := d.fileHolds(delivery, passwords)
		return target, about(delivery.Name(), err)
	case rotator.DeliverExec, rotator.DeliverHandOff:
		return rotator.Target{}, fmt.Errorf("%s: %w", delivery.Name(), rotator.ErrCannotTell)
	}
	return rotator.Target{}, unknownKind(delivery)
}

// Confirm runs a hook with ROTATE_EVENT=confirm and returns nil if it exits 0. Any
// other exit status is a [*rotator.Failure] of class wait: not confirmed yet.
func (d *Deliverer) Confirm(ctx context.Context, hook string, p rotator.Package) error {
	return about("app "+p.App, d.run(ctx, eventConfirm, hook, "", p))
}

func unknownKind(delivery rotator.Delivery) error {
	return fixf("use the kind file, exec or handoff", "unknown kind of delivery %q", delivery.Kind)
}

func (d *Deliverer) logger() *slog.Logger {
	if d.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Logger
}

func (d *Deliverer) uid() int {
	if d.ServiceUID == 0 {
		return os.Geteuid()
	}
	return d.ServiceUID
}

// claim waits until nobody else writes to the folders and keeps them until release
// is called.
func (d *Deliverer) claim(ctx context.Context, folders ...string) (release func(), err error) {
	slices.Sort(folders) // one order for all, so that two never wait for each other
	folders = slices.Compact(folders)
	var held []string
	release = func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, f := range held {
			close(d.busy[f])
			delete(d.busy, f)
		}
	}
	for _, f := range folders {
		for {
			d.mu.Lock()
			free, taken := d.busy[f]
			if !taken {
				if d.busy == nil {
					d.busy = map[string]chan struct{}{}
				}
				d.busy[f] = make(chan struct{})
				held = append(held, f)
			}
			d.mu.Unlock()
			if !taken {
				break
			}
			select {
			case <-free:
			case <-ctx.Done():
				release()
				return nil, fmt.Errorf("wait for another delivery into %s: %w", f, ctx.Err())
			}
		}
	}
	return release, nil
}

// encoded returns the proven bytes if there are any, and makes new ones otherwise.
func (d *Deliverer) encoded(pair rotator.KeyPair, encoding string) (content []byte, proven bool, err error) {
	if content := pair.Encoded[encoding]; len(content) > 0 {
		return content, true, nil
	}
	content, err = d.Encoder.Encode(encoding, pair.Key, pair.Certificate, pair.Chain, pair.Password, pair.FriendlyName)
	if err != nil {
		f := fixf("correct the encoding of the delivery or of the policy",
			"encode the key pair as %q: %v", encoding, err)
		f.Err = err
		return nil, false, f
	}
	return content, false, nil
}

// Encodings with a meaning here; the names are those of the policy.
const (
	encodingModern = "modern"
	encodingPEM    = "pem"
)

// encodingOf returns the encoding in force.
func encodingOf(delivery, policy string) string {
	switch {
	case delivery != "":
		return delivery
	case policy != "":
		return policy
	}
	return encodingModern
}

// randomName returns the prefix with 26 random letters and digits behind it.
func randomName(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

// about puts what an error is about in front of its message and keeps its class.
func about(what string, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*rotator.Failure](err); ok {
		named := *f
		named.Message = what + ": " + f.Message
		return &named
	}
	return fmt.Errorf("%s: %w", what, err)
}

func fixf(next, format string, args ...any) *rotator.Failure {
	return &rotator.Failure{
		Class: rotator.ClassFix, Reason: rotator.ReasonOther,
		Message: fmt.Sprintf(format, args...), Next: next,
	}
}

// system turns an error of the operating system into a failure. doing says what
// was done to what, such as "write /etc/app/app.pfx".
func system(doing string, err error) error {
	f := &rotator.Failure{Class: rotator.ClassFix, Reason: rotator.ReasonOther, Err: err}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		f.Class = rotator.ClassWait
		f.Message = doing + ": the disk is full (" + reasonText(err) + "); nothing was changed"
		f.Next = "make room on the file system"
	case errors.Is(err, unix.EROFS):
		f.Message = doing + ": the file system is read-only"
		f.Next = "mount it writable, or add the folder to ReadWritePaths of the service"
	case errors.Is(err, fs.ErrPermission):
		f.Message = doing + ": permission denied for user " + userName(os.Geteuid())
		f.Next = "give that user the right to do it"
	case errors.Is(err, fs.ErrNotExist):
		f.Message = doing + ": it does not exist"
	case errors.Is(err, unix.ENAMETOOLONG):
		f.Message = doing + ": the name is too long"
		f.Next = "choose a shorter path"
	default:
		f.Class = rotator.ClassRetry
		f.Message = doing + ": " + reasonText(err)
	}
	return f
}

// reasonText returns the operating system's own words without the path, which the
// message names already.
func reasonText(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno.Error()
	}
	return err.Error()
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

func groupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}
