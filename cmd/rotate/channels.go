package main

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/notify"
)

// sendersOf makes a sender of each channel of the configuration, by name. Files with
// secrets are read at each message, so that a new secret needs no restart; they must
// be readable now, so that a mistake shows at once. Errors name the channel.
func sendersOf(cfg *config.Config, entra *client) (map[string]notify.Sender, error) {
	senders := make(map[string]notify.Sender, len(cfg.Notify.Channels))
	var errs []error
	for i := range cfg.Notify.Channels {
		ch := &cfg.Notify.Channels[i]
		sender, err := senderOf(&ch.ChannelKinds, cfg.Proxy, pageURL(cfg), entra)
		if err != nil {
			errs = append(errs, &unusable{fmt.Errorf("channel %s: %w", ch.Name, err)})
			continue
		}
		senders[ch.Name] = sender
	}
	return senders, errors.Join(errs...)
}

// checkTemplates reads the mail templates of the configuration.
func checkTemplates(cfg *config.Config) error {
	var errs []error
	for i := range cfg.Notify.Channels {
		ch := &cfg.Notify.Channels[i]
		for _, m := range ch.Mails() {
			if _, err := templatesOf(m, pageURL(cfg)); err != nil {
				errs = append(errs, &unusable{fmt.Errorf("channel %s: %w", ch.Name, err)})
			}
		}
	}
	return errors.Join(errs...)
}

func senderOf(k *config.ChannelKinds, proxy, page string, entra *client) (notify.Sender, error) {
	switch k.Kind() {
	case config.ChannelSMTP:
		return smtpOf(k.SMTP, page, entra)
	case config.ChannelGraphMail:
		templates, err := templatesOf(&k.GraphMail.Mail, page)
		if err != nil {
			return nil, err
		}
		return &notify.GraphMail{
			Mailbox: mailbox{entra, k.GraphMail.Tenant}, From: k.GraphMail.From, To: k.GraphMail.To, Templates: templates,
		}, nil
	case config.ChannelWebhook:
		return webhookOf(k.Webhook, proxy)
	case config.ChannelTeams:
		web, err := webOf(&k.Teams.Address, proxy)
		return &notify.Teams{Web: web}, err
	case config.ChannelSlack:
		web, err := webOf(&k.Slack.Address, proxy)
		return &notify.Slack{Web: web}, err
	case config.ChannelExec:
		return &notify.Exec{Command: k.Exec.Command, Timeout: time.Duration(k.Exec.Timeout), Env: k.Exec.Env}, nil
	}
	return nil, errors.New("it leads nowhere")
}

func smtpOf(s *config.SMTP, page string, entra *client) (notify.Sender, error) {
	templates, err := templatesOf(&s.Mail, page)
	if err != nil {
		return nil, err
	}
	roots, err := rootsOf(s.CAFile)
	if err != nil {
		return nil, err
	}
	auth := s.Auth
	if auth == "" && s.Username != "" {
		auth = notify.AuthPlain
	}
	out := &notify.SMTP{
		Host: s.Host, Port: int(s.Port), TLS: s.TLS, RootCAs: roots, Auth: auth, Username: s.Username,
		From: s.From, To: s.To, Templates: templates,
		Password: func(context.Context) (string, error) { return secretOf(s.Password, s.PasswordFile) },
	}
	switch auth {
	case notify.AuthXOAUTH2:
		out.Password = func(ctx context.Context) (string, error) { return entra.Load().MailToken(ctx, s.Tenant) }
	case notify.AuthNone, "":
	default:
		_, err = secretOf(s.Password, s.PasswordFile)
	}
	return out, err
}

func templatesOf(m *config.Mail, page string) (*notify.MailTemplates, error) {
	templates, err := notify.LoadMailTemplates(m.TextTemplate, m.HTMLTemplate)
	if err != nil {
		return nil, err
	}
	templates.Host, _ = os.Hostname() // a mail says less without it
	templates.Page = page
	return templates, nil
}

// pageURL is where browsers find the page, as far as the configuration says it; empty
// without a page.
func pageURL(cfg *config.Config) string {
	p := &cfg.Page
	host, port, err := net.SplitHostPort(p.Listen)
	if err != nil {
		return ""
	}
	if p.Login != nil && p.Login.Address != "" {
		return p.Login.Address
	}
	if len(p.Names) > 0 {
		host = p.Names[0]
	}
	if p.TLS.IsZero() {
		return "http://" + net.JoinHostPort(host, port) + "/"
	}
	return "https://" + net.JoinHostPort(host, port) + "/"
}

func webhookOf(w *config.Webhook, proxy string) (notify.Sender, error) {
	web, err := webOf(&w.Address, proxy)
	if err != nil {
		return nil, err
	}
	out := &notify.Webhook{Web: web}
	out.Secrets = func() ([]string, error) {
		var secrets []string
		for _, s := range []struct {
			value config.Secret
			file  string
		}{{w.Secret, w.SecretFile}, {w.PreviousSecret, w.PreviousSecretFile}} {
			secret, err := secretOf(s.value, s.file)
			if err != nil {
				return nil, err
			}
			if secret == "" && s.file == "" {
				continue
			}
			if !isSigningSecret(secret) {
				where := "secret"
				if s.file != "" {
					where = s.file
				}
				return nil, fmt.Errorf("%s: it is not \"whsec_\" and the base64 of 24 to 64 bytes; make one with: echo whsec_$(openssl rand -base64 32)", where)
			}
			secrets = append(secrets, secret)
		}
		return secrets, nil
	}
	out.Headers = func() (http.Header, error) {
		header := http.Header{}
		for _, h := range w.Headers {
			value, err := secretOf(h.Value, h.ValueFile)
			if err != nil {
				return nil, err
			}
			if strings.ContainsAny(value, "\r\n\x00") {
				return nil, fmt.Errorf("the value of the header %s holds a line end", h.Name)
			}
			header.Set(h.Name, value)
		}
		return header, nil
	}
	if _, err := out.Secrets(); err != nil {
		return nil, err
	}
	if _, err := out.Headers(); err != nil {
		return nil, err
	}
	return out, nil
}

// isSigningSecret asks for the form of Standard Webhooks.
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme
func isSigningSecret(s string) bool {
	const least, most = 24, 64
	key, ok := strings.CutPrefix(s, "whsec_")
	raw, err := base64.StdEncoding.DecodeString(key)
	return ok && err == nil && len(raw) >= least && len(raw) <= most
}

// webOf makes what sends to a URL that is a secret.
func webOf(a *config.Address, proxy string) (notify.Web, error) {
	roots, err := rootsOf(a.CAFile)
	if err != nil {
		return notify.Web{}, err
	}
	address := func() (string, error) {
		text, err := secretOf(a.URL, a.URLFile)
		if err != nil {
			return "", err
		}
		text = strings.TrimSpace(text)
		if problem := config.WebURL(text); problem != "" {
			where := "url"
			if a.URLFile != "" {
				where = a.URLFile
			}
			return "", fmt.Errorf("%s: %s", where, problem)
		}
		return text, nil
	}
	if _, err := address(); err != nil {
		return notify.Web{}, err
	}
	return notify.Web{URL: address, Transport: notify.NewTransport(roots, webProxy(proxy))}, nil
}

// webProxy chooses the proxy as for Entra: the one of the configuration, else those of
// the environment; NO_PROXY and this host are left out in both cases.
func webProxy(proxy string) func(*http.Request) (*url.URL, error) {
	settings := httpproxy.FromEnvironment()
	if proxy != "" {
		settings.HTTPProxy, settings.HTTPSProxy = proxy, proxy
	}
	choose := settings.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }
}

// rootsOf reads the certificates to trust; nil are the system's.
func rootsOf(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // nil is a value here
	}
	const maxBytes = 1 << 20
	data, err := readText(path, maxBytes)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// mailbox sends from the mailboxes of a tenant.
type mailbox struct {
	entra  *client
	tenant string
}

// SendMail sends one mail.
func (m mailbox) SendMail(ctx context.Context, mail notify.Mail) (bool, error) {
	return m.entra.Load().SendMail(ctx, m.tenant, graph.Mail{
		From: mail.From, To: mail.To, Subject: mail.Subject, HTML: mail.HTML, Important: mail.Important,
	})
}
