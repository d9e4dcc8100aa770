package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is whom the program runs as: the number that images without a root user use.
const user = 65532

// A program is the executable file of one architecture, named as Go names it.
type program struct {
	arch    string
	content []byte
}

// A release is what the image is made of.
type release struct {
	version, commit string
	time            time.Time
	programs        []program
	// files are the same for each architecture.
	files []entry
}

// An entry is a file or, without content, a folder of a tar file.
type entry struct {
	name    string // without a slash at its beginning; a folder ends with one
	mode    int64
	owner   int
	content []byte
}

// A descriptor names a blob.
//
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// index lists the images of all architectures, or the index that does.
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// config is how the program is run.
//
// https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
type config struct {
	platform
	Created time.Time `json:"created"`
	Config  struct {
		User       string              `json:"User"`
		Env        []string            `json:"Env"`
		Entrypoint []string            `json:"Entrypoint"`
		Cmd        []string            `json:"Cmd"`
		Volumes    map[string]struct{} `json:"Volumes"`
		Labels     map[string]string   `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []history `json:"history"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// layout collects the blobs of an OCI layout.
type layout struct {
	entries []entry
}

// write makes the tar file and returns the digest of the image in it.
func (r *release) write(w io.Writer) (string, error) {
	l := &layout{}
	var images []descriptor
	for _, p := range r.programs {
		d, err := r.image(l, p)
		if err != nil {
			return "", err
		}
		images = append(images, d)
	}
	image, err := l.json(typeIndex, index{SchemaVersion: 2, MediaType: typeIndex, Manifests: images, Annotations: r.labels()})
	if err != nil {
		return "", err
	}
	image.Annotations = map[string]string{"org.opencontainers.image.ref.name": strings.ReplaceAll(r.version, "~", "-")}
	all, err := json.Marshal(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{image}})
	if err != nil {
		return "", err
	}
	entries := append([]entry{
		{name: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{name: "index.json", mode: 0o644, content: all},
		{name: "blobs/", mode: 0o755},
		{name: "blobs/sha256/", mode: 0o755},
	}, l.entries...)
	return image.Digest, r.tar(w, entries)
}

// image adds the image of one architecture.
func (r *release) image(l *layout, p program) (descriptor, error) {
	var plain, packed bytes.Buffer
	if err := r.tar(&plain, r.root(p)); err != nil {
		return descriptor{}, err
	}
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return descriptor{}, err
	}
	if _, err := z.Write(plain.Bytes()); err != nil {
		return descriptor{}, err
	}
	if err := z.Close(); err != nil {
		return descriptor{}, err
	}
	layer := l.add(typeLayer, packed.Bytes())

	c := config{platform: platform{Architecture: p.arch, OS: "linux"}, Created: r.time}
	c.Config.User = strconv.Itoa(user) + ":" + strconv.Itoa(user)
	c.Config.Env = []string{"PATH=/usr/bin", "HOME=/var/lib/rotate", "ROTATE_CONFIG=/etc/rotate/config.yaml"}
	c.Config.Entrypoint, c.Config.Cmd = []string{"/usr/bin/rotate"}, []string{"daemon"}
	c.Config.Volumes = map[string]struct{}{"/var/lib/rotate": {}}
	c.Config.Labels = r.labels()
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{digestOf(plain.Bytes())}
	c.History = []history{{Created: r.time, CreatedBy: "systemd/image"}}
	described, err := l.json(typeConfig, c)
	if err != nil {
		return descriptor{}, err
	}
	d, err := l.json(typeManifest, manifest{SchemaVersion: 2, MediaType: typeManifest, Config: described, Layers: []descriptor{layer}, Annotations: r.labels()})
	d.Platform = &platform{Architecture: p.arch, OS: "linux"}
	return d, err
}

func (r *release) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    "rotate",
		"org.opencontainers.image.version":  r.version,
		"org.opencontainers.image.revision": r.commit,
		"org.opencontainers.image.created":  r.time.Format(time.RFC3339),
		"org.opencontainers.image.source":   "https://github.com/seed-f0abd057/rotate",
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
}

// root is the file system of the image.
func (r *release) root(p program) []entry {
	const (
		accounts = "root:x:0:0::/:/sbin/nologin\nrotate:x:65532:65532::/var/lib/rotate:/sbin/nologin\n"
		group    = "root:x:0:\nrotate:x:65532:\n"
	)
	files := append([]entry{
		{name: "usr/bin/rotate", mode: 0o755, content: p.content},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: authorities()},
		{name: "etc/passwd", mode: 0o644, content: []byte(accounts)},
		{name: "etc/group", mode: 0o644, content: []byte(group)},
		{name: "etc/rotate/", mode: 0o755},
		{name: "run/rotate/", mode: 0o755, owner: user},
		{name: "var/lib/rotate/", mode: 0o700, owner: user},
		{name: "tmp/", mode: 0o1777},
	}, r.files...)
	have := map[string]bool{"./": true}
	for _, f := range files {
		have[f.name] = true
	}
	for _, f := range files { // the folders on the way
		for dir := path.Dir(strings.TrimSuffix(f.name, "/")) + "/"; !have[dir]; dir = path.Dir(strings.TrimSuffix(dir, "/")) + "/" {
			have[dir] = true
			files = append(files, entry{name: dir, mode: 0o755})
		}
	}
	slices.SortFunc(files, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return files
}

// authorities are the certificates of public authorities, PEM. One that is trusted only
// within limits, which a PEM file cannot say, is left out.
func authorities() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer takes all
		}
	}
	return out.Bytes()
}

// tar writes the entries in their order, with the time of the release.
func (r *release) tar(w io.Writer, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{
			Name: e.name, Mode: e.mode, Uid: e.owner, Gid: e.owner, Size: int64(len(e.content)),
			ModTime: r.time, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
		}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(e.content); err != nil {
			return err
		}
	}
	return t.Close()
}

// add keeps a blob, once.
func (l *layout) add(mediaType string, content []byte) descriptor {
	d := descriptor{MediaType: mediaType, Digest: digestOf(content), Size: len(content)}
	e := entry{name: "blobs/sha256/" + strings.TrimPrefix(d.Digest, "sha256:"), mode: 0o644, content: content}
	if !slices.ContainsFunc(l.entries, func(o entry) bool { return o.name == e.name }) {
		l.entries = append(l.entries, e)
	}
	return d
}

func (l *layout) json(mediaType string, v any) (descriptor, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return l.add(mediaType, content), nil
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
