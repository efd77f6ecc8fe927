package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"arca/internal/audit"
)

func processTime(tb testing.TB) int64 {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkAppendBusy has so many callers append, each of whom does something else for a
// while between two lines, as a server does: what a line costs with its share of a sync,
// and how many lines share one; synced in the segment and in the journal.
func BenchmarkAppendBusy(b *testing.B) {
	line := bytes.Repeat([]byte("a line. "), 112)
	for _, callers := range []int{1, 8, 64} {
		for _, after := range []int{-1, 1} {
			b.Run(fmt.Sprintf("%d/journal=%t", callers, after > 0), func(b *testing.B) { appendBusy(b, line, callers, after) })
		}
	}
}

func appendBusy(b *testing.B, line []byte, callers, journalAfter int) {
	var syncs atomic.Int64
	l, err := audit.Open(audit.Config{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler), JournalAfter: journalAfter,
		SyncFault: func() error { syncs.Add(1); return nil }})
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Run(context.Background()) }()
	for !l.Journaling() && journalAfter > 0 {
		if err := l.Append(context.Background(), line); err != nil {
			b.Fatal(err)
		}
	}
	syncs.Store(0)
	b.ReportAllocs()
	before := processTime(b)
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		x := uint64(1)
		for pb.Next() {
			for range benchWork {
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
			}
			if err := l.Append(context.Background(), line); err != nil {
				b.Error(err)
			}
		}
		if x == 0 { // never, but then it has to be worked out
			b.Error("the work was for nothing")
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(processTime(b)-before)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/float64(syncs.Load()), "lines/sync")
	if err := l.Close(); err != nil {
		b.Error(err)
	}
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// benchWork is some 50 µs of it.
const benchWork = 30_000
