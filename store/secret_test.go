package store_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// forms are the ways in which bytes could be found again: as they are, in hex,
// and in base64 at each of its three alignments.
func forms(secret []byte) map[string][]byte {
	forms := map[string][]byte{"bytes": secret, "hex": []byte(hex.EncodeToString(secret))}
	for shift := range 3 {
		if len(secret) > shift+6 {
			text := base64.RawStdEncoding.EncodeToString(secret[shift:])
			forms["base64/"+string(rune('0'+shift))] = []byte(text[:len(text)-2])
		}
	}
	return forms
}

func TestWrongIdentity(t *testing.T) {
	p, other := newPlace(t), newPlace(t)
	before := read(t, p.Path)
	p.IdentityFile = other.IdentityFile
	_, err := store.Open(t.Context(), p.Options)
	if !errors.Is(err, store.ErrWrongIdentity) || !strings.Contains(err.Error(), p.Path) {
		t.Errorf("Open with the identity of another store: %v", err)
	}
	if read(t, p.Path) != before {
		t.Error("the file was changed")
	}
}

func TestRecoveryRecipientOpensTheStore(t *testing.T) {
	recovery, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := store.InitOptions{Path: filepath.Join(dir, "a/b/rotate.db"), IdentityFile: filepath.Join(dir, "c/store.key"), Recovery: recovery.Recipient().String()}
	made, err := store.Init(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p := place{store.Options{Path: o.Path, IdentityFile: o.IdentityFile}}
	s := p.open(t)
	if s.ID() != made.ID || len(made.ID) != 8 || !strings.HasPrefix(made.Recipient, "age1") || !s.HasRecovery() {
		t.Errorf("Init made %+v, the store is %q", made, s.ID())
	}
	mustChange(t, s, "app-1", func(r *rotator.Records) { r.Seal = pairs()[:1] })
	s.Close()

	p.IdentityFile = filepath.Join(dir, "recovery.key")
	write(t, p.IdentityFile, recovery.String())
	if _, err := p.open(t).KeyPair(t.Context(), pairs()[0].Thumbprint()); err != nil {
		t.Errorf("KeyPair with the recovery identity: %v", err)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	p := newPlace(t)
	o := store.InitOptions{Path: p.Path, IdentityFile: p.IdentityFile}
	for _, test := range []struct {
		name   string
		change func(*store.InitOptions)
		want   string
	}{
		{"both there", func(*store.InitOptions) {}, p.Path},
		{"identity there", func(o *store.InitOptions) { o.Path += "2" }, p.IdentityFile},
		{"store there", func(o *store.InitOptions) { o.IdentityFile += "2" }, p.Path},
		{"no path", func(o *store.InitOptions) { o.Path, o.IdentityFile = o.Path+"2", "" }, "no path"},
		{"recovery is none", func(o *store.InitOptions) {
			o.Path, o.IdentityFile, o.Recovery = o.Path+"2", o.IdentityFile+"2", "age1nonsense"
		}, "age1nonsense"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, key, db := o, read(t, p.IdentityFile), read(t, p.Path)
			test.change(&o)
			if _, err := store.Init(t.Context(), o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Init: %v, want an error that names %s", err, test.want)
			}
			if read(t, p.IdentityFile) != key || read(t, p.Path) != db {
				t.Error("a file was changed")
			}
			for _, path := range []string{p.Path + "2", p.IdentityFile + "2"} {
				if _, err := os.Lstat(path); err == nil {
					t.Errorf("%s was left behind", path)
				}
			}
		})
	}
	t.Run("identity kept", func(t *testing.T) {
		o := store.InitOptions{Path: p.Path + "3", IdentityFile: p.IdentityFile, KeepIdentity: true}
		if _, err := store.Init(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		place{store.Options{Path: o.Path, IdentityFile: o.IdentityFile}}.open(t)
	})
}

func TestIdentityErrorsShowNoKey(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := identity.String()
	p := newPlace(t)
	for name, text := range map[string]string{
		"text before the key": "key: " + key,
		"broken key":          key[:len(key)-3] + "QQQ",
		"lower case":          strings.ToLower(key),
		"cut off":             key[:40],
		"plugin":              "AGE-PLUGIN-YUBIKEY-" + key[16:],
		"empty":               "",
		"key and rubbish":     key + "\nrubbish " + key,
	} {
		write(t, p.IdentityFile, text)
		_, err := store.Open(t.Context(), p.Options)
		if err == nil || !strings.Contains(err.Error(), p.IdentityFile) {
			t.Errorf("%s: %v, want an error that names the file", name, err)
			continue
		}
		if strings.Contains(strings.ToUpper(err.Error()), key[20:30]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	_, err = store.Init(t.Context(), store.InitOptions{Path: p.Path + "2", IdentityFile: p.IdentityFile + "2", Recovery: key})
	if err == nil || strings.Contains(err.Error(), key[20:30]) {
		t.Errorf("a private key as recovery recipient: %v", err)
	}
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}
