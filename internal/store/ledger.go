package store

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

const (
	ledgerIDBytes  = 16
	ledgerSumBytes = 16
	ledgerFirst    = 1 << 12 // slots to begin with

	// Of meta, from the top: whether the slot is used, whether its record was found in
	// etcd, the number of the table, of the log, and of the line.
	ledgerUsed      = 1 << 63
	ledgerSeen      = 1 << 62
	ledgerTableAt   = 52
	ledgerLogAt     = 44
	ledgerLineMask  = 1<<ledgerLogAt - 1
	ledgerDeleted   = 1 << 63 // of seq
	maxLedgerTables = 1 << 10
)

// ledgerSlot is the newest change of one record. Half of a SHA-256 is enough to tell
// contents apart that nobody can choose.
type ledgerSlot struct {
	id   [ledgerIDBytes]byte
	sum  [ledgerSumBytes]byte
	seq  uint64
	meta uint64
}

func (l *ledgerSlot) used() bool       { return l.meta&ledgerUsed != 0 }
func (l *ledgerSlot) seen() bool       { return l.meta&ledgerSeen != 0 }
func (l *ledgerSlot) setSeen()         { l.meta |= ledgerSeen }
func (l *ledgerSlot) deleted() bool    { return l.seq&ledgerDeleted != 0 }
func (l *ledgerSlot) sequence() uint64 { return l.seq &^ ledgerDeleted }
func (l *ledgerSlot) table() int       { return int(l.meta >> ledgerTableAt & (maxLedgerTables - 1)) }
func (l *ledgerSlot) log() uint8       { return uint8(l.meta >> ledgerLogAt) }
func (l *ledgerSlot) line() uint64     { return l.meta & ledgerLineMask }

// ledgerID stands for a key. Keys of etcd are already hashes in part, but begin alike.
func ledgerID(etcdKey []byte) (id [ledgerIDBytes]byte) {
	sum := sha256.Sum256(etcdKey)
	copy(id[:], sum[:])
	return id
}

// ledger is a hash table of the newest change of each record whose id is in a range.
// When it has as many as it may hold it gives up the upper half of the range, for
// another pass.
type ledger struct {
	max   int
	slots []ledgerSlot
	n     int
	from  uint64 // of the range
	bits  uint   // of an id that are the same all over the range
}

// covers reports whether an id is in the range.
func (b *ledger) covers(id *[ledgerIDBytes]byte) bool {
	return b.bits == 0 || (binary.BigEndian.Uint64(id[:])^b.from)>>(64-b.bits) == 0
}

// nextRange goes on behind the range, and reports whether there is anything.
func (b *ledger) nextRange() bool {
	if b.bits == 0 {
		return false
	}
	b.from += 1 << (64 - b.bits)
	return b.from != 0
}

func (b *ledger) reset() {
	if b.slots == nil {
		b.slots = make([]ledgerSlot, ledgerFirst)
	}
	clear(b.slots)
	b.n = 0
}

// at is where an id is or would be. There is always a free slot.
func (b *ledger) at(id *[ledgerIDBytes]byte) *ledgerSlot {
	mask := uint64(len(b.slots) - 1)
	for i := binary.BigEndian.Uint64(id[8:]); ; i++ {
		if l := &b.slots[i&mask]; !l.used() || l.id == *id {
			return l
		}
	}
}

func (b *ledger) find(id *[ledgerIDBytes]byte) *ledgerSlot {
	if l := b.at(id); l.used() {
		return l
	}
	return nil
}

// add takes a change over if it is the newest of its record so far. Of a deletion and
// a change with the same sequence the deletion is the newer: it names what it deleted.
func (b *ledger) add(t *table, c *LoggedChange) {
	id := ledgerID(c.Key)
	if !b.covers(&id) {
		return
	}
	l := b.at(&id)
	if l.used() && (c.Sequence < l.sequence() || c.Sequence == l.sequence() && !c.Deleted) {
		return
	}
	if !l.used() {
		if b.n >= b.max {
			b.halve()
			b.add(t, c)
			return
		}
		if b.n >= len(b.slots)/4*3 {
			b.rebuild(2 * len(b.slots))
			l = b.at(&id)
		}
		b.n++
	}
	*l = ledgerSlot{
		id: id, seq: c.Sequence &^ ledgerDeleted,
		meta: ledgerUsed | uint64(t.index)<<ledgerTableAt | uint64(c.Log)<<ledgerLogAt | c.Line&ledgerLineMask,
	}
	copy(l.sum[:], c.SHA256[:])
	if c.Deleted {
		l.seq |= ledgerDeleted
	}
}

// halve gives up the upper half of the range.
func (b *ledger) halve() {
	b.bits++
	b.rebuild(len(b.slots))
}

// rebuild makes a table of that many slots of what is in the range.
func (b *ledger) rebuild(slots int) {
	old := b.slots
	if slots == len(old) {
		old = slices.Clone(old)
		clear(b.slots)
	} else {
		b.slots = make([]ledgerSlot, slots)
	}
	b.n = 0
	for i := range old {
		l := &old[i]
		if l.used() && b.covers(&l.id) {
			*b.at(&l.id) = *l
			b.n++
		}
	}
}
