package store_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"

	"arca/internal/store"
	"arca/internal/storetest"
)

// A member that was killed before it knew itself to be a voter would never start again.
func TestStartAfterDeathInFirstStart(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	logs := filepath.Join(cfg.Dir, "etcd", "member", "wal")
	// The first start of a node, up to the moment after etcd has made its log.
	first := store.New(cfg)
	if err := first.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, first)
	metadata := walMetadata(t, logs)
	node, err := os.ReadFile(filepath.Join(cfg.Dir, "node.json"))
	if err != nil {
		t.Fatal(err)
	}
	cfg = store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	logs = filepath.Join(cfg.Dir, "etcd", "member", "wal")
	if err := os.MkdirAll(filepath.Dir(logs), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, "node.json"), withoutDeployment(t, node), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := wal.Create(zap.NewNop(), logs, metadata)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var h shelf
	s := storetest.Open(t, cfg, h.attach)
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a"), &thing{Name: "alive"}) })
}

// walMetadata is what etcd writes at the beginning of its log: node and cluster.
func walMetadata(t *testing.T, dir string) []byte {
	t.Helper()
	w, err := wal.OpenForRead(zap.NewNop(), dir, &walpb.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	metadata, state, _, err := w.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close() // of a log that was only read it always fails
	if state.GetCommit() == 0 {
		t.Error("a store that was opened has committed nothing")
	}
	return metadata
}

// withoutDeployment is a node's identity before its store was made.
func withoutDeployment(t *testing.T, raw []byte) []byte {
	t.Helper()
	var f map[string]any
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	delete(f, "deploymentId")
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
