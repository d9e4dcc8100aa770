package graph

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

// maxProbeBytes bounds what is read of an answer to a probe.
const maxProbeBytes = 1 << 20

// SignIn gets a token with the pair and asks each probe path with it. The token
// is always a cold one: a credential answers a second request from memory, so
// each try makes a new one, without a shared cache. A persistent cache of
// azidentity would be no better, it is keyed without the certificate.
// https://pkg.go.dev/github.com/Azure/azure-sdk-for-go/sdk/azidentity#section-readme (Credential caching)
//
// Its credential is kept for what the app itself asks next with the pair: that
// token is as fresh as one can be.
//
// Paths begin with "/" and go below /v1.0 of the tenant's Graph. A probe's
// failure stands in its result.
func (c *Client) SignIn(ctx context.Context, app rotator.Registration, pair rotator.KeyPair, probes []string) (rotator.SignIn, error) {
	k := call{Access: rotator.Access{Registration: app, As: pair}, what: "sign in", cold: true}
	t, err := c.tenant(k)
	if err != nil {
		return rotator.SignIn{}, err
	}
	var token string
	var header http.Header
	var by *credential
	limited, cancel := c.deadline(ctx)
	defer cancel()
	err = repeat(limited, func() (bool, *rotator.Failure) {
		var err error
		by, err = k.pairCredential(t, pair)
		if err == nil {
			token, header, err = by.cold(limited)
		}
		failure := coldFailure(k, err)
		c.noteFailure(k, failure)
		return true, failure
	})
	if err != nil {
		return rotator.SignIn{}, err
	}
	c.keep(t, k, by)
	answer := rotator.SignIn{At: dateOf(header), RequestID: strings.ToLower(requestID(header)), Roles: roles(token)}
	for _, p := range probes {
		answer.Probes = append(answer.Probes, rotator.ProbeResult{Path: p, Err: c.probe(ctx, t, app, by, token, p)})
	}
	return answer, nil
}

// SignInTo gets a cold token for another audience than Graph, which may learn of a
// new certificate at another time. The token goes nowhere.
func (c *Client) SignInTo(ctx context.Context, app rotator.Registration, pair rotator.KeyPair, scope string) (rotator.SignIn, error) {
	k := call{Access: rotator.Access{Registration: app, As: pair}, what: "sign in", cold: true}
	t, err := c.tenant(k)
	if err != nil {
		return rotator.SignIn{}, err
	}
	var header http.Header
	limited, cancel := c.deadline(ctx)
	defer cancel()
	err = repeat(limited, func() (bool, *rotator.Failure) {
		by, err := k.pairCredential(t, pair)
		if err == nil {
			by.scope = scope
			_, header, err = by.cold(limited)
		}
		return true, coldFailure(k, err)
	})
	if err != nil {
		return rotator.SignIn{}, err
	}
	return rotator.SignIn{At: dateOf(header), RequestID: strings.ToLower(requestID(header))}, nil
}

// coldFailure turns the end of a cold sign-in into a failure; nil if it worked.
func coldFailure(k call, err error) *rotator.Failure {
	var r *refused
	var f *rotator.Failure
	switch {
	case errors.As(err, &r):
		return tokenFailure(k, r)
	case errors.As(err, &f):
		return f
	}
	return nil
}

// probe asks one path with the token. It goes without the generated builders,
// which know only paths that they were generated for.
func (c *Client) probe(ctx context.Context, t *tenant, app rotator.Registration, by *credential, token, path string) error {
	k := call{Access: rotator.Access{Registration: app}, what: "probe " + path, probe: true}
	address, err := probeURL(t.Cloud, path)
	if err != nil {
		return k.fix(err, "change the probe of this app", "%v", err)
	}
	limited, cancel := c.deadline(ctx)
	defer cancel()
	return repeat(limited, func() (bool, *rotator.Failure) {
		x := &exchange{next: t.graph}
		return true, c.failure(k, by, x, ask(limited, x, address, token))
	})
}

func ask(ctx context.Context, x *exchange, address, token string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	a, err := x.RoundTrip(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	// Reading to the end lets the connection be used again.
	_, err = io.Copy(io.Discard, io.LimitReader(a.Body, maxProbeBytes))
	return err
}

// probeURL returns the address of a probe path, which must stay below /v1.0 of
// the tenant's Graph: the token goes there.
func probeURL(c Cloud, p string) (string, error) {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") {
		return "", errors.New(`the path must begin with one "/"`)
	}
	u, err := url.Parse("https://" + c.graphHost() + "/v1.0" + p)
	if err != nil {
		return "", errors.New("the path is not a valid URL path")
	}
	if u.Host != c.graphHost() || u.User != nil || u.Fragment != "" || !strings.HasPrefix(path.Clean(u.Path), "/v1.0/") {
		return "", errors.New("the path must stay below /v1.0")
	}
	return u.String(), nil
}
