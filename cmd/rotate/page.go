package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/page"
)

// openPage makes the web page of the configuration and its listener, which is held if
// that is there; both are nil if there is no page.
func openPage(ctx context.Context, cfg *config.Config, s *service, log *slog.Logger, held net.Listener) (*page.Server, net.Listener, error) {
	p := cfg.Page
	if p.Listen == "" {
		return nil, nil, nil
	}
	server := &page.Server{
		Source: s.rotator, Names: p.Names, Warnings: s.server.Warnings, Logger: log,
		Steps: generalSteps(), TenantIDs: map[string]string{},
		Report: func(ctx context.Context, year int) (string, error) {
			report, err := s.server.Report(ctx, year)
			if err != nil {
				return "", err
			}
			return reportHTML(report), nil
		},
	}
	for _, t := range cfg.Tenants {
		server.TenantIDs[t.Name] = t.ID
	}
	var err error
	if !p.TLS.IsZero() {
		clients := ""
		if p.Clients != nil {
			clients, server.Access.ClientNames = p.Clients.CAFile, p.Clients.Names
		}
		if server.Access.TLS, err = page.LoadTLS(p.TLS.CertificateFile, p.TLS.KeyFile, clients); err != nil {
			return nil, nil, err
		}
	}
	if p.Login != nil {
		if server.Access.Login, err = loginOf(cfg, s); err != nil {
			return nil, nil, err
		}
	}
	if held != nil {
		return server, held, nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", p.Listen)
	if err != nil {
		return nil, nil, fmt.Errorf("page: %w", err)
	}
	return server, listener, nil
}

// loginTimeout bounds a request of the page to the login host.
const loginTimeout = 20 * time.Second

// loginOf turns the sign-in of the configuration into that of the page.
func loginOf(cfg *config.Config, s *service) (*page.Login, error) {
	l := cfg.Page.Login
	secret, err := readPassword(l.ClientSecretFile)
	if err != nil {
		return nil, fmt.Errorf("page: secret of the sign-in: %w", err)
	}
	hosts, err := s.rotator.Entra.Hosts(l.Tenant)
	if err != nil {
		return nil, fmt.Errorf("page: tenant of the sign-in: %w", err)
	}
	login := &page.Login{ClientID: l.ClientID, Secret: secret, Group: l.Group, Address: l.Address}
	roots := (*x509.CertPool)(nil)
	for _, t := range cfg.Tenants {
		if t.Name != l.Tenant {
			continue
		}
		login.Issuer = strings.TrimSuffix(hosts.Login, "/") + "/" + t.ID + "/v2.0"
		if t.Cloud.CAFile == "" {
			continue
		}
		data, err := readText(t.Cloud.CAFile, maxAuthorityBytes)
		if err != nil {
			return nil, fmt.Errorf("page: authority of the login host: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("page: authority of the login host: %s holds no certificate in PEM form", t.Cloud.CAFile)
		}
	}
	settings := httpproxy.FromEnvironment()
	if cfg.Proxy != "" {
		settings.HTTPSProxy = cfg.Proxy
	}
	proxy := settings.ProxyFunc()
	login.Client = &http.Client{Timeout: loginTimeout, Transport: &http.Transport{
		Proxy:               func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: loginTimeout, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}}
	return login, nil
}

// maxAuthorityBytes bounds a file of certificates.
const maxAuthorityBytes = 1 << 20

// servePage serves the page until ctx is done. Rotations go on without it: what is
// wrong with it is logged, and does not stop the daemon.
func servePage(ctx context.Context, server *page.Server, l net.Listener, log *slog.Logger) {
	log.InfoContext(ctx, "page", "address", pageAddress(server, l))
	if err := server.Serve(ctx, l); err != nil {
		log.ErrorContext(ctx, "the page is not served any more", "err", err)
	}
}

// pageAddress is what a browser on this host is told.
func pageAddress(server *page.Server, l net.Listener) string {
	scheme := "http"
	if server.Access.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + l.Addr().String() + "/"
}
