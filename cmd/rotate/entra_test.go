package main_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"software.sslmate.com/src/go-pkcs12"
)

// tenantServer is a running "rotate emulator", and a client of it that shares no
// code with the program.
type tenantServer struct {
	*process
	// name in the configuration.
	name   string
	log    string
	ready  readyFile
	client *http.Client
}

// readyFile is ready.json.
type readyFile struct {
	Login    string     `json:"login"`
	Graph    string     `json:"graph"`
	CAFile   string     `json:"ca_file"`
	TenantID string     `json:"tenant_id"`
	Admin    readyAdmin `json:"admin"`
	Apps     []readyApp `json:"apps"`
	// Administrator may do what an administrator's roles permit.
	Administrator readyAdmin `json:"administrator"`
}

type readyAdmin struct {
	ClientID         string `json:"client_id"`
	ObjectID         string `json:"object_id"`
	ClientSecretFile string `json:"client_secret_file"`
}

type readyApp struct {
	Name         string `json:"name"`
	ClientID     string `json:"client_id"`
	ObjectID     string `json:"object_id"`
	KeyID        string `json:"key_id"`
	PFXFile      string `json:"pfx_file"`
	PasswordFile string `json:"password_file"`
}

// startTenant runs "rotate emulator" with more flags and waits until it is ready.
func startTenant(t *testing.T, name string, flags ...string) *tenantServer {
	t.Helper()
	dir := filepath.Join(t.ArtifactDir(), "tenant-"+name)
	s := &tenantServer{name: name, log: filepath.Join(dir, "requests.log")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.process = launch(t, dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir},
		append([]string{"emulator", "--listen", "127.0.0.1:0", "--dir", dir, "--log", s.log}, flags...)...)
	eventually(t, patient, func() error {
		if s.hasEnded() {
			t.Fatalf("%s ended: %s", s.process, s.stderr.String())
		}
		data, err := os.ReadFile(filepath.Join(dir, "ready.json"))
		if err != nil {
			return err
		}
		return json.Unmarshal(data, &s.ready)
	})
	authority, err := os.ReadFile(s.ready.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		t.Fatalf("%s holds no certificate", s.ready.CAFile)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 16}
	s.client = &http.Client{Transport: transport, Timeout: time.Minute}
	t.Cleanup(transport.CloseIdleConnections)
	return s
}

// exchange asks until there is an answer that decides: a throttled, failed or
// lost one does not.
func (s *tenantServer) exchange(ctx context.Context, method, address string, header http.Header, body []byte) (int, []byte, error) {
	for {
		r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
		if err != nil {
			return 0, nil, err
		}
		r.Header = header
		status, data, err := s.once(r)
		if err == nil && status != http.StatusTooManyRequests && status < 500 {
			return status, data, nil
		}
		select {
		case <-ctx.Done():
			return status, data, errors.Join(ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *tenantServer) once(r *http.Request) (int, []byte, error) {
	answer, err := s.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	return answer.StatusCode, data, err
}

// refusal is what the login host says instead of a token.
type refusal struct {
	status, number int
	text           string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.status, r.text) }

// notRegistered is the number of a certificate that the app does not carry:
// AADSTS700027.
const notRegistered = 700027

// token asks for one with a form that already names the client.
func (s *tenantServer) token(ctx context.Context, form url.Values) (string, error) {
	form.Set("grant_type", "client_credentials")
	form.Set("scope", s.ready.Graph+"/.default")
	status, data, err := s.exchange(ctx, http.MethodPost, s.tokenEndpoint(),
		http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte(form.Encode()))
	if err != nil {
		return "", err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return "", fmt.Errorf("%d: %w: %s", status, err, data)
	}
	if status != http.StatusOK || answer.AccessToken == "" {
		refused := &refusal{status: status, text: answer.Description}
		if len(answer.Codes) > 0 {
			refused.number = answer.Codes[0]
		}
		return "", refused
	}
	return answer.AccessToken, nil
}

func (s *tenantServer) tokenEndpoint() string {
	return s.ready.Login + "/" + s.ready.TenantID + "/oauth2/v2.0/token"
}

// keyPair is what a consumer holds.
type keyPair struct {
	key         *rsa.PrivateKey
	certificate *x509.Certificate
	password    string
}

// thumbprint is the SHA-256 of the certificate.
func (p keyPair) thumbprint() string {
	sum := sha256.Sum256(p.certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// openPFX opens a PFX as a consumer would.
func openPFX(data []byte, password string) (keyPair, error) {
	key, certificate, _, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		return keyPair{}, err
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(certificate.PublicKey) {
		return keyPair{}, errors.New("the key is not that of the certificate")
	}
	return keyPair{private, certificate, password}, nil
}

// readPFX opens a file with the password of another.
func readPFX(path, passwordPath string) (keyPair, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return keyPair{}, err
	}
	password, err := os.ReadFile(passwordPath)
	if err != nil {
		return keyPair{}, err
	}
	p, err := openPFX(data, string(password))
	if err != nil {
		return keyPair{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// signIn gets a token for the app with a key pair, or a [*refusal].
func (s *tenantServer) signIn(ctx context.Context, clientID string, p keyPair) error {
	sum := sha256.Sum256(p.certificate.Raw)
	now := time.Now()
	assertion := jwt.NewWithClaims(jwt.SigningMethodPS256, jwt.MapClaims{
		"aud": s.tokenEndpoint(), "iss": clientID, "sub": clientID, "jti": uuid.NewString(),
		"nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	})
	assertion.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(sum[:])
	signed, err := assertion.SignedString(p.key)
	if err != nil {
		return err
	}
	_, err = s.token(ctx, url.Values{
		"client_id":             {clientID},
		"client_assertion":      {signed},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	})
	return err
}

// tokenOf signs in with a secret.
func (s *tenantServer) tokenOf(ctx context.Context, admin readyAdmin) (string, error) {
	secret, err := os.ReadFile(admin.ClientSecretFile)
	if err != nil {
		return "", err
	}
	token, err := s.token(ctx, url.Values{"client_id": {admin.ClientID}, "client_secret": {string(secret)}})
	if err != nil {
		return "", fmt.Errorf("sign in with %s: %w", admin.ClientSecretFile, err)
	}
	return token, nil
}

// addCertificate does what an administrator does in the portal: it uploads the first
// certificate of an app.
func (s *tenantServer) addCertificate(ctx context.Context, objectID string, p keyPair) error {
	token, err := s.tokenOf(ctx, s.ready.Administrator)
	if err != nil {
		return err
	}
	body := fmt.Sprintf(`{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","key":%q}]}`,
		base64.StdEncoding.EncodeToString(p.certificate.Raw))
	status, data, err := s.exchange(ctx, http.MethodPatch, s.ready.Graph+"/v1.0/applications/"+objectID,
		http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}, []byte(body))
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("add a certificate to %s: %d: %s", objectID, status, data)
	}
	return err
}

// listing is what an app carries, as Graph shows it to the admin. An entry is
// its JSON object, as it came.
type listing struct {
	Keys    []map[string]any `json:"keyCredentials"`
	Secrets []map[string]any `json:"passwordCredentials"`
}

// list reads the credentials of an app as the admin.
func (s *tenantServer) list(ctx context.Context, objectID string) (listing, error) {
	token, err := s.tokenOf(ctx, s.ready.Admin)
	if err != nil {
		return listing{}, err
	}
	status, data, err := s.exchange(ctx, http.MethodGet,
		s.ready.Graph+"/v1.0/applications/"+objectID+"?$select=id,keyCredentials,passwordCredentials",
		http.Header{"Authorization": {"Bearer " + token}}, nil)
	if err != nil {
		return listing{}, err
	}
	var l listing
	if status != http.StatusOK {
		return l, fmt.Errorf("list %s: %d: %s", objectID, status, data)
	}
	return l, json.Unmarshal(data, &l)
}

// entryThumbprint is the SHA-256 of the certificate in an entry of a list, and
// empty without one.
func entryThumbprint(entry map[string]any) string {
	text, _ := entry["key"].(string)
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(der) == 0 {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// logEntry is one line of the tenant's request log.
type logEntry struct {
	Time     time.Time `json:"time"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Status   int       `json:"status"`
	ClientID string    `json:"client_id"`
	Lost     bool      `json:"lost"`
}

// requests reads the request log.
func (s *tenantServer) requests(t *testing.T) []logEntry {
	t.Helper()
	data, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	var all []logEntry
	for line := range strings.Lines(string(data)) {
		if strings.HasSuffix(line, "\n") { // the last one may still be on its way
			all = append(all, decodeJSON[logEntry](t, line))
		}
	}
	return all
}

// writes are the requests that change an app's credentials. addKey and removeKey
// end their paths so.
func (s *tenantServer) writes(t *testing.T, app readyApp) []logEntry {
	t.Helper()
	var writes []logEntry
	for _, e := range s.requests(t) {
		if e.Method != http.MethodGet && (strings.Contains(e.Path, app.ObjectID) || strings.Contains(e.Path, app.ClientID)) {
			writes = append(writes, e)
		}
	}
	return writes
}
