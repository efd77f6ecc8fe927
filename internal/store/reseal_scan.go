package store

import (
	"context"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// between are the ranges of keys that belong to no attached table.
func (s *Store) between() [][2]string {
	prefixes := make([]string, 0, len(s.tables))
	for _, t := range s.tables {
		prefixes = append(prefixes, t.prefix)
	}
	slices.Sort(prefixes)
	var out [][2]string
	at := root
	for _, p := range prefixes {
		if at < p {
			out = append(out, [2]string{at, p})
		}
		at = nextPrefix(p)
	}
	return append(out, [2]string{at, nextPrefix(root)})
}

// page reads on in a range between tables. These are small as a rule; a large one, of
// a table that this binary does not know, is counted by etcd for every page.
func (s *Store) page(ctx context.Context, r *resealer, ranges [][2]string) (kvs []*mvccpb.KeyValue, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	at := ranges[r.place]
	got, err := s.client.Get(ctx, max(at[0], r.after), clientv3.WithRange(at[1]), clientv3.WithLimit(resealPage))
	if err != nil {
		return nil, false, fmt.Errorf("%w: read records: %w", ErrUnavailable, err)
	}
	if n := len(got.Kvs); n > 0 {
		r.after = string(got.Kvs[n-1].Key) + "\x00"
	}
	return got.Kvs, got.More, nil
}

// verifyResealed reads a page of everything and counts what is under an old key.
func (s *Store) verifyResealed(ctx context.Context, r *resealer) error {
	ranges := s.between()
	places := len(ranges) + len(s.tables)
	if r.place < len(ranges) {
		kvs, more, err := s.page(ctx, r, ranges)
		if err != nil {
			return err
		}
		r.count(kvs)
		if !more {
			r.next(places)
		}
		return nil
	}
	// A piece of a table that the mirror says is small enough for one read.
	t := s.tables[r.place-len(ranges)]
	from, to := t.prefix+r.after, nextPrefix(t.prefix)
	n, bytes := 0, 0
	s.mirror.current.Load().tables[t.index].ascend(r.after, func(e *entry) bool {
		if n == resealPage || (n > 0 && bytes+int(e.size) > resealPageBytes) {
			to = t.prefix + e.key()
			return false
		}
		n++
		bytes += int(e.size)
		return true
	})
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	got, err := s.client.Get(ctx, from, clientv3.WithRange(to))
	if err != nil {
		return fmt.Errorf("%w: read records: %w", ErrUnavailable, err)
	}
	r.count(got.Kvs)
	if to == nextPrefix(t.prefix) {
		r.next(places)
		return nil
	}
	r.after = to[len(t.prefix):]
	return nil
}

func (r *resealer) count(kvs []*mvccpb.KeyValue) {
	for _, kv := range kvs {
		if r.uses(kv.Value) {
			r.found++
		}
	}
}
