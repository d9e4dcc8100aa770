package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
)

// appFlags describe an app on the command line, when it is added and edited.
type appFlags struct {
	mode, objectID, keyID, owner, encoding, friendlyName string
	confirm                                              confirmFlag
	permissions, tags, probe, proveScopes                []string
	deliveries                                           []control.Delivery
	replace, evidence, verify, noConsumer                bool
	policy                                               policyFlags
}

// policyFlags are the parts of a policy that differ between apps; the others are set in a
// file of apps.
type policyFlags struct {
	keyType                                                    string
	validity, renewBefore, overlap, reloadWithin, keepPrevious config.Duration
}

func (p *policyFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var((*durationFlag)(&p.renewBefore), "renew-before", "how long before it expires the certificate is renewed, such as 60d (default that of the configuration)")
	f.Var((*durationFlag)(&p.overlap), "overlap", "how long the old certificate is still accepted after the new one was confirmed")
	f.Var((*durationFlag)(&p.reloadWithin), "reload-within", "how soon the consumer reads its files again")
	f.Var((*durationFlag)(&p.validity), "validity", "lifetime of new certificates")
	f.Var((*durationFlag)(&p.keepPrevious), "keep-previous", "how long a replaced key is kept, sealed")
	f.StringVar(&p.keyType, "key-type", "", "kind of new keys: rsa-2048, rsa-3072 or rsa-4096")
	for _, name := range []string{"renew-before", "overlap", "reload-within", "validity", "keep-previous"} {
		f.Lookup(name).DefValue = ""
	}
}

// put writes what was given on the command line into a policy, and tells whether there was
// anything.
func (p *policyFlags) put(cmd *cobra.Command, policy *control.Policy) (given bool, err error) {
	for name, one := range map[string]struct {
		value *config.Duration
		to    **control.Duration
	}{
		"renew-before": {&p.renewBefore, &policy.RenewBefore}, "overlap": {&p.overlap, &policy.Overlap},
		"reload-within": {&p.reloadWithin, &policy.ReloadWithin}, "validity": {&p.validity, &policy.Validity},
		"keep-previous": {&p.keepPrevious, &policy.KeepPrevious},
	} {
		if !cmd.Flags().Changed(name) {
			continue
		}
		if *one.value < 0 {
			return true, usagef("--%s may not be negative", name)
		}
		given = true
		*one.to = new(control.Duration(*one.value))
	}
	if p.keyType != "" {
		if !slices.Contains([]string{"rsa-2048", "rsa-3072", "rsa-4096"}, p.keyType) {
			return true, usagef("--key-type %q is not offered; use rsa-2048, rsa-3072 or rsa-4096", p.keyType)
		}
		given, policy.Key = true, p.keyType
	}
	return given, nil
}

func (f *appFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.mode, "mode", "", "self (the app rolls its own key) or managed (the tenant's identity does)")
	flags.StringVar(&f.objectID, "object-id", "", "object ID of the app registration, if the app may not read itself")
	flags.StringVar(&f.keyID, "key-id", "", "key ID of the present certificate, if the app may not read itself")
	flags.StringArrayVar(&f.permissions, "permission", nil, "application permission that its token must carry; repeatable")
	flags.StringVar(&f.owner, "owner", "", "who is responsible for it; a mail address gets its alerts")
	flags.StringArrayVar(&f.tags, "tag", nil, "word to find it by; repeatable")
	flags.StringArrayVar(&f.probe, "probe", nil, "Graph path that a new key must be able to read, such as '/users?$top=1'; repeatable")
	flags.StringArrayVar(&f.proveScopes, "prove-scope", nil, "further audience for which a sign-in with a new key must succeed, such as https://outlook.office365.com/.default; repeatable; \"\" is none")
	flags.Var(&f.confirm, "confirm", "when the consumer counts as using a new key: automatic, command:HOOK or person")
	flags.BoolVar(&f.verify, "verify", false, "self mode: let \"rotate tenant verify --app\" add and remove certificates of its own")
	flags.BoolVar(&f.evidence, "evidence", false, "managed mode: ask the sign-in log, before a certificate is removed, whether the consumer still uses it")
	flags.StringVar(&f.friendlyName, "friendly-name", "", "name of the key in delivered files, by which a consumer looks it up (Java: alias); default that of the file adopted")
	flags.StringVar(&f.encoding, "encoding", "", "form of delivered files: modern, legacy-des or pem")
	flags.Var(&deliveryFlag{&f.deliveries, "file"}, "deliver-file", "write new key pairs to this file, and the password to PATH.password; PATH,mode=0640,group=NAME,encoding=FORM sets how; repeatable")
	flags.Var(&deliveryFlag{&f.deliveries, "exec"}, "deliver-exec", "run this hook of the configuration with new key pairs; repeatable")
	handOff := &deliveryFlag{&f.deliveries, "handoff"}
	flags.Var(handOff, "deliver-handoff", "you upload new key pairs to the consumer yourself (rotate handoff)")
	flags.Lookup("deliver-handoff").NoOptDefVal = "true"
	flags.BoolVar(&f.noConsumer, "no-consumer", false, "no program signs in with its certificates, so no delivery is needed")
	f.policy.register(cmd)
	flags.BoolVar(&f.replace, "replace", false, "overwrite a file that contains another certificate")
}

// scopes are those of --prove-scope; an empty one takes all away.
func (f *appFlags) scopes() *[]string {
	list := []string{}
	for _, s := range f.proveScopes {
		if s != "" {
			list = append(list, s)
		}
	}
	return &list
}

// finish makes the deliveries whole.
func (f *appFlags) finish() error {
	for i := range f.deliveries {
		d := &f.deliveries[i]
		if d.Kind != "file" {
			continue
		}
		path, err := absolute(d.Path)
		if err != nil {
			return err
		}
		d.Path, d.PasswordPath, d.Replace = path, path+".password", f.replace
	}
	if f.replace && len(f.deliveries) == 0 {
		return usagef("--replace only goes with --deliver-file")
	}
	return nil
}

// deliveryFlag adds a delivery to a list that two flags share, so that their
// order is that of the command line.
type deliveryFlag struct {
	list *[]control.Delivery
	kind string
}

func (f *deliveryFlag) String() string { return "" }

// Set adds one.
func (f *deliveryFlag) Set(text string) error {
	if text == "" {
		return usagef("it may not be empty")
	}
	d := control.Delivery{Kind: f.kind}
	switch f.kind {
	case "exec":
		d.Hook = text
	case "file":
		if err := fileOf(&d, text); err != nil {
			return err
		}
	default:
		if text != "true" {
			return usagef("it takes no value")
		}
	}
	*f.list = append(*f.list, d)
	return nil
}

// fileOf reads PATH or PATH,mode=0640,group=NAME,encoding=FORM. A comma that no such
// name follows belongs to the path.
func fileOf(d *control.Delivery, text string) error {
	d.Path = text
	for {
		i := strings.LastIndexByte(d.Path, ',')
		if i < 0 {
			return nil
		}
		name, value, ok := strings.Cut(d.Path[i+1:], "=")
		set := map[string]*string{"mode": &d.Mode, "group": &d.Group, "encoding": &d.Encoding}[name]
		switch {
		case !ok || set == nil:
			return nil
		case value == "":
			return usagef("%s: it needs a value, such as mode=0640", name)
		}
		*set, d.Path = value, d.Path[:i]
	}
}

// Type is what help texts call the value.
func (f *deliveryFlag) Type() string {
	switch f.kind {
	case "exec":
		return "hook"
	case "file":
		return "path"
	}
	return ""
}

// confirmFlag is a confirmation rule.
type confirmFlag struct{ control.Confirm }

// String is the form that Set reads.
func (f *confirmFlag) String() string {
	if f.Hook != "" {
		return f.Rule + ":" + f.Hook
	}
	return f.Rule
}

// Set reads automatic, command:HOOK or person.
func (f *confirmFlag) Set(text string) error {
	rule, hook, _ := strings.Cut(text, ":")
	switch {
	case rule == "command" && hook == "":
		return usagef("command needs the name of a hook: command:HOOK")
	case rule == "command", hook == "" && (rule == "automatic" || rule == "person"):
		f.Rule, f.Hook = rule, hook
		return nil
	}
	return usagef("use automatic, command:HOOK or person")
}

// Type is what help texts call the value.
func (f *confirmFlag) Type() string { return "rule" }
