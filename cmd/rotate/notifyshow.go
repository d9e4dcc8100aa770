package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

// shown is what "notify show -o json" prints.
type shown struct {
	Kind string `json:"kind"`
	// Message is the JSON of webhooks and programs.
	Message json.RawMessage `json:"message"`
	// Channels are those of the configuration.
	Channels []shownChannel `json:"channels"`
}

// shownChannel is what one channel would send.
type shownChannel struct {
	Channel string `json:"channel"`
	// Way says how and where to, without what is secret of it.
	Way string `json:"way"`
	// Filtered tells that the channel's filter leaves such an event out.
	Filtered bool `json:"filtered"`
	notify.Preview
}

func newNotifyShowCommand(a *app) *cobra.Command {
	var format outputFormat
	var html bool
	var kinds []string
	for _, kind := range rotator.EventKinds() {
		kinds = append(kinds, string(kind))
	}
	cmd := &cobra.Command{
		Use:   "show KIND [CHANNEL]",
		Short: "Print what would be sent for a kind of event",
		Long: `Prints what one channel, or each, would send for an example of an event: the headers
and the text of a mail, the headers and the JSON of a request, what a program gets.
Nothing is sent, and no secret is shown or read: not the URL of a webhook, not the
values of headers of your own, not a signature. The configuration is the file, not
what a daemon has in force, so that a template can be tried before a reload. A mail
to an app's owner differs in To only. Where no channel is configured it prints the JSON.

Kinds: ` + strings.Join(kinds, ", "),
		Example: `  rotate notify show expiring
  rotate notify show rotation_failed admins --html >mail.html`,
		Args:      arguments(1, 2, "one kind of event, and at most one channel"),
		ValidArgs: kinds,
		RunE: func(_ *cobra.Command, args []string) error {
			m, ok := notify.Sample(rotator.EventKind(args[0]))
			if !ok {
				return withHint(usagef("there is no kind of event %q", args[0]), "kinds are "+strings.Join(kinds, ", "))
			}
			out := shown{Kind: args[0], Channels: []shownChannel{}}
			var subject string
			var err error
			if subject, out.Message, err = notify.Show(m); err != nil {
				return err
			}
			cfg, err := a.loadConfig()
			if errors.Is(err, fs.ErrNotExist) && len(args) == 1 && a.configPath() == defaultConfig {
				cfg, err = &config.Config{}, nil // an example needs no configuration
			}
			if err != nil {
				return err
			}
			if out.Channels, err = showChannels(cfg, m, args[1:]...); err != nil {
				return err
			}
			switch {
			case html:
				return a.showHTML(out.Channels)
			case format.isJSON():
				return writeJSON(a.stdout, out)
			case len(out.Channels) == 0:
				e := m.Events[0]
				fmt.Fprintf(a.stdout, "%s\n\n%s\n→ %s\n\n", subject, e.Summary, e.Next)
				var pretty bytes.Buffer
				if err := json.Indent(&pretty, out.Message, "", "  "); err != nil {
					return err
				}
				fmt.Fprintln(a.stdout, pretty.String())
				return nil
			}
			a.showPreviews(out.Channels, m.Events[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&html, "html", false, "print the HTML of a mail and nothing else, for a browser")
	format.flag(cmd)
	return cmd
}

// showChannels makes what the named channels, or all, would send.
func showChannels(cfg *config.Config, m notify.Message, names ...string) ([]shownChannel, error) {
	all := []shownChannel{}
	var known []string
	for i := range cfg.Notify.Channels {
		ch := &cfg.Notify.Channels[i]
		known = append(known, ch.Name)
		if len(names) > 0 && !slices.Contains(names, ch.Name) {
			continue
		}
		p, err := previewOf(&ch.ChannelKinds, pageURL(cfg), m)
		if err != nil {
			return nil, &unusable{fmt.Errorf("channel %s: %w", ch.Name, err)}
		}
		// Tenant, app and tags of an example are made up.
		filter := filterOf(ch.Kind(), config.Filter{Kinds: ch.Filter.Kinds, Severity: ch.Filter.Severity})
		all = append(all, shownChannel{Channel: ch.Name, Way: wayOf(&ch.ChannelKinds), Filtered: !filter.Wants(m.Events[0]), Preview: p})
	}
	switch {
	case len(names) == 0 || len(all) > 0:
		return all, nil
	case len(known) == 0:
		return nil, withHint(usagef("there is no channel %q", names[0]), "the configuration has no channel; notify.channels names them")
	}
	return nil, withHint(usagef("there is no channel %q", names[0]), "channels are "+strings.Join(known, ", "))
}

// previewOf asks the kind of channel, which is given nothing secret.
func previewOf(k *config.ChannelKinds, page string, m notify.Message) (notify.Preview, error) {
	switch k.Kind() {
	case config.ChannelSMTP:
		templates, err := templatesOf(&k.SMTP.Mail, page)
		if err != nil {
			return notify.Preview{}, err
		}
		return (&notify.SMTP{From: k.SMTP.From, To: k.SMTP.To, Templates: templates}).Preview(m)
	case config.ChannelGraphMail:
		templates, err := templatesOf(&k.GraphMail.Mail, page)
		if err != nil {
			return notify.Preview{}, err
		}
		return (&notify.GraphMail{From: k.GraphMail.From, To: k.GraphMail.To, Templates: templates}).Preview(m)
	case config.ChannelWebhook:
		secrets := 0
		for _, given := range []bool{
			!k.Webhook.Secret.IsZero() || k.Webhook.SecretFile != "",
			!k.Webhook.PreviousSecret.IsZero() || k.Webhook.PreviousSecretFile != "",
		} {
			if given {
				secrets++
			}
		}
		var headers []string
		for _, h := range k.Webhook.Headers {
			headers = append(headers, h.Name)
		}
		return notify.PreviewWebhook(m, headers, secrets)
	case config.ChannelTeams:
		return (&notify.Teams{}).Preview(m)
	case config.ChannelSlack:
		return (&notify.Slack{}).Preview(m)
	case config.ChannelExec:
		return (&notify.Exec{}).Preview(m)
	}
	return notify.Preview{}, errors.New("it leads nowhere")
}

// wayOf says how and where a channel sends.
func wayOf(k *config.ChannelKinds) string {
	post := func(what string, a *config.Address) string {
		if a.URLFile != "" {
			return what + " by POST to the URL in " + a.URLFile
		}
		host := "the URL of the configuration"
		if u, err := url.Parse(a.URL.Reveal()); err == nil && u.Host != "" {
			host = u.Scheme + "://" + u.Host + "/[not shown]"
		}
		return what + " by POST to " + host
	}
	switch k.Kind() {
	case config.ChannelSMTP:
		server := k.SMTP.Host
		if k.SMTP.Port != 0 {
			server = net.JoinHostPort(server, strconv.Itoa(int(k.SMTP.Port)))
		}
		return "mail through " + server + ", tls " + k.SMTP.TLS
	case config.ChannelGraphMail:
		return "mail through Microsoft Graph, by the identity of tenant " + k.GraphMail.Tenant
	case config.ChannelWebhook:
		return post("JSON", &k.Webhook.Address)
	case config.ChannelTeams:
		return post("a card", &k.Teams.Address)
	case config.ChannelSlack:
		return post("a message", &k.Slack.Address)
	case config.ChannelExec:
		return "JSON on standard input of " + strings.Join(k.Exec.Command[:min(1, len(k.Exec.Command))], "")
	}
	return "nowhere"
}

// showPreviews prints what each channel would send.
func (a *app) showPreviews(channels []shownChannel, e rotator.Event) {
	t := newTerminal(a.stdout, a.getenv)
	for i, ch := range channels {
		if i > 0 {
			fmt.Fprintln(t.w)
		}
		fmt.Fprintf(t.w, "%s\n", t.paint(bold, "── "+ch.Channel+": "+ch.Way))
		if ch.Filtered {
			fmt.Fprintf(t.w, "%s\n", t.paint(yellow, fmt.Sprintf("(not sent: the filter of %s leaves out %s of severity %s)", ch.Channel, e.Kind, e.Severity)))
		}
		if len(ch.Headers) > 0 {
			fmt.Fprintln(t.w)
		}
		for _, h := range ch.Headers {
			fmt.Fprintf(t.w, "%s: %s\n", h.Name, h.Value)
		}
		for _, p := range ch.Parts {
			fmt.Fprintln(t.w)
			if p.Type == "text/html" {
				fmt.Fprintf(t.w, "%s\n", t.paint(dim, fmt.Sprintf("(%d bytes of HTML: --html prints them)", len(p.Text))))
				continue
			}
			fmt.Fprintln(t.w, strings.TrimRight(p.Text, "\n"))
		}
	}
}

// showHTML prints the HTML of the first channel that sends mail.
func (a *app) showHTML(channels []shownChannel) error {
	for _, ch := range channels {
		for _, p := range ch.Parts {
			if p.Type == "text/html" {
				fmt.Fprintln(a.stdout, strings.TrimRight(p.Text, "\n"))
				return nil
			}
		}
	}
	return usagef("--html needs a channel that sends mail (smtp or graph_mail)")
}
