package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// refuse answers some requests that a function chooses with a fault.
func (w *world) refuse(choose func(q emulator.Request) *emulator.Fault) {
	w.tenant.Configure(func(e *emulator.Tenant) {
		e.Intercept = func(q emulator.Request) *emulator.Fault {
			w.watch(q)
			return choose(q)
		}
	})
}

func isAddKey(q emulator.Request) bool { return strings.HasSuffix(q.Path, "/addKey") }

// sentAt are the instants of the requests whose path ends so.
func (w *world) sentAt(suffix string) []time.Time {
	var times []time.Time
	for _, e := range w.tenant.Requests() {
		if strings.HasSuffix(e.Path, suffix) {
			times = append(times, e.Time)
		}
	}
	return times
}

// TestL4EndDateRefused: such a refusal is often over within minutes, so it is tried
// four times within ten; the advice comes only if it lasts.
func TestL4EndDateRefused(t *testing.T) {
	refused := &emulator.Fault{Status: 400, Code: "KeyCredentialsInvalidEndDate", Message: "Key credential end date is invalid."}
	bubble(t, "passes", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		var n atomic.Int32
		w.refuse(func(q emulator.Request) *emulator.Fault {
			if isAddKey(q) && n.Add(1) < 4 {
				return refused
			}
			return nil
		})
		stop := run(t, r)
		s := await(t, r, "app-1", 20*time.Minute, "refused", func(s rotator.AppStatus) bool { return s.Trouble != nil })
		if s.Trouble.Class != rotator.ClassWait || s.Trouble.Next != "" || s.Attention {
			t.Errorf("trouble %+v, attention %v; want a wait without advice", s.Trouble, s.Attention)
		}
		await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		if at := w.sentAt("/addKey"); len(at) != 4 || at[3].Sub(at[0]) > 10*time.Minute {
			t.Errorf("sent at %v, want four times within ten minutes", at)
		}
		w.checkTenantWith(r)
	})
	bubble(t, "lasts", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		w.refuse(func(q emulator.Request) *emulator.Fault {
			if isAddKey(q) {
				return refused
			}
			return nil
		})
		stop := run(t, r)
		s := await(t, r, "app-1", time.Hour, "parked", func(s rotator.AppStatus) bool {
			return s.Trouble != nil && s.Trouble.Class == rotator.ClassFix
		})
		stop()
		if !strings.Contains(s.Trouble.Next, "shorten the validity") || !s.Attention {
			t.Errorf("next %q, attention %v", s.Trouble.Next, s.Attention)
		}
		if at := w.sentAt("/addKey"); len(at) != 4 || at[3].Sub(at[0]) > 10*time.Minute {
			t.Errorf("sent at %v, want four times within ten minutes", at)
		}
	})
}

// TestL13ComesAndGoes: for an app that was accepted a moment ago, 700016 and 403 are
// tried again within minutes; later they mean what they say.
func TestL13ComesAndGoes(t *testing.T) {
	for name, fault := range map[string]struct {
		f  emulator.Fault
		on func(q emulator.Request) bool
	}{
		"700016": {emulator.Fault{AADSTS: 700016, Status: 400, Message: "Application was not found in the directory."}, emulator.Request.IsToken},
		"403":    {emulator.Fault{Status: 403, Code: "Authorization_RequestDenied", Message: "Insufficient privileges to complete the operation."}, isAddKey},
	} {
		bubble(t, name, options{}, func(w *world, r *rotator.Rotator) {
			t := w.t
			begun := time.Now()
			var accepted, lasting atomic.Bool
			w.refuse(func(q emulator.Request) *emulator.Fault {
				switch {
				case fault.on(q) && (lasting.Load() || accepted.Load() && time.Since(begun) < 7*time.Minute):
					return &fault.f
				case q.IsToken():
					accepted.Store(true)
				}
				return nil
			})
			stop := run(t, r)
			s := await(t, r, "app-1", 20*time.Minute, "refused", func(s rotator.AppStatus) bool { return s.Trouble != nil })
			if s.Trouble.Class != rotator.ClassWait || s.Trouble.Next != "" || s.Attention {
				t.Errorf("trouble %+v, attention %v; want a wait without advice", s.Trouble, s.Attention)
			}
			await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			lasting.Store(true)
			time.Sleep(2 * time.Hour)
			if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Force: true}, "a person"); err != nil {
				t.Fatal(err)
			}
			await(t, r, "app-1", 3*time.Hour, "called what it is", func(s rotator.AppStatus) bool {
				return s.Trouble != nil && (s.Trouble.Class == rotator.ClassGone || s.Trouble.Class == rotator.ClassFix) && s.Trouble.Next != ""
			})
			stop()
		})
	}
}

const outlook = "https://outlook.office365.com/.default"

func asksOutlook(q emulator.Request) bool {
	return q.IsToken() && strings.Contains(string(q.Body), "outlook.office365.com")
}

// TestL7ProveScopes: Exchange Online learns of a new certificate later than Graph,
// so a consumer of it gets nothing before both accept it. What the current pair does
// not get either is a warning.
func TestL7ProveScopes(t *testing.T) {
	o := options{spec: func(s *rotator.AppSpec) { s.Policy.ProveScopes = []string{outlook} }}
	notFound := &emulator.Fault{AADSTS: 700027, Status: 401, Message: "The certificate is not registered on application. [Reason - The key was not found.]"}
	bubble(t, "later", o, func(w *world, r *rotator.Rotator) {
		t := w.t
		var added atomic.Int64
		w.refuse(func(q emulator.Request) *emulator.Fault {
			switch {
			case isAddKey(q):
				added.Store(time.Now().Unix())
			case asksOutlook(q) && time.Since(time.Unix(added.Load(), 0)) < 7*time.Minute:
				return notFound
			}
			return nil
		})
		stop := run(t, r)
		s := await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		if d := s.Rotation.PhaseAt[rotator.PhaseProven].Sub(s.Rotation.PhaseAt[rotator.PhaseUploaded]); d < 7*time.Minute {
			t.Errorf("proven %s after the upload, before Exchange Online accepted it", d)
		}
		w.checkTenantWith(r)
	})
	bubble(t, "neither", o, func(w *world, r *rotator.Rotator) {
		t := w.t
		w.refuse(func(q emulator.Request) *emulator.Fault {
			if asksOutlook(q) {
				return &emulator.Fault{AADSTS: 500011, Status: 400, Message: "The resource principal was not found in the tenant."}
			}
			return nil
		})
		stop := run(t, r)
		s := await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		if !strings.Contains(strings.Join(s.Rotation.Warnings, "; "), outlook) {
			t.Errorf("warnings %q do not name the scope", s.Rotation.Warnings)
		}
		w.checkTenantWith(r)
	})
	bubble(t, "the new one only", o, func(w *world, r *rotator.Rotator) {
		t := w.t
		var added, open atomic.Bool
		var n atomic.Int32
		w.refuse(func(q emulator.Request) *emulator.Fault {
			switch {
			case isAddKey(q):
				added.Store(true)
			case asksOutlook(q) && added.Load() && !open.Load() && n.Add(1)%2 == 1: // the second is the current pair's
				return &emulator.Fault{AADSTS: 500011, Status: 400, Message: "The resource principal was not found in the tenant."}
			}
			return nil
		})
		stop := run(t, r)
		s := await(t, r, "app-1", time.Hour, "refused", func(s rotator.AppStatus) bool { return s.Trouble != nil })
		if s.Phase != rotator.PhaseUploaded || !strings.Contains(s.Trouble.Message, outlook) {
			t.Errorf("phase %s, trouble %q", s.Phase, s.Trouble.Message)
		}
		open.Store(true)
		await(t, r, "app-1", 12*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
	bubble(t, "default", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		w.refuse(func(q emulator.Request) *emulator.Fault {
			if asksOutlook(q) {
				t.Error("Exchange Online was asked without being named")
			}
			return nil
		})
		stop := run(t, r)
		await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
	})
}

// TestL8ProofByAFreshKey: a proof signed by a key that was just added is refused for
// 45 minutes; the removal waits for it and nothing is left to a person.
func TestL8ProofByAFreshKey(t *testing.T) {
	quick := fast()
	quick.Overlap = new(5 * time.Minute)
	bubble(t, "removal", options{defaults: quick}, func(w *world, r *rotator.Rotator) {
		t := w.t
		var added atomic.Int64
		w.refuse(func(q emulator.Request) *emulator.Fault {
			if isAddKey(q) {
				added.Store(time.Now().Unix())
			}
			if strings.HasSuffix(q.Path, "/removeKey") && time.Since(time.Unix(added.Load(), 0)) < 45*time.Minute {
				return &emulator.Fault{Status: 401, Code: "Authentication_MissingOrMalformed", Message: "Access Token missing or malformed."}
			}
			return nil
		})
		stop := run(t, r)
		s := await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		if len(s.App.Orphans) != 0 {
			t.Errorf("left to a person: %v", s.App.Orphans)
		}
		w.checkTenantWith(r)
	})
}

// blind is a directory whose lists lack each new certificate for 20 minutes.
type blind struct {
	rotator.Entra
	foreign []string
}

func (b blind) Keys(ctx context.Context, as rotator.Access, withKeys bool) (rotator.Listing, error) {
	l, err := b.Entra.Keys(ctx, as, withKeys)
	l.Entries = slices.DeleteFunc(l.Entries, func(e rotator.Entry) bool {
		return !slices.Contains(b.foreign, string(e.KeyID)) && time.Since(e.NotBefore) < 35*time.Minute // NotBefore lies 15 minutes back
	})
	return l, err
}

// TestL6InvisibleFor20Minutes: no list shows the new certificate for 20 minutes, and
// the answer to its upload is lost. It is uploaded once, in every mode, also where
// the token service learns of it as late.
func TestL6InvisibleFor20Minutes(t *testing.T) {
	patient := fast()
	patient.Prove = &rotator.ProvePolicy{Successes: 2, Spacing: time.Second, Within: 40 * time.Minute}
	for name, o := range some(t, 1, map[string]options{
		"self": {}, "self unreadable": {permissions: []string{}}, "managed": {mode: rotator.ModeManaged},
		"first certificate": {mode: rotator.ModeManaged, noKey: true},
	}) {
		o.defaults = patient
		for _, spread := range []time.Duration{0, 20 * time.Minute} {
			bubble(t, name+" spread "+spread.String(), o, func(w *world, r *rotator.Rotator) {
				t := w.t
				var known []string
				for _, k := range w.tenant.KeyCredentials(w.apps[0].clientID) {
					known = append(known, k.KeyID)
				}
				r.Entra = blind{r.Entra, known}
				w.tenant.Configure(func(e *emulator.Tenant) { e.ReadLag, e.Propagation = 20*time.Minute, spread })
				time.Sleep(30 * time.Minute)
				var lost atomic.Bool
				w.refuse(func(q emulator.Request) *emulator.Fault {
					if write := isAddKey(q) || q.Method == http.MethodPatch; write && lost.CompareAndSwap(false, true) {
						return &emulator.Fault{LoseAnswer: true}
					}
					return nil
				})
				stop := run(t, r)
				await(t, r, "app-1", 12*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
				stop()
				if n := uploads(w); n != 1 {
					t.Errorf("%d uploads, want 1", n)
				}
				w.checkTenantWith(r)
			})
		}
	}
}

// TestR5KeyIDIsLost: the answer to an upload is lost where no list can be read. That
// is reported at once, with where to read the key ID and what to type; what was
// typed is named when the certificate is left to a person, and never sent (P2).
func TestR5KeyIDIsLost(t *testing.T) {
	bubble(t, "typed", options{permissions: []string{}}, func(w *world, r *rotator.Rotator) {
		t := w.t
		var lost atomic.Bool
		w.refuse(func(q emulator.Request) *emulator.Fault {
			if isAddKey(q) && lost.CompareAndSwap(false, true) {
				return &emulator.Fault{LoseAnswer: true}
			}
			return nil
		})
		stop := run(t, r)
		s := await(t, r, "app-1", time.Hour, "uploaded", func(s rotator.AppStatus) bool {
			return s.Rotation != nil && !s.Rotation.PhaseAt[rotator.PhaseUploaded].IsZero()
		})
		thumbprint := s.Rotation.New.ThumbprintSHA1
		i := slices.IndexFunc(s.App.Alerts, func(a rotator.Alert) bool { return a.Kind == rotator.EventKeyIDUnknown })
		if i < 0 {
			t.Fatalf("no alert at once: %+v", s.App.Alerts)
		}
		for _, part := range []string{thumbprint, w.apps[0].clientID, "Certificate ID", "Certificates & secrets", "rotate app edit app-1 --key-id KEYID"} {
			if !strings.Contains(s.App.Alerts[i].Next, part) || !strings.Contains(strings.Join(s.Warnings, "; "), part) {
				t.Errorf("%q is missing in next %q or the status %q", part, s.App.Alerts[i].Next, s.Warnings)
			}
		}
		id := ""
		for _, k := range w.tenant.KeyCredentials(w.apps[0].clientID) {
			if rotator.ThumbprintOf(k.Certificate) == s.Rotation.New.ThumbprintSHA256 {
				id = k.KeyID
			}
		}
		if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{KeyID: new(rotator.KeyID(id))}, "a person"); err != nil {
			t.Fatal(err)
		}
		s = await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if string(s.App.Current.KeyID) != id || len(s.App.Orphans) != 0 || w.lists(w.apps[0].keyID) {
			t.Errorf("current has key ID %q, want %q; orphans %v; the replaced one is there: %v", s.App.Current.KeyID, id, s.App.Orphans, w.lists(w.apps[0].keyID))
		}
		if slices.ContainsFunc(s.App.Alerts, func(a rotator.Alert) bool { return a.Kind == rotator.EventKeyIDUnknown }) {
			t.Error("the alert is still open")
		}
		rot, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "a person")
		if err != nil {
			t.Fatal(err)
		}
		s = await(t, r, "app-1", 3*time.Hour, "retired again", func(s rotator.AppStatus) bool { return s.Rotation.ID == rot.ID && s.Phase == rotator.PhaseRetired })
		stop()
		if len(s.App.Orphans) != 1 || !strings.Contains(s.App.Orphans[0].Reason, id) || !w.lists(id) {
			t.Errorf("orphans %v; the certificate with the typed key ID is there: %v; want one that names it, and nothing sent", s.App.Orphans, w.lists(id))
		}
		w.checkTenantWith(r)
	})
	untold := options{permissions: []string{}, spec: func(s *rotator.AppSpec) { s.KeyID = "" }}
	bubble(t, "two are missing", untold, func(w *world, r *rotator.Rotator) {
		t := w.t
		var lost atomic.Bool
		w.refuse(func(q emulator.Request) *emulator.Fault {
			if isAddKey(q) && lost.CompareAndSwap(false, true) {
				return &emulator.Fault{LoseAnswer: true}
			}
			return nil
		})
		stop := run(t, r)
		s := await(t, r, "app-1", time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		next := s.Rotation.New
		for _, k := range w.tenant.KeyCredentials(w.apps[0].clientID) {
			if rotator.ThumbprintOf(k.Certificate) != next.ThumbprintSHA256 {
				continue
			}
			plain, named := rotator.KeyID(k.KeyID), rotator.KeyID(next.ThumbprintSHA1+"="+k.KeyID)
			if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{KeyID: &plain}, "a person"); err == nil || !strings.Contains(err.Error(), next.ThumbprintSHA1+"=KEYID") {
				t.Errorf("a key ID that may be that of two: %v, want to be asked which", err)
			}
			app, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{KeyID: &named}, "a person")
			if err != nil || app.Current.KeyID != plain {
				t.Errorf("named: %v, %+v", err, app.Current)
			}
		}
		s = await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		if len(s.App.Orphans) != 1 || s.App.Orphans[0].ThumbprintSHA256 != w.apps[0].first || s.App.Current.KeyID == "" {
			t.Errorf("orphans %v, current %+v", s.App.Orphans, s.App.Current)
		}
	})
}

// TestSecondSigner: the pair in service was removed from the app by somebody, and
// another of ours is still on it. That one signs; the list is not replaced.
func TestSecondSigner(t *testing.T) {
	long := fast()
	long.Overlap = new(48 * time.Hour)
	for name, o := range map[string]options{"self": {defaults: long}, "managed": {mode: rotator.ModeManaged, defaults: long}} {
		bubble(t, name, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			stop := run(t, r)
			s := await(t, r, "app-1", 5*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
			w.outage.Store(true)
			if err := w.tenant.RemoveKeyCredential(w.apps[0].clientID, string(s.App.Current.KeyID)); err != nil {
				t.Fatal(err)
			}
			rot, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current", CutNow: true}, "a person")
			if err != nil {
				t.Fatal(err)
			}
			await(t, r, "app-1", 40*time.Hour, "delivered", func(s rotator.AppStatus) bool {
				return s.Rotation.ID == rot.ID && !s.Rotation.PhaseAt[rotator.PhaseDelivered].IsZero()
			})
			stop()
			for _, e := range w.tenant.Requests() {
				if e.Method == http.MethodPatch {
					t.Errorf("PATCH %s although a pair of ours could sign", e.Path)
				}
			}
		})
	}
}

// TestL16EndedEntries: a PATCH that sends back an entry which has ended is refused for
// its end date. After the tries of a refusal that passes, an alert names the entry
// and the next PATCH leaves it out; nothing else is lost.
func TestL16EndedEntries(t *testing.T) {
	for name, refuses := range map[string]bool{"refused": true, "accepted": false} {
		bubble(t, name, options{mode: rotator.ModeManaged, noKey: true}, func(w *world, r *rotator.Rotator) {
			t := w.t
			der := certificate(t, keys()[2], "ended", time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour))
			id, err := w.tenant.AddKeyCredential(w.apps[0].clientID, emulator.KeyCredential{Certificate: der, DisplayName: "an old one"})
			if err != nil {
				t.Fatal(err)
			}
			w.tenant.Configure(func(e *emulator.Tenant) { e.RefuseEnded = refuses })
			if !refuses {
				w.foreign[w.apps[0].clientID] = w.notOurs(w.apps[0].clientID, nil)
			}
			stop := run(t, r)
			await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			if w.lists(id) == refuses {
				t.Errorf("the entry that has ended is listed: %v", w.lists(id))
			}
			told := strings.Join(w.told(r), "\n")
			if named := strings.Contains(told, "an old one") && strings.Contains(told, id); named != refuses {
				t.Errorf("an alert names it: %v, want %v:\n%s", named, refuses, told)
			}
			w.checkTenantWith(r)
		})
	}
}

// TestL6CreateOnABadDay: reads lag by 20 minutes and the answers to the registration
// and to its certificate are lost. There is one registration with one certificate,
// with and without upsert, and where the tenant refuses key IDs.
func TestL6CreateOnABadDay(t *testing.T) {
	for name, c := range map[string]struct{ plain, refusesKeyID bool }{
		"upsert": {}, "without upsert": {plain: true}, "key IDs refused": {refusesKeyID: true},
	} {
		bubble(t, name, options{}, func(w *world, r *rotator.Rotator) {
			t := w.t
			admin := administrator(t, w)
			w.tenant.Configure(func(e *emulator.Tenant) { e.ReadLag = 20 * time.Minute })
			time.Sleep(30 * time.Minute)
			token := signedIn(t, w, admin)
			var registered, uploaded atomic.Bool
			w.refuse(func(q emulator.Request) *emulator.Fault {
				keys := q.Method == http.MethodPatch && strings.Contains(string(q.Body), "keyCredentials")
				last := string(q.Body[strings.LastIndexByte(string(q.Body), '{')+1:])
				switch {
				case c.plain && q.Method == http.MethodPatch && strings.Contains(q.Path, "uniqueName"):
					return &emulator.Fault{Status: http.StatusNotImplemented, Code: "notSupported", Message: "Not supported."}
				case keys && c.refusesKeyID && strings.Contains(last, `"keyId"`):
					return &emulator.Fault{Status: 400, Code: "Request_BadRequest", Message: "KeyId value must be null."}
				case keys && uploaded.CompareAndSwap(false, true),
					q.Method == http.MethodPost && strings.HasSuffix(q.Path, "/applications") && registered.CompareAndSwap(false, true):
					return &emulator.Fault{LoseAnswer: true}
				}
				return nil
			})
			var out rotator.Created
			var err error
			for range 15 {
				if out, err = r.Create(t.Context(), creation(rotator.ModeManaged, token), "ann"); err == nil {
					break
				}
				time.Sleep(time.Minute)
			}
			if err != nil {
				t.Fatal(err)
			}
			checkCreated(t, w, out)
		})
	}
}

// TestL13WhoWaits: `app test`, the look ahead, `app add` and `app create` try again what
// comes and goes for an app that is young, and what is known to pass.
func TestL13WhoWaits(t *testing.T) {
	notFound := emulator.Fault{AADSTS: 700016, Status: 400, Message: "Application was not found in the directory."}
	forbidden := emulator.Fault{Status: 403, Code: "Authorization_RequestDenied", Message: "Insufficient privileges to complete the operation."}
	endDate := emulator.Fault{Status: 400, Code: "KeyCredentialsInvalidEndDate", Message: "Key credential end date is invalid."}
	reads := func(q emulator.Request) bool {
		return q.Method == http.MethodGet && strings.Contains(q.Path, "/applications")
	}
	patches := func(q emulator.Request) bool {
		return q.Method == http.MethodPatch && strings.Contains(string(q.Body), "keyCredentials")
	}
	for name, c := range map[string]struct {
		mode   rotator.Mode
		refuse emulator.Fault
		on     func(q emulator.Request) bool
		ask    func(w *world, r *rotator.Rotator, name string) error
	}{
		"app test, 700016":   {"", notFound, emulator.Request.IsToken, (*world).tests},
		"app test, 403":      {rotator.ModeManaged, forbidden, reads, (*world).tests},
		"look ahead, 700016": {"", notFound, emulator.Request.IsToken, (*world).looksAhead},
		"look ahead, 403":    {rotator.ModeManaged, forbidden, reads, (*world).looksAhead},
		"app add, 700016":    {"", notFound, emulator.Request.IsToken, (*world).adds},
		"app add, 403":       {rotator.ModeManaged, forbidden, reads, (*world).adds},
		"app create, 403":    {rotator.ModeManaged, forbidden, patches, (*world).creates},
		"app create, end":    {rotator.ModeManaged, endDate, patches, (*world).creates},
	} {
		for most, wants := range map[int32]bool{3: true, 4: false} {
			bubble(t, fmt.Sprintf("%s/%d times", name, most), options{mode: c.mode}, func(w *world, r *rotator.Rotator) {
				var n atomic.Int32
				w.refuse(func(q emulator.Request) *emulator.Fault {
					if c.on(q) && n.Add(1) <= most {
						return &c.refuse
					}
					return nil
				})
				begun := time.Now()
				err := c.ask(w, r, "app-1")
				if (err == nil) != wants || time.Since(begun) > 10*time.Minute {
					w.t.Errorf("%v after %s and %d refusals; want that it works: %v", err, time.Since(begun), n.Load(), wants)
				}
			})
		}
	}
}

// tests fails if a line of the connection test does.
func (w *world) tests(r *rotator.Rotator, name string) error {
	checks, err := r.Test(w.t.Context(), name)
	for _, c := range checks {
		if c.Result == rotator.CheckFailed {
			err = errors.Join(err, errors.New(c.Name+": "+c.Fact))
		}
	}
	return err
}

// looksAhead fails if something stands in the way of the next renewal.
func (w *world) looksAhead(r *rotator.Rotator, name string) error {
	problems, err := r.Preflight(w.t.Context(), name)
	for _, p := range problems {
		err = errors.Join(err, errors.New(p.Message))
	}
	return err
}

func (w *world) adds(r *rotator.Rotator, _ string) error {
	spec := w.register(vendor(), 200*24*time.Hour)
	spec.Name, spec.Mode = "another", w.mode
	_, err := r.Add(w.t.Context(), spec, "a person")
	return err
}

func (w *world) creates(r *rotator.Rotator, _ string) error {
	_, err := r.Create(w.t.Context(), creation(rotator.ModeManaged, signedIn(w.t, w, administrator(w.t, w))), "ann")
	return err
}
