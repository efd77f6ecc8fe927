package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/audit"
	"arca/internal/merkle"
)

// nodeKey is a node's key.
func nodeKey(t testing.TB, name string, b byte) *audit.NodeKey {
	t.Helper()
	key, err := audit.NewNodeKey(name, bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// made is a log that was written and closed.
type made struct {
	dir         string
	key         *audit.NodeKey
	head        audit.Head
	checkpoints map[uint64][]byte // what was signed on the way, by size
}

const madeName = "arca/test/n1"

// idOf is the event id of a line that makeLog writes.
func idOf(n int) string { return fmt.Sprintf("event-%05d", n) }

// makeLog writes lines with segments of perSegment lines, a multiple of ten, and keeps every checkpoint
// that the log signed.
func makeLog(t testing.TB, dir string, lines, perSegment int) *made {
	t.Helper()
	m := &made{dir: dir, key: nodeKey(t, madeName, 1), checkpoints: make(map[uint64][]byte)}
	m.write(t, lines, perSegment)
	return m
}

// write adds lines to the log.
func (m *made) write(t testing.TB, lines, perSegment int) {
	t.Helper()
	cfg := m.config(perSegment)
	l, _ := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	for n := int(l.Size()); n < lines; {
		var batch [][]byte
		for range min(10, lines-n) {
			batch = append(batch, line(idOf(n)))
			n++
		}
		if err := l.Append(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func (m *made) config(perSegment int) audit.Config {
	cfg := audit.Config{
		Dir:             m.dir,
		MaxSegmentBytes: int64(perSegment * (len(line(idOf(0))) + 1)),
		Signer:          m.key,
		Keep: func(_ context.Context, h audit.Head) error {
			m.head = h
			m.checkpoints[h.Size] = bytes.Clone(h.Checkpoint)
			return nil
		},
	}
	if m.head.Origin != "" {
		head := m.head
		cfg.Head = &head
	}
	return cfg
}

// verify verifies with the right key and what else is given.
func (m *made) verify(t testing.TB, change func(*audit.VerifyOptions)) *audit.VerifyReport {
	t.Helper()
	o := audit.VerifyOptions{Dir: m.dir, Keys: []string{m.key.VerifierKey()}}
	if change != nil {
		change(&o)
	}
	r, err := audit.Verify(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found lists problems as "kind from-to".
func found(r *audit.VerifyReport) (got []string) {
	for _, p := range r.Problems {
		got = append(got, fmt.Sprintf("%s %d-%d", p.Kind, p.Line, p.To))
	}
	return got
}

func texts(r *audit.VerifyReport) string {
	var b strings.Builder
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "  %s %d-%d: %s\n", p.Kind, p.Line, p.To, p.Text)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "  warning: %s\n", w)
	}
	return b.String()
}

// edit rewrites the lines of one segment, plain.
func edit(t testing.TB, path string, change func(lines [][]byte) [][]byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	put(t, path, append(bytes.Join(change(lines), []byte("\n")), '\n'))
}

func replaceIn(line []byte, old, with string) []byte {
	return bytes.Replace(line, []byte(old), []byte(with), 1)
}

// copyOf copies a node's directory.
func copyOf(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestVerifyClean(t *testing.T) {
	m := makeLog(t, t.TempDir(), 1000, 300)
	r := m.verify(t, func(o *audit.VerifyOptions) { o.Head = &m.head })
	if len(r.Problems)+len(r.Warnings) > 0 {
		t.Errorf("problems:\n%s", texts(r))
	}
	if r.Size != 1000 || r.Lines != 1000 || r.Tail != 0 || r.Root != m.head.Root || r.Origin != m.head.Origin {
		t.Errorf("report: size %d, lines %d, tail %d, origin %s", r.Size, r.Lines, r.Tail, r.Origin)
	}
	if r.Key != m.key.VerifierKey() {
		t.Errorf("key %q", r.Key)
	}
	var sizes []uint64
	for _, c := range r.Checked {
		sizes = append(sizes, c.Size)
	}
	if diff := cmp.Diff([]uint64{300, 600, 900, 1000}, sizes); diff != "" {
		t.Errorf("checkpoints (-want +got):\n%s", diff)
	}
}

// TestVerifyNames makes each manipulation to the files of a log and wants it named.
func TestVerifyNames(t *testing.T) {
	whole := makeLog(t, t.TempDir(), 1000, 300)
	earlier := makeLog(t, t.TempDir(), 700, 300) // the same lines, signed by the same key
	second := func(dir string) string { return segment(dir, 300) }
	newest := func(dir string) string { return segment(dir, 900) }
	tests := []struct {
		name   string
		break_ func(t *testing.T, dir string)
		want   []string
		says   []string
	}{
		{"one line changed", func(t *testing.T, dir string) {
			edit(t, second(dir), func(ls [][]byte) [][]byte {
				ls[17] = replaceIn(ls[17], "GetSecretValue", "PutSecretValue")
				return ls
			})
		}, []string{"changed 317-317"}, []string{"line 317 was changed (event id event-00317)"}},
		{"one byte of the first line", func(t *testing.T, dir string) {
			edit(t, segment(dir, 0), func(ls [][]byte) [][]byte { ls[0][0] ^= 1; return ls })
		}, []string{"changed 0-0"}, []string{"line 0 was changed (it is not a record any more)"}},
		{"the last line", func(t *testing.T, dir string) {
			edit(t, newest(dir), func(ls [][]byte) [][]byte {
				ls[99] = replaceIn(ls[99], "GetSecretValue", "PutSecretValue")
				return ls
			})
		}, []string{"changed 999-999"}, []string{"event-00999"}},
		{"lines changed in two segments", func(t *testing.T, dir string) {
			for _, first := range []uint64{0, 600} {
				edit(t, segment(dir, first), func(ls [][]byte) [][]byte {
					for i := 10; i < 13; i++ {
						ls[i] = replaceIn(ls[i], "GetSecretValue", "PutSecretValue")
					}
					return ls
				})
			}
		}, []string{"changed 10-12", "changed 610-612"}, []string{"event ids event-00010 to event-00012"}},
		{"a line cut out", func(t *testing.T, dir string) {
			edit(t, second(dir), func(ls [][]byte) [][]byte { return slices.Delete(ls, 100, 101) })
		}, []string{"missing 400-400"}, []string{"line 400 was cut out"}},
		{"lines cut out", func(t *testing.T, dir string) {
			edit(t, second(dir), func(ls [][]byte) [][]byte { return slices.Delete(ls, 100, 150) })
		}, []string{"missing 400-449"}, []string{"lines 400 to 449 were cut out"}},
		{"lines cut out, and the file renamed to fit", func(t *testing.T, dir string) {
			edit(t, segment(dir, 600), func(ls [][]byte) [][]byte { return ls[20:] })
			if err := os.Rename(segment(dir, 600), segment(dir, 620)); err != nil {
				t.Fatal(err)
			}
		}, []string{"missing 600-619"}, nil},
		{"two lines exchanged", func(t *testing.T, dir string) {
			edit(t, second(dir), func(ls [][]byte) [][]byte { ls[5], ls[6] = ls[6], ls[5]; return ls })
		}, []string{"moved 306-306"}, []string{"line 306 was moved"}},
		{"a line moved", func(t *testing.T, dir string) {
			edit(t, second(dir), func(ls [][]byte) [][]byte {
				l := ls[200]
				return slices.Insert(slices.Delete(ls, 200, 201), 50, l)
			})
		}, []string{"moved 500-500"}, []string{"stands where line 350 belongs"}},
		{"a line inserted", func(t *testing.T, dir string) {
			edit(t, second(dir), func(ls [][]byte) [][]byte { return slices.Insert(ls, 50, line("invented")) })
		}, []string{"inserted 349-349"}, []string{"after line 349 (event id invented)"}},
		{"a line copied", func(t *testing.T, dir string) {
			edit(t, second(dir), func(ls [][]byte) [][]byte { return slices.Insert(ls, 50, bytes.Clone(ls[10])) })
		}, []string{"inserted 349-349"}, []string{"event id event-00310"}},
		{"one cut out and another inserted elsewhere", func(t *testing.T, dir string) {
			edit(t, second(dir), func(ls [][]byte) [][]byte {
				return slices.Insert(slices.Delete(ls, 20, 21), 200, line("invented"))
			})
		}, []string{"missing 320-320", "inserted 500-500"}, nil},
		{"a whole segment removed", func(t *testing.T, dir string) {
			remove(t, second(dir))
		}, []string{"missing 300-599"}, []string{"lines 300 to 599 were cut out"}},
		{"the first segment removed", func(t *testing.T, dir string) {
			remove(t, segment(dir, 0))
		}, []string{"note 0-299"}, []string{"no valid note says that retention removed them"}},
		{"the newest lines removed", func(t *testing.T, dir string) {
			edit(t, newest(dir), func(ls [][]byte) [][]byte { return ls[:40] })
		}, []string{"cut-off 940-999"}, []string{"the end was cut off"}},
		{"the newest segment removed", func(t *testing.T, dir string) {
			remove(t, newest(dir))
		}, []string{"cut-off 900-999"}, nil},
		{"a closed segment ends within a line", func(t *testing.T, dir string) {
			data, err := os.ReadFile(second(dir))
			if err != nil {
				t.Fatal(err)
			}
			put(t, second(dir), data[:len(data)-30])
		}, []string{"segment 599-599", "missing 599-599"}, []string{"ends within a line"}},
		{"a tile changed", func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, "tile", "0", "001"), 5*32+3)
		}, []string{"tile 261-261"}, []string{"the tile was changed"}},
		{"a line and its tile changed", func(t *testing.T, dir string) {
			edit(t, second(dir), func(ls [][]byte) [][]byte {
				ls[17] = replaceIn(ls[17], "GetSecretValue", "PutSecretValue")
				return ls
			})
			retile(t, dir, 1000)
		}, []string{"unexplained 300-599", "unexplained 600-999"}, []string{"no hash tile tells which"}},
		{"only the tile of the lines rebuilt to match", func(t *testing.T, dir string) {
			before := copyOf(t, dir)
			edit(t, second(dir), func(ls [][]byte) [][]byte {
				ls[17] = replaceIn(ls[17], "GetSecretValue", "PutSecretValue")
				return ls
			})
			retile(t, dir, 1000)
			for _, p := range []string{"1/000.p/3"} { // the level above as it was
				data, err := os.ReadFile(filepath.Join(before, "tile", p))
				if err != nil {
					t.Fatal(err)
				}
				put(t, filepath.Join(dir, "tile", p), data)
			}
		}, []string{"unexplained 300-511"}, []string{"so was the hash tile that would tell which"}},
		{"no tiles, one line changed", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "tile")); err != nil {
				t.Fatal(err)
			}
			edit(t, second(dir), func(ls [][]byte) [][]byte { ls[17][40] ^= 1; return ls })
		}, []string{"unexplained 300-599", "unexplained 600-999"}, nil},
		{"checkpoint by another key", func(t *testing.T, dir string) {
			other := &made{dir: t.TempDir(), key: nodeKey(t, madeName, 2), checkpoints: make(map[uint64][]byte)}
			other.write(t, 1000, 300)
			data, err := os.ReadFile(filepath.Join(other.dir, "checkpoint"))
			if err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "checkpoint"), data)
		}, []string{"checkpoint 0-0", "checkpoint 0-0"}, []string{"not signed by a key that is known"}},
		{"checkpoint is no checkpoint", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "checkpoint"), []byte("1000 lines, promised\n"))
		}, []string{"checkpoint 0-0", "checkpoint 0-0"}, nil},
		{"back to an earlier state", func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(dir, os.DirFS(earlier.dir)); err != nil {
				t.Fatal(err)
			}
		}, []string{"cut-off 700-999"}, []string{"etcd", "the end was cut off"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := *whole
			m.dir = copyOf(t, whole.dir)
			tt.break_(t, m.dir)
			r := m.verify(t, func(o *audit.VerifyOptions) { o.Head = &m.head })
			if diff := cmp.Diff(tt.want, found(r)); diff != "" {
				t.Errorf("problems (-want +got):\n%s%s", diff, texts(r))
			}
			for _, s := range tt.says {
				if !strings.Contains(texts(r), s) {
					t.Errorf("no problem says %q:\n%s", s, texts(r))
				}
			}
		})
	}
}

// flip changes one bit of a file.
func flip(t testing.TB, path string, at int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	put(t, path, data)
}

// retile makes all hash tiles again, as somebody would who wants them to match.
func retile(t testing.TB, dir string, size uint64) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, "tile")); err != nil {
		t.Fatal(err)
	}
	tree := merkle.NewTree(merkle.NewTiles(dir))
	err := audit.Scan(t.Context(), dir, 0, func(n uint64, line []byte) error {
		if n < size {
			tree.Append(merkle.LeafHash(line))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyKept finds what only a checkpoint kept elsewhere can show: that everything
// in the directory was made again, and signed again, by someone with the key.
func TestVerifyKept(t *testing.T) {
	m := makeLog(t, t.TempDir(), 700, 300)
	kept := bytes.Clone(m.head.Checkpoint)
	m.write(t, 1000, 300)
	withKept := func(o *audit.VerifyOptions) { o.Checkpoints = [][]byte{kept} }
	if r := m.verify(t, withKept); len(r.Problems) > 0 {
		t.Fatalf("a sound log:\n%s", texts(r))
	}

	forged := &made{dir: t.TempDir(), key: m.key, checkpoints: make(map[uint64][]byte)}
	cfg := forged.config(300)
	l, _ := start(t, cfg)
	for n := range 1000 {
		text := line(idOf(n))
		if n == 400 {
			text = replaceIn(text, "GetSecretValue", "PutSecretValue")
		}
		if err := l.Append(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if r := forged.verify(t, nil); len(r.Problems) > 0 {
		t.Fatalf("a forged log proves itself, it did not:\n%s", texts(r))
	}
	r := forged.verify(t, withKept)
	if diff := cmp.Diff([]string{"rewritten 0-700"}, found(r)); diff != "" {
		t.Errorf("problems (-want +got):\n%s%s", diff, texts(r))
	}
	if !strings.Contains(texts(r), "does not extend") {
		t.Errorf("text:\n%s", texts(r))
	}

	if err := audit.Extends(m.dir, m.head.Checkpoint, kept, m.key.VerifierKey()); err != nil {
		t.Errorf("Extends of a sound log: %v", err)
	}
	if err := audit.Extends(forged.dir, forged.head.Checkpoint, kept, m.key.VerifierKey()); err == nil {
		t.Error("Extends of a forged log succeeded")
	}
	// A shorter log that is sound, but ends before the checkpoint.
	short := makeLog(t, t.TempDir(), 650, 300)
	if diff := cmp.Diff([]string{"cut-off 650-699"}, found(short.verify(t, withKept))); diff != "" {
		t.Errorf("short log (-want +got):\n%s", diff)
	}
}

func TestVerifyRange(t *testing.T) {
	whole := makeLog(t, t.TempDir(), 1000, 100)
	tests := []struct {
		name     string
		from, to uint64
		changed  int
		want     []string
		lines    uint64
	}{
		{"sound", 250, 320, -1, nil, 200},
		{"one segment", 200, 300, -1, nil, 100},
		{"to the end", 850, 0, -1, nil, 200},
		{"change inside", 250, 320, 260, []string{"changed 260-260"}, 200},
		{"change before", 250, 320, 100, nil, 200},
		{"change behind", 250, 320, 700, nil, 200},
		{"beyond the end", 2000, 3000, -1, nil, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := *whole
			m.dir = copyOf(t, whole.dir)
			if tt.changed >= 0 {
				edit(t, segment(m.dir, uint64(tt.changed/100*100)), func(ls [][]byte) [][]byte {
					ls[tt.changed%100][30] ^= 1
					return ls
				})
			}
			r := m.verify(t, func(o *audit.VerifyOptions) { o.From, o.To = tt.from, tt.to })
			if diff := cmp.Diff(tt.want, found(r)); diff != "" {
				t.Errorf("problems (-want +got):\n%s%s", diff, texts(r))
			}
			if r.Lines != tt.lines {
				t.Errorf("hashed %d lines, want %d", r.Lines, tt.lines)
			}
		})
	}
}

// TestVerifyKeyInDirectory warns when nothing but the directory vouches for the key.
func TestVerifyKeyInDirectory(t *testing.T) {
	m := makeLog(t, t.TempDir(), 10, 100)
	r := m.verify(t, func(o *audit.VerifyOptions) { o.Keys = nil })
	if len(r.Problems) != 0 || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "the key") {
		t.Errorf("report:\n%s", texts(r))
	}
	if _, err := audit.Verify(t.Context(), audit.VerifyOptions{Dir: t.TempDir(), Keys: []string{m.key.VerifierKey()}}); err != nil {
		t.Logf("an empty directory: %v", err)
	}
}

// TestVerifyWhileWriting verifies a log that is being written to, rotated, compressed
// and pruned, over and over.
func TestVerifyWhileWriting(t *testing.T) {
	m := &made{dir: t.TempDir(), key: nodeKey(t, madeName, 1), checkpoints: make(map[uint64][]byte)}
	cfg := m.config(50)
	cfg.Keep = nil
	l, _ := start(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var failed error
	wrote := make(chan bool)
	go func() {
		defer close(wrote)
		for n := 0; ctx.Err() == nil; n++ {
			if failed = l.Append(t.Context(), line(idOf(n))); failed != nil {
				return
			}
			if n%100 == 0 {
				if _, err := l.Maintain(ctx, audit.RetainConfig{Compress: true, MaxBytes: 60_000}, time.Now()); err != nil && ctx.Err() == nil && !strings.Contains(err.Error(), "cover") {
					failed = err
					return
				}
			}
		}
	}()
	waitFor(t, func() bool { _, ok := l.Checkpoint(); return ok })
	rounds := 0
	for ; ctx.Err() == nil; rounds++ {
		r := m.verify(t, nil)
		if len(r.Problems)+len(r.Warnings) > 0 {
			t.Fatalf("round %d:\n%s", rounds, texts(r))
		}
	}
	<-wrote
	if failed != nil {
		t.Error(failed)
	}
	if segs, err := audit.Segments(m.dir); err != nil || segs[0].First == 0 {
		t.Errorf("nothing was removed meanwhile: %v, %v", segs, err)
	}
	t.Logf("%d rounds over up to %d lines", rounds, l.Size())
}

// TestVerifyLost verifies a log that began anew because its files had been put back to
// an older state, and what was left of the former one.
func TestVerifyLost(t *testing.T) {
	m := makeLog(t, t.TempDir(), 70, 30)
	old := copyOf(t, m.dir)
	m.write(t, 100, 30)
	m.dir = old
	m.write(t, 40, 30) // finds that etcd knows of 100 lines, and begins anew
	if m.head.Generation != 2 {
		t.Fatalf("generation %d, want 2", m.head.Generation)
	}
	r := m.verify(t, func(o *audit.VerifyOptions) { o.Head = &m.head })
	if diff := cmp.Diff([]string{"break 0-0"}, found(r)); diff != "" {
		t.Errorf("the new log (-want +got):\n%s%s", diff, texts(r))
	}
	if r.Size != 40 {
		t.Errorf("%d lines are proven, want 40", r.Size)
	}
	lost := m.head.Former[0].Dir
	former := *m
	former.dir = filepath.Join(m.dir, lost)
	r = former.verify(t, func(o *audit.VerifyOptions) { o.Head = &m.head })
	if diff := cmp.Diff([]string{"cut-off 70-99"}, found(r)); diff != "" {
		t.Errorf("the former log (-want +got):\n%s%s", diff, texts(r))
	}
	m.head.Former[0].Acknowledged = time.Now()
	r = m.verify(t, func(o *audit.VerifyOptions) { o.Head = &m.head })
	if len(r.Problems) != 0 || len(r.Warnings) != 1 {
		t.Errorf("acknowledged:\n%s", texts(r))
	}
}

// TestVerifyForeignSegment finds a file of lines that nobody signed, put behind the
// newest segment.
func TestVerifyForeignSegment(t *testing.T) {
	m := makeLog(t, t.TempDir(), 50, 100)
	put(t, segment(m.dir, 5000), append(line("invented"), '\n'))
	r := m.verify(t, nil)
	if diff := cmp.Diff([]string{"segment 50-4999"}, found(r)); diff != "" {
		t.Errorf("problems (-want +got):\n%s%s", diff, texts(r))
	}
}

// TestVerifyAnything lets everything happen to the lines that can, and wants a problem
// if and only if the lines are not what they were.
func TestVerifyAnything(t *testing.T) {
	whole := makeLog(t, t.TempDir(), 600, 200)
	original := make(map[uint64][]byte)
	firsts := []uint64{0, 200, 400}
	for _, first := range firsts {
		data, err := os.ReadFile(segment(whole.dir, first))
		if err != nil {
			t.Fatal(err)
		}
		original[first] = data
	}
	m := *whole
	m.dir = copyOf(t, whole.dir)
	bare := *whole
	bare.dir = copyOf(t, whole.dir)
	if err := os.RemoveAll(filepath.Join(bare.dir, "tile")); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		changed := false
		for _, first := range firsts {
			lines := bytes.Split(bytes.TrimSuffix(original[first], []byte("\n")), []byte("\n"))
			lines = slices.Clone(lines)
			for range rapid.IntRange(0, 3).Draw(rt, "changes") {
				if len(lines) == 0 {
					break
				}
				i := rapid.IntRange(0, len(lines)-1).Draw(rt, "line")
				j := rapid.IntRange(0, len(lines)-1).Draw(rt, "other")
				switch rapid.SampledFrom([]string{"change", "cut", "move", "copy", "swap"}).Draw(rt, "what") {
				case "change":
					lines[i] = bytes.Clone(lines[i])
					lines[i][len(lines[i])/2] ^= 1
				case "cut":
					lines = slices.Delete(lines, min(i, j), min(len(lines), min(i, j)+3))
				case "move":
					l := lines[i]
					lines = slices.Insert(slices.Delete(lines, i, i+1), min(j, len(lines)-1), l)
				case "copy":
					lines = slices.Insert(lines, j, lines[i])
				case "swap":
					lines[i], lines[j] = lines[j], lines[i]
				}
			}
			data := append(bytes.Join(lines, []byte("\n")), '\n')
			changed = changed || !bytes.Equal(data, original[first])
			for _, dir := range []string{m.dir, bare.dir} {
				if err := os.WriteFile(segment(dir, first), data, 0o600); err != nil {
					rt.Fatal(err)
				}
			}
		}
		for _, m := range []made{m, bare} {
			r := m.verify(t, nil)
			if got := len(r.Problems) > 0; got != changed {
				rt.Errorf("changed: %v, problems:\n%s", changed, texts(r))
			}
		}
	})
}
