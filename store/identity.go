package store

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"

	"github.com/seed-f0abd057/rotate/config/textfile"
	"github.com/seed-f0abd057/rotate/rotator"
)

// maxIdentityBytes bounds an identity file; one has about 200 bytes.
const maxIdentityBytes = 64 << 10

// sealer seals and opens secrets with age.
type sealer struct {
	identities []age.Identity
	recipients []age.Recipient
}

// newSealer seals to the host's identity and, unless empty, to the recovery
// recipient.
func newSealer(identities []*age.X25519Identity, recovery string) (*sealer, error) {
	s := &sealer{recipients: []age.Recipient{identities[0].Recipient()}}
	for _, identity := range identities {
		s.identities = append(s.identities, identity)
	}
	if recovery != "" {
		recipient, err := parseRecovery(recovery)
		if err != nil {
			return nil, err
		}
		s.recipients = append(s.recipients, recipient)
	}
	return s, nil
}

func parseRecovery(recovery string) (*age.X25519Recipient, error) {
	return parseRecipient("recovery recipient", recovery)
}

// parseRecipient reads a recipient; what names it in errors, which never quote
// a private key.
func parseRecipient(what, text string) (*age.X25519Recipient, error) {
	if strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-") {
		return nil, usagef("the %s is a private key; give its public half (age1…), which \"age-keygen -y\" prints, and keep the private one off this host", what)
	}
	recipient, err := age.ParseX25519Recipient(text)
	if err != nil {
		return nil, usagef("%s %q is not one of age (age1…): %v", what, text, err)
	}
	return recipient, nil
}

func (s *sealer) seal(plain []byte) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, s.recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

// open returns [ErrWrongIdentity] if it was sealed for others.
func (s *sealer) open(sealed []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), s.identities...)
	if err != nil {
		if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
			return nil, ErrWrongIdentity
		}
		return nil, err
	}
	// What is sealed is shorter than its seal: the buffer never grows, which would
	// leave copies of a key behind.
	plain := bytes.NewBuffer(make([]byte, 0, len(sealed)+bytes.MinRead))
	_, err = plain.ReadFrom(r)
	return plain.Bytes(), err
}

// readIdentity reads the identity file, which nobody but its owner, us or
// root, may read. A symbolic link is followed, as systemd's credentials need.
func readIdentity(path string) (identities []*age.X25519Identity, err error) {
	file, err := os.Open(path) //nolint:gosec // the path is the operator's setting
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("identity file %s: %w", path, ErrNotInitialised)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("identity file %s: %w: this user may not read it; run \"chown %d %s\"", path, ErrPermissions, os.Geteuid(), path)
	case err != nil:
		return nil, fmt.Errorf("identity file: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read from
	if err := checkPrivate(file, path); err != nil {
		return nil, fmt.Errorf("identity file %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxIdentityBytes))
	if err != nil {
		return nil, fmt.Errorf("identity file: %w", err)
	}
	if text, err = textfile.Decode(text); err != nil {
		return nil, fmt.Errorf("identity file %s: %w", path, err)
	}
	return parseIdentities(text, path)
}

// parseIdentities reads the text of an identity file.
func parseIdentities(text []byte, path string) (identities []*age.X25519Identity, err error) {
	// The library's error is dropped on purpose: it can quote the key.
	parsed, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("identity file %s holds no age identity: one line AGE-SECRET-KEY-1… is expected, others only if they begin with #", path)
	}
	for _, identity := range parsed {
		x, ok := identity.(*age.X25519Identity)
		if !ok {
			return nil, fmt.Errorf("identity file %s: only identities of the form AGE-SECRET-KEY-1… are supported", path)
		}
		identities = append(identities, x)
	}
	return identities, nil
}

// sealedPair is a key pair as it is sealed.
type sealedPair struct {
	// Key is PKCS#8 DER.
	Key         []byte            `json:"key"`
	Certificate []byte            `json:"certificate"`
	Chain       [][]byte          `json:"chain,omitempty"`
	Password    string            `json:"password,omitempty"`
	Encoded     map[string][]byte `json:"encoded,omitempty"`
	// FriendlyName is that of the encoded files.
	FriendlyName string `json:"friendly_name,omitempty"`
	// Others are those of other apps, by name.
	Others map[string]sealedFiles `json:"others,omitempty"`
}

// sealedFiles are an app's own files of a pair that several apps have.
type sealedFiles struct {
	Password     string            `json:"password,omitempty"`
	FriendlyName string            `json:"friendly_name,omitempty"`
	Encoded      map[string][]byte `json:"encoded,omitempty"`
}

func (s *sealer) sealPair(pair rotator.KeyPair) ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(pair.Key)
	if err != nil {
		return nil, fmt.Errorf("encode the private key: %w", err)
	}
	var others map[string]sealedFiles
	for app, files := range pair.Others {
		if others == nil {
			others = map[string]sealedFiles{}
		}
		others[app] = sealedFiles(files)
	}
	plain, err := json.Marshal(sealedPair{ //nolint:gosec // G117: it is sealed in the next lines
		Key: key, Certificate: pair.Certificate, Chain: pair.Chain,
		Password: pair.Password, Encoded: pair.Encoded, FriendlyName: pair.FriendlyName, Others: others,
	})
	if err != nil {
		return nil, errors.New("encode the pair") // the cause may quote it
	}
	defer clear(plain)
	return s.seal(plain)
}

// openPair opens a pair and checks that it is the one that was asked for. Its
// errors never quote what was sealed.
func (s *sealer) openPair(sealed []byte, want rotator.Thumbprint) (rotator.KeyPair, error) {
	plain, err := s.open(sealed)
	if err != nil {
		return rotator.KeyPair{}, err
	}
	defer clear(plain)
	return parsePair(plain, want)
}

// parsePair reads what was sealed.
func parsePair(plain []byte, want rotator.Thumbprint) (rotator.KeyPair, error) {
	var p sealedPair
	d := json.NewDecoder(bytes.NewReader(plain))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return rotator.KeyPair{}, fmt.Errorf("%w: what is sealed has fields that are not known", errRecordVersion)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(p.Key)
	if err != nil {
		return rotator.KeyPair{}, errors.New("what is sealed holds no private key")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return rotator.KeyPair{}, errors.New("what is sealed holds no RSA key")
	}
	pair := rotator.KeyPair{Key: key, Certificate: p.Certificate, Chain: p.Chain, Password: p.Password, Encoded: p.Encoded, FriendlyName: p.FriendlyName}
	for app, files := range p.Others {
		if pair.Others == nil {
			pair.Others = map[string]rotator.Files{}
		}
		pair.Others[app] = rotator.Files(files)
	}
	if pair.Thumbprint() != want {
		return rotator.KeyPair{}, errors.New("what is sealed is another pair")
	}
	return pair, nil
}
