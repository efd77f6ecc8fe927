package store_test

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"arca/internal/store"
	"arca/internal/storetest"
)

func fill(b testing.TB, s *store.Store, h *shelf, n int) {
	for i := 0; i < n; i += 100 {
		mustUpdate(b, s, func(tx *store.Tx) {
			for j := i; j < min(n, i+100); j++ {
				h.things.Put(tx, at("a", fmt.Sprint(j)), &thing{Name: fmt.Sprint("name-", j), N: j, Tags: []string{"t"}})
			}
		})
	}
}

func BenchmarkViewGet(b *testing.B) {
	var h shelf
	s := storetest.New(b, h.attach)
	fill(b, s, &h, 10_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		err := s.View(b.Context(), func(v *store.Snap) error {
			if _, ok := h.things.Get(v, at("a", "77")); !ok {
				return store.ErrNotFound
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, clients := range []int{1, 64, 256} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
			var h shelf
			s := storetest.New(b, h.attach)
			b.ReportAllocs()
			b.SetParallelism(max(1, clients/2))
			var n atomic.Int64
			before := processTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					id := fmt.Sprint(n.Add(1) % 50_000)
					c, err := s.Update(b.Context(), func(tx *store.Tx) error {
						h.things.Put(tx, at("a", id), &thing{Name: id, Tags: []string{"t"}})
						h.parts.Put(tx, at("a", id, "p"), &thing{Name: id, Blob: make([]byte, 100)})
						tx.SetEffect(func([]store.Change) []byte { return make([]byte, 600) })
						return nil
					})
					if err != nil {
						b.Error(err)
						return
					}
					s.ReleaseEffect(c.Effect)
				}
			})
			b.ReportMetric(float64(processTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, records := range []int{0, 50_000} {
		b.Run(fmt.Sprint("records=", records), func(b *testing.B) {
			cfg := store.Config{Dir: b.TempDir(), RootKey: storetest.NewRootKey()}
			var h shelf
			s := store.New(cfg)
			h.attach(s)
			if err := s.Open(b.Context()); err != nil {
				b.Fatal(err)
			}
			fill(b, s, &h, records)
			mustClose(b, s)
			for b.Loop() {
				s := store.New(cfg)
				new(shelf).attach(s)
				if err := s.Open(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				mustClose(b, s)
				b.StartTimer()
			}
		})
	}
}

// processTime is the processor time used so far: what a benchmark on a busy machine can
// go by.
func processTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
