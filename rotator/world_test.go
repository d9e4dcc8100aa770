package rotator_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

const (
	tenantID = "11111111-2222-3333-4444-555555555555"
	password = "the password of the consumer"
)

// keys are made once: they take longer than anything else in these tests.
var keys = sync.OnceValue(func() []*rsa.PrivateKey {
	made := make([]*rsa.PrivateKey, 3)
	for i := range made {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		made[i] = key
	}
	return made
})

// encoder is package pfx as the rotator sees it.
type encoder struct{}

func (encoder) Encode(encoding string, key *rsa.PrivateKey, der []byte, chain [][]byte, password, name string) ([]byte, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	var more []*x509.Certificate
	for _, c := range chain {
		parsed, err := x509.ParseCertificate(c)
		if err != nil {
			return nil, err
		}
		more = append(more, parsed)
	}
	return pfx.EncodeNamed(pfx.Encoding(encoding), key, certificate, more, password, name)
}

func (encoder) Decode(data []byte, password string) (rotator.KeyPair, error) {
	p, err := pfx.Decode(data, password)
	if errors.Is(err, pfx.ErrMismatch) {
		err = errors.Join(err, rotator.ErrMismatch)
	}
	if errors.Is(err, pfx.ErrWrongPassword) {
		err = errors.Join(err, rotator.ErrWrongPassword)
	}
	if err != nil {
		return rotator.KeyPair{}, err
	}
	pair := rotator.KeyPair{Key: p.Key, Certificate: p.Certificate.Raw, FriendlyName: p.FriendlyName}
	for _, c := range p.Chain {
		pair.Chain = append(pair.Chain, c.Raw)
	}
	return pair, nil
}

func (encoder) NewPassword() (string, error) { return pfx.NewPassword() }

// world is a tenant with apps, and a host with a store that tracks them.
type world struct {
	t      *testing.T
	dir    string
	tenant *emulator.Tenant
	admin  emulator.Application
	secret string
	apps   []*tracked
	// foreign is what every app carries that is not ours, by client ID.
	foreign map[string][]string

	mode     rotator.Mode
	schedule rotator.Schedule
	defaults rotator.PolicyOverride
	hooks    map[string]deliver.Hook
	logs     *logs
	// wrap, if set, stands between the rotator and what it needs.
	wrap func(*rotator.Rotator)
	// outage says that a person accepted one.
	outage atomic.Bool
	// broken collects breaches of the promises seen between requests.
	broken []string
	// opened remembers the certificates in files that were opened already.
	opened map[string][]byte
	mu     sync.Mutex
	// heard is the number of the last event that told returned.
	heard uint64
}

// tracked is one app and its consumer.
type tracked struct {
	name     string
	clientID string
	objectID string
	keyID    string
	target   string // the consumer's PFX
	pfx      []byte
	first    rotator.Thumbprint
}

// logs collects everything that is logged, for the leak test.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// after is what follows the text where it is last in the log; empty: it is not.
func (l *logs) after(text string) string {
	all := l.String()
	i := strings.LastIndex(all, text)
	if i < 0 {
		return ""
	}
	return all[i+len(text):]
}

// tail is the end of the log, for failures.
func (l *logs) tail() string {
	text := l.String()
	return text[max(0, len(text)-6000):]
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// options of a world; the zero value is one app in self mode that may read.
type options struct {
	apps        int
	mode        rotator.Mode
	permissions []string // nil: those of the vendor; empty: none
	left        time.Duration
	noKey       bool // managed: the app has no certificate of ours
	// typed has a person type the KeyID of somebody else's certificate; else that of the
	// first one is as if the answer of an earlier rotation had named it.
	typed    bool
	spec     func(*rotator.AppSpec)
	defaults rotator.PolicyOverride
	// evidence asks the sign-in log before a certificate is removed.
	evidence bool
	hooks    map[string]deliver.Hook
}

func vendor() []string {
	return []string{"Mail.Read", "User.Read.All", "Directory.Read.All", "MailboxSettings.Read"}
}

// fast is a policy whose waits are short, so that bubbles turn few times.
func fast() rotator.PolicyOverride {
	return rotator.PolicyOverride{
		Prove:        &rotator.ProvePolicy{Successes: 2, Spacing: time.Second, Within: 10 * time.Minute},
		ReloadWithin: new(time.Minute), Overlap: new(time.Hour),
		UploadLimit: &rotator.UploadLimit{PerHour: 2, PerDay: 4},
	}
}

// certificate makes a self-signed certificate for one of the prepared keys.
func certificate(t *testing.T, key *rsa.PrivateKey, name string, notBefore, notAfter time.Time) []byte {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: notBefore.UTC().Truncate(time.Second), NotAfter: notAfter.UTC().Truncate(time.Second),
		SignatureAlgorithm: x509.SHA256WithRSA,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// newWorld makes the tenant and the host, and adopts the apps.
func newWorld(t *testing.T, o options) *world {
	t.Helper()
	if o.apps == 0 {
		o.apps = 1
	}
	if o.mode == "" {
		o.mode = rotator.ModeSelf
	}
	if o.permissions == nil {
		o.permissions = vendor()
	}
	if o.left == 0 {
		o.left = 20 * 24 * time.Hour
	}
	w := &world{
		t: t, dir: t.TempDir(), mode: o.mode, logs: &logs{}, foreign: map[string][]string{},
		schedule: every(time.Hour), hooks: map[string]deliver.Hook{}, opened: map[string][]byte{}, secret: "the admin's secret",
		tenant: &emulator.Tenant{ID: tenantID, KeyReadsPerMinute: -1, SigningKey: keys()[2]},
	}
	if o.hooks != nil {
		w.hooks = o.hooks
	}
	w.defaults = o.defaults
	if w.defaults.Prove == nil {
		w.defaults = fast()
	}
	w.tenant.Unknown = func(r emulator.Request) { t.Errorf("unknown request: %s %s", r.Method, r.Path) }
	var err error
	w.admin, err = w.tenant.AddApplication(emulator.Application{
		Name: "admin", Permissions: []string{"Application.ReadWrite.OwnedBy", "Policy.Read.All"},
		Secrets: []emulator.Secret{{DisplayName: "admin", Text: w.secret}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if o.evidence {
		if err := w.tenant.Grant(w.admin.ClientID, "AuditLog.Read.All"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = store.Init(t.Context(), store.InitOptions{Path: w.path(), IdentityFile: filepath.Join(w.dir, "store.key")})
	if err != nil {
		t.Fatal(err)
	}
	r, closeStore := w.rotator()
	for i := range o.apps {
		w.adopt(r, fmt.Sprintf("app-%d", i+1), o)
	}
	closeStore()
	w.tenant.Intercept = w.watch
	return w
}

func (w *world) path() string { return filepath.Join(w.dir, "rotate.db") }

// adopt registers an app in the tenant, gives its consumer a PFX, and tracks it.
func (w *world) adopt(r *rotator.Rotator, name string, o options) {
	w.t.Helper()
	now := time.Now()
	app := emulator.Application{Name: name, Permissions: o.permissions, Owners: []string{w.admin.ClientID}, Created: now.Add(-time.Hour)}
	der := certificate(w.t, keys()[0], name, now.Add(-300*24*time.Hour), now.Add(o.left))
	foreign := certificate(w.t, keys()[1], "somebody else", now.Add(-time.Hour), now.Add(1000*24*time.Hour))
	app.KeyCredentials = []emulator.KeyCredential{{Certificate: foreign, DisplayName: "somebody else's"}}
	if !o.noKey {
		app.KeyCredentials = append(app.KeyCredentials, emulator.KeyCredential{Certificate: der, DisplayName: "made by hand"})
	}
	app.Secrets = []emulator.Secret{{DisplayName: "somebody else's"}}
	made, err := w.tenant.AddApplication(app)
	if err != nil {
		w.t.Fatal(err)
	}
	one := &tracked{name: name, clientID: made.ClientID, objectID: made.ObjectID, target: filepath.Join(w.dir, name+".pfx")}
	spec := rotator.AppSpec{
		Name: name, Tenant: "contoso", ClientID: rotator.ClientID(made.ClientID), ObjectID: rotator.ObjectID(made.ObjectID),
		Mode: o.mode, Deliveries: []rotator.Delivery{{Kind: rotator.DeliverFile, Path: one.target}},
	}
	if !o.noKey {
		one.keyID = made.KeyCredentials[1].KeyID
		one.first = rotator.ThumbprintOf(der)
		if one.pfx, err = (encoder{}).Encode("modern", keys()[0], der, nil, password, ""); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(one.target, one.pfx, 0o600); err != nil {
			w.t.Fatal(err)
		}
		spec.PFX, spec.Password, spec.KeyID = one.pfx, password, rotator.KeyID(one.keyID)
	}
	if o.typed {
		spec.KeyID = rotator.KeyID(made.KeyCredentials[0].KeyID)
	}
	spec.Evidence = o.evidence
	if o.spec != nil {
		o.spec(&spec)
	}
	w.foreign[one.clientID] = w.notOurs(one.clientID, der)
	if _, err := r.Add(w.t.Context(), spec, "test"); err != nil {
		w.t.Fatalf("add %s: %v", name, err)
	}
	if !o.typed && !o.noKey {
		err := r.Store.Change(w.t.Context(), name, func(rec *rotator.Records) error {
			rec.App.Current.KeyIDByHand = false
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	w.apps = append(w.apps, one)
}

// notOurs describes everything on the app but the given certificate.
func (w *world) notOurs(clientID string, ours []byte) []string {
	app, err := w.tenant.Application(clientID)
	if err != nil {
		w.t.Fatal(err)
	}
	var list []string
	for _, k := range app.KeyCredentials {
		if !slices.Equal(k.Certificate, ours) {
			list = append(list, fmt.Sprintf("key %s %q %x %s %s", k.KeyID, k.DisplayName, k.Certificate, k.Start, k.End))
		}
	}
	for _, s := range app.Secrets {
		list = append(list, fmt.Sprintf("secret %s %q %s", s.KeyID, s.DisplayName, s.Text))
	}
	return list
}

// rotator opens the host's store and wires a rotator as the daemon does.
func (w *world) rotator() (*rotator.Rotator, func()) {
	w.t.Helper()
	logger := slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db, err := store.Open(w.t.Context(), store.Options{Path: w.path(), IdentityFile: filepath.Join(w.dir, "store.key"), Logger: logger, NoSync: true})
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := graph.New(graph.Config{Logger: logger, Tenants: []graph.Tenant{{
		Name: "contoso", ID: tenantID,
		Cloud: graph.Cloud{Login: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com", Transport: w.tenant.Transport()},
		Identity: graph.Identity{ClientSecret: &graph.ClientSecret{
			ClientID: rotator.ClientID(w.admin.ClientID),
			Secret:   func() (string, error) { return w.secret, nil },
		}},
	}}})
	if err != nil {
		w.t.Fatal(err)
	}
	r := &rotator.Rotator{
		Store: db, Entra: client, Registrar: client, Observed: client, Encoder: encoder{}, Schedule: w.schedule, Defaults: w.defaults, Logger: logger,
		Deliverer:     &deliver.Deliverer{Encoder: encoder{}, Hooks: w.hooks, RuntimeDir: filepath.Join(w.dir, "run"), Logger: logger},
		ParseSchedule: parseSchedule, GenerateKey: prepared,
	}
	if w.wrap != nil {
		w.wrap(r)
	}
	return r, func() {
		if err := errors.Join(client.Close(), db.Close()); err != nil {
			w.t.Error(err)
		}
	}
}

// prepared is a key that was made already, where a test is not about keys: the
// certificates differ all the same.
func prepared(int) (*rsa.PrivateKey, error) { return keys()[2], nil }

func parseSchedule(expression, zone string) (rotator.Schedule, error) {
	if zone == "" {
		zone = "UTC"
	}
	return cron.ParseStandard("CRON_TZ=" + zone + " " + expression)
}

type every time.Duration

func (e every) Next(t time.Time) time.Time { return t.Add(time.Duration(e)) }

// watch looks at the promises before every request: at every moment each
// consumer holds a key that Entra accepts.
func (w *world) watch(emulator.Request) *emulator.Fault {
	for _, one := range w.apps {
		if why := w.lockedOut(one); why != "" && !w.outage.Load() {
			w.mu.Lock()
			w.broken = append(w.broken, why)
			w.mu.Unlock()
		}
	}
	return nil
}

// lockedOut tells why the app's consumer could not sign in; empty: it could.
func (w *world) lockedOut(one *tracked) string {
	if one.first == "" {
		return "" // it had no certificate when we began
	}
	file, err := os.ReadFile(one.target)
	if err != nil {
		return fmt.Sprintf("%s: the consumer's file: %v", one.name, err)
	}
	w.mu.Lock()
	held, known := w.opened[string(file)]
	w.mu.Unlock()
	if !known {
		pair, err := encoder{}.Decode(file, password)
		if err != nil {
			return fmt.Sprintf("%s: the consumer's file does not open: %v", one.name, err)
		}
		held = pair.Certificate
		w.mu.Lock()
		w.opened[string(file)] = held
		w.mu.Unlock()
	}
	for _, k := range w.tenant.KeyCredentials(one.clientID) {
		if slices.Equal(k.Certificate, held) {
			return ""
		}
	}
	return fmt.Sprintf("%s: Entra no longer accepts the certificate %s that the consumer holds", one.name, rotator.ThumbprintOf(held))
}

// checkTenant checks the promises of the program at the end of a rotation: the
// consumer is not locked out and never was, nothing foreign was touched, no key
// is lost, there is no litter, no secret leaked.
func (w *world) checkTenant() {
	w.t.Helper()
	w.mu.Lock()
	for _, b := range w.broken {
		w.t.Errorf("promise 1 broken on the way: %s", b)
	}
	w.mu.Unlock()
	saved := w.wrap
	w.wrap = nil
	r, closeStore := w.rotator()
	w.wrap = saved
	defer closeStore()
	w.settleRemovals(r)
	w.checkIndex(r)
	for _, one := range w.apps {
		app, err := r.Store.App(w.t.Context(), one.name)
		if err != nil {
			w.t.Fatal(err)
		}
		if why := w.lockedOut(one); why != "" && !w.outage.Load() {
			w.t.Errorf("promise 1: %s", why)
		}
		var ours []string
		foreign := map[string]bool{}
		for _, f := range w.foreign[one.clientID] {
			foreign[f] = true
		}
		for _, k := range w.tenant.KeyCredentials(one.clientID) {
			if f := fmt.Sprintf("key %s %q %x %s %s", k.KeyID, k.DisplayName, k.Certificate, k.Start, k.End); foreign[f] {
				delete(foreign, f)
				continue
			}
			thumbprint := rotator.ThumbprintOf(k.Certificate)
			orphan := slices.ContainsFunc(app.Orphans, func(o rotator.Orphan) bool { return o.ThumbprintSHA256 == thumbprint })
			if !orphan {
				ours = append(ours, string(thumbprint))
			}
			if held, err := r.Store.HasKeyPair(w.t.Context(), thumbprint); err != nil || !held && !orphan {
				w.t.Errorf("promise 3: %s: the key of %s on the app is not held: %v", one.name, thumbprint, err)
			}
		}
		for _, s := range w.secrets(one.clientID) {
			delete(foreign, s)
		}
		for f := range foreign {
			w.t.Errorf("promise 2: %s: a foreign credential is gone or changed: %.60s", one.name, f)
		}
		if len(ours) != 1 || app.Current == nil || ours[0] != string(app.Current.ThumbprintSHA256) {
			w.t.Errorf("promise 4: %s: on the app are %d certificates of ours %v, want one: the current %+v", one.name, len(ours), ours, app.Current)
		}
	}
	w.checkLeaks()
}

// settleRemovals lets the checks of removals run to their ends, and nothing else.
func (w *world) settleRemovals(r *rotator.Rotator) {
	w.t.Helper()
	schedule := r.Schedule
	r.Schedule = nil
	stop := func() {}
	for _, one := range w.apps {
		app, err := r.Store.App(w.t.Context(), one.name)
		if err != nil || len(app.Pending()) == 0 {
			continue
		}
		stop()
		r.CheckRemovalsOf(one.name)
		stop = run(w.t, r)
		settled := func(s rotator.AppStatus) bool { return len(s.App.Pending()) == 0 }
		await(w.t, r, one.name, 30*24*time.Hour, "settled", settled)
	}
	stop()
	r.Schedule = schedule
}

func (w *world) secrets(clientID string) []string {
	var list []string
	for _, s := range w.notOurs(clientID, nil) {
		if strings.HasPrefix(s, "secret ") {
			list = append(list, s)
		}
	}
	return list
}

// checkLeaks greps logs and the database file for secrets.
func (w *world) checkLeaks() {
	w.t.Helper()
	db, err := os.ReadFile(w.path())
	if err != nil {
		w.t.Fatal(err)
	}
	places := map[string]string{"log": w.logs.String(), "database": string(db)}
	needles := map[string]string{"PFX password": password, "admin's secret": w.secret, "token": "eyJ0eX", "private key": "PRIVATE KEY"}
	for _, one := range w.apps {
		file, err := os.ReadFile(one.target)
		if err != nil {
			continue
		}
		if pair, err := (encoder{}).Decode(file, password); err == nil {
			needles["key of "+one.name] = string(x509.MarshalPKCS1PrivateKey(pair.Key))
			needles["prime of "+one.name] = string(pair.Key.Primes[0].Bytes())
			needles["hex prime of "+one.name] = hex.EncodeToString(pair.Key.Primes[0].Bytes())
		}
	}
	for place, text := range places {
		for what, needle := range needles {
			if strings.Contains(text, needle) {
				w.t.Errorf("promise 5: the %s holds the %s", place, what)
			}
		}
	}
}

// run starts the rotator's loop and returns a function that stops it.
func run(t *testing.T, r *rotator.Rotator) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, errCrash) {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// await waits until the app's newest rotation satisfies the condition. Inside a bubble
// time flies, and a look costs more than everything that happens meanwhile: it looks
// five seconds after a record changed and, for what changes by time alone, every minute,
// later less often; never at the very instant of something else that waits.
func await(t *testing.T, r *rotator.Rotator, app string, limit time.Duration, what string, ok func(rotator.AppStatus) bool) rotator.AppStatus {
	t.Helper()
	var last rotator.AppStatus
	const aside = time.Millisecond
	for begun := time.Now(); time.Since(begun) < limit; {
		changed := r.Changed()
		s, err := r.Status(t.Context(), app)
		if err != nil {
			t.Fatal(err)
		}
		if last = s.Apps[0]; ok(last) {
			return last
		}
		pause := min(time.Minute, limit/10)
		if waited := time.Since(begun); waited > time.Hour {
			pause = 5 * time.Minute
		}
		select {
		case <-changed:
			time.Sleep(5*time.Second + aside)
		case <-time.After(pause + aside):
		}
	}
	trouble := ""
	if last.Trouble != nil {
		trouble = last.Trouble.Message
	}
	t.Fatalf("%s: not %s after %s: phase %q, waiting for %q until %s, trouble %q, hold %q", app, what, limit, last.Phase, last.WaitingFor, last.WaitingUntil, trouble, last.App.Hold)
	return last
}

func phaseIs(p rotator.Phase) func(rotator.AppStatus) bool {
	return func(s rotator.AppStatus) bool { return s.Phase == p }
}
