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

// recordItem has the beginnings of a key's first two hashes beside the number of the
// entry, so that nearly every step of a search stays within the node: with half a million
// records each look at an entry is one past the processor's caches.
type recordItem struct {
	head   keyHead
	number uint32
}

type recordPivot struct {
	head keyHead
	key  string
	of   *entryList
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

// compare is negative if the item stands before the pivot.
func (p recordPivot) compare(it *recordItem) int {
	if c := it.head.compare(p.head); c != 0 {
		return c
	}
	return strings.Compare(p.of.at(it.number).key(), p.key)
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

func newRecordTree() recordTree {
	return recordTree{tree[recordItem, recordPivot]{order: recordOrder{}}}
}

// indexTree holds the keys of an index, equal ones by their records.
type indexTree struct {
	tree[indexItem, indexPivot]
}

// indexItem says where a key stands. A tree with the keys themselves, and their entries,
// would be half of all pointers that the garbage collector follows; what a search costs
// more is little beside a page of a list, and reads by name do not come here.
type indexItem struct {
	number uint32 // of the entry
	at     uint32 // see indexKeyAt
}

// read returns the entry and its key.
func (it indexItem) read(of *entryList) (e *entry, key string) {
	e = of.at(it.number)
	k, _ := e.indexKeyAt(it.at)
	return e, k.key
}

// indexPivot with an empty record stands before everything with its key.
type indexPivot struct {
	key, record string
	of          *entryList
}

func (p indexPivot) compare(it indexItem) int {
	e, key := it.read(p.of)
	if c := strings.Compare(key, p.key); c != 0 {
		return c
	}
	return strings.Compare(e.key(), p.record)
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

func newIndexTree() indexTree {
	return indexTree{tree[indexItem, indexPivot]{order: indexOrder{}}}
}

// load fills an empty tree, with keys in any order.
func (t *indexTree) load(keys []loadedKey, of *entryList) {
	sortKeys(keys, of)
	items := make([]indexItem, len(keys))
	for i := range keys {
		items[i] = keys[i].item
	}
	t.build(items)
}

// loadedKey is a key that is to be put into an index.
type loadedKey struct {
	chunk uint64 // eight bytes of it
	key   string
	item  indexItem
}

// sortKeys sorts by index key and record. Keys begin with the same scope for the most
// part, and of very many each look at one is past the processor's caches: so eight bytes of
// each are compared at a time, which lie beside each other, and the next eight only of those
// that agree.
func sortKeys(keys []loadedKey, of *entryList) { sortBelow(keys, 0, of) }

// sortBelow sorts keys that agree up to a depth.
func sortBelow(keys []loadedKey, depth int, of *entryList) {
	longer := false
	for i := range keys {
		var b [8]byte
		if key := keys[i].key; len(key) > depth {
			copy(b[:], key[depth:])
			longer = true
		}
		keys[i].chunk = binary.BigEndian.Uint64(b[:])
	}
	if len(keys) < 32 || !longer {
		slices.SortFunc(keys, func(a, b loadedKey) int {
			if c := cmp.Or(cmp.Compare(a.chunk, b.chunk), strings.Compare(a.key, b.key)); c != 0 {
				return c
			}
			return strings.Compare(of.at(a.item.number).key(), of.at(b.item.number).key())
		})
		return
	}
	slices.SortFunc(keys, func(a, b loadedKey) int { return cmp.Compare(a.chunk, b.chunk) })
	for from := 0; from < len(keys); {
		to := from + 1
		for to < len(keys) && keys[to].chunk == keys[from].chunk {
			to++
		}
		if to-from > 1 {
			sortBelow(keys[from:to], depth+8, of)
		}
		from = to
	}
}
