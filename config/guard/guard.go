// Package guard finds who besides root and one user could change a file that decides what
// a program does, or read one that is secret: the configuration, what it includes,
// programs and their scripts, files with passwords and keys.
//
// Start at [Deciding], [Secret] and [Program]. The package changes nothing.
package guard

import (
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
)

const (
	othersWrite = 0o022
	// maxLinks is how many symbolic links a path may lead through, as in Linux.
	maxLinks = 40
)

// Error says who could do what with a file, and how to end that.
type Error struct {
	Problem string
	// Fix is what to type; empty: there is no one way.
	Fix string
}

func (e *Error) Error() string { return e.Problem }

func refuse(fix, format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...), fix}
}

// Deciding refuses, with an [Error], a file or folder that somebody other than root and
// the user could change or exchange. One that does not exist, or cannot be seen, is not
// refused: whoever opens it says more.
func Deciding(path string, uid int) error {
	actual, info, err := find(path, uid)
	if err != nil || info == nil {
		return err
	}
	return deciding(actual, info, uid)
}

func deciding(path string, info fs.FileInfo, uid int) error {
	if problem := Problem(path, info, uid); problem != "" {
		return refuse(fmt.Sprintf("chown root %s; chmod go-w %[1]s", path), "%s", problem)
	}
	return nil
}

// Secret is [Deciding] for a file that only root, the user, and groups of this process
// may read.
func Secret(path string, uid int) error {
	actual, info, err := find(path, uid)
	if err != nil || info == nil {
		return err
	}
	if err := deciding(actual, info, uid); err != nil {
		return err
	}
	_, gid := Owner(info)
	switch mode := info.Mode().Perm(); {
	case mode&0o004 != 0:
		return refuse("chmod o-r "+actual, "everybody can read %s (mode %04o)", actual, mode)
	case mode&0o040 != 0 && uid == os.Geteuid() && !isOwnGroup(gid):
		return refuse("chmod g-r "+actual, "group %s can read %s (mode %04o)", groupName(gid), actual, mode)
	}
	return nil
}

// isOwnGroup reports whether the group is root's or one of this process: access lists,
// such as those of the service manager's credentials, show as rights of the group too.
func isOwnGroup(gid int) bool {
	groups, err := os.Getgroups()
	return gid == 0 || gid == os.Getegid() || err == nil && slices.Contains(groups, gid)
}

// find is [Resolve] without an error for what is not there.
func find(path string, uid int) (string, fs.FileInfo, error) {
	actual, info, err := Resolve(path, uid)
	if _, refused := errors.AsType[*Error](err); err != nil && !refused {
		return "", nil, nil
	}
	return actual, info, err
}

// Resolve follows a path to what it names, symbolic links included, and returns the
// path without them. It refuses with an [Error] every folder on the way in which
// somebody other than root and uid could exchange what comes next: one that belongs
// to somebody else, or that others can write to unless its sticky bit keeps them
// from touching what is not theirs (/tmp). What the path leads to is not judged.
func Resolve(path string, uid int) (string, fs.FileInfo, error) {
	current := "/"
	info, err := os.Lstat(current)
	if err != nil {
		return "", nil, err
	}
	rest := strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if !info.IsDir() {
			return "", nil, refuse("", "%s is not a folder", current)
		}
		sticky := info.Mode()&fs.ModeSticky != 0 && info.Mode()&othersWrite != 0
		if problem := Problem(current, info, uid); problem != "" && (!sticky || !isTrusted(info, uid)) {
			return "", nil, refuse("chown root "+current+"; chmod go-w "+current+"; or choose another path",
				"%s, and %s is reached through it", problem, path)
		}
		next := filepath.Join(current, name) // ".." is the folder above: current has no links in it
		if info, err = os.Lstat(next); err != nil {
			return "", nil, err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			current = next
			continue
		}
		if sticky && !isTrusted(info, uid) {
			return "", nil, refuse("choose another path",
				"the symbolic link %s belongs to %s, and %s is reached through it", next, ownerName(info), path)
		}
		if links++; links > maxLinks {
			return "", nil, refuse("choose another path", "%s leads through too many symbolic links", path)
		}
		destination, err := os.Readlink(next)
		if err != nil {
			return "", nil, err
		}
		if filepath.IsAbs(destination) {
			current = "/"
		}
		if info, err = os.Lstat(current); err != nil {
			return "", nil, err
		}
		rest = append(strings.Split(destination, "/"), rest...)
	}
	return current, info, nil
}

// Problem says how somebody other than root and uid could change a file or folder;
// empty: nobody can.
func Problem(path string, info fs.FileInfo, uid int) string {
	switch mode := info.Mode().Perm(); {
	case !isTrusted(info, uid):
		return fmt.Sprintf("%s belongs to %s instead of %s or root", path, ownerName(info), userName(uid))
	case mode&0o002 != 0:
		return fmt.Sprintf("everybody can write to %s (mode %04o)", path, mode)
	case mode&0o020 != 0:
		_, gid := Owner(info)
		return fmt.Sprintf("group %s can write to %s (mode %04o)", groupName(gid), path, mode)
	}
	return ""
}

func isTrusted(info fs.FileInfo, uid int) bool {
	u, _ := Owner(info)
	return u == 0 || u == uid
}

// Owner returns uid and gid; -1 if the system does not say, which is nobody's.
func Owner(info fs.FileInfo) (uid, gid int) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid), int(s.Gid)
	}
	return -1, -1
}

func ownerName(info fs.FileInfo) string {
	u, _ := Owner(info)
	return userName(u)
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

func groupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}
