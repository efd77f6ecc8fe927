package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"arca/internal/envelope"
)

// An export is every record at one revision, with the seal of the storage key taken
// off, and the keys of the keyring that are needed to make sense of them. It is read
// page by page. Nothing of it is kept in memory between two pages but a hold on
// compaction, which is in etcd, so that any node can read the next page, also after a
// restart. Effects, leaderships and node records are no part of it: they belong to
// processes that a restored store does not have.

var (
	// ErrExportGone means that an export cannot go on: its revision was compacted away,
	// or the keys it began with have been replaced. The caller begins a new one.
	ErrExportGone = errors.New("the state that is being exported is gone")
	// ErrExports means that too many exports are held at once. The caller tries again
	// when one has ended.
	ErrExports = errors.New("too many exports at once")
	// ErrRefusedValues means that etcd holds values that this process refused: an export
	// would carry what somebody put back or damaged. Check tells more.
	ErrRefusedValues = errors.New("etcd holds values that were refused")
	// ErrUnreadable means that a record in etcd does not open. Check tells more.
	ErrUnreadable = errors.New("record does not open")
)

// ExportTable is a table and how many records of it an export has.
type ExportTable struct {
	Name    string
	Records int64
}

// Export is where an export stands. The zero value is none. It can be stored and
// taken up by another process on the same data.
type Export struct {
	Revision int64
	// Hold is the lease that keeps the revision from being compacted away.
	Hold int64
	// Tables are those that are not finished, in the order of their names. From is the
	// hashed key from which the first of them goes on.
	Tables []ExportTable
	From   string
}

// Done reports whether nothing is left.
func (x *Export) Done() bool { return len(x.Tables) == 0 }

// ExportRecord is a record without its seal.
type ExportRecord struct {
	Table    string
	Key      string // hashed, without the table's prefix
	Sequence uint64
	Plain    []byte // CBOR array of format and record
}

// ExportKey is a key of the keyring with its secret, which the holder wipes.
type ExportKey struct {
	Purpose string
	ID      envelope.KeyID
	Version uint32
	Created int64 // seconds since the Unix epoch
	State   uint8
	Secret  envelope.Plaintext
}

// ExportRoot is what opens the KEK that a store had at some revision: the root record
// without the deployment. Nothing in it is secret.
type ExportRoot struct {
	Kind   string
	Params []byte
	KEK    []byte // envelope under the root key
}

// maxExportTables bounds what an export names: tables that this binary does not know
// are found in etcd, where others may have written.
const maxExportTables = 200

// BeginExport fixes the state that is exported and holds it. The hold ends with
// EndExport, and by itself some minutes after the last page.
func (s *Store) BeginExport(ctx context.Context) (Export, error) {
	if n := s.refusedValues(); n > 0 {
		return Export{}, fmt.Errorf("%w: %d since the start", ErrRefusedValues, n)
	}
	for run := 1; ; run++ {
		st, err := s.snapshot(ctx)
		if err != nil {
			return Export{}, err
		}
		x := Export{Revision: st.rev}
		if x.Hold, err = s.takeHold(ctx, st.rev); err != nil {
			return Export{}, err
		}
		// Only now that it is held can the revision be asked for.
		x.Tables, err = s.exportTables(ctx, st)
		if err == nil {
			return x, nil
		}
		s.EndExport(ctx, x)
		if !errors.Is(err, ErrExportGone) || run == maxLoadRuns {
			return Export{}, err
		}
	}
}

func (s *Store) refusedValues() int64 {
	if s.mirror == nil {
		return 0
	}
	return s.mirror.refused.Load()
}

// exportTables counts the attached tables, and looks between them for tables that
// only another version of the binary knows.
func (s *Store) exportTables(ctx context.Context, st *state) ([]ExportTable, error) {
	var out []ExportTable
	at := root
	known := slices.SortedFunc(slices.Values(s.tables), func(a, b *table) int { return strings.Compare(a.prefix, b.prefix) })
	for _, t := range known {
		unknown, err := s.tablesBetween(ctx, at, t.prefix, st.rev)
		if err != nil {
			return nil, err
		}
		out = append(out, unknown...)
		out = append(out, ExportTable{t.name, int64(st.tables[t.index].records.Len())})
		at = nextPrefix(t.prefix)
	}
	unknown, err := s.tablesBetween(ctx, at, nextPrefix(root), st.rev)
	if err != nil {
		return nil, err
	}
	out = append(out, unknown...)
	if len(out) > maxExportTables {
		return nil, fmt.Errorf("etcd holds %d tables, more than %d", len(out), maxExportTables)
	}
	slices.SortFunc(out, func(a, b ExportTable) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (s *Store) tablesBetween(ctx context.Context, from, to string, rev int64) ([]ExportTable, error) {
	var out []ExportTable
	for from < to {
		got, err := s.client.Get(ctx, from, clientv3.WithRange(to), clientv3.WithRev(rev), clientv3.WithLimit(1), clientv3.WithKeysOnly())
		if err != nil {
			return nil, exportError("look for tables", err)
		}
		if len(got.Kvs) == 0 {
			break
		}
		name, _, ok := splitKey(string(got.Kvs[0].Key))
		if !ok {
			return nil, fmt.Errorf("key %q is not ours", got.Kvs[0].Key)
		}
		prefix := root + name + "/"
		from = nextPrefix(prefix)
		if name == "meta" || name == "effect" || name == "lead" {
			continue
		}
		if err := validTableName(name); err != nil {
			return nil, fmt.Errorf("etcd holds a table of another kind: %w", err)
		}
		n, err := s.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(rev), clientv3.WithCountOnly())
		if err != nil {
			return nil, exportError("count records", err)
		}
		out = append(out, ExportTable{name, n.Count})
	}
	return out, nil
}

// exportError tells a state that is gone from an etcd that does not answer.
func exportError(what string, err error) error {
	if errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrFutureRev) {
		return fmt.Errorf("%s: %w: %w", what, ErrExportGone, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, what, err)
}

const (
	// The first read of a page is small; what it finds says how many records the next
	// one can ask for.
	exportFirstRead = 16
	exportMostRead  = 2000
)

// ExportPage hands the next records to fn, in the order of tables and keys, until
// they weigh budget bytes or nothing is left, and returns where the export goes on. A
// record counts with its key. The hold is renewed. fn must not keep r.Plain, which is
// overwritten when it returns.
//
// The error is fn's, or wraps ErrExportGone or ErrUnavailable, or says which record
// does not open.
func (s *Store) ExportPage(ctx context.Context, x Export, budget int, fn func(r ExportRecord) error) (Export, error) {
	if s.mirror == nil || s.life.Err() != nil {
		return x, ErrClosed
	}
	if err := s.keepHold(ctx, &x); err != nil {
		return x, err
	}
	x.Tables = slices.Clone(x.Tables)
	limit := int64(exportFirstRead)
	var read, bytes int64
	for budget > 0 && !x.Done() {
		t := x.Tables[0]
		prefix := root + t.Name + "/"
		end := shardEnd(prefix, x.From, t.Records)
		got, err := s.client.Get(ctx, prefix+x.From, clientv3.WithRange(end), clientv3.WithRev(x.Revision), clientv3.WithLimit(limit))
		if err != nil {
			return x, exportError("read records", err)
		}
		more := got.More
		for i, kv := range got.Kvs {
			if budget <= 0 {
				x.From, more = string(kv.Key[len(prefix):]), true
				break
			}
			key := string(kv.Key[len(prefix):])
			n, err := s.exportRecord(t.Name, key, kv.Value, fn)
			if err != nil {
				return x, err
			}
			budget -= n
			read++
			bytes += int64(n)
			if i == len(got.Kvs)-1 {
				x.From = key + "\x00"
			}
		}
		if read > 0 {
			limit = min(exportMostRead, max(1, int64(budget)*read/bytes))
		}
		switch {
		case more:
		case end == nextPrefix(prefix):
			x.Tables, x.From = x.Tables[1:], ""
		default:
			x.From = end[len(prefix):]
		}
	}
	return x, nil
}

func (s *Store) exportRecord(table, key string, value []byte, fn func(r ExportRecord) error) (weight int, err error) {
	if !validHashedLen(len(key)) {
		return 0, fmt.Errorf("%w: table %s, record %s: key has a wrong length", ErrUnreadable, table, hexKey(key))
	}
	seq, plain, err := s.openValue(root+table+"/"+key, value)
	if errors.Is(err, envelope.ErrNoKey) {
		// Its storage key has been rotated away: the record lives on under the new one.
		return 0, fmt.Errorf("%w: table %s, record %s: %w", ErrExportGone, table, hexKey(key), err)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: table %s, record %s: %w", ErrUnreadable, table, hexKey(key), err)
	}
	defer plain.Wipe()
	if err := fn(ExportRecord{Table: table, Key: key, Sequence: seq, Plain: plain.Bytes()}); err != nil {
		return 0, err
	}
	return len(key) + plain.Len(), nil
}

// shardEnd is where the range that begins at from ends. etcd counts a range whenever
// it is asked for a part of it, so a large table is cut like shardRanges does.
func shardEnd(prefix, from string, records int64) string {
	for _, r := range shardRanges(prefix, records) {
		if prefix+from < r[1] {
			return r[1]
		}
	}
	return nextPrefix(prefix)
}

// EndExport lets go of what BeginExport held. If etcd cannot be told, the hold ends
// by itself.
func (s *Store) EndExport(ctx context.Context, x Export) { s.dropHold(ctx, x.Hold) }

// ExportKeyring returns the keys at the revision of an export, without the storage
// keys, whose seals an export does not have, and the highest sequence that any record
// can have up to then. The error wraps ErrExportGone if the KEK has been replaced
// since.
func (s *Store) ExportKeyring(ctx context.Context, x Export) (keys []ExportKey, ceiling uint64, err error) {
	got, err := s.client.Get(ctx, keyringKey, clientv3.WithRev(x.Revision))
	if err != nil {
		return nil, 0, exportError("read keyring", err)
	}
	if len(got.Kvs) == 0 {
		return nil, 0, errors.New("the keyring is missing from etcd")
	}
	var rec keyringRecord
	if err := s.codec.dec.Unmarshal(got.Kvs[0].Value, &rec); err != nil {
		return nil, 0, fmt.Errorf("read keyring: %w", err)
	}
	if rec.Format != keyringFormat {
		return nil, 0, fmt.Errorf("keyring has format %d, which this version does not know", rec.Format)
	}
	defer func() {
		if err != nil {
			WipeKeys(keys)
		}
	}()
	for i := range rec.Keys {
		e := &rec.Keys[i]
		if e.Purpose == purposeStorage {
			continue
		}
		k, err := s.UnwrapKey(e.Sealed, e.ad(s.deployment))
		if err != nil {
			return keys, 0, fmt.Errorf("open %s key version %d: %w", e.Purpose, e.Version, err)
		}
		keys = append(keys, ExportKey{
			Purpose: e.Purpose, ID: k.ID(), Version: k.Version(), Created: e.Created, State: uint8(e.State), Secret: k.Secret(),
		})
		k.Wipe()
	}
	return keys, s.floor + uint64(x.Revision), nil
}

// WipeKeys overwrites the secrets of exported keys.
func WipeKeys(keys []ExportKey) {
	for i := range keys {
		keys[i].Secret.Wipe()
	}
}

// ExportRoot returns the root record at the revision of an export.
func (s *Store) ExportRoot(ctx context.Context, x Export) (ExportRoot, error) {
	got, err := s.client.Get(ctx, rootKeyKey, clientv3.WithRev(x.Revision))
	if err != nil {
		return ExportRoot{}, exportError("read root record", err)
	}
	if len(got.Kvs) == 0 {
		return ExportRoot{}, errors.New("the root record is missing from etcd")
	}
	var rec rootRecord
	if err := s.codec.dec.Unmarshal(got.Kvs[0].Value, &rec); err != nil {
		return ExportRoot{}, fmt.Errorf("read root record: %w", err)
	}
	return ExportRoot{Kind: rec.RootKind, Params: rec.RootParams, KEK: rec.KEK}, nil
}

// WrapKey seals a key under the KEK of the store.
func (s *Store) WrapKey(k *envelope.Key, ad []byte) ([]byte, error) {
	if s.ring == nil {
		return nil, ErrClosed
	}
	// Not by key(), which would take the lock a second time: a writer that waits in
	// between would make both wait for ever.
	s.ring.mu.RLock()
	defer s.ring.mu.RUnlock()
	return s.ring.kek.SealKey(k, ad)
}

// UnwrapKey opens what WrapKey sealed. The error wraps ErrExportGone if the KEK has
// been replaced since.
func (s *Store) UnwrapKey(sealed, ad []byte) (*envelope.Key, error) {
	if s.ring == nil {
		return nil, ErrClosed
	}
	s.ring.mu.RLock()
	defer s.ring.mu.RUnlock()
	kek := s.ring.kek
	if id, version, err := envelope.Header(sealed); err == nil && (id != kek.ID() || version != kek.Version()) {
		return nil, fmt.Errorf("the root key was rotated meanwhile: %w", ErrExportGone)
	}
	return kek.OpenKey(sealed, ad)
}

// OpenExportRoot opens a key that WrapKey sealed in another store or at another time,
// given the root key and the root record of then.
func OpenExportRoot(ctx context.Context, rk RootKey, deployment string, r ExportRoot, sealed, ad []byte) (*envelope.Key, error) {
	id, err := hex.DecodeString(deployment)
	if err != nil {
		return nil, fmt.Errorf("deployment id %q is not hexadecimal", deployment)
	}
	if rk.Kind() != r.Kind {
		return nil, fmt.Errorf("it was sealed under a root key of kind %q, but one of kind %q is configured", r.Kind, rk.Kind())
	}
	rootKey, err := rk.Open(ctx, r.Params)
	if err != nil {
		return nil, fmt.Errorf("open root key: %w", err)
	}
	defer rootKey.Wipe()
	if id, _, err := envelope.Header(r.KEK); err == nil && id != rootKey.ID() {
		return nil, fmt.Errorf("it was sealed under the root key %s, but the configured one is %s", id, rootKey.ID())
	}
	kek, err := rootKey.OpenKey(r.KEK, kekAD(id))
	if err != nil {
		return nil, fmt.Errorf("open the key that the root key %s wraps: %w", rootKey.ID(), err)
	}
	defer kek.Wipe()
	return kek.OpenKey(sealed, ad)
}
