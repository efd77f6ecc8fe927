package trail_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"arca/internal/audit"
	"arca/internal/trail"
)

// TestWhileTheLogChanges: segments are begun, compressed and removed under searches,
// which see every event that is there all the time, once.
func TestWhileTheLogChanges(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.trail.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	kept := b.append(60, func(n int, r *audit.Record) { r.Identity.UserName = "early" }) + 60
	written := make(chan struct{})
	running.Go(func() {
		defer close(written)
		for ctx.Err() == nil && b.n < 600 {
			b.append(20, nil)
			for {
				more, err := b.log.Maintain(ctx, audit.RetainConfig{Compress: true}, time.Now())
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("Maintain: %v", err)
				}
				if err != nil || !more {
					break
				}
			}
		}
	})
	for done := false; !done; {
		select {
		case <-written:
			done = true
		default:
		}
		if got := all(t, b.trail, trail.Filter{UserName: "early"}, false, 17); len(got) != kept {
			t.Fatalf("%d events, want %d", len(got), kept)
		}
		got := all(t, b.trail, trail.Filter{}, true, 100)
		for i, n := range got {
			if n != uint64(i) {
				t.Fatalf("line %d in the place of %d", n, i)
			}
		}
	}
	stop()
	running.Wait()

	compressed := 0
	segs := b.segments()
	for _, s := range segs {
		if s.Compressed {
			compressed++
		}
	}
	if compressed == 0 {
		t.Error("no segment was compressed")
	}
	// What retention removes, searches do without; positions of before stay good.
	page, err := b.trail.Search(t.Context(), trail.Filter{}, "", 10)
	must(t, err)
	for _, s := range segs[:3] {
		must(t, os.Remove(s.Path))
	}
	if got, want := all(t, b.trail, trail.Filter{}, false, 100), b.n-int(segs[3].First); len(got) != want {
		t.Errorf("after removal: %d events, want %d", len(got), want)
	}
	rest := 0
	for more := page.More; more; more = page.More {
		page, err = b.trail.Search(t.Context(), trail.Filter{}, page.Next, 100)
		must(t, err)
		rest += len(page.Events)
	}
	if want := b.n - 10 - int(segs[3].First); rest != want {
		t.Errorf("from a position of before: %d events, want %d", rest, want)
	}
}

// TestKilled: a start after a crash indexes what is missing, from wherever the saved
// index ends, and an index that is ahead of its segment counts for nothing.
func TestKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "n1")
	b := newBed(t, dir)
	b.append(5, nil)
	all(t, b.trail, trail.Filter{}, false, 50)
	b.close() // saves the index of five lines
	b.open()
	b.append(5, nil)
	saved := indexFiles(t, dir)
	if len(saved) != 1 {
		t.Fatalf("indexes: %v, want one", saved)
	}
	old, err := os.ReadFile(saved[0])
	must(t, err)
	all(t, b.trail, trail.Filter{}, false, 50)
	b.close()
	ahead, err := os.ReadFile(saved[0])
	must(t, err)
	for name, raw := range map[string][]byte{"behind": old, "as it was": ahead} {
		must(t, os.WriteFile(saved[0], raw, 0o600))
		b.open()
		if got := all(t, b.trail, trail.Filter{UserName: "alice"}, false, 50); len(got) != 10 {
			t.Errorf("index %s: %d events, want 10", name, len(got))
		}
		b.close()
	}
	// The segment loses its last lines, and others take their place.
	seg := b.segments()[0]
	raw, err := os.ReadFile(seg.Path)
	must(t, err)
	must(t, os.WriteFile(seg.Path, raw[:len(raw)/2], 0o600))
	must(t, os.WriteFile(saved[0], ahead, 0o600))
	b.open()
	whole := int(b.log.Size())
	b.n = 1000
	b.append(10-whole, func(n int, r *audit.Record) { r.Identity.UserName = "after" })
	if got := all(t, b.trail, trail.Filter{UserName: "after"}, false, 50); len(got) != 10-whole {
		t.Errorf("%d events of the new lines, want %d", len(got), 10-whole)
	}
	if got := all(t, b.trail, trail.Filter{UserName: "alice"}, false, 50); len(got) != whole {
		t.Errorf("%d events of the old lines, want %d", len(got), whole)
	}
}
