//go:build e2e

package pfx_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/pfx"
)

// openssl runs the program and returns what it wrote to standard output.
func openssl(t *testing.T, arguments ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", arguments...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v: %s", strings.Join(arguments, " "), err, stderr.String())
	}
	return out
}

func TestOpenSSLReads(t *testing.T) {
	for _, password := range []string{"correct horse", "", "pässwörd-密码"} {
		for _, e := range []pfx.Encoding{pfx.Modern, pfx.LegacyDES} {
			t.Run(fmt.Sprintf("%s/%q", e, password), func(t *testing.T) {
				chain := []*x509.Certificate{keys().ca}
				file := filepath.Join(t.TempDir(), "app.pfx")
				if err := os.WriteFile(file, encode(t, e, chain, password), 0o600); err != nil {
					t.Fatal(err)
				}
				out := openssl(t, "pkcs12", "-in", file, "-nodes", "-passin", "pass:"+password)
				p, err := pfx.Decode(out, "")
				if err != nil {
					t.Fatalf("Decode of what openssl shows: %v", err)
				}
				checkPair(t, p, chain)
			})
		}
	}
}

func TestOpenSSLWrites(t *testing.T) {
	folder := t.TempDir()
	source, ca := filepath.Join(folder, "app.pem"), filepath.Join(folder, "ca.pem")
	if err := os.WriteFile(source, encode(t, pfx.PEM, nil, ""), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, block("CERTIFICATE", keys().ca.Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		arguments []string
		password  string
		want      error
	}{
		"defaults":            {nil, "correct horse", nil},
		"unicode password":    {nil, "pässwörd-密码", nil},
		"empty password":      {nil, "", nil},
		"name":                {[]string{"-name", "contoso ☃", "-CSP", "Microsoft Enhanced RSA and AES Cryptographic Provider", "-LMK"}, "x", nil},
		"legacy":              {[]string{"-legacy"}, "x", nil},
		"legacy, unicode":     {[]string{"-legacy"}, "pässwörd-密码", nil},
		"des":                 {[]string{"-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"}, "x", nil},
		"rc2 certificate":     {[]string{"-legacy", "-certpbe", "PBE-SHA1-RC2-40", "-keypbe", "PBE-SHA1-RC2-128"}, "x", nil},
		"aes 128":             {[]string{"-keypbe", "AES-128-CBC", "-certpbe", "AES-192-CBC"}, "x", nil},
		"clear certificate":   {[]string{"-certpbe", "NONE"}, "x", nil},
		"clear key":           {[]string{"-keypbe", "NONE"}, "x", nil},
		"all clear":           {[]string{"-keypbe", "NONE", "-certpbe", "NONE"}, "x", nil},
		"mac sha512":          {[]string{"-macalg", "sha512"}, "x", nil},
		"B7 mac sha384":       {[]string{"-macalg", "sha384"}, "x", nil},
		"many rounds":         {[]string{"-iter", "100000"}, "x", nil},
		"one round":           {[]string{"-noiter", "-nomaciter"}, "x", nil},
		"aria":                {[]string{"-keypbe", "ARIA-256-CBC"}, "x", pfx.ErrUnsupported},
		"no key":              {[]string{"-nokeys"}, "x", pfx.ErrNoKey},
		"no mac":              {[]string{"-nomac"}, "x", pfx.ErrFormat},
		"no mac, no password": {[]string{"-nomac"}, "", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "app.pfx")
			arguments := append([]string{"pkcs12", "-export", "-in", source, "-certfile", ca, "-out", file, "-passout", "pass:" + tt.password}, tt.arguments...)
			openssl(t, arguments...)
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, err := pfx.Decode(data, tt.password)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Decode = %v, want %v", err, tt.want)
			}
			if tt.want == nil {
				checkPair(t, p, []*x509.Certificate{keys().ca})
				if _, err := pfx.Decode(data, tt.password+"?"); err == nil {
					t.Error("Decode accepts another password")
				}
			}
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "key.pfx")
		openssl(t, "pkcs12", "-export", "-in", source, "-nocerts", "-out", file, "-passout", "pass:x")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pfx.Decode(data, "x"); !errors.Is(err, pfx.ErrNoCertificate) {
			t.Errorf("Decode = %v, want %v", err, pfx.ErrNoCertificate)
		}
	})
	t.Run("DSA key", func(t *testing.T) {
		folder := t.TempDir()
		parameters, key, file := filepath.Join(folder, "dsa.par"), filepath.Join(folder, "dsa.pem"), filepath.Join(folder, "dsa.pfx")
		openssl(t, "genpkey", "-genparam", "-algorithm", "DSA", "-pkeyopt", "dsa_paramgen_bits:1024", "-out", parameters)
		openssl(t, "req", "-x509", "-newkey", "param:"+parameters, "-keyout", key, "-nodes", "-subj", "/CN=dsa", "-out", key+".cer")
		openssl(t, "pkcs12", "-export", "-in", key+".cer", "-inkey", key, "-out", file, "-passout", "pass:x")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pfx.Decode(data, "x"); !errors.Is(err, pfx.ErrNotRSA) {
			t.Errorf("Decode = %v, want %v", err, pfx.ErrNotRSA)
		}
	})
}
