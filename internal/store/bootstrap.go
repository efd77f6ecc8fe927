package store

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
)

// clearStillborn removes the database of a member that died while it was being made.
// etcd makes the log first and then writes into it that there is one voter; if the
// process dies in between, every later start waits for ever for an election that
// nobody can win. What tells this from all else is that nothing was ever committed:
// the transaction that a store begins with comes later, and waits to be on disk.
func (s *Store) clearStillborn() error {
	if s.node.known != "" {
		return nil // a store was here
	}
	member := filepath.Join(s.cfg.Dir, etcdDirName, "member")
	logs := filepath.Join(member, "wal")
	if !wal.Exist(logs) {
		return nil
	}
	snaps, err := filepath.Glob(filepath.Join(member, "snap", "*.snap"))
	if err != nil || len(snaps) > 0 {
		return err
	}
	w, err := wal.OpenForRead(zap.NewNop(), logs, &walpb.Snapshot{})
	if err != nil {
		return nil // etcd says what is wrong with it
	}
	_, state, _, err := w.ReadAll()
	_ = w.Close() // of a log that was only read it always fails
	if err != nil || state.GetCommit() > 0 {
		return nil
	}
	s.log.Warn("the database was being made when the process died, and is made anew")
	if err := os.RemoveAll(filepath.Join(s.cfg.Dir, etcdDirName)); err != nil {
		return fmt.Errorf("remove a database that was never finished: %w", err)
	}
	return nil
}
