package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/config/textfile"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// This file turns values of package config into those of the other packages.

// policyOf turns the configuration's form of a policy into the domain's; parts
// of prove and upload_limit that it leaves open are taken from base.
func policyOf(p, base config.Policy) (rotator.PolicyOverride, error) {
	whole := p.Over(base)
	o := rotator.PolicyOverride{
		Validity: (*time.Duration)(p.Validity), RenewBefore: (*time.Duration)(p.RenewBefore),
		ReloadWithin: (*time.Duration)(p.ReloadWithin), Overlap: (*time.Duration)(p.Overlap),
		KeepPrevious: (*time.Duration)(p.KeepPrevious), Jitter: (*time.Duration)(p.Jitter),
		Encoding: p.Encoding,
	}
	if p.Key != "" {
		bits, err := strconv.Atoi(strings.TrimPrefix(p.Key, "rsa-"))
		if err != nil {
			return o, &unusable{fmt.Errorf("key %q is not of the form rsa-2048", p.Key)}
		}
		o.KeyBits = bits
	}
	if p.Prove != nil {
		o.ProveScopes = p.Prove.Scopes
	}
	if p.Prove != nil && (p.Prove.Successes != nil || p.Prove.Spacing != nil || p.Prove.Within != nil) {
		o.Prove = &rotator.ProvePolicy{
			Successes: int(*whole.Prove.Successes),
			Spacing:   time.Duration(*whole.Prove.Spacing),
			Within:    time.Duration(*whole.Prove.Within),
		}
	}
	if p.UploadLimit != nil {
		o.UploadLimit = &rotator.UploadLimit{PerHour: int(*whole.UploadLimit.PerHour), PerDay: int(*whole.UploadLimit.PerDay)}
	}
	if p.Window != nil {
		o.Window = &rotator.Window{Cron: p.Window.Cron, Duration: time.Duration(p.Window.Duration), Zone: p.Window.Zone}
	}
	return o, nil
}

// checkDefaults refuses defaults that cannot work, with the arithmetic.
func checkDefaults(p config.Policy) error {
	o, err := policyOf(p, config.DefaultPolicy())
	if err != nil {
		return err
	}
	whole := rotator.DefaultPolicy()
	whole.KeyBits, whole.Validity, whole.RenewBefore, whole.Prove = o.KeyBits, *o.Validity, *o.RenewBefore, *o.Prove
	whole.UploadLimit, whole.Overlap = *o.UploadLimit, *o.Overlap
	if o.ReloadWithin != nil {
		whole.ReloadWithin = *o.ReloadWithin
	}
	return whole.Check(rotator.ConfirmAutomatic)
}

// parseSchedule reads the cron expression of a window.
func parseSchedule(cron, zone string) (rotator.Schedule, error) {
	return config.Window{Cron: cron, Zone: zone}.Schedule()
}

// hooksOf turns the programs of the configuration into those of the deliverer.
func hooksOf(hooks map[string]config.Hook) map[string]deliver.Hook {
	programs := make(map[string]deliver.Hook, len(hooks))
	for name, h := range hooks {
		programs[name] = deliver.Hook{Command: h.Command, Timeout: time.Duration(h.Timeout), Env: h.Env}
	}
	return programs
}

// tenantsOf turns the tenants of the configuration into those of the client.
func tenantsOf(tenants []config.Tenant, keys *store.Store) ([]graph.Tenant, error) {
	all := make([]graph.Tenant, len(tenants))
	for i, t := range tenants {
		cloud := graph.Cloud{Login: t.Cloud.Login, Graph: t.Cloud.Graph, CAFile: t.Cloud.CAFile}
		if t.Cloud.Name != "" {
			named, err := graph.CloudByName(t.Cloud.Name)
			if err != nil {
				return nil, &unusable{fmt.Errorf("tenant %s: %w", t.Name, err)}
			}
			cloud = named
		}
		all[i] = graph.Tenant{Name: t.Name, ID: t.ID, Cloud: cloud, Identity: identityOf(t, keys)}
	}
	return all, nil
}

// removalTimesOf are how long removals are checked, of the tenants that say so.
func removalTimesOf(tenants []config.Tenant) map[string]rotator.RemovalTimes {
	all := map[string]rotator.RemovalTimes{}
	for _, t := range tenants {
		r := t.Cloud.Removal
		if t.Cloud.Name != "" || r == nil {
			continue
		}
		times := rotator.DefaultRemovalTimes()
		for _, d := range []struct {
			to   *time.Duration
			from *config.Duration
		}{{&times.Reads, r.Reads}, {&times.SignIns, r.SignIns}, {&times.Young, r.Young}} {
			if d.from != nil {
				*d.to = time.Duration(*d.from)
			}
		}
		all[t.Name] = times
	}
	return all
}

func identityOf(t config.Tenant, keys *store.Store) graph.Identity {
	id := t.Identity
	if id == nil {
		return graph.Identity{}
	}
	client := rotator.ClientID(id.ClientID)
	switch id.Kind() {
	case config.KindClientSecret:
		return graph.Identity{ClientSecret: &graph.ClientSecret{ClientID: client, Secret: func() (string, error) {
			return secretOf(id.ClientSecret, id.ClientSecretFile)
		}}}
	case config.KindCertificate:
		return graph.Identity{Certificate: &graph.Certificate{ClientID: client, Pair: func(ctx context.Context) (rotator.KeyPair, error) {
			if _, err := keys.AppByClientID(ctx, t.Name, client); errors.Is(err, rotator.ErrNotFound) {
				return identityPair(ctx, id)
			}
			return rotator.IdentityPair(ctx, keys, t.Name, client)
		}}}
	case config.KindManagedIdentity:
		return graph.Identity{ManagedIdentity: &graph.ManagedIdentity{ClientID: rotator.ClientID(id.ManagedIdentity.ClientID)}}
	case config.KindWorkloadIdentity:
		return graph.Identity{WorkloadIdentity: &graph.WorkloadIdentity{
			ClientID: rotator.ClientID(id.WorkloadIdentity.ClientID), TokenFile: id.WorkloadIdentity.TokenFile,
		}}
	case config.KindAzureCLI:
		return graph.Identity{AzureCLI: &graph.AzureCLI{}}
	}
	return graph.Identity{}
}

// identityPair reads the certificate of a tenant's identity from its file: only
// while the app is not tracked.
func identityPair(ctx context.Context, id *config.Identity) (rotator.KeyPair, error) {
	data, err := readFile(id.CertificateFile, pfx.MaxBytes)
	if err != nil {
		return rotator.KeyPair{}, err
	}
	password, err := secretOf(id.Password, id.PasswordFile)
	if err != nil {
		return rotator.KeyPair{}, err
	}
	pair, err := encoder{}.decode(ctx, data, password)
	if err != nil {
		return rotator.KeyPair{}, fmt.Errorf("%s: %w", id.CertificateFile, err)
	}
	return pair, nil
}

// specOf turns an app of a file into what the control API takes. Files are read
// here, as the caller. The pair is left out where the app is tracked already.
func specOf(a config.App, p *config.Profile, base config.Policy, tracked bool) (control.AppSpec, error) {
	if p != nil {
		a.Policy = a.Policy.Over(p.Policy)
	}
	policy, err := policyOf(a.Policy, base)
	if err != nil {
		return control.AppSpec{}, fmt.Errorf("app %s: %w", a.Name, err)
	}
	spec := control.AppSpec{
		Name: a.Name, Tenant: a.Tenant, ClientID: a.ClientID, ObjectID: a.ObjectID, KeyID: a.KeyID, Mode: a.Mode,
		Permissions: a.Permissions, Tags: a.Tags, Owner: a.Owner, Policy: control.PolicyOf(policy),
		Evidence: a.Evidence, NoConsumer: a.Consumer == "none", Verify: a.Verify, FriendlyName: a.FriendlyName,
		Probe: a.Probe, Confirm: control.Confirm{Rule: a.Confirm.Rule, Hook: a.Confirm.Hook},
		HandOff: control.HandOffText{Consumer: a.HandOff.Consumer, Steps: a.HandOff.Steps},
	}
	for _, d := range a.Deliveries {
		spec.Deliveries = append(spec.Deliveries, control.Delivery{
			Kind: d.Kind, Path: d.Path, Encoding: d.Encoding, Mode: string(d.Mode), Group: d.Group,
			PasswordPath: d.PasswordPath, Previous: d.Previous, Replace: d.Replace, Hook: d.Hook,
		})
	}
	if p != nil {
		own := spec.Policy
		if err := useProfile(&spec, p); err != nil {
			return control.AppSpec{}, fmt.Errorf("app %s: %w", a.Name, err)
		}
		spec.Policy = own // with the profile's below it
	}
	if a.PFX != "" && !tracked {
		if spec.PFX, spec.Password, err = readPair(a.PFX, a.PasswordFile); err != nil {
			return control.AppSpec{}, fmt.Errorf("app %s: %w", a.Name, err)
		}
	}
	return spec, nil
}

// readPair reads a PFX or PEM file and its password, which may have no file. It
// opens the pair, so that what is wrong with it is said with the file's name.
func readPair(path, passwordFile string) (data []byte, password string, err error) {
	data, err = readFile(path, pfx.MaxBytes)
	if err == nil && passwordFile != "" {
		password, err = readPassword(passwordFile)
	}
	if err != nil {
		return nil, "", &usageError{err.Error()}
	}
	_, err = pfx.Decode(data, password)
	if errors.Is(err, pfx.ErrWrongPassword) && passwordFile == "" {
		return nil, "", usagef("%s: it needs a password, and none was given: --password-file FILE", path)
	}
	if err != nil {
		return nil, "", usagef("%s: %v", path, err)
	}
	return data, password, nil
}

// readPEMs reads a certificate and its key from two files, as one pair in PEM.
func readPEMs(certificate, key, passwordFile string) (data []byte, password string, err error) {
	public, err := readCertificate(certificate)
	if err != nil {
		return nil, "", &usageError{err.Error()}
	}
	if len(public) > 0 && public[0] == 0x30 {
		public = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public})
	}
	private, err := readText(key, pfx.MaxBytes)
	if err == nil && passwordFile != "" {
		password, err = readPassword(passwordFile)
	}
	if err != nil {
		return nil, "", &usageError{err.Error()}
	}
	data = slices.Concat(private, []byte("\n"), public)
	_, err = pfx.Decode(data, password)
	if errors.Is(err, pfx.ErrWrongPassword) && passwordFile == "" {
		return nil, "", usagef("%s: it needs a password, and none was given: --password-file FILE", key)
	}
	if err != nil {
		return nil, "", usagef("%s with %s: %v", certificate, key, err)
	}
	return data, password, nil
}

// maxPasswordBytes is more than any password has.
const maxPasswordBytes = 4 << 10

// readPassword reads a file that holds one password; one line end after it is
// not part of it.
func readPassword(path string) (string, error) {
	data, err := readText(path, maxPasswordBytes)
	return string(bytes.TrimSuffix(data, []byte("\n"))), err
}

// readText is [readFile] for text, which may be UTF-16 with CRLF.
func readText(path string, limit int64) ([]byte, error) {
	data, err := readFile(path, limit)
	if err != nil {
		return nil, err
	}
	if data, err = textfile.Decode(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

func secretOf(value config.Secret, path string) (string, error) {
	if path == "" {
		return value.Reveal(), nil
	}
	return readPassword(path)
}

// readFile reads a file that may not be larger than limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes; that is not the file that is meant", path, limit)
	}
	return data, nil
}

// absolute makes a path of the command line absolute: the daemon has another
// working folder.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}
