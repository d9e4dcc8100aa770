package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator/verify"
)

// emulatorFlags are those of "rotate emulator".
type emulatorFlags struct {
	options                                   emulator.Options
	notAfter, propagation, readLag, latency   config.Duration
	signInDelay                               config.Duration
	noPremium                                 bool
	throttlePercent, losePercent, failPercent int
	removeNotFoundPercent                     int
	removeNotFound, removeAgain               int
	facts                                     string
	// writeConfig is a file; empty: none.
	writeConfig string
}

func newEmulatorCommand(a *app) *cobra.Command {
	var flags emulatorFlags
	flags.notAfter = config.Duration(emulator.DefaultNotAfter)
	cmd := &cobra.Command{
		Use:   "emulator --dir DIR",
		Short: "Serve a tenant in memory, for trying things",
		Long: `Serves an Entra tenant and Microsoft Graph over HTTPS, with a certificate
authority of its own, until interrupted. DIR gets ready.json and, for shells, env, which
say where everything is, and the key pairs of the apps. --write-config writes a
configuration for it whose rotations have no waits: for trying, not for real apps.

With --public-hosts it stands for Microsoft's own host names, for programs that
cannot be given another address: run both in a network namespace whose /etc/hosts
leads these names here, and have them trust ca.pem. Every other host is refused.

` + emulator.Notice,
		Example: "  rotate emulator --listen 127.0.0.1:0 --dir tenant --apps 3",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			tenant, err := flags.tenant()
			if err != nil {
				return err
			}
			flags.options.NotAfter = time.Duration(flags.notAfter)
			flags.options.Logger = slog.New(slog.NewTextHandler(a.stderr, nil))
			fmt.Fprintln(a.stderr, emulator.Notice)
			var writeErr error
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			err = emulator.Serve(ctx, tenant, flags.options, func(ready emulator.Ready) {
				if writeErr = flags.write(ready); writeErr != nil {
					stop()
					return
				}
				fmt.Fprintf(a.stderr, "Tenant %s with %s at %s; see %s. Ctrl-C ends it.\n",
					ready.TenantID, count(len(ready.Apps), "app", "apps"), ready.Login, filepath.Join(flags.options.Dir, "ready.json"))
			})
			return errors.Join(writeErr, err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.options.Listen, "listen", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	f.BoolVar(&flags.options.PublicHosts, "public-hosts", false, "answer for login.microsoftonline.com, graph.microsoft.com and the other names of the global cloud only; needs port 443")
	f.StringVar(&flags.options.Dir, "dir", "", "folder for ready.json and the key pairs (needed)")
	f.IntVar(&flags.options.Apps, "apps", 1, "how many apps there are")
	f.StringVar(&flags.options.Permissions, "permissions", emulator.PermissionsVendor, "what they are granted: vendor or none")
	f.BoolVar(&flags.options.SignInLog, "sign-in-log", false, "let the identity read the log of sign-ins (AuditLog.Read.All)")
	f.Var((*durationFlag)(&flags.notAfter), "not-after", "how long their certificates still live")
	f.Var((*durationFlag)(&flags.propagation), "propagation", "how long a new key needs to be known everywhere")
	f.Var((*durationFlag)(&flags.readLag), "read-lag", "how far reads are behind writes")
	f.Var((*durationFlag)(&flags.latency), "latency", "how long each request takes")
	f.Var((*durationFlag)(&flags.signInDelay), "sign-in-delay", "how long a sign-in needs to get into the log of sign-ins")
	f.BoolVar(&flags.noPremium, "no-premium", false, "refuse the log of sign-ins, as without a P1 licence")
	f.IntVar(&flags.throttlePercent, "throttle", 0, "how many of 100 requests are answered 429")
	f.IntVar(&flags.losePercent, "lose-answers", 0, "how many of 100 requests are done, but not answered")
	f.IntVar(&flags.failPercent, "fail", 0, "how many of 100 requests are answered 5xx")
	f.IntVar(&flags.removeNotFound, "remove-not-found", 0, "how often the removal of a key that is there is answered \"No credentials found to be removed.\" before it works")
	f.IntVar(&flags.removeNotFoundPercent, "remove-not-found-percent", 0, "how many of 100 removals are answered so")
	f.IntVar(&flags.removeAgain, "remove-again", 0, "how often the removal of a key is accepted without effect before it works")
	f.StringVar(&flags.facts, "facts", "", "behave as the JSON report of a \"rotate tenant verify\" says")
	f.StringVar(&flags.writeConfig, "write-config", "", "write a configuration for this tenant, without waits, to this file")
	f.StringVar(&flags.options.LogFile, "log", "", "file for one JSON line a request")
	return cmd
}

// write makes the files that make the tenant easy to use: the variables of env, and the
// configuration.
func (f *emulatorFlags) write(ready emulator.Ready) error {
	var env strings.Builder
	put := func(name, value string) { fmt.Fprintf(&env, "%s=%s\n", name, quote(value)) }
	put("TENANT_ID", ready.TenantID)
	put("LOGIN", ready.Login)
	put("GRAPH", ready.Graph)
	put("CA_FILE", ready.CAFile)
	for i, app := range ready.Apps {
		n := ""
		if i > 0 {
			n = strconv.Itoa(i + 1)
		}
		put("CLIENT_ID"+n, app.ClientID)
		put("PFX"+n, app.PFXFile)
		put("PASSWORD_FILE"+n, app.PasswordFile)
	}
	if err := os.WriteFile(filepath.Join(f.options.Dir, "env"), []byte(env.String()), 0o600); err != nil {
		return err
	}
	if f.writeConfig == "" {
		return nil
	}
	return writeNew(f.writeConfig, fmt.Appendf(nil, `# For trying with "rotate emulator": rotations without waits. No real app should have that.
store: {path: data/rotate.db, identity_file: keys/store.key}
control: {socket: rotate.sock}
allow_root: true
schedule: "@every 2s"
defaults:
  overlap: 0s
  reload_within: 0s
  prove: {successes: 2, spacing: 200ms, within: 5m}
  upload_limit: {per_hour: 100, per_day: 100}
tenants:
  - name: contoso
    id: %q
    cloud: {login: %q, graph: %q, ca_file: %q, removal: {reads: 1s, sign_ins: 2s, young: 2s}}
`, ready.TenantID, ready.Login, ready.Graph, ready.CAFile))
}

// tenant checks the flags.
func (f *emulatorFlags) tenant() (*emulator.Tenant, error) {
	if f.options.Dir == "" {
		return nil, usagef("emulator needs --dir, the folder for ready.json and the key pairs")
	}
	if f.options.Apps < 1 {
		return nil, usagef("--apps %d: use 1 or more", f.options.Apps)
	}
	if _, port, err := net.SplitHostPort(f.options.Listen); f.options.PublicHosts && (err != nil || port != "443") {
		return nil, usagef("--public-hosts needs --listen with port 443, the one that these hosts are asked at")
	}
	if f.notAfter == 0 {
		return nil, usagef("--not-after 0s: use a positive duration, or a negative one for certificates that have expired")
	}
	if f.propagation < 0 || f.readLag < 0 || f.latency < 0 || f.signInDelay < 0 {
		return nil, usagef("--propagation, --read-lag, --latency and --sign-in-delay may not be negative")
	}
	if p := f.options.Permissions; p != emulator.PermissionsVendor && p != emulator.PermissionsNone {
		return nil, usagef("--permissions is vendor or none, not %q", p)
	}
	for _, percent := range []struct {
		flag  string
		value int
	}{{"throttle", f.throttlePercent}, {"lose-answers", f.losePercent}, {"fail", f.failPercent}, {"remove-not-found-percent", f.removeNotFoundPercent}} {
		if percent.value < 0 || percent.value > 100 {
			return nil, usagef("--%s %d: use 0 to 100 percent", percent.flag, percent.value)
		}
	}
	if f.removeNotFound < 0 || f.removeAgain < 0 {
		return nil, usagef("--remove-not-found and --remove-again may not be negative")
	}
	tenant := &emulator.Tenant{
		RemoveNotFound: f.removeNotFound, RemoveNotFoundPercent: f.removeNotFoundPercent, RemoveAgain: f.removeAgain,
		Propagation: time.Duration(f.propagation), ReadLag: time.Duration(f.readLag), Latency: time.Duration(f.latency),
		SignInDelay: time.Duration(f.signInDelay), NoPremium: f.noPremium,
		ThrottlePercent:    f.throttlePercent,
		LoseAnswersPercent: f.losePercent, FailPercent: f.failPercent,
	}
	if f.facts == "" {
		return tenant, nil
	}
	facts, err := readFacts(f.facts)
	if err == nil {
		err = tenant.UseFacts(facts)
	}
	if err != nil {
		return nil, usagef("--facts %s: %v", f.facts, err)
	}
	return tenant, nil
}

// maxReportBytes bounds a report.
const maxReportBytes = 1 << 20

// readFacts reads the facts of a report by name.
func readFacts(path string) (map[string]string, error) {
	file, err := os.Open(path) //nolint:gosec // the user named it
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read from
	var report verify.Report
	if err := json.NewDecoder(io.LimitReader(file, maxReportBytes)).Decode(&report); err != nil {
		return nil, fmt.Errorf("it is not a report of rotate tenant verify: %w", err)
	}
	if len(report.Facts) == 0 {
		return nil, errors.New("it has no facts")
	}
	facts := map[string]string{}
	for _, f := range report.Facts {
		facts[f.Name] = f.Value
	}
	return facts, nil
}

// durationFlag is a duration of the command line: Go syntax plus "d".
type durationFlag config.Duration

// String is the form that Set reads.
func (d *durationFlag) String() string { return config.Duration(*d).String() }

// Set reads one.
func (d *durationFlag) Set(text string) error {
	parsed, err := config.ParseDuration(text)
	*d = durationFlag(parsed)
	return err
}

// Type is what help texts call the value.
func (d *durationFlag) Type() string { return "duration" }
