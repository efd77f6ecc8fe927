package store

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"arca/internal/envelope"
)

// entry is one record as the mirror holds it. It is immutable, but for rec.
type entry struct {
	// text is one piece of memory without pointers: a byte that says how long the hashed key
	// is, that key without the table's prefix, the keys that the indexes list the record under,
	// and, if the table is packed, the encoded record.
	text       string
	bodyAt     uint32 // where in text the encoded record begins
	keyVersion uint32 // of the storage key that it is sealed under
	rev        int64  // etcd's mod revision, what transactions compare
	seq        uint64 // record sequence
	// rec is the record, a *T. That of a packed table comes and goes.
	rec  atomic.Pointer[any]
	size uint32 // bytes of the value in etcd
	// slot is the entry's place among the hot ones plus one, 0 if it had none.
	slot atomic.Uint32
	// asked is when it was last asked for without being hot, by the clock of hotRecords;
	// 0 if never.
	asked atomic.Uint32
}

func (e *entry) key() string  { return e.text[1:e.keysAt()] }
func (e *entry) body() string { return e.text[e.bodyAt:] }

// keysAt is where in text the index keys begin.
func (e *entry) keysAt() uint32 { return 1 + uint32(e.text[0]) }

// stub reports whether the record has to be read from etcd.
func (e *entry) stub() bool { return int(e.bodyAt) == len(e.text) && e.rec.Load() == nil }

// makeEntry returns an entry with a hashed key, index keys as appendIndexKey puts them, and
// an encoded record; the latter two may be missing.
func makeEntry(key string, indexKeys []byte, body string) *entry {
	text := make([]byte, 0, 1+len(key)+len(indexKeys)+len(body))
	text = append(append(text, byte(len(key))), key...)
	text = append(text, indexKeys...)
	bodyAt := uint32(len(text))
	text = append(text, body...)
	return &entry{text: unsafe.String(unsafe.SliceData(text), len(text)), bodyAt: bodyAt}
}

func newStub(key string) *entry { return makeEntry(key, nil, "") }

// copy is an entry that may be changed until others see it.
func (e *entry) copy() *entry {
	c := &entry{text: e.text, bodyAt: e.bodyAt, keyVersion: e.keyVersion, rev: e.rev, seq: e.seq, size: e.size}
	c.rec.Store(e.rec.Load())
	return c
}

// strip makes a stub of an entry of a table without indexes, that nobody else has seen.
func (e *entry) strip() {
	stub := newStub(e.key())
	e.text, e.bodyAt = stub.text, stub.bodyAt
	e.rec.Store(nil)
}

// newEntry reads a record and keeps it as the table does: decoded, or packed.
func (t *table) newEntry(key string, plain envelope.Plaintext) (*entry, error) {
	_, body, err := t.store.codec.split(plain.Bytes(), t.format)
	if err != nil {
		return nil, err
	}
	rec, err := t.decode(body)
	if err != nil {
		return nil, err
	}
	var room [256]byte
	keys := t.appendIndexKeys(room[:0], rec)
	if t.packed {
		// The record points into what was given, and is of no more use.
		return makeEntry(key, keys, unsafe.String(unsafe.SliceData(body), len(body))), nil
	}
	e := makeEntry(key, keys, "")
	e.rec.Store(&rec)
	return e, nil
}

// decoded has the record of an entry that nobody else has seen yet at hand, for it is about
// to be looked at.
func (t *table) decoded(e *entry) *entry {
	if e != nil && !e.stub() && e.rec.Load() == nil {
		rec := t.record(e)
		e.rec.Store(&rec)
	}
	return e
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

// visible is the record for those who are told of changes, nil if nobody is or there is
// no entry.
func (t *table) visible(e *entry) any {
	if e == nil || t.changed == nil {
		return nil
	}
	return t.record(e)
}

// pass is record for one of many that are walked through, which must not drive out what
// is asked for by name, unless all of the table have room.
func (t *table) pass(v *Snap, e *entry) any {
	if v.st.tables[t.index].len() <= len(t.hot.entries) {
		return t.recall(e)
	}
	return t.record(e)
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
