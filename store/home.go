package store

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// home tells which file the store was written to.
type home struct {
	// Inode is 0 in a store that was restored: no file has it.
	Inode uint64    `json:"inode"`
	At    time.Time `json:"at"`
	// Restored says from which backup; empty: from none, or it is settled.
	Restored string `json:"restored,omitempty"`
}

// Moved reports whether the file is not the one that this host wrote last: a
// copy, or an earlier one that was put back; and says why. Whoever goes on
// with it may know less than Entra: nothing should be written to Entra before
// a person said so and [Store.Settle] was called.
func (s *Store) Moved() (bool, string) {
	if why := s.moved.Load(); why != nil {
		return true, *why
	}
	return false, ""
}

// Settle makes the file, as it is and where it is, the store. Moved returns
// false from then on.
func (s *Store) Settle(ctx context.Context) error {
	inode, err := s.inode()
	if err != nil {
		return err
	}
	var txid uint64
	err = s.update(ctx, func(t *txn) error {
		txid = uint64(t.tx.ID()) //nolint:gosec // never negative
		return putJSON(t, bucketMeta, []byte(metaHome), home{Inode: inode, At: time.Now().UTC()})
	})
	if err != nil {
		return err
	}
	if err := s.mark.reset(txid); err != nil {
		return fmt.Errorf("store %s: write the mark beside it: %w", s.path, err)
	}
	s.moved.Store(nil)
	return nil
}

// compareHome finds out whether the file was moved; txid is its last
// transaction.
func (s *Store) compareHome(ctx context.Context, txid uint64) error {
	inode, err := s.inode()
	if err != nil {
		return err
	}
	return s.view(ctx, func(t *txn) error {
		home, _, err := getJSON[home](t, bucketMeta, []byte(metaHome))
		if err != nil {
			return err
		}
		var why string
		switch marked := s.mark.txid(); {
		case home.Restored != "":
			why = fmt.Sprintf("the file %s was restored from %s", s.path, home.Restored)
		case home.Inode != inode:
			why = fmt.Sprintf("the file %s is a copy of the store, or was restored (inode %d, the store had %d)", s.path, inode, home.Inode)
		case marked > txid:
			why = fmt.Sprintf("the file %s was replaced by an earlier copy of itself (it ends at transaction %d, this host had written up to %d)", s.path, txid, marked)
		default:
			return nil
		}
		s.moved.Store(&why)
		return nil
	})
}

func (s *Store) inode() (uint64, error) {
	info, err := s.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("store: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("store: the file system tells no inode")
	}
	return stat.Ino, nil
}
