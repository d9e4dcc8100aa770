package main_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// adopted is an app of a tenant that the program tracks, with what was true
// before it did.
type adopted struct {
	// name in the store, and mode: self or managed.
	name, mode string
	tenant     *tenantServer
	seed       readyApp
	// path of the delivered PFX; its password lies in path.password.
	path string
	// blind tells that nobody reads the app's list, so that a KeyID which an answer
	// told that was lost is not known: only the one that was asked for.
	blind bool
	// orphans tells that certificates may be left to a person, because nobody can
	// tell their KeyID.
	orphans bool
	// before is what Graph showed before anything happened.
	before listing
	// off, if set, is held for writing while the host of the consumer has no power.
	off *sync.RWMutex

	mu   sync.Mutex
	held map[string]keyPair // all pairs that the consumer ever held, by thumbprint
}

// newAdopted looks at an app of the tenant before the program does, and makes the
// folder of its consumer.
func newAdopted(t *testing.T, m *machine, s *tenantServer, name, mode string, seed readyApp) *adopted {
	t.Helper()
	a := &adopted{
		name: name, mode: mode, tenant: s, seed: seed,
		path: filepath.Join(m.folder(t, "consumer-"+name), "app.pfx"), held: map[string]keyPair{},
	}
	a.hold(must1(readPFX(seed.PFXFile, seed.PasswordFile))(t))
	a.before = must1(s.list(t.Context(), seed.ObjectID))(t)
	return a
}

// must1 fails the test for an error.
func must1[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// add is the command line that tracks the app. What the app may not read about
// itself is told.
func (a *adopted) add(more ...string) []string {
	args := []string{
		"app", "add", a.name, "--tenant", a.tenant.name, "--client-id", a.seed.ClientID, "--mode", a.mode,
		"--object-id", a.seed.ObjectID, "--key-id", a.seed.KeyID,
		"--pfx", a.seed.PFXFile, "--password-file", a.seed.PasswordFile, "--deliver-file", a.path,
	}
	return append(args, more...)
}

// prefill puts the consumer's present files where the new ones will go.
func (a *adopted) prefill(t *testing.T) {
	t.Helper()
	for from, to := range map[string]string{a.seed.PFXFile: a.path, a.seed.PasswordFile: a.path + ".password"} {
		if err := os.WriteFile(to, must1(os.ReadFile(from))(t), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// hold notes a pair that the consumer holds.
func (a *adopted) hold(p keyPair) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held[p.thumbprint()] = p
}

// pairs are all that the consumer ever held.
func (a *adopted) pairs() []keyPair {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []keyPair
	for _, p := range a.held {
		all = append(all, p)
	}
	return all
}

// appStatus is what "status -o json" says about an app, as far as tests read it.
type appStatus struct {
	Name             string   `json:"name"`
	Mode             string   `json:"mode"`
	Phase            *string  `json:"phase"`
	Open             bool     `json:"open"`
	KeyID            *string  `json:"key_id"`
	ThumbprintSHA256 *string  `json:"thumbprint_sha256"`
	Orphans          []string `json:"orphans"`
	LastError        *string  `json:"last_error"`
	WaitingFor       *string  `json:"waiting_for"`
	RetryAt          *string  `json:"retry_at"`
	ConfirmCode      string   `json:"confirm_code"`
}

type statusAnswer struct {
	Apps []appStatus `json:"apps"`
}

// status asks with the command.
func (m *machine) status(t *testing.T) map[string]appStatus {
	t.Helper()
	stdout, _ := m.must(t, 0, "status", "-o", "json")
	all := map[string]appStatus{}
	for _, a := range decodeJSON[statusAnswer](t, stdout).Apps {
		all[a.Name] = a
	}
	return all
}

// checkWorld checks the promises of the program about apps whose rotations have
// ended. It is the one place for them; every test of a whole rotation ends here.
func checkWorld(t *testing.T, m *machine, apps ...*adopted) {
	t.Helper()
	status := m.status(t)
	for _, a := range apps {
		s, ok := status[a.name]
		if !ok {
			t.Errorf("app %s: not in the status", a.name)
			continue
		}
		a.checkStatus(t, s)
		p, err := readPFX(a.path, a.path+".password")
		if err != nil {
			t.Errorf("app %s: the delivered PFX does not open: %v", a.name, err)
			continue
		}
		a.hold(p)
		a.checkGraph(t, s, p)
		a.checkTokens(t, s, p)
		a.checkDisk(t, p)
	}
}

func (a *adopted) checkStatus(t *testing.T, s appStatus) {
	t.Helper()
	if s.Open || s.Phase == nil || *s.Phase != "retired" || s.LastError != nil || s.WaitingFor != nil || s.RetryAt != nil || s.Mode != a.mode {
		t.Errorf("app %s: status %s, want it retired and at rest in mode %s", a.name, jsonText(s), a.mode)
	}
	if len(s.Orphans) > 0 && !a.orphans {
		t.Errorf("app %s: orphans %v, and every KeyID could be told", a.name, s.Orphans)
	}
}

// checkGraph looks at the app's credentials: what is foreign is as it was, and one
// certificate of ours is there, besides orphans that the status lists.
func (a *adopted) checkGraph(t *testing.T, s appStatus, p keyPair) {
	t.Helper()
	now, err := a.tenant.list(t.Context(), a.seed.ObjectID)
	if err != nil {
		t.Errorf("app %s: %v", a.name, err)
		return
	}
	if len(a.before.Keys) != 2 || len(a.before.Secrets) != 1 {
		t.Fatalf("app %s: it began with %s", a.name, jsonText(a.before))
	}
	isSeed := func(entry map[string]any) bool { return entry["keyId"] == a.seed.KeyID }
	foreign := slices.DeleteFunc(slices.Clone(a.before.Keys), isSeed)
	var ours []map[string]any
	var kept []map[string]any
	for _, entry := range now.Keys {
		if slices.ContainsFunc(foreign, func(f map[string]any) bool { return f["keyId"] == entry["keyId"] }) {
			kept = append(kept, entry)
		} else {
			ours = append(ours, entry)
		}
	}
	if diff := cmp.Diff(foreign, kept); diff != "" {
		t.Errorf("app %s: the foreign certificate changed (-before +after):\n%s", a.name, diff)
	}
	if diff := cmp.Diff(a.before.Secrets, now.Secrets); diff != "" {
		t.Errorf("app %s: the foreign secret changed (-before +after):\n%s", a.name, diff)
	}
	want := append([]string{p.thumbprint()}, s.Orphans...)
	var got []string
	for _, entry := range ours {
		got = append(got, entryThumbprint(entry))
		if entryThumbprint(entry) == p.thumbprint() && s.KeyID != nil && *s.KeyID != entry["keyId"] {
			t.Errorf("app %s: its KeyID is %v, the status says %s", a.name, entry["keyId"], *s.KeyID)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("app %s: certificates of ours in Graph, with %d orphans (-want +got):\n%s", a.name, len(s.Orphans), diff)
	}
	if s.ThumbprintSHA256 == nil || *s.ThumbprintSHA256 != p.thumbprint() {
		t.Errorf("app %s: the consumer holds %s, the status says %s", a.name, p.thumbprint(), jsonText(s.ThumbprintSHA256))
	}
	if s.KeyID == nil && !a.blind {
		t.Errorf("app %s: the status knows no KeyID", a.name)
	}
	for _, e := range a.tenant.writes(t, a.seed) {
		if !strings.HasSuffix(e.Path, "/addKey") && !strings.HasSuffix(e.Path, "/removeKey") {
			t.Errorf("app %s: %s %s, although a valid key could sign a proof", a.name, e.Method, e.Path)
		}
	}
}

// replicas of the tenant answer in turn; asking twice as often reaches each.
const replicas = 3

// checkTokens signs in with every pair that the consumer ever held: only the last
// one is accepted, and orphans.
func (a *adopted) checkTokens(t *testing.T, s appStatus, last keyPair) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	for range 2 * replicas {
		if err := a.tenant.signIn(ctx, a.seed.ClientID, last); err != nil {
			t.Errorf("app %s: the delivered PFX gets no token: %v", a.name, err)
			break
		}
	}
	replaced := slices.DeleteFunc(a.pairs(), func(p keyPair) bool {
		return p.thumbprint() == last.thumbprint() || slices.Contains(s.Orphans, p.thumbprint())
	})
	for _, p := range replaced {
		for range max(1, 2*replicas/len(replaced)) { // of many, each need not ask each replica
			err := a.tenant.signIn(ctx, a.seed.ClientID, p)
			if refused, ok := err.(*refusal); !ok || refused.number != notRegistered { //nolint:errorlint // signIn returns it as it is
				t.Errorf("app %s: a replaced pair (%s) signs in: %v, want AADSTS%d", a.name, p.thumbprint(), err, notRegistered)
				break
			}
		}
	}
}

// checkDisk looks at the consumer's folder: the two files and nothing else.
func (a *adopted) checkDisk(t *testing.T, p keyPair) {
	t.Helper()
	noLeftovers(t, filepath.Dir(a.path))
	var names []string
	for _, e := range must1(os.ReadDir(filepath.Dir(a.path)))(t) {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"app.pfx", "app.pfx.password"}, names); diff != "" {
		t.Errorf("app %s: the consumer's folder (-want +got):\n%s", a.name, diff)
	}
	if seed := must1(os.ReadFile(a.seed.PasswordFile))(t); p.password != string(seed) {
		t.Errorf("app %s: the password is no longer the adopted one", a.name)
	}
	for _, path := range []string{a.path, a.path + ".password"} {
		if mode := must1(os.Stat(path))(t).Mode(); mode.Perm() != 0o600 {
			t.Errorf("%s: mode %s, want 0600", path, mode)
		}
	}
}

// atRest reports an app whose rotation is open.
func (m *machine) atRest(t *testing.T) error {
	t.Helper()
	for _, s := range m.status(t) {
		if s.Open || s.Phase == nil {
			return fmt.Errorf("not at rest: %s", jsonText(s))
		}
	}
	return nil
}
