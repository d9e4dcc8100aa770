package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/seed-f0abd057/rotate/control"
)

// owner is the user that the store belongs to: the one the daemon runs as.
type owner struct {
	uid, gid uint32
}

// ownerOf returns who owns the file or, if it cannot be seen, the nearest folder
// above it.
func ownerOf(path string) (owner, error) {
	for {
		info, err := os.Stat(path)
		if stat, ok := sysOf(info); ok {
			return owner{stat.Uid, stat.Gid}, nil
		}
		above := filepath.Dir(path)
		if above == path {
			return owner{}, err
		}
		path = above
	}
}

func sysOf(info fs.FileInfo) (*syscall.Stat_t, bool) {
	if info == nil {
		return nil, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return stat, ok
}

func (o owner) String() string { return control.UserName(o.uid) }

// name for sudo -u: the login name, or #UID.
func (o owner) name() string {
	if u, err := user.LookupId(strconv.FormatUint(uint64(o.uid), 10)); err == nil {
		return u.Username
	}
	return "'#" + strconv.FormatUint(uint64(o.uid), 10) + "'"
}

// become turns root into the owner, for good or, with saved, until they have to
// finish a file of their own; whoever is the owner already stays
// as they are. Nobody else may go on: files that the command makes would belong
// to the wrong user.
func (o owner) become(args []string, saved *caller) error {
	euid := uint32(os.Geteuid()) //nolint:gosec // a uid
	switch euid {
	case o.uid:
		return nil
	case 0:
	default:
		return withHint(
			fmt.Errorf("the store belongs to %s, and you are %s", o, control.UserName(euid)),
			"run it as that user: "+sudoLine(o, args))
	}
	groups := []int{int(o.gid)}
	gid := int(o.gid)
	if u, err := user.LookupId(strconv.FormatUint(uint64(o.uid), 10)); err == nil {
		if n, err := strconv.Atoi(u.Gid); err == nil {
			gid = n
		}
		if ids, err := u.GroupIds(); err == nil {
			groups = groups[:0]
			for _, id := range ids {
				if n, err := strconv.Atoi(id); err == nil {
					groups = append(groups, n)
				}
			}
		}
	}
	if saved != nil {
		*saved = caller{uid: int(o.uid), gid: gid, was: syscall.Getgid(), isOther: true}
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("become %s: set groups: %w", o, err)
	}
	if saved != nil {
		return saved.leave()
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("become %s: set group: %w", o, err)
	}
	if err := syscall.Setuid(int(o.uid)); err != nil {
		return fmt.Errorf("become %s: %w", o, err)
	}
	return nil
}

// caller is root who became the owner and has a file of their own to finish.
// The zero value is a caller who became nobody else.
type caller struct {
	uid, gid int // of the owner
	was      int // group of the caller
	isOther  bool
}

// sudoLine is the same command line for the owner.
func sudoLine(o owner, args []string) string {
	line := []string{"sudo", "-u", o.name(), "rotate"}
	for _, arg := range args {
		line = append(line, quote(arg))
	}
	return strings.Join(line, " ")
}

// quote makes one word of a shell.
func quote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
