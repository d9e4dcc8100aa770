package control

import (
	"errors"
	"fmt"
	"net/http"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"time"
)

// need is what a route asks of the peer.
type need string

const (
	// toRead means: what the store holds is shown, nothing is done.
	toRead need = "read"
	// toChange means: something is changed, here or in Entra, or Entra is asked.
	toChange need = "change"
	// toBackUp means: the whole store leaves it, sealed to the recovery recipient; to
	// whom else is [toTake].
	toBackUp need = "back up"
	// toTake means: private keys leave the store in a form that the peer can open.
	toTake need = "take keys"
)

// Access says who is served besides root and the daemon's own user. The zero
// value is nobody.
type Access struct {
	// ChangeGroup is a group by name or number whose members may do everything but
	// take keys. Empty or unknown on this host: none.
	ChangeGroup string
	// ViewGroup is one whose members may read.
	ViewGroup string
	// KeysGroup is one whose members may take keys, make backups and read. The
	// daemon's own user is not among them by itself: hooks run as that user.
	KeysGroup string
	// NoExport refuses exports and backups to other recipients to everybody, root
	// too. Packages of hand-offs are not concerned: there is no other way.
	NoExport bool
}

// isShared reports whether anybody else may be served: then everybody may
// connect, so that a refusal can name the group, and the peer decides.
func (a Access) isShared() bool {
	return slices.ContainsFunc(a.groups(toRead), func(group string) bool {
		_, known := groupID(group)
		return known
	})
}

// groups whose members may do what the need says; the first one is named to who is
// not in it.
func (a Access) groups(needs need) []string {
	switch needs {
	case toRead:
		return []string{a.ViewGroup, a.ChangeGroup, a.KeysGroup}
	case toBackUp:
		return []string{a.ChangeGroup, a.KeysGroup}
	case toTake:
		return []string{a.KeysGroup}
	case toChange:
	}
	return []string{a.ChangeGroup}
}

// groupID finds a group; false if this host has none of that name.
func groupID(group string) (uint32, bool) {
	if group == "" {
		return 0, false
	}
	id := group
	if g, err := user.LookupGroup(group); err == nil {
		id = g.Gid
	}
	n, err := strconv.ParseUint(id, 10, 32)
	return uint32(n), err == nil
}

// may reports why a daemon that runs as uid does not do for the peer what it
// needs.
func (a Access) may(p peer, uid int, needs need) error {
	if p.err != nil {
		return fmt.Errorf("%w: who asks is unknown: %w", ErrForbidden, p.err)
	}
	if p.uid == 0 || p.local || int64(p.uid) == int64(uid) && needs != toTake {
		return nil
	}
	groups := a.groups(needs)
	if slices.ContainsFunc(groups, p.isIn) {
		return nil
	}
	group := groups[0]
	_, known := groupID(group)
	if needs == toTake {
		return refuseKeys(p, group, known)
	}
	self := UserName(uint32(uid)) //nolint:gosec // a uid
	if !known {
		return &Error{
			Code:    "forbidden",
			Message: fmt.Sprintf("%s is not allowed: this daemon serves root and %s only", p.by, self),
			Next:    fmt.Sprintf("run the command as root, or as that user: sudo -u '#%d' rotate …", uid),
		}
	}
	refusal := &Error{
		Code:    "forbidden",
		Message: fmt.Sprintf("%s may not %s: that is for root, %s and members of group %s", p.by, needs, self, group),
		Next:    fmt.Sprintf("join the group: sudo usermod -aG %s %s, then log in again", group, p.login()),
	}
	if p.isListed(group) {
		refusal.Next = "you were added to the group " + group + " after you logged in: log in again"
	}
	return refusal
}

// refuseKeys is the refusal of [toTake]; group is "", or not known, where only root may.
func refuseKeys(p peer, group string, known bool) error {
	refusal := &Error{
		Code:    "forbidden",
		Message: fmt.Sprintf("%s may not take keys: that is for root only", p.by),
		Next:    "run the command as root; control.keys_group in the configuration names a group that may too",
	}
	if known {
		refusal.Message = fmt.Sprintf("%s may not take keys: that is for root and members of group %s", p.by, group)
		refusal.Next = fmt.Sprintf("run the command as root, or join the group: sudo usermod -aG %s %s, then log in again", group, p.login())
	}
	return refusal
}

// errNoExport is the refusal where [Access.NoExport] is set.
func errNoExport() error {
	return &Error{
		Code:    "refused",
		Message: "control.export is off: nobody takes keys from this store",
		Next:    "\"rotate backup FILE\" without --to seals to the recovery recipient; root can change the configuration",
	}
}

// isIn reports whether the peer's process is in the group.
func (p peer) isIn(group string) bool {
	id, known := groupID(group)
	return known && slices.Contains(p.groups, id)
}

// isListed reports whether the user is in the group by the user database, as a
// process that began earlier need not be.
func (p peer) isListed(group string) bool {
	id, known := groupID(group)
	u, err := user.LookupId(strconv.FormatUint(uint64(p.uid), 10))
	if err != nil || !known {
		return false
	}
	ids, err := u.GroupIds()
	return err == nil && slices.Contains(ids, strconv.FormatUint(uint64(id), 10))
}

// login is the name for a command line.
func (p peer) login() string {
	id := strconv.FormatUint(uint64(p.uid), 10)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username
	}
	return "USER"
}

// refusalEvery is how often refusals of one user are written to the audit trail
// at most: whoever may connect must not be able to fill the disk.
const refusalEvery = time.Minute

// maxRefusals is how many are written in that time at most, whoever is refused.
const maxRefusals = 20

// maxRefused bounds the users that are remembered.
const maxRefused = 1000

// refusals remembers who was refused lately. It is safe for concurrent use.
type refusals struct {
	mu   sync.Mutex
	last map[uint32]time.Time // guarded by mu
	// since is when written began to count; guarded by mu.
	since   time.Time
	written int // guarded by mu
}

// isNew reports whether a refusal of the user is to be written now.
func (r *refusals) isNew(uid uint32, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, ok := r.last[uid]; ok && now.Sub(before) < refusalEvery {
		return false
	}
	if r.last == nil || len(r.last) >= maxRefused {
		r.last = map[uint32]time.Time{}
	}
	r.last[uid] = now
	// One user may have very many numbers (subuid(5)).
	if now.Sub(r.since) >= refusalEvery {
		r.since, r.written = now, 0
	}
	r.written++
	return r.written <= maxRefusals
}

// refuse writes a refusal to the audit trail and returns it.
func (s *Server) refuse(r *http.Request, err error) error {
	p := peerOf(r.Context())
	wire, ok := errors.AsType[*Error](err)
	if !ok || !s.refused.isNew(p.uid, time.Now()) {
		return err
	}
	auditErr := s.Rotator.RecordAct(r.Context(), p.by, "request refused", r.Method+" "+r.URL.Path, wire.Message)
	if auditErr != nil && s.Logger != nil {
		s.Logger.ErrorContext(r.Context(), "a refusal could not be recorded", "err", auditErr, "by", p.by)
	}
	return err
}
