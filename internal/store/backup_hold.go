package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A hold is a key in etcd, in the clear and under a lease, that names a revision which
// compaction must spare. It is there and not in memory because every node compacts,
// and because an export outlives the process that began it. A hold ends with its
// lease, so that one whose owner has gone costs minutes of old versions and no more;
// and it counts for nothing when what it spares takes too much room: an export can
// begin again, a full database cannot.
const (
	holdPrefix = metaPrefix + "hold/"

	// holdSeconds is how long an export may pause between two pages.
	holdSeconds = 600
	maxHolds    = 16
	// Beyond these a hold no longer counts.
	holdRevisions    = 2_000_000
	holdQuotaPercent = 50
)

func holdKey(lease int64) string { return holdPrefix + strconv.FormatInt(lease, 16) }

// takeHold spares a revision. The revision may have been compacted away just before,
// which the first read of it shows.
func (s *Store) takeHold(ctx context.Context, rev int64) (lease int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	held, err := s.client.Get(ctx, holdPrefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("%w: count holds: %w", ErrUnavailable, err)
	}
	if held.Count >= maxHolds {
		return 0, fmt.Errorf("%w: %d are under way", ErrExports, held.Count)
	}
	granted, err := s.client.Grant(ctx, holdSeconds)
	if err != nil {
		return 0, fmt.Errorf("%w: open lease: %w", ErrUnavailable, err)
	}
	lease = int64(granted.ID)
	put, err := s.client.Put(ctx, holdKey(lease), strconv.FormatInt(rev, 10), clientv3.WithLease(granted.ID))
	if err != nil {
		s.dropHold(ctx, lease)
		return 0, fmt.Errorf("%w: hold revision %d: %w", ErrUnavailable, rev, err)
	}
	s.mirror.offer(batch{rev: put.Header.Revision})
	return lease, nil
}

// keepHold renews the hold of an export, or takes a new one if it has ended.
func (s *Store) keepHold(ctx context.Context, x *Export) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	_, err := s.client.KeepAliveOnce(ctx, clientv3.LeaseID(x.Hold))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		x.Hold, err = s.takeHold(ctx, x.Revision)
		return err
	}
	return fmt.Errorf("%w: keep revision %d: %w", ErrUnavailable, x.Revision, err)
}

// dropHold ends a hold before its lease does. That the caller has gone is no reason to
// leave it.
func (s *Store) dropHold(ctx context.Context, lease int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if _, err := s.client.Revoke(ctx, clientv3.LeaseID(lease)); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		s.log.Warn("hold on old versions not released; it ends with its lease", "error", err.Error())
	}
}

// heldBack is the revision to compact to, given the one that would be due: the same, or
// the lowest that is held.
func (s *Store) heldBack(ctx context.Context, rev int64) (int64, error) {
	got, err := s.client.Get(ctx, holdPrefix, clientv3.WithPrefix())
	if err != nil {
		return 0, fmt.Errorf("%w: look for holds: %w", ErrUnavailable, err)
	}
	lowest := rev
	for _, kv := range got.Kvs {
		held, err := strconv.ParseInt(string(kv.Value), 10, 64)
		if err != nil || held <= 0 {
			continue // nobody of ours wrote it
		}
		if rev-held <= holdRevisions {
			lowest = min(lowest, held)
		}
	}
	if lowest == rev {
		return rev, nil
	}
	full, err := s.spaceIsShort(ctx)
	if err != nil {
		return 0, err
	}
	if full {
		s.log.Warn("etcd is more than half full: old versions are given up, and a backup under way has to begin again")
		return rev, nil
	}
	return lowest, nil
}

// spaceIsShort reports whether old versions are too dear to be kept.
func (s *Store) spaceIsShort(ctx context.Context) (bool, error) {
	if s.embedded {
		return s.etcd.Server.Backend().SizeInUse() > s.cfg.QuotaBytes/100*holdQuotaPercent, nil
	}
	for _, endpoint := range s.client.Endpoints() {
		st, err := s.client.Status(ctx, endpoint)
		if err != nil {
			return false, fmt.Errorf("%w: status of %s: %w", ErrUnavailable, endpoint, err)
		}
		if st.DbSizeQuota > 0 && st.DbSizeInUse > st.DbSizeQuota/100*holdQuotaPercent {
			return true, nil
		}
	}
	return false, nil
}
