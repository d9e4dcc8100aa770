package graph

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	absauth "github.com/microsoft/kiota-abstractions-go/authentication"
	azauth "github.com/microsoft/kiota-authentication-azure-go"
	khttp "github.com/microsoft/kiota-http-go"
	kjson "github.com/microsoft/kiota-serialization-json-go"
)

// newAdapter makes what the generated request builders send through.
//
// It is made for one operation, so that the exchange belongs to it alone; the
// connections and the token are the tenant's. The JSON reader is handed over
// because the root client type, which would register it, is not used: it
// doubles the build. There is no writer: bodies are our own, see [newWrite].
func newAdapter(t *tenant, token *credential, x *exchange) (*khttp.NetHttpRequestAdapter, error) {
	provider, err := newTokenProvider(t.Cloud, token)
	if err != nil {
		return nil, err
	}
	adapter, err := khttp.NewNetHttpRequestAdapterWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(
		absauth.NewBaseBearerTokenAuthenticationProvider(provider),
		kjson.NewJsonParseNodeFactory(), nil,
		&http.Client{
			Transport:     khttp.NewCustomTransportWithParentTransport(x, middlewares()...),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		})
	if err != nil {
		return nil, err
	}
	adapter.SetBaseUrl("https://" + t.Cloud.graphHost() + "/v1.0")
	return adapter, nil
}

// newTokenProvider allows tokens for the tenant's Graph host only.
//
// Valid hosts are compared without the port, and a host that is not among them
// gets its request sent without a token and without an error; [wire] refuses
// such a request too. Continuous access evaluation is off: with it, kiota
// repeats requests after a challenge, see [dropChallenge].
// https://github.com/microsoft/kiota-abstractions-go/blob/main/authentication/allowed_hosts_validator.go
func newTokenProvider(c Cloud, token *credential) (*azauth.AzureIdentityAccessTokenProvider, error) {
	u, err := url.Parse(c.Graph)
	if err != nil {
		return nil, err
	}
	const continuousAccessEvaluation = false
	return azauth.NewAzureIdentityAccessTokenProviderWithScopesAndValidHostsAndObservabilityOptionsAndIsCaeEnabled(
		token, []string{c.scope()}, []string{u.Hostname()}, azauth.ObservabilityOptions{}, continuousAccessEvaluation)
}

// middlewares returns kiota's in a fixed order, without three of its defaults.
//
// The defaults come out of a map, in another order for each client. With retry
// outside of compression, a repeated write claims to be gzip and is not, and
// Graph answers 400. There is no compression, there is no retry (retry.go
// decides), and there are no redirects: Graph sends none for what we ask, and
// following one carries the request elsewhere.
// https://github.com/microsoft/kiota-http-go/issues/183
func middlewares() []khttp.Middleware {
	return []khttp.Middleware{khttp.NewParametersNameDecodingHandler(), khttp.NewUserAgentHandler()}
}

// decodePayload reads the payload of a JWT without checking its signature.
func decodePayload(token string, into any) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	return err == nil && json.Unmarshal(payload, into) == nil
}
