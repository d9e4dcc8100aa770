package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/config/guard"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// hostWarnings tells what is not as it should be on this host, beyond the
// configuration itself; status shows it.
func hostWarnings(ctx context.Context, cfg *config.Config, keys *store.Store) []string {
	return append(folderWarnings(cfg.Store), identityWarnings(ctx, cfg.Tenants, keys)...)
}

// guardFiles refuses a configuration that others than root and the user of the daemon
// could change, or whose secrets others could read: whoever can decides what it runs.
func guardFiles(path string, cfg *config.Config, uid int) error {
	err := cfg.Guard(path, uid)
	if err == nil {
		return nil
	}
	refused := withHint(&unusable{err})
	if first, ok := errors.AsType[*guard.Error](err); ok && first.Fix != "" {
		refused = withHint(&unusable{err}, first.Fix)
	}
	return refused
}

// folderWarnings tells of folders in which others could put files of theirs in the
// place of the store or of its identity. The files themselves are refused if others
// may use them.
func folderWarnings(s config.Store) []string {
	var warnings []string
	folders := []string{filepath.Dir(s.Path), filepath.Dir(s.IdentityFile)}
	for _, folder := range slices.Compact(folders) {
		info, err := os.Stat(folder)
		if err != nil {
			continue // the files in it are opened, and say more
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			continue
		}
		who, mend := "", "chmod go-w "+quote(folder)
		switch mode := info.Mode(); {
		case stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
			who = fmt.Sprintf("it belongs to user %d, who", stat.Uid)
			mend = fmt.Sprintf("chown %d %s", os.Geteuid(), quote(folder))
		case mode&os.ModeSticky != 0: // who may write there cannot touch what is not theirs
		case mode.Perm()&0o002 != 0:
			who = "everybody"
		case mode.Perm()&0o020 != 0 && stat.Gid != 0 && int(stat.Gid) != os.Getegid():
			who = fmt.Sprintf("group %d", stat.Gid)
		}
		if who != "" {
			warnings = append(warnings, fmt.Sprintf("folder %s: %s could exchange the store's files (mode %04o); move them to a folder of their own, or run \"%s\", then \"rotate reload\"",
				folder, who, info.Mode().Perm(), mend))
		}
	}
	return warnings
}

// identityWarnings tells what a person should know about identities that sign in
// with a certificate.
func identityWarnings(ctx context.Context, tenants []config.Tenant, keys *store.Store) []string {
	var warnings []string
	for _, t := range tenants {
		if t.Identity == nil || t.Identity.Kind() != config.KindCertificate {
			continue
		}
		tracked, err := keys.AppByClientID(ctx, t.Name, rotator.ClientID(t.Identity.ClientID))
		if err != nil {
			warnings = append(warnings, fmt.Sprintf(
				"tenant %s: the certificate of its identity is not tracked and will end one day; \"rotate app add\" it like any other app (client ID %s)", t.Name, t.Identity.ClientID))
			continue
		}
		pair, err := identityPair(ctx, t.Identity)
		if err != nil || tracked.Current == nil || pair.Thumbprint() == tracked.Current.ThumbprintSHA256 {
			continue
		}
		warnings = append(warnings, fmt.Sprintf(
			"tenant %s: %s is not the certificate that is stored for the app %s and is not used; remove it, or bring it up to date with a delivery of that app",
			t.Name, t.Identity.CertificateFile, tracked.Name))
	}
	return warnings
}
