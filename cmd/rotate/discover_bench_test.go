//go:build e2e

package main_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
)

// TestDiscoverMemory lists a tenant of 1,000 and one of 20,000 apps with two
// certificates and a secret each, with the program and over TLS: the memory of the
// program does not grow with the tenant.
func TestDiscoverMemory(t *testing.T) {
	path, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	most := map[int]float64{}
	for _, apps := range []int{1_000, 20_000} {
		tenant := &emulator.Tenant{}
		seeds, err := tenant.SeedApps(1, emulator.PermissionsNone, 20*24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		certificate := seeds.Apps[0].KeyCredentials[0].Certificate
		for i := 1; i < apps; i++ {
			if _, err := tenant.AddApplication(emulator.Application{
				Name: fmt.Sprintf("Application number %d of Contoso", i), Owners: []string{seeds.Admin.ClientID},
				KeyCredentials: []emulator.KeyCredential{{DisplayName: "one", Certificate: certificate}, {DisplayName: "two", Certificate: certificate}},
				Secrets:        []emulator.Secret{{DisplayName: "three"}},
			}); err != nil {
				t.Fatal(err)
			}
		}
		server := httptest.NewTLSServer(tenant)
		defer server.Close()
		dir := t.TempDir()
		config := fmt.Sprintf(`allow_root: true
store: {path: rotate.db, identity_file: keys/store.key}
control: {socket: s}
tenants:
  - name: contoso
    id: %s
    cloud: {login: %q, graph: %q, ca_file: ca.pem, removal: {reads: 1s, sign_ins: 2s, young: 2s}}
    identity: {client_id: %s, client_secret: %q}
`, tenant.TenantID(), server.URL, server.URL, seeds.Admin.ClientID, seeds.Admin.Secrets[0].Text)
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		if err := errors.Join(
			os.Chmod(dir, 0o700),
			os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600),
			os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600),
		); err != nil {
			t.Fatal(err)
		}
		// ru_maxrss of a child counts the pages of its parent before exec, so the
		// kernel's high-water mark is read while the program writes.
		run := func(args ...string) (lines int, highest float64) {
			cmd := exec.Command(path, append(args, "--config", filepath.Join(dir, "config.yaml"))...)
			var said bytes.Buffer
			cmd.Stderr = &said
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for buffer := make([]byte, 64<<10); err == nil; {
				var n int
				n, err = out.Read(buffer)
				lines += bytes.Count(buffer[:n], []byte("\n"))
				highest = max(highest, highWater(cmd.Process.Pid))
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, said.String())
			}
			return lines, highest
		}
		run("init", "--no-recovery")
		began := time.Now()
		lines, highest := run("discover", "-o", "csv")
		most[apps] = highest
		t.Logf("%d apps: %d lines, at most %.0f MiB resident, %s", apps, lines, highest, time.Since(began).Round(time.Millisecond))
		if lines < 3*apps || highest == 0 {
			t.Errorf("%d lines for %d apps", lines, apps)
		}
	}
	if most[20_000] > 1.5*most[1_000] || most[20_000] > 120 {
		t.Errorf("%.0f MiB for 20,000 apps, %.0f for 1,000", most[20_000], most[1_000])
	}
}

// highWater is the most memory that a process has had so far, in MiB; zero if it
// has ended.
func highWater(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 0
}
