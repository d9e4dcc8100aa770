package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/rotator/verify"
)

var _ verify.Tenant = (*RawTenant)(nil)

// RawTenant sends the requests of a verification as they are, through the hosts, the
// proxy and the log of all others. It repeats nothing and judges nothing.
type RawTenant struct {
	client *Client
	tenant *tenant
	call   call
}

// Raw makes one. admin is the token of an administrator who asks; empty: the tenant's
// identity does.
func (c *Client) Raw(name string, admin rotator.Token) (*RawTenant, error) {
	k := call{Access: rotator.Access{Registration: rotator.Registration{Tenant: name}, Admin: admin}, what: "verify"}
	t, err := c.tenant(k)
	if err != nil {
		return nil, err
	}
	return &RawTenant{client: c, tenant: t, call: k}, nil
}

// About implements [verify.Tenant].
func (r *RawTenant) About() verify.About {
	return verify.About{TenantID: r.tenant.ID, Login: "https://" + hostOf(r.tenant.Cloud.Login), Graph: "https://" + r.tenant.Cloud.graphHost()}
}

// Graph implements [verify.Tenant].
func (r *RawTenant) Graph(ctx context.Context, q verify.Request) (verify.Answer, error) {
	if q.Token == "" {
		token, err := r.bearer(ctx)
		if err != nil {
			return verify.Answer{}, err
		}
		q.Token = token
	}
	var body io.Reader
	if q.Body != nil {
		content, err := json.Marshal(q.Body)
		if err != nil {
			return verify.Answer{}, err
		}
		body = bytes.NewReader(content)
	}
	header := map[string]string{"Authorization": "Bearer " + q.Token, "Accept": "application/json"}
	if q.Body != nil {
		header["Content-Type"] = "application/json"
	}
	maps.Copy(header, q.Header)
	return r.send(ctx, r.tenant.graph, q.Method, r.About().Graph+q.Path, header, body)
}

// bearer is the token of who runs the verification.
func (r *RawTenant) bearer(ctx context.Context) (string, error) {
	limited, cancel := r.client.deadline(ctx)
	defer cancel()
	by, err := r.client.credential(limited, r.tenant, r.call)
	if err != nil {
		return "", err
	}
	token, _, err := by.token(limited, policy.TokenRequestOptions{Scopes: []string{by.scope}})
	if err != nil {
		r.client.forget(by)
		return "", coldFailure(r.call, err)
	}
	return token.Token, nil
}

// Token implements [verify.Tenant].
func (r *RawTenant) Token(ctx context.Context, form map[string]string, correlation string) (verify.Answer, error) {
	values := url.Values{}
	for name, value := range form {
		values.Set(name, value)
	}
	return r.send(ctx, r.login(), http.MethodPost, r.About().Login+"/"+r.tenant.ID+"/oauth2/v2.0/token", map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", "client-request-id": correlation,
	}, strings.NewReader(values.Encode()))
}

// Login implements [verify.Tenant].
func (r *RawTenant) Login(ctx context.Context, path string) (verify.Answer, error) {
	return r.send(ctx, r.login(), http.MethodGet, r.About().Login+path, map[string]string{"Accept": "application/json"}, nil)
}

// login is the way to the login host without what is kept of its metadata.
func (r *RawTenant) login() http.RoundTripper {
	if m, ok := r.tenant.login.(*metadata); ok {
		return m.next
	}
	return r.tenant.login
}

func (r *RawTenant) send(ctx context.Context, via http.RoundTripper, method, address string, header map[string]string, body io.Reader) (verify.Answer, error) {
	limited, cancel := r.client.deadline(ctx)
	defer cancel()
	q, err := http.NewRequestWithContext(limited, method, address, body)
	if err != nil {
		return verify.Answer{}, errors.New("the request cannot be made")
	}
	for name, value := range header {
		q.Header.Set(name, value)
	}
	a, err := via.RoundTrip(q)
	if err != nil {
		return verify.Answer{}, fmt.Errorf("no answer from %s: %s", q.URL.Host, clean(withoutURL(err).Error()))
	}
	defer a.Body.Close()
	content, err := io.ReadAll(a.Body)
	if err != nil {
		return verify.Answer{}, fmt.Errorf("the answer from %s broke off: %s", q.URL.Host, clean(err.Error()))
	}
	answer := verify.Answer{Status: a.StatusCode, Header: a.Header, Body: content, At: time.Now()}
	if a.TLS != nil && len(a.TLS.PeerCertificates) > 0 {
		if issuer := a.TLS.PeerCertificates[0].Issuer; len(issuer.Organization) > 0 {
			answer.Issuer = issuer.Organization[0]
		} else {
			answer.Issuer = issuer.CommonName
		}
	}
	return answer, nil
}
