package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rotate": main})
}

// TestScripts runs testdata/script/*.txt, each with the real program.
//
// Besides testscript's own commands there are
//
//	exits CODE COMMAND…       runs a command that must end with this exit code
//	waitfile FILE             waits until a file is there
//	waitsock FILE             waits until somebody listens on a socket
//	waitfor PATTERN COMMAND…  runs a command until its output matches
//	configure [KEY=VALUE…]    writes config.yaml for the tenant in tenant/; the
//	                          values go to defaults, those with a dot elsewhere
//	pair KIND FILE            makes a key pair that is wrong in some way
//	thumbprint PFX PASSWORD   prints the SHA-1 thumbprint of a PFX
//	leaks FILE…               fails if a file holds a secret of the tenant's apps
//	as UID COMMAND…           runs a command as another user (root only)
//	share                     lets other users enter the script's folder
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("ROTATE_CONFIG", filepath.Join(env.WorkDir, "config.yaml"))
			// Deliveries go to folders that nobody else can write to.
			return os.Mkdir(filepath.Join(env.WorkDir, "out"), 0o750)
		},
		Condition: func(name string) (bool, error) {
			if name == "superuser" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": cmdExits, "waitfile": cmdWaitFile, "waitsock": cmdWaitSock, "waitfor": cmdWaitFor,
			"configure": cmdConfigure, "pair": cmdPair, "thumbprint": cmdThumbprint, "leaks": cmdLeaks, "as": cmdAs, "share": cmdShare,
		},
	})
}

// patient is how long scripts wait for something.
const patient = 5 * time.Minute

func wait(ts *testscript.TestScript, what string, done func() bool) {
	for deadline := time.Now().Add(patient); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s: not after %s", what, patient)
		}
	}
}

func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 2, "exits CODE COMMAND…")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdWaitFile(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "waitfile FILE")
	wait(ts, "file "+args[0], func() bool { _, err := os.Stat(ts.MkAbs(args[0])); return err == nil })
}

func cmdWaitSock(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "waitsock FILE")
	wait(ts, "socket "+args[0], func() bool {
		c, err := net.Dial("unix", ts.MkAbs(args[0]))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 2, "waitfor PATTERN COMMAND…")
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	wait(ts, strings.Join(args, " "), func() bool {
		_ = ts.Exec(args[1], args[2:]...) // its output decides
		return pattern.MatchString(ts.ReadFile("stdout") + ts.ReadFile("stderr"))
	})
}

func readReady(ts *testscript.TestScript) emulator.Ready {
	var ready emulator.Ready
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("tenant/ready.json")), &ready))
	return ready
}

// cmdConfigure writes a configuration without waits, and sets ID, OBJECT, KEY,
// PFX and PASSWORD for app-1, ID2 and so on for the others.
func cmdConfigure(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg, "configure [KEY=VALUE…]")
	ready := readReady(ts)
	values := map[string]string{
		"overlap": "0s", "reload_within": "0s", "renew_before": "45d", "validity": "365d",
		"prove":        "{successes: 2, spacing: 50ms, within: 5m}",
		"upload_limit": "{per_hour: 100, per_day: 100}",
		"top.schedule": `"@every 1s"`, "top.name": "contoso", "top.login": ready.Login, "top.graph": ready.Graph,
		"top.identity": fmt.Sprintf("{client_id: %q, client_secret_file: %q}", ready.Admin.ClientID, ready.Admin.ClientSecretFile),
		"top.hooks":    "{}",
	}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		usage(ts, ok, "configure [KEY=VALUE…]")
		values[key] = value
	}
	var text strings.Builder
	fmt.Fprintf(&text, "allow_root: true\nstore: {path: data/rotate.db, identity_file: keys/store.key}\ncontrol: {socket: rotate.sock}\n")
	fmt.Fprintf(&text, "schedule: %s\nhooks: %s\ndefaults:\n", values["top.schedule"], values["top.hooks"])
	for _, key := range sorted(values) {
		if !strings.HasPrefix(key, "top.") {
			fmt.Fprintf(&text, "  %s: %s\n", key, values[key])
		}
	}
	fmt.Fprintf(&text, "tenants:\n  - name: %s\n    id: %q\n    cloud: {login: %q, graph: %q, ca_file: %q, removal: {reads: 1s, sign_ins: 2s, young: 2s}}\n",
		values["top.name"], ready.TenantID, values["top.login"], values["top.graph"], ready.CAFile)
	if values["top.identity"] != "none" {
		fmt.Fprintf(&text, "    identity: %s\n", values["top.identity"])
	}
	ts.Check(os.WriteFile(ts.MkAbs("config.yaml"), []byte(text.String()), 0o600))
	for i, app := range ready.Apps {
		n := ""
		if i > 0 {
			n = strconv.Itoa(i + 1)
		}
		ts.Setenv("ID"+n, app.ClientID)
		ts.Setenv("OBJECT"+n, app.ObjectID)
		ts.Setenv("KEY"+n, app.KeyID)
		ts.Setenv("PFX"+n, app.PFXFile)
		ts.Setenv("PASSWORD"+n, app.PasswordFile)
	}
}

func cmdPair(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "pair ec|nokey|mismatch|truncated|unregistered|expired FILE")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	ts.Check(err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	if args[0] == "expired" {
		template.NotAfter = time.Now().Add(-time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	ts.Check(err)
	leaf, err := x509.ParseCertificate(der)
	ts.Check(err)
	var data []byte
	switch args[0] {
	case "unregistered", "expired":
		data, err = pkcs12.Modern.Encode(key, leaf, nil, "secret")
	case "truncated":
		data, err = pkcs12.Modern.Encode(key, leaf, nil, "secret")
		data = data[:len(data)/2]
	case "mismatch":
		pkcs8, marshalErr := x509.MarshalPKCS8PrivateKey(other)
		ts.Check(marshalErr)
		data = append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	case "nokey":
		data = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	case "ec":
		curve, curveErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(curveErr)
		der, err = x509.CreateCertificate(rand.Reader, template, template, &curve.PublicKey, curve)
		ts.Check(err)
		leaf, err = x509.ParseCertificate(der)
		ts.Check(err)
		data, err = pkcs12.Modern.Encode(curve, leaf, nil, "secret")
	default:
		ts.Fatalf("unknown kind %q", args[0])
	}
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o600))
}

func cmdThumbprint(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "thumbprint PFX PASSWORD")
	pair, err := openPair(context.Background(), ts.MkAbs(args[0]), ts.MkAbs(args[1]))
	ts.Check(err)
	_, err = ts.Stdout().Write([]byte(rotator.ThumbprintSHA1(pair.Certificate) + "\n"))
	ts.Check(err)
}

// cmdLeaks looks for passwords and private keys in every form that a file could
// hold them in.
func cmdLeaks(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "leaks FILE…")
	secrets := map[string][]byte{"PEM": []byte("PRIVATE KEY-----")}
	ready := readReady(ts)
	secrets["admin"] = bytes.TrimSpace([]byte(ts.ReadFile(ready.Admin.ClientSecretFile)))
	add := func(name, pfxFile, passwordFile string) {
		pair, err := openPair(context.Background(), pfxFile, passwordFile)
		ts.Check(err)
		for i, part := range []*big.Int{pair.Key.D, pair.Key.Primes[0], pair.Key.Primes[1]} {
			raw := part.Bytes()
			// Base64 has three phases; what is in the middle is the same in each.
			secrets[fmt.Sprintf("%s key part %d", name, i)] = raw[8:40]
			for phase := range 3 {
				coded := base64.StdEncoding.EncodeToString(raw[phase:])
				secrets[fmt.Sprintf("%s key part %d base64 %d", name, i, phase)] = []byte(coded[4:44])
			}
		}
		secrets[name+" password"] = []byte(pair.Password)
	}
	for _, app := range ready.Apps {
		add(app.Name, app.PFXFile, app.PasswordFile)
	}
	delivered, err := filepath.Glob(ts.MkAbs("out/*.pfx"))
	ts.Check(err)
	for _, path := range delivered {
		add(filepath.Base(path), path, path+".password")
	}
	for _, arg := range args {
		var data []byte
		if arg == "stdout" || arg == "stderr" {
			data = []byte(ts.ReadFile(arg))
			findLeaks(ts, arg, data, secrets)
			continue
		}
		ts.Check(filepath.WalkDir(ts.MkAbs(arg), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			if data, err = os.ReadFile(path); err == nil {
				findLeaks(ts, path, data, secrets)
			}
			return err
		}))
	}
}

func findLeaks(ts *testscript.TestScript, where string, data []byte, secrets map[string][]byte) {
	for name, secret := range secrets {
		if bytes.Contains(data, secret) {
			ts.Fatalf("%s holds a secret: %s", where, name)
		}
	}
}

func cmdShare(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "share")
	for dir := ts.MkAbs("."); dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		ts.Check(os.Chmod(dir, 0o755))
	}
}

func cmdAs(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) >= 2, "as UID COMMAND…")
	uid, err := strconv.ParseUint(args[0], 10, 32)
	ts.Check(err)
	program, err := exec.LookPath(filepath.Join(ts.Getenv("PATH"), args[1]))
	if err != nil {
		for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
			if program, err = exec.LookPath(filepath.Join(dir, args[1])); err == nil {
				break
			}
		}
	}
	ts.Check(err)
	// The program lies in a folder that only this user can enter.
	program, err = filepath.EvalSymlinks(program)
	ts.Check(err)
	dir, err := os.MkdirTemp("", "as")
	ts.Check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	ts.Check(os.Chmod(dir, 0o755))
	copied := filepath.Join(dir, args[1])
	// Copied by another process: were it open for writing here, a program that
	// another test starts meanwhile would inherit it, and it could not be run
	// ("text file busy").
	ts.Check(exec.Command("cp", program, copied).Run())
	ts.Check(os.Chmod(copied, 0o755))
	cmd := exec.Command(copied, args[2:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "ROTATE_CONFIG=" + ts.Getenv("ROTATE_CONFIG"), "NO_COLOR=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.CombinedOutput()
	_, writeErr := ts.Stdout().Write(out)
	ts.Check(writeErr)
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		ts.Fatalf("as %s: %v", args[0], err)
	}
	if (err != nil) != neg {
		ts.Fatalf("as %s: %v, want failure %v\n%s", args[0], err, neg, out)
	}
}
