package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/store"
)

// setupAnswers are what "rotate setup" needs to know, from flags or from questions.
type setupAnswers struct {
	tenant, tenantID string
	// cloud is a name of the configuration's clouds; login, graph and caFile stand for one
	// that has none.
	cloud, login, graph, caFile string

	// recovery is an age recipient; else recoveryKeyFile gets a key made here, or
	// noRecovery decides against it.
	recovery, recoveryKeyFile string
	noRecovery                bool

	mailTo                         []string
	mailFrom, mailServer, mailTLS  string
	mailUser, mailPasswordFile     string
	webhookURLFile                 string
	noAlerts                       bool
	typedMailPassword, typedWebURL string // written to files of the service; never printed
}

func newSetupCommand(a *app) *cobra.Command {
	var answers setupAnswers
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Set this host up: configuration, recovery key, store",
		Long: `Asks for your tenant, for who can recover the keys, and where alerts go. Then it writes
the configuration, checks it, makes the store, and prints the next three commands.

The recovery key opens backups and the keys of a lost host. rotate can make it: it is
shown once on your terminal, or written to --recovery-key-file (mode 0600). It is stored
nowhere else. Keep it in a password manager or on another machine.

Without a terminal, every answer is a flag. A host that is configured is never changed.`,
		Example: `  sudo rotate setup
  sudo rotate setup --tenant-id 11111111-2222-3333-4444-555555555555 \
    --recovery-key-file /root/rotate-recovery.key \
    --mail-to ops@contoso.example --mail-server mail.contoso.example`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.setup(cmd.Context(), &answers) },
	}
	f := cmd.Flags()
	f.StringVar(&answers.tenant, "tenant", "", "your own short name for the tenant (default contoso)")
	f.StringVar(&answers.tenantID, "tenant-id", "", "tenant ID, a GUID: Entra admin centre, Overview")
	f.StringVar(&answers.cloud, "cloud", "", "national cloud: "+strings.Join(config.Clouds(), ", ")+" (default global)")
	f.StringVar(&answers.login, "login", "", "URL of a login host that is not Microsoft's, such as the emulator's; goes with --graph and --ca-file")
	f.StringVar(&answers.graph, "graph", "", "URL of its Graph")
	f.StringVar(&answers.caFile, "ca-file", "", "PEM file of the certificates to trust there")
	f.StringVar(&answers.recovery, "recovery", "", "age recipient (age1…) that can recover the keys, if you have one already")
	f.StringVar(&answers.recoveryKeyFile, "recovery-key-file", "", "make a recovery key and write it to this file (0600)")
	f.BoolVar(&answers.noRecovery, "no-recovery", false, "no recovery key: if this host is lost, so are the keys")
	f.StringSliceVar(&answers.mailTo, "mail-to", nil, "send alerts to this address; may be repeated")
	f.StringVar(&answers.mailFrom, "mail-from", "", "sender of alerts (default rotate@HOST)")
	f.StringVar(&answers.mailServer, "mail-server", "", "mail server, HOST or HOST:PORT")
	f.StringVar(&answers.mailTLS, "mail-tls", "", "starttls, implicit or none (default starttls; none to a server on this host)")
	f.StringVar(&answers.mailUser, "mail-user", "", "user name at the mail server, if it wants one")
	f.StringVar(&answers.mailPasswordFile, "mail-password-file", "", "file with its password, readable by the service")
	f.StringVar(&answers.webhookURLFile, "webhook-url-file", "", "send alerts to the URL in this file, readable by the service")
	f.BoolVar(&answers.noAlerts, "no-alerts", false, "alerts go to the log only")
	return cmd
}

// setup runs the questions, or checks the flags, and does the rest.
func (a *app) setup(ctx context.Context, answers *setupAnswers) error {
	if err := answers.check(); err != nil {
		return err
	}
	path, err := filepath.Abs(a.configPath())
	if err != nil {
		return err
	}
	base, err := unconfigured(path)
	if err != nil {
		return err
	}
	for _, made := range []string{base.Store.Path, base.Store.IdentityFile} {
		if _, err := os.Lstat(made); err == nil {
			return withHint(fmt.Errorf("%s is there already: this host has a store, and setup does not touch it", made),
				`"rotate status" shows it; to change the configuration, edit `+path+` and run "rotate reload"`)
		}
	}
	if err := answers.outside(base, path); err != nil {
		return err
	}
	q := a.newQuestions()
	if q != nil {
		fmt.Fprintf(a.stderr, "This sets up rotate in %s. Press Enter to accept what is in [brackets].\n", path)
		if err := answers.ask(q, path, base); err != nil {
			return err
		}
	} else if err := answers.complete(); err != nil {
		return err
	}
	return a.carryOut(ctx, q, answers, base, path)
}

// check refuses flags that contradict each other.
func (s *setupAnswers) check() error {
	recoveries := 0
	for _, given := range []bool{s.recovery != "", s.recoveryKeyFile != "", s.noRecovery} {
		if given {
			recoveries++
		}
	}
	mail := len(s.mailTo) > 0
	switch {
	case recoveries > 1:
		return usagef("give one of --recovery, --recovery-key-file and --no-recovery")
	case s.noAlerts && (mail || s.webhookURLFile != ""):
		return usagef("--no-alerts contradicts --mail-to and --webhook-url-file")
	case !mail && (s.mailServer != "" || s.mailFrom != "" || s.mailUser != "" || s.mailPasswordFile != "" || s.mailTLS != ""):
		return usagef("the --mail flags need --mail-to")
	case mail && s.mailServer == "":
		return usagef("--mail-to needs --mail-server")
	case (s.login != "") != (s.graph != ""):
		return usagef("--login and --graph go together")
	case s.login != "" && s.cloud != "":
		return usagef("give either --cloud or --login and --graph")
	case s.login == "" && s.caFile != "":
		return usagef("--ca-file goes with --login and --graph")
	}
	return nil
}

// complete reports what is missing where nobody can be asked.
func (s *setupAnswers) complete() error {
	var missing []string
	if s.tenantID == "" {
		missing = append(missing, "--tenant-id")
	}
	if s.recovery == "" && s.recoveryKeyFile == "" && !s.noRecovery {
		missing = append(missing, "--recovery-key-file (or --recovery, or --no-recovery)")
	}
	if len(s.mailTo) == 0 && s.webhookURLFile == "" && !s.noAlerts {
		missing = append(missing, "--mail-to with --mail-server (or --webhook-url-file, or --no-alerts)")
	}
	if len(missing) > 0 {
		return withHint(usagef("standard input is not a terminal, so setup cannot ask. Missing: %s", strings.Join(missing, ", ")),
			`"rotate setup --help" shows an example`)
	}
	return nil
}

// outside refuses a recovery key in a folder that a backup or an image of the host's
// configuration and store would contain.
func (s *setupAnswers) outside(base *config.Config, path string) error {
	if s.recoveryKeyFile == "" {
		return nil
	}
	file, err := absolute(s.recoveryKeyFile)
	if err != nil {
		return err
	}
	s.recoveryKeyFile = file
	for _, own := range []string{path, base.Store.Path, base.Store.IdentityFile, base.Control.Socket} {
		if folder := filepath.Dir(own); file == folder || strings.HasPrefix(file, folder+string(filepath.Separator)) {
			return withHint(usagef("--recovery-key-file %s is in a folder of rotate (%s); whoever copies that folder has the keys", file, folder),
				"write it elsewhere, such as /root/rotate-recovery.key, and move it off this host")
		}
	}
	return nil
}

// unconfigured reads the configuration that is there, or makes the one that setup starts
// from. It is an error if somebody has configured more than where things are.
func unconfigured(path string) (*config.Config, error) {
	cfg, err := config.LoadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return placed(path), nil
	case errors.Is(err, config.ErrEmpty):
		return placed(path), nil
	case err != nil:
		return nil, err
	}
	bare := config.Default()
	bare.Store, bare.Control, bare.DeliveryRoots, bare.Log, bare.Schedule = cfg.Store, cfg.Control, cfg.DeliveryRoots, cfg.Log, cfg.Schedule
	bare.AllowRoot = cfg.AllowRoot
	if cfg.Store.Recovery != "" || !reflect.DeepEqual(bare, cfg) {
		return nil, withHint(fmt.Errorf("%s is configured already, and setup does not change it", path),
			`edit it, then "rotate config check"; "rotate init" makes the store`)
	}
	return cfg, nil
}

// placed is the configuration of an empty file, with its files where they belong: in the
// system's folders for a configuration of the system, else beside the configuration.
func placed(path string) *config.Config {
	cfg := config.Default()
	if strings.HasPrefix(path, "/etc/") {
		cfg.Store.IdentityFile = "/etc/rotate/keys/store.key"
		return cfg
	}
	cfg.AllowRoot = os.Geteuid() == 0 // somebody tries it, as root
	folder := filepath.Dir(path)
	cfg.Store = config.Store{Path: filepath.Join(folder, "data", "rotate.db"), IdentityFile: filepath.Join(folder, "keys", "store.key")}
	cfg.Control.Socket = filepath.Join(folder, "rotate.sock")
	return cfg
}

// carryOut writes and makes everything. What was begun is removed if it fails.
func (a *app) carryOut(ctx context.Context, q *questions, answers *setupAnswers, base *config.Config, path string) (err error) {
	var key []byte
	if answers.recovery == "" && !answers.noRecovery {
		if key, answers.recovery, err = store.NewRecoveryKey(); err != nil {
			return err
		}
	}
	if answers.typedMailPassword != "" {
		answers.mailPasswordFile = filepath.Join(filepath.Dir(base.Store.IdentityFile), "mail.password")
	}
	if answers.typedWebURL != "" {
		answers.webhookURLFile = filepath.Join(filepath.Dir(base.Store.IdentityFile), "webhook.url")
	}
	cfg, draft, err := a.draft(answers, base, path)
	if err != nil {
		return err
	}
	done := false
	undo := []func() error{func() error { return os.Remove(draft) }}
	defer func() {
		for _, step := range slices.Backward(undo) {
			if !done {
				err = errors.Join(err, a.asCaller(step))
			}
		}
	}()
	if key != nil && answers.recoveryKeyFile != "" {
		if err := writeNew(answers.recoveryKeyFile, key); err != nil {
			return err
		}
		undo = append(undo, func() error { return os.Remove(answers.recoveryKeyFile) })
	} else if key != nil {
		if err := showOnce(q, key); err != nil {
			return err
		}
	}
	a.saved = &caller{}
	keeper, err := ownerOf(cfg.Store.Path)
	if err != nil {
		return err
	}
	if err := keeper.become(a.args, a.saved); err != nil {
		return err
	}
	if err := harden(); err != nil {
		return err
	}
	made, err := store.Init(ctx, store.InitOptions{
		Path: cfg.Store.Path, IdentityFile: cfg.Store.IdentityFile, Recovery: answers.recovery, Version: version(),
	})
	if err != nil {
		return initError(err, cfg.Store, false)
	}
	for file, secret := range map[string]string{answers.mailPasswordFile: answers.typedMailPassword, answers.webhookURLFile: answers.typedWebURL} {
		if secret != "" {
			if err := writeNew(file, []byte(secret+"\n")); err != nil {
				return err
			}
			undo = append(undo, func() error { return os.Remove(file) })
		}
	}
	if err := a.asCaller(func() error { return os.Rename(draft, path) }); err != nil {
		return err
	}
	done = true
	a.writeSetUp(answers, cfg, path, made)
	return nil
}

// draft writes the configuration beside its place and checks it as the daemon would.
func (a *app) draft(answers *setupAnswers, base *config.Config, path string) (*config.Config, string, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the configuration holds no secret, and members of the groups read it
		return nil, "", err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".config.*.yaml")
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, "", withHint(fmt.Errorf("write %s: %w", path, at.Err), "run it with sudo, or name a configuration of your own: rotate -c FILE setup")
	}
	if err != nil {
		return nil, "", err
	}
	draft := file.Name()
	_, err = file.WriteString(answers.text(base))
	err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close())
	var cfg *config.Config
	if err == nil {
		cfg, err = config.LoadFile(draft)
	}
	if err == nil {
		err = a.checkTenants(cfg)
	}
	if err != nil {
		return nil, "", errors.Join(err, os.Remove(draft))
	}
	return cfg, draft, nil
}

// showOnce shows the recovery key on the caller's terminal, which is neither a pipe nor a
// log, and waits until it was saved.
func showOnce(q *questions, key []byte) error {
	tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
	if err != nil {
		return withHint(errors.New("there is no terminal to show the recovery key on"), "--recovery-key-file FILE writes it to a file")
	}
	lines := strings.Split(strings.TrimSpace(string(key)), "\n")
	_, err = fmt.Fprintf(tty, `
The recovery key. It is shown once and stored nowhere; save it in a password manager
or print it. With it and a backup you get the keys back when this host is lost.

    %s

`, lines[len(lines)-1])
	if err := errors.Join(err, tty.Close()); err != nil {
		return err
	}
	_, err = q.ask("Type saved when you have saved it", "", func(text string) error {
		if text != "saved" {
			return errors.New("the word is: saved")
		}
		return nil
	})
	return err
}

// writeNew writes a file for its owner alone; one that is there is never overwritten.
func writeNew(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the user named it
	if errors.Is(err, fs.ErrExist) {
		return mustBeFree(path)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// text is the configuration.
func (s *setupAnswers) text(base *config.Config) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# The configuration of rotate, made by \"rotate setup\". Every key with its default stands in")
	line("# config.example.yaml; \"rotate config check\" checks this file, \"rotate reload\" reads it again.")
	line("")
	line("store:")
	line("  path: %s", yamlText(base.Store.Path))
	line("  identity_file: %s", yamlText(base.Store.IdentityFile))
	if s.noRecovery {
		line("  recovery: none # a copy of the identity file, kept elsewhere, is the only way back after a lost host")
	} else {
		line("  recovery: %s # its private half is kept off this host", s.recovery)
	}
	if base.AllowRoot {
		line("allow_root: true # for who tries this as root; a service has a user of its own")
	}
	bare := config.Default()
	if base.Control != bare.Control {
		line("control: {socket: %s}", yamlText(base.Control.Socket))
	}
	if base.Log != bare.Log {
		line("log: {level: %s, format: %s}", base.Log.Level, base.Log.Format)
	}
	if !reflect.DeepEqual(base.Schedule, bare.Schedule) {
		line("schedule: %s", yamlText(base.Schedule.String()))
	}
	if len(base.DeliveryRoots) > 0 {
		var roots []string
		for _, root := range base.DeliveryRoots {
			roots = append(roots, yamlText(root))
		}
		line("\n# Files are delivered in or below these folders only.")
		line("delivery_roots: [%s]", strings.Join(roots, ", "))
	}
	line("")
	line("tenants:")
	line("  - name: %s", yamlText(s.name()))
	line("    id: %s", yamlText(s.tenantID))
	switch {
	case s.login != "" && s.caFile != "":
		line("    cloud: {login: %s, graph: %s, ca_file: %s}", yamlText(s.login), yamlText(s.graph), yamlText(s.caFile))
	case s.login != "":
		line("    cloud: {login: %s, graph: %s}", yamlText(s.login), yamlText(s.graph))
	case s.cloud != "":
		line("    cloud: %s", yamlText(s.cloud))
	}
	s.notifyText(line)
	line("")
	line("# A sealed backup in each night; copy that folder off this host.")
	line("#backup: {path: /var/lib/rotate/backups}")
	line("# A web page that shows everything and changes nothing; everybody on this host can read it.")
	line("#page: {listen: 127.0.0.1:9780}")
	return b.String()
}

// notifyText writes the channels.
func (s *setupAnswers) notifyText(line func(format string, args ...any)) {
	if len(s.mailTo) == 0 && s.webhookURLFile == "" {
		return
	}
	line("\nnotify:\n  channels:")
	if len(s.mailTo) > 0 {
		host, port, err := net.SplitHostPort(s.mailServer)
		if err != nil {
			host = s.mailServer
		}
		var to []string
		for _, address := range s.mailTo {
			to = append(to, yamlText(address))
		}
		line("    - name: mail\n      smtp:")
		line("        host: %s", yamlText(host))
		if port != "" {
			line("        port: %s", port)
		}
		if s.mailTLS != "" {
			line("        tls: %s", s.mailTLS)
		}
		if s.mailUser != "" {
			line("        username: %s", yamlText(s.mailUser))
			line("        password_file: %s", yamlText(s.mailPasswordFile))
		}
		line("        from: %s", yamlText(s.sender()))
		line("        to: [%s]", strings.Join(to, ", "))
	}
	if s.webhookURLFile != "" {
		line("    - name: webhook\n      webhook: {url_file: %s}", yamlText(s.webhookURLFile))
	}
}

func (s *setupAnswers) name() string {
	if s.tenant == "" {
		return "contoso"
	}
	return s.tenant
}

// sender of mail: rotate at this host, if nobody said another one.
func (s *setupAnswers) sender() string {
	if s.mailFrom != "" {
		return s.mailFrom
	}
	host, _ := os.Hostname()
	if host == "" {
		host = "localhost"
	}
	return "rotate@" + host
}

// yamlText quotes a text for YAML, whose double quotes know the escapes of Go that occur
// in what is printable.
func yamlText(text string) string { return strconv.Quote(text) }

// writeSetUp says what was made and what comes next.
func (a *app) writeSetUp(answers *setupAnswers, cfg *config.Config, path string, made store.Initialised) {
	t := newTerminal(a.stdout, a.getenv)
	fmt.Fprintf(t.w, "%s This host is set up.\n", t.paint(green, "✔"))
	var rows table
	row := func(name, value string) { rows.row("  "+t.paint(dim, name), value) }
	row("configuration", path)
	row("store", fmt.Sprintf("%s (ID %s)", cfg.Store.Path, made.ID))
	row("its key", cfg.Store.IdentityFile)
	switch {
	case answers.noRecovery:
		row("recovery", t.paint(yellow, "none: if this host is lost, so are the keys"))
	case answers.recoveryKeyFile != "":
		row("recovery", answers.recoveryKeyFile+": move it off this host, then delete it here")
	default:
		row("recovery", answers.recovery)
	}
	if len(cfg.Notify.Channels) == 0 {
		row("alerts", t.paint(yellow, "to the log only; docs/alerts.md has a recipe for each channel"))
	}
	for i := range cfg.Notify.Channels {
		row("alerts", wayOf(&cfg.Notify.Channels[i].ChannelKinds))
	}
	rows.write(t.w)
	fmt.Fprintln(t.w, "\nNext:")
	writeSteps(t.w, a.nextSteps(cfg, path)[1:])
}

// nextSteps are the way from a fresh host to the first app.
func (a *app) nextSteps(cfg *config.Config, path string) [][2]string {
	command, sudo := "rotate", ""
	if path != defaultConfig {
		command += " -c " + quote(path)
	} else {
		sudo = "sudo "
	}
	start := [2]string{sudo + command + " daemon", "start the service; it keeps running"}
	if path == defaultConfig && hasUnit() {
		start = [2]string{"sudo systemctl enable --now rotate", "start the service"}
	}
	tenant, folder := "TENANT", "/srv/NAME"
	if cfg != nil && len(cfg.Tenants) > 0 {
		tenant = cfg.Tenants[0].Name
	}
	return [][2]string{
		{sudo + command + " setup", "tenant, recovery key, alerts"},
		start,
		{sudo + command + " app add NAME --tenant " + tenant + " --client-id ID --pfx FILE --password-file FILE --deliver-file " + folder + "/app.pfx", "track your first app"},
		{command + " status", "see where it stands"},
	}
}

// hasUnit reports whether a service manager of this host knows the service.
func hasUnit() bool {
	for _, unit := range []string{"/usr/lib/systemd/system/rotate.service", "/etc/systemd/system/rotate.service"} {
		if _, err := os.Stat(unit); err == nil {
			return true
		}
	}
	return false
}

// writeSteps prints numbered commands, each below what it is for.
func writeSteps(w io.Writer, steps [][2]string) {
	for i, step := range steps {
		fmt.Fprintf(w, "  %d. %s:\n     %s\n", i+1, step[1], step[0])
	}
}
