package emulator_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-f0abd057/rotate/emulator"
)

// TestSignIn signs a user in and leaves one thing out at a time.
func TestSignIn(t *testing.T) {
	const redirect = "https://page.contoso.example/login/callback"
	verifier := strings.Repeat("v", 43)
	digest := sha256.Sum256([]byte(verifier))
	for name, c := range map[string]struct {
		ask, redeem func(url.Values)
		// refused is the AADSTS number or the OAuth error at the authorization, at
		// the redemption the number.
		refused, notRedeemed string
	}{
		"good":                 {},
		"another redirect URI": {ask: func(v url.Values) { v.Set("redirect_uri", redirect+"/") }, refused: "AADSTS50011"},
		"an unknown app":       {ask: func(v url.Values) { v.Set("client_id", "99999999-0000-0000-0000-000000000000") }, refused: "AADSTS700016"},
		"a token at once":      {ask: func(v url.Values) { v.Set("response_type", "token") }, refused: "unsupported_response_type"},
		"no openid":            {ask: func(v url.Values) { v.Set("scope", "profile") }, refused: "invalid_scope"},
		"no challenge":         {ask: func(v url.Values) { v.Del("code_challenge") }, refused: "invalid_request"},
		"a plain challenge":    {ask: func(v url.Values) { v.Set("code_challenge_method", "plain") }, refused: "invalid_request"},
		"no nonce":             {ask: func(v url.Values) { v.Del("nonce") }, refused: "invalid_request"},
		"an unknown user":      {ask: func(v url.Values) { v.Set("login_hint", "eve@contoso.example") }, refused: "login_required"},
		"no code":              {redeem: func(v url.Values) { v.Del("code") }, notRedeemed: "AADSTS9002313"},
		"another verifier":     {redeem: func(v url.Values) { v.Set("code_verifier", strings.Repeat("w", 43)) }, notRedeemed: "AADSTS501481"},
		"another address":      {redeem: func(v url.Values) { v.Set("redirect_uri", "https://evil.example") }, notRedeemed: "AADSTS50011"},
		"a wrong secret":       {redeem: func(v url.Values) { v.Set("client_secret", "x") }, notRedeemed: "AADSTS7000215"},
		"no secret":            {redeem: func(v url.Values) { v.Del("client_secret") }, notRedeemed: "AADSTS7000218"},
	} {
		t.Run(name, func(t *testing.T) {
			tenant := &emulator.Tenant{}
			app, err := tenant.AddApplication(emulator.Application{Name: "page", Secrets: []emulator.Secret{{}}})
			if err != nil {
				t.Fatal(err)
			}
			tenant.Configure(func(e *emulator.Tenant) {
				e.Users = []emulator.User{{Name: "alice@contoso.example", Groups: []string{"g1"}}}
				e.RedirectURIs = map[string][]string{app.ClientID: {redirect}}
			})
			client := &http.Client{Transport: tenant.Transport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			base := "https://login.example/" + tenant.TenantID() + "/oauth2/v2.0/"
			ask := url.Values{
				"client_id": {app.ClientID}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid profile"}, "state": {"s"}, "nonce": {"n"},
				"code_challenge": {base64.RawURLEncoding.EncodeToString(digest[:])}, "code_challenge_method": {"S256"},
			}
			if c.ask != nil {
				c.ask(ask)
			}
			answer, err := client.Get(base + "authorize?" + ask.Encode())
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			said := answer.Header.Get("Location") + string(body)
			if c.refused != "" {
				if !strings.Contains(said, c.refused) || strings.Contains(said, "code=") && answer.StatusCode == http.StatusFound && !strings.Contains(said, "error=") {
					t.Errorf("authorization: %s %s, want %s", answer.Status, said, c.refused)
				}
				return
			}
			back, err := url.Parse(answer.Header.Get("Location"))
			if err != nil || answer.StatusCode != http.StatusFound || back.Query().Get("state") != "s" {
				t.Fatalf("authorization: %s %s", answer.Status, said)
			}
			form := url.Values{
				"grant_type": {"authorization_code"}, "client_id": {app.ClientID}, "client_secret": {app.Secrets[0].Text}, "redirect_uri": {redirect},
				"code": {back.Query().Get("code")}, "code_verifier": {verifier},
			}
			if c.redeem != nil {
				c.redeem(form)
			}
			redeem := func() string {
				answer, err := client.PostForm(base+"token", form)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				body, _ := io.ReadAll(answer.Body)
				return string(body)
			}
			got := redeem()
			if c.notRedeemed != "" {
				if !strings.Contains(got, c.notRedeemed) {
					t.Errorf("redemption: %s, want %s", got, c.notRedeemed)
				}
				return
			}
			var token struct {
				ID string `json:"id_token"`
			}
			if err := json.Unmarshal([]byte(got), &token); err != nil || token.ID == "" {
				t.Fatalf("redemption: %s", got)
			}
			var claims jwt.MapClaims
			if _, _, err := jwt.NewParser().ParseUnverified(token.ID, &claims); err != nil {
				t.Fatal(err)
			}
			if claims["aud"] != app.ClientID || claims["nonce"] != "n" || claims["iss"] != "https://login.example/"+tenant.TenantID()+"/v2.0" || claims["preferred_username"] != "alice@contoso.example" {
				t.Errorf("claims %v", claims)
			}
			if again := redeem(); !strings.Contains(again, "AADSTS54005") {
				t.Errorf("a code redeemed twice: %s", again)
			}
		})
	}
}
