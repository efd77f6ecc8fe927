package storetest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"arca/internal/store"
)

// Scenario is something that changes the store, to be run with each of its commits
// failing once. E is whatever the test builds around the store.
type Scenario[E any] struct {
	// Attach builds what uses the store, before the store is opened.
	Attach func(s *store.Store) E
	// Setup prepares the store, without faults. May be nil.
	Setup func(t *testing.T, env E)
	// Do is what is tested. After an error it is called once more, as a client would
	// repeat the request with the same token, and must then succeed.
	Do func(t *testing.T, env E) error
	// Verify looks at the result, which must be the same whatever has failed. May be
	// nil.
	Verify func(t *testing.T, env E)
	// Check holds at the end of every run. May be nil.
	Check func(env E, v *store.Snap, report func(problem string))
}

// EveryCommit runs the scenario once without a fault, and then again and again in
// fresh stores, failing commit 1, 2, 3… of Do: not applied, applied but the reply
// lost, and applied with nobody to tell. It ends when Do no longer makes that many
// commits.
func EveryCommit[E any](t *testing.T, sc Scenario[E]) {
	t.Helper()
	t.Run("no fault", func(t *testing.T) { sc.run(t, 0, store.NoFault) })
	faults := []struct {
		name  string
		fault store.Fault
	}{
		{"not applied", store.FaultNotApplied},
		{"reply lost", store.FaultReplyLost},
		{"outcome unknown", store.FaultUnknown},
	}
	for n := 1; ; n++ {
		struck := false
		for _, f := range faults {
			ok := t.Run(fmt.Sprintf("commit %d %s", n, f.name), func(t *testing.T) {
				if sc.run(t, n, f.fault) {
					struck = true
				}
			})
			if !ok {
				return
			}
		}
		if !struck {
			return
		}
	}
}

// run reports whether the fault struck.
func (sc Scenario[E]) run(t *testing.T, at int, fault store.Fault) (struck bool) {
	// armed counts the commits of Do from 1; negative before Do and after the fault.
	var armed atomic.Int64
	armed.Store(-1 << 40)
	cfg := store.Config{
		Dir: t.TempDir(), RootKey: NewRootKey(), Logger: Logger(t),
		CommitFault: func(int) store.Fault {
			if at > 0 && armed.Add(1) == int64(at) {
				return fault
			}
			return store.NoFault
		},
	}
	var env E
	Open(t, cfg, func(s *store.Store) { env = sc.Attach(s) }, func(v *store.Snap, report func(string)) {
		if sc.Check != nil {
			sc.Check(env, v, report)
		}
	})
	if sc.Setup != nil {
		sc.Setup(t, env)
	}
	armed.Store(0)
	err := sc.Do(t, env)
	struck = at > 0 && armed.Load() >= int64(at)
	armed.Store(-1 << 40)
	switch {
	case err != nil && !struck:
		t.Fatalf("without a fault: %v", err)
	case err != nil:
		if err := sc.Do(t, env); err != nil {
			t.Fatalf("repeated after the fault: %v", err)
		}
	}
	if sc.Verify != nil {
		sc.Verify(t, env)
	}
	return struck
}
