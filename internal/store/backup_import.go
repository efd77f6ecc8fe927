package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"arca/internal/envelope"
)

const (
	// importKey stands in the clear in a store that an import has begun to fill, and
	// goes in the transaction that writes the root record.
	importKey = metaPrefix + "restore"
	// restoredKey stands in the clear in a store that an import has filled and that
	// nobody has checked yet.
	restoredKey = metaPrefix + "restored"
)

var (
	// ErrNotEmpty means that the store to import into holds data.
	ErrNotEmpty = errors.New("the store is not empty")
	// ErrUnfinishedImport means that a restore was cut off: what is there is a part of
	// the data and cannot be used. Restoring again clears it away.
	ErrUnfinishedImport = errors.New("this store holds an unfinished restore: run arca restore again")
)

// Import is what a store is filled with.
type Import struct {
	// Name of the import, for people: the id of a backup.
	Name string
	// Deployment is the id that records and keys are bound to, in hexadecimal. The
	// store gets the same one.
	Deployment string
	// RootParams are those of the root key that the configured one must open; nil makes
	// the configured root key anew, as for any empty store.
	RootParams []byte
	// Keys are those of ExportKeyring.
	Keys []ExportKey
	// Ceiling is above no sequence that the records have, or had when they were
	// exported. New sequences begin above it.
	Ceiling uint64
	// Records are all there are. They are read once, in any order. An error ends the
	// import.
	Records iter.Seq2[ExportRecord, error]
}

// importMark is what importKey and restoredKey hold. Its random part tells imports
// apart that run at the same time.
type importMark struct {
	Format  uint64 `cbor:"1,keyasint"`
	Name    string `cbor:"2,keyasint"`
	Started int64  `cbor:"3,keyasint"` // seconds since the Unix epoch
	Nonce   []byte `cbor:"4,keyasint"`
}

const importFormat = 1

// CheckRecord reports whether a record can be imported: its table is attached and its
// content decodes. The store need not be open.
func (s *Store) CheckRecord(r ExportRecord) error {
	t := s.byName[r.Table]
	if t == nil {
		return fmt.Errorf("table %q is not known to this version of arca", r.Table)
	}
	if !validHashedLen(len(r.Key)) {
		return fmt.Errorf("table %s, record %s: key has a wrong length", r.Table, hexKey(r.Key))
	}
	if r.Sequence == 0 {
		return fmt.Errorf("table %s, record %s: it has no sequence", r.Table, hexKey(r.Key))
	}
	if _, err := t.newEntry(r.Key, envelope.NewPlaintext(r.Plain)); err != nil {
		return fmt.Errorf("table %s, record %s: %w", r.Table, hexKey(r.Key), err)
	}
	return nil
}

// Import takes the place of Open for a store that is to be filled: it opens etcd,
// writes everything and closes. Afterwards another Store opens it.
//
// Everything is sealed anew, under a new KEK and a new storage key. The root record
// comes last: a crash before it leaves a store that refuses to open and says why, and
// that a further Import clears; a crash after it leaves a whole store whose mark
// (Imported) tells that it has not been checked. The error wraps ErrNotEmpty when the
// store holds anything else; nothing was changed then.
func (s *Store) Import(ctx context.Context, im Import) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened || s.closed {
		return errors.New("import into store: it was opened before")
	}
	if s.cfg.RootKey == nil {
		return errors.New("import into store: no root key configured")
	}
	s.opened = true
	defer func() { err = errors.Join(err, s.releaseLocked()) }()

	deployment, err := hex.DecodeString(im.Deployment)
	if err != nil || len(deployment) != 16 {
		return fmt.Errorf("import into store: deployment id %q is not 32 hexadecimal digits", im.Deployment)
	}
	if err := checkImportKeys(im.Keys); err != nil {
		return fmt.Errorf("import into store: %w", err)
	}
	if err := s.node.open(s.cfg.Dir); err != nil {
		return err
	}
	if s.node.known != "" && s.node.known != im.Deployment {
		return fmt.Errorf("data directory %s belongs to deployment %s, but the backup is of %s", s.cfg.Dir, s.node.known, im.Deployment)
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	if err := s.refuseForeign(ctx); err != nil {
		return err
	}
	if err := s.clearImport(ctx); err != nil {
		return err
	}
	w := importer{s: s, deployment: deployment}
	if err := w.begin(ctx, im.Name); err != nil {
		return err
	}
	w.storage = envelope.GenerateKey(envelope.NewKeyID(), 1)
	defer w.storage.Wipe()
	if err := w.writeAll(ctx, im.Records); err != nil {
		return err
	}
	return w.finish(ctx, im)
}

// checkImportKeys looks for what openKeyring would refuse.
func checkImportKeys(keys []ExportKey) error {
	active := make(map[string]int)
	for _, k := range keys {
		if k.Purpose == purposeStorage {
			return errors.New("a storage key is no part of an export")
		}
		if keyState(k.State) == keyActive {
			active[k.Purpose]++
		}
	}
	for purpose, n := range active {
		if n > 1 {
			return fmt.Errorf("there are %d active %s keys", n, purpose)
		}
	}
	if active[purposeIndex] == 0 {
		return errors.New("there is no active index key")
	}
	return nil
}

func (s *Store) unfinishedImport(ctx context.Context) (bool, error) {
	got, err := s.client.Get(ctx, importKey, clientv3.WithCountOnly())
	if err != nil {
		return false, fmt.Errorf("%w: look for an unfinished restore: %w", ErrUnavailable, err)
	}
	return got.Count > 0, nil
}

// clearImport makes sure that the store is empty but for the mark of an unfinished
// import, whose records it deletes: a piece at a time, and the mark stays until the
// next one replaces it, so that nothing in between looks like a store.
func (s *Store) clearImport(ctx context.Context) error {
	held, err := s.client.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("%w: look for records: %w", ErrUnavailable, err)
	}
	if held.Count == 0 {
		return nil
	}
	unfinished, err := s.unfinishedImport(ctx)
	if err != nil {
		return err
	}
	if !unfinished {
		return fmt.Errorf("%w: restore into an empty data directory or etcd cluster", ErrNotEmpty)
	}
	for _, t := range s.tables {
		ranges, err := s.cutTable(ctx, t, 0)
		if err != nil {
			return fmt.Errorf("%w: count records: %w", ErrUnavailable, err)
		}
		for _, r := range ranges {
			if err := s.deleteRange(ctx, r[0], r[1]); err != nil {
				return err
			}
		}
	}
	if err := s.deleteRange(ctx, root, importKey); err != nil {
		return err
	}
	return s.deleteRange(ctx, importKey+"\x00", nextPrefix(root))
}

func (s *Store) deleteRange(ctx context.Context, from, to string) error {
	if _, err := s.client.Delete(ctx, from, clientv3.WithRange(to)); err != nil {
		return fmt.Errorf("%w: clear an unfinished restore: %w", ErrUnavailable, err)
	}
	return nil
}

// importer writes one import.
type importer struct {
	s          *Store
	deployment []byte
	storage    *envelope.Key
	mark       []byte
	markRev    int64 // mod revision of importKey, compared by every write
	records    int64 // written
}

// begin puts the mark. Whoever imports at the same time and came first finds the mark
// changed, and ends.
func (w *importer) begin(ctx context.Context, name string) (err error) {
	m := importMark{Format: importFormat, Name: name, Started: w.s.cfg.Now().Unix(), Nonce: make([]byte, 16)}
	rand.Read(m.Nonce)
	if w.mark, err = w.s.codec.enc.Marshal(m); err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	put, err := w.s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(rootKeyKey), "=", 0)).
		Then(clientv3.OpPut(importKey, string(w.mark))).
		Commit()
	if err != nil {
		return fmt.Errorf("%w: begin to write: %w", ErrUnavailable, err)
	}
	if !put.Succeeded {
		return ErrNotEmpty
	}
	w.markRev = put.Header.Revision
	return nil
}

const (
	importOps   = maxTxnOps - 8
	importBytes = maxRequestBytes * 2 / 3
	// importStreams is how many transactions are under way at once.
	importStreams = 4
	importTries   = 6
)

// writeAll seals and writes the records, several transactions at a time.
func (w *importer) writeAll(ctx context.Context, records iter.Seq2[ExportRecord, error]) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(importStreams)
	var ops []clientv3.Op
	size := 0
	flush := func() {
		batch := ops
		ops, size = nil, 0
		g.Go(func() error { return w.write(ctx, batch) })
	}
	err := func() error {
		for r, err := range records {
			if err != nil {
				return err
			}
			if err := w.s.CheckRecord(r); err != nil {
				return err
			}
			at := root + r.Table + "/" + r.Key
			value, err := sealValue(w.storage, w.deployment, at, r.Sequence, r.Plain)
			if err != nil {
				return err
			}
			if n := len(at) + len(value); len(ops) == importOps || size > 0 && size+n > importBytes {
				flush()
			}
			ops = append(ops, clientv3.OpPut(at, string(value)))
			size += len(at) + len(value)
			w.records++
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		if len(ops) > 0 {
			flush()
		}
		return nil
	}()
	if werr := g.Wait(); werr != nil {
		return werr // the loop ended because of it
	}
	return err
}

// write commits some records. Writing them twice does no harm, so a reply that is lost
// is no matter; that nobody else imports meanwhile is compared each time.
func (w *importer) write(ctx context.Context, ops []clientv3.Op) error {
	pause := retryMin
	for try := 1; ; try++ {
		err := w.writeOnce(ctx, ops)
		if err == nil || !errors.Is(err, ErrUnavailable) || try == importTries || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(4*pause, retryMax)
	}
}

func (w *importer) writeOnce(ctx context.Context, ops []clientv3.Op) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	resp, err := w.s.client.Txn(ctx).If(w.unchanged()).Then(ops...).Commit()
	if err != nil && (definite(err) && !errors.Is(err, rpctypes.ErrTooManyRequests) || errors.Is(err, rpctypes.ErrNoSpace)) {
		return fmt.Errorf("write records: %w", err) // trying again is of no use
	}
	if err != nil {
		return fmt.Errorf("%w: write records: %w", ErrUnavailable, err)
	}
	if !resp.Succeeded {
		return errors.New("another restore into this store has begun")
	}
	return nil
}

func (w *importer) unchanged() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(importKey), "=", w.markRev)
}

// finish turns what was written into a store, in one transaction.
func (w *importer) finish(ctx context.Context, im Import) error {
	s := w.s
	held, err := s.client.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("%w: count records: %w", ErrUnavailable, err)
	}
	if held.Count != w.records+1 { // and the mark
		return fmt.Errorf("%d records were written, but etcd holds %d keys", w.records, held.Count)
	}
	rootKey, params, err := w.rootKey(ctx, im)
	if err != nil {
		return err
	}
	defer rootKey.Wipe()
	kek := envelope.GenerateKey(envelope.NewKeyID(), kekVersion)
	defer kek.Wipe()
	rec := rootRecord{Format: rootFormat, Deployment: w.deployment, RootKind: s.cfg.RootKey.Kind(), RootParams: params}
	if rec.KEK, err = rootKey.SealKey(kek, kekAD(w.deployment)); err != nil {
		return fmt.Errorf("seal keyring: %w", err)
	}
	ring, err := w.keyring(kek, im.Keys)
	if err != nil {
		return err
	}
	plain, err := s.codec.encode(floorFormat, floorRecord{Floor: im.Ceiling})
	if err != nil {
		return fmt.Errorf("encode floor record: %w", err)
	}
	floorValue, err := sealValue(w.storage, w.deployment, floorKey, im.Ceiling+1, plain)
	if err != nil {
		return err
	}
	rootValue, err := s.codec.enc.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode root record: %w", err)
	}
	ringValue, err := s.codec.enc.Marshal(ring)
	if err != nil {
		return fmt.Errorf("encode keyring: %w", err)
	}
	err = w.write(ctx, []clientv3.Op{
		clientv3.OpPut(rootKeyKey, string(rootValue)),
		clientv3.OpPut(keyringKey, string(ringValue)),
		clientv3.OpPut(floorKey, string(floorValue)),
		clientv3.OpPut(restoredKey, string(w.mark)),
		clientv3.OpDelete(importKey),
	})
	if err == nil {
		return nil
	}
	// Of this transaction, unlike the others, a lost reply looks like a conflict.
	if got, gerr := s.client.Get(ctx, restoredKey); gerr == nil && len(got.Kvs) == 1 && bytes.Equal(got.Kvs[0].Value, w.mark) {
		return nil
	}
	return err
}

func (w *importer) rootKey(ctx context.Context, im Import) (*envelope.Key, []byte, error) {
	if im.RootParams == nil {
		key, params, err := w.s.cfg.RootKey.Create(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("create root key: %w", err)
		}
		return key, params, nil
	}
	key, err := w.s.cfg.RootKey.Open(ctx, im.RootParams)
	if err != nil {
		return nil, nil, fmt.Errorf("open root key: %w", err)
	}
	return key, im.RootParams, nil
}

func (w *importer) keyring(kek *envelope.Key, keys []ExportKey) (keyringRecord, error) {
	ring := keyringRecord{Format: keyringFormat}
	add := func(k *envelope.Key, purpose string, created int64, state keyState) error {
		id := k.ID()
		e := keyEntry{Purpose: purpose, ID: slices.Clone(id[:]), Version: k.Version(), Created: created, State: state}
		var err error
		if e.Sealed, err = kek.SealKey(k, e.ad(w.deployment)); err != nil {
			return fmt.Errorf("seal %s key: %w", purpose, err)
		}
		ring.Keys = append(ring.Keys, e)
		return nil
	}
	if err := add(w.storage, purposeStorage, w.s.cfg.Now().Unix(), keyActive); err != nil {
		return ring, err
	}
	for _, x := range keys {
		k, err := envelope.NewKey(x.ID, x.Version, x.Secret.Bytes())
		if err != nil {
			return ring, fmt.Errorf("%s key: %w", x.Purpose, err)
		}
		err = add(k, x.Purpose, x.Created, keyState(x.State))
		k.Wipe()
		if err != nil {
			return ring, err
		}
	}
	return ring, nil
}

// Imported reports the name of the import that filled this store, if nobody has
// checked it yet.
func (s *Store) Imported(ctx context.Context) (name string, yes bool, err error) {
	got, err := s.client.Get(ctx, restoredKey)
	if err != nil {
		return "", false, fmt.Errorf("%w: look for the mark of a restore: %w", ErrUnavailable, err)
	}
	if len(got.Kvs) == 0 {
		return "", false, nil
	}
	var m importMark
	if err := s.codec.dec.Unmarshal(got.Kvs[0].Value, &m); err != nil {
		return "of unknown name", true, nil // whoever damaged the mark does not lift it
	}
	return m.Name, true, nil
}

// ConfirmImport says that the store was checked and is good, or is to be used as it is.
func (s *Store) ConfirmImport(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	resp, err := s.client.Delete(ctx, restoredKey)
	if err != nil {
		return fmt.Errorf("%w: remove the mark of a restore: %w", ErrUnavailable, err)
	}
	if resp.Deleted > 0 {
		s.mirror.offer(batch{rev: resp.Header.Revision})
	}
	return nil
}
