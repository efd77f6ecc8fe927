package store

import (
	"fmt"
	"strings"
	"sync/atomic"
	"unsafe"

	"arca/internal/envelope"
)

// entry is one record as the mirror holds it. It is immutable, but for rec.
type entry struct {
	// text is the hashed key, without the table's prefix, and behind it the encoded
	// record if the table is packed: one piece of memory without pointers.
	text       string
	keyBytes   uint8
	keyVersion uint32 // of the storage key that it is sealed under
	rev        int64  // etcd's mod revision, what transactions compare
	seq        uint64 // record sequence
	size       int    // bytes of the value in etcd
	// rec is the record, a *T. That of a packed table comes and goes.
	rec atomic.Pointer[any]
	// slot is the entry's place among the hot ones plus one, 0 if it had none.
	slot atomic.Uint32
	// asked is when it was last asked for without being hot, by the clock of hotRecords;
	// 0 if never.
	asked atomic.Uint32
}

func (e *entry) key() string  { return e.text[:e.keyBytes] }
func (e *entry) body() string { return e.text[e.keyBytes:] }

// stub reports whether the record has to be read from etcd.
func (e *entry) stub() bool { return len(e.text) == int(e.keyBytes) && e.rec.Load() == nil }

func newStub(key string) *entry { return &entry{text: key, keyBytes: uint8(len(key))} }

// copy is an entry that may be changed until others see it.
func (e *entry) copy() *entry {
	c := &entry{text: e.text, keyBytes: e.keyBytes, keyVersion: e.keyVersion, rev: e.rev, seq: e.seq, size: e.size}
	c.rec.Store(e.rec.Load())
	return c
}

// strip makes a stub of an entry that nobody else has seen.
func (e *entry) strip() {
	e.text = strings.Clone(e.key())
	e.rec.Store(nil)
}

// newEntry reads a record and keeps it as the table does, and decoded as well.
func (t *table) newEntry(key string, plain envelope.Plaintext) (*entry, error) {
	_, body, err := t.store.codec.split(plain.Bytes(), t.format)
	if err != nil {
		return nil, err
	}
	e := newStub(key)
	if t.packed {
		text := make([]byte, 0, len(key)+len(body))
		text = append(append(text, key...), body...)
		e.text = unsafe.String(unsafe.SliceData(text), len(text))
		body = text[len(key):]
	}
	rec, err := t.decode(body)
	if err != nil {
		return nil, err
	}
	e.rec.Store(&rec)
	return e, nil
}

// record returns the record of an entry that is not a stub.
func (t *table) record(e *entry) any {
	if rec := e.rec.Load(); rec != nil {
		return *rec
	}
	body := e.body()
	rec, err := t.decode(unsafe.Slice(unsafe.StringData(body), len(body)))
	if err != nil {
		// The same bytes were decoded when the entry was made.
		panic(fmt.Sprintf("store: table %s: %v", t.name, err))
	}
	return rec
}

// forget lets go of the decoded record, if the table is packed. Nobody else has seen e,
// which may be nil.
func (t *table) forget(e *entry) {
	if t.packed && e != nil {
		e.rec.Store(nil)
	}
}

// recall is record for what is likely to be asked for again.
func (t *table) recall(e *entry) any {
	if rec := e.rec.Load(); rec != nil {
		return *rec
	}
	rec := t.record(e)
	if t.hot.wants(e) && e.rec.CompareAndSwap(nil, &rec) {
		t.hot.add(e)
	}
	return rec
}

// visible is the record for those who are told of changes and for indexes, nil if the
// table has neither or there is no entry.
func (t *table) visible(e *entry) any {
	if e == nil || t.changed == nil && len(t.indexes) == 0 {
		return nil
	}
	return t.record(e)
}

// pass is record for one of many that are walked through, which must not drive out what
// is asked for by name, unless all of the table have room.
func (t *table) pass(v *Snap, e *entry) any {
	if v.st.tables[t.index].records.Len() <= len(t.hot.entries) {
		return t.recall(e)
	}
	return t.record(e)
}

// indexAll works out what all indexes list.
func (t *table) indexAll(entries []*entry) [][]indexItem {
	all := make([][]indexItem, len(t.indexes))
	for _, e := range entries {
		t.eachIndexKey(t.visible(e), func(i int, key string) { all[i] = append(all[i], indexItem{key, e}) })
	}
	return all
}

// maxHotRecords is how many records of a packed table are kept decoded.
const maxHotRecords = 1 << 14

// hotRecords are the entries of a packed table whose records are decoded. The next one
// takes the place of the oldest, without a lock.
type hotRecords struct {
	entries []atomic.Pointer[entry] // none in other tables
	next    atomic.Uint32
	clock   atomic.Uint32 // counts records that were asked for without being hot
}

// wants reports whether a record that is asked for shall become hot: at once while there is
// room, and then when it was asked for not long before. Reads spread over very many records
// would else drive out those that are asked for often, and leave them for the garbage
// collector to follow.
func (h *hotRecords) wants(e *entry) bool {
	room := uint32(len(h.entries))
	if h.next.Load() < room {
		return true
	}
	now := h.clock.Add(1)
	last := e.asked.Swap(now)
	return last != 0 && now-last <= 2*room
}

func (h *hotRecords) add(e *entry) {
	if len(h.entries) == 0 || e.rec.Load() == nil {
		return
	}
	slot := h.next.Add(1) % uint32(len(h.entries))
	e.slot.Store(slot + 1)
	if old := h.entries[slot].Swap(e); old != nil && old != e {
		old.rec.Store(nil)
	}
}

// replace gives the place of an entry that is no longer the newest to the one that is; nil
// if the record is gone. What was cold before stays so: one who writes very many records
// does not ask for them. Whoever reads an older snapshot may yet make the old one hot again.
func (h *hotRecords) replace(old, e *entry) {
	if len(h.entries) == 0 {
		return
	}
	slot := old.slot.Load()
	if slot != 0 && h.entries[slot-1].CompareAndSwap(old, e) {
		if e != nil && e.rec.Load() != nil {
			e.slot.Store(slot)
		}
		old.rec.Store(nil)
		return
	}
	if e != nil {
		e.rec.Store(nil)
	}
}
