package store_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/store"
	"arca/internal/storetest"
)

// export reads a whole export in pages of a few bytes.
func export(t testing.TB, s *store.Store, x store.Export, budget int) []store.ExportRecord {
	t.Helper()
	var out []store.ExportRecord
	for !x.Done() {
		var err error
		x, err = s.ExportPage(t.Context(), x, budget, func(r store.ExportRecord) error {
			r.Plain = slices.Clone(r.Plain)
			out = append(out, r)
			return nil
		})
		if err != nil {
			t.Fatalf("ExportPage: %v", err)
		}
	}
	return out
}

func begin(t testing.TB, s *store.Store) store.Export {
	t.Helper()
	x, err := s.BeginExport(t.Context())
	if err != nil {
		t.Fatalf("BeginExport: %v", err)
	}
	return x
}

// exported is everything that an import needs, and the root key it needs it with.
func exported(t testing.TB, s *store.Store, budget int) store.Import {
	t.Helper()
	x := begin(t, s)
	defer s.EndExport(t.Context(), x)
	r, err := s.ExportRoot(t.Context(), x)
	if err != nil {
		t.Fatalf("ExportRoot: %v", err)
	}
	im := store.Import{Name: "test", Deployment: s.DeploymentID(), RootParams: r.Params}
	if im.Keys, im.Ceiling, err = s.ExportKeyring(t.Context(), x); err != nil {
		t.Fatalf("ExportKeyring: %v", err)
	}
	im.Records = each(export(t, s, x, budget), nil)
	return im
}

// each yields records, and then perhaps an error.
func each(records []store.ExportRecord, last error) iter.Seq2[store.ExportRecord, error] {
	return func(yield func(store.ExportRecord, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
		if last != nil {
			yield(store.ExportRecord{}, last)
		}
	}
}

func importInto(t testing.TB, cfg store.Config, im store.Import) error {
	t.Helper()
	var h shelf
	s := store.New(cfg)
	h.attach(s)
	return s.Import(t.Context(), im)
}

// contents are all records of a shelf.
func contents(t testing.TB, s *store.Store, h *shelf) map[string][]thing {
	t.Helper()
	out := map[string][]thing{}
	view(t, s, func(v *store.Snap) {
		for name, table := range map[string]*store.Table[thing]{"things": h.things, "parts": h.parts, "blobs": h.blobs} {
			out[name] = nil
			if err := table.Walk(t.Context(), v, func(r *thing) error { out[name] = append(out[name], *r); return nil }); err != nil {
				t.Fatal(err)
			}
		}
	})
	return out
}

func fillShelf(t testing.TB, s *store.Store, h *shelf, n int) {
	t.Helper()
	for base := 0; base < n; base += 40 {
		mustUpdate(t, s, func(tx *store.Tx) {
			for i := base; i < min(n, base+40); i++ {
				id := fmt.Sprint(i)
				h.things.Put(tx, at("acct", id), &thing{Name: id, N: i, Tags: []string{"t" + fmt.Sprint(i%3)}})
				if i%10 == 0 {
					h.parts.Put(tx, at("acct", id, "p"), &thing{N: i})
				}
				if i%20 == 0 {
					h.blobs.Put(tx, at("acct", id, "b"), &thing{Blob: []byte(strings.Repeat("x", 100+40*i%3000))})
				}
			}
		})
	}
}

func TestExportAndImport(t *testing.T) {
	for _, tc := range []struct {
		name            string
		records, budget int
	}{
		{"nothing", 0, 1 << 20},
		{"one page", 100, 1 << 20},
		{"a record a page", 60, 1},
		{"pages", 500, 3000},
		{"more than a shard", 2500, 50_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var h shelf
			key := storetest.NewRootKey()
			s := storetest.Open(t, store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}, h.attach)
			fillShelf(t, s, &h, tc.records)
			want := contents(t, s, &h)
			im := exported(t, s, tc.budget)
			token, err := s.Seal("page-token", []byte("place"), []byte("question"))
			if err != nil {
				t.Fatal(err)
			}

			cfg := store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}
			if err := importInto(t, cfg, im); err != nil {
				t.Fatalf("Import: %v", err)
			}
			var h2 shelf
			s2 := storetest.Open(t, cfg, h2.attach)
			if diff := cmp.Diff(want, contents(t, s2, &h2)); diff != "" {
				t.Errorf("restored (-want +got):\n%s", diff)
			}
			if s2.DeploymentID() != s.DeploymentID() || s2.NodeID() == s.NodeID() {
				t.Errorf("restored ids: deployment %s, want %s; node %s, was %s", s2.DeploymentID(), s.DeploymentID(), s2.NodeID(), s.NodeID())
			}
			if p, err := s2.Unseal("page-token", token, []byte("question")); err != nil || string(p.Bytes()) != "place" {
				t.Errorf("a token of before does not open: %v", err)
			}
			if name, yes, err := s2.Imported(t.Context()); name != "test" || !yes || err != nil {
				t.Errorf("Imported = %q, %v, %v", name, yes, err)
			}
			if err := s2.ConfirmImport(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, yes, err := s2.Imported(t.Context()); yes || err != nil {
				t.Errorf("Imported after ConfirmImport = %v, %v", yes, err)
			}
			var got []store.Change
			c := mustUpdate(t, s2, func(tx *store.Tx) {
				h2.things.Put(tx, at("acct", "new"), &thing{Name: "new"})
				tx.SetEffect(func(ch []store.Change) []byte { got = ch; return nil })
			})
			s2.ReleaseEffect(c.Effect)
			if got[0].Sequence <= im.Ceiling {
				t.Errorf("a record made after the restore has sequence %d, not above %d", got[0].Sequence, im.Ceiling)
			}
		})
	}
}

// What is exported is the state at one revision, whatever is written meanwhile.
func TestExportWhileWriting(t *testing.T) {
	type commit struct {
		rev    int64
		id     string
		value  int
		delete bool
	}
	var h shelf
	s := storetest.New(t, h.attach)
	var mu sync.Mutex
	var log []commit
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprint(w, "-", rand.IntN(100))
				remove := i%7 == 0
				c, err := s.Update(context.Background(), func(tx *store.Tx) error {
					if _, there := h.things.Get(tx.Snap, at("a", id)); remove && there {
						h.things.Delete(tx, at("a", id))
					} else if !remove {
						h.things.Put(tx, at("a", id), &thing{Name: id, N: i})
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				if c.Revision > 0 {
					mu.Lock()
					log = append(log, commit{c.Revision, id, i, remove})
					mu.Unlock()
				}
			}
		})
	}
	type taken struct {
		rev     int64
		records map[string]int
	}
	var all []taken
	for range 8 {
		x := begin(t, s)
		got := taken{x.Revision, map[string]int{}}
		for _, r := range export(t, s, x, 2000) {
			if r.Table != "things" {
				continue
			}
			rec, err := h.things.Decode(r.Plain)
			if err != nil {
				t.Fatal(err)
			}
			got.records[rec.Name] = rec.N
		}
		s.EndExport(t.Context(), x)
		all = append(all, got)
	}
	stop()
	writers.Wait()
	slices.SortFunc(log, func(a, b commit) int { return int(a.rev - b.rev) })
	for _, got := range all {
		model := map[string]int{}
		for _, c := range log {
			switch {
			case c.rev > got.rev:
			case c.delete:
				delete(model, c.id)
			default:
				model[c.id] = c.value
			}
		}
		if diff := cmp.Diff(model, got.records); diff != "" {
			t.Errorf("export at revision %d (-model +got):\n%s", got.rev, diff)
		}
	}
}

// compactable makes a compaction due that reaches everything until now.
func compactable(t *testing.T, s *store.Store) {
	t.Helper()
	for range 1010 {
		if _, err := s.Client().Put(t.Context(), "arca/1/lead/test/x", ""); err != nil {
			t.Fatal(err)
		}
	}
	view(t, s, func(*store.Snap) {})
	s.MakeCompactionDue()
}

func TestHoldKeepsCompactionBack(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	fillShelf(t, s, &h, 100)
	x := begin(t, s)
	want := export(t, s, x, 1<<20)
	overwrite := func() {
		mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("acct", "1"), &thing{Name: "other"}) })
		compactable(t, s)
		if did, err := s.CompactStep(t.Context()); !did || err != nil {
			t.Fatalf("CompactStep = %v, %v", did, err)
		}
	}
	overwrite()
	if diff := cmp.Diff(want, export(t, s, x, 500)); diff != "" {
		t.Errorf("after a compaction (-want +got):\n%s", diff)
	}
	s.EndExport(t.Context(), x)
	overwrite()
	if _, err := s.ExportPage(t.Context(), x, 500, func(store.ExportRecord) error { return nil }); !errors.Is(err, store.ErrExportGone) {
		t.Errorf("ExportPage of a state that was compacted away = %v, want ErrExportGone", err)
	}
	if _, _, err := s.ExportKeyring(t.Context(), x); !errors.Is(err, store.ErrExportGone) {
		t.Errorf("ExportKeyring of a state that was compacted away = %v, want ErrExportGone", err)
	}
}

// A hold that spares too much counts for nothing: the database must not fill.
func TestHoldsAreBounded(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	x := begin(t, s)
	for _, tc := range []struct{ at, want int64 }{
		{x.Revision + 100, x.Revision},
		{x.Revision + store.HoldRevisions, x.Revision},
		{x.Revision + store.HoldRevisions + 1, x.Revision + store.HoldRevisions + 1},
		{x.Revision - 1, x.Revision - 1},
	} {
		if got, err := s.HeldBack(t.Context(), tc.at); got != tc.want || err != nil {
			t.Errorf("held back from %d: %d, %v; want %d", tc.at, got, err, tc.want)
		}
	}
	var more []store.Export
	for range store.MaxHolds - 1 {
		more = append(more, begin(t, s))
	}
	if _, err := s.BeginExport(t.Context()); !errors.Is(err, store.ErrExports) {
		t.Errorf("one more export than may be held = %v, want ErrExports", err)
	}
	for _, m := range append(more, x) {
		s.EndExport(t.Context(), m)
	}
	s.EndExport(t.Context(), begin(t, s))
}

func TestHoldYieldsToFullDatabase(t *testing.T) {
	var h shelf
	s := storetest.Open(t, store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), QuotaBytes: 4 << 20}, h.attach)
	rev := begin(t, s).Revision + 50
	if got, err := s.HeldBack(t.Context(), rev); got != rev-50 || err != nil {
		t.Errorf("held back to %d, %v; want %d", got, err, rev-50)
	}
	for i := range 40 {
		mustUpdate(t, s, func(tx *store.Tx) {
			h.things.Put(tx, at("a", fmt.Sprint(i)), &thing{Blob: make([]byte, 60<<10)})
		})
	}
	for range 100 { // etcd counts what it has flushed
		if got, err := s.HeldBack(t.Context(), rev); err != nil {
			t.Fatal(err)
		} else if got == rev {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("held back although the database is more than half full")
}

// An export goes on in another process, also after the one that began it has died, and
// its hold outlives the engines' leaderships of then.
func TestExportGoesOnAfterRestart(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	var h shelf
	s := store.New(cfg)
	h.attach(s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	fillShelf(t, s, &h, 200)
	x := begin(t, s)
	want := export(t, s, x, 1<<20)
	var got []store.ExportRecord
	keep := func(r store.ExportRecord) error {
		r.Plain = slices.Clone(r.Plain)
		got = append(got, r)
		return nil
	}
	x, err := s.ExportPage(t.Context(), x, 2000, keep)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)

	var h2 shelf
	s2 := storetest.Open(t, cfg, h2.attach)
	led := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go s2.Lead(ctx, "engine", func(context.Context, *store.Leadership) error { close(led); <-ctx.Done(); return nil })
	<-led
	mustUpdate(t, s2, func(tx *store.Tx) { h2.things.Put(tx, at("acct", "1"), &thing{Name: "other"}) })
	compactable(t, s2)
	mustUpdate(t, s2, func(tx *store.Tx) { h2.things.Put(tx, at("acct", "1"), &thing{Name: "another"}) })
	if did, err := s2.CompactStep(t.Context()); !did || err != nil {
		t.Fatalf("CompactStep = %v, %v", did, err)
	}
	for !x.Done() {
		if x, err = s2.ExportPage(t.Context(), x, 2000, keep); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in two processes (-want +got):\n%s", diff)
	}
	s2.EndExport(t.Context(), x)
}

// A hold that ended between two pages is taken again if the state is still there.
func TestExportTakesLostHoldAgain(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	fillShelf(t, s, &h, 50)
	x := begin(t, s)
	s.EndExport(t.Context(), x)
	again, err := s.ExportPage(t.Context(), x, 1, func(store.ExportRecord) error { return nil })
	if err != nil || again.Hold == x.Hold {
		t.Fatalf("ExportPage = %v, hold %d, was %d", err, again.Hold, x.Hold)
	}
	if got, err := s.HeldBack(t.Context(), x.Revision+10); got != x.Revision || err != nil {
		t.Errorf("held back to %d, %v; want %d", got, err, x.Revision)
	}
	s.EndExport(t.Context(), again)
}

func TestExportRefuses(t *testing.T) {
	t.Run("a record that does not open", func(t *testing.T) {
		var h shelf
		s := store.New(store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()})
		h.attach(s)
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		closeLater(t, s)
		run(t, s)
		fillShelf(t, s, &h, 3)
		x := begin(t, s)
		s.EndExport(t.Context(), x)
		key := h.things.EtcdKey(at("acct", "1"))
		damaged := []byte(get(t, s, key))
		damaged[len(damaged)-1] ^= 1
		put, err := s.Client().Put(t.Context(), key, string(damaged))
		if err != nil {
			t.Fatal(err)
		}
		x.Revision = put.Header.Revision
		_, err = s.ExportPage(t.Context(), x, 1<<20, func(store.ExportRecord) error { return nil })
		if !errors.Is(err, store.ErrUnreadable) {
			t.Errorf("ExportPage over a damaged record = %v, want ErrUnreadable", err)
		}
		// The server keeps the record it had, and must not pass on what it refused.
		if _, err := s.Client().Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		waitRefused(t, s)
		if _, err := s.BeginExport(t.Context()); !errors.Is(err, store.ErrRefusedValues) {
			t.Errorf("BeginExport after a refused value = %v, want ErrRefusedValues", err)
		}
	})
	t.Run("the callback", func(t *testing.T) {
		var h shelf
		s := storetest.New(t, h.attach)
		fillShelf(t, s, &h, 3)
		stop := errors.New("stop")
		x := begin(t, s)
		defer s.EndExport(t.Context(), x)
		if _, err := s.ExportPage(t.Context(), x, 1<<20, func(store.ExportRecord) error { return stop }); err != stop {
			t.Errorf("ExportPage = %v, want %v", err, stop)
		}
	})
	t.Run("closed", func(t *testing.T) {
		s := store.New(store.Config{})
		if _, err := s.BeginExport(t.Context()); err != store.ErrClosed {
			t.Errorf("BeginExport = %v, want ErrClosed", err)
		}
		if _, err := s.ExportPage(t.Context(), store.Export{}, 1, nil); err != store.ErrClosed {
			t.Errorf("ExportPage = %v, want ErrClosed", err)
		}
	})
}

func waitRefused(t *testing.T, s *store.Store) {
	t.Helper()
	for s.Stats().Refused == 0 {
		if err := s.View(t.Context(), func(*store.Snap) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// A table of another version of the binary is exported, and refused on the way in.
func TestExportOfUnknownTable(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	type later struct {
		shelf
		more *store.Table[thing]
	}
	var h later
	attach := func(s *store.Store) {
		h.attach(s)
		h.more = store.NewTable(s, store.TableSpec[thing]{Name: "nouns", Format: 1})
	}
	s := store.New(cfg)
	attach(s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	fillShelf(t, s, &h.shelf, 5)
	mustUpdate(t, s, func(tx *store.Tx) { h.more.Put(tx, at("a"), &thing{Name: "more"}) })
	mustClose(t, s)

	var h2 shelf
	s2 := storetest.Open(t, cfg, h2.attach)
	im := exported(t, s2, 100)
	err := importInto(t, store.Config{Dir: t.TempDir(), RootKey: cfg.RootKey}, im)
	if err == nil || !strings.Contains(err.Error(), `table "nouns" is not known`) {
		t.Errorf("Import of an unknown table = %v", err)
	}
}
