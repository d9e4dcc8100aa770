package store_test

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/seed-f0abd057/rotate/store"
)

// TestGrantedByAccessList opens a key as systemd hands over credentials: a
// symbolic link to a file whose access list names the service's user.
func TestGrantedByAccessList(t *testing.T) {
	type entry struct {
		tag, rights uint16
		id          uint32
	}
	const none = 1<<32 - 1
	us := uint32(os.Geteuid())
	for _, test := range []struct {
		name string
		acl  []entry
		ok   bool
	}{
		{"us by name", []entry{{1, 4, none}, {2, 4, us}, {4, 0, none}, {16, 4, none}, {32, 0, none}}, true},
		{"somebody else too", []entry{{1, 4, none}, {2, 4, us}, {2, 4, us + 12345}, {4, 0, none}, {16, 4, none}, {32, 0, none}}, false},
		{"a group by name", []entry{{1, 4, none}, {4, 0, none}, {8, 4, 12345}, {16, 4, none}, {32, 0, none}}, false},
		{"its own group", []entry{{1, 4, none}, {2, 4, us}, {4, 4, none}, {16, 4, none}, {32, 0, none}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t)
			acl := binary.LittleEndian.AppendUint32(nil, 2)
			for _, e := range test.acl {
				acl = binary.LittleEndian.AppendUint16(acl, e.tag)
				acl = binary.LittleEndian.AppendUint16(acl, e.rights)
				acl = binary.LittleEndian.AppendUint32(acl, e.id)
			}
			if err := syscall.Setxattr(p.IdentityFile, "system.posix_acl_access", acl, 0); err != nil {
				t.Fatal(err)
			}
			link := p.IdentityFile + ".link"
			if err := os.Symlink(p.IdentityFile, link); err != nil {
				t.Fatal(err)
			}
			p.IdentityFile = link
			s, err := store.Open(t.Context(), p.Options)
			switch {
			case err == nil && test.ok:
				s.Close()
			case err == nil || test.ok || !errors.Is(err, store.ErrPermissions):
				t.Errorf("Open: %v, want it to work: %v", err, test.ok)
			}
		})
	}
}
