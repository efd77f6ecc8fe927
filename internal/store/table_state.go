package store

import (
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// tableState is one table at one revision. Its parts share nodes with those of other
// revisions and copy them before the first change (copy on write), so a published
// tableState never changes.
type tableState struct {
	rev     int64 // of the last change to the table, or a later one
	entries entryList
	records recordTree
	finder  *finder
	indexes []indexTree // as in table.indexes

	// The numbers that entries were given, of a state that goes on changing: used are the
	// lowest ones but for those that are free again.
	used uint32
	free []uint32
}

func emptyTableState(t *table) tableState {
	ts := tableState{records: newRecordTree(), finder: newFinder(0)}
	for range t.indexes {
		ts.indexes = append(ts.indexes, newIndexTree())
	}
	return ts
}

// copy returns a state for others to read while ts goes on changing.
func (ts *tableState) copy() tableState {
	out := tableState{
		rev: ts.rev, entries: ts.entries.copy(), records: recordTree{ts.records.copy()}, finder: ts.finder,
		indexes: make([]indexTree, len(ts.indexes)),
	}
	for i := range ts.indexes {
		out.indexes[i] = indexTree{ts.indexes[i].copy()}
	}
	return out
}

// load fills an empty state with entries in any order, which it sorts; the trees of a
// large table are built side by side.
func (ts *tableState) load(entries []*entry) {
	// From etcd they come in order.
	items := make([]loadedRecord, len(entries))
	for i, e := range entries {
		items[i] = loadedRecord{headOf(e.key()), e}
	}
	if !slices.IsSortedFunc(items, loadedRecord.compare) {
		slices.SortFunc(items, loadedRecord.compare)
	}
	ts.finder = newFinder(len(items))
	records := make([]recordItem, len(items))
	keys := make([][]loadedKey, len(ts.indexes))
	for i, it := range items {
		n := uint32(i)
		ts.entries.set(n, it.e)
		ts.finder.add(it.e.key(), n)
		records[i] = recordItem{it.head, n}
		for k := range it.e.indexKeys() {
			keys[k.index] = append(keys[k.index], loadedKey{key: k.key, item: indexItem{n, k.at}})
		}
	}
	ts.used = uint32(len(items))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	g.Go(func() error {
		ts.records.build(records)
		return nil
	})
	for i := range keys {
		g.Go(func() error {
			ts.indexes[i].load(keys[i], &ts.entries)
			keys[i] = nil
			return nil
		})
	}
	_ = g.Wait() // none of them fails
}

// loadedRecord is an entry that has no number yet.
type loadedRecord struct {
	head keyHead
	e    *entry
}

func (r loadedRecord) compare(o loadedRecord) int {
	if c := r.head.compare(o.head); c != 0 {
		return c
	}
	return strings.Compare(r.e.key(), o.e.key())
}

// get returns the record with a hashed key.
func (ts *tableState) get(key string) (*entry, bool) {
	_, e, ok := ts.find(key)
	return e, ok
}

// find returns the record with a hashed key and its number.
func (ts *tableState) find(key string) (number uint32, e *entry, ok bool) {
	if number, e, ok = ts.finder.find(key, &ts.entries); ok {
		return number, e, true
	}
	it, ok := ts.records.get(ts.pivot(key))
	if !ok {
		return 0, nil, false
	}
	ts.finder.add(key, it.number)
	return it.number, ts.entries.at(it.number), true
}

func (ts *tableState) pivot(key string) recordPivot {
	return recordPivot{headOf(key), key, &ts.entries}
}

// len is the number of records.
func (ts *tableState) len() int { return ts.records.Len() }

// ascend visits the records from a key on.
func (ts *tableState) ascend(from string, fn func(e *entry) bool) {
	ts.records.ascend(ts.pivot(from), func(it recordItem) bool { return fn(ts.entries.at(it.number)) })
}

// scan visits all records.
func (ts *tableState) scan(fn func(e *entry) bool) {
	ts.records.scan(func(it recordItem) bool { return fn(ts.entries.at(it.number)) })
}

// reading hands over what the items of an index stand for.
func (ts *tableState) reading(fn func(key string, e *entry) bool) func(indexItem) bool {
	return func(it indexItem) bool {
		e, key := it.read(&ts.entries)
		return fn(key, e)
	}
}

// put takes an entry over, in place of one with the same key.
func (ts *tableState) put(e *entry) {
	n, old, existed := ts.find(e.key())
	if !existed {
		n = ts.number()
		ts.entries.set(n, e)
		at := ts.pivot(e.key())
		ts.records.set(recordItem{at.head, n}, at)
		if ts.len() > ts.finder.room() {
			ts.finder = newFinder(2 * ts.len()) // which learns
		}
		ts.finder.add(e.key(), n)
		for k := range e.indexKeys() {
			ts.list(e, n, k)
		}
		return
	}
	// Most changes of a record leave most of its index keys as they are, and where they are.
	// The others are taken out while they can still be read.
	for k := range old.indexKeysBut(e) {
		ts.unlist(old, k)
	}
	ts.entries.set(n, e)
	for k := range e.indexKeysBut(old) {
		ts.list(e, n, k)
	}
}

// delete removes the record with a key.
func (ts *tableState) delete(key string) {
	n, e, ok := ts.find(key)
	if !ok {
		return
	}
	for k := range e.indexKeys() {
		ts.unlist(e, k)
	}
	ts.records.remove(ts.pivot(key))
	ts.entries.set(n, nil)
	ts.free = append(ts.free, n)
}

func (ts *tableState) list(e *entry, number uint32, k indexKey) {
	ts.indexes[k.index].set(indexItem{number, k.at}, indexPivot{k.key, e.key(), &ts.entries})
}

func (ts *tableState) unlist(e *entry, k indexKey) {
	ts.indexes[k.index].remove(indexPivot{k.key, e.key(), &ts.entries})
}

// number finds one for a new record.
func (ts *tableState) number() uint32 {
	if last := len(ts.free) - 1; last >= 0 {
		n := ts.free[last]
		ts.free = ts.free[:last]
		return n
	}
	ts.used++
	return ts.used - 1
}
