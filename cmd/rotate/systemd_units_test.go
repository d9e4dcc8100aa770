//go:build e2e

package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// edit changes the configuration with a command of sed, and has the daemon read it.
func (h *serviceHost) edit(t *testing.T, command string) {
	t.Helper()
	h.sh(t, "sed -i '"+command+"' /etc/rotate/config.yaml")
	h.sh(t, "systemctl reload rotate")
}

// keepConfiguration returns what puts it back.
func (h *serviceHost) keepConfiguration(t *testing.T) (restore func()) {
	t.Helper()
	kept := string(must1(os.ReadFile(filepath.Join(h.root, "etc/rotate/config.yaml")))(t))
	return func() { h.write(t, "/etc/rotate/config.yaml", kept, 0o644) }
}

// rootHook has root do something after a delivery, as docs/operations.md says: the
// service asks through a path unit and can do nothing else.
func rootHook(t *testing.T, h *serviceHost) {
	t.Helper()
	restore := h.keepConfiguration(t)
	h.write(t, "/root/reload-sync", `#!/bin/sh
id -un >/root/ran
echo "$#" >>/root/ran
if [ -e /srv/gate/refused ]; then exit 7; fi
`, 0o755)
	h.sh(t, `install -m 0755 /root/reload-sync /etc/rotate/root.d/reload-sync
systemctl enable --now rotate-root@reload-sync.path`)
	h.edit(t, `s|^  gate: .*|  gate: {command: [/usr/lib/rotate/as-root, reload-sync]}|`)
	h.m.must(t, 0, "now", h.app.name, "--wait")
	if ran := h.sh(t, "cat /root/ran"); ran != "root\n0" {
		t.Errorf("it ran as, and with arguments: %q", ran)
	}

	// A failure of it is one of the delivery.
	h.sh(t, "touch /srv/gate/refused; rm /root/ran")
	h.m.start(t, "now", h.app.name)
	eventually(t, time.Minute, func() error {
		if status, _ := h.m.must(t, 0, "status"); !strings.Contains(status, "hook gate exited 7") {
			return fmt.Errorf("the program failed, the status says:\n%s", status)
		}
		return nil
	})
	if phase, open := h.phase(t); phase != "proven" || !open {
		t.Errorf("the program failed, the rotation is %s", phase)
	}
	h.sh(t, "rm /srv/gate/refused; test -e /root/ran")
	h.m.must(t, 0, "now", h.app.name, "--wait")

	// Neither the service nor others choose what root runs.
	for _, script := range []string{
		"runuser -u rotate -- sh -c 'echo >/etc/rotate/root.d/mine'",
		"runuser -u rotate -- sh -c 'echo >>/etc/rotate/root.d/reload-sync'",
		"runuser -u rotate -- /usr/lib/rotate/as-root ../reload-sync",
		"runuser -u nobody -- sh -c 'echo >/run/rotate-root/reload-sync'",
		"runuser -u rotate -- sh -c 'echo >/run/rotate-root-results/reload-sync'",
	} {
		if code, out := h.try(script); code == 0 {
			t.Errorf("%s works: %s", script, out)
		}
	}
	// Root does not read for the service what the service may not read.
	h.sh(t, `rm -f /run/rotate-root-results/reload-sync; printf 0123456789abcdef0123456789abcdef >/root/secret; chmod 600 /root/secret
runuser -u rotate -- ln -s /root/secret /run/rotate-root/reload-sync`)
	eventually(t, time.Minute, func() error {
		if code, _ := h.try("test ! -L /run/rotate-root/reload-sync"); code != 0 {
			return errors.New("the link is still there")
		}
		return nil
	})
	if code, result := h.try("cat /run/rotate-root-results/reload-sync"); code == 0 && strings.Contains(result, "0123456789") {
		t.Errorf("the result holds what only root may read: %s", result)
	}
	restore()
	h.sh(t, "systemctl disable --now rotate-root@reload-sync.path; systemctl reload rotate")
}

// timerInstead has no daemon: what is due is done by a run that was missed.
func timerInstead(t *testing.T, h *serviceHost) {
	t.Helper()
	before := h.m.status(t)[h.app.name]
	h.sh(t, "systemctl disable --now rotate")
	// Due is what is older than 5 s.
	restore := h.keepConfiguration(t)
	h.sh(t, `sed -i 's|^  overlap: 2s|&\n  renew_before: 8759h59m55s|' /etc/rotate/config.yaml; rotate config check`)
	shown := h.sh(t, "systemctl show --property=Persistent,RandomizedDelayUSec,TimersCalendar rotate-check.timer")
	for _, want := range []string{"Persistent=yes", "RandomizedDelayUSec=15min", "OnCalendar=*-*-* *:00:00"} {
		if !strings.Contains(shown, want) {
			t.Errorf("rotate-check.timer lacks %s:\n%s", want, shown)
		}
	}
	// The delay may be 15 minutes, and would hold for a missed run too.
	h.write(t, "/etc/systemd/system/rotate-check.timer.d/test.conf", "[Timer]\nRandomizedDelaySec=0\n", 0o644)
	h.write(t, "/etc/systemd/system/rotate-check.service.d/test.conf", "[Service]\nReadWritePaths=/srv/consumer\n", 0o644)
	since := h.sh(t, `install -d /var/lib/systemd/timers
touch --date '3 hours ago' /var/lib/systemd/timers/stamp-rotate-check.timer
systemctl daemon-reload
date +%s
systemctl enable --now rotate-check.timer`)
	since, _, _ = strings.Cut(since, "\n")
	run := func() (state, result string) {
		shown := h.sh(t, "systemctl show --property=ActiveState,Result,ExecMainExitTimestampMonotonic rotate-check.service")
		found := regexp.MustCompile(`(?s)Result=(\S*).*ExecMainExitTimestampMonotonic=(\d+).*ActiveState=(\S+)`).FindStringSubmatch(shown)
		if found == nil || found[2] == "0" {
			return "not run", ""
		}
		return found[3], found[1]
	}
	eventually(t, 2*time.Minute, func() error {
		if state, _ := run(); state != "inactive" && state != "failed" {
			return fmt.Errorf("the run that was missed is %s", state)
		}
		return nil
	})
	if state, result := run(); state != "inactive" || result != "success" {
		t.Errorf("rotate-check.service is %s, %s:\n%s", state, result, h.sh(t, "journalctl --no-pager --unit=rotate-check --since=@"+since))
	}
	if after := h.m.status(t)[h.app.name]; jsonText(after.ThumbprintSHA256) == jsonText(before.ThumbprintSHA256) {
		t.Errorf("nothing was rotated:\n%s", h.sh(t, "journalctl --no-pager --unit=rotate-check --since=@"+since))
	}
	if next := h.sh(t, "systemctl show --property=NextElapseUSecRealtime --value rotate-check.timer"); next == "" {
		t.Error("rotate-check.timer has no next run")
	}
	h.sh(t, "systemctl disable --now rotate-check.timer")
	restore()
	h.sh(t, "systemctl enable --now rotate")
}

// identityCredential has the service sign in with a certificate that only a
// credential holds, replaces it, and starts the host again: the credential is out of
// date then, and what Entra accepts is in the store alone.
func identityCredential(t *testing.T, h *serviceHost) {
	t.Helper()
	admin := h.tenant.ready.Admin
	h.sh(t, `umask 077; cd /root; echo -n 'a password of nobody' >identity.password
rotate certificate new identity --out /root/identity --password-file identity.password`)
	first := must1(readPFX(filepath.Join(h.root, "root/identity/identity.pfx"), filepath.Join(h.root, "root/identity.password")))(t)
	if err := h.tenant.addCertificate(t.Context(), admin.ObjectID, first); err != nil {
		t.Fatal(err)
	}
	h.write(t, "/etc/systemd/system/rotate.service.d/identity.conf",
		"[Service]\nLoadCredential=identity.pfx:/root/identity/identity.pfx\nLoadCredential=identity.password:/root/identity.password\n", 0o644)
	h.sh(t, `sed -i 's|^    cloud: .*|&\n    identity: {client_id: `+admin.ClientID+`, certificate_file: "credential:identity.pfx", password_file: "credential:identity.password"}|' /etc/rotate/config.yaml
systemctl daemon-reload
systemctl restart rotate`)
	managed := h.adopt(t, "managed", "managed", h.tenant.ready.Apps[1], "/srv/managed")
	h.prefill(t, managed)
	h.sh(t, "sed -i 's|/srv/consumer$|& /srv/managed|' /etc/systemd/system/rotate.service.d/test.conf; systemctl daemon-reload; systemctl restart rotate")
	h.m.must(t, 0, "app", "add", "managed", "--mode", "managed", "--tenant", "contoso", "--client-id", managed.seed.ClientID,
		"--pfx", "/root/managed/app.pfx", "--password-file", "/root/managed/app.pfx.password", "--deliver-file", "/srv/managed/app.pfx")
	h.m.must(t, 0, "app", "add", "identity", "--tenant", "contoso", "--client-id", admin.ClientID,
		"--pfx", "/root/identity/identity.pfx", "--password-file", "/root/identity.password")

	pid := h.property(t, "MainPID")
	h.m.must(t, 0, "now", "identity", "--wait")
	if err := h.tenant.signIn(t.Context(), admin.ClientID, first); err == nil {
		t.Error("the certificate in the credential is still accepted")
	}
	h.m.must(t, 0, "now", "managed", "--wait")
	if now := h.property(t, "MainPID"); now != pid {
		t.Errorf("process %s, before it was %s: it had to start again", now, pid)
	}
	byIdentity := func() int {
		n := 0
		for _, e := range h.tenant.writes(t, managed.seed) {
			if e.ClientID == admin.ClientID && e.Status < 300 {
				n++
			}
		}
		return n
	}
	before := byIdentity()
	h.reboot(t)
	h.m.must(t, 0, "now", "managed", "--wait")
	checkWorld(t, h.m, managed)
	if n := byIdentity() - before; n != 2 {
		t.Errorf("after the reboot the identity wrote %d times for a rotation, want 2", n)
	}
	if status, _ := h.m.must(t, 0, "status"); !strings.Contains(status, "is not the certificate that is stored for the app identity and is not used") {
		t.Errorf("status does not say that the credential is out of date:\n%s", status)
	}
}
