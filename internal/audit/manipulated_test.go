package audit_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
	"arca/internal/merkle"
)

// forge makes the log of makeLog again, signed by the same key, with one line changed.
func forge(t testing.TB, lines, perSegment, changed int) *made {
	t.Helper()
	m := &made{dir: t.TempDir(), key: nodeKey(t, madeName, 1), checkpoints: make(map[uint64][]byte)}
	l, _ := start(t, m.config(perSegment))
	var batch [][]byte
	for n := range lines {
		text := line(idOf(n))
		if n == changed {
			text = replaceIn(text, "GetSecretValue", "PutSecretValue")
		}
		if batch = append(batch, text); len(batch) < 10 && n < lines-1 {
			continue
		}
		if err := l.Append(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
		batch = nil
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestVerifyRewrittenSameSize finds a log that was made and signed again over as many
// lines as a checkpoint that was kept, with tiles and without.
func TestVerifyRewrittenSameSize(t *testing.T) {
	m := makeLog(t, t.TempDir(), 700, 300)
	for name, change := range map[string]func(m *made){
		"with tiles":    func(*made) {},
		"without tiles": func(m *made) { removeAll(t, filepath.Join(m.dir, "tile")) },
		"only the newest checkpoint": func(m *made) {
			removeAll(t, filepath.Join(m.dir, "tile"))
			removeAll(t, filepath.Join(m.dir, "checkpoints"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			forged := forge(t, 700, 300, 400)
			change(forged)
			for kind, give := range map[string]func(o *audit.VerifyOptions){
				"kept": func(o *audit.VerifyOptions) { o.Checkpoints = [][]byte{m.head.Checkpoint} },
				"head": func(o *audit.VerifyOptions) { o.Head = &m.head },
			} {
				r := forged.verify(t, give)
				if diff := cmp.Diff([]string{"rewritten 0-700"}, found(r)); diff != "" {
					t.Errorf("%s: problems (-want +got):\n%s%s", kind, diff, texts(r))
				}
			}
		})
	}
}

// TestPruneChain: what retention removes does not cover what somebody removed before.
func TestPruneChain(t *testing.T) {
	size := int64(10 * (len(line(idOf(0))) + 1))
	whole := makeLog(t, t.TempDir(), 60, 10)
	t.Run("the oldest segment removed", func(t *testing.T) {
		m := *whole
		m.dir = copyOf(t, whole.dir)
		remove(t, segment(m.dir, 0))
		l := m.running(t, 10)
		_, err := l.Maintain(t.Context(), audit.RetainConfig{MaxBytes: 1}, time.Now())
		if err == nil || !strings.Contains(err.Error(), "lines before 10 are gone") {
			t.Errorf("Maintain = %v", err)
		}
		if got := segmentNames(t, m.dir); len(got) != 5 {
			t.Errorf("files: %q", got)
		}
	})
	maintain(t, whole.running(t, 10), audit.RetainConfig{MaxBytes: 3*size + 10}, time.Now())
	path := func(m *made, next int) string { return filepath.Join(m.dir, "pruned", fmt.Sprintf("%020d", next)) }
	for name, test := range map[string]struct {
		change func(t *testing.T, m *made)
		want   []string
		fails  string
	}{
		"sound":                        {func(*testing.T, *made) {}, nil, ""},
		"a note in the middle is gone": {func(t *testing.T, m *made) { remove(t, path(m, 20)) }, []string{"note 0-19"}, ""},
		"the first note is gone":       {func(t *testing.T, m *made) { remove(t, path(m, 10)) }, []string{"note 0-9"}, ""},
		"the newest note is gone":      {func(t *testing.T, m *made) { remove(t, path(m, 30)) }, []string{"note 0-29"}, "lines before 30 are gone"},
		"the newest note is changed":   {func(t *testing.T, m *made) { flip(t, path(m, 30), 60) }, []string{"note 0-0", "note 0-29"}, "lines before 30 are gone"},
		"the newest note is another": {func(t *testing.T, m *made) {
			put(t, path(m, 30), read(t, path(m, 20)))
		}, []string{"note 0-0", "note 0-29"}, "the note is about lines before 20"},
		"the newest note is of another log": {func(t *testing.T, m *made) {
			p, err := audit.PruneNote{Origin: merkle.Origin(madeName, 7), From: 20, Next: 30, Time: time.Now(), Reason: audit.PrunedByAge,
				Edge: make([]merkle.Hash, 4)}.Sign(m.key)
			if err != nil {
				t.Fatal(err)
			}
			put(t, path(m, 30), p.Text)
		}, []string{"note 0-0", "note 0-29"}, "the note is about lines before 30 of"},
	} {
		t.Run(name, func(t *testing.T) {
			m := *whole
			m.dir = copyOf(t, whole.dir)
			test.change(t, &m)
			if diff := cmp.Diff(test.want, found(m.verify(t, nil))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			_, err := m.running(t, 10).Maintain(t.Context(), audit.RetainConfig{MaxBytes: 1}, time.Now())
			if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
				t.Errorf("Maintain = %v, want %q", err, test.fails)
			}
		})
	}
}

// TestRetainSurplus keeps a segment with more at its end than belongs there.
func TestRetainSurplus(t *testing.T) {
	for name, more := range map[string]string{
		"a line":         string(line("invented")) + "\n",
		"part of a line": "inv",
		"an empty line":  "\n",
	} {
		t.Run(name, func(t *testing.T) {
			m := makeLog(t, t.TempDir(), 40, 10)
			l := m.running(t, 10)
			path := segment(m.dir, 0)
			put(t, path, append(read(t, path), more...))
			_, err := l.Maintain(t.Context(), audit.RetainConfig{MaxBytes: 1}, time.Now())
			if err == nil || !strings.Contains(err.Error(), "evidence") {
				t.Errorf("Maintain = %v", err)
			}
			if got := segmentNames(t, m.dir); len(got) != 4 {
				t.Errorf("files: %q", got)
			}
			if got := names(t, m.dir); strings.Contains(strings.Join(got, " "), "pruned") {
				t.Errorf("a note was written: %q", got)
			}
		})
	}
}

// TestVerifyFormerInPlace: the files of a former log do not pass for those of the one
// that etcd knows.
func TestVerifyFormerInPlace(t *testing.T) {
	m := makeLog(t, t.TempDir(), 70, 30)
	old := copyOf(t, m.dir)
	put(t, filepath.Join(m.dir, "break"), []byte("for a reason\n"))
	m.write(t, 40, 30)
	if m.head.Generation != 2 {
		t.Fatalf("generation %d, want 2", m.head.Generation)
	}
	m.head.Former[0].Acknowledged = time.Now()
	withHead := func(o *audit.VerifyOptions) { o.Head = &m.head }
	if r := m.verify(t, withHead); len(r.Problems) > 0 {
		t.Errorf("the new log:\n%s", texts(r))
	}
	former := *m
	former.dir = filepath.Join(m.dir, m.head.Former[0].Dir)
	if r := former.verify(t, withHead); len(r.Problems) > 0 {
		t.Errorf("the former log in its place:\n%s", texts(r))
	}
	former.dir = old
	r := former.verify(t, withHead)
	if diff := cmp.Diff([]string{"rewritten 0-0"}, found(r)); diff != "" || !strings.Contains(texts(r), "lost-") {
		t.Errorf("the former log in the place of the new one (-want +got):\n%s%s", diff, texts(r))
	}
}

// TestVerifyNamesNoOthers: segments beside the one that was changed are not blamed,
// although one checkpoint covers all of them.
func TestVerifyNamesNoOthers(t *testing.T) {
	m := makeLog(t, t.TempDir(), 1000, 300)
	removeAll(t, filepath.Join(m.dir, "checkpoints"))
	edit(t, segment(m.dir, 300), func(ls [][]byte) [][]byte { ls[17][40] ^= 1; return ls })
	r := m.verify(t, nil)
	if diff := cmp.Diff([]string{"changed 317-317"}, found(r)); diff != "" {
		t.Errorf("problems (-want +got):\n%s%s", diff, texts(r))
	}
	// Where a tile is missing, as much is said as is known.
	remove(t, filepath.Join(m.dir, "tile", "0", "002"))
	r = m.verify(t, nil)
	if len(r.Problems) == 0 || found(r)[0] != "changed 317-317" {
		t.Errorf("with a tile missing:\n%s", texts(r))
	}
}

// A log that ends before its first checkpoint is not begun a second time, and a crash
// while the next one begins does not begin another.
func TestBreakBeforeFirstCheckpoint(t *testing.T) {
	begin := func(t *testing.T) (dir string, k *keeper) {
		dir, k = t.TempDir(), new(keeper)
		with(t, k.config(t, dir), func(l *audit.Log) { appendSome(t, l, "a", 5) })
		// Generation 2 has lines that nothing was signed over.
		h := *k.head
		h.Former = []audit.FormerLog{{Origin: h.Origin, Size: h.Size, Root: h.Root, Why: "for a reason", When: time.Now(), Dir: "lost-1"}}
		h.Generation, h.Origin, h.Size, h.Root, h.Checkpoint = 2, "arca/d1/n1/2", 0, merkle.Hash{}, nil
		k.head = &h
		if err := os.Mkdir(filepath.Join(dir, "lost-1"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range names(t, dir) {
			if name == "lost-1" || name == "lock" {
				continue
			}
			if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, "lost-1", name)); err != nil {
				t.Fatal(err)
			}
		}
		put(t, filepath.Join(dir, firstSegment), append(bytes.Clone(line("b")), '\n'))
		return dir, k
	}
	for name, test := range map[string]struct {
		note       string
		generation uint32
	}{
		"this one ended":        {"for another reason\narca/d1/n1/2\n", 3},
		"the former one ended":  {"for a reason\narca/d1/n1/1\n", 2},
		"an old note":           {"for a reason\n", 2},
		"a note of nothing":     {"", 2},
		"a note of another log": {"for a reason\narca/d1/n2/2\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir, k := begin(t)
			put(t, filepath.Join(dir, "break"), []byte(test.note))
			with(t, k.config(t, dir), func(l *audit.Log) { appendSome(t, l, "c", 3) })
			h := k.known()
			if h.Generation != test.generation || h.Size != 3 || len(h.Former) != int(test.generation)-1 {
				t.Errorf("head %+v", h)
			}
			if n := len(h.Former); n == 2 && (h.Former[1].Origin != "arca/d1/n1/2" || h.Former[1].Dir == "lost-1" || h.Former[1].Why != "for another reason") {
				t.Errorf("former log %+v", h.Former[1])
			}
		})
	}
	// The note that a log writes itself when it ends tells which one it was.
	dir, k := begin(t)
	l, _ := open(t, k.config(t, dir))
	k.failWith(audit.ErrLaterHead)
	stop := runs(t, l)
	mustAppend(t, l, "c")
	eventually(t, "the break", func() bool { _, err := os.Stat(filepath.Join(dir, "break")); return err == nil })
	stop()
	if _, origin, _ := strings.Cut(string(read(t, filepath.Join(dir, "break"))), "\n"); origin != "arca/d1/n1/2\n" {
		t.Errorf("the note names %q", origin)
	}
	k.failWith(nil)
	with(t, k.config(t, dir), func(l *audit.Log) { appendSome(t, l, "d", 2) })
	if h := k.known(); h.Generation != 3 || len(h.Former) != 2 {
		t.Errorf("head %+v", h)
	}
}

// etcd that was put back to before a break does not make the log use a generation twice
// when that generation has ended as well.
func TestEtcdPutBackAndBreak(t *testing.T) {
	for name, note := range map[string]string{"note": "for a reason\narca/d1/n1/2\n", "old note": "for a reason\n"} {
		t.Run(name, func(t *testing.T) {
			r := newReopened(t)
			first := *r.k.head
			put(t, filepath.Join(r.dir, "break"), []byte("for a reason\n"))
			with(t, r.k.config(t, r.dir), func(l *audit.Log) { appendSome(t, l, "a", 5) })
			r.k.head = &first
			put(t, filepath.Join(r.dir, "break"), []byte(note))
			with(t, r.k.config(t, r.dir), func(l *audit.Log) { appendSome(t, l, "b", 7) })
			if h := r.k.known(); h.Generation != 3 || h.Size != 7 || len(h.Former) != 2 || h.Former[1].Origin != "arca/d1/n1/2" || h.Former[1].Size != 5 {
				t.Errorf("head %+v", h)
			}
		})
	}
}

// A file system that takes no tiles is reported once, and again after it took some.
func TestTileOutageSaidOnce(t *testing.T) {
	dir := t.TempDir()
	var k keeper
	const said = "write hash tiles"
	put(t, filepath.Join(dir, "tile"), []byte("in the way"))
	l, buf := open(t, k.config(t, dir))
	stop := runs(t, l)
	defer stop()
	covered := func(id string) {
		t.Helper()
		mustAppend(t, l, id)
		eventually(t, "a checkpoint", func() bool { c, _ := l.Checkpoint(); return c.Size == l.Size() })
	}
	for i := range 3 {
		covered(fmt.Sprint("a", i))
	}
	if n := strings.Count(buf.String(), said); n != 1 {
		t.Errorf("said %d times", n)
	}
	remove(t, filepath.Join(dir, "tile"))
	covered("b")
	removeAll(t, filepath.Join(dir, "tile"))
	put(t, filepath.Join(dir, "tile"), []byte("in the way"))
	covered("c")
	if n := strings.Count(buf.String(), said); n != 2 {
		t.Errorf("said %d times after the second outage", n)
	}
}

// runs runs a log until the function it returns is called, which closes the log.
func runs(t testing.TB, l *audit.Log) (stop func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- l.Run(t.Context()) }()
	return func() {
		t.Helper()
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}
