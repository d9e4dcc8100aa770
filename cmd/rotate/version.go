package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// linkedVersion is set at link time: -ldflags "-X main.linkedVersion=v1.2.3".
var linkedVersion string //nolint:gochecknoglobals // the linker can set nothing else

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
		Short: "Print the version",
		Args:  arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
			}{version(), runtime.Version()}
			if format.isJSON() {
				return writeJSON(a.stdout, v)
			}
			fmt.Fprintf(a.stdout, "rotate %s (%s)\n", v.Version, v.Go)
			return nil
		},
	}
	format.flag(cmd)
	return cmd
}
