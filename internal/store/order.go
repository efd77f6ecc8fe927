package store

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// recordTree holds the records of a table in the order of their keys, which is etcd's.
type recordTree struct {
	tree[recordItem, recordPivot]
}

// recordItem has the beginnings of a key's first two hashes beside the entry, so that
// nearly every step of a search stays within the node: with half a million records each
// look at an entry is one past the processor's caches.
type recordItem struct {
	head keyHead
	e    *entry
}

type recordPivot struct {
	head keyHead
	key  string
}

// keyHead orders keys as the keys themselves do, unless two scopes agree in half of
// their hashes, which are 16 bytes of HMAC-SHA-256; and where heads are equal, keys
// decide.
type keyHead struct{ scope, parent uint64 }

func headOf[K string | []byte](key K) keyHead {
	var b [3 * hashBytes]byte // zero where the key has ended, which is before all others
	copy(b[:], key)
	return keyHead{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[hashBytes:])}
}

func (h keyHead) compare(o keyHead) int {
	if h.scope != o.scope {
		return cmp.Compare(h.scope, o.scope)
	}
	return cmp.Compare(h.parent, o.parent)
}

func pivotOf(key string) recordPivot { return recordPivot{headOf(key), key} }

// compare is negative if the item stands before the pivot.
func (p recordPivot) compare(it *recordItem) int {
	if c := it.head.compare(p.head); c != 0 {
		return c
	}
	return strings.Compare(it.e.key(), p.key)
}

type recordOrder struct{}

func (recordOrder) find(items []recordItem, at recordPivot) (int, bool) {
	i, j := 0, len(items)
	for i < j {
		m := int(uint(i+j) >> 1)
		switch c := at.compare(&items[m]); {
		case c == 0:
			return m, true
		case c < 0:
			i = m + 1
		default:
			j = m
		}
	}
	return i, false
}

func (recordOrder) pivot(it recordItem) recordPivot { return recordPivot{it.head, it.e.key()} }

func newRecordTree() recordTree {
	return recordTree{tree[recordItem, recordPivot]{order: recordOrder{}}}
}

// Get returns the record with a hashed key.
func (t *recordTree) Get(key string) (*entry, bool) {
	it, ok := t.get(pivotOf(key))
	return it.e, ok
}

func (t *recordTree) put(e *entry) { t.set(recordItem{headOf(e.key()), e}) }

func (t *recordTree) delete(key string) { t.remove(pivotOf(key)) }

// Ascend visits the records from a key on.
func (t *recordTree) Ascend(from string, fn func(key string, e *entry) bool) {
	t.ascend(pivotOf(from), func(it recordItem) bool { return fn(it.e.key(), it.e) })
}

// Scan visits all records.
func (t *recordTree) Scan(fn func(key string, e *entry) bool) {
	t.scan(func(it recordItem) bool { return fn(it.e.key(), it.e) })
}

// load fills an empty tree, with entries in any order.
func (t *recordTree) load(entries []*entry) {
	items := make([]recordItem, len(entries))
	for i, e := range entries {
		items[i] = recordItem{headOf(e.key()), e}
	}
	// From etcd they come in order.
	order := func(a, b recordItem) int { return recordPivot{b.head, b.e.key()}.compare(&a) }
	if !slices.IsSortedFunc(items, order) {
		slices.SortFunc(items, order)
	}
	t.build(items)
}

// indexTree holds the keys of an index, equal ones by their records.
type indexTree struct {
	tree[indexItem, indexPivot]
}

type indexItem struct {
	key string
	e   *entry
}

// indexPivot with an empty record stands before everything with its key.
type indexPivot struct{ key, record string }

func (p indexPivot) compare(it indexItem) int {
	if c := strings.Compare(it.key, p.key); c != 0 {
		return c
	}
	return strings.Compare(it.e.key(), p.record)
}

type indexOrder struct{}

func (indexOrder) find(items []indexItem, at indexPivot) (int, bool) {
	i, j := 0, len(items)
	for i < j {
		m := int(uint(i+j) >> 1)
		switch c := at.compare(items[m]); {
		case c == 0:
			return m, true
		case c < 0:
			i = m + 1
		default:
			j = m
		}
	}
	return i, false
}

func (indexOrder) pivot(it indexItem) indexPivot { return indexPivot{it.key, it.e.key()} }

func newIndexTree() indexTree {
	return indexTree{tree[indexItem, indexPivot]{order: indexOrder{}}}
}

// load fills an empty tree, with items in any order.
func (t *indexTree) load(items []indexItem) {
	sortItems(items)
	// An index may list a record several times under one key.
	t.build(slices.CompactFunc(items, func(a, b indexItem) bool { return a == b }))
}

// sortItems sorts by index key and record. Keys begin with the same scope for the most
// part, and of very many each look at one is past the processor's caches: so eight bytes of
// each are compared at a time, which lie beside each other, and the next eight only of those
// that agree.
func sortItems(items []indexItem) {
	chunks := make([]keyChunk, len(items))
	for i := range items {
		chunks[i].item = items[i]
	}
	sortChunks(chunks, 0)
	for i := range items {
		items[i] = chunks[i].item
	}
}

// keyChunk is an item with eight bytes of its key.
type keyChunk struct {
	bytes uint64
	item  indexItem
}

// sortChunks sorts items whose keys agree up to a depth.
func sortChunks(chunks []keyChunk, depth int) {
	longer := false
	for i := range chunks {
		var b [8]byte
		if key := chunks[i].item.key; len(key) > depth {
			copy(b[:], key[depth:])
			longer = true
		}
		chunks[i].bytes = binary.BigEndian.Uint64(b[:])
	}
	if len(chunks) < 32 || !longer {
		slices.SortFunc(chunks, func(a, b keyChunk) int {
			return cmp.Or(cmp.Compare(a.bytes, b.bytes), indexPivot{b.item.key, b.item.e.key()}.compare(a.item))
		})
		return
	}
	slices.SortFunc(chunks, func(a, b keyChunk) int { return cmp.Compare(a.bytes, b.bytes) })
	for from := 0; from < len(chunks); {
		to := from + 1
		for to < len(chunks) && chunks[to].bytes == chunks[from].bytes {
			to++
		}
		if to-from > 1 {
			sortChunks(chunks[from:to], depth+8)
		}
		from = to
	}
}
