package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
)

// A completion offers words for what somebody has begun to type.
type completion = func(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective)

// completeNames gives each command of the tree the completions of its arguments, by what
// its usage line calls them, and of those flags that take a name.
func (a *app) completeNames(cmd *cobra.Command) {
	apps := a.completeApps
	tenants := a.fromConfig(func(cfg *config.Config) []string {
		var names []string
		for i := range cfg.Tenants {
			names = append(names, cfg.Tenants[i].Name)
		}
		return names
	})
	hooks := a.fromConfig(func(cfg *config.Config) []string { return slices.Sorted(maps.Keys(cfg.Hooks)) })
	rules := a.fromConfig(func(cfg *config.Config) []string {
		names := []string{"automatic", "person"}
		for _, hook := range slices.Sorted(maps.Keys(cfg.Hooks)) {
			names = append(names, "command:"+hook)
		}
		return names
	})
	channels := a.fromConfig(func(cfg *config.Config) []string {
		var names []string
		for i := range cfg.Notify.Channels {
			names = append(names, cfg.Notify.Channels[i].Name)
		}
		return names
	})
	arguments := map[string]completion{
		"APP": apps, "APP…": apps, "TENANT": once(tenants), "PROFILE": once(a.completeProfiles), "CHANNEL": once(channels),
		"KIND": once(words(config.EventKinds()...)),
	}
	flags := map[string]completion{
		"app": apps, "tenant": tenants, "profile": a.completeProfiles, "deliver-exec": hooks, "confirm": rules,
		"mode": words("self", "managed"), "encoding": words("modern", "legacy-des", "pem"), "cloud": words(config.Clouds()...),
		"compromised": words("current", "next"), "mail-tls": words("starttls", "implicit", "none"),
	}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if usage := strings.Fields(c.Use); len(usage) > 1 && c.ValidArgsFunction == nil {
			if offer := arguments[strings.Trim(usage[1], "[]")]; offer != nil && c.Name() != "add" && c.Name() != "create" {
				c.ValidArgsFunction = offer
			}
		}
		for name, offer := range flags {
			if c.Flags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, offer) // the first one that was registered stays
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(cmd)
}

// words offers always the same.
func words(all ...string) completion {
	return cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp)
}

// once offers for the first argument only.
func once(offer completion) completion {
	return func(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offer(cmd, given, begun)
	}
}

// fromConfig offers names of the configuration, if it can be read.
func (a *app) fromConfig(names func(*config.Config) []string) completion {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		cfg, err := config.LoadFile(a.configPath())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(cfg), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeProfiles offers the presets.
func (a *app) completeProfiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	folder, _ := a.profilesFolder() // the built-in ones are there without a configuration
	list, _ := config.Profiles(folder)
	var names []string
	for _, p := range list {
		names = append(names, p.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeApps offers the names of tracked apps where a daemon answers: those that the
// line does not have yet.
func (a *app) completeApps(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 && !strings.Contains(cmd.Use, "APP…") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	client, err := a.dial(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp // a message would stand in the middle of a line
	}
	apps, _ := client.Apps(ctx)
	var names []string
	for _, tracked := range apps {
		if !slices.Contains(given, tracked.Name) {
			names = append(names, tracked.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
