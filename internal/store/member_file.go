package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
)

// memberFile is what the embedded member's database file held before etcd opened it.
//
// etcd can be asked nothing before it has rebuilt its index of all keys, on one core, and
// then finds each record by that index again. In its file they stand one after the other,
// by revision: they are copied out of it in one go, and opened and decoded while etcd is
// busy with its index. What the file lacks, because it was only in the log yet, the watch
// brings.
//
// The file is etcd's: in its bucket "key", in order, revisions and a mvccpb.KeyValue for
// each. A change of that would be one of etcd's storage schema, which it migrates from
// version to version; what is not understood here is an error, and then all is asked of
// etcd.
type memberFile struct {
	// rev is etcd's revision when it last wrote to the file.
	rev int64
	// Root record and keyring; nil values if there are none.
	keyring keyringAt
	// tables are all versions of all records, by table.index.
	tables [][]fileRecord
	copies slabs
}

// fileRecord is one version of a record in the file.
type fileRecord struct {
	head    keyHead // by which nearly all are told apart without a look at the key
	rev     int64
	pair    []byte // a copy of the mvccpb.KeyValue; that of a deletion, or of a stub, has a key only
	deleted bool
	stub    *entry // of a record that is too large to be kept in memory
}

var errMemberFile = errors.New("database file not understood")

// readMemberFile copies all records out of the file and takes over the keyring that it
// holds. nil means that there is no such file, or that it is left to etcd to say what is
// the matter with it.
func (s *Store) readMemberFile(ctx context.Context) *memberFile {
	if len(s.cfg.Endpoints) > 0 {
		return nil
	}
	f := &memberFile{tables: make([][]fileRecord, len(s.tables))}
	err := f.read(s)
	switch {
	case err == nil && f.keyring.rootValue != nil && f.keyring.ringValue != nil:
		if err = s.takeFileKeyring(ctx, f.keyring); err == nil {
			return f
		}
		// What is wrong with the root key is said when etcd's keyring is opened with it.
		s.log.Debug("keyring of the database file not opened", "error", err.Error())
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		s.askEtcd(err)
	}
	f.release()
	return nil
}

func (s *Store) askEtcd(why error) {
	s.log.Warn("records cannot be read from the database file; asking etcd for them all", "error", why.Error())
}

// takeFileKeyring takes over the keyring of the file. It may be a former one, if the one in
// use is in the log only: so no root key is adopted by it, and it may fail for good reason.
func (s *Store) takeFileKeyring(ctx context.Context, at keyringAt) (err error) {
	s.ring = newKeyring()
	if at.root, err = s.decodeRoot(at.rootValue); err == nil {
		err = s.takeKeyring(ctx, at)
	}
	if err != nil {
		s.ring.wipe()
		s.ring, s.deployment, s.deploymentID = nil, nil, ""
	}
	return err
}

func (f *memberFile) read(s *Store) (err error) {
	path := filepath.Join(s.cfg.Dir, etcdDirName, "member", "snap", "db")
	if _, err := os.Stat(path); err != nil {
		return err
	}
	// The data directory is locked: nobody else has the file.
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second, MmapFlags: mmapFlags})
	if err != nil {
		return fmt.Errorf("open database file: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var from, to int64
	if err := db.View(func(tx *bbolt.Tx) error {
		keys, meta := tx.Bucket(schema.Key.Name()), tx.Bucket(schema.Meta.Name())
		if keys == nil || meta == nil {
			return fmt.Errorf("%w: it has no keys", errMemberFile)
		}
		first, _ := keys.Cursor().First()
		last, _ := keys.Cursor().Last()
		if first == nil {
			return nil
		}
		from, _, err = revisionOf(first)
		if err == nil {
			to, _, err = revisionOf(last)
		}
		return errors.Join(err, f.countCompacted(meta))
	}); err != nil {
		return err
	}
	// In as many parts as there are cores, each by a part of the revisions.
	parts := make([]memberFile, runtime.GOMAXPROCS(0))
	step := (to-from)/int64(len(parts)) + 1
	var g errgroup.Group
	for i := range parts {
		p := &parts[i]
		p.tables = make([][]fileRecord, len(s.tables))
		g.Go(func() error {
			return db.View(func(tx *bbolt.Tx) error { return p.readPart(s, tx, from+int64(i)*step, from+int64(i+1)*step) })
		})
	}
	err = g.Wait()
	for i := range parts {
		f.add(&parts[i])
	}
	return err
}

// readPart notes what was written from one revision on and before another.
func (f *memberFile) readPart(s *Store, tx *bbolt.Tx, from, to int64) error {
	c := tx.Bucket(schema.Key.Name()).Cursor()
	for at, pair := c.Seek(mvcc.RevToBytes(mvcc.Revision{Main: from}, mvcc.NewRevBytes())); at != nil; at, pair = c.Next() {
		rev, deleted, err := revisionOf(at)
		if err != nil {
			return err
		}
		if rev >= to {
			return nil
		}
		if err := f.take(s, rev, deleted, pair); err != nil {
			return err
		}
	}
	return nil
}

// add takes over what was read from later revisions.
func (f *memberFile) add(p *memberFile) {
	f.rev = max(f.rev, p.rev)
	if p.keyring.rootRev > 0 {
		f.keyring.rootValue, f.keyring.rootRev = p.keyring.rootValue, p.keyring.rootRev
	}
	if p.keyring.ringRev > 0 {
		f.keyring.ringValue, f.keyring.ringRev = p.keyring.ringValue, p.keyring.ringRev
	}
	for i := range p.tables {
		f.tables[i] = append(f.tables[i], p.tables[i]...)
		p.tables[i] = nil
	}
	f.copies.all = append(f.copies.all, p.copies.all...)
	f.copies.used += p.copies.used
}

// take notes one version of a key.
func (f *memberFile) take(s *Store, rev int64, deleted bool, pair []byte) error {
	key, err := fieldOf(pair, keyField)
	if err != nil {
		return err
	}
	f.rev = rev
	name, rest, ok := splitKey(key)
	if !ok {
		return nil
	}
	var value []byte
	if !deleted {
		if value, err = fieldOf(pair, valueField); err != nil {
			return err
		}
	}
	if t := s.byName[string(name)]; t != nil {
		if !validHashedLen(len(rest)) {
			return nil // Check reports it
		}
		r := fileRecord{head: headOf(rest), rev: rev, deleted: deleted}
		if t.inline > 0 && len(value) > t.inline {
			// All large values together may be far more than there is memory.
			if c := t.decodeRecord(string(rest), value, rev); c.refused == nil {
				r.stub = c.e
				pair = protowire.AppendBytes(protowire.AppendTag(nil, keyField, protowire.BytesType), key)
			}
		}
		if r.pair, err = f.copies.copy(pair); err != nil {
			return err
		}
		f.tables[t.index] = append(f.tables[t.index], r)
		return nil
	}
	switch string(key) {
	case rootKeyKey:
		f.keyring.rootValue, f.keyring.rootRev = bytes.Clone(value), rev
	case keyringKey:
		f.keyring.ringValue, f.keyring.ringRev = bytes.Clone(value), rev
	}
	return nil
}

// countCompacted raises the revision to that of a compaction, as etcd does: the newest
// revisions may be deletions, which it removes.
func (f *memberFile) countCompacted(meta *bbolt.Bucket) error {
	for _, name := range [][]byte{schema.FinishedCompactKeyName, schema.ScheduledCompactKeyName} {
		at := meta.Get(name)
		if at == nil {
			continue
		}
		rev, _, err := revisionOf(at)
		if err != nil {
			return err
		}
		f.rev = max(f.rev, rev)
	}
	return nil
}

// release lets go of the copies. Nothing that was decoded points into them.
func (f *memberFile) release() {
	f.tables = nil
	f.copies.free()
}

// The bytes of a revision: 8 of the transaction's number, "_", 8 of the number within it,
// and "t" if it is a deletion.
const revisionBytes = 17

func revisionOf(at []byte) (rev int64, deleted bool, err error) {
	deleted = len(at) == revisionBytes+1 && at[revisionBytes] == 't'
	if len(at) != revisionBytes && !deleted {
		return 0, false, fmt.Errorf("%w: a revision of %d bytes", errMemberFile, len(at))
	}
	return mvcc.BytesToRev(at[:revisionBytes]).Main, deleted, nil
}

// The fields of mvccpb.KeyValue that are looked for without making one.
var (
	keyField   = fieldNumber("key")
	valueField = fieldNumber("value")
)

func fieldNumber(name string) protowire.Number {
	fields := (*mvccpb.KeyValue)(nil).ProtoReflect().Descriptor().Fields()
	return fields.ByTextName(name).Number()
}

// fieldOf finds a field of bytes; one that is not there is empty.
func fieldOf(message []byte, wanted protowire.Number) ([]byte, error) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, fmt.Errorf("%w: %w", errMemberFile, protowire.ParseError(n))
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return nil, fmt.Errorf("%w: %w", errMemberFile, protowire.ParseError(n))
		}
		if number == wanted && kind == protowire.BytesType {
			field, _ := protowire.ConsumeBytes(message)
			return field, nil
		}
		message = message[n:]
	}
	return nil, nil
}

// fill opens and decodes the newest version of each record for the mirror.
func (f *memberFile) fill(s *Store, m *mirror) {
	defer f.release()
	began := time.Now()
	l, err := f.decode(s)
	if err != nil {
		s.askEtcd(err)
		return
	}
	m.replace(l)
	s.log.Debug("records read from the database file", "revision", l.rev, "took", time.Since(began))
}

func (f *memberFile) decode(s *Store) (*loaded, error) {
	var g errgroup.Group
	// etcd has one core to itself: what is ready before its index is has to wait for that.
	g.SetLimit(max(1, runtime.GOMAXPROCS(0)-1))
	for i, t := range s.tables {
		g.Go(func() error {
			f.tables[i] = t.newest(f.tables[i])
			return nil
		})
	}
	_ = g.Wait() // none of them fails
	shards := make([][]piece, len(s.tables))
	for i, t := range s.tables {
		records := f.tables[i]
		shards[i] = make([]piece, (len(records)+shardRecords-1)/shardRecords)
		for j := range shards[i] {
			share := records[j*shardRecords : min(len(records), (j+1)*shardRecords)]
			g.Go(func() (err error) {
				shards[i][j], err = t.decodePiece(share)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return join(f.rev, shards), nil
}

// key is the hashed key, without the table's prefix.
func (r *fileRecord) key(t *table) []byte {
	key, _ := fieldOf(r.pair, keyField) // read once already
	return key[len(t.prefix):]
}

// newest sorts versions of records by key and leaves the last of each, unless that is a
// deletion. A revision has one version of a key at most: etcd refuses a transaction that
// writes a key twice, and those that are sent as one do not write the same keys.
func (t *table) newest(versions []fileRecord) []fileRecord {
	byKey := func(a, b *fileRecord) int {
		if c := a.head.compare(b.head); c != 0 {
			return c
		}
		return bytes.Compare(a.key(t), b.key(t))
	}
	slices.SortFunc(versions, func(a, b fileRecord) int { return cmp.Or(byKey(&a, &b), cmp.Compare(a.rev, b.rev)) })
	left := versions[:0]
	for i := range versions {
		if i+1 < len(versions) && byKey(&versions[i], &versions[i+1]) == 0 || versions[i].deleted {
			continue
		}
		left = append(left, versions[i])
	}
	return left
}

// decodePiece opens and decodes records that are in the order of their keys.
func (t *table) decodePiece(records []fileRecord) (piece, error) {
	part := piece{entries: make([]*entry, 0, len(records))}
	for i := range records {
		r := &records[i]
		if r.stub != nil {
			part.take(change{table: t, key: r.stub.key(), e: r.stub})
			continue
		}
		value, err := fieldOf(r.pair, valueField)
		if err != nil {
			return part, err
		}
		part.take(t.decodeRecord(string(r.key(t)), value, r.rev))
	}
	return part, nil
}

// catchUp brings the mirror from the revision of the database file to etcd's own. A mirror
// that has none is loaded.
func (s *Store) catchUp(ctx context.Context) error {
	head, err := s.client.Get(ctx, rootKeyKey, clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if from, rev := s.mirror.next(), head.Header.Revision; from > 1 {
		if rev < from-1 {
			return fmt.Errorf("etcd is at revision %d, and its own database file at %d", rev, from-1)
		}
		if done, err := s.watchUntil(ctx, from, rev); done || err != nil {
			return err
		}
	}
	first, err := s.load(ctx)
	if err != nil {
		return err
	}
	s.mirror.replace(first)
	return nil
}

// watchUntil feeds the mirror from a watch until it has a revision. It reports false if
// that cannot be, because what lies between is compacted.
func (s *Store) watchUntil(ctx context.Context, from, rev int64) (ok bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch errgroup.Group
	compacted := false
	watch.Go(func() (err error) {
		defer cancel()
		compacted, err = s.watchFrom(ctx, from)
		return err
	})
	if s.mirror.wait(ctx, rev) == nil {
		cancel()
		_ = watch.Wait() // it ends because it was told to
		return true, nil
	}
	err = watch.Wait()
	if compacted {
		s.log.Info("what was written since the database file is compacted; asking etcd for them all", "revision", from)
		return false, nil
	}
	return false, fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(err, ctx.Err()))
}

// slabs hold copies outside of the heap, where they would have the garbage collector let
// everything else grow by as much again, and where what is let go of comes back late.
type slabs struct {
	all  [][]byte
	room []byte // what is left of the last one
	used int
}

const slabBytes = 64 << 20

func (s *slabs) copy(b []byte) ([]byte, error) {
	if len(b) > len(s.room) {
		slab, err := unix.Mmap(-1, 0, max(slabBytes, len(b)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return nil, fmt.Errorf("memory for the records of the database file: %w", err)
		}
		adviseHuge(slab)
		s.all, s.room = append(s.all, slab), slab
	}
	n := copy(s.room, b)
	c := s.room[:n:n]
	s.room = s.room[n:]
	s.used += n
	return c, nil
}

func (s *slabs) free() {
	for _, slab := range s.all {
		_ = unix.Munmap(slab) // cannot fail for what Mmap returned
	}
	*s = slabs{}
}
