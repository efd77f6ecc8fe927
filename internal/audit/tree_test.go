package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/tlog"

	"arca/internal/audit"
	"arca/internal/merkle"
)

func testKey(t testing.TB) *audit.NodeKey {
	t.Helper()
	k, err := audit.NewNodeKey("arca/d1/n1", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// keeper is what etcd is to a log, and remembers everything it was ever told.
type keeper struct {
	mu   sync.Mutex
	head *audit.Head                       // guarded by mu
	fail error                             // guarded by mu
	told map[string]map[uint64]merkle.Hash // guarded by mu; by origin and size
}

func (k *keeper) keep(_ context.Context, h audit.Head) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	if k.told == nil {
		k.told = make(map[string]map[uint64]merkle.Hash)
	}
	if k.told[h.Origin] == nil {
		k.told[h.Origin] = make(map[uint64]merkle.Hash)
	}
	if root, known := k.told[h.Origin][h.Size]; known && h.Size > 0 && root != h.Root {
		panic(fmt.Sprintf("two roots of %s at %d", h.Origin, h.Size))
	}
	k.told[h.Origin][h.Size] = h.Root
	k.head = &h
	return nil
}

func (k *keeper) known() *audit.Head {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.head
}

func (k *keeper) failWith(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

func (k *keeper) config(t testing.TB, dir string) audit.Config {
	return audit.Config{Dir: dir, MaxSegmentBytes: 8 << 10, Signer: testKey(t), Head: k.known(), Keep: k.keep}
}

// with opens and runs a log, calls fn, and closes it.
func with(t testing.TB, cfg audit.Config, fn func(l *audit.Log)) (messages string) {
	t.Helper()
	l, buf := open(t, cfg)
	done := make(chan error)
	go func() { done <- l.Run(context.Background()) }()
	fn(l)
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	return buf.String()
}

// rootsOf returns what gives the root over the first lines, by package tlog alone.
func rootsOf(t testing.TB, lines [][]byte) func(size int) merkle.Hash {
	t.Helper()
	var hashes []tlog.Hash
	r := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = hashes[x]
		}
		return out, nil
	})
	for n, line := range lines {
		more, err := tlog.StoredHashes(int64(n), line, r)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
	}
	return func(size int) merkle.Hash {
		root, err := tlog.TreeHash(int64(size), r)
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
}

// rootOf is the root over lines.
func rootOf(t testing.TB, lines [][]byte) merkle.Hash { return rootsOf(t, lines)(len(lines)) }

func linesIn(t testing.TB, dir string) (lines [][]byte) {
	t.Helper()
	err := audit.Scan(t.Context(), dir, 0, func(_ uint64, line []byte) error {
		lines = append(lines, bytes.Clone(line))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// linesOrNone is linesIn for a log that may have gaps.
func linesOrNone(dir string) (lines [][]byte) {
	err := audit.Scan(context.Background(), dir, 0, func(_ uint64, line []byte) error {
		lines = append(lines, nil)
		return nil
	})
	if err != nil {
		return nil
	}
	return lines
}

func checkpoint(t testing.TB, path string) merkle.Checkpoint {
	t.Helper()
	c, err := merkle.OpenCheckpoint(read(t, path), testKey(t).Verifier())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return c
}

func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func segmentFiles(t testing.TB, dir string) (paths []string) {
	t.Helper()
	segs, err := audit.Segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segs {
		paths = append(paths, s.Path)
	}
	return paths
}

func appendSome(t testing.TB, l *audit.Log, prefix string, n int) {
	t.Helper()
	for i := range n {
		mustAppend(t, l, fmt.Sprint(prefix, i))
	}
}

// The newest checkpoint covers every line, the closing ones cover their segments, all
// are signed, and each line can be proved.
func TestCheckpoints(t *testing.T) {
	dir := t.TempDir()
	var k keeper
	with(t, k.config(t, dir), func(l *audit.Log) {
		if _, ok := l.Checkpoint(); ok {
			t.Error("a checkpoint of an empty log")
		}
		appendSome(t, l, "x", 300)
		eventually(t, "a checkpoint of all lines", func() bool {
			c, ok := l.Checkpoint()
			return ok && c.Size == 300
		})
		if got := l.Origin(); got != "arca/d1/n1/1" {
			t.Errorf("Origin() = %q", got)
		}
	})
	lines := linesIn(t, dir)
	c := checkpoint(t, filepath.Join(dir, "checkpoint"))
	if c.Size != 300 || c.Root != rootOf(t, lines) || time.Since(c.Time) > time.Minute {
		t.Errorf("checkpoint %+v", c)
	}
	if h := k.known(); h.Size != c.Size || h.Root != c.Root || !bytes.Equal(h.Checkpoint, c.Text) || h.Origin != c.Origin || h.Key != testKey(t).VerifierKey() {
		t.Errorf("head %+v", h)
	}
	if got, want := string(read(t, filepath.Join(dir, "key"))), testKey(t).VerifierKey()+"\n"; got != want {
		t.Errorf("key file %q, want %q", got, want)
	}
	tiles := merkle.NewTiles(dir)
	for n, line := range lines {
		p, err := tiles.Prove(c, uint64(n))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Check(line, testKey(t).Verifier()); err != nil {
			t.Fatal(err)
		}
	}
	segs, err := audit.Segments(dir)
	if err != nil || len(segs) < 3 {
		t.Fatalf("%d segments, %v", len(segs), err)
	}
	for _, s := range segs[1:] {
		closing := checkpoint(t, filepath.Join(dir, "checkpoints", fmt.Sprintf("%020d", s.First)))
		if closing.Size != s.First || closing.Root != rootOf(t, lines[:s.First]) {
			t.Errorf("closing checkpoint of %d: %+v", s.First, closing)
		}
	}
}

// A segment is begun with the line after the one that filled the last, which may come
// when the tree has long been there.
func TestSegmentClosedLater(t *testing.T) {
	dir := t.TempDir()
	var k keeper
	cfg := k.config(t, dir)
	cfg.MaxSegmentBytes = 1 << 10
	with(t, cfg, func(l *audit.Log) {
		mustAppend(t, l, "a", "b")
		eventually(t, "a checkpoint", func() bool { c, ok := l.Checkpoint(); return ok && c.Size == 2 })
		mustAppend(t, l, "c")
	})
	if c := checkpoint(t, filepath.Join(dir, "checkpoints", fmt.Sprintf("%020d", 2))); c.Size != 2 || c.Root != rootOf(t, linesIn(t, dir)[:2]) {
		t.Errorf("closing checkpoint %+v", c)
	}
}

// Without a Signer there is nothing of all this.
func TestNoTree(t *testing.T) {
	dir := t.TempDir()
	with(t, audit.Config{Dir: dir}, func(l *audit.Log) {
		mustAppend(t, l, "a")
		if _, ok := l.Checkpoint(); ok || l.Origin() != "" {
			t.Error("a log without a key has a checkpoint or an origin")
		}
	})
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("files %q", got)
	}
}

// reopened is a log of 300 lines that was closed and then damaged.
type reopened struct {
	t      *testing.T
	dir    string
	k      *keeper
	early  string // a copy of the directory from when it had 100 lines
	before merkle.Checkpoint
	lines  [][]byte
}

func newReopened(t *testing.T) *reopened {
	r := &reopened{t: t, dir: t.TempDir(), k: new(keeper)}
	with(t, r.k.config(t, r.dir), func(l *audit.Log) { appendSome(t, l, "x", 100) })
	r.early = copyDir(t, r.dir)
	with(t, r.k.config(t, r.dir), func(l *audit.Log) { appendSome(t, l, "y", 200) })
	r.before = checkpoint(t, filepath.Join(r.dir, "checkpoint"))
	r.lines = linesIn(t, r.dir)
	return r
}

func (r *reopened) remove(name string) {
	if err := os.RemoveAll(filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reopened) newest() string {
	files := segmentFiles(r.t, r.dir)
	return files[len(files)-1]
}

// edit changes the first line of a segment.
func (r *reopened) edit(path string) {
	data := read(r.t, path)
	data[30] ^= 1
	put(r.t, path, data)
}

func (r *reopened) rollBack() {
	r.remove("")
	if err := os.Rename(r.early, r.dir); err != nil {
		r.t.Fatal(err)
	}
}

// TestReopen: whatever happened to the files or to what etcd knows, nothing that was
// signed is contradicted, the server starts, and what is lost is said.
func TestReopen(t *testing.T) {
	const edge, inner = "tile/0/001.p/44", "tile/0/000"
	tests := []struct {
		name       string
		damage     func(r *reopened)
		generation uint32
		size       uint64 // of the log after opening it again
		say        string // in the messages
		noHead     bool   // etcd knows nothing
	}{
		{name: "nothing", damage: func(*reopened) {}, generation: 1, size: 300},
		{name: "etcd knows nothing", damage: func(*reopened) {}, generation: 1, size: 300, noHead: true},
		{name: "etcd put back", damage: func(r *reopened) {
			c := checkpoint(r.t, filepath.Join(r.early, "checkpoint"))
			r.k.head.Size, r.k.head.Root, r.k.head.Checkpoint = c.Size, c.Root, c.Text
		}, generation: 1, size: 300, say: "etcd knows an older state"},
		{name: "tiles removed", damage: func(r *reopened) { r.remove("tile") }, generation: 1, size: 300, say: "made again from the lines"},
		{name: "tile at the edge torn", damage: func(r *reopened) {
			put(r.t, filepath.Join(r.dir, edge), read(r.t, filepath.Join(r.dir, edge))[:50])
		}, generation: 1, size: 300, say: "made again from the lines"},
		{name: "tile of zeros", damage: func(r *reopened) { put(r.t, filepath.Join(r.dir, inner), make([]byte, 8192)) }, generation: 1, size: 300},
		{name: "checkpoint removed", damage: func(r *reopened) { r.remove("checkpoint") }, generation: 1, size: 300},
		{name: "checkpoint of garbage", damage: func(r *reopened) { put(r.t, filepath.Join(r.dir, "checkpoint"), []byte("garbage")) },
			generation: 1, size: 300, say: "newest checkpoint cannot be used"},
		{name: "checkpoint of another key", damage: func(r *reopened) {
			other, err := audit.NewNodeKey("arca/d1/n1", bytes.Repeat([]byte{8}, 32))
			if err != nil {
				r.t.Fatal(err)
			}
			c, err := merkle.Checkpoint{Origin: "arca/d1/n1/1", Size: 1000}.Sign(other)
			if err != nil {
				r.t.Fatal(err)
			}
			put(r.t, filepath.Join(r.dir, "checkpoint"), c.Text)
		}, generation: 1, size: 300, say: "newest checkpoint cannot be used"},
		{name: "checkpoint put back", damage: func(r *reopened) {
			put(r.t, filepath.Join(r.dir, "checkpoint"), read(r.t, filepath.Join(r.early, "checkpoint")))
		}, generation: 1, size: 300},
		{name: "closing checkpoints removed", damage: func(r *reopened) { r.remove("checkpoints") }, generation: 1, size: 300},
		{name: "all but the lines removed", damage: func(r *reopened) {
			r.remove("tile")
			r.remove("checkpoint")
			r.remove("checkpoints")
			r.remove("key")
		}, generation: 1, size: 300},
		{name: "newest segment removed", damage: func(r *reopened) { r.remove(filepath.Base(r.newest())) },
			generation: 1, size: 300, say: "which were signed, are gone"},
		{name: "newest segment cut", damage: func(r *reopened) { put(r.t, r.newest(), read(r.t, r.newest())[:900]) },
			generation: 1, size: 300, say: "which were signed, are gone"},
		{name: "all segments removed", damage: func(r *reopened) {
			for _, path := range segmentFiles(r.t, r.dir) {
				r.remove(filepath.Base(path))
			}
		}, generation: 1, size: 300, say: "lines 0 to 299, which were signed, are gone"},
		{name: "segment in the middle removed", damage: func(r *reopened) { r.remove(filepath.Base(segmentFiles(r.t, r.dir)[3])) }, generation: 1, size: 300},
		{name: "line changed", damage: func(r *reopened) { r.edit(r.newest()) }, generation: 1, size: 300, say: "not those that were signed"},
		{name: "line changed and tiles removed", damage: func(r *reopened) { r.edit(segmentFiles(r.t, r.dir)[3]); r.remove("tile") },
			generation: 2, say: "the first 300 lines are not those that were signed"},
		{name: "segment in the middle and tiles removed", damage: func(r *reopened) {
			r.remove(filepath.Base(segmentFiles(r.t, r.dir)[3]))
			r.remove("tile")
		}, generation: 2, say: "are missing"},
		{name: "newest segment and tiles removed", damage: func(r *reopened) { r.remove(filepath.Base(r.newest())); r.remove("tile") },
			generation: 2, say: "and 300 were signed"},
		{name: "oldest segment and tiles removed", damage: func(r *reopened) {
			r.remove(filepath.Base(segmentFiles(r.t, r.dir)[0]))
			r.remove("tile")
		}, generation: 2, say: "no longer there"},
		{name: "directory removed", damage: func(r *reopened) { r.remove("") }, generation: 2, say: "it has 0 lines, and 300 were signed"},
		{name: "directory put back", damage: (*reopened).rollBack, generation: 2, say: "it has 100 lines, and 300 were signed"},
		{name: "directory put back, etcd as well", damage: func(r *reopened) {
			c := checkpoint(r.t, filepath.Join(r.early, "checkpoint"))
			r.k.head.Size, r.k.head.Root, r.k.head.Checkpoint = c.Size, c.Root, c.Text
			r.k.told = nil // nobody can know: this is what a checkpoint kept elsewhere is for
			r.rollBack()
		}, generation: 1, size: 100},
		{name: "noted break", damage: func(r *reopened) { put(r.t, filepath.Join(r.dir, "break"), []byte("for a reason\n")) },
			generation: 2, say: "for a reason"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReopened(t)
			tt.damage(r)
			cfg := r.k.config(t, r.dir)
			if tt.noHead {
				cfg.Head = nil
			}
			said := with(t, cfg, func(l *audit.Log) {
				if got := l.Size(); got != tt.size {
					t.Errorf("Size() = %d, want %d", got, tt.size)
				}
				appendSome(t, l, "z", 10)
			})
			if !strings.Contains(said, tt.say) || tt.say == "" && strings.Contains(said, "level=ERROR") {
				t.Errorf("messages, want %q:\n%s", tt.say, said)
			}
			c := checkpoint(t, filepath.Join(r.dir, "checkpoint"))
			if want := merkle.Origin("arca/d1/n1", tt.generation); c.Origin != want || c.Size != tt.size+10 {
				t.Fatalf("checkpoint of %s with %d lines, want %s with %d", c.Origin, c.Size, want, tt.size+10)
			}
			h := r.k.known()
			if h.Generation != tt.generation || h.Size != c.Size {
				t.Errorf("head %+v", h)
			}
			if tt.generation == 1 {
				r.continues(c, tt.size)
			} else {
				r.beganAnew(c, h)
			}
			// The second start after it finds nothing wrong.
			said = with(t, r.k.config(t, r.dir), func(l *audit.Log) {
				if got := l.Size(); got != c.Size {
					t.Errorf("Size() the second time = %d, want %d", got, c.Size)
				}
			})
			if strings.Contains(said, "level=ERROR") && tt.name != "line changed" && !strings.Contains(tt.say, "are gone") {
				t.Errorf("messages of the second start:\n%s", said)
			}
		})
	}
}

// continues: the log before is a prefix of the log now.
func (r *reopened) continues(c merkle.Checkpoint, size uint64) {
	r.t.Helper()
	lines := slices.Clone(r.lines[:size])
	for i := range 10 {
		lines = append(lines, line(fmt.Sprint("z", i)))
	}
	if c.Root != rootOf(r.t, lines) {
		r.t.Error("the root is not that over all lines")
	}
	if size == r.before.Size {
		p, err := merkle.NewTiles(r.dir).Extends(c, r.before)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := p.Check(r.before, testKey(r.t).Verifier()); err != nil {
			r.t.Error(err)
		}
	}
	if h := r.k.known(); len(h.Former) != 0 {
		r.t.Errorf("former logs %+v", h.Former)
	}
	if size == 300 && len(linesOrNone(r.dir)) == 310 {
		if err := audit.RebuildTiles(r.t.Context(), r.dir, c); err != nil && !strings.Contains(r.t.Name(), "line_changed") {
			r.t.Error(err)
		}
	}
	for n := range c.Size {
		if _, err := merkle.NewTiles(r.dir).Prove(c, n); err != nil {
			r.t.Fatal(err)
		}
	}
}

// beganAnew: the new log stands for itself, and the old one is named and kept.
func (r *reopened) beganAnew(c merkle.Checkpoint, h *audit.Head) {
	r.t.Helper()
	if c.Root != rootOf(r.t, linesIn(r.t, r.dir)) {
		r.t.Error("the root is not that over the new lines")
	}
	if len(h.Former) != 1 {
		r.t.Fatalf("former logs %+v", h.Former)
	}
	f := h.Former[0]
	if f.Origin != "arca/d1/n1/1" || f.Size != 300 || f.Root != r.before.Root || f.Why == "" || f.Dir == "" || !f.Acknowledged.IsZero() {
		r.t.Errorf("former log %+v", f)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "break")); !errors.Is(err, fs.ErrNotExist) {
		r.t.Errorf("the note of the break: %v", err)
	}
}

// A crash at any step of beginning a new log leaves something from which it begins,
// once, with everything of the old one kept.
func TestBreakCrashes(t *testing.T) {
	lost := "lost-20260102T030405Z"
	told := func(r *reopened) {
		h := *r.k.head
		h.Former = []audit.FormerLog{{Origin: h.Origin, Size: h.Size, Root: h.Root, Why: "for a reason", When: time.Now(), Dir: lost}}
		h.Generation, h.Origin, h.Size, h.Root, h.Checkpoint = 2, "arca/d1/n1/2", 0, merkle.Hash{}, nil
		r.k.head = &h
	}
	move := func(r *reopened, n int) {
		if err := os.MkdirAll(filepath.Join(r.dir, lost), 0o700); err != nil {
			r.t.Fatal(err)
		}
		for _, name := range names(r.t, r.dir) {
			if n--; n >= 0 && name != "break" && name != lost {
				if err := os.Rename(filepath.Join(r.dir, name), filepath.Join(r.dir, lost, name)); err != nil {
					r.t.Fatal(err)
				}
			}
		}
	}
	note := func(r *reopened) { put(r.t, filepath.Join(r.dir, "break"), []byte("for a reason\n")) }
	for name, crash := range map[string]func(r *reopened){
		"noted":                                   func(r *reopened) { note(r) },
		"noted and told":                          func(r *reopened) { note(r); told(r) },
		"told, and the note lost":                 func(r *reopened) { told(r) },
		"some files moved":                        func(r *reopened) { note(r); told(r); move(r, 4) },
		"all files moved":                         func(r *reopened) { note(r); told(r); move(r, 1000) },
		"all files moved and a segment begun":     func(r *reopened) { note(r); told(r); move(r, 1000); put(r.t, filepath.Join(r.dir, firstSegment), nil) },
		"some files moved, etcd not told":         func(r *reopened) { note(r); move(r, 4) },
		"all files moved, etcd not told, no note": func(r *reopened) { move(r, 1000) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReopened(t)
			crash(r)
			with(t, r.k.config(t, r.dir), func(l *audit.Log) { appendSome(t, l, "z", 3) })
			c := checkpoint(t, filepath.Join(r.dir, "checkpoint"))
			if c.Origin != "arca/d1/n1/2" || c.Size != 3 {
				t.Errorf("checkpoint of %s with %d lines", c.Origin, c.Size)
			}
			r.beganAnew(c, r.k.known())
			var kept [][]byte
			for _, name := range names(t, r.dir) {
				if strings.HasPrefix(name, "lost-") {
					for _, path := range segmentFiles(t, filepath.Join(r.dir, name)) {
						kept = append(kept, bytes.Split(bytes.TrimSuffix(read(t, path), []byte("\n")), []byte("\n"))...)
					}
				}
			}
			kept = slices.DeleteFunc(kept, func(l []byte) bool { return len(l) == 0 })
			if len(kept) != 300 {
				t.Errorf("%d lines of the old log are kept", len(kept))
			}
		})
	}
}

// A log that is older than its tree gets one, without the start waiting for it.
func TestUpgrade(t *testing.T) {
	for _, n := range []int{10, 200_000} {
		t.Run(fmt.Sprint(n, " lines"), func(t *testing.T) {
			dir := t.TempDir()
			lines := make([][]byte, n)
			for i := range lines {
				lines[i] = fmt.Append(nil, i)
			}
			with(t, audit.Config{Dir: dir, MaxSegmentBytes: 64 << 10}, func(l *audit.Log) {
				for part := range slices.Chunk(lines, 10_000) {
					if err := l.Append(t.Context(), part...); err != nil {
						t.Fatal(err)
					}
				}
			})
			var k keeper
			with(t, k.config(t, dir), func(l *audit.Log) {
				for range 3 {
					lines = append(lines, []byte("new"))
					if err := l.Append(t.Context(), []byte("new")); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "a checkpoint", func() bool {
					c, ok := l.Checkpoint()
					return ok && c.Size == uint64(len(lines))
				})
			})
			c := checkpoint(t, filepath.Join(dir, "checkpoint"))
			if c.Root != rootOf(t, lines) {
				t.Error("the root is not that over all lines")
			}
			for _, path := range segmentFiles(t, dir)[1:] {
				name := strings.TrimSuffix(filepath.Base(path), ".jsonl")
				if _, err := os.Stat(filepath.Join(dir, "checkpoints", name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Lines whose leaves found no room in the queue are hashed from the segments.
func TestQueueOverflows(t *testing.T) {
	dir := t.TempDir()
	var k keeper
	cfg := k.config(t, dir)
	cfg.MaxSegmentBytes = 1 << 20
	short := slices.Repeat([][]byte{[]byte("x")}, audit.MaxQueued*3/4)
	with(t, cfg, func(l *audit.Log) {
		for range 3 {
			if err := l.Append(t.Context(), short...); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "a checkpoint of all lines", func() bool {
			c, ok := l.Checkpoint()
			return ok && c.Size == uint64(3*len(short))
		})
	})
	if c := checkpoint(t, filepath.Join(dir, "checkpoint")); c.Root != rootOf(t, slices.Repeat([][]byte{[]byte("x")}, 3*len(short))) {
		t.Error("the root is not that over all lines")
	}
}

// A checkpoint that etcd could not store is seen nowhere; lines are accepted.
func TestKeepFails(t *testing.T) {
	dir := t.TempDir()
	k := &keeper{fail: errors.New("no etcd")}
	said := with(t, k.config(t, dir), func(l *audit.Log) {
		appendSome(t, l, "x", 20)
		time.Sleep(2 * audit.PublishEvery)
		if _, ok := l.Checkpoint(); ok {
			t.Error("a checkpoint is shown that etcd does not know")
		}
		for _, name := range []string{"checkpoint", "checkpoints"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				t.Errorf("%s is there", name)
			}
		}
		k.failWith(nil)
		eventually(t, "a checkpoint", func() bool { c, ok := l.Checkpoint(); return ok && c.Size == 20 })
	})
	if strings.Count(said, "cannot be stored in etcd") != 1 {
		t.Errorf("messages:\n%s", said)
	}
}

// When etcd knows a later state, somebody else signs for this node: nothing is signed
// here any more, and the next start begins a new log.
func TestLaterHead(t *testing.T) {
	dir := t.TempDir()
	var k keeper
	with(t, k.config(t, dir), func(l *audit.Log) { appendSome(t, l, "x", 20) })
	with(t, k.config(t, dir), func(l *audit.Log) {
		k.failWith(fmt.Errorf("told: %w", audit.ErrLaterHead))
		appendSome(t, l, "y", 20)
		eventually(t, "the break", func() bool { _, err := os.Stat(filepath.Join(dir, "break")); return err == nil })
		appendSome(t, l, "z", 20)
		if c, _ := l.Checkpoint(); c.Size != 20 {
			t.Errorf("checkpoint of %d lines", c.Size)
		}
		var problems []string
		if err := l.Check(t.Context(), func(p string) { problems = append(problems, p) }); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "no checkpoints are signed") }) {
			t.Errorf("problems %q", problems)
		}
	})
	if c := checkpoint(t, filepath.Join(dir, "checkpoint")); c.Size != 20 {
		t.Errorf("checkpoint of %d lines", c.Size)
	}
	k.failWith(nil)
	with(t, k.config(t, dir), func(l *audit.Log) {
		if l.Origin() != "arca/d1/n1/2" || l.Size() != 0 {
			t.Errorf("%s with %d lines", l.Origin(), l.Size())
		}
	})
}

// A file system that takes no tiles does not stop anything.
func TestTilesCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "tile"), []byte("in the way"))
	var k keeper
	with(t, k.config(t, dir), func(l *audit.Log) { appendSome(t, l, "x", 30) })
	if c := checkpoint(t, filepath.Join(dir, "checkpoint")); c.Size != 30 {
		t.Errorf("checkpoint of %d lines", c.Size)
	}
	if err := os.Remove(filepath.Join(dir, "tile")); err != nil {
		t.Fatal(err)
	}
	with(t, k.config(t, dir), func(l *audit.Log) { appendSome(t, l, "y", 30) })
	c := checkpoint(t, filepath.Join(dir, "checkpoint"))
	if c.Size != 60 || c.Root != rootOf(t, linesIn(t, dir)) {
		t.Errorf("checkpoint %+v", c)
	}
	for n := range c.Size {
		if _, err := merkle.NewTiles(dir).Prove(c, n); err != nil {
			t.Fatal(err)
		}
	}
	if got := slices.Sorted(maps.Keys(k.told)); len(got) != 1 {
		t.Errorf("logs %q", got)
	}
}

// The tree goes on over whatever happens to the segment in use, and stays the one over
// the acknowledged lines.
func TestTreeOverFaults(t *testing.T) {
	broken := error(syscall.EIO)
	tests := []struct {
		name  string
		fault func(t *testing.T, f *faults, path string)
		gone  bool // acknowledged lines are not in the files any more
	}{
		{"sync fails", func(_ *testing.T, f *faults, _ string) { f.sync.Store(&broken) }, false},
		{"write fails", func(_ *testing.T, f *faults, _ string) { f.write.Store(&broken); f.part.Store(100) }, false},
		{"segment removed", func(t *testing.T, _ *faults, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"segment cut", func(t *testing.T, _ *faults, path string) {
			if err := os.Truncate(path, 1000); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"directory removed", func(t *testing.T, _ *faults, path string) {
			if err := os.RemoveAll(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "log")
			var f faults
			var k keeper
			cfg := f.config(dir)
			cfg.Signer, cfg.Keep = testKey(t), k.keep
			var want [][]byte
			add := func(l *audit.Log, ids ...string) {
				mustAppend(t, l, ids...)
				for _, id := range ids {
					want = append(want, line(id))
				}
			}
			with(t, cfg, func(l *audit.Log) {
				add(l, "a", "b", "c")
				tt.fault(t, &f, filepath.Join(dir, firstSegment))
				if f.sync.Load() != nil || f.write.Load() != nil {
					if err := l.Append(t.Context(), line("lost")); err == nil {
						t.Error("Append during the fault succeeded")
					}
				}
				f.sync.Store(nil)
				f.write.Store(nil)
				time.Sleep(2 * audit.InspectEvery)
				eventually(t, "healed", func() bool { return l.Err() == nil })
				add(l, "d", "e")
			})
			c := checkpoint(t, filepath.Join(dir, "checkpoint"))
			if c.Size != 5 || c.Root != rootOf(t, want) || c.Origin != "arca/d1/n1/1" {
				t.Errorf("checkpoint %+v, want the root of %d lines", c, len(want))
			}
			if tt.gone == (len(linesOrNone(dir)) == 5) {
				t.Errorf("%d lines in the files", len(linesOrNone(dir)))
			}
			// The same tree goes on after a restart.
			cfg.Head = k.known()
			with(t, cfg, func(l *audit.Log) { add(l, "f") })
			if c := checkpoint(t, filepath.Join(dir, "checkpoint")); c.Size != 6 || c.Root != rootOf(t, want) || c.Origin != "arca/d1/n1/1" {
				t.Errorf("checkpoint after a restart %+v", c)
			}
		})
	}
}

// gauge is the value of one of the log's metrics.
func gauge(t testing.TB, l *audit.Log, name string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(l.Metrics()); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestRootAt(t *testing.T) {
	r := newReopened(t)
	with(t, r.k.config(t, r.dir), func(l *audit.Log) {
		for _, size := range []uint64{0, 1, 100, 255, 256, 299, 300} {
			root, err := l.RootAt(size)
			want := merkle.EmptyRoot()
			if size > 0 {
				want = rootOf(t, r.lines[:size])
			}
			if err != nil || root != want {
				t.Errorf("RootAt(%d) = %v, %v, want %v", size, root, err, want)
			}
		}
		if _, err := l.RootAt(301); err == nil {
			t.Error("RootAt behind the checkpoint succeeded")
		}
		if got := gauge(t, l, "arca_audit_checkpoint_lines"); got != 300 {
			t.Errorf("checkpoint_lines = %v", got)
		}
	})
	without, _ := open(t, audit.Config{Dir: t.TempDir()})
	if _, err := without.RootAt(0); err == nil {
		t.Error("RootAt without a tree succeeded")
	}
	without.AcknowledgeBreaks()
}

// The alarm about a former log lasts over restarts, until somebody acknowledges it.
func TestBreakAlarm(t *testing.T) {
	r := newReopened(t)
	put(t, filepath.Join(r.dir, "break"), []byte("for a reason\n"))
	for range 2 {
		with(t, r.k.config(t, r.dir), func(l *audit.Log) {
			mustAppend(t, l, "a")
			if got := gauge(t, l, "arca_audit_log_breaks"); got != 1 {
				t.Errorf("log_breaks = %v, want 1", got)
			}
		})
	}
	r.k.head.Former[0].Acknowledged = time.Now()
	with(t, r.k.config(t, r.dir), func(l *audit.Log) {
		if got := gauge(t, l, "arca_audit_log_breaks"); got != 0 {
			t.Errorf("log_breaks = %v, want 0", got)
		}
	})
	r.k.head.Former[0].Acknowledged = time.Time{}
	with(t, r.k.config(t, r.dir), func(l *audit.Log) {
		l.AcknowledgeBreaks()
		if got := gauge(t, l, "arca_audit_log_breaks"); got != 0 {
			t.Errorf("log_breaks = %v, want 0", got)
		}
	})
}

// etcd that was put back to before a break does not make the log use a generation twice.
func TestEtcdPutBackOverBreak(t *testing.T) {
	r := newReopened(t)
	first := *r.k.head
	put(t, filepath.Join(r.dir, "break"), []byte("for a reason\n"))
	with(t, r.k.config(t, r.dir), func(l *audit.Log) { appendSome(t, l, "a", 5) })
	r.k.head = &first
	with(t, r.k.config(t, r.dir), func(l *audit.Log) { appendSome(t, l, "b", 5) })
	h := r.k.known()
	if h.Generation != 2 || h.Size != 10 || len(h.Former) != 1 || h.Former[0].Size != 300 {
		t.Errorf("head %+v", h)
	}
	// Files of the former log in the place of this one's are not taken for it.
	r.remove("checkpoint")
	put(t, filepath.Join(r.dir, "checkpoint"), r.before.Text)
	with(t, r.k.config(t, r.dir), func(l *audit.Log) { appendSome(t, l, "c", 5) })
	if h := r.k.known(); h.Generation != 2 || h.Size != 15 {
		t.Errorf("head %+v", h)
	}
}

// Whatever stands in the files of the tree, the log opens, takes lines and signs a
// checkpoint that is true.
func FuzzOpenTree(f *testing.F) {
	f.Add([]byte("x"), []byte(nil), []byte(nil), []byte(nil), false)
	f.Add([]byte(nil), make([]byte, 64), []byte("y"), []byte(nil), true)
	f.Add([]byte(nil), []byte(nil), []byte(nil), []byte("reason\xff"), false)
	f.Add([]byte(nil), []byte(nil), []byte(nil), []byte("\n"), false)
	f.Fuzz(func(t *testing.T, newest, tile, closing, note []byte, headless bool) {
		dir := t.TempDir()
		var k keeper
		cfg := k.config(t, dir)
		cfg.MaxSegmentBytes = 1 << 10
		with(t, cfg, func(l *audit.Log) { appendSome(t, l, "x", 5) })
		for name, data := range map[string][]byte{
			"checkpoint": newest, "tile/0/000.p/5": tile, fmt.Sprintf("checkpoints/%020d", 4): closing, "break": note,
		} {
			if len(data) > 0 {
				put(t, filepath.Join(dir, name), data)
			}
		}
		if cfg.Head = k.known(); headless {
			cfg.Head = nil
		}
		with(t, cfg, func(l *audit.Log) { mustAppend(t, l, "next") })
		c := checkpoint(t, filepath.Join(dir, "checkpoint"))
		if lines := linesIn(t, dir); c.Size != uint64(len(lines)) || c.Root != rootOf(t, lines) {
			t.Errorf("checkpoint of %d lines, there are %d", c.Size, len(lines))
		}
	})
}
