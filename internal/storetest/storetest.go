// Package storetest starts real stores for tests and makes their commits fail.
//
// There is no fake: each store is an embedded etcd member in a directory of the
// test's own. When the test ends the store is checked, and a problem fails the test.
package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"arca/internal/envelope"
	"arca/internal/store"
)

// Check is an invariant that holds whenever no call is under way. It is asked on the
// open store, with the newest state of it, before the store is closed.
type Check func(v *store.Snap, report func(problem string))

// RootKey is a provider of random root keys in memory. They survive closing and
// opening a store again within the test.
type RootKey struct {
	mu    sync.Mutex
	kind  string
	keys  map[string]*envelope.Key // guarded by mu; by params
	first string                   // guarded by mu; params of what Create made
	made  int                      // guarded by mu
	// guarded by mu; params of the calls of Adopt and Destroy
	adopted, destroyed []string
}

// NewRootKey returns a provider of root keys for one store.
func NewRootKey() *RootKey { return NewRootKeyOfKind("test") }

// NewRootKeyOfKind is NewRootKey with another kind.
func NewRootKeyOfKind(kind string) *RootKey {
	return &RootKey{kind: kind, keys: make(map[string]*envelope.Key)}
}

// Kind returns "test", or what it was made with.
func (r *RootKey) Kind() string { return r.kind }

// Create makes the key.
func (r *RootKey) Create(context.Context) (*envelope.Key, []byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == "" {
		r.first = r.makeLocked()
	}
	k, err := r.copyLocked(r.first)
	return k, []byte(r.first), err
}

// Open returns the key of the parameters. A provider that made no key yet makes it
// then: it is a wrong one.
func (r *RootKey) Open(_ context.Context, params []byte) (*envelope.Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) == 0 {
		return envelope.GenerateKey(envelope.NewKeyID(), 1), nil
	}
	return r.copyLocked(string(params))
}

// Renew makes another key.
func (r *RootKey) Renew(context.Context) (*envelope.Key, []byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	params := r.makeLocked()
	k, err := r.copyLocked(params)
	return k, []byte(params), err
}

// Adopt notes the call.
func (r *RootKey) Adopt(_ context.Context, params, _ []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys[string(params)] == nil {
		return fmt.Errorf("no root key %q to adopt", params)
	}
	r.adopted = append(r.adopted, string(params))
	return nil
}

// Destroy forgets the key of the parameters.
func (r *RootKey) Destroy(_ context.Context, params []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, string(params))
	r.destroyed = append(r.destroyed, string(params))
	return nil
}

// Keys counts the keys that were made and not destroyed.
func (r *RootKey) Keys() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}

// Adopted lists the parameters that Adopt was called with.
func (r *RootKey) Adopted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.adopted)
}

func (r *RootKey) makeLocked() (params string) {
	params = r.kind
	if r.made++; r.made > 1 {
		params = fmt.Sprintf("%s %d", r.kind, r.made)
	}
	r.keys[params] = envelope.GenerateKey(envelope.NewKeyID(), 1)
	return params
}

// copyLocked gives the store a copy, because it wipes what it gets.
func (r *RootKey) copyLocked(params string) (*envelope.Key, error) {
	k := r.keys[params]
	if k == nil {
		return nil, fmt.Errorf("no root key %q", params)
	}
	secret := k.Secret()
	defer secret.Wipe()
	return envelope.NewKey(k.ID(), k.Version(), secret.Bytes())
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
