package main_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// full is a host whose store tracks many apps, with nothing to do for a month.
type full struct {
	dir, socket string
	client      *http.Client
}

// newFull makes the configuration and the store.
func newFull(tb testing.TB, apps int) *full {
	tb.Helper()
	f := &full{dir: tb.TempDir(), socket: filepath.Join(tb.TempDir(), "s")}
	f.client = &http.Client{Timeout: patient, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", f.socket)
		},
		DisableKeepAlives: true,
	}}
	config := fmt.Sprintf(`allow_root: true
store: {path: rotate.db, identity_file: keys/store.key}
control: {socket: %q}
schedule: "@every 1h"
tenants: [{name: contoso, id: 11111111-2222-3333-4444-555555555555, cloud: global}]
`, f.socket)
	err := errors.Join(os.Chmod(f.dir, 0o700), os.WriteFile(filepath.Join(f.dir, "config.yaml"), []byte(config), 0o600))
	if err != nil {
		tb.Fatal(err)
	}
	o := store.Options{Path: filepath.Join(f.dir, "rotate.db"), IdentityFile: filepath.Join(f.dir, "keys", "store.key"), NoSync: true}
	if _, err := store.Init(tb.Context(), store.InitOptions{Path: o.Path, IdentityFile: o.IdentityFile}); err != nil {
		tb.Fatal(err)
	}
	db, err := store.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	names := make([]string, apps)
	for i := range names {
		names[i] = fmt.Sprintf("app-%06d", i)
	}
	track := tracker(tb)
	for batch := range slices.Chunk(names, 8) { // apps come few at a time
		if err := db.ChangeAll(tb.Context(), batch, track); err != nil {
			tb.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
	return f
}

// tracker returns what adds one app after the other: with a sealed pair of its
// own, a rotation in its history, and the lines that it left in the audit trail.
func tracker(tb testing.TB) func(string, *rotator.Records) error {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now().UTC()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(1), 126), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(365 * 24 * time.Hour), SignatureAlgorithm: x509.SHA256WithRSA,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	// The low half of the serial number counts: each app has another certificate,
	// as far as the store knows.
	raw := template.SerialNumber.Bytes()
	at := strings.Index(string(der), string(raw)) + len(raw)/2
	file := make([]byte, 2600) // as long as a PFX
	_, _ = rand.Read(file)
	i := 0
	return func(name string, r *rotator.Records) error {
		i++
		binary.BigEndian.PutUint64(der[at:], uint64(i))
		current, err := rotator.CredentialOf(der)
		if err != nil {
			return err
		}
		current.KeyID = rotator.KeyID(fmt.Sprintf("00000000-0000-0000-0001-%012d", i))
		current.NotAfter = now.Add(80*24*time.Hour + time.Duration(i)*time.Minute)
		began := now.Add(-time.Duration(i) * time.Second)
		id := fmt.Sprintf("r%09d", i)
		r.App = &rotator.App{
			Name: name, Tenant: "contoso", Mode: rotator.ModeSelf, DisplayName: "Backup of " + name,
			ClientID: rotator.ClientID(fmt.Sprintf("00000000-0000-0000-0002-%012d", i)),
			ObjectID: rotator.ObjectID(fmt.Sprintf("00000000-0000-0000-0003-%012d", i)),
			Current:  &current, LastRotation: id, AddedAt: began, AddedBy: "bench",
			Permissions: []string{"Mail.Read", "User.Read.All", "Directory.Read.All", "MailboxSettings.Read"},
			Deliveries:  []rotator.Delivery{{Kind: rotator.DeliverFile, Path: "/var/lib/consumer/" + name + ".pfx"}},
		}
		r.Rotation = &rotator.Rotation{
			ID: id, App: name, Mode: rotator.ModeSelf, By: "schedule", Phase: rotator.PhaseRetired, New: current,
			StartedAt: began, EndedAt: now, Outcome: "the certificate was replaced",
			PhaseAt: map[rotator.Phase]time.Time{rotator.PhasePlanned: began, rotator.PhaseRetired: now},
		}
		r.Seal = []rotator.KeyPair{{Key: key, Certificate: slices.Clone(der), Password: "0123456789abcdef", Encoded: map[string][]byte{"modern": file}}}
		r.Wakes = []rotator.Wake{{Kind: rotator.WakeStart, App: name, At: current.NotAfter.Add(-45 * 24 * time.Hour)}}
		for _, what := range []string{
			"app added", "rotation planned", "certificate upload begun", "rotation uploaded", "rotation proven",
			"rotation delivered", "rotation confirmed", "certificate removal sent", "rotation retired",
		} {
			r.Audit = append(r.Audit, rotator.AuditEntry{At: now, By: "schedule", What: what, App: name, Rotation: id, Thumbprint: current.ThumbprintSHA256})
		}
		return nil
	}
}

// start starts the daemon and returns it when it says that it is ready, and how
// long that took.
func (f *full) start(tb testing.TB) (*exec.Cmd, time.Duration) {
	tb.Helper()
	path, err := buildProgram()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(path, "daemon", "--config", filepath.Join(f.dir, "config.yaml"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = diesWithUs()
	log, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.stop(tb, cmd) })
	var said strings.Builder
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "msg=ready") {
			took := time.Since(began)
			go func() {
				for lines.Scan() { // so that it can go on talking
				}
			}()
			return cmd, took
		}
		said.WriteString(lines.Text() + "\n")
	}
	tb.Fatalf("the daemon ended before it was ready:\n%s", said.String())
	return nil, 0
}

func (f *full) stop(tb testing.TB, cmd *exec.Cmd) {
	tb.Helper()
	if cmd.ProcessState != nil {
		return
	}
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
		tb.Error(err)
	}
}

// awaitCheck waits until the daemon has recorded the end of a check that began
// after the instant.
func (f *full) awaitCheck(tb testing.TB, after time.Time) {
	tb.Helper()
	var status struct {
		LastCheck      time.Time `json:"last_check"`
		LastCheckError string    `json:"last_check_error"`
	}
	for deadline := time.Now().Add(3 * patient); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		answer, err := f.client.Get("http://rotate/v1/status?app=app-000000")
		if err != nil {
			tb.Fatal(err)
		}
		err = errors.Join(json.NewDecoder(answer.Body).Decode(&status), answer.Body.Close())
		if err != nil || status.LastCheckError != "" {
			tb.Fatalf("%v %s", err, status.LastCheckError)
		}
		if status.LastCheck.After(after) {
			return
		}
	}
	tb.Fatalf("no check for %s", 3*patient)
}

// memory of a process in MiB.
type memory struct {
	// rss is all that is resident, of it anonymous what the program holds, and
	// the rest pages of files that the kernel takes back when it wants to.
	rss, anonymous float64
}

func (m memory) String() string {
	return fmt.Sprintf("%.1f MiB resident, %.1f of it anonymous", m.rss, m.anonymous)
}

// memoryOf asks the kernel.
func memoryOf(tb testing.TB, pid int) memory {
	tb.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	var m memory
	for line := range strings.Lines(string(data)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			m.rss = kib / 1024
		}
		if _, err := fmt.Sscanf(line, "RssAnon: %f kB", &kib); err == nil {
			m.anonymous = kib / 1024
		}
	}
	if m.rss == 0 || m.anonymous == 0 {
		tb.Fatalf("no memory in %s", data)
	}
	return m
}

// BenchmarkDaemon starts the daemon with a store that is full and in which nothing
// is due, again and again: how long until it is ready, and how much memory it has
// after its first check. The first start of all is another matter: it builds the
// due index, once, and is not counted.
func BenchmarkDaemon(b *testing.B) {
	for _, apps := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("apps=%d", apps), func(b *testing.B) {
			if _, err := buildProgram(); err != nil {
				b.Fatal(err)
			}
			f := newFull(b, apps)
			began := time.Now()
			cmd, _ := f.start(b)
			f.awaitCheck(b, began)
			b.Logf("first start: check after %s, then %s", time.Since(began).Round(time.Millisecond), memoryOf(b, cmd.Process.Pid))
			f.stop(b, cmd)
			var ready time.Duration
			var most float64
			n := 0
			for b.Loop() {
				n++
				began := time.Now()
				cmd, took := f.start(b)
				f.awaitCheck(b, began)
				ready += took
				most = max(most, memoryOf(b, cmd.Process.Pid).rss)
				f.stop(b, cmd)
			}
			b.ReportMetric(float64(ready.Milliseconds())/float64(n), "ms-to-ready")
			b.ReportMetric(most, "MiB-RSS")
		})
	}
}
