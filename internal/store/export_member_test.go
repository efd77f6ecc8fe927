package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// CopiedBytes is what a start would copy out of the database file in the data directory.
func (s *Store) CopiedBytes() (int, error) {
	f := &memberFile{tables: make([][]fileRecord, len(s.tables))}
	defer f.release()
	err := f.read(s)
	return f.copies.used, err
}

// AgainstEtcd tells where the mirror and what etcd lists are not the same.
func (s *Store) AgainstEtcd(ctx context.Context) (differences []string, err error) {
	l, err := s.loadOnce(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.mirror.wait(ctx, l.rev); err != nil {
		return nil, err
	}
	st := s.mirror.current.Load()
	for i, t := range s.tables {
		have := make(map[string]string)
		st.tables[i].scan(func(e *entry) bool {
			have[hexKey(e.key())] = fmt.Sprint(e.rev, e.seq, e.size, e.keyVersion, hexKey(e.text), len(e.body()), e.stub())
			return true
		})
		want := make(map[string]string)
		for _, e := range l.tables[i] {
			want[hexKey(e.key())] = fmt.Sprint(e.rev, e.seq, e.size, e.keyVersion, hexKey(e.text), len(e.body()), e.stub())
		}
		if !maps.Equal(have, want) {
			differences = append(differences, fmt.Sprintf("%s: the mirror has %d records, etcd %d: %q, %q", t.name, len(have), len(want),
				slices.Sorted(maps.Values(have)), slices.Sorted(maps.Values(want))))
		}
	}
	return differences, nil
}

// KeyOf and ValueOf read a mvccpb.KeyValue, RevisionOf a key of etcd's database file.
func KeyOf(pair []byte) ([]byte, error)                         { return fieldOf(pair, keyField) }
func ValueOf(pair []byte) ([]byte, error)                       { return fieldOf(pair, valueField) }
func RevisionOf(at []byte) (rev int64, deleted bool, err error) { return revisionOf(at) }
