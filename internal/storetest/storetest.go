// Package storetest starts real stores for tests and makes their commits fail.
//
// There is no fake: each store is an embedded etcd member in a directory of the
// test's own. When the test ends the store is checked, and a problem fails the test.
package storetest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"arca/internal/envelope"
	"arca/internal/store"
)

// Check is an invariant that holds whenever no call is under way. It is asked on the
// open store, with the newest state of it, before the store is closed.
type Check func(v *store.Snap, report func(problem string))

// RootKey is a random root key in memory. It survives closing and opening a store
// again within the test.
type RootKey struct {
	mu  sync.Mutex
	key *envelope.Key // guarded by mu; nil before Create
}

// NewRootKey returns a root key for one store.
func NewRootKey() *RootKey { return new(RootKey) }

// Kind returns "test".
func (r *RootKey) Kind() string { return "test" }

// Create makes the key.
func (r *RootKey) Create(context.Context) (*envelope.Key, []byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.key == nil {
		r.key = envelope.GenerateKey(envelope.NewKeyID(), 1)
	}
	k, err := r.copyLocked()
	return k, []byte("test"), err
}

// Open returns the key.
func (r *RootKey) Open(context.Context, []byte) (*envelope.Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.key == nil {
		r.key = envelope.GenerateKey(envelope.NewKeyID(), 1)
	}
	return r.copyLocked()
}

// copyLocked gives the store a copy, because it wipes what it gets.
func (r *RootKey) copyLocked() (*envelope.Key, error) {
	secret := r.key.Secret()
	defer secret.Wipe()
	return envelope.NewKey(r.key.ID(), r.key.Version(), secret.Bytes())
}

// Logger logs warnings and errors to the test.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// New opens a store in a directory of its own and runs it until the test ends, when
// the store's own check and the given ones must find nothing. attach, which may be
// nil, adds tables before the store is opened.
func New(t testing.TB, attach func(s *store.Store), checks ...Check) *store.Store {
	t.Helper()
	return Open(t, store.Config{Dir: t.TempDir(), RootKey: NewRootKey(), Logger: Logger(t)}, attach, checks...)
}

// Open is New with a configuration: to open a directory again, to inject faults, or
// to reach an external etcd.
func Open(t testing.TB, cfg store.Config, attach func(s *store.Store), checks ...Check) *store.Store {
	t.Helper()
	s := store.New(cfg)
	if attach != nil {
		attach(s)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Open(ctx); err != nil {
		t.Fatalf("open store: %v", err)
	}
	stop := run(t, s)
	t.Cleanup(func() {
		verify(t, s, checks)
		stop()
		if err := s.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return s
}

// run starts Run and returns what ends it.
func run(t testing.TB, s *store.Store) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil && err != store.ErrClosed {
			t.Errorf("run store: %v", err)
		}
	}
}

// verify runs all checks. A store that the test has closed itself is not checked.
func verify(t testing.TB, s *store.Store, checks []Check) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	report := func(problem string) { t.Errorf("check: %s", problem) }
	err := s.Check(ctx, report)
	if err == store.ErrClosed {
		return
	}
	if err != nil {
		t.Errorf("check store: %v", err)
		return
	}
	err = s.View(ctx, func(v *store.Snap) error {
		for _, check := range checks {
			check(v, report)
		}
		return nil
	})
	if err != nil {
		t.Errorf("check store: %v", err)
	}
}
