package rotator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SignInQuery asks for a part of the sign-in log.
type SignInQuery struct {
	// KeyID of the credential; empty: any.
	KeyID KeyID
	// Since bounds them; zero: as far back as the log goes.
	Since time.Time
	// Most is how many are wanted at most, newest first.
	Most int
}

// LoggedSignIn is one sign-in of an app as the log shows it.
type LoggedSignIn struct {
	At time.Time `json:"at"`
	// ID is that of the answer of the token service, CorrelationID what the client
	// called its request; lower case.
	ID            string `json:"id"`
	CorrelationID string `json:"correlation_id"`
	// KeyID is empty where the log names no credential: of one that was refused.
	KeyID KeyID `json:"key_id,omitempty"`
	// ThumbprintSHA1 is upper-case hex; empty for a secret.
	ThumbprintSHA1 string `json:"thumbprint_sha1,omitempty"`
	// ErrorCode is the AADSTS number; 0: it got a token.
	ErrorCode int    `json:"error_code"`
	Address   string `json:"address,omitempty"`
	Resource  string `json:"resource,omitempty"`
}

// UsedCredential is a credential of an app with its last sign-ins.
type UsedCredential struct {
	// Role is current, next, previous, former, or foreign for what is not ours.
	Role string
	// KeyID is empty if nobody could tell it, and for sign-ins that were refused.
	KeyID          KeyID
	ThumbprintSHA1 string
	// Last are the newest, newest first.
	Last []UsedSignIn
}

// UsedSignIn is one of them.
type UsedSignIn struct {
	LoggedSignIn
	// Own tells that rotate made it.
	Own bool
}

const (
	// signInsShown is how many sign-ins are shown for each credential.
	signInsShown = 5
	// signInsRead is how far back one look at all sign-ins of an app goes.
	signInsRead = 500
	// maxOwnSignIns bounds the request IDs that a rotation keeps. The correlation
	// ID is the same in all, so that older ones are known by it.
	maxOwnSignIns = 128
)

// SignIns lists the last sign-ins with each credential of the app, ours first. The
// tenant's identity asks; it needs AuditLog.Read.All.
func (r *Rotator) SignIns(ctx context.Context, name string) ([]UsedCredential, error) {
	app, err := r.appToAsk(ctx, name)
	if err != nil {
		return nil, err
	}
	var rot *Rotation
	if app.LastRotation != "" {
		last, err := r.Store.Rotation(ctx, app.LastRotation)
		if err != nil {
			return nil, fmt.Errorf("app %s: %w", name, err)
		}
		rot = &last
	}
	list := credentialsOf(&app, rot)
	as := Access{Registration: app.registration()}
	all, err := r.settings().Entra.SignIns(ctx, as, SignInQuery{Most: signInsRead})
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		note(&list, s, isOwn(&app, rot, s))
	}
	for i := range list {
		if c := &list[i]; len(all) >= signInsRead && len(c.Last) == 0 && c.KeyID != "" {
			// So many are newer that its own may lie further back.
			older, err := r.settings().Entra.SignIns(ctx, as, SignInQuery{KeyID: c.KeyID, Most: signInsShown})
			if err != nil {
				return nil, err
			}
			for _, s := range older {
				c.Last = append(c.Last, UsedSignIn{s, isOwn(&app, rot, s)})
			}
		}
	}
	return list, nil
}

// credentialsOf lists those of ours that may be on the app.
func credentialsOf(app *App, rot *Rotation) []UsedCredential {
	var list []UsedCredential
	add := func(role string, c *Credential) {
		if c != nil && !slices.ContainsFunc(list, func(u UsedCredential) bool { return u.ThumbprintSHA1 == c.ThumbprintSHA1 }) {
			list = append(list, UsedCredential{Role: role, KeyID: c.KeyID, ThumbprintSHA1: c.ThumbprintSHA1})
		}
	}
	add("current", app.Current)
	if rot != nil && app.Rotation != "" {
		add("next", &rot.New)
	}
	add("previous", app.Previous)
	for i := range app.Former {
		add("former", &app.Former[i])
	}
	return list
}

// note puts a sign-in under its credential, which is foreign if it is none of ours.
func note(list *[]UsedCredential, s LoggedSignIn, own bool) {
	i := slices.IndexFunc(*list, func(c UsedCredential) bool {
		return c.KeyID != "" && c.KeyID == s.KeyID || c.ThumbprintSHA1 != "" && c.ThumbprintSHA1 == s.ThumbprintSHA1 ||
			c.Role == "foreign" && c.KeyID == s.KeyID
	})
	if i < 0 {
		i = len(*list)
		*list = append(*list, UsedCredential{Role: "foreign", KeyID: s.KeyID, ThumbprintSHA1: s.ThumbprintSHA1})
	}
	if c := &(*list)[i]; len(c.Last) < signInsShown {
		c.Last = append(c.Last, UsedSignIn{s, own})
	}
}

// isOwn reports whether rotate made the sign-in.
func isOwn(app *App, rot *Rotation, s LoggedSignIn) bool {
	return app.CorrelationID != "" && strings.EqualFold(s.CorrelationID, app.CorrelationID) ||
		rot != nil && s.ID != "" && slices.Contains(rot.OwnSignIns, s.ID)
}

// cold signs in as the app and keeps the ID of the answer, by which the sign-in log
// calls it, for the next record.
func (t *turn) cold(ctx context.Context, pair KeyPair, probes []string) (SignIn, error) {
	got, err := t.r.settings().Entra.SignIn(ctx, t.app.registration(), pair, probes)
	if at := got.At; err == nil {
		t.r.noteClock(t.app.Tenant, at)
	} else {
		t.r.noteClock(t.app.Tenant, failureOf(err).ServerTime)
	}
	if t.app.Evidence && got.RequestID != "" {
		t.ownIDs = append(t.ownIDs, got.RequestID)
	}
	if t.rot.ID != "" && (err == nil || reasonOf(err) == ReasonBlocked) {
		t.comeBack(isPairOf(pair))
	}
	t.answered(pair.Thumbprint(), got, err)
	return got, err
}

// coldTo is cold for another audience than Graph.
func (t *turn) coldTo(ctx context.Context, pair KeyPair, scope string) error {
	got, err := t.r.settings().Entra.SignInTo(ctx, t.app.registration(), pair, scope)
	if t.app.Evidence && got.RequestID != "" {
		t.ownIDs = append(t.ownIDs, got.RequestID)
	}
	if t.rot.ID != "" && err == nil {
		t.comeBack(isPairOf(pair))
	}
	return err
}

// keepOwn journals the request IDs of sign-ins since the last record.
func (t *turn) keepOwn(rot *Rotation) {
	if len(t.ownIDs) == 0 {
		return
	}
	ids := slices.Concat(rot.OwnSignIns, t.ownIDs)
	rot.OwnSignIns = ids[max(0, len(ids)-maxOwnSignIns):]
	t.ownIDs = nil
}

// inUse returns the pair that this program signs in with as the app: from proven on
// the new one, so that sign-ins with the old one are the consumer's.
func (r *Rotator) inUse(ctx context.Context, app *App) (*Credential, error) {
	if app.Rotation == "" {
		return app.Current, nil
	}
	rot, err := r.Store.Rotation(ctx, app.Rotation)
	if err != nil {
		return nil, fmt.Errorf("app %s: %w", app.Name, err)
	}
	return signsWith(app, &rot), nil
}
