package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"golang.org/x/sync/errgroup"
)

// What was deleted or replaced stays in three places: as an old version in etcd's
// database until compaction, in free pages of the database file until it is rewritten,
// and in the log until the segment with it is removed. etcd removes a segment when a
// later one begins before the newest snapshot; so the log is filled with transactions
// that cannot succeed, and change nothing, until that is so.

// ErrLogRemains means that everything was purged but the logs of the members of an
// external etcd cluster, which cannot be reached from here.
var ErrLogRemains = errors.New("old values remain in the logs of the external etcd members until they are overwritten there")

const (
	// fillerKey is never written.
	fillerKey   = metaPrefix + "filler"
	fillerBytes = 1 << 20
	// Files of the log that are kept in any case while nobody asks for a purge.
	keptSegments = 2
	// A purge of the log gives up after so many times what it should take.
	purgePatience = 4
)

// Purge removes from the files of this store what was deleted or replaced before the
// call, so that it is not found there any more: whatever the keys. All goes on
// meanwhile, slower; exports under way have to begin again. It says how far it is, in
// bytes or steps of each stage: "compact", "log", "defragment". A crash leaves a part
// of it done; the next Purge does the rest.
//
// What remains outside of its reach are blocks that the file system or the disk has not
// overwritten yet, and copies. With an external cluster the members' databases are
// purged and the error wraps ErrLogRemains.
func (s *Store) Purge(ctx context.Context, report func(stage string, done, total int64)) error {
	if report == nil {
		report = func(string, int64, int64) {}
	}
	st, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	s.space.purge.Lock()
	defer s.space.purge.Unlock()
	report("compact", 0, 1)
	if err := s.compactTo(ctx, st.rev, clientv3.WithCompactPhysical()); err != nil {
		return err
	}
	report("compact", 1, 1)
	if s.embedded {
		if err := s.purgeLog(ctx, report); err != nil {
			return err
		}
	}
	report("defragment", 0, 1)
	if s.embedded {
		_, _, err = s.defragMember(ctx, true)
	} else {
		err = s.defragAll(ctx)
	}
	if err != nil {
		return err
	}
	report("defragment", 1, 1)
	if !s.embedded {
		return ErrLogRemains
	}
	return nil
}

// defragAll rewrites the files of all members, after another node that is at it.
func (s *Store) defragAll(ctx context.Context) error {
	for {
		did, _, err := s.defragExternal(ctx, true)
		if did || err != nil {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

// purgeLog removes every segment of the log that there is.
func (s *Store) purgeLog(ctx context.Context, report func(stage string, done, total int64)) error {
	old, err := s.segments()
	if err != nil {
		return err
	}
	if len(old) == 0 {
		return fmt.Errorf("find the log of etcd: no segment in %s", s.walDir())
	}
	total := wal.SegmentSizeBytes
	// A segment that is full is followed by a new one.
	for sent := int64(0); ; sent += fillerBytes {
		now, err := s.segments()
		if err != nil {
			return err
		}
		if len(now) > 0 && now[len(now)-1] != old[len(old)-1] {
			break
		}
		if sent > purgePatience*total {
			return errors.New("purge the log: etcd does not begin a new segment")
		}
		report("log", min(sent, total), total)
		if err := s.fill(ctx, fillerBytes); err != nil {
			return err
		}
	}
	// Then a snapshot in it lets go of the segments before.
	for sent := 0; ; sent += snapshotEntries / 4 {
		left, err := s.removeSegments(old)
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		if sent > purgePatience*snapshotEntries {
			return fmt.Errorf("purge the log: etcd does not let go of %d segments", left)
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(64)
		for range snapshotEntries / 4 {
			g.Go(func() error { return s.fill(gctx, 0) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	if err := s.removeBroken(); err != nil {
		return fmt.Errorf("purge the log: %w", err)
	}
	report("log", total, total)
	return nil
}

// fill adds an entry to the log that changes nothing.
func (s *Store) fill(ctx context.Context, size int) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	_, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(fillerKey), ">", 0)).
		Then(clientv3.OpPut(fillerKey, string(make([]byte, size)))).
		Commit()
	if err != nil {
		return fmt.Errorf("%w: fill the log: %w", ErrUnavailable, err)
	}
	return nil
}

func (s *Store) walDir() string { return filepath.Join(s.cfg.Dir, etcdDirName, "member", "wal") }

// segments lists the files of the log, oldest first.
func (s *Store) segments() ([]string, error) {
	entries, err := os.ReadDir(s.walDir())
	if err != nil {
		return nil, fmt.Errorf("list the log of etcd: %w", err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".wal") {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out, nil
}

// removeSegments removes files of the log that etcd has let go of, as etcd would if it
// were told to: it holds a lock on each that a start may need. It reports how many
// are still there.
func (s *Store) removeSegments(names []string) (left int, err error) {
	s.space.log.Lock()
	defer s.space.log.Unlock()
	for i, name := range names {
		path := filepath.Join(s.walDir(), name)
		lock, err := fileutil.TryLockFile(path, os.O_WRONLY, fileutil.PrivateFileMode)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil { // in use, and so are those after it
			return len(names) - i, nil
		}
		if err := errors.Join(os.Remove(path), lock.Close()); err != nil {
			return len(names) - i, fmt.Errorf("remove a segment of the log: %w", err)
		}
	}
	dir, err := os.Open(s.walDir())
	if err != nil {
		return 0, fmt.Errorf("remove segments of the log: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return 0, fmt.Errorf("remove segments of the log: %w", err)
	}
	return 0, nil
}

// removeBroken removes the copies that etcd makes before it repairs the end of a log or
// refuses a snapshot file, as after a power loss, and never looks at again.
func (s *Store) removeBroken() error {
	member := filepath.Dir(s.walDir())
	var errs []error
	for _, dir := range []string{member, s.walDir(), filepath.Join(member, "snap")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("list files of etcd: %w", err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".broken") || strings.HasPrefix(e.Name(), "wal.broken.") {
				s.log.Info("removing what etcd put aside", "file", e.Name())
				errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

// trimLog removes what etcd has let go of, but for a few files. etcd's own loop, which
// does the same, cannot be told to do it now, and ends the process if somebody else
// removes a file under its hands.
func (s *Store) trimLog() error {
	if !s.embedded {
		return nil
	}
	if err := s.removeBroken(); err != nil {
		return err
	}
	names, err := s.segments()
	if err != nil || len(names) <= keptSegments {
		return err
	}
	_, err = s.removeSegments(names[:len(names)-keptSegments])
	return err
}
