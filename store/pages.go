package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
)

// pages reads a bbolt file without mapping it and without bbolt, and judges
// it. bbolt has checksums on its two meta pages only: on a damaged file it
// panics, faults, recurses for ever or returns other data. What passes here in
// full holds what was written, provided that visit compares the checksums and
// sums of the records: every page is reached once or free, and every byte that
// matters is part of a checksum, an order or a count.
//
// Page layout: go.etcd.io/bbolt/internal/common, page.go, meta.go, inode.go
// and bucket.go; numbers are in the byte order of the machine.
type pages struct {
	file io.ReaderAt
	meta metaPage
	// full reads the leaves too; otherwise branches only, which are about one
	// page in fifty.
	full bool
	// visit is called for each record that is read.
	visit func(bucket string, key, value []byte) error

	seen    []uint64 // one bit per page: reached, or free
	buckets []string
}

type metaPage struct {
	pageSize, root, freelist uint64
	// next is the number of the first page that was never used.
	next, txid uint64
}

// offset of a page, or of the end of the one before, in the file.
func (m metaPage) offset(id uint64) int64 {
	return int64(id * m.pageSize) //nolint:gosec // readMeta saw that it fits
}

const (
	pageHeaderBytes = 16
	elementBytes    = 16
	metaBytes       = 64

	metaMagic   = 0xED0CDAED
	metaVersion = 2
	noFreelist  = ^uint64(0)

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10

	bucketElement = 0x01
)

// readMeta reads both meta pages and returns the newer one. Both must be
// sound: bbolt alone would go on with the older one if the newer one is
// damaged, and so forget the last transaction. That a power cut tears a meta
// page needs no room: its 64 bytes lie within one sector. The transactions of
// the two follow each other, for each is written in place of the older one.
func readMeta(file *os.File) (metaPage, error) {
	info, err := file.Stat()
	if err != nil {
		return metaPage{}, err
	}
	first, err := readMetaAt(file, 0)
	if err != nil {
		return metaPage{}, fmt.Errorf("first meta page: %w", err)
	}
	second, err := readMetaAt(file, first.offset(1))
	if err != nil {
		return metaPage{}, fmt.Errorf("second meta page: %w", err)
	}
	older, newer := first, second
	if first.txid > second.txid {
		older, newer = second, first
	}
	switch {
	case older.txid+1 != newer.txid:
		return metaPage{}, fmt.Errorf("the meta pages are of transactions %d and %d: one of them was put back", older.txid, newer.txid)
	case first.pageSize != second.pageSize:
		return metaPage{}, errors.New("the meta pages differ in page size")
	case newer.next < 4 || newer.next > math.MaxInt64/newer.pageSize || newer.offset(newer.next) > info.Size():
		return metaPage{}, fmt.Errorf("it has %d bytes, its %d pages of %d bytes need more: it was cut off",
			info.Size(), newer.next, newer.pageSize)
	}
	return newer, nil
}

func readMetaAt(file io.ReaderAt, offset int64) (metaPage, error) {
	page := make([]byte, pageHeaderBytes+metaBytes)
	if _, err := file.ReadAt(page, offset); err != nil {
		if errors.Is(err, io.EOF) {
			return metaPage{}, errors.New("it was cut off")
		}
		return metaPage{}, err
	}
	m := page[pageHeaderBytes:]
	order := binary.NativeEndian
	sum := fnv.New64a()
	_, _ = sum.Write(m[:metaBytes-8])
	switch {
	case order.Uint32(m) != metaMagic:
		return metaPage{}, errors.New("it is not a database file")
	case order.Uint32(m[4:]) != metaVersion:
		return metaPage{}, fmt.Errorf("database format %d, not %d", order.Uint32(m[4:]), metaVersion)
	case order.Uint64(m[metaBytes-8:]) != sum.Sum64():
		return metaPage{}, errors.New("its checksum does not match")
	}
	meta := metaPage{
		pageSize: uint64(order.Uint32(m[8:])),
		root:     order.Uint64(m[16:]),
		freelist: order.Uint64(m[32:]),
		next:     order.Uint64(m[40:]),
		txid:     order.Uint64(m[48:]),
	}
	if meta.pageSize < 1024 || meta.pageSize > 1<<24 || meta.pageSize&(meta.pageSize-1) != 0 {
		return metaPage{}, fmt.Errorf("page size %d", meta.pageSize)
	}
	return meta, nil
}

// check walks the file. An error tells what is wrong and at which page or
// record; the context's error if it was cancelled.
func (p *pages) check(ctx context.Context) error {
	p.seen = make([]uint64, p.meta.next/64+1)
	p.buckets = nil
	if err := p.mark(0, 2); err != nil {
		return err
	}
	if err := p.readFreelist(); err != nil {
		return fmt.Errorf("list of free pages: %w", err)
	}
	root := &tree{pages: p, leafDepth: -1}
	if err := root.walk(ctx, p.meta.root, 0, nil, nil); err != nil {
		return err
	}
	if !p.full {
		return nil
	}
	for id := range p.meta.next {
		if p.seen[id/64]&(1<<(id%64)) == 0 {
			return fmt.Errorf("page %d is neither used nor free", id)
		}
	}
	return nil
}

// mark notes n pages as taken, each of which nothing else may have taken.
func (p *pages) mark(id, n uint64) error {
	if id >= p.meta.next || n > p.meta.next-id {
		return fmt.Errorf("page %d (%d pages) lies behind the end", id, n)
	}
	for ; n > 0; id, n = id+1, n-1 {
		if p.seen[id/64]&(1<<(id%64)) != 0 {
			return fmt.Errorf("page %d is used twice", id)
		}
		p.seen[id/64] |= 1 << (id % 64)
	}
	return nil
}

// read returns a page with its overflow, after marking it.
func (p *pages) read(id uint64) ([]byte, error) {
	header := make([]byte, pageHeaderBytes)
	if id < 2 || id >= p.meta.next {
		return nil, fmt.Errorf("page %d lies outside of the file", id)
	}
	if _, err := p.file.ReadAt(header, p.meta.offset(id)); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	if self := binary.NativeEndian.Uint64(header); self != id {
		return nil, fmt.Errorf("page %d calls itself %d", id, self)
	}
	n := uint64(binary.NativeEndian.Uint32(header[12:])) + 1
	if err := p.mark(id, n); err != nil {
		return nil, err
	}
	page := make([]byte, n*p.meta.pageSize)
	if _, err := p.file.ReadAt(page, p.meta.offset(id)); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	return page, nil
}

func (p *pages) readFreelist() error {
	if p.meta.freelist == noFreelist {
		return errors.New("there is none")
	}
	page, err := p.read(p.meta.freelist)
	if err != nil {
		return err
	}
	order := binary.NativeEndian
	if flags := order.Uint16(page[8:]); flags != freelistPage {
		return fmt.Errorf("page %d is of kind %#x", p.meta.freelist, flags)
	}
	n, ids := uint64(order.Uint16(page[10:])), page[pageHeaderBytes:]
	if n == 0xFFFF { // the number itself stands in front of the list
		n, ids = order.Uint64(ids), ids[8:]
	}
	if n > uint64(len(ids))/8 {
		return fmt.Errorf("it names %d pages, more than it has room for", n)
	}
	for i := range n {
		if err := p.mark(order.Uint64(ids[8*i:]), 1); err != nil {
			return err
		}
	}
	return nil
}

// tree is one bucket: a B+ tree of pages.
type tree struct {
	*pages
	// bucket is the name; empty for the root, whose records are buckets.
	bucket string
	// leafDepth is how deep the leaves lie; -1 until one was reached.
	leafDepth int
}

// walk checks the page and what hangs below it. All keys must lie in
// [low, high); a nil high is open.
func (t *tree) walk(ctx context.Context, id uint64, depth int, low, high []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !t.full && t.bucket != "" && depth == t.leafDepth {
		return nil
	}
	page, err := t.read(id)
	if err != nil {
		return err
	}
	order := binary.NativeEndian
	count, flags := int(order.Uint16(page[10:])), order.Uint16(page[8:])
	switch flags {
	case leafPage:
		if t.leafDepth == -1 {
			t.leafDepth = depth
		}
		if depth != t.leafDepth {
			return fmt.Errorf("page %d is a leaf at depth %d, others at %d", id, depth, t.leafDepth)
		}
		if err := t.leaf(ctx, page, low, high); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		return nil
	case branchPage:
	default:
		return fmt.Errorf("page %d is of kind %#x", id, flags)
	}

	if count == 0 || pageHeaderBytes+count*elementBytes > len(page) {
		return fmt.Errorf("page %d has %d branches", id, count)
	}
	keys, children := make([][]byte, count), make([]uint64, count)
	for i := range count {
		at := pageHeaderBytes + i*elementBytes
		element := page[at:]
		key, err := cut(page, at, order.Uint32(element), order.Uint32(element[4:]))
		if err != nil {
			return fmt.Errorf("page %d, branch %d: %w", id, i, err)
		}
		if err := ordered(key, low, high); err != nil {
			return fmt.Errorf("page %d, branch %d: %w", id, i, err)
		}
		keys[i], children[i], low = key, order.Uint64(element[8:]), after(key)
	}
	for i, child := range children {
		end := high
		if i+1 < count {
			end = keys[i+1]
		}
		if err := t.walk(ctx, child, depth+1, keys[i], end); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks the records of one leaf page.
func (t *tree) leaf(ctx context.Context, page, low, high []byte) error {
	order := binary.NativeEndian
	count := int(order.Uint16(page[10:]))
	if pageHeaderBytes+count*elementBytes > len(page) {
		return fmt.Errorf("%d records have no room", count)
	}
	for i := range count {
		at := pageHeaderBytes + i*elementBytes
		element := page[at:]
		pos, keySize := order.Uint32(element[4:]), order.Uint32(element[8:])
		key, err := cut(page, at, pos, keySize)
		if err != nil {
			return fmt.Errorf("record %d: key: %w", i, err)
		}
		value, err := cut(page, at+len(key), pos, order.Uint32(element[12:]))
		if err != nil {
			return fmt.Errorf("record %d: value: %w", i, err)
		}
		if err := ordered(key, low, high); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		low = after(key)
		isBucket := order.Uint32(element)&bucketElement != 0
		switch {
		case isBucket != (t.bucket == ""):
			return fmt.Errorf("record %d: records and buckets are mixed", i)
		case isBucket:
			err = t.enter(ctx, string(key), value)
		default:
			err = t.visit(t.bucket, key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// enter walks the bucket that a record of the root describes: the page of its
// root, or zero and the one page that it has.
func (p *pages) enter(ctx context.Context, name string, value []byte) error {
	if len(value) < 16 {
		return fmt.Errorf("bucket %q has no description", name)
	}
	p.buckets = append(p.buckets, name)
	t := &tree{pages: p, bucket: name, leafDepth: -1}
	var err error
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		err = t.walk(ctx, root, 0, nil, nil)
	} else {
		page := value[16:]
		if len(page) < pageHeaderBytes || binary.NativeEndian.Uint16(page[8:]) != leafPage {
			return fmt.Errorf("bucket %q: no leaf", name)
		}
		err = t.leaf(ctx, page, nil, nil)
	}
	if err != nil {
		return fmt.Errorf("bucket %q: %w", name, err)
	}
	return nil
}

func cut(page []byte, at int, pos, size uint32) ([]byte, error) {
	begin := uint64(at) + uint64(pos) //nolint:gosec // an offset is never negative
	end := begin + uint64(size)
	if end > uint64(len(page)) {
		return nil, fmt.Errorf("bytes %d to %d lie outside of the page", begin, end)
	}
	return page[begin:end], nil
}

func ordered(key, low, high []byte) error {
	if bytes.Compare(key, low) < 0 || high != nil && bytes.Compare(key, high) >= 0 {
		return fmt.Errorf("key %q is out of order", key)
	}
	return nil
}

// after returns the smallest key behind key.
func after(key []byte) []byte { return append(bytes.Clone(key), 0) }
