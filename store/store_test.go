package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// place is where a test's store lies.
type place struct{ store.Options }

// newPlace makes a store in a folder of its own.
func newPlace(tb testing.TB) place {
	tb.Helper()
	dir := tb.TempDir()
	p := place{store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "store.key"), Version: "v1.0.0"}}
	if _, err := store.Init(tb.Context(), store.InitOptions{Path: p.Path, IdentityFile: p.IdentityFile, Version: "v1.0.0"}); err != nil {
		tb.Fatal(err)
	}
	return p
}

// open opens it until the test ends or it is closed.
func (p place) open(tb testing.TB) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), p.Options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func newStore(tb testing.TB) *store.Store {
	tb.Helper()
	return newPlace(tb).open(tb)
}

// mustChange makes a change and checks the whole store after it.
func mustChange(tb testing.TB, s *store.Store, app string, change func(*rotator.Records)) {
	tb.Helper()
	err := s.Change(tb.Context(), app, func(r *rotator.Records) error { change(r); return nil })
	if err != nil {
		tb.Fatalf("Change(%q): %v", app, err)
	}
	mustBeSound(tb, s)
}

// mustBeSound checks what has to hold after every transaction.
func mustBeSound(tb testing.TB, s *store.Store) {
	tb.Helper()
	if err := s.Check(tb.Context()); err != nil {
		tb.Fatalf("Check: %v", err)
	}
}

// pairs returns key pairs, made once for all tests.
var pairs = sync.OnceValue(func() []rotator.KeyPair {
	var pairs []rotator.KeyPair
	for i := range 3 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "contoso"},
			NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			panic(err)
		}
		file := make([]byte, 2600)
		_, _ = rand.Read(file)
		pairs = append(pairs, rotator.KeyPair{
			Key: key, Certificate: der, Chain: [][]byte{der[:100], der[100:200]},
			FriendlyName: "tomcat", Password: "correct horse battery staple", Encoded: map[string][]byte{"modern": file, "pem": file[:700]},
		})
	}
	return pairs
})

func credential(tb testing.TB, pair rotator.KeyPair) rotator.Credential {
	tb.Helper()
	c, err := rotator.CredentialOf(pair.Certificate)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func newApp(name string) *rotator.App {
	return &rotator.App{Name: name, Tenant: "contoso", ClientID: rotator.ClientID("c-" + name), Mode: rotator.ModeSelf}
}

// fill sets every field, however deep, to something that is not zero. Maps and
// slices get one element; kinds that a record must not have fail the test.
func fill(tb testing.TB, v reflect.Value, n *int) {
	tb.Helper()
	*n++
	switch v.Kind() { //nolint:exhaustive // others fail the test
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		if v.Type() == reflect.TypeFor[rotator.Phase]() {
			v.SetString(string(rotator.PhaseProven))
			return
		}
		v.SetString(strings.Repeat("x", *n%7+1))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(tb, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(tb, v.Index(0), n)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(tb, key, n)
		fill(tb, value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 1, 0, 0, *n, *n, time.UTC)))
			return
		}
		for _, field := range v.Fields() {
			fill(tb, field, n)
		}
	default:
		tb.Fatalf("a record has a %s", v.Type())
	}
}

func filled[T any](tb testing.TB) T {
	tb.Helper()
	var record T
	n := 0
	fill(tb, reflect.ValueOf(&record).Elem(), &n)
	return record
}

func TestEveryFieldIsKept(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	app := filled[rotator.App](t)
	app.Name = "app-1"
	open, closed := filled[rotator.Rotation](t), filled[rotator.Rotation](t)
	open.ID, open.App, app.Rotation = "r2", "app-1", "r2"
	closed.ID, closed.App, closed.Phase = "r1", "app-1", rotator.PhaseRetired
	state, event, entry := filled[rotator.State](t), filled[rotator.Event](t), filled[rotator.AuditEntry](t)
	tenant := filled[rotator.TenantState](t)
	wakes := []rotator.Wake{{Kind: rotator.WakeContinue, App: "app-1", At: time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)}}

	mustChange(t, s, "app-1", func(r *rotator.Records) {
		if r.App != nil || r.Rotation != nil {
			t.Errorf("an app that is not tracked has records: %+v", r)
		}
		r.App, r.Rotation, r.Closed, *r.State, r.Wakes = &app, &open, &closed, state, slices.Clone(wakes)
		r.Audit, r.Events = []rotator.AuditEntry{entry}, []rotator.Event{event}
		*tenantOf(t, r, "contoso") = tenant
	})
	s.Close()
	s = p.open(t)

	ctx := t.Context()
	equal(t, "App", app)(s.App(ctx, "app-1"))
	equal(t, "AppByClientID", app)(s.AppByClientID(ctx, app.Tenant, rotator.ClientID(strings.ToUpper(string(app.ClientID)))))
	equal(t, "Apps", []rotator.App{app})(s.Apps(ctx, "", 0))
	equal(t, "Rotation", open)(s.Rotation(ctx, "r2"))
	equal(t, "Rotation", closed)(s.Rotation(ctx, "r1"))
	equal(t, "State", state)(s.State(ctx))
	equal(t, "Tenant", tenant)(s.Tenant(ctx, "contoso"))
	equal(t, "Tenants", map[string]rotator.TenantState{"contoso": tenant})(s.Tenants(ctx))
	equal(t, "EventsAfter", []rotator.QueuedEvent{{Number: 1, Event: event}})(s.EventsAfter(ctx, 0, 0))
	equal(t, "Due", wakes)(s.Due(ctx, rotator.WakeContinue, wakes[0].At, 0))
	for got, err := range s.Audit(ctx, "", time.Time{}) {
		equal(t, "Audit", entry)(got, err)
	}
	err := s.Change(ctx, "app-1", func(r *rotator.Records) error {
		equal(t, "Records.App", &app)(r.App, nil)
		equal(t, "Records.Rotation", &open)(r.Rotation, nil)
		equal(t, "Records.State", &state)(r.State, nil)
		equal(t, "Records.Tenant", &tenant)(r.Tenant("contoso"))
		equal(t, "Records.Wakes", wakes)(r.Wakes, nil)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func equal[T any](tb testing.TB, what string, want T) func(T, error) {
	tb.Helper()
	return func(got T, err error) {
		tb.Helper()
		if err != nil {
			tb.Errorf("%s: %v", what, err)
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			tb.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestEveryFieldOfAKeyPairIsKept(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	want := pairs()[0]
	want.Others = map[string]rotator.Files{"app-2": {Password: "another", FriendlyName: "backup", Encoded: map[string][]byte{"modern": {1, 2, 3}}}}
	for i := range reflect.TypeFor[rotator.KeyPair]().NumField() {
		if reflect.ValueOf(want).Field(i).IsZero() {
			t.Fatalf("the test sets no %s", reflect.TypeFor[rotator.KeyPair]().Field(i).Name)
		}
	}
	mustChange(t, s, "app-1", func(r *rotator.Records) { r.Seal = []rotator.KeyPair{want} })
	s.Close()
	s = p.open(t)
	got, err := s.KeyPair(t.Context(), want.Thumbprint())
	if err != nil {
		t.Fatal(err)
	}
	if !got.Key.Equal(want.Key) {
		t.Error("another private key came back")
	}
	got.Key, want.Key = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Error("certificate, chain, password or files differ")
	}
	equal(t, "HasKeyPair", true)(s.HasKeyPair(t.Context(), want.Thumbprint()))
	equal(t, "Certificate", want.Certificate)(s.Certificate(t.Context(), want.Thumbprint()))
}

// TestSealedTwice seals one pair for two apps, with files of their own: each has its own,
// and the second changes nothing of the first (P4).
func TestSealedTwice(t *testing.T) {
	s := newStore(t)
	first := pairs()[0]
	second := first
	second.Password, second.Encoded = "of the second", map[string][]byte{"modern": {2}}
	mustChange(t, s, "app-1", func(r *rotator.Records) { r.Seal = []rotator.KeyPair{first} })
	for range 2 { // also when it is done again
		mustChange(t, s, "app-2", func(r *rotator.Records) { r.Seal = []rotator.KeyPair{second} })
	}
	got, err := s.KeyPair(t.Context(), first.Thumbprint())
	if err != nil {
		t.Fatal(err)
	}
	for app, want := range map[string]rotator.KeyPair{"app-1": first, "app-2": second} {
		if of := got.Of(app); of.Password != want.Password || !reflect.DeepEqual(of.Encoded, want.Encoded) {
			t.Errorf("%s has another password or file", app)
		}
	}
}

func TestNotFound(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	var errs [6]error
	_, errs[0] = s.App(ctx, "app-1")
	_, errs[1] = s.AppByClientID(ctx, "contoso", "c-1")
	_, errs[2] = s.Rotation(ctx, "r1")
	_, errs[3] = s.KeyPair(ctx, "ab")
	_, errs[4] = s.Certificate(ctx, "ab")
	_, errs[5] = s.App(ctx, "")
	for i, err := range errs {
		if !errors.Is(err, rotator.ErrNotFound) {
			t.Errorf("%d: %v, want ErrNotFound", i, err)
		}
	}
	equal(t, "HasKeyPair", false)(s.HasKeyPair(ctx, "ab"))
	equal(t, "CountApps", 0)(s.CountApps(ctx))
	equal(t, "Apps", []rotator.App(nil))(s.Apps(ctx, "", 0))
	if _, ok, err := s.NextDue(ctx, rotator.WakeStart); ok || err != nil {
		t.Errorf("NextDue = %v, %v", ok, err)
	}
}

func TestAppsArePaged(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	for _, name := range []string{"c", "a", "b.1", "b"} {
		mustChange(t, s, name, func(r *rotator.Records) { r.App = newApp(name) })
	}
	names := func(after string, limit int) []string {
		apps, err := s.Apps(ctx, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, app := range apps {
			names = append(names, app.Name)
		}
		return names
	}
	for _, test := range []struct {
		after string
		limit int
		want  []string
	}{
		{"", 0, []string{"a", "b", "b.1", "c"}},
		{"", 2, []string{"a", "b"}},
		{"b", 2, []string{"b.1", "c"}},
		{"bb", 9, []string{"c"}},
		{"c", 0, nil},
	} {
		if got := names(test.after, test.limit); !slices.Equal(got, test.want) {
			t.Errorf("Apps(%q, %d) = %v, want %v", test.after, test.limit, got, test.want)
		}
	}
	equal(t, "CountApps", 4)(s.CountApps(ctx))
	mustChange(t, s, "b", func(r *rotator.Records) { r.App = nil })
	equal(t, "CountApps", 3)(s.CountApps(ctx))
}

func TestContextIsCancelledBeforeTheTransaction(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Change(ctx, "app-1", func(r *rotator.Records) error {
		cancel() // from here on it is finished
		r.App = newApp("app-1")
		return nil
	})
	if err != nil {
		t.Errorf("cancelled in change: %v, want it finished", err)
	}
	err = s.Change(ctx, "app-1", func(*rotator.Records) error {
		t.Error("change was called")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	if _, err := s.App(ctx, "app-1"); !errors.Is(err, context.Canceled) {
		t.Errorf("App: %v", err)
	}
}

func TestClosed(t *testing.T) {
	s := newStore(t)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Errorf("Close twice: %v", err)
	}
	if _, err := s.CountApps(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("CountApps: %v, want ErrClosed", err)
	}
	err := s.Change(t.Context(), "", func(*rotator.Records) error { return nil })
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("Change: %v, want ErrClosed", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	var workers sync.WaitGroup
	for i := range 8 {
		name := string(rune('a' + i))
		workers.Go(func() {
			for n := range 20 {
				err := s.Change(ctx, name, func(r *rotator.Records) error {
					if r.App == nil {
						r.App = newApp(name)
					}
					if len(r.App.Tags) != n {
						t.Errorf("%s: %d changes seen, want %d", name, len(r.App.Tags), n)
					}
					r.App.Tags = append(r.App.Tags, "x")
					r.State.FixStreak = append(r.State.FixStreak, name)
					r.Wakes = []rotator.Wake{{Kind: rotator.WakeStart, App: name, At: time.Unix(int64(n), 0)}}
					r.Audit = []rotator.AuditEntry{{What: "changed", App: name}}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if _, err := s.Due(ctx, rotator.WakeStart, time.Now(), 0); err != nil {
					t.Error(err)
				}
				if n%5 == 0 {
					if err := s.Check(ctx); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	workers.Wait()
	state, err := s.State(ctx)
	if err != nil || len(state.FixStreak) != 160 {
		t.Errorf("%d changes of the state kept, want 160 (%v)", len(state.FixStreak), err)
	}
	equal(t, "VerifyAudit", 160)(s.VerifyAudit(ctx))
	mustBeSound(t, s)
}

func TestNothingIsStoredInClear(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	pair := pairs()[0]
	seal := func(r *rotator.Records) { r.App, r.Seal = newApp("app-1"), []rotator.KeyPair{pair} }
	mustChange(t, s, "app-1", seal)
	noSecrets(t, p, pair)
	mustChange(t, s, "app-1", func(r *rotator.Records) { r.Forget = []rotator.Thumbprint{pair.Thumbprint()} })
	equal(t, "HasKeyPair", false)(s.HasKeyPair(t.Context(), pair.Thumbprint()))
	noSecrets(t, p, pair)
}

// noSecrets looks for the pair's secrets in all files beside the store.
func noSecrets(t *testing.T, p place, pair rotator.KeyPair) {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{
		"PKCS#8": pkcs8[40:], "PKCS#1": x509.MarshalPKCS1PrivateKey(pair.Key)[300:], "exponent": pair.Key.D.Bytes(),
		"first prime": pair.Key.Primes[0].Bytes(), "second prime": pair.Key.Primes[1].Bytes(),
		"password": []byte(pair.Password), "file": pair.Encoded["modern"][:64],
	}
	files, err := os.ReadDir(filepath.Dir(p.Path))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(p.Path), file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if file.Name() == "rotate.db" && !bytes.Contains(data, pair.Certificate) {
			t.Error("the search finds not even the certificate")
		}
		for what, secret := range secrets {
			for form, text := range forms(secret) {
				if bytes.Contains(data, text) {
					t.Errorf("%s holds the %s as %s", file.Name(), what, form)
				}
			}
		}
	}
}
