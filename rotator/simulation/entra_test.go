package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// entry is one element of an app's keyCredentials, from added to gone.
type entry struct {
	id          rotator.KeyID
	cert        *certificate
	name        string
	added, gone time.Time
}

func (e *entry) isAt(t time.Time) bool {
	return !e.added.After(t) && (e.gone.IsZero() || e.gone.After(t))
}

// registration is an app in Entra.
type registration struct {
	object   rotator.ObjectID
	client   rotator.ClientID
	entries  []*entry
	readable bool
	// longest is the lifetime that the tenant's policy allows; 0: any.
	longest time.Duration
}

// weather is how the tenant behaves.
type weather struct {
	// lag bounds how far behind a replica is.
	lag time.Duration
	// refused, lost, doubled, late are the chances in 100 of a request: refused without
	// an effect, carried out with its answer lost, carried out twice, carried out later.
	refused, lost, doubled, late int
	// ghost is the chance that removeKey says "no such entry" of one that is there.
	ghost int
}

// ordinary is the weather of most days: now and then an answer is lost or wrong.
func ordinary() weather {
	return weather{lag: 2 * time.Second, lost: 4, doubled: 2, late: 2, ghost: 8}
}

// tenant is Entra as it was seen to behave: identities stand for signatures. Reads go
// to replicas, writes to the one truth.
type tenant struct {
	w       *world
	apps    map[rotator.ClientID]*registration
	weather weather
	off     time.Duration // of its clock
	// late are requests that are carried out later.
	late []lateRequest
	ids  int
}

type lateRequest struct {
	at time.Time
	do func()
}

func (t *tenant) now() time.Time { return t.w.now.Add(t.off) }

// date is the Date of an answer.
func (t *tenant) date() time.Time { return t.now().Truncate(time.Second) }

// has returns the valid entry of a certificate on the app in truth.
func (r *registration) has(c *certificate, at time.Time) *entry {
	for _, e := range r.entries {
		if e.cert == c && e.isAt(at) {
			return e
		}
	}
	return nil
}

// list is what the app carries in truth.
func (r *registration) list(at time.Time) []*entry {
	var list []*entry
	for _, e := range r.entries {
		if e.isAt(at) {
			list = append(list, e)
		}
	}
	return list
}

// seen is the instant of which a replica knows.
func (t *tenant) seen(what string) time.Time {
	if t.weather.lag == 0 {
		return t.w.now
	}
	return t.w.now.Add(-time.Duration(t.w.chance(what).Int64N(int64(t.weather.lag))))
}

func (t *tenant) fail(class rotator.Class, reason rotator.Reason, format string, args ...any) *rotator.Failure {
	return &rotator.Failure{Class: class, Reason: reason, Message: fmt.Sprintf(format, args...), ServerTime: t.date()}
}

// find returns the registration with the object ID. As the Graph client does, it refuses
// one that is another app's.
func (t *tenant) find(id rotator.ClientID, object rotator.ObjectID) (*registration, *rotator.Failure) {
	r := t.apps[id]
	switch {
	case r == nil:
		return nil, t.fail(rotator.ClassGone, rotator.ReasonAppNotFound, "no such app")
	case object != "" && object != r.object:
		return nil, t.fail(rotator.ClassFix, rotator.ReasonOther, "the object ID is that of another app registration")
	}
	return r, nil
}

// weatherOf lets the tenant misbehave before a request is carried out.
func (t *tenant) weatherOf(what string) *rotator.Failure {
	if t.w.host.dead {
		return &rotator.Failure{Class: rotator.ClassRetry, Reason: rotator.ReasonNetwork, Message: "dead", Err: errDeath}
	}
	if n := t.w.chance(what + " weather").IntN(100); n < t.weather.refused {
		switch n % 3 {
		case 0:
			f := t.fail(rotator.ClassWait, rotator.ReasonThrottled, "429")
			f.RetryAfter = time.Minute
			return f
		case 1:
			return t.fail(rotator.ClassWait, rotator.ReasonUnavailable, "503")
		}
		return &rotator.Failure{Class: rotator.ClassRetry, Reason: rotator.ReasonNetwork, Message: "no answer"}
	}
	return nil
}

func (t *tenant) Hosts(string) (rotator.Hosts, error) {
	return rotator.Hosts{Login: "https://login.example", Graph: "https://graph.example"}, nil
}

// token says whether the pair gets one; at is the replica's time.
func (t *tenant) token(r *registration, pair rotator.KeyPair, at time.Time) *rotator.Failure {
	c := t.w.certificateOf(pair)
	if r.has(c, at) == nil {
		return t.fail(rotator.ClassWait, rotator.ReasonNotRegistered, "AADSTS700027 %s", c.name)
	}
	if t.now().After(c.notAfter) || t.now().Before(c.notBefore) {
		return t.fail(rotator.ClassFix, rotator.ReasonExpired, "AADSTS700027 expired %s", c.name)
	}
	return nil
}

func (t *tenant) SignIn(_ context.Context, app rotator.Registration, pair rotator.KeyPair, _ []string) (rotator.SignIn, error) {
	if f := t.weatherOf("sign in"); f != nil {
		return rotator.SignIn{}, f
	}
	r, f := t.find(app.ClientID, "")
	if f == nil {
		f = t.token(r, pair, t.seen("sign in"))
	}
	if f != nil {
		return rotator.SignIn{}, f
	}
	t.ids++
	return rotator.SignIn{At: t.date(), RequestID: fmt.Sprint("request ", t.ids)}, nil
}

func (t *tenant) SignInTo(ctx context.Context, app rotator.Registration, pair rotator.KeyPair, _ string) (rotator.SignIn, error) {
	return t.SignIn(ctx, app, pair, nil)
}

// authorize is a request's own token.
func (t *tenant) authorize(as rotator.Access) (*registration, *rotator.Failure) {
	r, f := t.find(as.ClientID, as.ObjectID)
	if f == nil && !as.As.IsZero() {
		f = t.token(t.apps[as.ClientID], as.As, t.seen("token"))
	}
	return r, f
}

func (t *tenant) Keys(_ context.Context, as rotator.Access, withKeys bool) (rotator.Listing, error) {
	if f := t.weatherOf("read"); f != nil {
		return rotator.Listing{}, f
	}
	r, f := t.authorize(as)
	if f != nil {
		return rotator.Listing{}, f
	}
	if !as.As.IsZero() && !r.readable {
		return rotator.Listing{}, t.fail(rotator.ClassFix, rotator.ReasonForbidden, "403")
	}
	l := rotator.Listing{At: t.date(), ObjectID: r.object, ClientID: r.client}
	for _, e := range r.list(t.seen("read")) {
		l.Entries = append(l.Entries, e.asListed(withKeys))
	}
	return l, nil
}

func (e *entry) asListed(withKeys bool) rotator.Entry {
	one := rotator.Entry{KeyID: e.id, DisplayName: e.name, NotBefore: e.cert.notBefore, NotAfter: e.cert.notAfter, Hint: e.cert.sha1, Usage: "Verify"}
	if withKeys {
		one.Thumbprint = e.cert.thumbprint
	}
	return one
}

func (t *tenant) Federated(context.Context, rotator.Access) ([]rotator.FoundCredential, error) {
	return nil, nil
}

// write carries out a request that changes something, in the weather's way.
func (t *tenant) write(what string, do func() *rotator.Failure) error {
	if f := t.weatherOf(what); f != nil {
		return f
	}
	lost := &rotator.Failure{Class: rotator.ClassRetry, Reason: rotator.ReasonNetwork, Ambiguous: true, Message: what + ": the answer was lost"}
	chance := t.w.chance(what + " way")
	switch n := chance.IntN(100); {
	case n < t.weather.late:
		after := time.Duration(chance.Int64N(int64(10 * time.Minute)))
		t.late = append(t.late, lateRequest{t.w.now.Add(after), func() { _ = do() }})
		t.w.note("the request %s is carried out %s late", what, after)
		return lost
	case n < t.weather.late+t.weather.lost:
		_ = do()
		t.w.note("the answer of %s is lost", what)
		return lost
	case n < t.weather.late+t.weather.lost+t.weather.doubled:
		_ = do()
		t.w.note("%s is carried out twice", what)
		if f := do(); f != nil {
			return f
		}
		return nil
	}
	if f := do(); f != nil {
		return f
	}
	return nil
}

// proof checks that the pair that signs is one of the app's.
func (t *tenant) proof(r *registration, pair rotator.KeyPair) *rotator.Failure {
	if f := t.token(r, pair, t.w.now); f != nil {
		return t.fail(rotator.ClassWait, rotator.ReasonBadProof, "401 proof: %s", f.Message)
	}
	return nil
}

func (t *tenant) refuses(r *registration, add rotator.NewKey) *rotator.Failure {
	if life := add.NotAfter.Sub(add.NotBefore); r.longest > 0 && life > r.longest+time.Hour {
		f := t.fail(rotator.ClassFix, rotator.ReasonPolicy, "the policy allows %s", r.longest)
		f.LongestLifetime = r.longest
		return f
	}
	if t.now().After(add.NotAfter) {
		return t.fail(rotator.ClassFix, rotator.ReasonEndDate, "ended")
	}
	return nil
}

func (t *tenant) newKeyID() rotator.KeyID {
	t.ids++
	return rotator.KeyID(fmt.Sprintf("00000000-0000-4000-8000-%012d", t.ids))
}

func (t *tenant) AddKey(_ context.Context, as rotator.Access, proof rotator.KeyPair, add rotator.NewKey) (rotator.KeyID, error) {
	var id rotator.KeyID
	counted := false
	err := t.w.host.effect("addKey", func() error {
		return t.write("addKey", func() *rotator.Failure {
			r, f := t.authorize(as)
			if f == nil {
				f = t.proof(r, proof)
			}
			if f == nil {
				f = t.refuses(r, add)
			}
			if f != nil {
				return f
			}
			id = t.newKeyID()
			c := t.w.byDER(add.Certificate)
			r.entries = append(r.entries, &entry{id: id, cert: c, name: add.DisplayName, added: t.w.now})
			t.w.note("Entra adds %s to %s", c.name, t.w.nameOf(r))
			t.w.judgeUpload(r, c)
			if !counted {
				counted = true
				t.w.judgeLimit(r)
			}
			return nil
		})
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

func (t *tenant) PatchKeys(_ context.Context, as rotator.Access, seen []rotator.KeyID, add rotator.NewKey) (rotator.KeyID, error) {
	id := add.KeyID
	err := t.w.host.effect("patch", func() error {
		return t.write("patch", func() *rotator.Failure {
			r, f := t.authorize(as)
			if f != nil {
				return f
			}
			read := r.list(t.seen("read before patch"))
			for _, one := range seen {
				if !slices.ContainsFunc(read, func(e *entry) bool { return e.id == one }) {
					return t.fail(rotator.ClassWait, rotator.ReasonStaleRead, "stale")
				}
			}
			if f := t.refuses(r, add); f != nil {
				return f
			}
			if id == "" {
				id = t.newKeyID()
			}
			t.w.judgePatch(r, read)
			c := t.w.byDER(add.Certificate)
			keep := slices.DeleteFunc(slices.Clone(read), func(e *entry) bool { return slices.Contains(add.Without, e.id) })
			t.replace(r, keep, "rotate")
			r.entries = append(r.entries, &entry{id: id, cert: c, name: add.DisplayName, added: t.w.now})
			t.w.note("the list of %s is PATCHed, with %s", t.w.nameOf(r), c.name)
			t.w.judgeUpload(r, c)
			return nil
		})
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// replace makes the list what a PATCH says. An entry that is gone comes back.
func (t *tenant) replace(r *registration, list []*entry, by string) {
	for _, e := range r.list(t.w.now) {
		if !slices.Contains(list, e) {
			e.gone = t.w.now
			t.w.gone(r, e, by)
		}
	}
	for _, e := range list {
		if !e.isAt(t.w.now) {
			back := *e
			back.added, back.gone = t.w.now, time.Time{}
			r.entries = append(r.entries, &back)
			t.w.cameBack(e.cert)
		}
	}
}

func (t *tenant) RemoveKey(_ context.Context, as rotator.Access, proof rotator.KeyPair, id rotator.KeyID) error {
	return t.w.host.effect("removeKey", func() error {
		return t.write("removeKey", func() *rotator.Failure {
			r, f := t.authorize(as)
			if f == nil {
				f = t.proof(r, proof)
			}
			if f != nil {
				return f
			}
			missing := t.fail(rotator.ClassFix, rotator.ReasonNoSuchKey, "No credentials found to be removed")
			if t.w.chance("ghost").IntN(100) < t.weather.ghost {
				t.w.note("removeKey says that there is no such entry")
				return missing
			}
			for _, e := range r.list(t.w.now) {
				if e.id == id {
					e.gone = t.w.now
					t.w.note("Entra removes %s from %s", e.cert.name, t.w.nameOf(r))
					t.w.gone(r, e, "rotate")
					return nil
				}
			}
			return missing
		})
	})
}

func (t *tenant) LongestLifetime(_ context.Context, as rotator.Access) (time.Duration, string, error) {
	r, f := t.find(as.ClientID, as.ObjectID)
	if f != nil {
		return 0, "", f
	}
	if !as.As.IsZero() {
		return 0, "", t.fail(rotator.ClassFix, rotator.ReasonForbidden, "403")
	}
	return r.longest, "policy", nil
}

func (t *tenant) Grants(context.Context, rotator.Access) (rotator.Grants, error) {
	return rotator.Grants{}, t.fail(rotator.ClassFix, rotator.ReasonForbidden, "403")
}

func (t *tenant) SignIns(context.Context, rotator.Access, rotator.SignInQuery) ([]rotator.LoggedSignIn, error) {
	return nil, t.fail(rotator.ClassFix, rotator.ReasonForbidden, "403")
}
