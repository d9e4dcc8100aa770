package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
)

func newProfileCommand(a *app) *cobra.Command {
	return group("profile", "Presets for kinds of consumers",
		newProfileListCommand(a), newProfileShowCommand(a), newProfileCheckCommand(a))
}

// profiles are those of the configuration's folder, if there is a configuration,
// and the built-in ones.
func (a *app) profilesFolder() (string, error) {
	cfg, err := a.loadConfig()
	if isUnusable(err) && a.configFlag == "" && a.getenv("ROTATE_CONFIG") == "" {
		return "", nil // nobody named a configuration, and there is none
	}
	if err != nil {
		return "", err
	}
	return cfg.Profiles, nil
}

func (a *app) profile(name string) (*config.Profile, error) {
	folder, err := a.profilesFolder()
	if err != nil {
		return nil, err
	}
	return config.ProfileByName(folder, name)
}

// profileLine is one profile of "profile list -o json".
type profileLine struct {
	Name        string           `json:"name"`
	About       string           `json:"about"`
	Source      string           `json:"source"`
	DisplayName string           `json:"display_name"`
	Permissions []permissionLine `json:"permissions"`
	Policy      control.Policy   `json:"policy"`
	Probe       []string         `json:"probe"`
	Deliveries  []string         `json:"deliveries"`
	Confirm     string           `json:"confirm"`
	Consumer    string           `json:"consumer"`
	Steps       []string         `json:"steps"`
}

type permissionLine struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

func profileLineOf(p *config.Profile) (profileLine, error) {
	policy, err := policyOf(p.Policy, config.DefaultPolicy())
	if err != nil {
		return profileLine{}, fmt.Errorf("profile %s: %w", p.Name, err)
	}
	line := profileLine{
		Name: p.Name, About: p.About, Source: p.Source, DisplayName: p.DisplayName, Policy: control.PolicyOf(policy),
		Permissions: []permissionLine{}, Probe: append([]string{}, p.Probe...), Deliveries: []string{},
		Confirm: p.Confirm.Rule, Consumer: p.HandOff.Consumer, Steps: append([]string{}, p.HandOff.Steps...),
	}
	for _, one := range p.Permissions {
		line.Permissions = append(line.Permissions, permissionLine{one.Name, one.Reason})
	}
	for _, d := range p.Deliveries {
		line.Deliveries = append(line.Deliveries, deliveryText(deliveryOf(d)))
	}
	return line, nil
}

func newProfileListCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the profiles: built in, and those of your own",
		Args:    arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			folder, err := a.profilesFolder()
			if err != nil {
				return err
			}
			list, failed := config.Profiles(folder)
			lines := []profileLine{}
			for _, p := range list {
				line, err := profileLineOf(p)
				failed = errors.Join(failed, err)
				lines = append(lines, line)
			}
			if format.isJSON() {
				return errors.Join(writeJSON(a.stdout, struct {
					Profiles []profileLine `json:"profiles"`
				}{lines}), failed)
			}
			t := newTerminal(a.stdout, a.getenv)
			var rows table
			rows.row(t.heads("PROFILE", "PERMISSIONS", "FOR", "FROM")...)
			for _, line := range lines {
				rows.row(t.paint(bold, line.Name), fmt.Sprint(len(line.Permissions)), line.About, line.Source)
			}
			rows.write(t.w)
			return failed
		},
	}
	format.flag(cmd)
	return cmd
}

func newProfileShowCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "show PROFILE",
		Short: "Show a profile: permissions with their reasons, key, deliveries, hand-off",
		Args:  arguments(1, 1, "the name of a profile"),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.profile(args[0])
			if err != nil {
				return err
			}
			line, err := profileLineOf(p)
			if err != nil {
				return err
			}
			if format.isJSON() {
				return writeJSON(a.stdout, line)
			}
			writeProfile(newTerminal(a.stdout, a.getenv), line)
			return nil
		},
	}
	format.flag(cmd)
	return cmd
}

func writeProfile(t *terminal, p profileLine) {
	var rows table
	row := func(name, value string) {
		if value != "" {
			rows.row(t.paint(dim, name), value)
		}
	}
	row("profile", t.paint(bold, p.Name))
	row("for", p.About)
	row("from", p.Source)
	row("name in Entra", p.DisplayName)
	for _, one := range p.Permissions {
		row("permission", one.Name+": "+one.Reason)
	}
	row("key", strings.Trim(p.Policy.Key+", SHA-256", ", "))
	if p.Policy.Validity != nil {
		row("validity", p.Policy.Validity.String())
	}
	row("encoding", p.Policy.Encoding)
	if p.Policy.ProveScopes != nil {
		row("proven for", "Microsoft Graph and "+strings.Join(*p.Policy.ProveScopes, ", "))
	}
	row("probe", strings.Join(p.Probe, ", "))
	for _, d := range p.Deliveries {
		row("delivery", d)
	}
	row("confirmed", confirmText(control.Confirm{Rule: p.Confirm}))
	row("consumer", p.Consumer)
	for i, s := range p.Steps {
		row(fmt.Sprintf("step %d", i+1), s)
	}
	rows.write(t.w)
}

func newProfileCheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a profile of your own",
		Args:  arguments(1, 1, "a file"),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := config.LoadProfileFile(args[0])
			if err != nil {
				return err
			}
			line, err := profileLineOf(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s is good: profile %s, %s.\n", args[0], p.Name, count(len(line.Permissions), "permission", "permissions"))
			return nil
		},
	}
}

// useProfile fills what the spec leaves open.
func useProfile(spec *control.AppSpec, p *config.Profile) error {
	policy, err := policyOf(p.Policy, config.DefaultPolicy())
	if err != nil {
		return fmt.Errorf("profile %s: %w", p.Name, err)
	}
	encoding, scopes := spec.Policy.Encoding, spec.Policy.ProveScopes
	spec.Policy = control.PolicyOf(policy)
	if encoding != "" {
		spec.Policy.Encoding = encoding
	}
	if scopes != nil {
		spec.Policy.ProveScopes = scopes
	}
	if spec.Permissions == nil {
		spec.Permissions = p.PermissionNames()
	}
	if spec.Probe == nil {
		spec.Probe = p.Probe
	}
	if spec.Deliveries == nil {
		for _, d := range p.Deliveries {
			spec.Deliveries = append(spec.Deliveries, deliveryOf(d))
		}
	}
	if spec.Confirm.Rule == "" {
		spec.Confirm = control.Confirm{Rule: p.Confirm.Rule, Hook: p.Confirm.Hook}
	}
	if spec.HandOff.Consumer == "" && spec.HandOff.Steps == nil {
		spec.HandOff = control.HandOffText{Consumer: p.HandOff.Consumer, Steps: p.HandOff.Steps}
	}
	return nil
}

func deliveryOf(d config.Delivery) control.Delivery {
	return control.Delivery{
		Kind: d.Kind, Path: d.Path, Encoding: d.Encoding, Mode: string(d.Mode), Group: d.Group,
		PasswordPath: d.PasswordPath, Previous: d.Previous, Replace: d.Replace, Hook: d.Hook,
	}
}
