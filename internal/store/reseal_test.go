package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arca/internal/store"
	"arca/internal/storetest"
)

// reseal steps until nothing is left.
func reseal(t *testing.T, s *store.Store) (sum store.ResealProgress) {
	t.Helper()
	for range 1000 {
		p, err := s.Reseal(t.Context(), time.Now())
		if err != nil {
			t.Fatalf("Reseal: %v", err)
		}
		sum.Resealed += p.Resealed
		sum.Dropped += p.Dropped
		sum.Done, sum.Total, sum.Stuck = p.Done, p.Total, p.Stuck
		if !p.More {
			return sum
		}
	}
	t.Fatal("Reseal does not end")
	return sum
}

func storageKeys(t *testing.T, s *store.Store) (out string) {
	t.Helper()
	keys, err := s.Keyring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Purpose == "storage" {
			out += fmt.Sprintf("%d:%v:%d ", k.Version, k.Active, *k.Records)
		}
	}
	return strings.TrimSpace(out)
}

func noOldValues(t *testing.T, s *store.Store, version uint32) {
	t.Helper()
	if keys, err := s.OldValues(t.Context(), version); err != nil || len(keys) > 0 {
		t.Errorf("%d values are under version %d, the first at %q, %v", len(keys), version, append(keys, "")[0], err)
	}
}

func TestReseal(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	t.Run("rotate", func(t *testing.T) {
		var h shelf
		s := storetest.Open(t, cfg, h.attach)
		if p, err := s.Reseal(t.Context(), time.Now()); err != nil || p.More || p.Total != 0 {
			t.Errorf("Reseal of an empty store = %+v, %v", p, err)
		}
		fill(t, s, &h, 300)
		large := make([]byte, 3000)
		c := mustUpdate(t, s, func(tx *store.Tx) {
			h.things.Put(tx, at("b", "1"), &thing{Name: "b"})
			h.parts.Put(tx, at("b", "1", "p"), &thing{Name: "p"})
			h.blobs.Put(tx, at("b", "1", "v"), &thing{Blob: large})
			tx.SetEffect(func([]store.Change) []byte { return []byte("effect") })
		})
		k, err := s.RotateStorageKey(t.Context())
		if err != nil || k.Version != 2 || !k.Active {
			t.Fatalf("RotateStorageKey = %+v, %v", k, err)
		}
		mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("c", "1"), &thing{Name: "c"}) })
		if got, want := storageKeys(t, s), "1:false:303 2:true:1"; got != want {
			t.Errorf("keys = %s, want %s", got, want)
		}
		if st := s.Stats(); st.RetiredKeys != 1 || st.OldRecords != 303 {
			t.Errorf("Stats = %+v", st)
		}
		sum := reseal(t, s)
		if sum.Dropped != 1 || sum.Done != 304 || sum.Total != 304 || sum.Resealed < 303+3 { // floor, node record, effect
			t.Errorf("Reseal = %+v", sum)
		}
		if got, want := storageKeys(t, s), "2:true:304"; got != want {
			t.Errorf("keys = %s, want %s", got, want)
		}
		noOldValues(t, s, 1)
		if before := s.Commits(); before > 0 {
			reseal(t, s)
			if got := s.Commits(); got != before {
				t.Errorf("with nothing to do %d commits were made", got-before)
			}
		}
		// An old snapshot may still need the key, but not for long.
		if !s.HasStorageKey(1) {
			t.Error("the old key was forgotten at once")
		}
		if err := s.ForgetKeys(t.Context(), time.Now().Add(2*time.Minute)); err != nil || s.HasStorageKey(1) {
			t.Errorf("the old key was not forgotten: %v", err)
		}
		view(t, s, func(v *store.Snap) {
			if r, err := h.blobs.Load(t.Context(), v, at("b", "1", "v")); err != nil || len(r.Blob) != len(large) {
				t.Errorf("Load = %+v, %v", r, err)
			}
		})
		_ = c // its effect is found by the next start
	})
	t.Run("again", func(t *testing.T) {
		var h shelf
		s := storetest.Open(t, cfg, h.attach)
		var effects []string
		err := s.Effects(t.Context(), func(seq uint64, data []byte) error {
			effects = append(effects, string(data))
			s.ReleaseEffect(seq)
			return nil
		})
		if err != nil || len(effects) != 1 || effects[0] != "effect" {
			t.Errorf("Effects = %q, %v", effects, err)
		}
		for range 3 {
			if _, err := s.RotateStorageKey(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("c", "1"), &thing{Name: "c"}) })
		}
		if got, want := storageKeys(t, s), "2:false:303 3:false:0 4:false:0 5:true:1"; got != want {
			t.Errorf("keys = %s, want %s", got, want)
		}
		reseal(t, s)
		if got, want := storageKeys(t, s), "5:true:304"; got != want {
			t.Errorf("keys = %s, want %s", got, want)
		}
	})
}

// Tables that this binary does not attach are sealed anew like the others.
func TestResealUnknownTables(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	t.Run("fill", func(t *testing.T) {
		var h shelf
		fill(t, storetest.Open(t, cfg, h.attach), &h, 700)
	})
	t.Run("reseal", func(t *testing.T) {
		s := storetest.Open(t, cfg, nil)
		if _, err := s.RotateStorageKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := reseal(t, s); p.Dropped != 1 || p.Resealed < 700 {
			t.Errorf("Reseal = %+v", p)
		}
		noOldValues(t, s, 1)
	})
	var h shelf
	storetest.Open(t, cfg, h.attach)
	if got := h.things.Count("a"); got != 700 {
		t.Errorf("Count = %d", got)
	}
}

// A key stays as long as a value needs it that cannot be sealed anew.
func TestResealStuck(t *testing.T) {
	var h shelf
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()}
	s := store.New(cfg)
	h.attach(s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	closeLater(t, s)
	fill(t, s, &h, 20)
	key := h.things.EtcdKey(at("a", "7"))
	good := get(t, s, key)
	bad := []byte(good)
	bad[len(bad)-1] ^= 1
	put(t, s, key, string(bad))
	if _, err := s.RotateStorageKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := reseal(t, s)
	if p.Stuck != 1 || p.Dropped != 0 {
		t.Errorf("Reseal = %+v", p)
	}
	if p, err := s.Reseal(t.Context(), time.Now()); err != nil || p.More || p.Stuck != 1 {
		t.Errorf("Reseal directly after = %+v, %v", p, err)
	}
	mustUpdate(t, s, func(tx *store.Tx) {
		h.parts.Put(tx, at("a", "8", "x"), &thing{})
		h.things.Put(tx, at("a", "8"), &thing{})
	})
	if _, err := s.Client().Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	for now := time.Now().Add(time.Hour); ; {
		p, err := s.Reseal(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		if p.Dropped == 1 {
			break
		}
		if !p.More {
			t.Fatalf("Reseal = %+v an hour later", p)
		}
	}
}

func TestResealFaults(t *testing.T) {
	type env struct {
		s *store.Store
		h *shelf
	}
	storetest.EveryCommit(t, storetest.Scenario[env]{
		Attach: func(s *store.Store) env {
			h := new(shelf)
			h.attach(s)
			return env{s, h}
		},
		Setup: func(t *testing.T, e env) {
			fill(t, e.s, e.h, 70)
			mustUpdate(t, e.s, func(tx *store.Tx) { // stays as an effect
				e.h.things.Put(tx, at("b", "1"), &thing{})
				tx.SetEffect(func([]store.Change) []byte { return []byte("x") })
			})
		},
		Do: func(t *testing.T, e env) error {
			if _, err := e.s.RotateStorageKey(t.Context()); err != nil {
				return err
			}
			for {
				p, err := e.s.Reseal(t.Context(), time.Now())
				if err != nil || !p.More {
					return err
				}
			}
		},
		Verify: func(t *testing.T, e env) {
			got := storageKeys(t, e.s)
			if strings.Contains(got, "false") || !strings.HasSuffix(got, ":true:71") {
				t.Errorf("keys = %s", got)
			}
			noOldValues(t, e.s, 1)
		},
	})
}

// Everybody writes while keys are rotated, values sealed anew and keys dropped.
func TestResealUnderWriters(t *testing.T) {
	writers := func(t *testing.T, nodes []member) {
		const ids = 6
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var acked [ids]atomic.Int64
		for id := range ids {
			n := nodes[id%len(nodes)]
			wg.Go(func() {
				for i := int64(1); ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					name := fmt.Sprint("w", id)
					c, err := n.s.Update(t.Context(), func(tx *store.Tx) error {
						r, ok := n.things.Get(tx.Snap, at("w", name))
						if !ok {
							r = &thing{Name: name}
						}
						// Every third time the child is left as it is.
						n.things.Put(tx, at("w", name), &thing{Name: name, N: r.N + 1})
						if i%3 != 0 {
							n.parts.Put(tx, at("w", name, "p"), &thing{N: r.N + 1})
							n.blobs.Put(tx, at("w", name, "b"), &thing{N: r.N + 1, Blob: make([]byte, 600)})
						}
						if i%50 == 0 {
							n.things.Put(tx, at("w", name, "x"), &thing{Name: "x"})
						} else if i%50 == 25 {
							n.things.Delete(tx, at("w", name, "x"))
						}
						tx.SetEffect(func([]store.Change) []byte { return []byte(name) })
						return nil
					})
					if err != nil {
						t.Errorf("writer %d: %v", id, err)
						return
					}
					n.s.ReleaseEffect(c.Effect)
					acked[id].Add(1)
				}
			})
		}
		for i := range 4 {
			if _, err := nodes[i%len(nodes)].s.RotateStorageKey(t.Context()); err != nil {
				t.Error(err)
			}
			if i%2 == 1 {
				if _, err := nodes[0].s.RotateRootKey(t.Context()); err != nil {
					t.Error(err)
				}
			}
			reseal(t, nodes[(i+1)%len(nodes)].s)
		}
		close(stop)
		wg.Wait()
		reseal(t, nodes[0].s)
		for v := range uint32(4) {
			noOldValues(t, nodes[0].s, v+1)
		}
		for _, n := range nodes {
			view(t, n.s, func(v *store.Snap) {
				for id := range ids {
					if r, _ := n.things.Get(v, at("w", fmt.Sprint("w", id))); r == nil || int64(r.N) != acked[id].Load() {
						t.Errorf("writer %d: %+v, %d were acknowledged", id, r, acked[id].Load())
					}
				}
			})
		}
	}
	t.Run("one node", func(t *testing.T) {
		var h shelf
		s := storetest.New(t, h.attach)
		fill(t, s, &h, 200)
		writers(t, []member{{&h, s}})
	})
	t.Run("two nodes", func(t *testing.T) {
		m := members(t, 2)
		fill(t, m[0].s, m[0].shelf, 200)
		writers(t, m)
	})
}

// A commit that was under way when the key was rotated does not come in under the old
// key, however late.
func TestCommitHeldUpOverARotation(t *testing.T) {
	write := func(n member) error {
		_, err := n.s.Update(t.Context(), func(tx *store.Tx) error {
			n.things.Put(tx, at("a", "new"), &thing{N: 1000})
			return nil
		})
		return err
	}
	rotate := func(t *testing.T, s *store.Store) {
		t.Helper()
		if _, err := s.RotateStorageKey(t.Context()); err != nil {
			t.Error(err)
		}
		if p := reseal(t, s); p.Dropped != 1 {
			t.Errorf("Reseal = %+v", p)
		}
	}
	t.Run("another node paused", func(t *testing.T) {
		m := members(t, 2)
		paused, other := m[1], m[0]
		fill(t, other.s, other.shelf, 20)
		held, release := paused.s.HoldCommit()
		done := make(chan error, 1)
		go func() { done <- write(paused) }()
		<-held
		rotate(t, other.s)
		release()
		if err := <-done; err != nil {
			t.Errorf("Update = %v", err)
		}
		noOldValues(t, other.s, 1)
	})
	t.Run("sealed but not sent", func(t *testing.T) {
		var h shelf
		s := storetest.New(t, h.attach)
		fill(t, s, &h, 20)
		sealed, rotated := make(chan struct{}), make(chan struct{})
		done := make(chan error, 1)
		runs := 0
		go func() {
			_, err := s.Update(t.Context(), func(tx *store.Tx) error {
				h.things.Put(tx, at("a", "new"), &thing{N: 1000})
				tx.SetEffect(func([]store.Change) []byte {
					if runs++; runs == 1 {
						close(sealed)
						<-rotated
					}
					return nil
				})
				return nil
			})
			done <- err
		}()
		<-sealed
		rotate(t, s)
		close(rotated)
		if err := <-done; err != nil || runs != 2 {
			t.Errorf("Update = %v after %d runs", err, runs)
		}
		noOldValues(t, s, 1)
	})
	t.Run("lost in the only node", func(t *testing.T) {
		var h shelf
		fault := atomic.Bool{}
		s := storetest.Open(t, store.Config{
			Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t),
			CommitFault: func(int) store.Fault {
				if fault.Swap(false) {
					return store.FaultUnknown
				}
				return store.NoFault
			},
		}, h.attach)
		fill(t, s, &h, 20)
		fault.Store(true)
		if err := write(member{&h, s}); !errors.Is(err, store.ErrUnknown) {
			t.Fatalf("Update = %v", err)
		}
		rotate(t, s)
		noOldValues(t, s, 1)
	})
	t.Run("never sent in the only node", func(t *testing.T) {
		var h shelf
		s := storetest.New(t, h.attach)
		fill(t, s, &h, 20)
		var late func() error
		s.HoldNextCommitUnknown(func(send func() error) { late = send })
		if err := write(member{&h, s}); !errors.Is(err, store.ErrUnknown) {
			t.Fatalf("Update = %v", err)
		}
		rotate(t, s)
		if err := late(); err != nil {
			t.Error(err)
		}
		noOldValues(t, s, 1)
	})
}

// A commit whose reply is lost is found although its marker was sealed anew.
func TestLostReplyBesideReseal(t *testing.T) {
	m := members(t, 2)
	w, o := m[1], m[0]
	w.s.LoseNextReply(func() {
		if _, err := o.s.RotateStorageKey(t.Context()); err != nil {
			t.Error(err)
		}
		reseal(t, o.s)
	})
	c := mustUpdate(t, w.s, func(tx *store.Tx) {
		w.things.Put(tx, at("a", "1"), &thing{N: 1})
		tx.SetEffect(func([]store.Change) []byte { return []byte("x") })
	})
	if n, err := w.s.EffectKeys(t.Context()); err != nil || n != 1 {
		t.Errorf("%d effects, %v", n, err)
	}
	w.s.ReleaseEffect(c.Effect)
	got, err := o.s.Client().Get(t.Context(), w.things.EtcdKey(at("a", "1")))
	if err != nil || len(got.Kvs) != 1 || got.Kvs[0].CreateRevision != c.Revision {
		t.Errorf("Update says revision %d, etcd %v, %v", c.Revision, got.Kvs, err)
	}
	for _, n := range m {
		view(t, n.s, func(v *store.Snap) {
			if r, ok := n.things.Get(v, at("a", "1")); !ok || r.N != 1 {
				t.Errorf("a node sees %+v", r)
			}
		})
	}
}

// A child is written without being compared, because its parent is; its value was
// sealed anew in between. Whoever comes last has the higher sequence.
func TestUncomparedChildBesideReseal(t *testing.T) {
	m := members(t, 2)
	w, o := m[1], m[0]
	mustUpdate(t, o.s, func(tx *store.Tx) {
		o.things.Put(tx, at("a", "1"), &thing{N: 1})
		o.parts.Put(tx, at("a", "1", "p"), &thing{N: 1})
	})
	// Something that cannot be sealed anew keeps the key, so that the keyring does not
	// change while the commit is held up.
	const stuck = store.FloorKey + "x"
	put(t, o.s, stuck, get(t, o.s, store.FloorKey))
	if _, err := o.s.RotateStorageKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, o.s, func(tx *store.Tx) { o.things.Put(tx, at("a", "1"), &thing{N: 2}) })
	view(t, w.s, func(*store.Snap) {}) // it knows all that
	held, release := w.s.HoldCommit()
	runs := 0
	done := make(chan error, 1)
	go func() {
		_, err := w.s.Update(t.Context(), func(tx *store.Tx) error {
			runs++
			w.things.Put(tx, at("a", "1"), &thing{N: 3})
			w.parts.Put(tx, at("a", "1", "p"), &thing{N: 3})
			return nil
		})
		done <- err
	}()
	<-held
	if p := reseal(t, o.s); p.Stuck != 1 || p.Resealed == 0 {
		t.Errorf("Reseal = %+v", p)
	}
	if got := store.SealedUnder([]byte(get(t, o.s, o.parts.EtcdKey(at("a", "1", "p"))))); got != 2 {
		t.Errorf("the child is under version %d", got)
	}
	release()
	if err := <-done; err != nil || runs != 1 {
		t.Fatalf("Update = %v after %d runs", err, runs)
	}
	for _, n := range m {
		view(t, n.s, func(v *store.Snap) {
			if r, ok := n.parts.Get(v, at("a", "1", "p")); !ok || r.N != 3 {
				t.Errorf("a node sees %+v", r)
			}
		})
	}
	if _, err := o.s.Client().Delete(t.Context(), stuck); err != nil {
		t.Fatal(err)
	}
}

func TestOldKeyringPutBack(t *testing.T) {
	var h shelf
	s := store.New(store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()})
	h.attach(s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	closeLater(t, s)
	old := get(t, s, store.KeyringKey)
	if _, err := s.RotateStorageKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := get(t, s, store.KeyringKey)
	put(t, s, store.KeyringKey, old)
	write := func() error {
		_, err := s.Update(t.Context(), func(tx *store.Tx) error {
			h.things.Put(tx, at("a", "1"), &thing{})
			return nil
		})
		return err
	}
	eventually(t, func() bool { err := write(); return err != nil && strings.Contains(err.Error(), "older keyring") })
	put(t, s, store.KeyringKey, fresh)
	eventually(t, func() bool { return write() == nil })
	if got := storageKeys(t, s); !strings.HasSuffix(got, "2:true:1") {
		t.Errorf("keys = %s", got)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("it never happened")
		}
	}
}

func TestRotateKey(t *testing.T) {
	clock := time.Now()
	s := storetest.Open(t, store.Config{
		Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t), Now: func() time.Time { return clock },
	}, nil)
	token, err := s.Seal("session-token", []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"index", "kms", "iam", "page-token", "tea"} {
		if _, err := s.RotateKey(t.Context(), p); err == nil {
			t.Errorf("the %s key rotates", p)
		}
	}
	if k, err := s.RotateKey(t.Context(), "session-token"); err != nil || k.Version != 2 {
		t.Fatalf("RotateKey = %+v, %v", k, err)
	}
	if p, err := s.Reseal(t.Context(), clock.Add(47*time.Hour)); err != nil || p.Dropped != 0 {
		t.Errorf("Reseal = %+v, %v", p, err)
	}
	if _, err := s.Unseal("session-token", token, nil); err != nil {
		t.Errorf("Unseal = %v", err)
	}
	if p, err := s.Reseal(t.Context(), clock.Add(49*time.Hour)); err != nil || p.Dropped != 1 {
		t.Errorf("Reseal = %+v, %v", p, err)
	}
	if err := s.ForgetKeys(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Unseal("session-token", token, nil); err == nil {
		t.Error("a token under a dropped key opens")
	}
	for i := range 20 {
		if _, err = s.RotateKey(t.Context(), "session-token"); err != nil {
			if i < 10 {
				t.Errorf("rotation %d: %v", i, err)
			}
			break
		}
	}
	if err == nil {
		t.Error("the keyring grows without a bound")
	}
}
