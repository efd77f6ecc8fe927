package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Check verifies that every record in etcd opens and decodes, that the mirror holds
// exactly those, and that indexes and counts agree with them. It reports each problem
// in one line without any content of records. The error says that the check could not
// be made.
func (s *Store) Check(ctx context.Context, report func(problem string)) error {
	return s.each(ctx, func(st *state) error {
		seen := make([]int, len(s.tables))
		err := s.scan(ctx, st.rev, func(kv *mvccpb.KeyValue) error {
			s.checkKey(st, kv, seen, report)
			return nil
		})
		if err != nil {
			return err
		}
		for i, t := range s.tables {
			if have := st.tables[i].records.Len(); have != seen[i] {
				report(fmt.Sprintf("table %s: the mirror holds %d records, etcd %d", t.name, have, seen[i]))
			}
			t.checkIndexes(&st.tables[i], report)
		}
		if n := s.mirror.refused.Load(); n > 0 {
			report(fmt.Sprintf("%d values in etcd were refused since the start", n))
		}
		return nil
	})
}

// each runs fn on a snapshot whose revision etcd still has, again if a compaction
// takes it away meanwhile.
func (s *Store) each(ctx context.Context, fn func(st *state) error) error {
	s.mu.Lock()
	open := s.opened && !s.closed
	s.mu.Unlock()
	if !open {
		return ErrClosed
	}
	for run := 1; ; run++ {
		st, err := s.snapshot(ctx)
		if err != nil {
			return err
		}
		if err = fn(st); !errors.Is(err, rpctypes.ErrCompacted) || run == maxLoadRuns {
			return err
		}
	}
}

// scan visits every key in etcd as of a revision, in order, a piece at a time.
func (s *Store) scan(ctx context.Context, rev int64, fn func(kv *mvccpb.KeyValue) error) error {
	tables := slices.SortedFunc(slices.Values(s.tables), func(a, b *table) int { return strings.Compare(a.prefix, b.prefix) })
	visit := func(from, to string) error {
		got, err := s.client.Get(ctx, from, clientv3.WithRange(to), clientv3.WithRev(rev))
		if err != nil {
			return fmt.Errorf("%w: read records: %w", ErrUnavailable, err)
		}
		for _, kv := range got.Kvs {
			if err := fn(kv); err != nil {
				return err
			}
		}
		return nil
	}
	at := "\x00"
	for _, t := range tables {
		if err := visit(at, t.prefix); err != nil {
			return err
		}
		ranges, err := s.cutTable(ctx, t, rev)
		if err != nil {
			return fmt.Errorf("%w: count records: %w", ErrUnavailable, err)
		}
		for _, r := range ranges {
			if err := visit(r[0], r[1]); err != nil {
				return err
			}
		}
		at = nextPrefix(t.prefix)
	}
	return visit(at, "\x00") // as an end: the end of all keys
}

func (s *Store) checkKey(st *state, kv *mvccpb.KeyValue, seen []int, report func(string)) {
	at := string(kv.Key)
	name, key, ok := splitKey(at)
	switch {
	case !ok:
		report(fmt.Sprintf("key %q is not ours", at))
		return
	case name == "lead", at == rootKeyKey, at == keyringKey, at == restoredKey,
		strings.HasPrefix(at, deletedPrefix), strings.HasPrefix(at, holdPrefix):
		return
	case name == "meta", name == "effect":
		if _, _, err := s.openValue(at, kv.Value); err != nil {
			report(fmt.Sprintf("%s record %s: %v", name, hexKey(key), err))
		}
		return
	}
	t := s.byName[name]
	if t == nil {
		if _, _, err := s.openValue(at, kv.Value); err != nil {
			report(fmt.Sprintf("table %s, which this binary does not know, record %s: %v", name, hexKey(key), err))
		}
		return
	}
	problem := func(text string) { report(fmt.Sprintf("table %s, record %s: %s", name, hexKey(key), text)) }
	if !validHashedLen(len(key)) {
		problem("key has a wrong length")
		return
	}
	seen[t.index]++
	e, err := t.decodeValue(key, kv.Value, false)
	if err != nil {
		problem(err.Error())
		return
	}
	held, ok := st.tables[t.index].get(key)
	switch {
	case !ok:
		problem("missing from the mirror")
	case held.rev != kv.ModRevision:
		problem(fmt.Sprintf("the mirror has revision %d, etcd %d", held.rev, kv.ModRevision))
	case held.seq != e.seq:
		problem(fmt.Sprintf("the mirror has sequence %d, etcd %d", held.seq, e.seq))
	case e.seq > s.floor+uint64(kv.ModRevision):
		problem(fmt.Sprintf("sequence %d is ahead of revision %d", e.seq, kv.ModRevision))
	}
}

// checkIndexes verifies that the indexes hold what the records yield, no more.
func (t *table) checkIndexes(ts *tableState, report func(string)) {
	want := make([]int, len(t.indexes))
	ts.scan(func(e *entry) bool {
		if now, ok := ts.get(e.key()); !ok || now != e {
			report(fmt.Sprintf("table %s, record %s: not found by its key", t.name, hexKey(e.key())))
		}
		if !e.stub() && string(t.appendIndexKeys(nil, t.record(e))) != e.text[e.keysAt():e.bodyAt] {
			report(fmt.Sprintf("table %s, record %s: does not have the index keys that it yields", t.name, hexKey(e.key())))
		}
		for k := range e.indexKeys() {
			want[k.index]++
			it, ok := ts.indexes[k.index].get(indexPivot{k.key, e.key(), &ts.entries})
			if !ok || it.at != k.at || ts.entries.at(it.number) != e {
				report(fmt.Sprintf("table %s, record %s: missing from index %s", t.name, hexKey(e.key()), t.indexes[k.index].name))
			}
		}
		return true
	})
	for i, n := range want {
		if have := ts.indexes[i].Len(); have != n {
			report(fmt.Sprintf("table %s: index %s holds %d keys, its records yield %d", t.name, t.indexes[i].name, have, n))
		}
	}
}

// dumpLine is one record as JSON.
type dumpLine struct {
	Table    string `json:"table"`
	Key      string `json:"key"` // hexadecimal, hashed parts only
	Revision int64  `json:"revision"`
	Sequence uint64 `json:"sequence,omitempty"`
	Format   uint64 `json:"format,omitempty"`
	Record   any    `json:"record,omitempty"`
	Problem  string `json:"problem,omitempty"`
}

// Dump writes every record as one line of JSON, for an administrator to look at. CBOR
// integer keys become decimal strings, byte strings base64. Secret values, IAM secret
// keys and key material stay sealed under their own keys. Effects and the keyring are
// left out.
func (s *Store) Dump(ctx context.Context, w io.Writer) error {
	dm, err := cbor.DecOptions{}.DecMode()
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return s.each(ctx, func(st *state) error {
		return s.scan(ctx, st.rev, func(kv *mvccpb.KeyValue) error {
			name, key, ok := splitKey(string(kv.Key))
			if !ok || name == "meta" || name == "effect" || name == "lead" {
				return nil
			}
			line := dumpLine{Table: name, Key: hexKey(key), Revision: kv.ModRevision}
			if err := s.dumpRecord(dm, kv, &line); err != nil {
				line.Problem = err.Error()
			}
			if err := enc.Encode(line); err != nil {
				return fmt.Errorf("write dump: %w", err)
			}
			return nil
		})
	})
}

func (s *Store) dumpRecord(dm cbor.DecMode, kv *mvccpb.KeyValue, line *dumpLine) error {
	seq, plain, err := s.openValue(string(kv.Key), kv.Value)
	line.Sequence = seq
	if err != nil {
		return err
	}
	defer plain.Wipe()
	format, body, err := s.codec.split(plain.Bytes(), ^uint64(0))
	line.Format = format
	if err != nil {
		return err
	}
	var rec any
	if err := dm.Unmarshal(body, &rec); err != nil {
		return errRecord
	}
	line.Record = jsonable(rec)
	return nil
}

// jsonable turns decoded CBOR into what encoding/json can write.
func jsonable(v any) any {
	switch v := v.(type) {
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[strings.TrimSpace(fmt.Sprint(k))] = jsonable(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = jsonable(e)
		}
		return out
	case cbor.ByteString:
		return v.Bytes()
	case cbor.Tag:
		return map[string]any{"tag": v.Number, "content": jsonable(v.Content)}
	}
	return v
}
