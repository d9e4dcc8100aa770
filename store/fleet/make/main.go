// Command make fills a store with many apps, for measurements by hand:
//
//	go run ./store/fleet/make -apps 100000 DIR
//
// DIR must be empty. It gets rotate.db, keys/store.key and config.yaml, with which the
// daemon can be started. 100,000 apps are 2 GB and take some minutes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/seed-f0abd057/rotate/store"
	"github.com/seed-f0abd057/rotate/store/fleet"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "make:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var f fleet.Fleet
	flags := flag.NewFlagSet("make", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.IntVar(&f.Apps, "apps", 1000, "how many")
	flags.IntVar(&f.Open, "open", 0, "how many of them wait in their overlap")
	flags.IntVar(&f.Failing, "failing", 0, "how many of them need a person")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("name a folder")
	}
	dir, err := filepath.Abs(flags.Arg(0))
	if err != nil {
		return err
	}
	config := fmt.Sprintf(`store: {path: rotate.db, identity_file: keys/store.key}
control: {socket: %q}
schedule: "@every 1h"
metrics: {listen: %q}
tenants: [{name: %s, id: 11111111-2222-3333-4444-555555555555, cloud: global}]
`, filepath.Join(dir, "s"), "unix:"+filepath.Join(dir, "m"), fleet.Tenant(0))
	o := store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "keys", "store.key"), NoSync: true}
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600)); err != nil { //nolint:gosec // a folder, which has to be entered
		return err
	}
	if _, err := store.Init(ctx, store.InitOptions{Path: o.Path, IdentityFile: o.IdentityFile}); err != nil {
		return err
	}
	s, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	err = f.Fill(ctx, s, func(done int) {
		if done%10_000 == 0 {
			fmt.Fprintln(out, done)
		}
	})
	return errors.Join(err, s.Close())
}
