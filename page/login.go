package page

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Login lets in the members of a group, who sign in at their tenant.
type Login struct {
	// Issuer is that of the tenant: https://LOGIN-HOST/TENANT-ID/v2.0.
	Issuer string
	// ClientID and Secret are those of an app registration for this page.
	ClientID, Secret string
	// Group is the object ID that the groups claim must hold.
	Group string
	// Address is the page's own, such as https://rotate.contoso.example:9780.
	Address string
	// Client asks the login host.
	Client *http.Client
}

const (
	loginPath    = "/login"
	callbackPath = "/login/callback"
	// The prefix makes browsers insist on TLS, this host and every path.
	sessionCookie = "__Host-rotate"
	attemptCookie = "__Host-rotate-login"
	// attemptTime is how long a person may take to sign in, sessionTime how long
	// it holds at most.
	attemptTime = 10 * time.Minute
	sessionTime = 8 * time.Hour
	// maxSessions bounds what is remembered of each kind.
	maxSessions = 1000
)

// login is a Login at work. Sessions live in memory: a restart signs everybody out.
type login struct {
	*Login
	mu sync.Mutex
	// provider is nil until the login host was asked; guarded by mu.
	provider *oidc.Provider
	sessions map[string]time.Time // ends, by secret, guarded by mu
	attempts map[string]attempt   // by secret, guarded by mu
}

// attempt is a person on the way to the login host and back.
type attempt struct {
	state, nonce, verifier, to string
	ends                       time.Time
	// from is who began it; see [asker].
	from string
}

func newLogin(l *Login) *login {
	if l == nil {
		return nil
	}
	return &login{Login: l, sessions: map[string]time.Time{}, attempts: map[string]attempt{}}
}

// knows reports whether the visitor has signed in.
func (l *login) knows(r *http.Request, now time.Time) bool {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Before(l.sessions[c.Value])
}

// client returns the parties of a login; it asks the login host the first time.
func (l *login) client(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.provider == nil {
		// The keys are fetched later too: they outlive this visit.
		p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), l.Client), l.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("login host: %w", err)
		}
		l.provider = p
	}
	return l.provider, &oauth2.Config{
		ClientID: l.ClientID, ClientSecret: l.Secret, RedirectURL: l.Address + callbackPath,
		Endpoint: l.provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "profile"},
	}, nil
}

// begin sends a visitor to the login host.
func (s *site) begin(w http.ResponseWriter, r *http.Request) {
	l := s.login
	_, c, err := l.client(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	now := time.Now()
	a := attempt{state: rand.Text(), nonce: rand.Text(), verifier: oauth2.GenerateVerifier(), to: inside(r.URL.Query().Get("to")), ends: now.Add(attemptTime), from: asker(r.RemoteAddr)}
	secret := rand.Text()
	l.mu.Lock()
	room(l.attempts, func(a attempt) (string, time.Time) { return a.from, a.ends }, now, maxAttemptsEach)
	l.attempts[secret] = a
	l.mu.Unlock()
	setCookie(w, attemptCookie, secret, attemptTime)
	http.Redirect(w, r, c.AuthCodeURL(a.state, oidc.Nonce(a.nonce), oauth2.S256ChallengeOption(a.verifier)), http.StatusSeeOther)
}

// callback takes a visitor back from the login host.
func (s *site) callback(w http.ResponseWriter, r *http.Request) {
	a, err := s.login.attempt(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	setCookie(w, attemptCookie, "", -time.Second)
	ends, err := s.login.redeem(r.Context(), a, r.URL.Query().Get("code"))
	if err != nil {
		s.log.WarnContext(r.Context(), "page: login refused", "from", r.RemoteAddr, "err", err)
		s.fail(w, r, err)
		return
	}
	now := time.Now()
	secret := rand.Text()
	s.login.mu.Lock()
	room(s.login.sessions, func(t time.Time) (string, time.Time) { return "", t }, now, maxSessions)
	s.login.sessions[secret] = ends
	s.login.mu.Unlock()
	setCookie(w, sessionCookie, secret, ends.Sub(now))
	http.Redirect(w, r, a.to, http.StatusSeeOther)
}

// attempt finds the visitor's own login and ends it, so that an answer counts once.
func (l *login) attempt(r *http.Request) (attempt, error) {
	again := func(what string) error {
		return &refusal{http.StatusBadRequest, what, "Open the page again to sign in."}
	}
	c, err := r.Cookie(attemptCookie)
	if err != nil {
		return attempt{}, again("This login was not begun in this browser.")
	}
	l.mu.Lock()
	a, ok := l.attempts[c.Value]
	delete(l.attempts, c.Value)
	l.mu.Unlock()
	q := r.URL.Query()
	switch {
	case !ok || time.Now().After(a.ends):
		return attempt{}, again("This login took too long, or was used before.")
	case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.state)) != 1:
		return attempt{}, again("This login was not begun in this browser.")
	case q.Get("error") != "":
		return attempt{}, again("The tenant refused the login: " + q.Get("error") + ".")
	}
	return a, nil
}

// redeem gets the token for the code and checks it: who signed it, for whom, in
// answer to what, and the group. It returns when the session ends.
func (l *login) redeem(ctx context.Context, a attempt, code string) (time.Time, error) {
	no := func(what string, err error) error {
		return errors.Join(&refusal{http.StatusForbidden, what, "Ask who runs this page."}, err)
	}
	provider, c, err := l.client(ctx)
	if err != nil {
		return time.Time{}, err
	}
	ctx = oidc.ClientContext(ctx, l.Client)
	answer, err := c.Exchange(ctx, code, oauth2.VerifierOption(a.verifier))
	if err != nil {
		return time.Time{}, no("The tenant did not accept the login.", stripped(err))
	}
	raw, _ := answer.Extra("id_token").(string)
	token, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: l.ClientID, SupportedSigningAlgs: []string{oidc.RS256}}).Verify(ctx, raw)
	if err != nil {
		return time.Time{}, no("The tenant's answer is not for this page.", err)
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(a.nonce)) != 1 {
		return time.Time{}, no("The tenant's answer is not for this login.", nil)
	}
	var claims struct {
		Party   string            `json:"azp"`
		Groups  []string          `json:"groups"`
		Sources map[string]string `json:"_claim_names"`
	}
	if err := token.Claims(&claims); err != nil {
		return time.Time{}, no("The tenant's answer can not be read.", err)
	}
	if err := checkParty(token.Audience, claims.Party, l.ClientID); err != nil {
		return time.Time{}, no("The tenant's answer is not for this page.", err)
	}
	if _, left := claims.Sources["groups"]; left && claims.Groups == nil {
		return time.Time{}, no("You are in too many groups for the token to name them.", errors.New("the groups claim was left out; limit it to groups assigned to the application"))
	}
	if !slices.ContainsFunc(claims.Groups, func(g string) bool { return strings.EqualFold(g, l.Group) }) {
		return time.Time{}, no("You are not in the group that may see this page.", nil)
	}
	return time.Now().Add(sessionTime), nil
}

// checkParty refuses a token that was made for another party, though it names this one
// among its audiences.
// https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation, 4 and 5
func checkParty(audiences []string, party, clientID string) error {
	switch {
	case party == "" && len(audiences) > 1:
		return errors.New("the token has several audiences and does not say for whom it was made (azp)")
	case party != "" && party != clientID:
		return fmt.Errorf("the token was made for %q", party)
	}
	return nil
}

// stripped leaves out the body of the login host's answer, which may hold tokens.
func stripped(err error) error {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return fmt.Errorf("%s: %s", e.ErrorCode, e.ErrorDescription)
	}
	return err
}

// inside is where a visitor goes on: a place of this site only.
func inside(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") || strings.ContainsAny(to, "\\\r\n") {
		return "/"
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}

// room makes place for one more: what has ended goes, and if all is full, the oldest of
// whoever has the most. Nobody gets more than each, and nobody can push out others. of
// says whose a value is and when it ends.
func room[V any](m map[string]V, of func(V) (string, time.Time), now time.Time, each int) {
	count := map[string]int{}
	most := ""
	for k, v := range m {
		whose, ends := of(v)
		if !now.Before(ends) {
			delete(m, k)
			continue
		}
		if count[whose]++; count[whose] > count[most] {
			most = whose
		}
	}
	if len(m) < maxSessions && count[most] < each {
		return
	}
	oldest, first := "", time.Time{}
	for k, v := range m {
		if whose, ends := of(v); whose == most && (oldest == "" || ends.Before(first)) {
			oldest, first = k, ends
		}
	}
	delete(m, oldest)
}

func setCookie(w http.ResponseWriter, name, value string, lasts time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(lasts / time.Second),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
