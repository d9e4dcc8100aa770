//go:build e2e

package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSystemd installs the package in a Debian with a systemd of its own, and does to
// the service what happens to services. Each part ends with the promises checked
// (checkWorld); a consumer signs in all the while. The tenant runs outside, because
// Entra does not stop when this host does.
//
// It is a step of its own in .ci/run. On another Debian, and for an hour:
//
//	ROTATE_TEST_DEBIAN=trixie go test -tags e2e -timeout 30m -run '^TestSystemd$' ./cmd/rotate
//	ROTATE_TEST_MOMENTS=1h go test -tags e2e -timeout 90m -run '^TestSystemd$/^(install|random_moments)$' -v ./cmd/rotate
func TestSystemd(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test boots a Debian with systemd-nspawn, which needs root")
	}
	h := newServiceHost(t)
	stop := watchConsumers(t, []*adopted{h.app})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *serviceHost)
	}{
		{"install", install},
		{"reload", reloadUnderWay},
		{"stop in each phase", stopInEachPhase},
		{"SIGKILL in phases", killInEachPhase},
		{"watchdog", watchdogBites},
		{"reboot", rebootUnderWay},
		{"power loss", powerLoss},
		{"upgrade", upgradeUnderWay},
		{"hook that needs root", rootHook},
		{"timer instead of the daemon", timerInstead},
		{"groups", groups},
		{"encrypted credential", encryptedCredential},
		{"identity as credential", identityCredential},
		{"random moments", randomMoments},
	} {
		begun := time.Now()
		if !t.Run(part.name, func(t *testing.T) { part.run(t, h); h.check(t) }) {
			t.Logf("the end of the journal:\n%s", tail(h.journal(t), 60))
			t.FailNow() // what follows would tell of this failure again
		}
		t.Logf("%s: %s", part.name, time.Since(begun).Round(time.Second))
	}
	stop()
	t.Run("nothing leaked", func(t *testing.T) { h.checkJournal(t) })
	t.Run("purge", func(t *testing.T) { purge(t, h) })
	t.Run("the other package", func(t *testing.T) { otherPackage(t, h) })
}

// Places in the container.
const (
	gateClosed = "/srv/gate/closed"      // the hook of a delivery waits while it is there
	gateHang   = "/srv/gate/hang"        // the hook stops the daemon
	gateBegun  = "/var/lib/rotate/begun" // the hook has begun
)

// gate is the hook. It runs as the service's user, in its sandbox.
const gate = `#!/bin/sh
touch ` + gateBegun + `
if [ -e ` + gateHang + ` ] && [ ! -e /var/lib/rotate/hung ]; then
	touch /var/lib/rotate/hung
	kill -STOP $PPID
fi
while [ -e ` + gateClosed + ` ]; do sleep 0.1; done
`

// servicePolicy is quick, but each phase lasts long enough to be hit.
const servicePolicy = `
  overlap: 2s
  reload_within: 2s
  prove: {successes: 3, spacing: 700ms, within: 5m}
  upload_limit: {per_hour: 1000, per_day: 1000}
`

// impatient shortens what the unit waits for. The rest is the documented drop-in for
// deliveries outside /var/lib/rotate.
const impatient = `[Service]
RestartSec=500ms
WatchdogSec=6s
ReadWritePaths=/srv/consumer
`

// serviceHost is the container with the service in it.
type serviceHost struct {
	*container
	m      *machine
	tenant *tenantServer
	app    *adopted
}

func newServiceHost(t *testing.T) *serviceHost {
	t.Helper()
	h := &serviceHost{}
	// Requests take a while, so that "planned" can be hit too.
	h.tenant = startTenant(t, "contoso", "--apps", "6", "--latency", "150ms")
	h.container = newContainer(t, "var/lib/rotate", "srv")
	h.m = newMachine(t)
	h.m.within = func(args ...string) []string { return h.inside(append([]string{"/usr/bin/rotate"}, args...)...) }
	h.m.dir, h.m.env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	h.pack(t, "1.0.0", "/root")
	h.pack(t, "1.0.1", "/root/next")
	h.app = h.adopt(t, "contoso-sync", "self", h.tenant.ready.Apps[0], "/srv/consumer")
	return h
}

// pack puts the packages of a version into a folder of the container.
func (h *serviceHost) pack(t *testing.T, version, folder string) {
	t.Helper()
	out := t.TempDir()
	cmd := exec.Command("bash", "systemd/package", out, version)
	cmd.Dir = must1(filepath.Abs(filepath.Join("..", "..")))(t)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("systemd/package: %v\n%s", err, text)
	}
	for _, path := range must1(filepath.Glob(filepath.Join(out, "rotate*")))(t) {
		h.write(t, filepath.Join(folder, filepath.Base(path)), string(must1(os.ReadFile(path))(t)), 0o644)
	}
}

// adopt looks at an app of the tenant before the program does. Its consumer reads a
// folder in the container.
func (h *serviceHost) adopt(t *testing.T, name, mode string, seed readyApp, folder string) *adopted {
	t.Helper()
	a := &adopted{
		name: name, mode: mode, tenant: h.tenant, seed: seed, off: &h.off,
		path: filepath.Join(h.root, folder, "app.pfx"), held: map[string]keyPair{},
	}
	a.hold(must1(readPFX(seed.PFXFile, seed.PasswordFile))(t))
	a.before = must1(h.tenant.list(t.Context(), seed.ObjectID))(t)
	return a
}

// prefill puts the consumer's present files where the new ones will go.
func (h *serviceHost) prefill(t *testing.T, a *adopted) {
	t.Helper()
	folder := strings.TrimPrefix(filepath.Dir(a.path), h.root)
	for from, to := range map[string]string{a.seed.PFXFile: "app.pfx", a.seed.PasswordFile: "app.pfx.password"} {
		h.write(t, "/root/"+a.name+"/"+to, string(must1(os.ReadFile(from))(t)), 0o600)
	}
	h.sh(t, fmt.Sprintf(`install -d -o rotate -g rotate -m 0750 %[1]s
install -o rotate -g rotate -m 0600 /root/%[2]s/* %[1]s`, folder, a.name))
}

// check waits until the rotation has ended and looks at the promises.
func (h *serviceHost) check(t *testing.T) {
	t.Helper()
	eventually(t, 2*time.Minute, func() error { return h.m.atRest(t) })
	checkWorld(t, h.m, h.app)
}

// property of the service, as its manager knows it.
func (h *serviceHost) property(t *testing.T, name string) string {
	t.Helper()
	return h.sh(t, "systemctl show --property="+name+" --value rotate")
}

func (h *serviceHost) journal(t *testing.T) string {
	t.Helper()
	return h.sh(t, "journalctl --no-pager --output=short-iso --unit=rotate")
}

// phase of the newest rotation, asked at the socket: that is quick.
func (h *serviceHost) phase(t *testing.T) (phase string, open bool) {
	t.Helper()
	h.setSocket()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var now statusAnswer
	if err := h.m.ask(ctx, "/v1/status", &now); err != nil {
		t.Fatalf("status: %v", err)
	}
	for _, a := range now.Apps {
		if a.Name == h.app.name && a.Phase != nil {
			return *a.Phase, a.Open
		}
	}
	t.Fatalf("status: %s, want %s, which was rotated", jsonText(now), h.app.name)
	return "", false
}

// setSocket has questions go to the daemon that runs now.
func (h *serviceHost) setSocket() {
	h.m.socket = filepath.Join("/proc", strconv.Itoa(h.leader.Pid), "root/run/rotate/rotate.sock")
}

// reach starts rotations until one is seen in the phase.
func (h *serviceHost) reach(t *testing.T, want string) {
	t.Helper()
	for range 5 {
		h.m.start(t, "now", h.app.name)
		eventually(t, time.Minute, func() error {
			if _, open := h.phase(t); !open {
				return fmt.Errorf("no rotation began")
			}
			return nil
		})
		for {
			phase, open := h.phase(t)
			if phase == want {
				return
			}
			if !open {
				break // it was faster
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	t.Fatalf("no rotation was seen %s", want)
}

// close has the hook wait, and reaches it.
func (h *serviceHost) close(t *testing.T) {
	t.Helper()
	h.sh(t, "rm -f "+gateBegun+"; touch "+gateClosed)
	h.m.start(t, "now", h.app.name)
	eventually(t, time.Minute, func() error { _, err := os.Stat(filepath.Join(h.root, gateBegun)); return err })
}

func (h *serviceHost) open(t *testing.T) {
	t.Helper()
	h.sh(t, "rm -f "+gateClosed)
}

// awaitAnother waits until another process than before is the daemon and ready.
func (h *serviceHost) awaitAnother(t *testing.T, before string) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		pid, state := h.property(t, "MainPID"), h.property(t, "ActiveState")
		if pid == "0" || pid == before || state != "active" {
			return fmt.Errorf("process %s, %s; before it was %s", pid, state, before)
		}
		return nil
	})
}

// reloadUnderWay reads the configuration again while a delivery runs.
func reloadUnderWay(t *testing.T, h *serviceHost) {
	t.Helper()
	pid := h.property(t, "MainPID")
	h.close(t)
	h.sh(t, "systemctl reload rotate")
	h.sh(t, "cp /etc/rotate/config.yaml /root/good.yaml; echo 'colour: red' >>/etc/rotate/config.yaml")
	if code, out := h.try("systemctl reload rotate"); code == 0 {
		t.Errorf("systemctl reload takes a broken configuration: %s", out)
	}
	if status, _ := h.m.must(t, 0, "status"); !strings.Contains(status, "the previous one is still active: ") || !strings.Contains(status, "colour") {
		t.Errorf("status does not say what was refused:\n%s", status)
	}
	h.sh(t, "cp /root/good.yaml /etc/rotate/config.yaml; systemctl reload rotate")
	if phase, open := h.phase(t); phase != "proven" || !open {
		t.Errorf("the rotation is %s, want it in its hook", phase)
	}
	h.open(t)
	if now := h.property(t, "MainPID"); now != pid {
		t.Errorf("a reload started another process: %s, before %s", now, pid)
	}
}

// inEachPhase does something to the service when a rotation has reached a phase.
func (h *serviceHost) inEachPhase(t *testing.T, phases []string, act func(t *testing.T)) {
	t.Helper()
	for _, phase := range phases {
		if phase == "proven" {
			h.close(t)
		} else {
			h.reach(t, phase)
		}
		act(t)
		h.open(t)
		h.check(t)
	}
}

func stopInEachPhase(t *testing.T, h *serviceHost) {
	t.Helper()
	h.inEachPhase(t, []string{"planned", "uploaded", "proven", "delivered", "confirmed"}, func(t *testing.T) {
		t.Helper()
		begun := time.Now()
		h.sh(t, "systemctl stop rotate")
		if result := h.property(t, "Result"); result != "success" {
			t.Errorf("stopped with result %q after %s", result, time.Since(begun))
		}
		h.sh(t, "systemctl start rotate")
	})
}

// killInEachPhase leaves "planned" to TestKill and the crash table: an answer that
// was lost there is looked for during two minutes before anything is sent again.
func killInEachPhase(t *testing.T, h *serviceHost) {
	t.Helper()
	h.inEachPhase(t, []string{"uploaded", "proven", "delivered", "confirmed"}, func(t *testing.T) {
		t.Helper()
		pid := h.property(t, "MainPID")
		h.sh(t, "systemctl kill --signal=KILL rotate")
		h.awaitAnother(t, pid)
	})
}

// watchdogBites has a hook stop the daemon in the middle of a rotation.
func watchdogBites(t *testing.T, h *serviceHost) {
	t.Helper()
	pid, since := h.property(t, "MainPID"), h.sh(t, "date +%s")
	h.sh(t, "touch "+gateHang)
	h.m.start(t, "now", h.app.name)
	h.awaitAnother(t, pid)
	h.sh(t, "rm "+gateHang)
	if said := h.sh(t, "journalctl --no-pager --since=@"+since+" --unit=rotate"); !strings.Contains(said, "Watchdog timeout") || !strings.Contains(said, "goroutine 1 ") {
		t.Errorf("the watchdog did not bite, or nobody knows what hung:\n%s", tail(said, 40))
	}
}

func rebootUnderWay(t *testing.T, h *serviceHost) {
	t.Helper()
	h.reach(t, "delivered")
	h.reboot(t)
	if state := h.property(t, "ActiveState"); state != "active" {
		t.Errorf("after the reboot the service is %s", state)
	}
}

func powerLoss(t *testing.T, h *serviceHost) {
	t.Helper()
	h.reach(t, "uploaded")
	h.cutPower(t)
}

// upgradeUnderWay installs the next version while a delivery runs.
func upgradeUnderWay(t *testing.T, h *serviceHost) {
	t.Helper()
	pid := h.property(t, "MainPID")
	h.close(t)
	config := h.sh(t, "sha256sum /etc/rotate/config.yaml")
	h.sh(t, "apt-get install --yes --quiet -o Dpkg::Options::=--force-confold /root/next/rotate_*.deb")
	h.open(t)
	h.awaitAnother(t, pid)
	if said, _ := h.m.must(t, 0, "version"); !strings.Contains(said, "1.0.1") {
		t.Errorf("rotate version says %s", said)
	}
	if after := h.sh(t, "sha256sum /etc/rotate/config.yaml"); after != config {
		t.Error("the upgrade changed the configuration")
	}
}

// groups has real users ask.
func groups(t *testing.T, h *serviceHost) {
	t.Helper()
	h.sh(t, "useradd alice; useradd -G rotate-view bob; useradd -G rotate carol")
	for _, test := range []struct {
		user, command string
		code          int
		says          string
	}{
		{"alice", "rotate status", 1, "usermod -aG rotate-view alice"},
		{"bob", "rotate status", 0, h.app.name},
		{"bob", "rotate check", 1, "usermod -aG rotate bob"},
		{"carol", "rotate check", 0, "Checked 1 app"},
	} {
		code, out := h.try("runuser -u " + test.user + " -- " + test.command)
		if code != test.code || !strings.Contains(out, test.says) {
			t.Errorf("%s as %s: exit code %d, want %d and %q:\n%s", test.command, test.user, code, test.code, test.says, out)
		}
	}
	audit, _ := h.m.must(t, 0, "audit")
	for _, user := range []string{"alice", "bob"} {
		if !regexp.MustCompile(user + ` \(uid \d+\) +request refused .* may not `).MatchString(audit) {
			t.Errorf("the audit trail does not say that %s was refused:\n%s", user, tail(audit, 8))
		}
	}
}

// encryptedCredential takes the identity of the store off the disk.
func encryptedCredential(t *testing.T, h *serviceHost) {
	t.Helper()
	h.sh(t, `systemd-creds setup >/dev/null
systemd-creds encrypt --with-key=host --name=store.key /etc/rotate/keys/store.key /etc/rotate/store.key.cred
mkdir -p /etc/systemd/system/rotate.service.d
printf '[Service]\nLoadCredentialEncrypted=store.key:/etc/rotate/store.key.cred\n' >/etc/systemd/system/rotate.service.d/credential.conf
sed -i 's|identity_file: .*|identity_file: credential:store.key|' /etc/rotate/config.yaml
rm /etc/rotate/keys/store.key
systemctl daemon-reload
systemctl restart rotate`)
	h.m.must(t, 0, "now", h.app.name, "--wait")
	h.sh(t, "! grep -rq AGE-SECRET-KEY /etc /var/lib /srv")
}

// checkJournal looks for secrets in everything the container logged.
func (h *serviceHost) checkJournal(t *testing.T) {
	t.Helper()
	known := secrets{}
	for i, p := range h.app.pairs() {
		known.addPair(fmt.Sprint("pair ", i), p)
	}
	journal := []byte(h.sh(t, "journalctl --no-pager --output=export --boot=all || journalctl --no-pager --output=export"))
	if len(journal) < 10_000 || len(known) == 0 {
		t.Fatalf("%d bytes of journal, %d secrets", len(journal), len(known))
	}
	for _, what := range known.find(journal) {
		t.Errorf("the journal holds the %s", what)
	}
}
