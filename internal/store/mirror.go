package store

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// state is everything at one revision.
type state struct {
	rev    int64
	tables []tableState // by table.index
}

// change is what one revision did to one record, or to all records in a range.
type change struct {
	table *table
	key   string
	e     *entry // nil: deleted. Its revision is set when the change is applied.
	// until, if not empty, makes this the deletion of all keys from key up to it.
	until string
	// refused says why the value in etcd cannot be taken over.
	refused error
}

// batch is all changes of one revision. Revisions that touch nothing mirrored (an
// effect, a lease, the keyring) are batches without changes: the mirror must know
// that it has seen them.
type batch struct {
	rev     int64
	bytes   int64
	changes []change
}

// mirror applies revisions strictly in order and publishes a state after each round.
// The same revision may be offered several times, by the transaction's reply and by
// the watch; the first wins.
type mirror struct {
	log    *slog.Logger
	tables []*table

	current atomic.Pointer[state]
	// due is a revision that reads must wait for even in free mode: one that was
	// acknowledged although it could not be applied in time.
	due     atomic.Int64
	bytes   atomic.Int64 // applied since the start, roughly
	refused atomic.Int64

	mu      sync.Mutex
	work    []tableState            // guarded by mu; what the next publication copies
	dirty   []bool                  // guarded by mu; tables changed since the last one
	applied int64                   // guarded by mu; all revisions up to this are in work
	pending map[int64]batch         // guarded by mu; above applied+1
	waiting map[int64]chan struct{} // guarded by mu; closed when the revision is applied
	graves  graves                  // guarded by mu
	sealed  map[uint32]int64        // guarded by mu; records by version of the storage key
}

func newMirror(tables []*table, log *slog.Logger) *mirror {
	m := &mirror{
		log:     log,
		tables:  tables,
		work:    make([]tableState, len(tables)),
		dirty:   make([]bool, len(tables)),
		pending: make(map[int64]batch),
		waiting: make(map[int64]chan struct{}),
		sealed:  make(map[uint32]int64),
	}
	st := &state{tables: make([]tableState, len(tables))}
	for i, t := range tables {
		m.work[i] = emptyTableState(t)
		st.tables[i] = m.work[i].copy()
	}
	m.current.Store(st)
	return m
}

// offer hands revisions to the mirror, in any order. What cannot be applied yet waits
// for the gap before it to be filled.
func (m *mirror) offer(batches ...batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range batches {
		if b.rev <= m.applied {
			continue
		}
		if _, ok := m.pending[b.rev]; !ok {
			m.pending[b.rev] = b
		}
	}
	m.drainLocked()
}

func (m *mirror) drainLocked() {
	before := m.applied
	for {
		b, ok := m.pending[m.applied+1]
		if !ok {
			break
		}
		delete(m.pending, b.rev)
		for i := range b.changes {
			m.applyLocked(b.rev, &b.changes[i])
		}
		m.bytes.Add(b.bytes)
		m.applied = b.rev
	}
	if m.applied != before {
		m.publishLocked(before)
	}
}

func (m *mirror) publishLocked(before int64) {
	old := m.current.Load()
	st := &state{rev: m.applied, tables: make([]tableState, len(m.work))}
	for i := range m.work {
		if m.dirty[i] {
			st.tables[i] = m.work[i].copy()
			m.dirty[i] = false
		} else {
			st.tables[i] = old.tables[i]
		}
	}
	m.current.Store(st)
	if int(m.applied-before) <= len(m.waiting) {
		for rev := before + 1; rev <= m.applied; rev++ {
			if ch, ok := m.waiting[rev]; ok {
				close(ch)
				delete(m.waiting, rev)
			}
		}
		return
	}
	for rev, ch := range m.waiting {
		if rev <= m.applied {
			close(ch)
			delete(m.waiting, rev)
		}
	}
}

func (m *mirror) applyLocked(rev int64, c *change) {
	switch {
	case c.until != "":
		for _, e := range rangeOf(&m.work[c.table.index], c.key, c.until) {
			m.removeLocked(c.table, e, rev)
		}
	case c.refused != nil:
		m.refuseLocked(c.table, c.key, rev, c.refused)
	case c.e == nil:
		if e, ok := m.work[c.table.index].get(c.key); ok {
			m.removeLocked(c.table, e, rev)
		}
	default:
		c.e.rev = rev
		m.putLocked(c.table, c.e)
	}
}

func (m *mirror) putLocked(t *table, e *entry) {
	w := &m.work[t.index]
	old, existed := w.get(e.key())
	if existed && e.seq <= old.seq {
		m.refuseLocked(t, e.key(), e.rev, errSequence)
		return
	}
	if !existed && e.seq <= m.graves.get(t, e.key()) {
		m.refuseLocked(t, e.key(), e.rev, errSequence)
		return
	}
	m.dirty[t.index] = true
	w.rev = e.rev
	w.put(e)
	t.noteFed(e.key(), e.rev, nil)
	t.observe(e.rev, t.visible(old), t.visible(e))
	if existed {
		t.hot.replace(old, e)
		m.sealedLocked(old, -1)
	} else {
		t.hot.add(e)
	}
	m.sealedLocked(e, 1)
	if !existed {
		t.count(e.key(), 1)
	}
}

func (m *mirror) removeLocked(t *table, e *entry, rev int64) {
	w := &m.work[t.index]
	m.dirty[t.index] = true
	w.rev = rev
	w.delete(e.key())
	t.noteFed(e.key(), rev, e)
	t.observe(rev, t.visible(e), nil)
	t.hot.replace(e, nil)
	m.sealedLocked(e, -1)
	t.count(e.key(), -1)
	m.graves.add(t, e.key(), e.seq)
}

func (m *mirror) sealedLocked(e *entry, delta int64) {
	if m.sealed[e.keyVersion] += delta; m.sealed[e.keyVersion] == 0 {
		delete(m.sealed, e.keyVersion)
	}
}

// sealedBy counts the records by version of the storage key they are sealed under.
func (m *mirror) sealedBy() map[uint32]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.sealed)
}

// refuseLocked keeps what the mirror has. Somebody put back an older record, or one
// that is not ours, or damaged it. Serving the last good state is safe; a later
// Update of the record conflicts until an operator has looked.
func (m *mirror) refuseLocked(t *table, key string, rev int64, cause error) {
	m.refused.Add(1)
	m.log.Error("record in etcd refused; the last good one stays in use",
		"table", t.name, "key", hexKey(key), "revision", rev, "cause", cause.Error())
}

// replace takes over a full load. Records that the load brings back from an older
// time are refused as they would be one by one.
func (m *mirror) replace(l *loaded) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.rev <= m.applied {
		return
	}
	clear(m.sealed)
	for i, t := range m.tables {
		old := &m.work[i]
		fresh := emptyTableState(t)
		fresh.rev = l.rev
		counts := make(map[string]int)
		entries := l.tables[i][:0]
		keep := func(e *entry) {
			if e != nil {
				entries = append(entries, e)
				m.sealedLocked(e, 1)
				counts[e.key()[:hashBytes]]++
			}
		}
		for _, e := range l.tables[i] {
			had, existed := old.get(e.key())
			if existed && had.rev != e.rev && e.seq <= had.seq || !existed && e.seq <= m.graves.get(t, e.key()) {
				m.refuseLocked(t, e.key(), e.rev, errSequence)
				e = had
			}
			keep(e)
		}
		for _, c := range l.refused {
			if c.table == t {
				m.refuseLocked(t, c.key, l.rev, c.refused)
				had, _ := old.get(c.key)
				keep(had)
			}
		}
		l.tables[i] = nil // of many records, that is much
		fresh.load(entries)
		old.scan(func(e *entry) bool {
			if _, ok := fresh.get(e.key()); !ok {
				m.graves.add(t, e.key(), e.seq)
			}
			return true
		})
		t.setCounts(counts)
		t.noteAllFed(l.rev)
		t.observeReload(l.rev)
		m.work[i] = fresh
		m.dirty[i] = true
	}
	before := m.applied
	m.applied = l.rev
	for rev := range m.pending {
		if rev <= m.applied {
			delete(m.pending, rev)
		}
	}
	m.publishLocked(before)
	m.drainLocked()
}

// wait returns when the revision is applied.
func (m *mirror) wait(ctx context.Context, rev int64) error {
	if m.current.Load().rev >= rev {
		return nil
	}
	m.mu.Lock()
	if m.applied >= rev {
		m.mu.Unlock()
		return nil
	}
	ch, ok := m.waiting[rev]
	if !ok {
		ch = make(chan struct{})
		m.waiting[rev] = ch
	}
	m.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next is the first revision that the mirror has not applied.
func (m *mirror) next() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied + 1
}

// known reports whether the mirror has the revision or needs no more to apply it, so
// that the watch need not decode it.
func (m *mirror) known(rev int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.pending[rev]
	return ok || rev <= m.applied
}

func rangeOf(ts *tableState, from, until string) (found []*entry) {
	ts.ascend(from, func(e *entry) bool {
		if e.key() >= until {
			return false
		}
		found = append(found, e)
		return true
	})
	return found
}

// graves remembers the sequences of recently deleted records, so that one of them
// cannot be put back unnoticed. It is bounded; the oldest are forgotten.
type graves struct {
	seqs  map[string]uint64
	order []string
	at    int
}

const maxGraves = 1 << 15

func graveKey(t *table, key string) string {
	var b strings.Builder
	b.WriteString(t.name)
	b.WriteByte('/')
	b.WriteString(key)
	return b.String()
}

func (g *graves) get(t *table, key string) uint64 {
	if len(g.seqs) == 0 {
		return 0
	}
	return g.seqs[graveKey(t, key)]
}

func (g *graves) add(t *table, key string, seq uint64) {
	if g.seqs == nil {
		g.seqs = make(map[string]uint64)
	}
	k := graveKey(t, key)
	if _, ok := g.seqs[k]; !ok {
		if len(g.order) < maxGraves {
			g.order = append(g.order, k)
		} else {
			delete(g.seqs, g.order[g.at])
			g.order[g.at] = k
			g.at = (g.at + 1) % maxGraves
		}
	}
	g.seqs[k] = seq
}
