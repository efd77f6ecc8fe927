package store

import (
	"fmt"
	"hash/maphash"

	"arca/internal/envelope"
)

// Tx is one attempt of an Update. Reads through tx.Snap see the state before it.
type Tx struct {
	*Snap
	writes  map[string]*write    // by etcd key
	guards  map[string]int64     // etcd key to expected mod revision
	ranges  []childDelete        // DeleteChildren
	parents map[[2]string]hold   // by scope and parent: records without a child part
	orphans map[[2]string]orphan // by scope and parent: what relies on those
	fence   *Leadership
	effect  func(changes []Change) []byte
	err     error // the first mistake; Update returns it
}

type write struct {
	table *table
	at    Key
	key   string // hashed
	plain []byte // nil: delete
	e     *entry // nil: delete
	old   *entry // what the snapshot holds, nil for nothing
}

// hold is how firmly a transaction holds a parent.
type hold int

const (
	guarded hold = 1 // others may hold it so at the same time
	written hold = 2 // nobody else's transaction on it commits in between
)

type orphan struct {
	table string
	needs hold
}

type childDelete struct {
	table      *table
	from, till string // hashed keys
}

// Put writes the record, which may be changed again after the call. What the snapshot
// held at k, or that it held nothing, is compared, unless Child tables spare it. Of
// several writes to one key the last counts.
func (t *Table[T]) Put(tx *Tx, k Key, r *T) {
	s := t.t.store
	plain, err := s.codec.encode(t.t.format, r)
	if err != nil {
		tx.fail(fmt.Errorf("encode record of table %s: %w", t.t.name, err))
		return
	}
	// The mirror gets what everybody else will read, not the caller's memory.
	key := t.t.hashKey(k)
	e, err := t.t.newEntry(key, envelope.NewPlaintext(plain))
	if err != nil {
		tx.fail(fmt.Errorf("encode record of table %s: %w", t.t.name, err))
		return
	}
	tx.write(t.t, k, &write{table: t.t, key: key, plain: plain, e: t.t.decoded(e)})
}

// Delete removes the record; its revision is compared, unless Child tables spare it.
// To delete what does not exist is no mistake.
func (t *Table[T]) Delete(tx *Tx, k Key) {
	tx.write(t.t, k, &write{table: t.t, key: t.t.hashKey(k)})
}

// DeleteChildren removes every record below scope/parent in one range delete, but not
// a record at scope/parent itself. The transaction must also write or delete the
// parent.
func (t *Table[T]) DeleteChildren(tx *Tx, scope, parent string) {
	from, till := childRange(t.t.hashKey(Key{Scope: scope, Parent: parent}))
	tx.ranges = append(tx.ranges, childDelete{t.t, from, till})
	tx.needParent(t.t, scope, parent, written)
}

// Guard makes the commit fail unless the record is as the snapshot shows it.
func (t *Table[T]) Guard(tx *Tx, k Key) {
	key := t.t.hashKey(k)
	var rev int64
	if e, ok := tx.find(t.t, key); ok {
		rev = e.rev
	}
	if tx.guards == nil {
		tx.guards = make(map[string]int64)
	}
	tx.guards[t.t.prefix+key] = rev
	tx.hasParent(k, guarded)
}

// Fence makes the commit fail with ErrNotLeader unless l still holds.
func (tx *Tx) Fence(l *Leadership) { tx.fence = l }

// SetEffect makes the transaction also store an audit effect under this node. build
// is called after all records were sealed, with what they became, and must be pure.
func (tx *Tx) SetEffect(build func(changes []Change) []byte) { tx.effect = build }

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

func (tx *Tx) write(t *table, k Key, w *write) {
	if e, ok := tx.find(t, w.key); ok {
		w.old = e
	}
	if tx.writes == nil {
		tx.writes = make(map[string]*write)
	}
	w.at = k
	tx.writes[t.prefix+w.key] = w
	if t.child {
		tx.needParent(t, k.Scope, k.Parent, guarded)
	} else {
		tx.hasParent(k, written)
	}
}

func (tx *Tx) hasParent(k Key, h hold) {
	if k.Child != "" {
		return
	}
	if tx.parents == nil {
		tx.parents = make(map[[2]string]hold)
	}
	at := [2]string{k.Scope, k.Parent}
	tx.parents[at] = max(tx.parents[at], h)
}

func (tx *Tx) needParent(t *table, scope, parent string, h hold) {
	if tx.orphans == nil {
		tx.orphans = make(map[[2]string]orphan)
	}
	at := [2]string{scope, parent}
	if o, ok := tx.orphans[at]; !ok || h > o.needs {
		tx.orphans[at] = orphan{t.name, h}
	}
}

// compared says whether the revision of a written record must be compared. A child
// need not be if its parent is written, for then no other transaction on the parent
// gets in between. A guard alone is not enough: two could hold it at the same time.
func (tx *Tx) compared(w *write) bool {
	return !w.table.child || tx.parents[[2]string{w.at.Scope, w.at.Parent}] < written
}

func (tx *Tx) empty() bool { return len(tx.writes) == 0 && len(tx.ranges) == 0 }

// check finds mistakes of the closure.
func (tx *Tx) check() error {
	for at, o := range tx.orphans {
		if tx.parents[at] >= o.needs {
			continue
		}
		if o.needs == written {
			return fmt.Errorf("table %s: children deleted without writing or deleting their parent", o.table)
		}
		return fmt.Errorf("table %s: child written without writing or guarding its parent", o.table)
	}
	if n := len(tx.writes) + len(tx.guards) + len(tx.ranges); n > MaxWrites {
		return fmt.Errorf("transaction touches %d records, at most %d are possible", n, MaxWrites)
	}
	return nil
}

// stripes is the number of queues for transactions that keep conflicting.
const stripes = 32

// stripe is the queue of a transaction: the same for two that write the same first
// key, mostly another for others.
func (tx *Tx) stripe() int {
	first := ""
	for at := range tx.writes {
		if first == "" || at < first {
			first = at
		}
	}
	return int(maphash.String(tx.store.seed, first) % stripes)
}
