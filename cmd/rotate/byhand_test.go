package main_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// nowAnswer is one element of "now -o json".
type nowAnswer struct {
	App        string             `json:"app"`
	RotationID *string            `json:"rotation_id"`
	Phase      *string            `json:"phase"`
	Mode       *string            `json:"mode"`
	Old        *certificateAnswer `json:"old"`
	New        *certificateAnswer `json:"new"`
	WaitingFor *string            `json:"waiting_for"`
	RetiresAt  *time.Time         `json:"retires_at"`
	Error      *string            `json:"error"`
}

type certificateAnswer struct {
	KeyID            *string   `json:"key_id"`
	ThumbprintSHA1   string    `json:"thumbprint_sha1"`
	ThumbprintSHA256 string    `json:"thumbprint_sha256"`
	NotBefore        time.Time `json:"not_before"`
	NotAfter         time.Time `json:"not_after"`
}

// nowJSON runs "rotate now … -o json" for one app and checks the form.
func (m *machine) nowJSON(t *testing.T, code int, args ...string) nowAnswer {
	t.Helper()
	stdout, _ := m.must(t, code, append(append([]string{"now"}, args...), "-o", "json")...)
	objects := decodeJSON[[]map[string]any](t, stdout)
	if len(objects) != 1 {
		t.Fatalf("now %s: %d elements, want 1: %s", strings.Join(args, " "), len(objects), stdout)
	}
	checkKeys(t, "now", objects[0], "app", "rotation_id", "phase", "mode", "old", "new", "waiting_for", "retires_at", "error")
	for _, name := range []string{"old", "new"} {
		if object, ok := objects[0][name].(map[string]any); ok {
			for _, optional := range []string{"removal_sent_at", "removal_confirmed_from", "removed_at"} {
				delete(object, optional) // there as far as the removal has come
			}
			checkKeys(t, "now: "+name, object, "key_id", "thumbprint_sha1", "thumbprint_sha256", "not_before", "not_after")
		}
	}
	return decodeJSON[[]nowAnswer](t, stdout)[0]
}

// checkKeys compares the names in a JSON object with those that are documented.
func checkKeys(t *testing.T, where string, object map[string]any, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(object))); diff != "" {
		t.Errorf("%s: names (-want +got):\n%s", where, diff)
	}
}

// dateStep is how exactly the times of the overlap are known: Entra tells its time
// in whole seconds, in the header Date.
const dateStep = time.Second

// checkRetired checks the answer about a rotation that went through.
func (a *adopted) checkRetired(t *testing.T, got nowAnswer, began time.Time) {
	t.Helper()
	p := must1(readPFX(a.path, a.path+".password"))(t)
	a.hold(p)
	switch {
	case got.App != a.name, got.Phase == nil || *got.Phase != "retired", got.Mode == nil || *got.Mode != a.mode,
		got.RotationID == nil || *got.RotationID == "", got.WaitingFor != nil, got.Error != nil,
		got.Old == nil, got.New == nil, got.RetiresAt == nil:
		t.Fatalf("app %s: %s, want it retired", a.name, jsonText(got))
	case got.New.ThumbprintSHA256 != p.thumbprint(), got.Old.ThumbprintSHA256 == p.thumbprint():
		t.Errorf("app %s: delivered is %s, answered %s", a.name, p.thumbprint(), jsonText(got))
	case got.Old.KeyID == nil, got.New.KeyID == nil || *got.New.KeyID == *got.Old.KeyID:
		t.Errorf("app %s: key IDs of %s", a.name, jsonText(got))
	case len(got.New.ThumbprintSHA1) != 40 || strings.ToUpper(got.New.ThumbprintSHA1) != got.New.ThumbprintSHA1 && strings.ToLower(got.New.ThumbprintSHA1) != got.New.ThumbprintSHA1:
		t.Errorf("app %s: thumbprint_sha1 %q is no SHA-1 in hex", a.name, got.New.ThumbprintSHA1)
	case !got.New.NotAfter.Equal(p.certificate.NotAfter), !got.New.NotBefore.Equal(p.certificate.NotBefore):
		t.Errorf("app %s: dates of %s, the certificate says %s to %s", a.name, jsonText(got), p.certificate.NotBefore, p.certificate.NotAfter)
	case got.RetiresAt.Before(began.Add(-dateStep)), got.RetiresAt.After(time.Now().Add(dateStep)):
		t.Errorf("app %s: retires_at %s, and it retired just now", a.name, got.RetiresAt)
	}
	// The policy says 365d; NotBefore lies a little back.
	if lives := got.New.NotAfter.Sub(began); lives < 365*24*time.Hour-time.Minute || lives > 365*24*time.Hour+5*time.Minute {
		t.Errorf("app %s: the new certificate ends %s after the start, want 365 days", a.name, lives)
	}
}

// TestByHand is what a person does after reading the README: a tenant in one
// terminal, the program in another.
func TestByHand(t *testing.T) {
	t.Run("with a daemon", byHandWithDaemon)
	t.Run("without a daemon", byHandAlone)
}

func byHandWithDaemon(t *testing.T) {
	t.Parallel()
	s := startTenant(t, "contoso", "--apps", "2")
	m := newMachine(t)
	m.folder(t, "store")
	m.configure(t, "store", issueDefaults, s)
	one := newAdopted(t, m, s, "app-1", "self", s.ready.Apps[0])
	two := newAdopted(t, m, s, "app-2", "managed", s.ready.Apps[1])

	m.must(t, 0, "config", "check")
	m.mustSay(t, 2, []string{"--recovery", "--no-recovery", "hint: "}, "init")
	m.must(t, 0, "init", "--no-recovery")
	identity := must1(os.ReadFile(m.path("store.key")))(t)
	m.mustSay(t, 1, []string{"exists already"}, "init", "--no-recovery")
	if after := must1(os.ReadFile(m.path("store.key")))(t); string(after) != string(identity) {
		t.Error("init overwrote the identity")
	}
	if mode := must1(os.Stat(m.path("store.key")))(t).Mode(); mode.Perm() != 0o600 {
		t.Errorf("identity: mode %s, want 0600", mode)
	}

	one.prefill(t)
	m.must(t, 0, one.add()...)
	began := time.Now()
	m.startDaemon(t)

	// The certificate ends soon, so the daemon may be faster than the command: then
	// the command rotates what the daemon left.
	first := m.nowJSON(t, 0, "app-1", "--wait")
	one.checkRetired(t, first, began)
	rotations := decodeJSON[struct {
		Rotations []nowAnswer `json:"rotations"`
	}](t, must2(m.must(t, 0, "history", "app-1", "-o", "json"))).Rotations
	if oldest := rotations[len(rotations)-1]; oldest.Old == nil || oldest.Old.KeyID == nil || *oldest.Old.KeyID != one.seed.KeyID {
		t.Errorf("the first rotation replaced %s, want the seeded key %s", jsonText(oldest.Old), one.seed.KeyID)
	}
	checkWorld(t, m, one)

	began = time.Now()
	second := m.nowJSON(t, 0, "app-1", "--wait")
	one.checkRetired(t, second, began)
	if diff := cmp.Diff(first.New, second.Old); diff != "" {
		t.Errorf("the second rotation did not begin with the result of the first (-first +second):\n%s", diff)
	}

	// Whoever must wait for a person says so, in its exit code too.
	m.must(t, 0, two.add("--confirm", "person")...)
	waits := m.nowJSON(t, 4, "app-2", "--wait")
	if waits.Phase == nil || *waits.Phase != "delivered" || waits.WaitingFor == nil || *waits.WaitingFor != "person" || waits.RetiresAt != nil || waits.Error != nil {
		t.Errorf("a rotation that waits for a person: %s", jsonText(waits))
	}
	m.must(t, 3, "status", "--check")
	m.mustSay(t, 1, []string{"app-2", "00000000"}, "confirm", "app-2", "00000000")
	m.must(t, 0, "confirm", "app-2", waits.New.ThumbprintSHA256[:8])
	two.hold(must1(readPFX(two.path, two.path+".password"))(t))
	eventually(t, patient, func() error { return m.atRest(t) })
	m.must(t, 0, "status", "--check")

	checkStatusJSON(t, m)
	m.mustSay(t, 2, []string{"now needs", "hint: "}, "now")
	m.mustSay(t, 2, []string{"--nonsense"}, "now", "--nonsense")
	m.mustSay(t, 2, []string{"nowhere.yaml", "hint: "}, "-c", "nowhere.yaml", "plan")
	m.mustSay(t, 1, []string{"app-9", "not found"}, "now", "app-9")
	if failed := m.nowJSON(t, 1, "app-9"); failed.App != "app-9" || failed.Error == nil || failed.RotationID != nil || failed.Phase != nil {
		t.Errorf("an app that is not tracked: %s", jsonText(failed))
	}
	for _, path := range []string{"/v1/status", "/v1/apps", "/v1/apps/app-1", "/v1/history", "/v1/plan", "/v1/rotations/" + *second.RotationID} {
		var answer any
		if err := m.ask(t.Context(), path, &answer); err != nil {
			t.Error(err)
		}
	}
	m.daemon.visible = append(m.daemon.visible, seenByOthers(m.daemon.cmd.Process.Pid)...)
	if code := m.daemon.stop(t); code != 0 {
		t.Errorf("the daemon ended with %d: %s", code, m.daemon.stderr.String())
	}
	checkWorld(t, m, one, two)
	checkLeaks(t, m, "store", one, two)
}

func must2(stdout, _ string) string { return stdout }

// byHandAlone is the same with the service stopped: each command opens the store
// itself.
func byHandAlone(t *testing.T) {
	t.Parallel()
	s := startTenant(t, "contoso", "--apps", "2", "--permissions", "none")
	m := newMachine(t)
	m.folder(t, "store")
	m.configure(t, "store", issueDefaults, s)
	one := newAdopted(t, m, s, "app-1", "self", s.ready.Apps[0])
	two := newAdopted(t, m, s, "app-2", "self", s.ready.Apps[1])
	one.orphans, two.orphans = true, true // the first ones' key IDs were typed, and are not sent

	m.mustSay(t, 2, []string{"no store yet", "rotate setup"}, "plan")
	m.must(t, 0, "init", "--no-recovery")
	m.must(t, 0, one.add()...)
	m.mustSay(t, 1, []string{"app-1", "tracked already"}, one.add()...)

	began := time.Now()
	first := m.nowJSON(t, 0, "app-1", "--wait")
	one.checkRetired(t, first, began)
	if first.Old.KeyID == nil || *first.Old.KeyID != one.seed.KeyID {
		t.Errorf("it replaced %s, want the seeded key %s", jsonText(first.Old), one.seed.KeyID)
	}
	checkWorld(t, m, one)

	stdout, _ := m.must(t, 0, "now", "app-1", "--wait")
	one.hold(must1(readPFX(one.path, one.path+".password"))(t))
	rest := stdout
	for _, phase := range []string{"planned", "uploaded", "proven", "delivered", "confirmed", "retired"} {
		_, after, found := strings.Cut(rest, phase)
		if !found {
			t.Errorf("now on no terminal does not tell %q in its turn:\n%s", phase, stdout)
		}
		rest = after
	}
	if strings.ContainsAny(stdout, "\x1b\r") {
		t.Errorf("control characters on no terminal: %q", stdout)
	}
	checkWorld(t, m, one)
	checkStatusJSON(t, m)

	// With an overlap it returns before it is over; nobody goes on with it here.
	apps := "apps:\n- {name: app-2, tenant: contoso, client_id: " + two.seed.ClientID + ", object_id: " + two.seed.ObjectID +
		", key_id: " + two.seed.KeyID + ", pfx: " + two.seed.PFXFile + ", password_file: " + two.seed.PasswordFile +
		", policy: {overlap: 1h}, deliveries: [{kind: file, path: " + two.path + ", password_path: " + two.path + ".password}]}\n"
	if err := os.WriteFile(m.path("apps.yaml"), []byte(apps), 0o600); err != nil {
		t.Fatal(err)
	}
	m.must(t, 0, "apply", "-f", "apps.yaml")
	began = time.Now()
	parked := m.nowJSON(t, 4, "app-2")
	if parked.Phase == nil || *parked.Phase != "confirmed" || parked.WaitingFor == nil || *parked.WaitingFor != "overlap" || parked.Error != nil ||
		parked.RetiresAt == nil || parked.RetiresAt.Before(began.Add(time.Hour-dateStep)) || parked.RetiresAt.After(time.Now().Add(time.Hour+dateStep)) {
		t.Errorf("a rotation in its overlap of an hour: %s", jsonText(parked))
	}
	two.hold(must1(readPFX(two.path, two.path+".password"))(t))
	for _, p := range two.pairs() {
		if err := s.signIn(t.Context(), two.seed.ClientID, p); err != nil {
			t.Errorf("in the overlap both are accepted: %v", err)
		}
	}
	if stdout, _ := m.must(t, 4, "now", "app-2"); !strings.Contains(stdout, "no daemon is running") {
		t.Errorf("it does not say that nobody goes on: %s", stdout)
	}
	checkLeaks(t, m, "store", one, two)
}

// checkStatusJSON checks the form of "status -o json".
func checkStatusJSON(t *testing.T, m *machine) {
	t.Helper()
	stdout, _ := m.must(t, 0, "status", "-o", "json")
	answer := decodeJSON[map[string]any](t, stdout)
	apps, ok := answer["apps"].([]any)
	if !ok || len(apps) == 0 {
		t.Fatalf("status has no apps: %s", stdout)
	}
	for _, app := range apps {
		object, _ := app.(map[string]any)
		for name, nullable := range map[string]bool{
			"name": false, "mode": false, "phase": true, "due_at": true, "not_after": true, "key_id": true,
			"orphans": false, "last_error": true, "retry_at": true, "waiting_for": true,
		} {
			value, there := object[name]
			switch {
			case !there:
				t.Errorf("status: %q is missing: %s", name, jsonText(object))
			case value == nil && !nullable:
				t.Errorf("status: %q is null", name)
			}
		}
		if _, ok := object["orphans"].([]any); !ok {
			t.Errorf("status: orphans is %v, want a list", object["orphans"])
		}
		for _, name := range []string{"due_at", "not_after", "retry_at"} {
			text, isText := object[name].(string)
			if _, err := time.Parse(time.RFC3339, text); isText && err != nil {
				t.Errorf("status: %s: %v", name, err)
			}
		}
	}
}
