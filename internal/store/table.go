package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
)

// TableSpec describes a table of records of type T, which is a struct with CBOR
// integer keys.
type TableSpec[T any] struct {
	// Name is 1 to 40 of a-z, 0-9 and -. It is part of the etcd key and never reused.
	Name string
	// Format is the highest record format this binary knows and the one it writes. A
	// newer one in etcd is refused.
	Format uint64
	// Indexes order the records of the mirror.
	Indexes []Index[T]
	// Child says that a record is only written in transactions that also write or
	// guard a record with the same Scope and Parent and no Child, in a table that is not
	// Child itself. Where the parent is written, the child's own revision is not
	// compared, which saves etcd work.
	Child bool
	// InlineLimit, if not 0, keeps records whose sealed size is larger out of memory:
	// Load reads them when asked. Such a table has no indexes and no Get.
	InlineLimit int
	// Packed keeps records in memory as they are encoded, but for those that were asked
	// for lately, and decodes the others each time: for tables that may have very many. A
	// decoded record has several times the size, and the garbage collector follows each of
	// its pointers.
	Packed bool
	// Quiet reports whether a record may have become what it is in a transaction without
	// an audit effect, so that no line of the log need explain it. nil: none may.
	Quiet func(r *T) bool
	// Vanishes says that records are also deleted in such transactions.
	Vanishes bool
	// Changed, unless nil, is told of every change in the order of revisions, before any
	// snapshot shows it, so that something kept beside the table never lags behind a
	// snapshot. before is nil for a new record, after for one that is gone; both are shared
	// and must not be modified. It is called while the mirror is locked: it must be quick
	// and must not use the store. Not for tables with InlineLimit.
	Changed func(rev int64, before, after *T)
	// Reloaded, unless nil, is told likewise that all records have been read anew as of a
	// revision, first when the store opens. What has changed by that is not told to Changed.
	Reloaded func(rev int64)
}

// Index yields the ordering keys of a record: none leaves it out, several list it
// several times. Keys of different records may be equal. Keys is called while the
// mirror is locked and again when the record is replaced; it must be pure and quick.
type Index[T any] struct {
	Name string
	Keys func(r *T, emit func(key string))
}

// Table is a typed view of part of the store.
type Table[T any] struct{ t *table }

// table is what the store knows of a table without knowing T.
type table struct {
	store   *Store
	index   int
	name    string
	prefix  string
	format  uint64
	child   bool
	inline  int
	packed  bool
	hot     hotRecords // of a packed table
	indexes []tableIndex
	// decode reads a record without its format, as *T. That of a packed table may point
	// into body, which then never changes.
	decode func(body []byte) (any, error)
	// quiet and vanishes are as in TableSpec; quiet may be nil.
	quiet    func(rec any) bool
	vanishes bool
	// changed and reloaded are as in TableSpec; both may be nil.
	changed  func(rev int64, before, after any)
	reloaded func(rev int64)

	scopes scopeHashes
	feed   atomic.Pointer[feed] // nil without a follower

	mu     sync.RWMutex
	counts map[string]int // guarded by mu; records by hash of the scope
}

type tableIndex struct {
	name string
	keys func(rec any, emit func(key string))
}

var errSequence = errors.New("sequence went backwards: an older record was put back")

// NewTable attaches a table to a store that is not open yet. A wrong or repeated
// specification is a programmer's mistake and panics.
func NewTable[T any](s *Store, spec TableSpec[T]) *Table[T] {
	if err := validTableName(spec.Name); err != nil {
		panic("store: " + err.Error())
	}
	if s.byName[spec.Name] != nil {
		panic("store: table attached twice: " + spec.Name)
	}
	if s.opened {
		panic("store: table attached to an open store: " + spec.Name)
	}
	if spec.InlineLimit > 0 && spec.Changed != nil {
		panic("store: table with InlineLimit and Changed: " + spec.Name)
	}
	if spec.InlineLimit > 0 && len(spec.Indexes) > 0 {
		panic("store: table with InlineLimit and indexes: " + spec.Name)
	}
	t := &table{
		store: s, index: len(s.tables), name: spec.Name, prefix: root + spec.Name + "/",
		format: spec.Format, child: spec.Child, inline: spec.InlineLimit, packed: spec.Packed,
		vanishes: spec.Vanishes, changed: observer(spec.Changed), reloaded: spec.Reloaded, counts: make(map[string]int),
	}
	if spec.Packed {
		t.hot.entries = make([]atomic.Pointer[entry], maxHotRecords)
	}
	if spec.Quiet != nil {
		t.quiet = func(rec any) bool { return spec.Quiet(rec.(*T)) }
	}
	dec := newDecoder(reflect.TypeFor[T]())
	t.decode = func(body []byte) (any, error) {
		r := new(T)
		if dec != nil {
			if dec.decode(body, reflect.ValueOf(r).Elem(), spec.Packed) {
				return r, nil
			}
			*r = *new(T)
		}
		if err := s.codec.dec.Unmarshal(body, r); err != nil {
			return nil, fmt.Errorf("%w: %w", errRecord, err)
		}
		return r, nil
	}
	for _, ix := range spec.Indexes {
		if ix.Name == "" || slices.ContainsFunc(t.indexes, func(o tableIndex) bool { return o.name == ix.Name }) {
			panic("store: index of table " + spec.Name + " has no name of its own")
		}
		t.indexes = append(t.indexes, tableIndex{ix.Name, func(rec any, emit func(string)) { ix.Keys(rec.(*T), emit) }})
	}
	s.tables = append(s.tables, t)
	s.byName[spec.Name] = t
	return &Table[T]{t}
}

// decodeValue opens an etcd value of the table. rec is nil if the record is too
// large to be kept in memory, which the mirror then is not burdened with decoding.
func (t *table) decodeValue(key string, value []byte, inline bool) (*entry, error) {
	var e *entry
	if inline && t.inline > 0 && len(value) > t.inline {
		// The seal is checked when the record is loaded; its sequence, until then, is
		// as good as what etcd says.
		seq, _, err := splitValue(value)
		if err != nil {
			return nil, err
		}
		e = newStub(key)
		e.seq = seq
	} else {
		seq, plain, err := t.store.openValue(t.prefix+key, value)
		if err != nil {
			return nil, err
		}
		defer plain.Wipe()
		if e, err = t.newEntry(key, plain); err != nil {
			return nil, err
		}
		e.seq = seq
	}
	e.size, e.keyVersion = uint32(len(value)), sealedUnder(value)
	return e, nil
}

func (t *table) count(key string, delta int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	scope := key[:hashBytes]
	if t.counts[scope] += delta; t.counts[scope] == 0 {
		delete(t.counts, scope)
	}
}

func (t *table) setCounts(counts map[string]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts = counts
}

func (t *table) findIndex(name string) int {
	for i := range t.indexes {
		if t.indexes[i].name == name {
			return i
		}
	}
	panic("store: table " + t.name + " has no index " + name)
}

// Get returns the record. It is shared and must not be modified.
func (t *Table[T]) Get(v *Snap, k Key) (*T, bool) {
	if t.t.inline > 0 {
		panic("store: Get on table " + t.t.name + ", which needs Load")
	}
	e, ok := v.find(t.t, t.t.hashKey(k))
	if !ok {
		return nil, false
	}
	return t.t.recall(e).(*T), true
}

// Peek is Get for those who pass over many records: it does not count as asking for one.
func (t *Table[T]) Peek(v *Snap, k Key) (*T, bool) {
	e, ok := v.find(t.t, t.t.hashKey(k))
	if !ok {
		return nil, false
	}
	return t.t.pass(v, e).(*T), true
}

// Load is Get for tables with InlineLimit: it may read from etcd. The error is
// ErrNotFound, or wraps ErrUnavailable, or is one that the caller hands on so that
// View runs again. The record is shared and must not be modified.
func (t *Table[T]) Load(ctx context.Context, v *Snap, k Key) (*T, error) {
	e, ok := v.find(t.t, t.t.hashKey(k))
	if !ok {
		return nil, ErrNotFound
	}
	rec, err := v.load(ctx, t.t, e)
	if err != nil {
		return nil, err
	}
	return rec.(*T), nil
}

// Find returns the first record that an index lists under exactly this key. It is shared
// and must not be modified.
func (t *Table[T]) Find(v *Snap, index, key string) (*T, bool) {
	var found *entry
	t.t.ascend(v, index, key, func(at string, e *entry) bool {
		if at == key {
			found = e
		}
		return false
	})
	if found == nil {
		return nil, false
	}
	return t.t.recall(found).(*T), true
}

// Ascend visits records in index order, from the first key >= from, while fn returns
// true. The records are shared and must not be modified.
func (t *Table[T]) Ascend(v *Snap, index, from string, fn func(key string, r *T) bool) {
	t.t.ascend(v, index, from, func(key string, e *entry) bool { return fn(key, t.t.pass(v, e).(*T)) })
}

// Descend visits records in reverse index order, from the last key <= from, while fn
// returns true; from == "" means the very end. The records are shared and must not be
// modified.
func (t *Table[T]) Descend(v *Snap, index, from string, fn func(key string, r *T) bool) {
	t.t.descend(v, index, from, func(key string, e *entry) bool { return fn(key, t.t.pass(v, e).(*T)) })
}

// Keys are the keys of a table's indexes, for those who need not look at the records.
type Keys struct{ t *table }

// Keys of the indexes of the table.
func (t *Table[T]) Keys() Keys { return Keys{t.t} }

// Ascend visits keys as Table.Ascend does.
func (k Keys) Ascend(v *Snap, index, from string, fn func(key string, _ struct{}) bool) {
	k.t.ascend(v, index, from, func(key string, _ *entry) bool { return fn(key, struct{}{}) })
}

// Descend visits keys as Table.Descend does.
func (k Keys) Descend(v *Snap, index, from string, fn func(key string, _ struct{}) bool) {
	k.t.descend(v, index, from, func(key string, _ *entry) bool { return fn(key, struct{}{}) })
}

func (t *table) ascend(v *Snap, index, from string, fn func(key string, e *entry) bool) {
	ts := &v.st.tables[t.index]
	ts.indexes[t.findIndex(index)].ascend(indexPivot{key: from, of: &ts.entries}, ts.reading(fn))
}

func (t *table) descend(v *Snap, index, from string, fn func(key string, e *entry) bool) {
	ts := &v.st.tables[t.index]
	ix := &ts.indexes[t.findIndex(index)]
	if from == "" {
		ix.reverse(ts.reading(fn))
		return
	}
	// No key lies between from and its successor.
	ix.descend(indexPivot{key: from + "\x00", of: &ts.entries}, ts.reading(fn))
}

// Walk visits every record in the order of the hashed keys, reading from etcd those
// that are not in memory. It is for checks, not for requests.
func (t *Table[T]) Walk(ctx context.Context, v *Snap, fn func(r *T) error) (err error) {
	v.st.tables[t.t.index].scan(func(e *entry) bool {
		var rec any
		if !e.stub() {
			rec = t.t.pass(v, e)
		} else {
			rec, err = v.load(ctx, t.t, e)
		}
		if err == nil {
			err = fn(rec.(*T))
		}
		return err == nil
	})
	return err
}

// Revision grows whenever a record of the table changes, and is the same in two
// snapshots only if the table is. What is derived from whole tables may be kept as
// long as their revisions stay.
func (t *Table[T]) Revision(v *Snap) int64 { return v.st.tables[t.t.index].rev }

// Count is the number of records in a scope as of the newest state, in constant time.
func (t *Table[T]) Count(scope string) int {
	h := t.t.scopeHash(scope)
	t.t.mu.RLock()
	defer t.t.mu.RUnlock()
	return t.t.counts[string(h[:])]
}

func hexKey(key string) string { return hex.EncodeToString([]byte(key)) }
