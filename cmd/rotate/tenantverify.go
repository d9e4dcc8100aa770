package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator/verify"
)

// issuesURL is where reports can be attached.
const issuesURL = "https://github.com/seed-f0abd057/rotate/issues"

func newTenantVerifyCommand(a *app) *cobra.Command {
	var (
		admin                adminFlags
		request              control.VerifyRequest
		yes, dryRun, cleanUp bool
		report               string
	)
	wait := config.Duration(2 * time.Hour)
	cmd := &cobra.Command{
		Use:   "verify TENANT",
		Short: "Try on a throw-away app what a tenant does, and report it",
		Long: `Creates an app without any permission, tries on it what rotations rest on, deletes
it, and reports what differs from what rotate assumes. It takes 15 to 60 minutes.
The report has no names, addresses, certificates or IDs of the tenant; attach it to
an issue, so that rotate can be tested with what your tenant does.

An administrator signs in (Application Administrator); with --auth identity the
tenant's identity does it (Application.ReadWrite.OwnedBy). With --app an app that is
tracked in self mode and was marked with "rotate app edit APP --verify" tries its own
keys, which needs no permission. Policy.Read.All and AuditLog.Read.All show more.

Before anything is written it lists every request and what appears in the audit log
of the tenant, and asks; --yes answers. Ctrl-C stops and cleans up. If it was killed,
the next start of the daemon cleans up, or --cleanup does.`,
		Example: `  rotate tenant verify contoso --dry-run
  rotate tenant verify contoso --report contoso.md
  rotate tenant verify contoso --auth identity --yes`,
		Args: arguments(1, 1, "the name of a tenant"),
		RunE: func(cmd *cobra.Command, args []string) error {
			tenant := args[0]
			request.Wait, request.CleanUp = control.Duration(wait), cleanUp
			if wait < 0 {
				return usagef("--wait %s: use a positive duration", wait.String())
			}
			if request.App != "" && cmd.Flags().Changed("auth") {
				return usagef("--app and --auth exclude each other: the app signs in itself")
			}
			if err := admin.check(); err != nil {
				return err
			}
			if !cleanUp || dryRun {
				writeVerifyPlan(a.stdout, tenant, request.App, admin.how)
			}
			if dryRun {
				fmt.Fprintln(a.stdout, "\nNothing was sent.")
				return nil
			}
			if !cleanUp && !yes {
				if err := a.askVerify(); err != nil {
					return err
				}
			}
			files, err := newReportFiles(report)
			if err != nil {
				return err
			}
			if request.App == "" && admin.how != graph.AdminIdentity {
				if request.Admin, err = a.adminToken(cmd.Context(), tenant, admin); err != nil {
					return errors.Join(err, files.remove())
				}
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				return a.verify(ctx, conn, tenant, request, files)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.App, "app", "", "an app that is tracked in self mode and marked with --verify tries its own keys")
	f.StringVar(&request.Scope, "scope", "", "a second audience to sign in for (default Azure Resource Manager's)")
	f.Var((*durationFlag)(&wait), "wait", "how long to wait for the sign-in log")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.BoolVar(&dryRun, "dry-run", false, "list the requests, and send none")
	f.StringVar(&report, "report", "", "write the report to this file, and beside it .json and .requests.json")
	f.BoolVar(&cleanUp, "cleanup", false, "only clean up after a run that was stopped")
	admin.register(cmd)
	return cmd
}

// writeVerifyPlan lists what will be sent and who will see it.
func writeVerifyPlan(w io.Writer, tenant, app, how string) {
	by := "the administrator who signs in"
	switch {
	case app != "":
		by = "the app " + app
	case how == graph.AdminIdentity:
		by = "the identity of tenant " + tenant
	}
	fmt.Fprintf(w, "rotate tenant verify %s would send, as %s:\n", tenant, by)
	lines := []string{"GET metadata and instance discovery of the login host"}
	if app == "" {
		lines = append(lines,
			"PATCH /applications(uniqueName='rotate-verify-…'), twice: an app without permission, secret or redirect URI, with the tag rotate-verify",
			"POST /servicePrincipals: its service principal",
			"PATCH /applications/ID, up to 8 times: certificates, a precondition, replaced lists",
			"POST /oauth2/v2.0/token as this app, up to 200 times")
	}
	lines = append(lines,
		"POST /applications/ID/addKey, up to 50 times, in different forms; each certificate expires within 2 hours (one of ten years is removed at once)",
		"POST /applications/ID/removeKey, up to 60 times")
	if app == "" {
		lines = append(lines,
			"GET /policies/defaultAppManagementPolicy, /applications/ID/appManagementPolicies, /beta/auditLogs/signIns",
			"DELETE /applications/ID and /directory/deletedItems/ID: the app, after its ID, tag and creator were checked")
	} else {
		lines = append(lines, "POST /applications/ID/removeKey for every certificate that was added")
	}
	writeLines(w, "  ", lines)
	fmt.Fprintln(w, "At most 110 writes and 60 minutes; two answers 429 or 5xx in a row end it and clean up.")
	events := `"Add application", "Add service principal", "Update application – Certificates and secrets management", "Delete application"`
	if app != "" {
		events = `"Update application – Certificates and secrets management"`
	}
	fmt.Fprintf(w, "The tenant's audit log will show: %s, by %s, from this host's address. Tell whoever watches it.\n", events, by)
}

// askVerify asks the person at the terminal.
func (a *app) askVerify() error {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return usagef("not on a terminal; add --yes if this is meant")
	}
	fmt.Fprint(a.stderr, "\nContinue? [y/N] ")
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return usagef("nothing was sent")
	}
	return nil
}

// reportFiles are the three files of a report; nil: none was asked for.
type reportFiles struct{ markdown, json, requests *os.File }

// newReportFiles makes them before the verification, which takes an hour: a folder
// that cannot be written must not cost that.
func newReportFiles(path string) (*reportFiles, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no file is an ordinary choice
	}
	base := strings.TrimSuffix(path, filepath.Ext(path))
	files := &reportFiles{}
	for _, one := range []struct {
		name string
		mode os.FileMode
		file **os.File
	}{{path, 0o644, &files.markdown}, {base + ".json", 0o644, &files.json}, {base + ".requests.json", 0o600, &files.requests}} {
		f, err := os.OpenFile(one.name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, one.mode)
		if err != nil {
			return nil, errors.Join(&usageError{"--report: " + err.Error()}, files.remove())
		}
		*one.file = f
	}
	return files, nil
}

func (f *reportFiles) all() []*os.File {
	if f == nil {
		return nil
	}
	return slices.DeleteFunc([]*os.File{f.markdown, f.json, f.requests}, func(one *os.File) bool { return one == nil })
}

// remove takes away files that nothing was written to.
func (f *reportFiles) remove() error {
	var err error
	for _, one := range f.all() {
		err = errors.Join(err, one.Close(), os.Remove(one.Name()))
	}
	return err
}

func (f *reportFiles) write(step control.VerifyStep) error {
	err := errors.Join(step.Report.Markdown(f.markdown, issuesURL), writeJSON(f.json, step.Report), writeJSON(f.requests, step.Requests))
	for _, one := range f.all() {
		err = errors.Join(err, one.Close())
	}
	return err
}

func (a *app) verify(ctx context.Context, conn *connection, tenant string, request control.VerifyRequest, files *reportFiles) error {
	step, err := conn.Verify(ctx, tenant, request, func(text string) { fmt.Fprintln(a.stderr, text) })
	if step.Report == nil {
		err = errors.Join(err, files.remove())
		switch {
		case ctx.Err() != nil:
			fmt.Fprintf(a.stderr, "Stopped. rotate cleans up now; \"rotate tenant facts %s\" shows whether anything is left.\n", tenant)
		case errors.Is(err, control.ErrEnded):
			fmt.Fprintf(a.stderr, "The daemon has stopped. It cleans up when it starts again; \"rotate tenant facts %s\" shows whether anything is left.\n", tenant)
		case err == nil && step.Left == "":
			fmt.Fprintf(a.stdout, "Tenant %s: nothing is left of a verification.\n", tenant)
		case err == nil:
			fmt.Fprintf(a.stdout, "Tenant %s: cleaned up; %s.\n", tenant, step.Left)
		}
		return err
	}
	report := step.Report
	if files == nil {
		if e := report.Markdown(a.stdout, issuesURL); e != nil {
			return errors.Join(err, e)
		}
	} else {
		if e := files.write(step); e != nil {
			return errors.Join(err, e)
		}
		fmt.Fprintf(a.stdout, "%s written to %s; attach it to %s. The request IDs for Microsoft's support are in %s (only for you).\n",
			count(len(report.Facts), "fact", "facts"), files.markdown.Name(), issuesURL, files.requests.Name())
	}
	if report.Left != "" {
		fmt.Fprintln(a.stdout, report.Left+".")
	}
	switch {
	case err != nil:
		return err
	case report.Ended != "":
		return fmt.Errorf("tenant %s: %s", tenant, report.Ended)
	}
	return verdictEnd(report.Worst())
}

// verdictEnd is the exit code of a verdict.
func verdictEnd(v verify.Verdict) error {
	switch v {
	case verify.Fails:
		return &ended{code: exitFailed}
	case verify.Differs:
		return &ended{code: exitAttention}
	case verify.AsAssumed, verify.NotKnown:
	}
	return nil
}

func newTenantFactsCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "facts [TENANT]",
		Short: "Show what a tenant was seen to do",
		Long: `Shows what rotations have seen of a tenant (how long a new certificate takes to be
listed and accepted, what is answered), and what "rotate tenant verify" found, with
what rotate assumes. Without a name: of all tenants. No fact names anything of the
tenant.

Exit code 0: all is as assumed. 3: something differs, and rotate copes with it.
1: something differs that this version cannot cope with.`,
		Example: "  rotate tenant facts contoso\n  rotate tenant facts -o json",
		Args:    arguments(0, 1, "the name of a tenant"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cfg, err := a.loadConfig()
				if err != nil {
					return err
				}
				for _, t := range cfg.Tenants {
					args = append(args, t.Name)
				}
			}
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				var all []control.TenantFacts
				for _, name := range args {
					facts, err := conn.Facts(ctx, name)
					if err != nil {
						return err
					}
					all = append(all, facts)
				}
				if format.isJSON() {
					if err := writeJSON(a.stdout, struct {
						Tenants []control.TenantFacts `json:"tenants"`
					}{all}); err != nil {
						return err
					}
				} else {
					t := newTerminal(a.stdout, a.getenv)
					for _, facts := range all {
						writeFacts(t, facts)
					}
				}
				return verdictEnd(worstFacts(all))
			})
		},
	}
	format.flag(cmd)
	return cmd
}

// worstFacts judges what was verified; what is old is not judged.
func worstFacts(all []control.TenantFacts) verify.Verdict {
	var report verify.Report
	for _, facts := range all {
		for name, f := range facts.Verified {
			if v, _ := verify.Judge(name, f.Value); facts.Old == "" {
				report.Facts = append(report.Facts, verify.Fact{Verdict: v})
			}
		}
	}
	return report.Worst()
}

func writeFacts(t *terminal, facts control.TenantFacts) {
	fmt.Fprintln(t.w, t.paint(bold, facts.Tenant))
	if facts.Unfinished != nil {
		fmt.Fprintf(t.w, "  %s\n", t.paint(yellow, fmt.Sprintf("a verification of %s has not cleaned up; run: rotate tenant verify %s --cleanup",
			facts.Unfinished.Format("2006-01-02 15:04 UTC"), facts.Tenant)))
	}
	if facts.At == nil {
		fmt.Fprintf(t.w, "  Nothing is known yet. Rotations note what they see; \"rotate tenant verify %s\" tries everything.\n", facts.Tenant)
		return
	}
	fmt.Fprintf(t.w, "  noted from %s to %s\n", facts.Since.Format(time.DateOnly), facts.At.Format(time.DateOnly))
	var rows table
	for _, s := range facts.Spans {
		rows.row("  "+strings.ReplaceAll(s.Name, "_", " "), fmt.Sprintf("%.4g / %.4g / %.4g s", s.Min, s.Median, s.Max), fmt.Sprintf("min / median / max of %d", s.Count))
	}
	for _, name := range slices.Sorted(maps.Keys(facts.Count)) {
		rows.row("  "+strings.ReplaceAll(name, "_", " "), fmt.Sprint(facts.Count[name]), "times")
	}
	for _, r := range facts.Refusals {
		rows.row("  refused: "+r.Code, fmt.Sprint(r.Count), r.Message)
	}
	rows.write(t.w)
	if facts.VerifiedAt == nil {
		return
	}
	note := ""
	if facts.Old != "" {
		note = "; old, not used: " + facts.Old
	}
	fmt.Fprintf(t.w, "\n  verified %s%s\n", facts.VerifiedAt.Format(time.DateOnly), note)
	var verified table
	verified.row(t.heads("  FACT", "EXPECTED", "FOUND", "CONSEQUENCE")...)
	for _, a := range verify.Assumptions() {
		f, known := facts.Verified[a.Name]
		if !known {
			continue
		}
		v, _ := verify.Judge(a.Name, f.Value)
		found, then := f.Value, ""
		switch v {
		case verify.Differs:
			found, then = t.paint(yellow, found), a.Then
		case verify.Fails:
			found, then = t.paint(red, found), "this version cannot cope with it: "+a.Then
		case verify.AsAssumed, verify.NotKnown:
		}
		verified.row("  "+a.What, a.Expected(), found, then)
	}
	verified.write(t.w)
}
