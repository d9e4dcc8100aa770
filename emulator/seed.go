package emulator

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"sync"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// What seeded apps may be granted.
const (
	// PermissionsVendor are the four permissions that a backup service asks for:
	// Mail.Read, User.Read.All, Directory.Read.All, MailboxSettings.Read.
	PermissionsVendor = "vendor"
	// PermissionsNone is nothing: the app cannot read its own list.
	PermissionsNone = "none"
)

// year is how long the certificates of seeded apps live in all.
const year = 365 * 24 * time.Hour

// DefaultNotAfter is how long seeded certificates still live if nothing is said.
const DefaultNotAfter = 20 * 24 * time.Hour

// Seeds are what [Tenant.SeedApps] made.
type Seeds struct {
	// Admin may manage the apps: it holds Application.ReadWrite.OwnedBy, owns them,
	// and has one client secret.
	Admin Application
	// Apps are named app-1, app-2, and so on.
	Apps []SeededApp
}

// A SeededApp is an app whose certificate is about to end. It also has a foreign
// certificate and a foreign client secret.
type SeededApp struct {
	Application
	// KeyID is that of its own certificate.
	KeyID string
	// PFX is its own certificate with the private key, AES-256 and SHA-256.
	PFX []byte
	// Password opens the PFX.
	Password string
}

// SeedApps adds an admin and a number of apps with real self-signed RSA-2048
// certificates, which live for notAfter more (negative: they have expired).
// permissions is [PermissionsVendor] or [PermissionsNone].
//
// Making keys takes about a tenth of a second each; all cores are used.
func (t *Tenant) SeedApps(apps int, permissions string, notAfter time.Duration) (Seeds, error) {
	var granted []string
	switch permissions {
	case PermissionsVendor:
		granted = []string{"Mail.Read", "User.Read.All", "Directory.Read.All", "MailboxSettings.Read"}
	case PermissionsNone:
	default:
		return Seeds{}, fmt.Errorf("emulator: unknown permissions %q: want %q or %q", permissions, PermissionsVendor, PermissionsNone)
	}
	if apps < 0 {
		return Seeds{}, fmt.Errorf("emulator: %d apps", apps)
	}
	t.lock()
	now := t.now().Truncate(time.Second)
	t.mu.Unlock()
	keys, err := generateKeys(apps + 1)
	if err != nil {
		return Seeds{}, err
	}
	admin, err := t.AddApplication(Application{
		Name:        "rotate admin",
		Secrets:     []Secret{{DisplayName: "admin"}},
		Permissions: []string{"Application.ReadWrite.OwnedBy"},
	})
	if err != nil {
		return Seeds{}, err
	}
	s := Seeds{Admin: admin}
	for i := range apps {
		app, err := t.seedApp(fmt.Sprintf("app-%d", i+1), keys[i+1], keys[0], now, notAfter, Application{
			Permissions: granted, Owners: []string{admin.ClientID},
		})
		if err != nil {
			return Seeds{}, err
		}
		s.Apps = append(s.Apps, app)
	}
	return s, nil
}

// seedApp adds one app: key is its own, foreign that of somebody else.
func (t *Tenant) seedApp(name string, key, foreign *rsa.PrivateKey, now time.Time, notAfter time.Duration, a Application) (SeededApp, error) {
	end := now.Add(notAfter)
	own, err := selfSign(name, key, earlier(end.Add(-year), now.Add(-time.Hour)), end)
	if err != nil {
		return SeededApp{}, err
	}
	other, err := selfSign(name+" foreign", foreign, now.Add(-time.Hour), now.Add(year))
	if err != nil {
		return SeededApp{}, err
	}
	a.Name = name
	a.KeyCredentials = []KeyCredential{
		{DisplayName: "CN=" + name, Certificate: own.Raw},
		{DisplayName: "somebody else's certificate", Certificate: other.Raw},
	}
	a.Secrets = []Secret{{DisplayName: "somebody else's secret"}}
	if a, err = t.AddApplication(a); err != nil {
		return SeededApp{}, err
	}
	seeded := SeededApp{Application: a, KeyID: a.KeyCredentials[0].KeyID, Password: randomText()}
	if seeded.PFX, err = pkcs12.Modern2023.Encode(key, own, nil, seeded.Password); err != nil {
		return SeededApp{}, fmt.Errorf("emulator: encode the PFX of %s: %w", name, err)
	}
	return seeded, nil
}

// selfSign makes a self-signed certificate as New-SelfSignedCertificate does.
//
// https://learn.microsoft.com/entra/identity-platform/howto-create-self-signed-certificate
func selfSign(name string, key *rsa.PrivateKey, from, until time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    from,
		NotAfter:     until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("emulator: make the certificate of %s: %w", name, err)
	}
	return x509.ParseCertificate(der)
}

// generateKeys makes n RSA-2048 keys on all cores.
func generateKeys(n int) ([]*rsa.PrivateKey, error) {
	keys := make([]*rsa.PrivateKey, n)
	errs := make([]error, n)
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var group sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := range next {
				keys[i], errs[i] = rsa.GenerateKey(rand.Reader, minKeyBits)
			}
		})
	}
	group.Wait()
	return keys, errors.Join(errs...)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
