package main

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/seed-f0abd057/rotate/config"
)

func newManCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages of all commands",
		Long: `Writes one manual page per command, and rotate.yaml(5) about the configuration, to a
folder. The date in them is $SOURCE_DATE_EPOCH, if that is set.`,
		Args: arguments(1, 1, "one folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			date := time.Now()
			if seconds, err := strconv.ParseInt(a.getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
				date = time.Unix(seconds, 0)
			}
			date = date.UTC()
			if err := os.MkdirAll(args[0], 0o755); err != nil { //nolint:gosec // manual pages are for everybody
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			page := []byte(config.ReferenceMan(date.Format(time.DateOnly)))
			if err := os.WriteFile(filepath.Join(args[0], "rotate.yaml.5"), page, 0o644); err != nil { //nolint:gosec // the same
				return err
			}
			return doc.GenManTree(root, &doc.GenManHeader{Title: "ROTATE", Section: "1", Source: "rotate", Manual: "rotate", Date: &date}, args[0])
		},
	}
}
