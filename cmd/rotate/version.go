package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// linkedVersion is set at link time: -ldflags "-X main.linkedVersion=v1.2.3".
var linkedVersion string //nolint:gochecknoglobals // the linker can set nothing else

// linkedCommit is set at link time, where the build does not know its repository.
var linkedCommit string //nolint:gochecknoglobals // the linker can set nothing else

// commit that the program was built from; empty if it is not known.
func commit(settings []debug.BuildSetting) string {
	if linkedCommit != "" {
		return linkedCommit
	}
	for _, s := range settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// version of the program: that of the link, else of the module or its commit.
func version() string {
	if linkedVersion != "" {
		return linkedVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

func newVersionCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit and how it was built",
		Args:  arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string            `json:"version"`
				Commit  string            `json:"commit"`
				Go      string            `json:"go"`
				Build   map[string]string `json:"build"`
			}{Version: version(), Go: runtime.Version(), Build: map[string]string{}}
			if info, ok := debug.ReadBuildInfo(); ok {
				v.Commit = commit(info.Settings)
				for _, s := range info.Settings {
					v.Build[s.Key] = s.Value
				}
			}
			if format.isJSON() {
				return writeJSON(a.stdout, v)
			}
			fmt.Fprintf(a.stdout, "rotate %s (%s)\n", v.Version, v.Go)
			if v.Commit != "" {
				fmt.Fprintf(a.stdout, "commit %s\n", v.Commit)
			}
			for _, key := range sorted(v.Build) {
				fmt.Fprintf(a.stdout, "%s=%s\n", key, v.Build[key])
			}
			return nil
		},
	}
	format.flag(cmd)
	return cmd
}
