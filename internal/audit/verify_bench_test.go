package audit_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"arca/internal/audit"
)

// benchLog is a log of closed segments, with their checkpoints and tiles.
func benchLog(b *testing.B, lines int, compress bool) *made {
	b.Helper()
	m := &made{dir: b.TempDir(), key: nodeKey(b, madeName, 1), checkpoints: make(map[uint64][]byte)}
	cfg := m.config(0)
	cfg.MaxSegmentBytes = 32 << 20
	cfg.Keep = nil
	l, _ := start(b, cfg)
	batch := make([][]byte, 1000)
	for n := 0; n < lines; {
		for i := range batch {
			batch[i] = line(fmt.Sprintf("%08d-3c2f-4d1e-9a77-%012d", n, n))
			n++
		}
		if err := l.Append(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	waitFor(b, func() bool { c, _ := l.Checkpoint(); return c.Size >= uint64(lines) })
	for more := compress; more; {
		var err error
		if more, err = l.Maintain(b.Context(), audit.RetainConfig{Compress: true}, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	return m
}

// processorTime is what this process has used of all cores. Unlike the time on the
// wall it means the same while others use the machine.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rawRate is the rate at which SHA-256 takes the files' bytes, read in large pieces, in
// bytes a second of processor time: what verification is measured against.
func rawRate(b *testing.B, m *made) float64 {
	b.Helper()
	segs, err := audit.Segments(m.dir)
	if err != nil {
		b.Fatal(err)
	}
	type part struct {
		path string
		at   int64
	}
	var parts []part
	for _, s := range segs {
		for at := int64(0); at < s.Bytes; at += 1 << 20 {
			parts = append(parts, part{s.Path, at})
		}
	}
	best := 0.0
	for range 3 {
		work := make(chan part, len(parts))
		for _, p := range parts {
			work <- p
		}
		close(work)
		var total sync.Map
		var running sync.WaitGroup
		began := processorTime()
		for w := range runtime.GOMAXPROCS(0) {
			running.Go(func() {
				buf := make([]byte, 1<<20)
				var n int64
				for p := range work {
					f, err := os.Open(p.path)
					if err != nil {
						b.Error(err)
						return
					}
					k, err := f.ReadAt(buf, p.at)
					if err != nil && err != io.EOF {
						b.Error(err)
					}
					sha256.Sum256(buf[:k])
					n += int64(k)
					_ = f.Close()
				}
				total.Store(w, n)
			})
		}
		running.Wait()
		took := processorTime() - began
		bytes := int64(0)
		total.Range(func(_, n any) bool { bytes += n.(int64); return true })
		best = max(best, float64(bytes)/took.Seconds())
	}
	return best
}

func BenchmarkVerify(b *testing.B) {
	for _, kind := range []string{"plain", "compressed"} {
		b.Run(kind, func(b *testing.B) {
			plain := benchLog(b, 200_000, false)
			m := plain
			if kind == "compressed" {
				m = benchLog(b, 200_000, true)
			}
			raw := rawRate(b, plain)
			var bytes int64
			began := processorTime()
			for b.Loop() {
				r, err := audit.Verify(context.Background(), audit.VerifyOptions{Dir: m.dir, Keys: []string{m.key.VerifierKey()}})
				if err != nil {
					b.Fatal(err)
				}
				if len(r.Problems) > 0 || r.Lines != 200_000 {
					b.Fatalf("%d lines:\n%s", r.Lines, texts(r))
				}
				bytes = r.Bytes
			}
			b.SetBytes(bytes)
			rate := float64(bytes) * float64(b.N) / (processorTime() - began).Seconds()
			b.ReportMetric(rate/raw, "of-SHA-256-rate")
			b.ReportMetric(raw/1e6, "raw-MB/s")
			if info, err := os.ReadDir(filepath.Join(m.dir, "tile", "0")); err == nil {
				b.ReportMetric(float64(len(info)), "tiles")
			}
		})
	}
}
