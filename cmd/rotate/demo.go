package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
)

func newDemoCommand(a *app) *cobra.Command {
	var (
		dir  string
		keep bool
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See a whole rotation in a minute, against a tenant of its own",
		Long: `Starts a tenant in this process, tracks an app whose certificate ends in days,
and lets the daemon rotate it, while a consumer keeps signing in. It is the same
code as in earnest, at another address: real TLS, real keys, real tokens. Nothing
leaves this machine, and no account is needed.`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{app: a, t: newTerminal(a.stdout, a.getenv), begun: time.Now()}
			var err error
			if d.dir, err = demoDir(dir); err != nil {
				return err
			}
			return d.run(cmd.Context(), keep || d.t.live)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder for everything (default: a new one for temporary files)")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the tenant and the daemon running until Ctrl-C, for playing (on a terminal that is so anyway)")
	return cmd
}

// demoDir makes the folder of a demo; one that has something in it is refused.
func demoDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "rotate-demo-")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(entries) > 0 {
		return "", usagef("--dir %s is not empty; name a new folder", dir)
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// demo tells the story.
type demo struct {
	*app
	t     *terminal
	dir   string
	begun time.Time

	// page is where the web page listens. pageNote says why it is not demoPage; empty:
	// it is.
	page     net.Listener
	pageNote string
	tenant   emulator.Ready
	seed     emulator.ReadyApp
	consumer *consumer
	before   rotator.Listing
	entra    *graph.Client
}

// demoTime is when a demo that hangs is given up.
const demoTime = 3 * time.Minute

// demoLeft is how long the certificate of the demo still lives.
const demoLeft = 3 * day

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d *demo) run(ctx context.Context, keep bool) (err error) {
	fmt.Fprintf(d.t.w, "%s\n", d.t.paint(bold, "rotate demo"))
	fmt.Fprintln(d.t.w, "A program signs in to Entra with a certificate that ends in 3 days.\nWatch it being replaced, while the program goes on. Nothing leaves this machine.")
	running, stop := context.WithCancel(ctx)
	var work errgroup.Group
	defer func() {
		stop()
		err = errors.Join(err, work.Wait())
		if d.page != nil {
			_ = d.page.Close() // the daemon has closed it, or never served it
		}
	}()
	if err := d.serveTenant(running, &work); err != nil {
		return err
	}
	d.announcePage()
	told, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	steps := []func(context.Context) error{d.track, d.startConsumer(running, &work), d.startDaemon(running, &work), d.watch, d.inspect, d.finish}
	for _, step := range steps {
		if err := step(told); err != nil {
			if ctx.Err() != nil {
				fmt.Fprintln(d.t.w, "\nStopped.")
				return &ended{code: exitWaiting}
			}
			return fmt.Errorf("demo: %w (files: %s)", err, d.dir)
		}
	}
	d.next(keep)
	if keep {
		<-ctx.Done()
		fmt.Fprintln(d.t.w, "\nStopped.")
	}
	return nil
}

// announcePage says where the nicer view will be, and how who is not on this host gets there.
func (d *demo) announcePage() {
	if d.page == nil {
		return
	}
	_, port, _ := net.SplitHostPort(d.page.Addr().String())
	fmt.Fprintf(d.t.w, "The page is the nicer view, as soon as the daemon runs: %s\n", d.t.paint(bold, "http://"+d.page.Addr().String()+"/"))
	fmt.Fprintf(d.t.w, "From another machine, first: ssh -L %s:127.0.0.1:%s THIS_HOST\n", port, port)
}

// chapter begins a part of the story.
func (d *demo) chapter(title, text string) {
	fmt.Fprintf(d.t.w, "\n%s\n", d.t.paint(cyan, "── "+title+" "+strings.Repeat("─", max(0, 70-len([]rune(title))))))
	if text != "" {
		fmt.Fprintln(d.t.w, d.t.paint(dim, text))
	}
}

// command shows a command line and carries it out, as if it had been typed.
func (d *demo) command(ctx context.Context, args ...string) error {
	line := []string{"$ rotate"}
	for _, arg := range args {
		line = append(line, quote(strings.ReplaceAll(arg, d.dir+"/", "")))
	}
	fmt.Fprintln(d.t.w, d.t.paint(bold, strings.Join(line, " ")))
	env := *d.environment
	env.args = append([]string{"-c", d.path("config.yaml")}, args...)
	if code := run(ctx, env); code != exitDone {
		return fmt.Errorf("%s: exit code %d", strings.Join(line, " "), code)
	}
	return nil
}

// serveTenant starts the tenant and waits until it listens.
func (d *demo) serveTenant(ctx context.Context, work *errgroup.Group) error {
	d.chapter("a tenant", "")
	ready := make(chan emulator.Ready, 1)
	failed := make(chan error, 1)
	tenant := &emulator.Tenant{Propagation: 3 * time.Second}
	options := emulator.Options{Dir: d.path("tenant"), NotAfter: demoLeft, LogFile: d.path("requests.log")}
	work.Go(func() error {
		err := emulator.Serve(ctx, tenant, options, func(r emulator.Ready) { ready <- r })
		failed <- err
		return err
	})
	select {
	case err := <-failed:
		return err
	case d.tenant = <-ready:
	}
	d.seed = d.tenant.Apps[0]
	d.facts(
		"tenant", d.tenant.TenantID+" at "+d.tenant.Login,
		"holds", d.seed.Name+" with a certificate that ends in "+whole(demoLeft)+", and somebody else's certificate and secret on it",
		"is", emulator.Notice,
	)
	return d.writeConfig(ctx)
}

// facts prints names and values in two columns.
func (d *demo) facts(pairs ...string) {
	var rows table
	for i := 0; i+1 < len(pairs); i += 2 {
		rows.row("  "+d.t.paint(dim, pairs[i]), pairs[i+1])
	}
	rows.write(d.t.w)
}

// demoPage is where the page of a demo is, if the port is free.
const demoPage = "127.0.0.1:9780"

// holdPage takes the port of the page, demoPage or another free one where that is
// taken. The daemon serves the page on this very listener, so that nobody else can
// take the port in between.
func (d *demo) holdPage(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", demoPage)
	if err != nil {
		d.pageNote = " (" + demoPage + " is taken)"
		if l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("a port for the page: %w", err)
		}
	}
	d.page = l
	return nil
}

// writeConfig writes the configuration: waits are seconds instead of days.
func (d *demo) writeConfig(ctx context.Context) error {
	if err := d.holdPage(ctx); err != nil {
		return err
	}
	text := fmt.Sprintf(`store: {path: data/rotate.db, identity_file: keys/store.key}
control: {socket: rotate.sock, keys_group: "%d"}
schedule: "@every 2s"
defaults:
  renew_before: 45d
  validity: 365d
  prove: {successes: 3, spacing: 1s, within: 5m}
  reload_within: 3s
  overlap: 6s
  upload_limit: {per_hour: 100, per_day: 100}
tenants:
  - name: contoso
    id: %q
    cloud: {login: %q, graph: %q, ca_file: %q, removal: {reads: 1s, sign_ins: 1s, young: 1s}}
    identity: {client_id: %q, client_secret_file: %q}
page: {listen: %q}
`, os.Getgid(), d.tenant.TenantID, d.tenant.Login, d.tenant.Graph, d.tenant.CAFile, d.tenant.Admin.ClientID, d.tenant.Admin.ClientSecretFile, d.page.Addr())
	if err := os.WriteFile(d.path("config.yaml"), []byte(text), 0o600); err != nil {
		return err
	}
	return os.Mkdir(d.path("consumer"), 0o700)
}

// track makes the store and adopts the app, with the commands that people use.
func (d *demo) track(ctx context.Context) error {
	d.chapter("track an app", "Once per host and once per app. The PFX is the one that the consumer uses today.")
	cfg, err := config.LoadFile(d.path("config.yaml"))
	if err != nil {
		return err
	}
	tenants, err := tenantsOf(cfg.Tenants, nil)
	if err != nil {
		return err
	}
	if d.entra, err = graph.New(graph.Config{Tenants: tenants}); err != nil {
		return err
	}
	if d.before, err = d.list(ctx); err != nil {
		return err
	}
	fmt.Fprintln(d.t.w, d.t.paint(bold, "$ cd "+quote(d.dir)+" && export ROTATE_CONFIG=$PWD/config.yaml"))
	if err := d.command(ctx, "init", "--no-recovery"); err != nil {
		return err
	}
	fmt.Fprintln(d.t.w)
	if err := d.command(ctx, "app", "add", d.seed.Name, "--tenant", "contoso", "--client-id", d.seed.ClientID,
		"--pfx", d.seed.PFXFile, "--password-file", d.seed.PasswordFile, "--deliver-file", d.path("consumer", "app.pfx")); err != nil {
		return err
	}
	fmt.Fprintln(d.t.w)
	return d.command(ctx, "status")
}

func (d *demo) registration() rotator.Registration {
	return rotator.Registration{
		App: d.seed.Name, Tenant: "contoso",
		ObjectID: rotator.ObjectID(d.seed.ObjectID), ClientID: rotator.ClientID(d.seed.ClientID),
	}
}

// list reads the app's credentials as Graph shows them to the admin.
func (d *demo) list(ctx context.Context) (rotator.Listing, error) {
	return d.entra.Keys(ctx, rotator.Access{Registration: d.registration()}, true)
}

// startConsumer lets a program sign in again and again with the file that it
// finds in its folder.
func (d *demo) startConsumer(running context.Context, work *errgroup.Group) func(context.Context) error {
	return func(ctx context.Context) error {
		first, err := openPair(ctx, d.seed.PFXFile, d.seed.PasswordFile)
		if err != nil {
			return err
		}
		d.consumer = &consumer{entra: d.entra, app: d.registration(), path: d.path("consumer", "app.pfx"), first: first.Thumbprint()}
		for from, to := range map[string]string{d.seed.PFXFile: d.consumer.path, d.seed.PasswordFile: d.consumer.path + ".password"} {
			data, err := readFile(from, pfx.MaxBytes)
			if err != nil {
				return err
			}
			if err := os.WriteFile(to, data, 0o600); err != nil {
				return err
			}
		}
		work.Go(func() error { return d.consumer.run(running) })
		return nil
	}
}

// startDaemon runs the daemon's own code.
func (d *demo) startDaemon(running context.Context, work *errgroup.Group) func(context.Context) error {
	return func(context.Context) error {
		d.chapter("the daemon", "From here on nobody does anything. The consumer keeps signing in with its file;\nthe check on schedule finds that the certificate is due.")
		fmt.Fprintln(d.t.w, d.t.paint(bold, "$ rotate daemon"))
		fmt.Fprintf(d.t.w, "Watch it in a browser, too: %s%s\n", d.t.paint(bold, "http://"+d.page.Addr().String()+"/apps/"+d.seed.Name), d.pageNote)
		cfg, err := config.LoadFile(d.path("config.yaml"))
		if err != nil {
			return err
		}
		logFile, err := os.OpenFile(d.path("daemon.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		work.Go(func() error {
			err := runDaemon(running, cfg, &reloader{load: func() (*config.Config, error) { return cfg, nil }, inForce: cfg, level: &slog.LevelVar{}},
				slog.New(slog.NewTextHandler(logFile, nil)), "", d.page)
			return errors.Join(err, logFile.Close())
		})
		return nil
	}
}

// watch shows the rotation that the schedule started.
func (d *demo) watch(ctx context.Context) error {
	client, id, err := d.started(ctx)
	if err != nil {
		return err
	}
	var shown view = newLines(d.t)
	if d.t.live {
		shown = newLive(d.t, "  ", d.consumerLine)
	}
	r, err := client.Rotation(ctx, id)
	if err != nil {
		shown.end()
		return err
	}
	f := &follower{conn: &connection{Client: client}, view: shown, wait: true}
	end := f.follow(ctx, []control.Rotation{r})[0]
	switch {
	case end.err != nil:
		return end.err
	case end.code != exitDone:
		return fmt.Errorf("the rotation did not end: %s", end.why)
	}
	return nil
}

// started waits for the daemon and for the rotation that its check starts.
func (d *demo) started(ctx context.Context) (*control.Client, string, error) {
	ticker := time.NewTicker(frameEvery)
	defer ticker.Stop()
	for {
		if client, err := control.Dial(ctx, d.path("rotate.sock")); err == nil {
			status, err := client.Status(ctx, d.seed.Name)
			if err != nil {
				return nil, "", err
			}
			if id := status.Apps[0].RotationID; id != nil {
				return client, *id, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, "", fmt.Errorf("the daemon started no rotation: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

// next tells where everything is and what to try.
func (d *demo) next(keep bool) {
	d.chapter("yours now", "")
	facts := []string{
		"everything", d.dir + " (yours to delete)",
		"the PFX", d.path("consumer", "app.pfx") + " (password beside it)",
		"requests", d.path("requests.log") + ", each one that the tenant saw",
		"the daemon", d.path("daemon.log"),
	}
	if keep {
		facts = append(facts, "the page", "http://"+d.page.Addr().String()+"/")
	}
	d.facts(facts...)
	name := programName()
	fmt.Fprintln(d.t.w)
	if !keep {
		fmt.Fprintf(d.t.w, "The tenant, the daemon and its page have ended with this command. To play with one that stays:  %s\n", d.t.paint(bold, name+" demo --keep"))
		return
	}
	fmt.Fprintln(d.t.w, "The tenant and the daemon run until Ctrl-C. In another terminal:")
	fmt.Fprintln(d.t.w)
	for _, line := range []string{
		"export ROTATE_CONFIG=" + quote(d.path("config.yaml")),
		name + " status",
		name + " now " + d.seed.Name + " --wait",
		name + " history",
		name + " app test " + d.seed.Name,
		name + " now " + d.seed.Name + " --compromised current",
		"openssl pkcs12 -in " + quote(d.path("consumer", "app.pfx")) + " -passin file:" + quote(d.path("consumer", "app.pfx.password")) + " -nokeys",
	} {
		fmt.Fprintln(d.t.w, "  "+d.t.paint(bold, line))
	}
}

// programName is how this program was called.
func programName() string {
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") {
		return "go run ./cmd/rotate"
	}
	return os.Args[0]
}
