package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// LoggedChange is a change of a record as a line of an audit log tells it.
type LoggedChange struct {
	Change // Table is not looked at
	// Log tells logs apart, Line lines in one; both are for the reader of a problem.
	Log  uint8
	Line uint64
}

// ChangeLog is what audit logs know of the changes of a store.
type ChangeLog struct {
	// Each calls fn for every change there is a line for, in any order. It is called
	// several times and must yield the same, or more that was appended meanwhile. fn
	// keeps nothing of what it is given; its error is returned as it is.
	Each func(ctx context.Context, fn func(c *LoggedChange) error) error
	// Pruned reports whether lines of a log are missing before the oldest one there is.
	// It is asked after Each, and so is Gaps.
	Pruned func(log uint8) bool
	// Gaps reports whether lines are missing in between. What then has no line is
	// counted, and no problem.
	Gaps func() bool
	// MaxKeys bounds the memory: how many records are held at a time, at 48 to 96 bytes
	// each. More take further passes over the log. 0 means 3,000,000.
	MaxKeys int
}

// Mismatch is a record that is not as the log says.
type Mismatch struct {
	Table string
	Key   string // hexadecimal, hashed parts only
	Text  string
	// Log and Line are the newest line about the record; Known is false when there is
	// none.
	Log   uint8
	Line  uint64
	Known bool
}

// ChangeReport is what a comparison with a log came to.
type ChangeReport struct {
	Records  int64 // compared in all
	Resealed int64 // of those, under a newer storage key than when their line was written
	Quiet    int64 // newer than their line, or without one, as their table allows
	Older    int64 // older than the log, of which it says nothing
	Unknown  int64 // without the line that would explain them, which may be in a gap
	// Restored: the store came from a backup. What is as old as that is among Older.
	Restored bool
	Passes   int // over the log
}

const (
	defaultLedgerKeys = 3_000_000
	// pruneSlack is how many revisions the changes may be apart whose lines stand in the
	// other order: more than can be under way at once.
	pruneSlack = 4096
)

// CheckChanges compares every record in etcd with the newest change that the log has
// of it: one that is older was put back, one that is newer was changed by somebody who
// left no line, one that is missing was removed, and one that was deleted and is there
// has been put back, too. Other than Check it finds what was done while no process was
// looking. It believes the log; whether that is whole is for the log's own check.
//
// A value sealed anew under a later storage key is one sequence number ahead of its
// line for each key, and no line tells its hash: so many are allowed as there can have
// been keys between, which is what the version of its key says.
//
// Nothing may write to the store meanwhile.
func (s *Store) CheckChanges(ctx context.Context, log ChangeLog, report func(Mismatch)) (ChangeReport, error) {
	if log.MaxKeys <= 0 {
		log.MaxKeys = defaultLedgerKeys
	}
	c := comparison{s: s, log: log, report: report, first: make(map[uint8]uint64), out: ChangeReport{Restored: s.floor > 0}}
	c.book.max = log.MaxKeys
	err := s.each(ctx, func(st *state) error {
		for more := true; more; more = c.book.nextRange() {
			if err := c.gather(ctx); err != nil {
				return err
			}
			c.out.Passes++
			err := s.scan(ctx, st.rev, func(kv *mvccpb.KeyValue) error {
				c.compare(kv)
				return nil
			})
			if err != nil {
				return err
			}
			if err := c.reportMissing(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return c.out, err
}

// Restored reports whether the store was filled from a backup, ever.
func (s *Store) Restored() bool { return s.floor > 0 }

// PendingChanges calls fn with the data of each audit effect in etcd, of whichever
// node: the lines of these are still to be written.
func (s *Store) PendingChanges(ctx context.Context, fn func(data []byte) error) error {
	at, end := effectPrefix, nextPrefix(effectPrefix)
	for {
		got, err := s.client.Get(ctx, at, clientv3.WithRange(end), clientv3.WithLimit(resealPage))
		if err != nil {
			return fmt.Errorf("%w: read effects: %w", ErrUnavailable, err)
		}
		for _, kv := range got.Kvs {
			rec, err := s.openEffect(string(kv.Key), kv.Value)
			if err != nil {
				return fmt.Errorf("open effect %s: %w", hexKey(string(kv.Key[len(effectPrefix):])), err)
			}
			if rec.Kind != effectAudit {
				continue
			}
			if err := fn(rec.Data); err != nil {
				return err
			}
		}
		if !got.More {
			return nil
		}
		at = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
	}
}

// comparison is one run of CheckChanges.
type comparison struct {
	s      *Store
	log    ChangeLog
	report func(Mismatch)
	book   ledger
	// first is the lowest sequence that each log has a written record with.
	first map[uint8]uint64
	// horizon is the sequence up to which a record may be older than the log.
	horizon uint64
	out     ChangeReport
}

// gather reads the log for the keys of the range.
func (c *comparison) gather(ctx context.Context) error {
	c.book.reset()
	err := c.log.Each(ctx, func(l *LoggedChange) error {
		t, _, ok := c.tableOf(l.Key)
		if !ok {
			return nil // meta records, and tables that are no more
		}
		if !l.Deleted {
			if first, ok := c.first[l.Log]; !ok || l.Sequence < first {
				c.first[l.Log] = l.Sequence
			}
		}
		c.book.add(t, l)
		return nil
	})
	c.horizon = c.oldest()
	return err
}

func (c *comparison) tableOf(etcdKey []byte) (t *table, key string, ok bool) {
	name, key, ok := splitKey(string(etcdKey))
	if !ok {
		return nil, "", false
	}
	t = c.s.byName[name]
	return t, key, t != nil && validHashedLen(len(key))
}

// oldest is the horizon. Sequences follow revisions, and a restore begins above all that
// were restored; so what the logs lack at their beginnings is below what they begin with.
func (c *comparison) oldest() uint64 {
	if len(c.first) == 0 {
		return math.MaxUint64 // there is nothing to compare with
	}
	h, whole, pruned := c.s.floor, uint64(math.MaxUint64), false
	for log, first := range c.first {
		if c.log.Pruned(log) {
			h, pruned = max(h, first+pruneSlack), true
		} else {
			whole = min(whole, first)
		}
	}
	// What is still to be written begins anywhere; it counts for a beginning only where
	// no log has lost its own.
	if !pruned && whole > 0 && whole < math.MaxUint64 {
		h = max(h, whole-1)
	}
	return h
}

func (c *comparison) compare(kv *mvccpb.KeyValue) {
	t, key, ok := c.tableOf(kv.Key)
	if !ok {
		return
	}
	id := ledgerID(kv.Key)
	if !c.book.covers(&id) {
		return
	}
	c.out.Records++
	seq, _, err := splitValue(kv.Value)
	if err != nil {
		return // Check reports it
	}
	line := c.book.find(&id)
	wrong := func(text string) {
		m := Mismatch{Table: t.name, Key: hexKey(key), Text: text}
		if line != nil {
			m.Log, m.Line, m.Known = line.log(), line.line(), true
		}
		c.report(m)
	}
	unexplained := func(text string) {
		switch {
		case t.mayBeQuiet(key, kv.Value):
			c.out.Quiet++
		case c.log.Gaps():
			c.out.Unknown++
		default:
			wrong(text)
		}
	}
	if line == nil {
		if seq <= c.horizon {
			c.out.Older++
			return
		}
		unexplained("it is there, and no line of the log is about it")
		return
	}
	line.setSeen()
	was := line.sequence()
	switch {
	case line.deleted() && seq <= was:
		wrong("it was deleted and is there again: an old state was put back")
	case line.deleted():
		unexplained("it was deleted and is there again, and no line tells of that")
	case seq < was:
		wrong(fmt.Sprintf("it has the sequence %d, its last change %d: an old state was put back", seq, was))
	case seq == was:
		sum := sha256.Sum256(kv.Value)
		if !bytes.Equal(sum[:ledgerSumBytes], line.sum[:]) {
			wrong(fmt.Sprintf("it has the sequence %d of its last change, and another content", seq))
		}
	case seq-was < uint64(sealedUnder(kv.Value)):
		c.out.Resealed++
	default:
		unexplained(fmt.Sprintf("it has the sequence %d, its last change %d: it was changed without a line", seq, was))
	}
}

// mayBeQuiet reports whether a record of the table can be as it is without a line.
func (t *table) mayBeQuiet(key string, value []byte) bool {
	if t.quiet == nil {
		return false
	}
	e, err := t.decodeValue(key, value, false)
	return err == nil && t.quiet(t.record(e))
}

// reportMissing reports the records that the log knows and etcd does not have. The log
// is read once more for their names, since the ledger has no room for them.
func (c *comparison) reportMissing(ctx context.Context) error {
	missing := 0
	for i := range c.book.slots {
		if l := &c.book.slots[i]; c.missing(l) {
			missing++
		}
	}
	switch {
	case missing == 0:
		return nil
	case c.log.Gaps():
		c.out.Unknown += int64(missing)
		return nil
	}
	return c.log.Each(ctx, func(l *LoggedChange) error {
		t, key, ok := c.tableOf(l.Key)
		if !ok {
			return nil
		}
		id := ledgerID(l.Key)
		if !c.book.covers(&id) {
			return nil
		}
		line := c.book.find(&id)
		if line == nil || !c.missing(line) {
			return nil
		}
		line.setSeen()
		c.report(Mismatch{
			Table: t.name, Key: hexKey(key), Log: line.log(), Line: line.line(), Known: true,
			Text: fmt.Sprintf("it is missing, though it was written with the sequence %d and never deleted", line.sequence()),
		})
		return nil
	})
}

// missing reports whether a line is about a record that should have been found.
func (c *comparison) missing(l *ledgerSlot) bool {
	return l.used() && !l.seen() && !l.deleted() && !c.s.tables[l.table()].vanishes
}
