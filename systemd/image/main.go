// Command image makes the container image of a release: an OCI layout in one tar file,
// with an image for each architecture. It needs no Docker, no network and no root, and
// makes the same bytes from the same input.
//
// The image holds the program, the certificates of public authorities that Mozilla trusts
// (as golang.org/x/crypto keeps them), and folders for its user, 65532. There is no shell
// in it.
//
// https://github.com/opencontainers/image-spec/blob/v1.1.1/spec.md
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run makes OUT from the programs, named as ARCH=FILE, and prints the digest of the
// image. The time in it is $SOURCE_DATE_EPOCH.
func run(args []string, getenv func(string) string, stdout io.Writer) (err error) {
	if len(args) < 4 {
		return errors.New("usage: image OUT VERSION COMMIT ARCH=PROGRAM… [NAME=FILE…]: a name with a slash is a file of the image")
	}
	seconds, err := strconv.ParseInt(getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r := release{version: args[1], commit: args[2], time: time.Unix(seconds, 0).UTC()}
	for _, arg := range args[3:] {
		name, path, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%s is not ARCH=PROGRAM", arg)
		}
		content, err := os.ReadFile(path) //nolint:gosec // the files that its caller names
		if err != nil {
			return err
		}
		if strings.Contains(name, "/") {
			r.files = append(r.files, entry{name: name, mode: 0o644, content: content})
			continue
		}
		r.programs = append(r.programs, program{arch: name, content: content})
	}
	out, err := os.CreateTemp(filepath.Dir(args[0]), ".image-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(out.Name())) //nolint:gosec // the file beside the one it was asked for
		}
	}()
	digest, err := r.write(out)
	if err := cmp.Or(err, out.Chmod(0o644), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(out.Name(), args[0]); err != nil { //nolint:gosec // where it was asked for
		return err
	}
	fmt.Fprintln(stdout, digest)
	return nil
}
