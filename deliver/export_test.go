package deliver

import (
	"context"
	"os"
	"path/filepath"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Tail returns what is kept of the output of a hook that got the pair.
func Tail(pair rotator.KeyPair, content []byte, printed string) string {
	o := &output{secrets: newSecrets(pair, content)}
	_, _ = o.Write([]byte(printed))
	return o.tail()
}

// Claim claims folders.
func (d *Deliverer) Claim(ctx context.Context, folders ...string) (func(), error) {
	return d.claim(ctx, folders...)
}

// ReadBack reads a file that was written with this content.
func (d *Deliverer) ReadBack(path string, content []byte, proven bool, pair rotator.KeyPair) error {
	f, err := openFolder(filepath.Dir(path), os.Geteuid())
	if err != nil {
		return err
	}
	defer f.close()
	return d.readBack(&placement{folder: f, name: filepath.Base(path), content: content, proven: proven}, pair)
}

// Switch puts contents in place of files of a folder, in this order, as a delivery does.
func Switch(ctx context.Context, dir string, names []string, contents []string) error {
	f, err := openFolder(dir, os.Geteuid())
	if err != nil {
		return err
	}
	defer f.close()
	var files []*placement
	for i, name := range names {
		files = append(files, &placement{folder: f, name: name, content: []byte(contents[i]), uid: -1, gid: -1, mode: 0o600})
	}
	return put(ctx, files)
}
