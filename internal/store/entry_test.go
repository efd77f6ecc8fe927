package store_test

import (
	"fmt"
	"sync"
	"testing"

	"arca/internal/store"
	"arca/internal/storetest"
)

// A packed table keeps a few records decoded, those that were asked for last, and what
// it decodes again is what was put, whoever asks at the same time.
func TestPacked(t *testing.T) {
	const records, hot = 100, 10
	var things *store.Table[thing]
	attach := func(s *store.Store) {
		things = store.NewTable(s, store.TableSpec[thing]{
			Name: "packed", Format: 1, Packed: true,
			Indexes: []store.Index[thing]{{Name: "name", Keys: func(r *thing, emit func(string)) { emit(r.Name) }}},
		})
		things.KeepHot(hot)
	}
	dir, root := t.TempDir(), storetest.NewRootKey()
	check := func(s *store.Store) {
		t.Helper()
		var g sync.WaitGroup
		for run := range 4 {
			g.Go(func() {
				if err := s.View(t.Context(), func(v *store.Snap) error {
					for i := range records {
						i = (i + 25*run) % records
						name := fmt.Sprintf("n%02d", i)
						if r, ok := things.Get(v, at("s", fmt.Sprint(i))); !ok || r.N != i || r.Name != name {
							return fmt.Errorf("record %d is %+v, %v", i, r, ok)
						}
						if r, ok := things.Find(v, "name", name); !ok || r.N != i {
							return fmt.Errorf("%s is %+v, %v", name, r, ok)
						}
						if r, ok := things.Find(v, "name", name[:2]); ok {
							return fmt.Errorf("%s is %+v", name[:2], r)
						}
					}
					n := 0
					things.Ascend(v, "name", "", func(key string, r *thing) bool {
						if r.N != n || r.Name != key {
							t.Errorf("record %d of the index is %+v", n, r)
						}
						n++
						return true
					})
					if n != records {
						return fmt.Errorf("index has %d records", n)
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		g.Wait()
		if err := s.View(t.Context(), func(v *store.Snap) error {
			// Asking for it once more makes it one of the last.
			for range hot {
				for i := range 3 {
					if _, ok := things.Find(v, "name", fmt.Sprintf("n%02d", i)); !ok {
						return fmt.Errorf("no record %d", i)
					}
				}
			}
			if n := len(things.Decoded(v)); n < 3 || n > hot {
				t.Errorf("%d records are decoded, want 3 to %d", n, hot)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}

	t.Run("written", func(t *testing.T) {
		s := storetest.Open(t, store.Config{Dir: dir, RootKey: root, Logger: storetest.Logger(t)}, attach)
		for i := range records {
			mustUpdate(t, s, func(tx *store.Tx) {
				things.Put(tx, at("s", fmt.Sprint(i)), &thing{Name: fmt.Sprintf("n%02d", i), N: i})
			})
		}
		check(s)
	})
	t.Run("loaded", func(t *testing.T) {
		check(storetest.Open(t, store.Config{Dir: dir, RootKey: root, Logger: storetest.Logger(t)}, attach))
	})
}

// Reads spread over all records do not drive out those that are asked for often.
func TestPackedKeepsWhatIsAskedOften(t *testing.T) {
	const records, hot = 100, 10
	var things *store.Table[thing]
	s := storetest.New(t, func(s *store.Store) {
		things = store.NewTable(s, store.TableSpec[thing]{Name: "packed", Format: 1, Packed: true})
		things.KeepHot(hot)
	})
	for i := range records {
		mustUpdate(t, s, func(tx *store.Tx) { things.Put(tx, at("s", fmt.Sprint(i)), &thing{N: i}) })
	}
	if err := s.View(t.Context(), func(v *store.Snap) error {
		get := func(i int) {
			if r, ok := things.Get(v, at("s", fmt.Sprint(i))); !ok || r.N != i {
				t.Fatalf("record %d is %+v, %v", i, r, ok)
			}
		}
		const often = 5
		for range 2 {
			for i := range often {
				get(i)
			}
		}
		for i := often; i < records; i++ {
			get(i)
		}
		kept := 0
		for _, r := range things.Decoded(v) {
			if r.N < often {
				kept++
			}
		}
		if kept != often {
			t.Errorf("%d of %d records that were asked for twice are kept decoded", kept, often)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// What was replaced or deleted is not kept for having been asked for lately.
func TestPackedForgetsTheOld(t *testing.T) {
	var things *store.Table[thing]
	s := storetest.New(t, func(s *store.Store) {
		things = store.NewTable(s, store.TableSpec[thing]{Name: "packed", Format: 1, Packed: true})
		things.KeepHot(16)
	})
	for n := range 20 {
		mustUpdate(t, s, func(tx *store.Tx) {
			things.Put(tx, at("s", "often"), &thing{N: n})
			if n%2 == 0 {
				things.Put(tx, at("s", "gone"), &thing{N: n})
			} else {
				things.Delete(tx, at("s", "gone"))
			}
		})
	}
	if err := s.View(t.Context(), func(v *store.Snap) error {
		if n := things.Stale(v); n > 0 {
			t.Errorf("%d entries that are not the newest are kept", n)
		}
		if n := len(things.Decoded(v)); n != 1 {
			t.Errorf("%d records are decoded, want the one that is there", n)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if store.StubPins("0123456789abcdef", "a large record") {
		t.Error("a stub holds on to the record that it stands for")
	}
}
