//go:build e2e

package main_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestReleaseU11 makes a release twice, as two people would: in another folder, another
// time zone, another language, with another umask. What both make is the same to the
// byte. Then it does what those do who get it: verify, unpack, install from the
// repository, run the image; and it changes a byte of each to see it refused. The keys
// are made for it.
func TestReleaseU11(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("this test installs packages in a Debian of its own, which needs root")
	}
	keys := newReleaseKeys(t)
	first, again := sourceTree(t, "first"), sourceTree(t, "again")
	var tagged bool
	for _, tree := range []string{first, again} {
		untagged := strings.TrimSpace(must(t, command(tree, "bash", "systemd/version")))
		if !regexp.MustCompile(`^0~\d{14}\.[0-9a-f]{12}$`).MatchString(untagged) {
			t.Errorf("without a tag the version is %q, want 0~ and the commit", untagged)
		}
		must(t, command(tree, "dpkg", "--compare-versions", untagged, "lt", "0.0.1"))
		must(t, command(tree, "git", "tag", "v1.2.3"))
		tagged = strings.TrimSpace(must(t, command(tree, "bash", "systemd/version"))) == "1.2.3"
	}
	if !tagged {
		t.Fatal("the version is not that of the tag")
	}
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	make1 := command(first, "bash", "systemd/release", one, "--minisign-key", keys.secret, "--gpg-key", keys.name)
	make1.Env = append(os.Environ(), "TZ=Pacific/Auckland", "GNUPGHOME="+keys.home)
	said := must(t, make1)
	make2 := command(again, "sh", "-c", "umask 077 && exec bash systemd/release \"$0\" --arch "+runtime.GOARCH, two)
	make2.Env = append(os.Environ(), "TZ=America/New_York", "LC_ALL=C.UTF-8")
	must(t, make2)

	made := must1(filepath.Glob(filepath.Join(two, "rotate*")))(t)
	if len(made) != 5 {
		t.Fatalf("made %q for one architecture; want an archive, two packages, a list of parts and an image", made)
	}
	for _, path := range made {
		name := filepath.Base(path)
		a, b := must1(os.ReadFile(filepath.Join(one, name)))(t), must1(os.ReadFile(path))(t)
		if strings.HasSuffix(name, "_image.tar") {
			continue // the other one has more architectures
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s: SHA-256 %x, built again %x", name, sha256.Sum256(a), sha256.Sum256(b))
		}
	}
	image := readImage(t, filepath.Join(one, "rotate_1.2.3_image.tar"))
	if other := readImage(t, filepath.Join(two, "rotate_1.2.3_image.tar")); image.manifest != other.manifest {
		t.Errorf("the image is %s, built again %s", image.manifest, other.manifest)
	}
	if !strings.Contains(said, image.digest) {
		t.Errorf("the digest %s was not printed:\n%s", image.digest, said)
	}

	t.Run("signatures", func(t *testing.T) { checkSums(t, one, keys) })
	t.Run("archive", func(t *testing.T) { checkArchive(t, one) })
	t.Run("image", func(t *testing.T) { checkImage(t, image) })
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run("apt "+suite, func(t *testing.T) { checkRepository(t, suite, filepath.Join(one, "apt")) })
	}
}

// command is one that runs in a folder.
func command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	return cmd
}

// must runs a command that must go well and returns what it said.
func must(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, tail(string(out), 40))
	}
	return string(out)
}

// refused runs a command that must fail and say one of the words.
func refused(t *testing.T, cmd *exec.Cmd, words string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); !ended || !regexp.MustCompile(words).Match(out) {
		t.Errorf("%q: %v, want a refusal that says %s\n%s", cmd.Args, err, words, tail(string(out), 20))
	}
}

// sourceTree copies the files of this checkout, as they are now, to a repository with
// one commit, which is the same each time.
func sourceTree(t *testing.T, name string) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	root := must1(filepath.Abs(filepath.Join("..", "..")))(t)
	must(t, command(root, "sh", "-c", `git ls-files -z --cached --others --exclude-standard --deduplicate | xargs -0 cp --parents -t "$0"`, tree))
	commit := command(tree, "sh", "-c", "git init -q && git add -A && git -c user.name=test -c user.email=test@localhost commit -qm test")
	commit.Env = append(os.Environ(), "GIT_AUTHOR_DATE=2026-03-01T12:00:00Z", "GIT_COMMITTER_DATE=2026-03-01T12:00:00Z")
	must(t, commit)
	return tree
}

// releaseKeys are made for one test.
type releaseKeys struct {
	secret, public string // of minisign
	home, name     string // of gpg
}

func newReleaseKeys(t *testing.T) releaseKeys {
	t.Helper()
	dir := t.TempDir()
	k := releaseKeys{secret: filepath.Join(dir, "secret"), public: filepath.Join(dir, "public"), name: "release@localhost"}
	must(t, command(dir, "minisign", "-G", "-W", "-s", k.secret, "-p", k.public))
	// Not below the test's folder: the socket of its agent must have a short name.
	k.home = must1(os.MkdirTemp("", "gpg"))(t)
	t.Cleanup(func() {
		stop := command(dir, "gpgconf", "--kill", "all")
		stop.Env = append(os.Environ(), "GNUPGHOME="+k.home)
		_ = stop.Run()
		_ = os.RemoveAll(k.home)
	})
	generate := command(dir, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "rotate test <"+k.name+">", "ed25519", "sign", "never")
	generate.Env = append(os.Environ(), "GNUPGHOME="+k.home)
	must(t, generate)
	return k
}

// flip changes one byte of a file, and the returned function changes it back.
func flip(t *testing.T, path string, at int) (back func()) {
	t.Helper()
	whole := must1(os.ReadFile(path))(t)
	changed := bytes.Clone(whole)
	changed[at] ^= 1
	write := func(content []byte) {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(changed)
	return func() { write(whole) }
}

// checkSums verifies the list of the files and then the files.
func checkSums(t *testing.T, out string, keys releaseKeys) {
	t.Helper()
	list := command(out, "minisign", "-V", "-p", keys.public, "-m", "SHA256SUMS")
	if said := must(t, list); !strings.Contains(said, "rotate 1.2.3, commit ") {
		t.Errorf("minisign says %q, want what was signed", said)
	}
	if files := must(t, command(out, "sha256sum", "--check", "SHA256SUMS")); strings.Count(files, ": OK\n") != 9 {
		t.Errorf("verified files:\n%s\nwant an archive, two packages and a list of parts for each of two architectures, and an image", files)
	}
	archive := filepath.Join(out, "rotate_1.2.3_linux_"+runtime.GOARCH+".tar.gz")
	back := flip(t, archive, 1000)
	refused(t, command(out, "sha256sum", "--check", "SHA256SUMS"), filepath.Base(archive)+": FAILED")
	back()
	back = flip(t, filepath.Join(out, "SHA256SUMS"), 10)
	refused(t, command(out, "minisign", "-V", "-p", keys.public, "-m", "SHA256SUMS"), "Signature verification failed")
	back()
}

// checkArchive unpacks the archive and the package of this machine, and looks at the
// list of what the program is made of.
func checkArchive(t *testing.T, out string) {
	t.Helper()
	dir := t.TempDir()
	must(t, command(dir, "tar", "-xzf", filepath.Join(out, "rotate_1.2.3_linux_"+runtime.GOARCH+".tar.gz"), "--strip-components=1"))
	said := must(t, command(dir, "./rotate", "version"))
	for _, want := range []string{"1.2.3", "commit ", "CGO_ENABLED", "-trimpath"} {
		if !strings.Contains(said, want) {
			t.Errorf("rotate version does not say %s:\n%s", want, said)
		}
	}
	for _, want := range []string{"man/rotate.1.gz", "completions/rotate.bash", "completions/_rotate", "completions/rotate.fish", "LICENSE", "config.example.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, want)); err != nil {
			t.Errorf("the archive: %v", err)
		}
	}
	deb := filepath.Join(out, "rotate_1.2.3_"+runtime.GOARCH+".deb")
	checkDeb(t, deb, must1(os.ReadFile(deb))(t))
	var parts struct {
		Metadata struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name string }
	}
	if err := json.Unmarshal(must1(os.ReadFile(filepath.Join(out, "rotate_1.2.3_linux_"+runtime.GOARCH+".cdx.json")))(t), &parts); err != nil {
		t.Fatal(err)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(parts.Components, func(c struct{ Name string }) bool { return c.Name == name })
	}
	if parts.Metadata.Component.Version != "1.2.3" || !has("go.etcd.io/bbolt") || !has("github.com/microsoftgraph/msgraph-sdk-go") || !has("std") {
		t.Errorf("the list of parts: %s %s of %d parts", parts.Metadata.Component.Name, parts.Metadata.Component.Version, len(parts.Components))
	}
}

// ociImage is what a runtime reads of an image, for this machine.
type ociImage struct {
	digest, manifest string
	layer            []byte
	user             string
	entrypoint       []string
	env              []string
}

// readImage reads it by the specification, and checks each digest on the way.
func readImage(t *testing.T, path string) ociImage {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(must1(os.ReadFile(path))(t))); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = must1(io.ReadAll(r))(t)
	}
	type descriptor struct {
		Digest   string
		Platform struct{ Architecture string }
	}
	blob := func(d descriptor) []byte {
		content, ok := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		if !ok || fmt.Sprintf("sha256:%x", sha256.Sum256(content)) != d.Digest {
			t.Fatalf("%s: the blob %s is missing or another", path, d.Digest)
		}
		return content
	}
	var index struct{ Manifests []descriptor }
	index = decodeJSON[struct{ Manifests []descriptor }](t, string(files["index.json"]))
	image := ociImage{digest: index.Manifests[0].Digest}
	index = decodeJSON[struct{ Manifests []descriptor }](t, string(blob(index.Manifests[0])))
	i := slices.IndexFunc(index.Manifests, func(d descriptor) bool { return d.Platform.Architecture == runtime.GOARCH })
	if i < 0 {
		t.Fatalf("%s has no image for %s", path, runtime.GOARCH)
	}
	image.manifest = index.Manifests[i].Digest
	manifest := decodeJSON[struct {
		Config descriptor
		Layers []descriptor
	}](t, string(blob(index.Manifests[i])))
	config := decodeJSON[struct {
		Config struct {
			User            string
			Entrypoint, Env []string
		}
	}](t, string(blob(manifest.Config)))
	image.user, image.entrypoint, image.env = config.Config.User, config.Config.Entrypoint, config.Config.Env
	image.layer = blob(manifest.Layers[0])
	return image
}

// checkImage runs the demo of the image to its end, with its root file system read-only,
// as its user.
func checkImage(t *testing.T, image ociImage) {
	t.Helper()
	if image.user != "65532:65532" {
		t.Errorf("the user is %q, want one that is not root", image.user)
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	unpack := command(root, "tar", "-xz", "--same-owner", "--preserve-permissions")
	unpack.Stdin = bytes.NewReader(image.layer)
	must(t, unpack)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{
			"user": map[string]any{"uid": 65532, "gid": 65532}, "cwd": "/", "env": image.env,
			"args": append(slices.Clone(image.entrypoint), "demo"), "noNewPrivileges": true,
		},
		"root": map[string]any{"path": root, "readonly": true},
		"mounts": []map[string]any{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
			{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "nodev", "mode=1777"}},
		},
		"linux": map[string]any{"namespaces": []map[string]any{{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}}},
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), must1(json.Marshal(config))(t), 0o644); err != nil {
		t.Fatal(err)
	}
	// crun wants control groups of the second kind only; it limits nothing here.
	run := `umount --recursive /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && exec crun --cgroup-manager=disabled run --bundle "$0" "$1"`
	said := must(t, command(dir, "unshare", "--mount", "sh", "-c", run, dir, "rotate-"+filepath.Base(filepath.Dir(dir))))
	if !strings.Contains(said, "From 3 d left to 365 d") {
		t.Errorf("the demo of the image:\n%s", tail(said, 40))
	}
}

// checkRepository installs the package by apt in a Debian, from the repository alone.
func checkRepository(t *testing.T, suite, repository string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	must(t, command("/", "cp", "--archive", "--reflink=auto", debianOf(t, suite), root))
	within := func(script string) *exec.Cmd {
		cmd := command("/", "unshare", "--mount", "--pid", "--fork", "--mount-proc="+filepath.Join(root, "proc"), "chroot", root, "/bin/bash", "-ec", script)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
		return cmd
	}
	must(t, command("/", "cp", "--recursive", repository, filepath.Join(root, "srv", "apt")))
	// As docs/releases.md says it, but from a folder.
	must(t, within(`rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
install -D -m 0644 /srv/apt/rotate.asc /etc/apt/keyrings/rotate.asc
cat >/etc/apt/sources.list.d/rotate.sources <<END
Types: deb
URIs: file:/srv/apt
Suites: stable
Components: main
Signed-By: /etc/apt/keyrings/rotate.asc
END`))
	place := filepath.Join(root, "srv", "apt")
	release := filepath.Join(place, "dists", "stable", "InRelease")
	back := flip(t, release, bytes.Index(must1(os.ReadFile(release))(t), []byte("Label: "))+len("Label: "))
	refused(t, within("apt-get update"), "(?i)not signed|signature")
	back()
	index := filepath.Join(place, "dists", "stable", "main", "binary-"+runtime.GOARCH, "Packages")
	backs := []func(){flip(t, index, 20), flip(t, index+".gz", 20)}
	refused(t, within("apt-get update"), "Hash Sum mismatch|index files failed")
	for _, back := range backs {
		back()
	}
	must(t, within("rm -rf /var/lib/apt/lists/*; apt-get update"))
	back = flip(t, filepath.Join(place, "pool", "main", "r", "rotate", "rotate_1.2.3_"+runtime.GOARCH+".deb"), 5000)
	refused(t, within("apt-get install --yes rotate"), "Hash Sum mismatch|unexpected|Unable to fetch")
	back()
	if said := must(t, within("apt-get install --yes rotate >/dev/null && rotate version && id rotate")); !strings.Contains(said, "rotate 1.2.3 ") || !strings.Contains(said, "(rotate)") {
		t.Errorf("installed:\n%s", said)
	}
}

// checkDeb looks whether a package installs what it should, for root.
func checkDeb(t *testing.T, path string, data []byte) {
	t.Helper()
	if len(data) == 0 {
		t.Fatalf("%s is empty", path)
	}
	listed := string(must1(exec.Command("dpkg-deb", "--contents", path).Output())(t))
	var paths []string
	for line := range strings.Lines(listed) {
		fields := strings.Fields(line)
		paths = append(paths, strings.TrimPrefix(fields[5], "."))
		if mode := fields[0]; fields[1] != "root/root" || mode[5] == 'w' || mode[8] == 'w' {
			t.Errorf("not for root alone to change: %s", line)
		}
	}
	for _, want := range []string{
		"/usr/bin/rotate", "/usr/lib/systemd/system/rotate.service", "/usr/lib/systemd/system/rotate-check.timer",
		"/usr/lib/sysusers.d/rotate.conf", "/usr/lib/tmpfiles.d/rotate.conf", "/etc/rotate/config.yaml",
		"/usr/share/man/man1/rotate.1.gz", "/usr/share/man/man1/rotate-app-add.1.gz",
		"/usr/share/bash-completion/completions/rotate", "/usr/share/zsh/vendor-completions/_rotate",
		"/usr/share/fish/vendor_completions.d/rotate.fish", "/usr/share/doc/rotate/docs/operations.md",
	} {
		if !slices.Contains(paths, want) {
			t.Errorf("%s lacks %s", filepath.Base(path), want)
		}
	}
	conffiles := must1(exec.Command("dpkg-deb", "--info", path, "conffiles").Output())(t)
	if got := strings.TrimSpace(string(conffiles)); got != "/etc/rotate/config.yaml" {
		t.Errorf("conffiles are %q", got)
	}
}
