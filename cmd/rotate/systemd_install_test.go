//go:build e2e

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a person needs at most from the package to the first app.
const patience = 10 * time.Minute

// install does what README.md says under "Your first app", and nothing else, with a
// stopwatch.
func install(t *testing.T, h *serviceHost) {
	t.Helper()
	installBy(t, h, "apt install ./rotate_*.deb")
	checkService(t, h)
}

// installBy is [install] with another command that installs the package.
func installBy(t *testing.T, h *serviceHost, command string) {
	t.Helper()
	steps := ""
	for _, b := range readBlocks(t, filepath.Join("..", "..", "README.md")) {
		if strings.Contains(b.text, "apt install ./rotate_") {
			steps = b.text
		}
	}
	ready := h.tenant.ready
	// What differs for everybody who reads it.
	steps = strings.Replace(steps, "apt install ./rotate_*.deb", command, 1)
	steps = strings.ReplaceAll(steps, "22222222-3333-4444-5555-666666666666", h.app.seed.ClientID)
	steps = strings.ReplaceAll(steps, "\\\n", "")
	h.sh(t, "getent group "+h.app.name+" >/dev/null || groupadd --system "+h.app.name) // the consumer was there before
	if strings.Count(steps, "\n") != 6 || !strings.Contains(steps, "rotate app add "+h.app.name+" ") || !strings.Contains(steps, h.app.seed.ClientID) {
		t.Fatalf("README.md, Your first app: is it read well?\n%s", steps)
	}
	h.write(t, "/root/app.pfx", string(must1(os.ReadFile(h.app.seed.PFXFile))(t)), 0o600)
	h.write(t, "/root/app.password", string(must1(os.ReadFile(h.app.seed.PasswordFile))(t)), 0o600)
	// What setup asks is answered with flags. The tenant is not in the cloud, so where it
	// is must be said, too.
	h.write(t, "/root/ca.pem", string(must1(os.ReadFile(ready.CAFile))(t)), 0o644)
	h.sh(t, "install -d /etc/rotate; cp /root/ca.pem /etc/rotate/ca.pem")
	steps = strings.Replace(steps, "rotate setup", fmt.Sprintf("rotate setup --tenant-id %s --login %s --graph %s --ca-file /etc/rotate/ca.pem --no-recovery --no-alerts", ready.TenantID, ready.Login, ready.Graph), 1)
	// A removal is checked for ten minutes; here for seconds, and so are the sign-ins.
	steps = strings.Replace(steps, "sudo systemctl enable", `sed -i 's|ca_file: "/etc/rotate/ca.pem"}|ca_file: /etc/rotate/ca.pem, removal: {reads: 1s, sign_ins: 2s, young: 2s}}|' /etc/rotate/config.yaml
echo '`+firstDefaults+`' >>/etc/rotate/config.yaml
sudo systemctl enable`, 1)
	steps = strings.Replace(steps, "sudo rotate now contoso-sync ", "sudo rotate now contoso-sync || test $? = 4 ", 1)
	begun := time.Now()
	out := h.sh(t, `sudo() { "$@"; }
cd /root
`+steps)
	list := h.sh(t, "rotate app list")
	took := time.Since(begun)
	t.Logf("from the package to the first app that is tracked: %s", took.Round(time.Millisecond))
	if !strings.Contains(out, "✔ "+h.app.name) || !strings.Contains(list, h.app.name) || took > patience {
		t.Errorf("after %s the app is not tracked:\n%s\n%s", took, out, list)
	}
	h.makeQuick(t)
	h.m.must(t, 0, "now", h.app.name, "--wait")
}

// firstDefaults are those of the first steps.
const firstDefaults = "defaults: {prove: {successes: 2, spacing: 200ms, within: 5m}}"

// makeQuick gives the app its deliveries, and all a policy of seconds.
func (h *serviceHost) makeQuick(t *testing.T) {
	t.Helper()
	h.write(t, "/usr/local/bin/gate", gate, 0o755)
	h.sh(t, "install -d /srv/gate")
	h.prefill(t, h.app)
	path := filepath.Join(h.root, "etc/rotate/config.yaml")
	config := strings.Replace(string(must1(os.ReadFile(path))(t)), firstDefaults+"\n", "", 1) + `
schedule: "@every 2s"
discovery: {off: true}
defaults:` + servicePolicy + `
hooks:
  gate: {command: [/usr/local/bin/gate]}
`
	h.write(t, "/etc/rotate/config.yaml", config, 0o644)
	h.write(t, "/etc/systemd/system/rotate.service.d/test.conf", impatient, 0o644)
	h.sh(t, "systemctl daemon-reload; systemctl restart rotate")
	h.m.must(t, 0, "app", "edit", h.app.name, "--deliver-file", "/srv/consumer/app.pfx", "--deliver-exec", "gate", "--moved")
}

// checkService looks at what the service manager and the journal know.
func checkService(t *testing.T, h *serviceHost) {
	t.Helper()
	if text := h.property(t, "StatusText"); !regexp.MustCompile(`^checked \d\d:\d\d, 1 app`).MatchString(text) {
		t.Errorf("the service manager's status is %q", text)
	}
	if user := h.sh(t, "stat -c %U /proc/$(systemctl show --property=MainPID --value rotate)/environ"); user != "root" {
		t.Errorf("the environment of the process belongs to %s: it can be dumped", user)
	}
	if user := h.property(t, "User"); user != "rotate" {
		t.Errorf("the service runs as %q", user)
	}
	for _, unit := range []string{"rotate", "rotate-check", "rotate-init"} {
		score := h.sh(t, "systemd-analyze security --no-pager "+unit+" | tail -n 1")
		if n, err := strconv.ParseFloat(regexp.MustCompile(`[0-9]+\.[0-9]+`).FindString(score), 64); err != nil || n > 1.2 {
			t.Errorf("%s: systemd-analyze security says %q, want at most 1.2", unit, score)
		}
	}
	// Priorities by level, and no time in the text: the journal has it.
	lines := 0
	for line := range strings.SplitSeq(h.sh(t, "journalctl --no-pager --output=json --output-fields=PRIORITY,MESSAGE --unit=rotate _COMM=rotate"), "\n") {
		entry := decodeJSON[struct {
			Priority string `json:"PRIORITY"`
			Message  string `json:"MESSAGE"`
		}](t, line)
		want := map[bool]string{true: "4", false: "6"}[strings.Contains(entry.Message, "warning=")]
		if strings.Contains(entry.Message, "time=") || entry.Priority != want {
			t.Errorf("in the journal with priority %s, want %s: %s", entry.Priority, want, entry.Message)
		}
		lines++
	}
	if lines < 5 {
		t.Errorf("%d lines in the journal", lines)
	}
}

// purge removes the package and everything: the keys go to an archive.
func purge(t *testing.T, h *serviceHost) {
	t.Helper()
	h.sh(t, "apt-get remove --yes --quiet rotate")
	if code, _ := h.try("systemctl is-active rotate"); code == 0 {
		t.Error("the service runs although the package was removed")
	}
	h.sh(t, "test -s /var/lib/rotate/rotate.db")
	h.sh(t, "apt-get purge --yes --quiet rotate")
	// In this container /var/lib/rotate is a disk of its own, which a purge leaves.
	listed := h.sh(t, `test ! -e /etc/rotate/keys; test -z "$(ls -A /var/lib/rotate)"
stat -c %a /var/backups/rotate-purged-*.tar; tar -tf /var/backups/rotate-purged-*.tar`)
	if !strings.HasPrefix(listed, "600\n") || !strings.Contains(listed, "var/lib/rotate/rotate.db") {
		t.Errorf("the archive of a purge:\n%s", listed)
	}
}

// otherPackage does with the .rpm what was done with the .deb: install, upgrade with a
// rotation under way, remove, and come back. rpm's own Debian has no packages of rpm,
// so that what the program needs of others is not looked at (--nodeps).
func otherPackage(t *testing.T, h *serviceHost) {
	t.Helper()
	const rpm = "rpm --nodeps --force-debian "
	h.sh(t, "userdel rotate; groupdel rotate-view; rm -rf /srv/consumer /srv/gate /srv/contoso-sync /etc/systemd/system/rotate* /var/backups/rotate-*; systemctl daemon-reload; ! id rotate")
	h.app = h.adopt(t, h.app.name, "self", h.tenant.ready.Apps[5], "/srv/consumer")
	stop := watchConsumers(t, []*adopted{h.app})
	installBy(t, h, rpm+"--install rotate-*.rpm")
	h.sh(t, "rpm --verify rotate | grep -v ' c /etc/rotate/config.yaml$' && exit 1; true")
	h.check(t)

	pid := h.property(t, "MainPID")
	h.close(t)
	config := h.sh(t, "sha256sum /etc/rotate/config.yaml")
	h.sh(t, rpm+"--upgrade /root/next/rotate-*.rpm")
	h.open(t)
	h.awaitAnother(t, pid)
	h.check(t)
	if said, _ := h.m.must(t, 0, "version"); !strings.Contains(said, "1.0.1") {
		t.Errorf("rotate version says %s", said)
	}
	if after := h.sh(t, "sha256sum /etc/rotate/config.yaml"); after != config {
		t.Error("the upgrade changed the configuration")
	}
	if enabled := h.sh(t, "systemctl is-enabled rotate"); enabled != "enabled" {
		t.Errorf("after the upgrade the service is %s", enabled)
	}

	stop()
	h.sh(t, rpm+"--erase rotate")
	for _, state := range []string{"is-active", "is-enabled"} {
		if code, out := h.try("systemctl " + state + " rotate"); code == 0 {
			t.Errorf("systemctl %s rotate, which was removed: %s", state, out)
		}
	}
	// Keys and configuration stay, and are found again.
	h.sh(t, `test -s /var/lib/rotate/rotate.db; test -s /etc/rotate/keys/store.key
test ! -e /usr/bin/rotate; test ! -e /usr/lib/systemd/system/rotate.service
mv /etc/rotate/config.yaml.rpmsave /etc/rotate/config.yaml
`+rpm+`--install /root/next/rotate-*.rpm
systemctl start rotate`)
	h.m.must(t, 0, "now", h.app.name, "--wait")
	h.check(t)
}
