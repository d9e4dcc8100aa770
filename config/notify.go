package config

import (
	"fmt"
	"strings"
	"time"
)

// Notify says who hears of what, and who watches the daemon itself.
type Notify struct {
	Channels []Channel `yaml:"channels,omitempty" about:"ways to people; the log always gets everything"`
	// ExpiryStages are in falling order; "expired" is always the last one.
	ExpiryStages []Duration `yaml:"expiry_stages" about:"how long before its end people are told of a certificate that nothing replaces, longest first; its end itself is always told"`
	Heartbeat    Heartbeat  `yaml:"heartbeat,omitempty" about:"a URL that is asked after each good check, and URL/fail after a bad one"`
}

// Channel is one way to people.
type Channel struct {
	// Name is unique. "log" is taken.
	Name string `yaml:"name" about:"name of the channel"`

	ChannelKinds `yaml:",inline"`

	Filter Filter `yaml:"filter,omitempty" about:"which events it gets; absent: mail and chats leave out rotation_started, rotated and certificate_removed, programs get everything"`
	// Fallback is the name of another channel; empty: none.
	Fallback string `yaml:"fallback,omitempty" about:"another channel, which takes over what this one refuses for good or does not take for half an hour"`
}

// Filter chooses events. What is empty lets everything pass; an event must pass
// each.
type Filter struct {
	Kinds []string `yaml:"kinds,omitempty" about:"kinds of events, as in docs/alerts.md"`
	// Severity is the least that passes; empty: all.
	Severity string   `yaml:"severity,omitempty" about:"the least severity" enum:"info|warning|critical"`
	Tenants  []string `yaml:"tenants,omitempty" about:"names of tenants"`
	Apps     []string `yaml:"apps,omitempty" about:"names of apps"`
	Tags     []string `yaml:"tags,omitempty" about:"tags of apps, any of them"`
}

// Heartbeat is where the daemon tells that it works.
type Heartbeat struct {
	Address `yaml:",inline"`
}

// IsZero says whether there is none.
func (h Heartbeat) IsZero() bool { return h.URL.IsZero() && h.URLFile == "" }

// maxStages is how many stages may be announced for one certificate.
const maxStages = 20

// DefaultExpiryStages returns 45, 30, 14, 7, 3 and 1 days.
func DefaultExpiryStages() []Duration {
	var out []Duration
	for _, n := range []Duration{45, 30, 14, 7, 3, 1} {
		out = append(out, n*Duration(day))
	}
	return out
}

// EventKinds returns the kinds that a filter may name.
func EventKinds() []string {
	return []string{
		"expiring", "rotation_started", "rotated", "rotation_failed", "rolled_back", "handoff_ready", "handoff_overdue",
		"foreign_credential", "certificate_missing", "renewal_at_risk", "no_delivery", "old_certificate_in_use", "removal_unconfirmed", "certificate_removed", "key_id_unknown", "tenant_fact_changed", "keys_taken", "inspection_overdue", "recovered", "stopped", "channel_failing", "store_failing", "test",
	}
}

func (c *checker) notify(n *Notify, tenants []Tenant) {
	names := map[string]string{}
	for i := range n.Channels {
		ch, p := &n.Channels[i], fmt.Sprintf("notify.channels[%d]", i)
		c.name(p+".name", ch.Name)
		c.unique(names, p+".name", ch.Name)
		if ch.Name == "log" {
			c.add(p+".name", "\"log\" is the log, which always gets everything; take another name")
		}
		c.kinds(p, &ch.ChannelKinds, tenants)
		c.filter(p+".filter", &ch.Filter, tenants)
	}
	for i := range n.Channels {
		c.fallback(fmt.Sprintf("notify.channels[%d].fallback", i), &n.Channels[i], names)
	}
	if len(n.ExpiryStages) > maxStages {
		c.add("notify.expiry_stages", "there are %d; allowed are %d", len(n.ExpiryStages), maxStages)
	}
	for i, stage := range n.ExpiryStages {
		p := fmt.Sprintf("notify.expiry_stages[%d]", i)
		switch {
		case stage < Duration(time.Hour) || stage > maxDuration:
			c.add(p, "%s is not allowed; allowed is 1h to %s", stage, maxDuration)
		case i > 0 && stage >= n.ExpiryStages[i-1]:
			c.add(p, "%s is not shorter than the one before it; write the longest first", stage)
		}
	}
	if !n.Heartbeat.IsZero() || n.Heartbeat.CAFile != "" {
		c.address("notify.heartbeat", &n.Heartbeat.Address)
	}
}

func (c *checker) fallback(p string, ch *Channel, names map[string]string) {
	switch {
	case ch.Fallback == "":
	case ch.Fallback == ch.Name:
		c.add(p, "%q is the channel itself", ch.Fallback)
	case names[ch.Fallback] == "":
		c.add(p, "%q is not the name of a channel", ch.Fallback)
	}
}

func (c *checker) filter(p string, f *Filter, tenants []Tenant) {
	for i, kind := range f.Kinds {
		c.oneOf(fmt.Sprintf("%s.kinds[%d]", p, i), kind, EventKinds()...)
	}
	c.optional(p+".severity", f.Severity, "info", "warning", "critical")
	known := make([]string, len(tenants))
	for i := range tenants {
		known[i] = tenants[i].Name
	}
	for i, name := range f.Tenants {
		c.oneOf(fmt.Sprintf("%s.tenants[%d]", p, i), name, known...)
	}
	for i, name := range f.Apps {
		c.appName(fmt.Sprintf("%s.apps[%d]", p, i), name)
	}
	c.texts(p+".tags", f.Tags)
}

// paths returns the settings that hold paths of files.
func (n *Notify) paths() []*string {
	out := []*string{&n.Heartbeat.URLFile, &n.Heartbeat.CAFile}
	for i := range n.Channels {
		out = append(out, n.Channels[i].paths()...)
	}
	return out
}

// warnings tells of nobody who is told, and of secrets in the configuration.
func (n *Notify) warnings() []string {
	var out []string
	if len(n.Channels) == 0 && n.Heartbeat.IsZero() {
		out = append(out, "notify: there is neither a channel nor a heartbeat: alerts reach the log only, and nobody notices if the daemon stops")
	}
	for i := range n.Channels {
		for _, key := range n.Channels[i].inline() {
			out = append(out, fmt.Sprintf("notify.channels[%d].%s: the secret stands in the configuration; %s_file keeps it in a file of its own", i, key, key[strings.LastIndexByte(key, '.')+1:]))
		}
	}
	if n.Heartbeat.URL.value != nil {
		out = append(out, "notify.heartbeat.url: the URL is a secret and stands in the configuration; url_file keeps it in a file of its own")
	}
	return out
}

// inline names the secrets that stand in the configuration.
func (k *ChannelKinds) inline() []string {
	var out []string
	add := func(s Secret, key string) {
		if s.value != nil {
			out = append(out, key)
		}
	}
	if k.SMTP != nil {
		add(k.SMTP.Password, "smtp.password")
	}
	if a := k.address(); a != nil {
		add(a.URL, string(k.Kind())+".url")
	}
	if w := k.Webhook; w != nil {
		add(w.Secret, "webhook.secret")
		add(w.PreviousSecret, "webhook.previous_secret")
	}
	return out
}
