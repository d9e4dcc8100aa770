package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/config/guard"
	"github.com/seed-f0abd057/rotate/rotator"
)

// A file delivery puts up to three files in place: the password, the previous pair
// and the target, in this order. All of them are looked at before anything is
// written, and all are written under temporary names and made durable before the
// first is renamed, so that a full disk leaves everything as it was.
//
// While the password stays the same, the switch is the rename of the target and
// nothing else. A new password means two renames: between them, and after a crash
// between them until the delivery runs again, a consumer sees the new password
// beside the old file. A rename that fails undoes those before it.

// previousSuffix names the file with the pair that is being replaced.
const previousSuffix = ".previous"

// target is a file delivery that was found to be well formed.
type target struct {
	path, passwordPath string
	replace, previous  bool
	mode               fs.FileMode // 0: that of the file which is there, else 0600
	gid                int         // -1: the folder's rule
}

// placement is one file to put in place.
type placement struct {
	folder   *folder
	name     string
	content  []byte
	uid, gid int // -1: as created
	mode     fs.FileMode
	// proven tells that the very bytes of content were opened before they came here.
	proven bool
	// held tells that the content is in place already.
	held bool
	temp string
	// kept is a second name of the file that is replaced, while the switch may fail.
	kept string
}

func (p *placement) path() string { return filepath.Join(p.folder.path, p.name) }

// newTarget checks what can be seen in the delivery itself.
func newTarget(d rotator.Delivery) (*target, error) {
	t := &target{path: d.Path, passwordPath: d.PasswordPath, replace: d.Replace, previous: d.Previous, gid: -1}
	if err := checkPath("path", d.Path); err != nil {
		return nil, err
	}
	if d.PasswordPath != "" {
		if err := checkPath("password_path", d.PasswordPath); err != nil {
			return nil, err
		}
		if d.PasswordPath == d.Path || d.PasswordPath == d.Path+previousSuffix {
			return nil, fixf("choose another password_path",
				"path and password_path would write to the same file %s", d.PasswordPath)
		}
	}
	switch d.Mode {
	case "":
	case "600", "0600":
		t.mode = 0o600
	case "640", "0640":
		t.mode = 0o640
	case "400", "0400":
		t.mode = 0o400
	case "440", "0440":
		t.mode = 0o440
	default:
		return nil, fixf("use 0600, 0640, 0400 or 0440",
			"mode %q is not allowed: the file holds a private key, which others may not read and the group may not change", d.Mode)
	}
	if d.Group != "" {
		gid, err := groupID(d.Group)
		if err != nil {
			return nil, err
		}
		t.gid = gid
	}
	return t, nil
}

func checkPath(key, path string) error {
	switch {
	case path == "":
		return fixf("give the absolute path of a file", "%s is empty", key)
	case strings.ContainsFunc(path, unicode.IsControl):
		return fixf("choose another path", "%s %q has control characters", key, path)
	case !filepath.IsAbs(path):
		return fixf("give the absolute path of a file", "%s %q is not absolute", key, path)
	case path != filepath.Clean(path) || path == "/":
		return fixf("give the path of a file, without \"..\", \"//\" or a \"/\" at the end", "%s %q does not name a file plainly", key, path)
	case strings.HasPrefix(filepath.Base(path), tempPrefix):
		return fixf("choose another name", "%s %s begins with %q, which names unfinished files", key, path, tempPrefix)
	}
	return nil
}

// groupID accepts a name or a number and refuses a group that the process cannot
// give files to.
func groupID(name string) (int, error) {
	gid, err := strconv.Atoi(name)
	if err != nil {
		g, err := user.LookupGroup(name)
		if err != nil {
			f := fixf("create it, or correct the name", "there is no group %q on this host", name)
			f.Err = err
			return 0, f
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return 0, fmt.Errorf("group %q has the id %q: %w", name, g.Gid, err)
		}
	}
	if gid < 0 {
		return 0, fixf("correct the group", "group %q is not a group", name)
	}
	return gid, nil
}

// mayGive reports why files in the folder could not get the group.
func (t *target) mayGive(f *folder) error {
	_, folderGID := guard.Owner(f.info)
	if t.gid < 0 || os.Geteuid() == 0 || t.gid == os.Getegid() ||
		(t.gid == folderGID && f.info.Mode()&fs.ModeSetgid != 0) {
		return nil
	}
	groups, err := os.Getgroups()
	if err != nil {
		return system("read the groups of the process", err)
	}
	if slices.Contains(groups, t.gid) {
		return nil
	}
	return fixf(
		fmt.Sprintf("chown %s:%s %s; chmod 2750 %s; or add user %[1]s to the group", userName(f.uid), groupName(t.gid), f.path, f.path),
		"user %s is not in group %s and cannot give files in %s to it", userName(os.Geteuid()), groupName(t.gid), f.path)
}

// open opens the folder of a path and checks that files can be put there.
func (t *target) open(path string, uid int) (*folder, error) {
	f, err := openFolder(filepath.Dir(path), uid)
	if err != nil {
		return nil, err
	}
	if err = t.mayGive(f); err == nil {
		err = f.writable()
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// open opens the folders of the target and of the password file, which may be one.
func (d *Deliverer) open(delivery rotator.Delivery) (t *target, dir, passwordDir *folder, err error) {
	if t, err = newTarget(delivery); err != nil {
		return nil, nil, nil, err
	}
	if dir, err = t.open(t.path, d.uid()); err != nil {
		return nil, nil, nil, err
	}
	if err = d.permit(filepath.Join(dir.path, filepath.Base(t.path))); err != nil {
		dir.close()
		return nil, nil, nil, err
	}
	if t.previous {
		if err = d.permit(filepath.Join(dir.path, filepath.Base(t.path)+previousSuffix)); err != nil {
			dir.close()
			return nil, nil, nil, err
		}
	}
	passwordDir = dir
	if t.passwordPath != "" && filepath.Dir(t.passwordPath) != filepath.Dir(t.path) {
		if passwordDir, err = t.open(t.passwordPath, d.uid()); err != nil {
			dir.close()
			return nil, nil, nil, err
		}
	}
	if t.passwordPath != "" {
		if err = d.permit(filepath.Join(passwordDir.path, filepath.Base(t.passwordPath))); err != nil {
			dir.close()
			passwordDir.close()
			return nil, nil, nil, err
		}
	}
	return t, dir, passwordDir, nil
}

func (d *Deliverer) checkFile(delivery rotator.Delivery) error {
	t, dir, passwordDir, err := d.open(delivery)
	if err != nil {
		return err
	}
	defer dir.close()
	defer passwordDir.close()
	if _, err := t.place(dir, filepath.Base(t.path), nil); err != nil {
		return err
	}
	if t.previous {
		if _, err := t.place(dir, filepath.Base(t.path)+previousSuffix, nil); err != nil {
			return err
		}
	}
	if t.passwordPath != "" {
		_, err = t.place(passwordDir, filepath.Base(t.passwordPath), nil)
	}
	return err
}

// occupied is a placement and what lies in its place now.
type occupied struct {
	placement
	found
}

// place looks at where a file is to go and decides who will own it: whoever owns
// the file that is there, as far as the process may give files away.
func (t *target) place(f *folder, name string, content []byte) (*occupied, error) {
	there, err := f.look(name)
	if err != nil {
		return nil, err
	}
	if err := replaceable(filepath.Join(f.path, name)); err != nil {
		return nil, err
	}
	p := &occupied{placement{folder: f, name: name, content: content, uid: -1, gid: t.gid, mode: t.mode}, there}
	if p.mode == 0 {
		p.mode = 0o600
	}
	if there.info == nil {
		if t.mode == 0 {
			t.byFolder(&p.placement)
		}
		return p, nil
	}
	uid, gid := guard.Owner(there.info)
	kept := []fs.FileMode{0o600, 0o640, 0o400, 0o440}
	if mode := there.info.Mode().Perm(); t.mode == 0 && slices.Contains(kept, mode) {
		p.mode = mode // who could read the old file reads the new one
	}
	switch {
	case uid == os.Geteuid():
	case os.Geteuid() == 0:
		p.uid = uid
	case p.mode&0o040 == 0:
		return nil, fixf(
			fmt.Sprintf("let it read by group: chown %s:CONSUMER %s; chmod 2750 %[2]s; and set mode 0640 on the delivery", userName(f.uid), f.path),
			"%s belongs to user %s, who could not read the new file", p.path(), userName(uid))
	}
	if t.gid < 0 && os.Geteuid() == 0 {
		p.gid = gid
	}
	return p, nil
}

// byFolder lets the group read a new file where the folder was made for a group: it
// may enter the folder, and the file gets it. Else a consumer of another user would
// find a file that it cannot read.
func (t *target) byFolder(p *placement) {
	_, gid := guard.Owner(p.folder.info)
	mode := p.folder.info.Mode()
	if mode&0o010 == 0 || t.gid >= 0 && t.gid != gid {
		return
	}
	switch inherited := mode&fs.ModeSetgid != 0; {
	case inherited, t.gid >= 0:
	case mode&0o001 == 0 && gid != 0 && gid != os.Getegid() && (&target{gid: gid}).mayGive(p.folder) == nil:
		p.gid = gid
	default:
		return // the group of the folder is nobody's in particular
	}
	p.mode = 0o640
}

func (d *Deliverer) deliverFile(ctx context.Context, delivery rotator.Delivery, p rotator.Package) error {
	t, dir, passwordDir, err := d.open(delivery)
	if err != nil {
		return err
	}
	defer dir.close()
	defer passwordDir.close()
	release, err := d.claim(ctx, dir.path, passwordDir.path)
	if err != nil {
		return err
	}
	defer release()
	for _, f := range []*folder{dir, passwordDir} {
		removed, err := f.tidy()
		if err != nil {
			return system("remove unfinished files in "+f.path, err)
		}
		if removed > 0 {
			d.logger().WarnContext(ctx, "unfinished files of an earlier run removed", "app", p.App, "path", f.path, "count", removed)
		}
	}

	encoding := encodingOf(delivery.Encoding, p.Encoding)
	main, err := d.pairAt(t, dir, filepath.Base(t.path), p.Pair, encoding, p)
	if err != nil {
		return err
	}
	var files []*placement
	if t.passwordPath != "" && encoding != encodingPEM { // a PEM file has no password
		password, err := passwordAt(t, passwordDir, p)
		if err != nil {
			return err
		}
		files = append(files, password)
	}
	if t.previous && !p.Previous.IsZero() {
		previous, err := d.pairAt(t, dir, filepath.Base(t.path)+previousSuffix, p.Previous, encoding, p)
		if err != nil {
			return err
		}
		files = append(files, previous)
	}
	files = append(files, main)
	if err := put(ctx, files); err != nil {
		return err
	}
	return d.readBack(main, p.Pair)
}

// pairAt prepares a file with a key pair. It refuses to replace what is not ours.
func (d *Deliverer) pairAt(t *target, f *folder, name string, pair rotator.KeyPair, encoding string, p rotator.Package) (*placement, error) {
	content, proven, err := d.encoded(pair, encoding)
	if err != nil {
		return nil, err
	}
	o, err := t.place(f, name, content)
	if err != nil {
		return nil, err
	}
	o.proven = proven
	if o.info == nil {
		return &o.placement, nil
	}
	passwords := append([]string{pair.Password}, p.Passwords...)
	thumbprint, password, known := d.remembered(o.data, passwords)
	var there opened
	if !known || o.unreadable != nil {
		if there, err = d.decode(o.found, passwords); err == nil {
			thumbprint, password = there.pair.Thumbprint(), there.password
		}
	}
	if err == nil {
		switch {
		case thumbprint == pair.Thumbprint():
			o.held = bytes.Equal(o.data, content) ||
				!proven && password == pair.Password && isPEM(o.data) == (encoding == encodingPEM)
			return &o.placement, nil
		case slices.Contains(p.Known, thumbprint), thumbprint == p.Pair.Thumbprint(), thumbprint == p.Previous.Thumbprint():
			return &o.placement, nil
		}
		if there, err = d.decode(o.found, passwords); err == nil {
			err = errors.New(describe(there.pair.Certificate))
		}
	}
	if t.replace {
		return &o.placement, nil
	}
	return nil, fixf(
		"look at it; if it may be overwritten: "+overwrite(p.App, t.path)+"; else choose another path",
		"%s is not ours and was left as it is: it holds %v", o.path(), err)
}

// overwrite is the command that lets a delivery replace what is not ours.
func overwrite(app, path string) string {
	return "rotate app edit " + app + " --deliver-file " + path + " --replace (with the app's other deliveries, if it has any)"
}

// passwordAt prepares the password file. It refuses to replace what is no password
// of ours; a line end after the password is left as it is.
func passwordAt(t *target, f *folder, p rotator.Package) (*placement, error) {
	if !rotator.IsDeliverable(p.Pair.Password) {
		return nil, fixf("have a new one made: rotate app edit "+p.App+" --new-password",
			"the password of the key pair is not one printable line of at most 128 characters; it is not written to %s", t.passwordPath)
	}
	o, err := t.place(f, filepath.Base(t.passwordPath), []byte(p.Pair.Password))
	if err != nil {
		return nil, err
	}
	if o.info == nil {
		return &o.placement, nil
	}
	there := strings.TrimRight(string(o.data), "\r\n")
	switch {
	case o.unreadable == nil && there == p.Pair.Password:
		o.held, o.content = true, o.data
	case o.unreadable == nil && slices.Contains(p.Passwords, there), t.replace, o.unreadable == nil && len(o.data) == 0:
	case o.unreadable != nil:
		return nil, o.unreadable
	default:
		return nil, fixf(
			"look at it; if it may be overwritten: "+overwrite(p.App, t.path)+"; else choose another password_path",
			"%s is not ours and was left as it is: it holds something that is no password of this app", o.path())
	}
	return &o.placement, nil
}

// put brings all files in place: first each under a temporary name, then all
// renames. If one of them fails, those before it are undone: a consumer never keeps a
// new password beside the old file.
func put(ctx context.Context, files []*placement) (err error) {
	defer func() {
		for _, p := range files {
			err = errors.Join(err, p.forget())
		}
	}()
	for _, p := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.held {
			if err := p.correct(); err != nil {
				return system("set owner and mode of "+p.path(), err)
			}
			continue
		}
		if p.temp, err = p.folder.stage(p.content, p.uid, p.gid, p.mode); err != nil {
			return system("write "+p.path(), err)
		}
	}
	var switched []*placement
	back := func(err error) error {
		for _, p := range slices.Backward(switched) {
			err = errors.Join(err, p.undo())
		}
		return err
	}
	for i, p := range files {
		if p.temp == "" {
			continue
		}
		if i < len(files)-1 { // the last one ends the switch
			if err := p.keep(); err != nil {
				return back(err)
			}
		}
		if err := p.folder.root.Rename(p.temp, p.name); err != nil {
			return back(system("put "+p.path()+" in place", err))
		}
		p.temp = ""
		switched = append(switched, p)
		if err := p.folder.sync(); err != nil {
			return system("make "+p.path()+" durable", err)
		}
	}
	return nil
}

// correct gives a file that stays its group and mode, and makes it durable: whoever put
// it there may not have, and what a consumer reads must outlast a power loss together.
func (p *placement) correct() error {
	file, err := p.folder.root.OpenFile(p.name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	if err := settle(file, -1, p.gid, p.mode); err != nil {
		return err
	}
	return file.Sync()
}

// readBack compares the target with what was written, and opens it as a consumer
// would, unless these very bytes were opened already: that costs as much as a signature.
func (d *Deliverer) readBack(p *placement, pair rotator.KeyPair) error {
	there, err := p.folder.look(p.name)
	if err != nil {
		return err
	}
	problem := "it is gone"
	if there.info != nil {
		if p.proven && there.unreadable == nil && bytes.Equal(there.data, p.content) {
			d.remember(there.data, pair.Password, pair.Thumbprint())
			return nil
		}
		opened, err := d.decode(there, []string{pair.Password})
		switch {
		case there.unreadable != nil:
			return there.unreadable
		case !bytes.Equal(there.data, p.content) && !p.held:
			problem = "its content is not what was written"
		case err != nil:
			problem = "it holds " + err.Error()
		case opened.pair.Thumbprint() != pair.Thumbprint():
			problem = "it holds " + describe(opened.pair.Certificate)
		default:
			return nil
		}
	}
	return &rotator.Failure{
		Class: rotator.ClassRetry, Reason: rotator.ReasonOther,
		Message: fmt.Sprintf("read back %s: %s", p.path(), problem),
		Next:    "find out which other program writes to it",
	}
}

func (d *Deliverer) fileHolds(delivery rotator.Delivery, passwords []string) (rotator.Target, error) {
	t, err := newTarget(delivery)
	if err != nil {
		return rotator.Target{}, err
	}
	if err := d.permit(filepath.Join(actual(filepath.Dir(t.path)), filepath.Base(t.path))); err != nil {
		return rotator.Target{}, err // said before anything is uploaded
	}
	root, err := os.OpenRoot(filepath.Dir(t.path))
	if errors.Is(err, fs.ErrNotExist) {
		return rotator.Target{}, nil
	}
	if err != nil {
		return rotator.Target{}, system("open folder "+filepath.Dir(t.path), err)
	}
	f := &folder{path: filepath.Dir(t.path), root: root}
	defer f.close()
	there, err := f.look(filepath.Base(t.path))
	if err != nil || there.info == nil {
		return rotator.Target{}, err
	}
	if err := replaceable(t.path); err != nil {
		return rotator.Target{}, err // said before anything is uploaded, and by app test
	}
	if there.unreadable != nil {
		return rotator.Target{}, there.unreadable
	}
	if known, _, ok := d.remembered(there.data, passwords); ok {
		return rotator.Target{Thumbprint: known, File: identityOf(there.info)}, nil
	}
	opened, err := d.decode(there, passwords)
	if err != nil {
		return rotator.Target{}, fixf("find out who wrote it; if it may be overwritten: "+overwrite("APP", t.path), "%s holds %v", t.path, err)
	}
	return rotator.Target{Thumbprint: opened.pair.Thumbprint(), File: identityOf(there.info)}, nil
}

// identityOf names this very file: another one in its place, or one that was written
// since, has another name, also with the same content.
func identityOf(info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d/%d/%d/%s", stat.Dev, stat.Ino, stat.Size, changedAt(stat))
}

// maxRemembered bounds how many opened files are remembered.
const maxRemembered = 1024

// fileKey is the digest of a file and a password that opened it.
func fileKey(data []byte, password string) [sha256.Size]byte {
	sum := sha256.Sum256(data)
	return sha256.Sum256(append(sum[:], password...))
}

// remember notes which certificate a password showed in a file, so that looking
// at the same bytes again derives no key: that costs as much as a signature, and
// a rotation looks at its targets in every phase.
func (d *Deliverer) remember(data []byte, password string, thumbprint rotator.Thumbprint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) >= maxRemembered {
		d.known = map[[sha256.Size]byte]rotator.Thumbprint{}
	}
	d.known[fileKey(data, password)] = thumbprint
}

// remembered finds what one of the passwords is known to show in the file.
func (d *Deliverer) remembered(data []byte, passwords []string) (thumbprint rotator.Thumbprint, password string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, password := range append(slices.Clone(passwords), "") {
		if thumbprint, ok := d.known[fileKey(data, password)]; ok {
			return thumbprint, password, true
		}
	}
	return "", "", false
}

// opened is a pair and what opened it.
type opened struct {
	pair     rotator.KeyPair
	password string
}

// decode opens what was found with the passwords in turn, then the empty one. Its
// error completes the sentence "it holds …".
func (d *Deliverer) decode(there found, passwords []string) (opened, error) {
	if there.unreadable != nil {
		return opened{}, fmt.Errorf("something that cannot be read: %w", there.unreadable)
	}
	for _, password := range append(slices.Clone(passwords), "") {
		if pair, err := d.Encoder.Decode(there.data, password); err == nil {
			d.remember(there.data, password, pair.Thumbprint())
			return opened{pair, password}, nil
		}
	}
	block, _ := pem.Decode(there.data)
	switch {
	case len(there.data) == 0:
		return opened{}, errors.New("nothing: it is empty")
	case isPFX(there.data):
		return opened{}, errors.New("a PFX that none of our passwords opens")
	case block != nil && block.Type == "CERTIFICATE":
		return opened{}, errors.New(describe(block.Bytes) + " without a usable private key")
	case block != nil:
		return opened{}, fmt.Errorf("a PEM file (%.40q) that is no usable key pair", block.Type)
	}
	return opened{}, errors.New("something that is not a PFX")
}

func isPEM(data []byte) bool {
	block, _ := pem.Decode(data)
	return block != nil
}

// isPFX recognises the outer sequence of PKCS#12 and its version 3, RFC 7292
// section 4.
func isPFX(data []byte) bool {
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(data, &outer); err != nil || outer.Tag != asn1.TagSequence {
		return false
	}
	var version int
	_, err := asn1.Unmarshal(outer.Bytes, &version)
	return err == nil && version == 3
}

// describe names a certificate for people.
func describe(der []byte) string {
	subject := "that cannot be read"
	if c, err := x509.ParseCertificate(der); err == nil {
		subject = fmt.Sprintf("%.80q", c.Subject.String())
	}
	return fmt.Sprintf("the certificate %s with SHA-1 thumbprint %s (SHA-256 %s)",
		subject, rotator.ThumbprintSHA1(der), rotator.ThumbprintOf(der))
}
