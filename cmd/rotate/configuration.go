package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/graph"
)

func newConfigCommand(a *app) *cobra.Command {
	check := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the configuration, as the daemon does at start",
		Args:  arguments(0, 1, "at most one file"),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.configFlag = args[0]
			}
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			if err := checkTemplates(cfg); err != nil {
				return err
			}
			if err := a.checkTenants(cfg); err != nil {
				return err
			}
			uid := os.Geteuid()
			if keeper, err := ownerOf(cfg.Store.Path); err == nil && uid == 0 {
				uid = int(keeper.uid)
			}
			if err := guardFiles(a.configPath(), cfg, uid); err != nil {
				return err
			}
			for _, warning := range cfg.Warnings() {
				fmt.Fprintf(a.stderr, "rotate: warning: %s\n", warning)
			}
			fmt.Fprintf(a.stdout, "%s is good: %s, checks %s.\n", a.configPath(), count(len(cfg.Tenants), "tenant", "tenants"), cfg.Schedule)
			return nil
		},
	}
	schema := &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of the configuration, for editors",
		Args:  arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.stdout.Write(config.Schema())
			return err
		},
	}
	reference := &cobra.Command{
		Use:   "reference",
		Short: "Print every setting with its default, as Markdown",
		Args:  arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(a.stdout, config.ReferenceMarkdown())
			return err
		},
	}
	return group("config", "Check the configuration", check, schema, reference)
}

// checkTenants makes what the daemon makes of the tenants at start, and asks nobody.
// A file of certificates that this user may not read is only told.
func (a *app) checkTenants(cfg *config.Config) error {
	var readable []config.Tenant
	for _, t := range cfg.Tenants {
		if t.Cloud.CAFile != "" {
			if _, err := readFile(t.Cloud.CAFile, maxAuthorityBytes); errors.Is(err, fs.ErrPermission) {
				fmt.Fprintf(a.stderr, "rotate: warning: tenant %s: cloud.ca_file was not checked: this user may not read it: %v\n", t.Name, err)
				t.Cloud.CAFile = ""
			}
		}
		readable = append(readable, t)
	}
	tenants, err := tenantsOf(readable, nil)
	if err != nil {
		return err
	}
	entra, err := graph.New(graph.Config{Tenants: tenants, Proxy: cfg.Proxy})
	if err != nil {
		return &unusable{err}
	}
	return entra.Close()
}
