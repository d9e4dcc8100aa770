package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/control"
)

func newExportCommand(a *app) *cobra.Command {
	var (
		request           control.ExportRequest
		out, passwordFile string
	)
	cmd := &cobra.Command{
		Use:   "export APP --out FILE",
		Short: "Write the key pair of an app to a file",
		Long: `Writes the current key pair of an app, or with --previous the one it replaced, as a
PFX or with --encoding pem as PEM: as you and for you alone (0600). The password is
shown once, on the terminal, or written to --password-file. What is there is not
overwritten. It is for root and members of control.keys_group; the audit trail has a
line about it, and an alert is sent.`,
		Example: `  rotate export contoso-sync --out contoso-sync.pfx
  rotate export contoso-sync --out key.pem --encoding pem`,
		Args:              arguments(1, 1, "the name of an app"),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTerminal(a.stdout, a.getenv)
			switch {
			case out == "":
				return usagef("export %s needs --out FILE", args[0])
			case request.Encoding == "pem" && passwordFile != "":
				return usagef("export %s: PEM has no password", args[0])
			case request.Encoding != "pem" && passwordFile == "" && !t.live:
				return withHint(usagef("export %s: the password is shown on a terminal only, and this is none", args[0]), "--password-file FILE writes it to a file")
			}
			file, err := createOut(out)
			if err != nil {
				return err
			}
			files := []*outFile{file}
			if passwordFile != "" {
				password, err := createOut(passwordFile)
				if err != nil {
					return errors.Join(err, file.discard())
				}
				files = append(files, password)
			}
			a.saved = &caller{}
			kept := 0
			err = a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				given, err := conn.Export(ctx, args[0], request)
				if err != nil {
					return err
				}
				content := [][]byte{given.Data, []byte(given.Password + "\n")}
				for i, f := range files {
					if _, err := f.Write(content[i]); err != nil {
						return err
					}
				}
				for _, f := range files {
					if err := a.asCaller(f.commit); err != nil {
						return err
					}
					kept++
				}
				fmt.Fprintf(t.w, "Wrote %s: %s\n", file.path, credentialText(given.Certificate, time.Now()))
				switch {
				case passwordFile != "":
					fmt.Fprintf(t.w, "Wrote its password to %s\n", files[1].path)
				case given.Password != "":
					fmt.Fprintf(t.w, "\nPassword, shown this once:\n\n  %s\n", given.Password)
				}
				return nil
			})
			for _, f := range files[kept:] {
				err = errors.Join(err, a.asCaller(f.discard))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "file to write")
	f.StringVar(&passwordFile, "password-file", "", "file to write the password to, instead of showing it")
	f.StringVar(&request.Encoding, "encoding", "modern", "modern, legacy-des or pem")
	f.BoolVar(&request.Previous, "previous", false, "the pair that the current one replaced")
	return cmd
}
