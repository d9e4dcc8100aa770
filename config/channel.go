package config

import (
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// ChannelKind tells the kinds of [ChannelKinds] apart.
type ChannelKind string

// The kinds of channel, named as the key that makes them.
const (
	ChannelSMTP      ChannelKind = "smtp"
	ChannelGraphMail ChannelKind = "graph_mail"
	ChannelWebhook   ChannelKind = "webhook"
	ChannelTeams     ChannelKind = "teams"
	ChannelSlack     ChannelKind = "slack"
	ChannelExec      ChannelKind = "exec"
)

// ChannelKinds is where a channel leads: exactly one of its fields is given. See
// [ChannelKinds.Kind].
type ChannelKinds struct {
	SMTP      *SMTP      `yaml:"smtp,omitempty" about:"e-mail through a mail server"`
	GraphMail *GraphMail `yaml:"graph_mail,omitempty" about:"e-mail from a mailbox of the tenant, through Microsoft Graph"`
	Webhook   *Webhook   `yaml:"webhook,omitempty" about:"signed JSON to a web server"`
	Teams     *Teams     `yaml:"teams,omitempty" about:"a card in Microsoft Teams, through a workflow"`
	Slack     *Slack     `yaml:"slack,omitempty" about:"a message in Slack or what understands its incoming webhooks"`
	Exec      *Exec      `yaml:"exec,omitempty" about:"a program of this host that gets the JSON on standard input"`
}

// SMTP is e-mail through a mail server.
type SMTP struct {
	Host string `yaml:"host" about:"name of the mail server, as in its certificate"`
	// Port is 0 for the usual one of TLS.
	Port Count `yaml:"port,omitempty" about:"its port; default 587 with starttls, 465 with implicit, 25 with none"`
	// TLS is starttls, implicit or none; none only on this host.
	TLS    string `yaml:"tls" about:"how the connection is encrypted; none only to a server on this host; default starttls" enum:"starttls|implicit|none"`
	CAFile string `yaml:"ca_file,omitempty" about:"PEM file of the certificates to trust; default the system's"`
	// Auth is empty for plain if there is a user name, else for none.
	Auth     string `yaml:"auth,omitempty" about:"how to sign in; default plain with a username, else none" enum:"plain|login|cram-md5|xoauth2|none"`
	Username string `yaml:"username,omitempty" about:"who signs in"`
	// Password belongs to plain, login and cram-md5.
	Password     Secret `yaml:"password,omitempty" about:"its password; better in a file of its own"`
	PasswordFile string `yaml:"password_file,omitempty" about:"file with its password"`
	// Tenant belongs to xoauth2.
	Tenant string `yaml:"tenant,omitempty" about:"xoauth2: the tenant whose identity gets the token"`

	Mail `yaml:",inline"`
}

// Mail is what all e-mail has.
type Mail struct {
	From string   `yaml:"from" about:"address of the sender; with graph_mail its mailbox"`
	To   []string `yaml:"to" about:"addresses of the recipients"`
	// TextTemplate and HTMLTemplate are paths; empty: the built-in ones.
	TextTemplate string `yaml:"text_template,omitempty" about:"file that takes the place of the built-in text; rotate config check reads it"`
	HTMLTemplate string `yaml:"html_template,omitempty" about:"file that takes the place of the built-in HTML"`
}

// UnmarshalYAML puts STARTTLS in first.
func (s *SMTP) UnmarshalYAML(node ast.Node) error {
	type fields SMTP
	f := fields{TLS: "starttls"}
	if err := plain(node, &f); err != nil {
		return err
	}
	*s = SMTP(f)
	return nil
}

// GraphMail is e-mail from a mailbox of a tenant.
type GraphMail struct {
	Tenant string `yaml:"tenant" about:"the tenant; its identity needs the permission Mail.Send"`
	// TextTemplate is not used: Graph takes one body.
	Mail `yaml:",inline"`
}

// Webhook is JSON for a web server.
type Webhook struct {
	Address `yaml:",inline"`

	Secret     Secret `yaml:"secret,omitempty" about:"signs each request: whsec_ and base64, as Standard Webhooks has it; better in a file of its own"`
	SecretFile string `yaml:"secret_file,omitempty" about:"file with the secret"`
	// PreviousSecret signs as well, while receivers learn the new one.
	PreviousSecret     Secret `yaml:"previous_secret,omitempty" about:"a second secret that signs too, while receivers change over"`
	PreviousSecretFile string `yaml:"previous_secret_file,omitempty" about:"file with the second secret"`

	Headers []Header `yaml:"headers,omitempty" about:"headers of your own"`
}

// Header is a header of a request to a webhook. Its value is a secret: it is often
// what admits the request.
type Header struct {
	Name      string `yaml:"name" about:"name of the header"`
	Value     Secret `yaml:"value,omitempty" about:"its value"`
	ValueFile string `yaml:"value_file,omitempty" about:"file with its value"`
}

// Address is where a web server takes messages. The URL is a secret: who knows it
// can send.
type Address struct {
	URL     Secret `yaml:"url,omitempty" about:"the URL, https or on this host; who knows it can send"`
	URLFile string `yaml:"url_file,omitempty" about:"file with the URL"`
	CAFile  string `yaml:"ca_file,omitempty" about:"PEM file of the certificates to trust; default the system's"`
}

// Teams is a card in Microsoft Teams.
type Teams struct {
	Address `yaml:",inline"`
}

// Slack is a message in Slack.
type Slack struct {
	Address `yaml:",inline"`
}

// Exec is a program of this host.
type Exec struct {
	Hook `yaml:",inline"`
}

// UnmarshalYAML puts the default time limit in first.
func (e *Exec) UnmarshalYAML(node ast.Node) error { return e.Hook.UnmarshalYAML(node) }

// Kind returns the kind of checked kinds: the first that is given.
func (k *ChannelKinds) Kind() ChannelKind {
	if given := k.given(); len(given) > 0 {
		return given[0]
	}
	return ""
}

func (k *ChannelKinds) given() []ChannelKind {
	var out []ChannelKind
	add := func(given bool, kind ChannelKind) {
		if given {
			out = append(out, kind)
		}
	}
	add(k.SMTP != nil, ChannelSMTP)
	add(k.GraphMail != nil, ChannelGraphMail)
	add(k.Webhook != nil, ChannelWebhook)
	add(k.Teams != nil, ChannelTeams)
	add(k.Slack != nil, ChannelSlack)
	add(k.Exec != nil, ChannelExec)
	return out
}

// Mails returns what the kinds that send e-mail have in common; none for others.
func (k *ChannelKinds) Mails() []*Mail {
	switch {
	case k.SMTP != nil:
		return []*Mail{&k.SMTP.Mail}
	case k.GraphMail != nil:
		return []*Mail{&k.GraphMail.Mail}
	}
	return nil
}

// address returns the URL of a kind that has one.
func (k *ChannelKinds) address() *Address {
	switch {
	case k.Webhook != nil:
		return &k.Webhook.Address
	case k.Teams != nil:
		return &k.Teams.Address
	case k.Slack != nil:
		return &k.Slack.Address
	}
	return nil
}

// paths returns the settings that hold paths of files.
func (k *ChannelKinds) paths() []*string {
	var out []*string
	if a := k.address(); a != nil {
		out = append(out, &a.URLFile, &a.CAFile)
	}
	if s := k.SMTP; s != nil {
		out = append(out, &s.CAFile, &s.PasswordFile, &s.TextTemplate, &s.HTMLTemplate)
	}
	if g := k.GraphMail; g != nil {
		out = append(out, &g.TextTemplate, &g.HTMLTemplate)
	}
	if w := k.Webhook; w != nil {
		out = append(out, &w.SecretFile, &w.PreviousSecretFile)
		for i := range w.Headers {
			out = append(out, &w.Headers[i].ValueFile)
		}
	}
	return out
}

// secretPaths are those of paths whose files hold a secret.
func (k *ChannelKinds) secretPaths() []string {
	var out []string
	if a := k.address(); a != nil {
		out = append(out, a.URLFile)
	}
	if s := k.SMTP; s != nil {
		out = append(out, s.PasswordFile)
	}
	if w := k.Webhook; w != nil {
		out = append(out, w.SecretFile, w.PreviousSecretFile)
		for i := range w.Headers {
			out = append(out, w.Headers[i].ValueFile)
		}
	}
	return out
}

// kinds checks where a channel leads. tenants are the names of the configuration's.
func (c *checker) kinds(p string, k *ChannelKinds, tenants []Tenant) {
	switch given := k.given(); {
	case len(given) == 0:
		c.add(p, "it leads nowhere; allowed is exactly one of smtp, graph_mail, webhook, teams, slack, exec")
	case len(given) > 1:
		words := make([]string, len(given))
		for i, kind := range given {
			words[i] = string(kind)
		}
		c.add(p, "%s are given together; allowed is exactly one, so make a channel of each", strings.Join(words, " and "))
	}
	if k.SMTP != nil {
		c.smtp(p+".smtp", k.SMTP, tenants)
	}
	if g := k.GraphMail; g != nil {
		c.tenantWithIdentity(p+".graph_mail.tenant", g.Tenant, tenants)
		c.mail(p+".graph_mail", &g.Mail)
		if g.TextTemplate != "" {
			c.add(p+".graph_mail.text_template", "Graph takes one body, the HTML; remove it")
		}
	}
	if w := k.Webhook; w != nil {
		c.webhook(p+".webhook", w)
	}
	if k.Teams != nil {
		c.address(p+".teams", &k.Teams.Address)
	}
	if k.Slack != nil {
		c.address(p+".slack", &k.Slack.Address)
	}
	if k.Exec != nil {
		c.program(p+".exec", k.Exec.Hook)
	}
}

func (c *checker) smtp(p string, s *SMTP, tenants []Tenant) {
	if s.Host == "" || !printable(s.Host) || strings.ContainsAny(s.Host, " /@") || strings.Contains(s.Host, ":") && net.ParseIP(s.Host) == nil {
		c.add(p+".host", "%q is not the name of a server; write it without port, such as smtp.contoso.example", s.Host)
	}
	if s.Port < 0 || s.Port > 65535 {
		c.add(p+".port", "%d is not allowed; allowed is 1 to 65535", s.Port)
	}
	c.oneOf(p+".tls", s.TLS, "starttls", "implicit", "none")
	if s.TLS == "none" && !loopback(s.Host) {
		c.add(p+".tls", "none is allowed to a server on this host only (localhost, 127.0.0.1, ::1); use starttls or implicit")
	}
	if s.TLS == "none" && s.CAFile != "" {
		c.add(p+".ca_file", "it belongs to starttls and implicit only")
	}
	c.optional(p+".auth", s.Auth, "plain", "login", "cram-md5", "xoauth2", "none")
	hasPassword := s.Password.value != nil || s.PasswordFile != ""
	c.secret(p+".password", s.Password, s.PasswordFile)
	switch {
	case s.Auth == "none" || s.Auth == "" && s.Username == "":
		if hasPassword || s.Auth == "none" && s.Username != "" {
			c.add(p+".username", "username and password belong together, and not to auth: none")
		}
	case s.Username == "" || !printable(s.Username):
		c.add(p+".username", "it is missing, or holds control characters")
	case s.Auth == "xoauth2":
		if hasPassword {
			c.add(p+".password", "xoauth2 signs in with a token of the tenant's identity; remove the password")
		}
	case !hasPassword:
		c.add(p+".password", "it is missing; give password_file")
	}
	switch {
	case s.Auth == "xoauth2":
		c.tenantWithIdentity(p+".tenant", s.Tenant, tenants)
	case s.Tenant != "":
		c.add(p+".tenant", "it belongs to xoauth2 only")
	}
	c.mail(p, &s.Mail)
}

func (c *checker) mail(p string, m *Mail) {
	c.mailAddress(p+".from", m.From)
	if len(m.To) == 0 {
		c.add(p+".to", "it is empty; give at least one address")
	}
	seen := map[string]string{}
	for i, to := range m.To {
		q := fmt.Sprintf("%s.to[%d]", p, i)
		c.mailAddress(q, to)
		c.unique(seen, q, strings.ToLower(to))
	}
}

// mailAddress asks for a bare address: names would only be another way to err.
func (c *checker) mailAddress(p, s string) {
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s || !printable(s) {
		c.add(p, "%q is not an address such as alerts@contoso.example", s)
	}
}

func (c *checker) tenantWithIdentity(p, name string, tenants []Tenant) {
	i := slices.IndexFunc(tenants, func(t Tenant) bool { return t.Name == name })
	switch {
	case name == "":
		c.add(p, "it is missing; give the name of a tenant")
	case i < 0:
		c.add(p, "%q is not the name of a tenant of this configuration", name)
	case tenants[i].Identity == nil:
		c.add(p, "tenant %q has no identity, which would send; give it one", name)
	}
}

func (c *checker) webhook(p string, w *Webhook) {
	c.address(p, &w.Address)
	c.secret(p+".secret", w.Secret, w.SecretFile)
	c.secret(p+".previous_secret", w.PreviousSecret, w.PreviousSecretFile)
	if (w.PreviousSecret.value != nil || w.PreviousSecretFile != "") && w.Secret.value == nil && w.SecretFile == "" {
		c.add(p+".previous_secret", "it stands beside a secret, which is not given")
	}
	seen := map[string]string{}
	for i, h := range w.Headers {
		q := fmt.Sprintf("%s.headers[%d]", p, i)
		token := func(r rune) bool {
			return r <= ' ' || r > '~' || strings.ContainsRune("()<>@,;:\\\"/[]?={}", r) // RFC 9110, 5.6.2
		}
		lower := strings.ToLower(h.Name)
		switch {
		case h.Name == "" || strings.ContainsFunc(h.Name, token):
			c.add(q+".name", "%q is not the name of a header", h.Name)
		case slices.Contains([]string{"host", "content-type", "content-length", "transfer-encoding", "connection", "user-agent"}, lower),
			strings.HasPrefix(lower, "webhook-"):
			c.add(q+".name", "%q is set by rotate itself", h.Name)
		}
		c.unique(seen, q+".name", lower)
		c.secret(q+".value", h.Value, h.ValueFile)
		if h.Value.value == nil && h.ValueFile == "" {
			c.add(q+".value", "it is missing; give value or value_file")
		}
		if !printable(h.Value.Reveal()) {
			c.add(q+".value", "it holds control characters")
		}
	}
}

func (c *checker) address(p string, a *Address) {
	c.secret(p+".url", a.URL, a.URLFile)
	switch {
	case a.URL.value == nil && a.URLFile == "":
		c.add(p+".url", "it is missing; give url_file")
	case a.URL.value != nil && !a.URL.IsZero():
		if problem := WebURL(a.URL.Reveal()); problem != "" {
			c.add(p+".url", "%s", problem)
		}
	}
}

// WebURL says what is wrong with the URL of a web server that gets messages; empty if
// nothing is. It never repeats the URL.
func WebURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "" || !printable(s):
		return "it is not a URL such as https://hooks.contoso.example/alerts"
	case u.User != nil:
		return "the URL holds a user name or password; use a header of your own instead"
	case u.Fragment != "":
		return "the URL holds a fragment (#…), which is never sent; remove it"
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return "it must begin with https://; http is allowed to a server on this host only"
	}
	return ""
}

// loopback says whether a host is this one.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// program checks a program and its limits.
func (c *checker) program(p string, h Hook) {
	if h.Timeout == 0 {
		h.Timeout = Duration(time.Minute)
	}
	c.hook(p, "exec", h)
}
