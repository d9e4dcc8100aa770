package control_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// Taking keys is a right of its own: neither who may change nor the daemon's own user,
// as which hooks run, has it.
func TestS10OwnUser(t *testing.T) {
	for _, test := range []struct {
		name string
		peer uint32
		uid  int
		want bool
	}{
		{"root takes keys", 0, 998, true},
		{"the service's user does not", 998, 998, false},
		{"another user does not", 1000, 998, false},
		{"nor of root's daemon", 1000, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := control.MayTake(control.Access{ChangeGroup: changers, ViewGroup: viewers}, test.peer, test.uid)
			if (err == nil) != test.want || err != nil && (!errors.Is(err, control.ErrForbidden) || !strings.Contains(err.Error(), "root only")) {
				t.Errorf("MayTake(%d, %d) = %v, want served %t, else by root only", test.peer, test.uid, err, test.want)
			}
		})
	}
}

// recipientOf is one that nobody has the key of.
func recipientOf(t *testing.T) string {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return identity.Recipient().String()
}

// What gives keys away asks the peer's third group, and raises an alert. Without root,
// nobody can be somebody else.
func TestS10Rights(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	w := newWorld(t, 0)
	w.server.Access = control.Access{ChangeGroup: changers, ViewGroup: viewers, KeysGroup: takers}
	keys, ok := w.server.Rotator.Store.(*store.Store)
	if !ok {
		t.Fatalf("the store is a %T", w.server.Rotator.Store)
	}
	w.server.Vault = keys
	socket := socketPath(t)
	w.serve(t, socket)
	if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, socket).Add(t.Context(), w.spec()); err != nil {
		t.Fatal(err)
	}
	taken := func() int {
		t.Helper()
		n := 0
		events, err := keys.EventsAfter(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Event.Kind == rotator.EventKeysTaken {
				n++
			}
		}
		return n
	}
	toOther := `{"to": ["` + recipientOf(t) + `"]}`
	toRecovery := `{"to": ["` + keys.Recovery() + `"]}`
	for _, test := range []struct {
		name, path, body string
		group            uint32
		want             string
		alerts           int
	}{
		{"a reader exports nothing", "/v1/apps/app-1/export", "{}", 64002, "403", 0},
		{"who may change exports nothing", "/v1/apps/app-1/export", "{}", 64001, "403", 0},
		{"who may take keys exports", "/v1/apps/app-1/export", "{}", 64003, "200", 1},
		{"who may change fetches no package", "/v1/apps/app-1/handoff/package", "{}", 64001, "403", 0},
		{"who may take keys may ask for it", "/v1/apps/app-1/handoff/package", "{}", 64003, "422", 0},
		{"a reader backs nothing up", "/v1/backup", "{}", 64002, "403", 0},
		{"who may change backs up", "/v1/backup", "{}", 64001, "200", 0},
		{"and names the recovery recipient", "/v1/backup", toRecovery, 64001, "200", 0},
		{"but no other one", "/v1/backup", toOther, 64001, "403", 0},
		{"and smuggles none in", "/v1/backup", `{"check": "` + recipientOf(t) + `"}`, 64001, "400", 0},
		{"who may take keys names others", "/v1/backup", toOther, 64003, "200", 1},
		{"and backs up", "/v1/backup", "{}", 64003, "200", 0},
		{"but changes nothing", "/v1/check", "", 64003, "403", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := taken()
			if out := sendAs(t, socket, "POST", test.path, test.body, test.group); !strings.Contains(out, "answer: "+test.want) {
				t.Errorf("POST %s %s as group %d: want %s:\n%.300s", test.path, test.body, test.group, test.want, out)
			}
			if got := taken() - before; got != test.alerts {
				t.Errorf("POST %s as group %d raised %d alerts, want %d", test.path, test.group, got, test.alerts)
			}
		})
	}
	w.server.Reconfigure(control.Access{ChangeGroup: changers, ViewGroup: viewers, KeysGroup: takers, NoExport: true}, nil)
	for path, body := range map[string]string{"/v1/apps/app-1/export": "{}", "/v1/backup": toOther} {
		if out := sendAs(t, socket, "POST", path, body, 64003); !strings.Contains(out, "control.export is off") {
			t.Errorf("POST %s with exports off: %.300s", path, out)
		}
	}
}

// What was written is what was given: nobody is believed what a backup holds.
func TestS10BackupNote(t *testing.T) {
	w := newWorld(t, 0)
	keys, ok := w.server.Rotator.Store.(*store.Store)
	if !ok {
		t.Fatalf("the store is a %T", w.server.Rotator.Store)
	}
	w.server.Vault = keys
	c := w.memory(t)
	if err := c.BackupDone(t.Context(), control.BackupNote{SHA256: strings.Repeat("0", 64)}); err == nil {
		t.Error("a backup that was never made is noted")
	}
	sealed, proof, err := c.Backup(t.Context(), control.BackupRequest{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sealed.Close() }()
	if err := c.BackupDone(t.Context(), control.BackupNote{SHA256: proof.SHA256}); err != nil {
		t.Fatal(err)
	}
	if last, _, _, err := keys.Backups(t.Context()); err != nil || time.Since(last) > time.Hour {
		t.Errorf("the newest backup is of %s, %v", last, err)
	}
}
