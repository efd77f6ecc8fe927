package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sys/unix"

	"arca/internal/audit"
)

// logBuffer is a log that tests may read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open opens a log whose messages go to the returned buffer.
func open(t testing.TB, cfg audit.Config) (*audit.Log, *logBuffer) {
	t.Helper()
	buf := &logBuffer{}
	cfg.Logger = slog.New(slog.NewTextHandler(buf, nil))
	if cfg.Node == "" {
		cfg.Node = "n1"
	}
	l, err := audit.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l, buf
}

// start is open with Run running until the test ends.
func start(t testing.TB, cfg audit.Config) (*audit.Log, *logBuffer) {
	t.Helper()
	l, buf := open(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return l, buf
}

func line(id string) []byte { return record(id).AppendLine(nil, "n1") }

func mustAppend(t testing.TB, l *audit.Log, ids ...string) {
	t.Helper()
	lines := make([][]byte, len(ids))
	for i, id := range ids {
		lines[i] = line(id)
	}
	if err := l.Append(t.Context(), lines...); err != nil {
		t.Fatalf("Append(%q): %v", ids, err)
	}
}

// scan returns the event ids in dir from line number from on.
func scan(t testing.TB, dir string, from uint64) []string {
	t.Helper()
	ids := []string{}
	err := audit.Scan(t.Context(), dir, from, func(n uint64, line []byte) error {
		if n != from+uint64(len(ids)) {
			t.Errorf("line %d, want %d", n, from+uint64(len(ids)))
		}
		_, rest, _ := strings.Cut(string(line), `"eventID":"`)
		id, _, _ := strings.Cut(rest, `"`)
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	return ids
}

func problems(t testing.TB, dir string) []string {
	t.Helper()
	var got []string
	if err := audit.CheckDir(t.Context(), dir, func(p string) { got = append(got, p) }); err != nil {
		t.Fatalf("CheckDir: %v", err)
	}
	return got
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Name() != "lock" {
			got = append(got, e.Name())
		}
	}
	return got
}

// wants compares the whole log with ids, after closing nothing: what is asserted is
// what a reader sees.
func wants(t testing.TB, dir string, ids ...string) {
	t.Helper()
	if diff := cmp.Diff(ids, scan(t, dir, 0)); diff != "" {
		t.Errorf("event ids (-want +got):\n%s", diff)
	}
	if got := inLog(problems(t, dir)); got != nil {
		t.Errorf("problems: %q", got)
	}
}

// eventually waits for what happens within a second by design.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func TestAppendAndReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "audit")
	for i := range 3 {
		l, _ := open(t, audit.Config{Dir: dir})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		mustAppend(t, l, fmt.Sprint(i, "a"), fmt.Sprint(i, "b"))
		mustAppend(t, l, fmt.Sprint(i, "c"))
		if got, want := l.Size(), uint64(3*i+3); got != want {
			t.Errorf("Size() = %d, want %d", got, want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := l.Append(t.Context(), line("late")); !errors.Is(err, audit.ErrClosed) {
			t.Errorf("Append after Run = %v, want ErrClosed", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wants(t, dir, "0a", "0b", "0c", "1a", "1b", "1c", "2a", "2b", "2c")
	if diff := cmp.Diff([]string{"2b", "2c"}, scan(t, dir, 7)); diff != "" {
		t.Errorf("Scan from 7 (-want +got):\n%s", diff)
	}
	info, err := os.Stat(filepath.Join(dir, "00000000000000000000.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %v, want 0600", got)
	}
}

func TestAppendRefuses(t *testing.T) {
	dir := t.TempDir()
	l, _ := start(t, audit.Config{Dir: dir})
	tests := []struct {
		name  string
		lines [][]byte
	}{
		{"empty line", [][]byte{line("ok"), {}}},
		{"newline inside", [][]byte{[]byte("{\n}")}},
		{"too long", [][]byte{bytes.Repeat([]byte("x"), audit.MaxLineBytes+1)}},
		{"too many", [][]byte{bytes.Repeat([]byte("x"), audit.MaxLineBytes), bytes.Repeat([]byte("x"), audit.MaxLineBytes),
			bytes.Repeat([]byte("x"), audit.MaxLineBytes), bytes.Repeat([]byte("x"), audit.MaxLineBytes)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := l.Append(t.Context(), tt.lines...); err == nil {
				t.Error("Append = nil, want an error")
			}
		})
	}
	if err := l.Append(t.Context()); err != nil {
		t.Errorf("Append() = %v, want nil", err)
	}
	mustAppend(t, l, "after")
	wants(t, dir, "after")
}

// The gathering batch is bounded; callers wait for room and are let go by their
// context, and nothing is lost or doubled.
func TestBackPressure(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, audit.Config{Dir: dir})
	const callers = 12
	big := func(i int) []byte {
		r := record(fmt.Sprint(i))
		r.RequestParameters = []byte(`{"a":"` + strings.Repeat("x", 90<<10) + `"}`)
		r.ResponseElements = r.RequestParameters
		return r.AppendLine(nil, "n1")
	}
	results := make(chan error, callers)
	for i := range callers {
		go func() {
			lines := [][]byte{}
			for j := range 6 { // about 1 MiB each
				lines = append(lines, big(10*i+j))
			}
			results <- l.Append(context.Background(), lines...)
		}()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Append(ctx, line("impatient")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Append without Run = %v, want DeadlineExceeded", err)
	}
	runCtx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(runCtx) }()
	for range callers {
		if err := <-results; err != nil {
			t.Errorf("Append: %v", err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	seen := map[string]int{}
	for _, id := range scan(t, dir, 0) {
		seen[id]++
	}
	delete(seen, "impatient") // may have found room
	if len(seen) != callers*6 {
		t.Errorf("%d ids, want %d", len(seen), callers*6)
	}
	if got := problems(t, dir); got != nil {
		t.Errorf("problems: %q", got)
	}
}

func TestRunDrains(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, audit.Config{Dir: dir})
	result := make(chan error)
	go func() { result <- l.Append(context.Background(), line("waiting")) }()
	eventually(t, "queued", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
		defer cancel()
		return l.Append(ctx, line("probe")) != nil && l.Size() == 0
	})
	time.Sleep(10 * time.Millisecond) // lets the goroutine above reach the queue
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("Append = %v, want nil", err)
	}
	if ids := scan(t, dir, 0); !strings.Contains(strings.Join(ids, " "), "waiting") {
		t.Errorf("ids %q lack the line that waited", ids)
	}
}

func TestCloseWithoutRun(t *testing.T) {
	l, _ := open(t, audit.Config{Dir: t.TempDir()})
	result := make(chan error)
	go func() { result <- l.Append(context.Background(), line("x")) }()
	time.Sleep(10 * time.Millisecond)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-result; !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Append = %v, want ErrClosed", err)
	}
	if err := l.Run(t.Context()); err != nil {
		t.Errorf("Run after Close = %v", err)
	}
}

func TestOpenLocked(t *testing.T) {
	dir := t.TempDir()
	open(t, audit.Config{Dir: dir})
	_, err := audit.Open(audit.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "another process is writing to it") {
		t.Errorf("second Open = %v, want an error about another process", err)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	size := int64(len(line("000")) + 1)
	l, _ := start(t, audit.Config{Dir: dir, MaxSegmentBytes: 3 * size})
	var ids []string
	for i := range 10 {
		ids = append(ids, fmt.Sprintf("%03d", i))
		mustAppend(t, l, ids[i])
	}
	wants(t, dir, ids...)
	want := []string{"00000000000000000000.jsonl", "00000000000000000003.jsonl", "00000000000000000006.jsonl", "00000000000000000009.jsonl"}
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for from := range uint64(12) {
		if diff := cmp.Diff(ids[min(from, 10):], scan(t, dir, from)); diff != "" {
			t.Errorf("Scan from %d (-want +got):\n%s", from, diff)
		}
	}
}

// The line format and the numbering are all that the Merkle tree needs.
func TestLinesAreLeaves(t *testing.T) {
	dir := t.TempDir()
	l, _ := start(t, audit.Config{Dir: dir, MaxSegmentBytes: 2000})
	for i := range 7 {
		mustAppend(t, l, fmt.Sprint(i))
	}
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = hashes[x]
		}
		return out, nil
	})
	leaf := map[int64]tlog.Hash{}
	err := audit.Scan(t.Context(), dir, 0, func(n uint64, line []byte) error {
		leaf[int64(n)] = tlog.RecordHash(line)
		h, err := tlog.StoredHashesForRecordHash(int64(n), leaf[int64(n)], reader)
		hashes = append(hashes, h...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	root, err := tlog.TreeHash(int64(l.Size()), reader)
	if err != nil {
		t.Fatal(err)
	}
	for n := range leaf {
		proof, err := tlog.ProveRecord(int64(l.Size()), n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, int64(l.Size()), root, n, tlog.RecordHash(line(fmt.Sprint(n)))); err != nil {
			t.Errorf("line %d: %v", n, err)
		}
	}
}

func TestConcurrentAppend(t *testing.T) {
	dir := t.TempDir()
	l, _ := start(t, audit.Config{Dir: dir, MaxSegmentBytes: 40 << 10})
	var wg sync.WaitGroup
	const callers, each = 32, 40
	for c := range callers {
		wg.Go(func() {
			buf := make([]byte, 0, 4096)
			for i := range each {
				// The memory is used again at once, as callers with pools do.
				buf = record(fmt.Sprintf("%d-%d", c, i)).AppendLine(buf[:0], "n1")
				if err := l.Append(context.Background(), buf); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() { // reading beside writing
		for l.Size() < callers*each {
			if err := l.Check(t.Context(), func(p string) { t.Error(p) }); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if got := l.Size(); got != callers*each {
		t.Errorf("Size() = %d, want %d", got, callers*each)
	}
	last := map[string]int{}
	for _, id := range scan(t, dir, 0) {
		var c string
		var i int
		if _, err := fmt.Sscanf(strings.Replace(id, "-", " ", 1), "%s %d", &c, &i); err != nil {
			t.Fatal(err)
		}
		if i != last[c] {
			t.Fatalf("caller %s: line %d where %d was next", c, i, last[c])
		}
		last[c]++
	}
	if got := problems(t, dir); got != nil {
		t.Errorf("problems: %q", got)
	}
}

func TestMetrics(t *testing.T) {
	l, _ := start(t, audit.Config{Dir: t.TempDir()})
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(l.Metrics()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "a", "b")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	want := map[string]float64{
		"arca_audit_lines_total": 2, "arca_audit_bytes_total": float64(len(line("a")) + len(line("b")) + 2), "arca_audit_batch_lines": 1,
		"arca_audit_sync_seconds": 1, "arca_audit_failed_batches_total": 0, "arca_audit_failing": 0, "arca_audit_journal": 0, "arca_audit_damage_total": 0,
		"arca_audit_tree_errors_total": 0, "arca_audit_log_breaks": 0, "arca_audit_unsigned_lines": 0, "arca_audit_checkpoint_lines": 0,
		"arca_audit_checkpoint_timestamp_seconds": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// cpuTime is what the process has used of the processors, which tells more than the
// clock where the disk decides.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkAppend(b *testing.B) {
	for _, tt := range []struct {
		callers int
		tree    bool
	}{{1, false}, {1, true}, {64, false}, {64, true}} {
		callers := tt.callers
		b.Run(fmt.Sprintf("%d callers, tree %v", callers, tt.tree), func(b *testing.B) {
			cfg := audit.Config{Dir: b.TempDir()}
			if tt.tree {
				cfg.Signer = testKey(b)
			}
			l, _ := start(b, cfg)
			data := line("5f0e3d3a-7a52-4f0a-9a55-d3f5b1a0c002")
			work := make(chan struct{}, callers)
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for range work {
						if err := l.Append(context.Background(), data); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			before := cpuTime(b)
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/line")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
