//go:build !linux

package store_test

import "errors"

var errNoMount = errors.New("file systems are mounted by the tests on Linux only")

func tmpfs(string) (disk, error) { return disk{}, errNoMount }

func readOnly() error { return errNoMount }
