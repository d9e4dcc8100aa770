package main

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
)

func newCertificateCommand(a *app) *cobra.Command {
	return group("certificate", "Make certificates without any tenant", newCertificateNewCommand(a))
}

// certificateOptions are the parameters of a new certificate; the zero value is
// that of New-SelfSignedCertificate on the vendor's page: RSA 2048, SHA-256, a
// year.
type certificateOptions struct {
	name, out, subject, key, validity, encoding, profile, passwordFile string
}

func newCertificateNewCommand(a *app) *cobra.Command {
	var o certificateOptions
	cmd := &cobra.Command{
		Use:   "new NAME --out DIR",
		Short: "Make NAME.pfx, NAME.cer and NAME-info.txt, without touching any tenant",
		Long: `Makes a key and a self-signed certificate and writes them into a folder, as you and
for you alone (0600): the PFX for the consumer, the CER to upload to the app
registration, and a text with thumbprint and dates. The password of the PFX is made
and shown once, or read from --password-file. Nothing is stored and nobody is asked.`,
		Example: `  rotate certificate new contoso --out ~/contoso
  rotate certificate new contoso --out ~/contoso --subject "CloudM Continuity" --password-file pw`,
		Args: arguments(1, 1, "a name for the files"),
		RunE: func(_ *cobra.Command, args []string) error {
			o.name = args[0]
			return a.newCertificate(o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.out, "out", "", "folder to write to (needed); it is made if it is not there")
	f.StringVar(&o.subject, "subject", "", "common name of the certificate (default that of the profile, else NAME)")
	f.StringVar(&o.key, "key", "", "rsa-2048 (default), rsa-3072 or rsa-4096")
	f.StringVar(&o.validity, "validity", "", "lifetime (default 365d)")
	f.StringVar(&o.encoding, "encoding", "", "form of the PFX: modern (default), legacy-des or pem")
	f.StringVar(&o.profile, "profile", "", "preset to take these from (rotate profile list)")
	f.StringVar(&o.passwordFile, "password-file", "", "file with the password of the PFX (default: one is made and shown)")
	return cmd
}

func (a *app) newCertificate(o certificateOptions) error {
	switch err := rotator.CheckName(o.name); {
	case err != nil:
		return err
	case o.out == "":
		return usagef("certificate new %s: --out is needed: the folder to write to", o.name)
	}
	policy := config.DefaultPolicy()
	if o.profile != "" {
		p, err := a.profile(o.profile)
		if err != nil {
			return err
		}
		policy = p.Policy.Over(policy)
		o.subject = cmp.Or(o.subject, p.DisplayName)
	}
	o.subject, o.key, o.encoding = cmp.Or(o.subject, o.name), cmp.Or(o.key, policy.Key), cmp.Or(o.encoding, policy.Encoding)
	validity := time.Duration(*policy.Validity)
	if o.validity != "" {
		d, err := config.ParseDuration(o.validity)
		if err != nil || d <= 0 {
			return usagef("--validity %q is not a lifetime such as 365d", o.validity)
		}
		validity = time.Duration(d)
	}
	bits := map[string]int{"rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}[o.key]
	if bits == 0 {
		return usagef("--key %q is not offered; use rsa-2048, rsa-3072 or rsa-4096", o.key)
	}
	if strings.ContainsFunc(o.subject, func(r rune) bool { return r < ' ' }) || len(o.subject) > 64 {
		return usagef("--subject %q is not a common name of at most 64 characters", o.subject)
	}
	password, made, err := a.newPassword(o.passwordFile)
	if err != nil {
		return err
	}
	files, err := newPackageFiles(o.out, o.name)
	if err != nil {
		return err
	}
	err = func() error {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return err
		}
		// A little back, so that a host whose clock is fast makes nothing that Entra
		// calls not yet valid.
		from := time.Now().Add(-15 * time.Minute)
		der, err := rotator.NewCertificate(rand.Reader, key, o.subject, from, from.Add(15*time.Minute+validity))
		if err != nil {
			return err
		}
		file, err := encoder{}.Encode(o.encoding, key, der, nil, password, "")
		if errors.Is(err, pfx.ErrEncoding) {
			return &usageError{err.Error()}
		}
		if err != nil {
			return err
		}
		c, err := rotator.CredentialOf(der)
		if err != nil {
			return err
		}
		info := infoText(appInfo{Name: o.name, Certificate: control.Credential{
			ThumbprintSHA1: c.ThumbprintSHA1, ThumbprintSHA256: string(c.ThumbprintSHA256), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		}})
		if err := files.write(file, der, []byte(info)); err != nil {
			return err
		}
		t := newTerminal(a.stdout, a.getenv)
		writePackage(t, files)
		writeCertificate(t.w, o, c)
		if made {
			fmt.Fprintf(t.w, "\nPassword of the PFX, shown this once:\n\n  %s\n", password)
		}
		return nil
	}()
	return errors.Join(err, files.close(err == nil))
}

// newPassword reads a password or makes one.
func (a *app) newPassword(file string) (password string, made bool, err error) {
	if file == "" {
		password, err = encoder{}.NewPassword()
		return password, true, err
	}
	if password, err = readPassword(file); err != nil {
		return "", false, &usageError{err.Error()}
	}
	if password == "" {
		return "", false, usagef("%s is empty; a PFX needs a password", file)
	}
	return password, false, nil
}

func writeCertificate(w io.Writer, o certificateOptions, c rotator.Credential) {
	fmt.Fprintf(w, "  CN=%s, %s, SHA-256, until %s\n  thumbprint %s\n\n", o.subject, o.key, c.NotAfter.Format(time.DateOnly), c.ThumbprintSHA1)
	fmt.Fprintf(w, `Next: upload %s.cer to the app (App registrations, the app, Certificates & secrets,
Certificates), give %s.pfx and its password to the consumer, and let rotate track it:

  rotate app add %s --tenant TENANT --client-id ID --pfx %s --password-file FILE
`, o.name, o.name, o.name, filepath.Join(o.out, o.name+".pfx"))
}
