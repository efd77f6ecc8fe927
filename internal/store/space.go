package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// etcd keeps every version of a record until it is told to forget (compaction), and
// its file keeps the room even then (until defragmentation). Both go by what was
// written, not by time alone: an hour can hold nothing or eight gigabytes.
const (
	compactRevisions = 10_000
	compactBytes     = 64 << 20
	// compactionBatch is how many revisions etcd looks at in one batch of a compaction, those
	// that stay included. A batch is a commit of the database, and writes wait for it; etcd's
	// own 1,000 are twice as many commits.
	compactionBatch = 2000
	// Revisions that stay for watchers and readers that lag.
	compactTail = 1000

	// A file smaller than this is not worth stopping writes for.
	defragMinBytes = 32 << 20
	// The alarm is lifted when this much of the quota is free again.
	alarmFreePercent = 10

	compactEvery = time.Second
	defragEvery  = 30 * time.Second
)

// space is the state of the housekeeping.
type space struct {
	// gate is held by commits for reading, until their outcome is known. It is held for
	// writing by the defragmentation of the member in this process, which would let them
	// time out with an unknown outcome instead of making them wait, and by the rotation
	// of the storage key, which none of them may span.
	gate sync.RWMutex

	purge sync.Mutex // held by Purge
	log   sync.Mutex // held while files of the log are removed

	mu    sync.Mutex
	rev   int64 // guarded by mu; newest revision at the last compaction
	bytes int64 // guarded by mu; mirror.bytes at the last compaction
}

// housekeep is the loop around CompactStep and DefragStep. Every so often it also
// notes which keys are in use.
func (s *Store) housekeep(ctx context.Context) error {
	compact := time.NewTicker(compactEvery)
	defer compact.Stop()
	defrag := time.NewTicker(defragEvery)
	defer defrag.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-compact.C:
			_, err = s.CompactStep(ctx)
			err = errors.Join(err, s.forgetKeys(ctx, time.Now()))
		case <-defrag.C:
			_, err = s.DefragStep(ctx)
			err = errors.Join(err, s.trimLog(), s.node.noteKeys(s.keysInUse()))
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("housekeeping failed; trying again", "error", err.Error())
		}
	}
}

// CompactStep makes etcd forget old versions if enough has been written since the
// last time. Run does it by itself. It reports whether it did.
func (s *Store) CompactStep(ctx context.Context) (did bool, err error) {
	p := &s.space
	rev, bytes := s.mirror.current.Load().rev, s.mirror.bytes.Load()
	p.mu.Lock()
	since := rev - p.rev
	due := since >= compactRevisions || (bytes-p.bytes >= compactBytes && since > 1)
	p.mu.Unlock()
	if !due {
		return false, nil
	}
	to, err := s.heldBack(ctx, rev-min(compactTail, since/10))
	if err != nil {
		return false, err
	}
	if err := s.compactTo(ctx, to); err != nil {
		return false, err
	}
	p.mu.Lock()
	p.rev, p.bytes = rev, bytes
	p.mu.Unlock()
	return true, nil
}

func (s *Store) compactTo(ctx context.Context, rev int64, opts ...clientv3.CompactOption) error {
	_, err := s.client.Compact(ctx, rev, opts...)
	// Another node was there first.
	if err == nil || errors.Is(err, rpctypes.ErrCompacted) {
		return nil
	}
	return fmt.Errorf("%w: compact to revision %d: %w", ErrUnavailable, rev, err)
}

// DefragStep gives room that etcd's file no longer uses back to the file system, one
// member at a time, and lifts the space alarm once there is room. Run does it by
// itself. It reports whether it rewrote a file. Writes wait meanwhile.
func (s *Store) DefragStep(ctx context.Context) (did bool, err error) {
	alarms, err := s.client.AlarmList(ctx)
	if err != nil {
		return false, fmt.Errorf("%w: list alarms: %w", ErrUnavailable, err)
	}
	full := false
	for _, a := range alarms.Alarms {
		full = full || a.Alarm == etcdserverpb.AlarmType_NOSPACE
	}
	if full {
		s.log.Error("etcd has reached its space quota and refuses writes; compacting and defragmenting")
		if err := s.compactTo(ctx, s.mirror.current.Load().rev, clientv3.WithCompactPhysical()); err != nil {
			return false, err
		}
	}
	room := true
	if s.embedded {
		did, room, err = s.defragMember(ctx, full)
	} else {
		did, room, err = s.defragExternal(ctx, full)
	}
	if err != nil || !full {
		return did, err
	}
	if !room {
		s.log.Error("etcd is still full; delete secrets or raise the quota")
		return did, nil
	}
	for _, a := range alarms.Alarms {
		m := &clientv3.AlarmMember{MemberID: a.MemberID, Alarm: a.Alarm}
		if _, err := s.client.AlarmDisarm(ctx, m); err != nil {
			return did, fmt.Errorf("%w: lift the space alarm: %w", ErrUnavailable, err)
		}
	}
	s.log.Warn("the space alarm of etcd is lifted")
	return did, nil
}

// worthIt is when at least half of a file is unused.
func worthIt(size, used int64) bool { return size >= defragMinBytes && used <= size/2 }

func roomy(used, quota int64) bool {
	return quota == 0 || used <= quota/100*(100-alarmFreePercent)
}

func (s *Store) defragMember(ctx context.Context, force bool) (did, room bool, err error) {
	b := s.etcd.Server.Backend()
	if force || worthIt(b.Size(), b.SizeInUse()) {
		s.space.gate.Lock()
		err := s.etcd.Server.Defragment()
		s.space.gate.Unlock()
		if err != nil {
			return false, false, fmt.Errorf("defragment: %w", err)
		}
		did = true
	}
	return did, roomy(b.Size(), s.cfg.QuotaBytes), ctx.Err()
}

// defragExternal goes from member to member, holding a lock so that two nodes never
// stop two members at once.
func (s *Store) defragExternal(ctx context.Context, force bool) (did, room bool, err error) {
	session, err := s.session.get(s)
	if err != nil {
		return false, false, fmt.Errorf("%w: open lease: %w", ErrUnavailable, err)
	}
	lock := concurrency.NewMutex(session, leadPrefix+"defrag")
	if err := lock.TryLock(ctx); errors.Is(err, concurrency.ErrLocked) {
		return false, false, nil // another node is at it
	} else if err != nil {
		return false, false, fmt.Errorf("%w: lock for defragmentation: %w", ErrUnavailable, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(s.life, commitTimeout)
		defer cancel()
		if uerr := lock.Unlock(ctx); uerr != nil {
			s.log.Warn("lock for defragmentation not released; it ends with its lease", "error", uerr.Error())
		}
	}()
	room = true
	for _, endpoint := range s.client.Endpoints() {
		st, err := s.client.Status(ctx, endpoint)
		if err != nil {
			return did, false, fmt.Errorf("%w: status of %s: %w", ErrUnavailable, endpoint, err)
		}
		if force || worthIt(st.DbSize, st.DbSizeInUse) {
			if _, err := s.client.Defragment(ctx, endpoint); err != nil {
				return did, false, fmt.Errorf("%w: defragment %s: %w", ErrUnavailable, endpoint, err)
			}
			did = true
			if st, err = s.client.Status(ctx, endpoint); err != nil {
				return did, false, fmt.Errorf("%w: status of %s: %w", ErrUnavailable, endpoint, err)
			}
		}
		room = room && roomy(st.DbSize, st.DbSizeQuota)
	}
	return did, room, nil
}

// Stats is what operators watch.
type Stats struct {
	Revision int64
	Records  map[string]int // by table
	// Refused counts values in etcd that were not taken over; see Check.
	Refused int64
	// Pending is the number of effects whose audit line is not released yet.
	Pending int
	// DBBytes is the size of the embedded member's file, DBUsedBytes the used part of
	// it, QuotaBytes its limit. All are 0 with an external cluster.
	DBBytes, DBUsedBytes, QuotaBytes int64
	// RetiredKeys is the number of keys that only open, OldRecords that of records which
	// are sealed under a storage key that is not the active one.
	RetiredKeys int
	OldRecords  int64
}

// Stats returns figures for metrics. It is cheap and asks nobody.
func (s *Store) Stats() Stats {
	var out Stats
	if s.mirror == nil {
		return out
	}
	st := s.mirror.current.Load()
	out.Revision = st.rev
	out.Refused = s.mirror.refused.Load()
	out.Records = make(map[string]int, len(s.tables))
	for i, t := range s.tables {
		out.Records[t.name] = st.tables[i].records.Len()
	}
	s.effects.mu.Lock()
	out.Pending = len(s.effects.open) + len(s.effects.orphans)
	s.effects.mu.Unlock()
	out.RetiredKeys, out.OldRecords = s.retired()
	if s.etcd != nil {
		b := s.etcd.Server.Backend()
		out.DBBytes, out.DBUsedBytes, out.QuotaBytes = b.Size(), b.SizeInUse(), s.cfg.QuotaBytes
	}
	return out
}
