package deliver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/rotator"
)

func TestFile(t *testing.T) {
	d := &deliver.Deliverer{Encoder: encoder{}}
	for _, encoding := range []string{"modern", "legacy-des", "pem"} {
		t.Run(encoding, func(t *testing.T) {
			dir := folder(t)
			path := filepath.Join(dir, "app.pfx")
			delivery := rotator.Delivery{Kind: "file", Path: path, Encoding: encoding, PasswordPath: path + ".password", Previous: true}
			if err := d.Check(t.Context(), delivery); err != nil {
				t.Fatal(err)
			}
			checkNames(t, dir) // Check made nothing
			if got, err := d.Holds(t.Context(), delivery, []string{password}); got != (rotator.Target{}) || err != nil {
				t.Errorf("Holds = %q, %v before the first delivery", got, err)
			}
			for _, p := range []rotator.Package{packOld(), pack(), pack()} {
				if err := d.Deliver(t.Context(), delivery, p); err != nil {
					t.Fatal(err)
				}
				if got, err := d.Holds(t.Context(), delivery, []string{"no", password}); got.Thumbprint != p.Pair.Thumbprint() || err != nil {
					t.Errorf("Holds = %q, %v, want %q", got, err, p.Pair.Thumbprint())
				}
				if encoding == "modern" && !bytes.Equal(read(t, path), p.Pair.Encoded["modern"]) {
					t.Error("what was delivered is not what was proven")
				}
			}
			want := []string{"app.pfx", "app.pfx.password", "app.pfx.previous"}
			if encoding == "pem" {
				want = []string{"app.pfx", "app.pfx.previous"}
			} else if got := string(read(t, path+".password")); got != password {
				t.Errorf("password file holds %q", got)
			}
			checkNames(t, dir, want...)
			previous, err := (encoder{}).Decode(read(t, path+".previous"), password)
			if err != nil || previous.Thumbprint() != oldPair().Thumbprint() {
				t.Errorf("previous holds %v, %v, want %v", previous, err, oldPair())
			}
			for _, name := range want {
				checkMode(t, filepath.Join(dir, name), 0o600)
			}
		})
	}
}

func checkMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("mode of %s is %v, want %v", path, info.Mode(), want)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s.Ino
}

func TestFileAgainWritesNothing(t *testing.T) {
	d := &deliver.Deliverer{Encoder: encoder{}}
	path := filepath.Join(folder(t), "app.pfx")
	for _, encoding := range []string{"modern", "legacy-des", "pem"} {
		delivery := rotator.Delivery{Kind: "file", Path: path, Encoding: encoding, PasswordPath: path + ".password", Previous: true}
		if err := d.Deliver(t.Context(), delivery, pack()); err != nil {
			t.Fatal(err)
		}
		before := []uint64{inode(t, path), inode(t, path+".previous"), inode(t, path+".password")}
		delivery.Mode = "0440" // only this is made true
		if err := d.Deliver(t.Context(), delivery, pack()); err != nil {
			t.Fatal(err)
		}
		after := []uint64{inode(t, path), inode(t, path+".previous"), inode(t, path+".password")}
		if fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("%s: inodes %v became %v: files were written again", encoding, before, after)
		}
		checkMode(t, path, 0o440)
		checkMode(t, path+".previous", 0o440)
		if err := os.Remove(path + ".previous"); err != nil { // of another encoding in the next round
			t.Fatal(err)
		}
		os.Remove(path)
	}
}

func TestFileModeAndGroup(t *testing.T) {
	d := &deliver.Deliverer{Encoder: encoder{}}
	dir := folder(t)
	gid := os.Getegid()
	if os.Geteuid() == 0 {
		gid = 12 // any that is not ours
	}
	if err := os.Chown(dir, -1, gid); err != nil {
		t.Fatal(err)
	}
	chmod(t, dir, 0o750|os.ModeSetgid)
	path := filepath.Join(dir, "app.pfx")
	for name, delivery := range map[string]rotator.Delivery{
		"folder": {Kind: "file", Path: path + "1", Mode: "0640"},
		"named":  {Kind: "file", Path: path + "2", Mode: "640", Group: fmt.Sprint(gid)},
	} {
		if err := d.Check(t.Context(), delivery); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := d.Deliver(t.Context(), delivery, pack()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkMode(t, delivery.Path, 0o640)
		info, err := os.Stat(delivery.Path)
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || int(s.Gid) != gid {
			t.Errorf("%s: group %d, want %d", name, s.Gid, gid)
		}
	}
}

// TestFileRefused holds what is wrong with places: neither Check nor Deliver accepts
// it, and nothing changes.
func TestFileRefused(t *testing.T) {
	file := func(path string) rotator.Delivery { return rotator.Delivery{Kind: "file", Path: path} }
	tests := []struct {
		name  string
		make  func(t *testing.T, dir string) rotator.Delivery
		words []string
	}{
		{"missing folder", func(_ *testing.T, dir string) rotator.Delivery { return file(dir + "/no/app.pfx") }, []string{"/no does not exist", "install -d"}},
		{"folder is a file", func(t *testing.T, dir string) rotator.Delivery {
			t.Helper()
			write(t, dir+"/file", nil)
			return file(dir + "/file/app.pfx")
		}, []string{"is not a folder"}},
		{"symbolic link", func(t *testing.T, dir string) rotator.Delivery {
			t.Helper()
			write(t, dir+"/real", nil)
			os.Symlink("real", dir+"/app.pfx")
			return file(dir + "/app.pfx")
		}, []string{"app.pfx is a symbolic link"}},
		{"dangling link", func(_ *testing.T, dir string) rotator.Delivery {
			os.Symlink("nowhere", dir+"/app.pfx")
			return file(dir + "/app.pfx")
		}, []string{"is a symbolic link"}},
		{"directory", func(_ *testing.T, dir string) rotator.Delivery {
			os.Mkdir(dir+"/app.pfx", 0o700)
			return file(dir + "/app.pfx")
		}, []string{"app.pfx is a folder"}},
		{"fifo", func(t *testing.T, dir string) rotator.Delivery {
			t.Helper()
			if err := unix.Mkfifo(dir+"/app.pfx", 0o600); err != nil {
				t.Fatal(err)
			}
			return file(dir + "/app.pfx")
		}, []string{"is a named pipe"}},
		{"socket", func(t *testing.T, _ string) rotator.Delivery {
			t.Helper()
			short, err := os.MkdirTemp("", "s")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(short) })
			l, err := net.Listen("unix", short+"/app.pfx")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return file(short + "/app.pfx")
		}, []string{"is a socket"}},
		{"password is a link", func(_ *testing.T, dir string) rotator.Delivery {
			os.Symlink("nowhere", dir+"/app.password")
			return rotator.Delivery{Kind: "file", Path: dir + "/app.pfx", PasswordPath: dir + "/app.password"}
		}, []string{"app.password is a symbolic link"}},
		{"previous is a folder", func(_ *testing.T, dir string) rotator.Delivery {
			os.Mkdir(dir+"/app.pfx.previous", 0o700)
			return rotator.Delivery{Kind: "file", Path: dir + "/app.pfx", Previous: true}
		}, []string{"app.pfx.previous is a folder"}},
		{"folder others can write", func(t *testing.T, dir string) rotator.Delivery {
			t.Helper()
			chmod(t, dir, 0o757)
			return file(dir + "/app.pfx")
		}, []string{"everybody can write to", ":CONSUMER ", "chmod 2750 "}},
		{"sticky folder", func(t *testing.T, dir string) rotator.Delivery {
			t.Helper()
			chmod(t, dir, 0o777|os.ModeSticky)
			return file(dir + "/app.pfx")
		}, []string{"everybody can write to"}},
		{"folder a group can write", func(t *testing.T, dir string) rotator.Delivery {
			t.Helper()
			chmod(t, dir, 0o770)
			return file(dir + "/app.pfx")
		}, []string{"can write to", "group ", ":CONSUMER "}},
		{"password folder others can write", func(t *testing.T, dir string) rotator.Delivery {
			t.Helper()
			other := folder(t)
			chmod(t, other, 0o777)
			return rotator.Delivery{Kind: "file", Path: dir + "/app.pfx", PasswordPath: other + "/password"}
		}, []string{"everybody can write to"}},
		{"parent others can write", func(t *testing.T, dir string) rotator.Delivery {
			t.Helper()
			os.Mkdir(dir+"/in", 0o755)
			chmod(t, dir, 0o777)
			return file(dir + "/in/app.pfx")
		}, []string{"everybody can write to", "is reached through it"}},
		{"link through a folder others can write", func(t *testing.T, dir string) rotator.Delivery {
			t.Helper()
			os.Mkdir(dir+"/open", 0o755)
			os.Mkdir(dir+"/good", 0o755)
			os.Symlink(dir+"/good", dir+"/open/link")
			chmod(t, dir+"/open", 0o777)
			return file(dir + "/open/link/app.pfx")
		}, []string{"everybody can write to", "/open"}},
		{"circular links", func(_ *testing.T, dir string) rotator.Delivery {
			os.Symlink("b", dir+"/a")
			os.Symlink("a", dir+"/b")
			return file(dir + "/a/app.pfx")
		}, []string{"too many symbolic links"}},
		{"relative", func(*testing.T, string) rotator.Delivery { return file("app.pfx") }, []string{"is not absolute"}},
		{"empty", func(*testing.T, string) rotator.Delivery { return file("") }, []string{"path is empty"}},
		{"dots", func(_ *testing.T, dir string) rotator.Delivery { return file(dir + "/../app.pfx") }, []string{"plainly"}},
		{"slash at the end", func(_ *testing.T, dir string) rotator.Delivery { return file(dir + "/") }, []string{"plainly"}},
		{"control character", func(_ *testing.T, dir string) rotator.Delivery { return file(dir + "/a\nb") }, []string{"control characters"}},
		{"our prefix", func(_ *testing.T, dir string) rotator.Delivery { return file(dir + "/.rotate-x") }, []string{"unfinished"}},
		{"long name", func(_ *testing.T, dir string) rotator.Delivery { return file(dir + "/" + strings.Repeat("x", 300)) }, []string{"name is too long"}},
		{"password over target", func(_ *testing.T, dir string) rotator.Delivery {
			return rotator.Delivery{Kind: "file", Path: dir + "/a", PasswordPath: dir + "/a"}
		}, []string{"same file"}},
		{"unknown group", func(_ *testing.T, dir string) rotator.Delivery {
			return rotator.Delivery{Kind: "file", Path: dir + "/a", Group: "no-such-group"}
		}, []string{`no group "no-such-group"`}},
	}
	for _, mode := range []string{"0644", "0660", "0666", "0750", "0200", "4600", "rw", "-1"} {
		tests = append(tests, struct {
			name  string
			make  func(t *testing.T, dir string) rotator.Delivery
			words []string
		}{"mode " + mode, func(_ *testing.T, dir string) rotator.Delivery {
			return rotator.Delivery{Kind: "file", Path: dir + "/a", Mode: mode}
		}, []string{mode, "0640"}})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := &deliver.Deliverer{Encoder: encoder{}}
			dir := folder(t)
			delivery := test.make(t, dir)
			before := names(t, dir)
			failure(t, d.Check(t.Context(), delivery), rotator.ClassFix, test.words...)
			failure(t, d.Deliver(t.Context(), delivery, pack()), rotator.ClassFix, append(test.words, "app contoso-sync")...)
			checkNames(t, dir, before...)
		})
	}
}

func TestFileThroughLink(t *testing.T) {
	d := &deliver.Deliverer{Encoder: encoder{}}
	dir := folder(t)
	os.Mkdir(dir+"/real", 0o755)
	os.Symlink("../"+filepath.Base(dir)+"/real", dir+"/link")
	if err := d.Deliver(t.Context(), rotator.Delivery{Kind: "file", Path: dir + "/link/app.pfx"}, pack()); err != nil {
		t.Fatal(err)
	}
	checkNames(t, dir+"/real", "app.pfx")
}

func TestFileForeignOwner(t *testing.T) {
	// To a service with another uid, this user is somebody else.
	d := &deliver.Deliverer{Encoder: encoder{}, ServiceUID: 54321}
	dir := folder(t)
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 54322, -1); err != nil {
			t.Fatal(err)
		}
	}
	delivery := rotator.Delivery{Kind: "file", Path: dir + "/app.pfx"}
	failure(t, d.Check(t.Context(), delivery), rotator.ClassFix, "belongs to", "54321")
	failure(t, d.Deliver(t.Context(), delivery, pack()), rotator.ClassFix, "belongs to")
}

// TestFileNotOurs holds targets that are left alone unless Replace is set.
func TestFileNotOurs(t *testing.T) {
	foreignPEM, err := (encoder{}).Encode("pem", foreignPair().Key, foreignPair().Certificate, nil, "", "")
	if err != nil {
		t.Fatal(err)
	}
	foreignOpen, err := (encoder{}).Encode("modern", foreignPair().Key, foreignPair().Certificate, nil, password, "")
	if err != nil {
		t.Fatal(err)
	}
	sha1 := rotator.ThumbprintSHA1(foreignPair().Certificate)
	certificate := foreignPEM[bytes.Index(foreignPEM, []byte("-----BEGIN CERTIFICATE")):]
	if i := bytes.Index(certificate[10:], []byte("-----BEGIN")); i >= 0 {
		certificate = certificate[:i+10]
	}
	certificate = certificate[:bytes.Index(certificate, []byte("-----END CERTIFICATE-----"))+len("-----END CERTIFICATE-----")+1]
	for _, test := range []struct {
		name    string
		content []byte
		words   []string
	}{
		{"our password, not known", foreignOpen, []string{"CN=foreign", sha1}},
		{"PEM, not known", foreignPEM, []string{"CN=foreign", sha1}},
		{"certificate only", certificate, []string{"CN=foreign", "without a usable private key"}},
		{"other password", foreignPair().Encoded["modern"], []string{"a PFX that none of our passwords opens"}},
		{"text", []byte("hello"), []string{"something that is not a PFX"}},
		{"empty", nil, []string{"it is empty"}},
		{"truncated", newPair().Encoded["modern"][:500], []string{"something that is not a PFX"}},
		{"too large", make([]byte, 1<<20+1), []string{"larger than 1 MiB"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &deliver.Deliverer{Encoder: encoder{}}
			for _, previous := range []bool{false, true} {
				dir := folder(t)
				delivery := rotator.Delivery{Kind: "file", Path: dir + "/app.pfx", PasswordPath: dir + "/password", Previous: previous}
				occupied := delivery.Path
				if previous {
					occupied += ".previous"
				}
				write(t, occupied, test.content)
				f := failure(t, d.Deliver(t.Context(), delivery, pack()), rotator.ClassFix, append(test.words, occupied, "--replace")...)
				if !strings.Contains(f.Message, "app contoso-sync: ") {
					t.Errorf("message %q names no app", f.Message)
				}
				checkNames(t, dir, filepath.Base(occupied))
				if !bytes.Equal(read(t, occupied), test.content) {
					t.Error("it was overwritten")
				}
				if !previous && test.name != "our password, not known" && test.name != "PEM, not known" {
					_, err := d.Holds(t.Context(), delivery, []string{password})
					failure(t, err, rotator.ClassFix, append(test.words, occupied)...)
				}
				delivery.Replace = true
				if err := d.Deliver(t.Context(), delivery, pack()); err != nil {
					t.Fatalf("with Replace: %v", err)
				}
				if got, err := d.Holds(t.Context(), delivery, []string{password}); got.Thumbprint != newPair().Thumbprint() || err != nil {
					t.Errorf("Holds = %q, %v with Replace", got, err)
				}
			}
		})
	}
}

func TestPasswordFile(t *testing.T) {
	changed := pack()
	changed.Pair.Password = "a-new-one"
	changed.Pair.Encoded = nil
	for _, test := range []struct {
		name, there, want string
		pack              rotator.Package
		refused, replace  bool
	}{
		{"same", password, password, pack(), false, false},
		{"line end stays", password + "\n", password + "\n", pack(), false, false},
		{"changes", password, "a-new-one", changed, false, false},
		{"empty file", "", password, pack(), false, false},
		{"foreign", "root:x:0:0", "root:x:0:0", pack(), true, false},
		{"foreign, replace", "root:x:0:0", password, pack(), false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &deliver.Deliverer{Encoder: encoder{}}
			dir, other := folder(t), folder(t)
			write(t, other+"/password", []byte(test.there))
			delivery := rotator.Delivery{Kind: "file", Path: dir + "/app.pfx", PasswordPath: other + "/password", Mode: "0640", Replace: test.replace}
			err := d.Deliver(t.Context(), delivery, test.pack)
			if test.refused {
				failure(t, err, rotator.ClassFix, other+"/password is not ours", "--replace")
				checkNames(t, dir)
			} else {
				if err != nil {
					t.Fatal(err)
				}
				checkMode(t, other+"/password", 0o640)
			}
			if got := string(read(t, other+"/password")); got != test.want {
				t.Errorf("password file holds %q, want %q", got, test.want)
			}
			checkNames(t, other, "password")
		})
	}
}

func TestLeftoverRemoved(t *testing.T) {
	log, lines := logged()
	d := &deliver.Deliverer{Encoder: encoder{}, Logger: log}
	dir := folder(t)
	write(t, dir+"/.rotate-"+strings.Repeat("a", 26), newPair().Encoded["modern"])
	write(t, dir+"/.rotate-theirs", nil)
	os.Mkdir(dir+"/.rotate-"+strings.Repeat("b", 26), 0o700)
	delivery := rotator.Delivery{Kind: "file", Path: dir + "/app.pfx"}
	if err := d.Deliver(t.Context(), delivery, pack()); err != nil {
		t.Fatal(err)
	}
	checkNames(t, dir, ".rotate-"+strings.Repeat("b", 26), ".rotate-theirs", "app.pfx")
	if !strings.Contains(lines.String(), "unfinished files") {
		t.Errorf("log %q says nothing of it", lines)
	}
	checkLeaks(t, lines.String())
}

func TestFileConcurrent(t *testing.T) {
	d := &deliver.Deliverer{Encoder: encoder{}}
	dir, other := folder(t), folder(t)
	var group sync.WaitGroup
	for i := range 24 {
		group.Go(func() {
			p := pack()
			if i%2 == 0 {
				p = packOld()
			}
			delivery := rotator.Delivery{Kind: "file", Path: dir + "/app.pfx", PasswordPath: other + "/app.password"}
			if i%3 == 0 { // the folders the other way round
				delivery.Path, delivery.PasswordPath = other+"/second.pfx", dir+"/second.password"
			}
			if err := d.Deliver(t.Context(), delivery, p); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	checkNames(t, dir, "app.pfx", "second.password")
	checkNames(t, other, "app.password", "second.pfx")
}

func TestFileCancelled(t *testing.T) {
	d := &deliver.Deliverer{Encoder: encoder{}}
	dir := folder(t)
	err := d.Deliver(cancelled(), rotator.Delivery{Kind: "file", Path: dir + "/app.pfx"}, pack())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	checkNames(t, dir)
}

func TestFileBadEncoding(t *testing.T) {
	d := &deliver.Deliverer{Encoder: encoder{}}
	dir := folder(t)
	failure(t, d.Deliver(t.Context(), rotator.Delivery{Kind: "file", Path: dir + "/app.pfx", Encoding: "rot13"}, pack()),
		rotator.ClassFix, `"rot13"`, "legacy-des")
	checkNames(t, dir)
}

// closed opens nothing.
type closed struct{ encoder }

func (closed) Decode([]byte, string) (rotator.KeyPair, error) {
	return rotator.KeyPair{}, errors.New("damaged")
}

// TestFileReadBack: a file is good if it is what was written, and that was opened,
// before or now.
func TestFileReadBack(t *testing.T) {
	pair := newPair()
	good, other := pair.Encoded["modern"], oldPair().Encoded["modern"]
	for name, test := range map[string]struct {
		encoder        rotator.Encoder
		written, found []byte
		proven         bool
		problem        string // "": none
	}{
		"what was proven":               {closed{}, good, good, true, ""},
		"proven, but not what is there": {encoder{}, good, other, true, "its content is not what was written"},
		"proven, but it is gone":        {encoder{}, good, nil, true, "it is gone"},
		"made for this delivery":        {encoder{}, good, good, false, ""},
		"made, and it does not open":    {closed{}, good, good, false, "it holds a PFX that none of our passwords opens"},
		"made, and it is another":       {encoder{}, other, other, false, "it holds "},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(folder(t), "app.pfx")
			if test.found != nil {
				write(t, path, test.found)
			}
			d := &deliver.Deliverer{Encoder: test.encoder}
			err := d.ReadBack(path, test.written, test.proven, pair)
			if test.problem != "" {
				failure(t, err, rotator.ClassRetry, "read back "+path+": "+test.problem)
			} else if err != nil {
				t.Errorf("ReadBack = %v", err)
			}
		})
	}
}

// TestClaimOrder shows that one who waits for a folder holds none that comes later.
func TestClaimOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliver.Deliverer{}
		first, err := d.Claim(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			both, err := d.Claim(t.Context(), "b", "a")
			if err != nil {
				t.Error(err)
				return
			}
			both()
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		second, err := d.Claim(ctx, "b")
		if err != nil {
			t.Errorf("b is held by one who waits for a: %v", err)
		} else {
			second()
		}
		first()
		synctest.Wait()
	})
}

// TestFileKeepsReaders makes sure that whoever could read the adopted file reads
// the new one, where the delivery says nothing about mode and group.
func TestFileKeepsReaders(t *testing.T) {
	d := &deliver.Deliverer{Encoder: encoder{}}
	for _, mode := range []os.FileMode{0o600, 0o640, 0o440, 0o400} {
		path := filepath.Join(folder(t), "app.pfx")
		p := pack()
		write(t, path, p.Previous.Encoded["modern"])
		gid := os.Getegid()
		if os.Geteuid() == 0 {
			gid = 12
		}
		if err := os.Chown(path, -1, gid); err != nil {
			t.Fatal(err)
		}
		chmod(t, path, mode)
		if err := d.Deliver(t.Context(), rotator.Delivery{Kind: "file", Path: path}, p); err != nil {
			t.Fatalf("%o: %v", mode, err)
		}
		checkMode(t, path, mode)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || int(s.Gid) != gid {
			t.Errorf("%o: group %d, want %d", mode, s.Gid, gid)
		}
	}
}

// TestP22ReadByTheConsumersGroup delivers into a folder that was made for the
// consumer's group, as the documents advise: its group can read the new files. In
// other folders only their owner can, and what was set wins.
func TestP22ReadByTheConsumersGroup(t *testing.T) {
	for _, c := range []struct {
		name   string
		folder fs.FileMode
		mode   string
		want   fs.FileMode
	}{
		{"folder of a group", fs.ModeSetgid | 0o750, "", 0o640},
		{"folder of a group, mode set", fs.ModeSetgid | 0o750, "0600", 0o600},
		{"folder that the group may not enter", fs.ModeSetgid | 0o700, "", 0o600},
		{"private folder", 0o700, "", 0o600},
		{"folder that all may enter", 0o755, "", 0o600},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t)
			chmod(t, dir, c.folder)
			d := &deliver.Deliverer{Encoder: encoder{}}
			to := rotator.Delivery{Kind: "file", Path: dir + "/app.pfx", PasswordPath: dir + "/app.password", Mode: c.mode}
			if err := d.Deliver(t.Context(), to, pack()); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{to.Path, to.PasswordPath} {
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode().Perm() != c.want {
					t.Errorf("%s has mode %o, want %o", filepath.Base(path), info.Mode().Perm(), c.want)
				}
			}
		})
	}
}
