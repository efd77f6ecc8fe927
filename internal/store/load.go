package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"arca/internal/envelope"
)

// loaded is all records of all tables at one revision.
type loaded struct {
	rev     int64
	tables  [][]*entry // by table.index, each in key order
	refused []change
}

// piece is some of the records of one table.
type piece struct {
	entries []*entry
	refused []change
}

// take adds a record, unless it is refused.
func (p *piece) take(c change) {
	if c.refused != nil {
		p.refused = append(p.refused, c)
		return
	}
	p.entries = append(p.entries, c.e)
}

const (
	// A table is read in one piece up to this many records, and beyond in as many
	// pieces as keep each near it. Limits would not do: etcd counts the whole range for
	// every page of it.
	shardRecords = 2000
	// A piece with more than this is cut again: it holds a large scope.
	maxShardRecords = 4 * shardRecords
	maxShards       = 256
	maxLoadRuns     = 5
)

// load reads everything at one revision, decoding on all cores.
func (s *Store) load(ctx context.Context) (*loaded, error) {
	for run := 1; ; run++ {
		l, err := s.loadOnce(ctx)
		if err == nil {
			return l, nil
		}
		// Another node may compact away the revision while it is being read.
		if !errors.Is(err, rpctypes.ErrCompacted) || run == maxLoadRuns {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

func (s *Store) loadOnce(ctx context.Context) (*loaded, error) {
	head, err := s.client.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return nil, err
	}
	rev := head.Header.Revision
	if err := s.loadKeyring(ctx, rev); err != nil {
		return nil, err
	}
	shards := make([][]piece, len(s.tables))
	if head.Count <= shardRecords {
		got, err := s.client.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithRev(rev))
		if err != nil {
			return nil, err
		}
		for i := range shards {
			shards[i] = make([]piece, 1)
		}
		for _, kv := range got.Kvs {
			if c, ok := s.decodeEvent(kv, false); ok {
				shards[c.table.index][0].take(c)
			}
		}
		return join(rev, shards), nil
	}

	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, t := range s.tables {
		ranges, err := s.cutTable(ctx, t, rev)
		if err != nil {
			return nil, errors.Join(err, g.Wait())
		}
		shards[i] = make([]piece, len(ranges))
		for j, r := range ranges {
			g.Go(func() error {
				got, err := s.client.Get(ctx, r[0], clientv3.WithRange(r[1]), clientv3.WithRev(rev))
				if err != nil {
					return err
				}
				part := piece{entries: make([]*entry, 0, len(got.Kvs))}
				for _, kv := range got.Kvs {
					if c, ok := s.decodeEvent(kv, false); ok {
						part.take(c)
					}
				}
				shards[i][j] = part
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return join(rev, shards), nil
}

// join puts together the pieces of each table, which it lets go of.
func join(rev int64, shards [][]piece) *loaded {
	l := &loaded{rev: rev, tables: make([][]*entry, len(shards))}
	for i := range shards {
		n := 0
		for _, part := range shards[i] {
			n += len(part.entries)
		}
		l.tables[i] = make([]*entry, 0, n)
		for _, part := range shards[i] {
			l.tables[i] = append(l.tables[i], part.entries...)
			l.refused = append(l.refused, part.refused...)
		}
		shards[i] = nil
	}
	return l
}

// loadKeyring takes over the keyring of a revision whose records are about to be read:
// it may have changed since it was opened, or since the watch fell behind.
func (s *Store) loadKeyring(ctx context.Context, rev int64) error {
	got, err := s.client.Get(ctx, keyringKey, clientv3.WithRev(rev))
	if err != nil {
		return err
	}
	if len(got.Kvs) == 0 {
		return errNoKeyring
	}
	err = s.installKeyring(got.Kvs[0].Value, got.Kvs[0].ModRevision)
	if errors.Is(err, errOtherKEK) {
		s.ring.change.Lock()
		defer s.ring.change.Unlock()
		return s.learnKeyring(ctx)
	}
	return err
}

// cutTable cuts a table into ranges of about shardRecords, in the order of its keys.
func (s *Store) cutTable(ctx context.Context, t *table, rev int64) ([][2]string, error) {
	n, err := s.countRange(ctx, t.prefix, nextPrefix(t.prefix), rev)
	if err != nil {
		return nil, err
	}
	ranges := shardRanges(t.prefix, n)
	if len(ranges) == 1 {
		return ranges, nil
	}
	var out [][2]string
	for _, r := range ranges {
		cut, err := s.cutScopes(ctx, t, r, rev)
		if err != nil {
			return nil, err
		}
		out = append(out, cut...)
	}
	return out, nil
}

// cutScopes cuts a range further if it holds far more than its share. Keys begin with
// the hash of their scope, so all records of one account in one region, which may be all
// there are, lie in one range of equally many hashes, and it is their second hash that
// spreads them. Every scope before the large one costs a look, for which etcd counts
// what is left of the range.
func (s *Store) cutScopes(ctx context.Context, t *table, r [2]string, rev int64) (out [][2]string, err error) {
	from, to := r[0], r[1]
	left, err := s.countRange(ctx, from, to, rev)
	if err != nil {
		return nil, err
	}
	for left > maxShardRecords {
		got, err := s.client.Get(ctx, from, clientv3.WithRange(to), clientv3.WithRev(rev), clientv3.WithLimit(1), clientv3.WithKeysOnly())
		if err != nil {
			return nil, err
		}
		if len(got.Kvs) == 0 || len(got.Kvs[0].Key) < len(t.prefix)+hashBytes {
			break // not a record of ours; Check reports it
		}
		scope := string(got.Kvs[0].Key[:len(t.prefix)+hashBytes])
		n, err := s.countRange(ctx, scope, nextPrefix(scope), rev)
		if err != nil {
			return nil, err
		}
		cut := shardRanges(scope, n)
		cut[0][0] = from // what lies before the scope is nothing, or not ours
		out = append(out, cut...)
		left -= n
		from = nextPrefix(scope)
	}
	if from < to {
		out = append(out, [2]string{from, to})
	}
	return out, nil
}

func (s *Store) countRange(ctx context.Context, from, to string, rev int64) (int64, error) {
	got, err := s.client.Get(ctx, from, clientv3.WithRange(to), clientv3.WithCountOnly(), clientv3.WithRev(rev))
	if err != nil {
		return 0, err
	}
	return got.Count, nil
}

// shardRanges cuts what begins with a prefix into ranges. A hash comes next in the keys,
// so equal ranges hold about equally many.
func shardRanges(prefix string, records int64) [][2]string {
	if records <= shardRecords {
		return [][2]string{{prefix, nextPrefix(prefix)}}
	}
	cuts := min(maxShards, 1+records/shardRecords)
	out := make([][2]string, 0, cuts)
	from := prefix
	for i := int64(1); i < cuts; i++ {
		at := i * 65536 / cuts
		to := prefix + string([]byte{byte(at >> 8), byte(at)})
		out = append(out, [2]string{from, to})
		from = to
	}
	return append(out, [2]string{from, nextPrefix(prefix)})
}

// decodeEvent turns a key and its value, or its deletion, into a change. ok is false
// for what is not a record of an attached table.
func (s *Store) decodeEvent(kv *mvccpb.KeyValue, deleted bool) (c change, ok bool) {
	name, rest, ok := splitKey(kv.Key)
	t := s.byName[string(name)]
	if !ok || t == nil {
		return change{}, false
	}
	key := string(rest)
	c = change{table: t, key: key}
	if !validHashedLen(len(key)) {
		return change{}, false // Check reports it
	}
	if deleted {
		return c, true
	}
	return t.decodeRecord(key, kv.Value, kv.ModRevision), true
}

// decodeRecord turns a record as it was written at a revision into a change.
func (t *table) decodeRecord(key string, value []byte, rev int64) change {
	c := change{table: t, key: key}
	c.e, c.refused = t.decodeValue(key, value, true)
	if c.refused == nil {
		c.e.rev = rev
	}
	return c
}

const (
	retryMin = 20 * time.Millisecond
	retryMax = 2 * time.Second
)

// watch feeds the mirror with everything that other nodes, leases and housekeeping
// write, until ctx ends.
func (s *Store) watch(ctx context.Context) error {
	pause := retryMin
	for {
		from := s.mirror.next()
		compacted, err := s.watchFrom(ctx, from)
		if ctx.Err() != nil {
			return nil
		}
		if s.mirror.next() > from {
			pause = retryMin
		}
		if compacted {
			s.log.Warn("watch fell behind a compaction; loading all records again", "revision", from)
			s.metrics.loads.Inc()
			var l *loaded
			if l, err = s.load(ctx); err == nil {
				s.mirror.replace(l)
				continue
			}
		}
		if err != nil {
			s.metrics.watches.Inc()
			s.log.Warn("watch interrupted; trying again", "revision", from, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, retryMax)
	}
}

// watchFrom feeds the mirror from one watch, over the whole key space so that no
// revision is missing from it.
func (s *Store) watchFrom(ctx context.Context, from int64) (compacted bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !s.embedded {
		// A member that is cut off from the others must not keep us waiting.
		ctx = clientv3.WithRequireLeader(ctx)
	}
	s.metrics.watching.Store(true)
	defer s.metrics.watching.Store(false)
	for resp := range s.client.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(from)) {
		raise(&s.metrics.newest, resp.Header.Revision)
		if resp.CompactRevision > 0 {
			return true, nil
		}
		if err := resp.Err(); err != nil {
			return false, err
		}
		if err := s.offerEvents(ctx, resp.Events); err != nil {
			return false, err
		}
	}
	return false, errors.New("watch ended")
}

// offerEvents hands the events of whole revisions to the mirror. etcd sends all
// events of a revision in one response.
func (s *Store) offerEvents(ctx context.Context, events []*clientv3.Event) error {
	var batches []batch
	for len(events) > 0 {
		b := batch{rev: events[0].Kv.ModRevision}
		n := 1
		for n < len(events) && events[n].Kv.ModRevision == b.rev {
			n++
		}
		if !s.mirror.known(b.rev) && s.isOwn(events[:n]) {
			s.mirror.offer(batches...)
			batches = nil
			s.awaitOwn(ctx, b.rev)
		}
		if !s.mirror.known(b.rev) {
			for _, ev := range events[:n] {
				deleted := ev.Type == clientv3.EventTypeDelete
				b.bytes += int64(len(ev.Kv.Key) + len(ev.Kv.Value))
				if string(ev.Kv.Key) == keyringKey {
					s.keyringChanged(ev.Kv.Value, b.rev)
				}
				c, ok := s.decodeEvent(ev.Kv, deleted)
				if ok && errors.Is(c.refused, envelope.ErrNoKey) && s.ring.doubt.Load() != nil {
					// Sealed under a key that this node cannot open yet. To go on without it
					// would show the record as it was; so nothing newer is shown at all.
					s.mirror.offer(batches...)
					batches = nil
					if err := s.awaitKeyring(ctx); err != nil {
						return err
					}
					c, ok = s.decodeEvent(ev.Kv, deleted)
				}
				if ok {
					c.e = c.table.decoded(c.e) // which else is done while the mirror is locked
					b.changes = append(b.changes, c)
				}
			}
			batches = append(batches, b)
		}
		events = events[n:]
	}
	if len(batches) > 0 {
		s.mirror.offer(batches...)
	}
	return nil
}
