package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxNameBytes   = 64
	maxWorkers     = 32
	maxSuccesses   = 100
	maxUploads     = 1000
	maxBackups     = 10000
	maxDuration    = Duration(3650 * day)
	maxSocketBytes = 107 // unix(7): sun_path holds 108 bytes with the final zero
)

// checker collects problems.
type checker struct{ problems []*Error }

func (c *checker) add(path, format string, args ...any) {
	c.problems = append(c.problems, &Error{Path: path, Message: fmt.Sprintf(format, args...)})
}

// Check returns every problem of the configuration, joined, each an [*Error] without
// a place in a file. [Load] has called it.
func (c *Config) Check() error { return join(c.problems()) }

// Check returns every problem of the apps, joined, each an [*Error] without a place in
// a file. [LoadApps] has called it.
func (a *Apps) Check() error { return join(a.problems()) }

func join(problems []*Error) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

func (c *Config) problems() []*Error {
	k := &checker{}
	k.text("store.path", c.Store.Path)
	k.text("store.identity_file", c.Store.IdentityFile)
	if c.Store.Path != "" && c.Store.Path == c.Store.IdentityFile {
		k.add("store.identity_file", "%q is the database itself; the identity needs a file of its own", c.Store.IdentityFile)
	}
	for _, path := range c.paths() {
		k.credential(*path)
	}
	k.recovery(c.Store.Recovery)
	k.text("control.socket", c.Control.Socket)
	if n := len(c.Control.Socket); n > maxSocketBytes {
		k.add("control.socket", "%q has %d bytes; a unix socket's path may have at most %d", c.Control.Socket, n, maxSocketBytes)
	}
	k.oneOf("control.export", c.Control.Export, "on", "off")
	if c.Schedule.IsZero() {
		k.add("schedule", "it is empty; write five cron fields such as \"17 * * * *\", or \"@every 5m\"")
	}
	k.upTo("workers", c.Workers, maxWorkers)
	for i, root := range c.DeliveryRoots {
		if !filepath.IsAbs(root) || filepath.Clean(root) != root || root == "/" {
			k.add(fmt.Sprintf("delivery_roots[%d]", i), "%q is not the absolute path of a folder such as /srv", root)
		}
	}
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "text", "json")
	k.proxy(c.Proxy)
	k.policy("defaults", c.Defaults.Policy)
	if n := c.Defaults.MaxStartsPerDay; n < 0 {
		k.add("defaults.max_starts_per_day", "%d is negative; 0 is the larger of 10 and 5 %% of the apps", n)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Hooks)) {
		k.hook("hooks."+name, name, c.Hooks[name])
	}
	names, ids := map[string]string{}, map[string]string{}
	for i := range c.Tenants {
		p := fmt.Sprintf("tenants[%d]", i)
		k.tenant(p, &c.Tenants[i])
		k.unique(names, p+".name", c.Tenants[i].Name)
		k.unique(ids, p+".id", strings.ToLower(c.Tenants[i].ID))
	}
	k.backup(c.Backup)
	k.notify(&c.Notify, c.Tenants)
	k.page(&c.Page, c.Tenants)
	k.metrics(c.Metrics)
	k.otlp(c.OTLP)
	return k.problems
}

func (a *Apps) problems() []*Error {
	k := &checker{}
	if len(a.Apps) == 0 {
		k.add("apps", "there is no app; a file without any changes nothing")
	}
	names, ids := map[string]string{}, map[string]string{}
	for i := range a.Apps {
		app, p := &a.Apps[i], fmt.Sprintf("apps[%d]", i)
		k.app(p, app)
		k.unique(names, p+".name", app.Name)
		k.unique(ids, p+".client_id", strings.ToLower(app.ClientID))
	}
	return k.problems
}

func (c *checker) backup(b Backup) {
	switch {
	case b.IsZero():
	case b.Path == "":
		c.add("backup.path", "it is missing; give a folder such as /var/lib/rotate/backups, better one on another disk")
	case !filepath.IsAbs(b.Path) || filepath.Clean(b.Path) != b.Path || b.Path == "/":
		c.add("backup.path", "%q is not the absolute path of a folder such as /var/lib/rotate/backups", b.Path)
	}
	if b.Keep < 0 || b.Keep > maxBackups {
		c.add("backup.keep", "%d is not allowed; allowed is 1 to %d", b.Keep, maxBackups)
	}
}

func (c *checker) tenant(p string, t *Tenant) {
	c.name(p+".name", t.Name)
	if strings.Contains(t.ID, ".") && !isGUID(t.ID) {
		c.add(p+".id", "%q is a domain; write the tenant's ID, a GUID: it is in the Entra portal under Overview, and in the token_endpoint of https://login.microsoftonline.com/%s/v2.0/.well-known/openid-configuration", t.ID, url.PathEscape(t.ID))
	} else {
		c.guid(p+".id", t.ID)
	}
	switch {
	case t.Cloud.Name != "":
		c.oneOf(p+".cloud", t.Cloud.Name, Clouds()...)
	default:
		c.host(p+".cloud.login", t.Cloud.Login)
		c.host(p+".cloud.graph", t.Cloud.Graph)
		if r := t.Cloud.Removal; r != nil {
			c.removal(p+".cloud.removal", r, t.Cloud)
		}
	}
	if t.Identity != nil {
		c.identity(p+".identity", t.Identity)
	}
}

// removal checks how long a removal is checked: shorter times than Entra's rule are
// for clouds that are not Entra.
func (c *checker) removal(p string, r *RemovalTimes, cloud Cloud) {
	for _, host := range []string{cloud.Login, cloud.Graph} {
		if isMicrosofts(host) {
			c.add(p, "it is not allowed for %s: in Microsoft's clouds an entry that was removed may still be accepted for a while", host)
			return
		}
	}
	for _, d := range []struct {
		key  string
		time *Duration
		most Duration
	}{{"reads", r.Reads, Duration(2 * time.Minute)}, {"sign_ins", r.SignIns, Duration(10 * time.Minute)}, {"young", r.Young, maxDuration}} {
		c.span(p+"."+d.key, d.time, 1)
		if d.time != nil && *d.time > d.most {
			c.add(p+"."+d.key, "%s is not allowed; allowed is up to %s", *d.time, d.most)
		}
	}
}

// isMicrosofts reports whether a URL is in a domain of Microsoft's clouds.
func isMicrosofts(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	host := "." + strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	domains := []string{
		"microsoft.com", "microsoft.us", "microsoftonline.com", "microsoftonline.us", "microsoftonline.cn", "chinacloudapi.cn", "windows.net",
		"sovcloud-identity.fr", "sovcloud-identity.de", "sovcloud-api.fr", "sovcloud-api.de",
	}
	return slices.ContainsFunc(domains, func(domain string) bool { return strings.HasSuffix(host, "."+domain) })
}

func (c *checker) identity(p string, i *Identity) {
	kinds := i.kinds()
	switch {
	case len(kinds) == 0:
		c.add(p, "no kind of identity is given; allowed is exactly one of client_secret or client_secret_file, certificate_file, managed_identity, workload_identity, azure_cli (write {} if it has no keys)")
	case len(kinds) > 1:
		c.add(p, "%s are given together; allowed is exactly one", listed(kinds))
	}
	has := func(k IdentityKind) bool { return slices.Contains(kinds, k) }
	if has(KindClientSecret) || has(KindCertificate) {
		c.guid(p+".client_id", i.ClientID)
	} else if i.ClientID != "" {
		c.add(p+".client_id", "it belongs to client_secret and certificate_file only")
	}
	c.secret(p+".client_secret", i.ClientSecret, i.ClientSecretFile)
	c.secret(p+".password", i.Password, i.PasswordFile)
	if !has(KindCertificate) && (i.Password.value != nil || i.PasswordFile != "") {
		c.add(p, "a password is given without certificate_file; remove it")
	}
	if m := i.ManagedIdentity; m != nil {
		c.optionalGUID(p+".managed_identity.client_id", m.ClientID)
	}
	if w := i.WorkloadIdentity; w != nil {
		c.optionalGUID(p+".workload_identity.client_id", w.ClientID)
	}
}

// secret refuses an empty secret and one that is given in both ways.
func (c *checker) secret(p string, s Secret, file string) {
	switch {
	case s.value != nil && file != "":
		c.add(p, "both the value and %s_file are given; keep one", lastKey(p))
	case s.value != nil && s.IsZero() && lastKey(p) != "password":
		c.add(p, "it is empty")
	}
}

func (c *checker) hook(p, name string, h Hook) {
	c.name(p, name)
	switch {
	case len(h.Command) == 0 || h.Command[0] == "":
		c.add(p+".command", "it is empty; give the absolute path of a program")
	case !filepath.IsAbs(h.Command[0]):
		c.add(p+".command[0]", "%q is not an absolute path; neither PATH nor a shell is used", h.Command[0])
	}
	for i, a := range h.Command {
		if !printable(a) {
			c.add(fmt.Sprintf("%s.command[%d]", p, i), "%q holds control characters", a)
		}
	}
	if h.Timeout <= 0 || h.Timeout > Duration(day) {
		c.add(p+".timeout", "%s is not allowed; allowed is more than 0s, up to 1d", h.Timeout)
	}
	for i, v := range h.Env {
		if !isVariable(v) {
			c.add(fmt.Sprintf("%s.env[%d]", p, i), "%q is not the name of an environment variable (letters, digits and _; the value comes from the daemon's environment)", v)
		}
	}
}

func (c *checker) policy(p string, q Policy) {
	c.optional(p+".key", q.Key, "rsa-2048", "rsa-3072", "rsa-4096")
	c.optional(p+".encoding", q.Encoding, encodings()...)
	c.span(p+".validity", q.Validity, 1)
	c.span(p+".renew_before", q.RenewBefore, 1)
	c.span(p+".reload_within", q.ReloadWithin, 0)
	c.span(p+".overlap", q.Overlap, 0)
	c.span(p+".keep_previous", q.KeepPrevious, 0)
	c.span(p+".jitter", q.Jitter, 0)
	if q.Prove != nil {
		if n := q.Prove.Successes; n != nil {
			c.upTo(p+".prove.successes", *n, maxSuccesses)
		}
		c.span(p+".prove.spacing", q.Prove.Spacing, 0)
		c.span(p+".prove.within", q.Prove.Within, 1)
		c.scopes(p+".prove.scopes", q.Prove.Scopes)
	}
	if q.UploadLimit != nil {
		if n := q.UploadLimit.PerHour; n != nil {
			c.upTo(p+".upload_limit.per_hour", *n, maxUploads)
		}
		if n := q.UploadLimit.PerDay; n != nil {
			c.upTo(p+".upload_limit.per_day", *n, maxUploads)
		}
	}
	if q.Window != nil {
		c.window(p+".window", q.Window)
	}
}

// scopes asks for a list of distinct scopes that name a whole resource.
func (c *checker) scopes(p string, list []string) {
	form := regexp.MustCompile(`^(https|api)://[^\s/?#@]+(/[^\s?#@]*)?/\.default$`)
	seen := map[string]string{}
	for i, s := range list {
		q := fmt.Sprintf("%s[%d]", p, i)
		if len(s) > 2*maxNameBytes || !printable(s) || !form.MatchString(s) {
			c.add(q, "%q is not a scope such as https://outlook.office365.com/.default", s)
		}
		c.unique(seen, q, s)
	}
}

func (c *checker) window(p string, w *Window) {
	c.span(p+".duration", &w.Duration, 1)
	// LoadLocation also knows "Local", which depends on the host.
	if _, err := time.LoadLocation(w.Zone); err != nil || w.Zone == "Local" {
		c.add(p+".zone", "%q is not a known time zone; write an IANA name such as Europe/Berlin, or UTC", w.Zone)
		return
	}
	if _, err := w.Schedule(); err != nil {
		c.add(p+".cron", "%v", err)
	}
}

func (c *checker) app(p string, a *App) {
	if a.Evidence && a.Mode != "managed" {
		c.add(p+".evidence", "it needs mode managed: the tenant's identity reads the sign-in log")
	}
	if a.Consumer != "" {
		c.oneOf(p+".consumer", a.Consumer, "none")
	}
	if a.Consumer == "none" && len(a.Deliveries) > 0 {
		c.add(p+".consumer", "none does not go with deliveries: they bring the keys to a consumer")
	}
	c.appName(p+".name", a.Name)
	c.name(p+".tenant", a.Tenant)
	c.guid(p+".client_id", a.ClientID)
	c.optionalGUID(p+".object_id", a.ObjectID)
	c.optionalGUID(p+".key_id", a.KeyID)
	c.oneOf(p+".mode", a.Mode, "self", "managed")
	if a.PasswordFile != "" && a.PFX == "" {
		c.add(p+".password_file", "%q belongs to a pfx, which is not given", a.PasswordFile)
	}
	c.texts(p+".permissions", a.Permissions)
	c.texts(p+".tags", a.Tags)
	if !printable(a.Owner) {
		c.add(p+".owner", "%q holds control characters", a.Owner)
	}
	if !printable(a.FriendlyName) || utf8.RuneCountInString(a.FriendlyName) > 128 {
		c.add(p+".friendly_name", "%q is not one printable line of at most 128 characters", a.FriendlyName)
	}
	c.uses(p+".", *a)
}

// uses checks what an app and a profile have in common; p ends with a dot, or is
// empty.
func (c *checker) uses(p string, a App) {
	c.policy(p+"policy", a.Policy)
	targets := map[string]string{}
	for i := range a.Deliveries {
		d, q := &a.Deliveries[i], fmt.Sprintf("%sdeliveries[%d]", p, i)
		c.delivery(q, d)
		c.unique(targets, q+".path", d.Path)
		c.unique(targets, q+".password_path", d.PasswordPath)
	}
	for i, probe := range a.Probe {
		if u, err := url.Parse(probe); err != nil || !strings.HasPrefix(probe, "/") || u.Host != "" || u.Fragment != "" || !printable(probe) ||
			strings.ContainsAny(probe, " \\") || slices.Contains(strings.Split(u.Path, "/"), "..") {
			c.add(fmt.Sprintf("%sprobe[%d]", p, i), "%q is not a path of Graph; write it from the version on, such as /users?$top=1", probe)
		}
	}
	c.handOff(p+"handoff", a.HandOff)
	if a.Confirm.Rule == "automatic" && slices.ContainsFunc(a.Deliveries, func(d Delivery) bool { return d.Kind == "handoff" }) {
		c.add(p+"confirm.rule", "what is handed to a person can not be confirmed automatically; leave the rule out (person), or use command")
	}
	c.optional(p+"confirm.rule", a.Confirm.Rule, "automatic", "command", "person")
	switch hook := a.Confirm.Hook; {
	case a.Confirm.Rule == "command":
		c.name(p+"confirm.hook", hook)
	case hook != "":
		c.add(p+"confirm.hook", "%q belongs to the rule command only", hook)
	}
}

func (c *checker) handOff(p string, h HandOff) {
	if !printable(h.Consumer) {
		c.add(p+".consumer", "%q holds control characters", h.Consumer)
	}
	for i, s := range h.Steps {
		if strings.TrimSpace(s) == "" || !printable(s) {
			c.add(fmt.Sprintf("%s.steps[%d]", p, i), "%q is not one line of text", s)
		}
	}
}

func (c *checker) delivery(p string, d *Delivery) {
	switch d.Kind {
	case "file":
		c.target(p+".path", d.Path)
		if d.PasswordPath != "" {
			c.target(p+".password_path", d.PasswordPath)
		}
		c.optional(p+".encoding", d.Encoding, encodings()...)
		if d.Mode != "" {
			bits, err := strconv.ParseUint(strings.TrimPrefix(string(d.Mode), "0o"), 8, 32)
			if err != nil || bits&^0o660 != 0 || bits&0o400 == 0 {
				c.add(p+".mode", "%q is not allowed; write octal digits for reading and writing by owner and group, such as \"0640\", and nothing for others", string(d.Mode))
			}
		}
		if !printable(d.Group) || strings.ContainsAny(d.Group, " :/") {
			c.add(p+".group", "%q is not the name of a group", d.Group)
		}
		if d.Hook != "" {
			c.add(p+".hook", "%q belongs to the kind exec only", d.Hook)
		}
	case "exec":
		c.name(p+".hook", d.Hook)
		if *d != (Delivery{Kind: d.Kind, Hook: d.Hook}) {
			c.add(p, "exec has the keys kind and hook only")
		}
	case "handoff":
		c.optional(p+".encoding", d.Encoding, encodings()...)
		if *d != (Delivery{Kind: d.Kind, Encoding: d.Encoding}) {
			c.add(p, "handoff has the keys kind and encoding only")
		}
	default:
		c.oneOf(p+".kind", d.Kind, "file", "exec", "handoff")
	}
}

// target checks the path of a file that will be written.
func (c *checker) target(p, file string) {
	switch {
	case file == "":
		c.add(p, "it is empty; give the absolute path of the file to write")
	case !filepath.IsAbs(file):
		c.add(p, "%q is not an absolute path", file)
	case strings.HasSuffix(file, "/") || path.Clean(file) == "/" || !printable(file):
		c.add(p, "%q is not the path of a file", file)
	}
}

// Warnings returns what is allowed and probably not wanted, one sentence each. It
// needs a checked configuration.
func (c *Config) Warnings() []string {
	out := c.Defaults.warnings("defaults")
	if filepath.Dir(c.Store.Path) == filepath.Dir(c.Store.IdentityFile) {
		out = append(out, fmt.Sprintf("store.identity_file: it lies in %s beside the database that it opens; who copies the folder has both", filepath.Dir(c.Store.Path)))
	}
	if strings.HasPrefix(strings.ToLower(c.Proxy), "http://") {
		out = append(out, "proxy: the way to the proxy is not encrypted; the requests inside are, but host names can be seen")
	}
	for i := range c.Tenants {
		t, p := &c.Tenants[i], fmt.Sprintf("tenants[%d]", i)
		if t.Cloud.Name == "" {
			out = append(out, fmt.Sprintf("%s.cloud: %s is a cloud of your own, %s and %s", p, t.Name, t.Cloud.Login, t.Cloud.Graph))
		}
		if t.Identity == nil {
			continue
		}
		if t.Identity.ClientSecret.value != nil {
			out = append(out, p+".identity.client_secret: the secret stands in the configuration; client_secret_file keeps it in a file of its own")
		}
		if t.Identity.Password.value != nil {
			out = append(out, p+".identity.password: the password stands in the configuration; password_file keeps it in a file of its own")
		}
	}
	return append(out, c.Notify.warnings()...)
}

// Warnings returns what is allowed and probably not wanted, one sentence each. It
// needs checked apps.
func (a *Apps) Warnings() []string {
	var out []string
	for i := range a.Apps {
		out = append(out, a.Apps[i].Policy.warnings(fmt.Sprintf("apps[%d].policy", i))...)
	}
	return out
}

func (p Policy) warnings(at string) []string {
	var out []string
	if p.Overlap != nil && *p.Overlap == 0 {
		out = append(out, at+".overlap: 0s removes the old certificate as soon as the new one is confirmed; a consumer that has not read its file again is locked out")
	}
	if p.ReloadWithin != nil && *p.ReloadWithin == 0 {
		out = append(out, at+".reload_within: 0s says that consumers read their files at once; one that does not is confirmed too early")
	}
	return out
}
