package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"arca/internal/audit"
	"arca/internal/merkle"
)

// maintain does all the work there is.
func maintain(t testing.TB, l *audit.Log, cfg audit.RetainConfig, now time.Time) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = l.Maintain(t.Context(), cfg, now); err != nil {
			t.Fatalf("Maintain: %v", err)
		}
	}
}

// running opens the log again and runs it until the test ends.
func (m *made) running(t testing.TB, perSegment int) *audit.Log {
	t.Helper()
	l, _ := start(t, m.config(perSegment))
	waitFor(t, func() bool { c, _ := l.Checkpoint(); return c.Size == l.Size() })
	return l
}

// segmentNames lists what there is of segments.
func segmentNames(t testing.TB, dir string) (got []string) {
	t.Helper()
	for _, name := range names(t, dir) {
		if strings.Contains(name, ".jsonl") {
			got = append(got, strings.TrimLeft(name, "0"))
		}
	}
	return got
}

func TestCompress(t *testing.T) {
	m := makeLog(t, t.TempDir(), 1000, 300)
	before, err := os.ReadFile(segment(m.dir, 300))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(segment(m.dir, 300), 0o640); err != nil {
		t.Fatal(err)
	}
	l := m.running(t, 300)
	maintain(t, l, audit.RetainConfig{Compress: true}, time.Now())
	if diff := cmp.Diff([]string{".jsonl.zst", "300.jsonl.zst", "600.jsonl.zst", "900.jsonl"}, segmentNames(t, m.dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	path := filepath.Join(m.dir, audit.SegmentName(300, true))
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(stored)*4 > len(before) {
		t.Errorf("%d bytes became %d", len(before), len(stored))
	}
	// Any tool that decompresses a stream sees the same.
	dec, err := zstd.NewReader(bytes.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	var plain bytes.Buffer
	if _, err := plain.ReadFrom(dec); err != nil || !bytes.Equal(plain.Bytes(), before) {
		t.Errorf("decompressed as a stream: %d bytes, %v, want %d", plain.Len(), err, len(before))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v, want 0640", info.Mode(), err)
	}
	for _, from := range []uint64{0, 299, 300, 555, 899, 900, 999} {
		if got := scan(t, m.dir, from); len(got) != 1000-int(from) || got[0] != idOf(int(from)) {
			t.Errorf("scan from %d: %d lines", from, len(got))
		}
	}
	if got := problems(t, m.dir); got != nil {
		t.Errorf("problems: %q", got)
	}
	f := follow(t, l, 0)
	for n := range 1000 {
		wantNext(t, f, idOf(n))
	}
	if r := m.verify(t, nil); len(r.Problems)+len(r.Warnings) > 0 || r.Lines != 1000 {
		t.Errorf("verify, %d lines:\n%s", r.Lines, texts(r))
	}
	got, err := l.Contains(t.Context(), record("x").EventTime, []string{idOf(0), idOf(450), idOf(999), "none"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{idOf(0): true, idOf(450): true, idOf(999): true, "none": false}, got); diff != "" {
		t.Errorf("Contains (-want +got):\n%s", diff)
	}
}

// TestCompressCrash leaves what a crash at each step of compressing leaves.
func TestCompressCrash(t *testing.T) {
	whole := makeLog(t, t.TempDir(), 100, 50)
	done := *whole
	done.dir = copyOf(t, whole.dir)
	maintain(t, done.running(t, 50), audit.RetainConfig{Compress: true}, time.Now())
	stored, err := os.ReadFile(filepath.Join(done.dir, audit.SegmentName(0, true)))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		name2 string
		data  []byte
	}{
		{"before anything", "", nil},
		{"half written", ".tmp", stored[:len(stored)/2]},
		{"written", ".tmp", stored},
		{"both there", "", stored},
		{"both there, the compressed one lost blocks", "", make([]byte, len(stored))},
		{"both there, the compressed one is empty", "", []byte{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := *whole
			m.dir = copyOf(t, whole.dir)
			if tt.data != nil {
				put(t, filepath.Join(m.dir, audit.SegmentName(0, true)+tt.name2), tt.data)
			}
			if got := scan(t, m.dir, 0); len(got) != 100 {
				t.Fatalf("after the crash: %d lines", len(got))
			}
			l := m.running(t, 50)
			maintain(t, l, audit.RetainConfig{Compress: true}, time.Now())
			if diff := cmp.Diff([]string{".jsonl.zst", "50.jsonl"}, segmentNames(t, m.dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if r := m.verify(t, nil); len(r.Problems) > 0 {
				t.Errorf("verify:\n%s", texts(r))
			}
		})
	}
}

// TestCompressedDamage shows that no bytes in a compressed segment can do more than
// make it unreadable or be found.
func TestCompressedDamage(t *testing.T) {
	whole := makeLog(t, t.TempDir(), 100, 50)
	maintain(t, whole.running(t, 50), audit.RetainConfig{Compress: true}, time.Now())
	path := audit.SegmentName(0, true)
	stored, err := os.ReadFile(filepath.Join(whole.dir, path))
	if err != nil {
		t.Fatal(err)
	}
	m := *whole
	m.dir = copyOf(t, whole.dir)
	verify := func(t interface {
		Helper()
		Fatal(...any)
	}, data []byte) *audit.VerifyReport {
		t.Helper()
		if err := os.WriteFile(filepath.Join(m.dir, path), data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := audit.Verify(context.Background(), audit.VerifyOptions{Dir: m.dir, Keys: []string{m.key.VerifierKey()}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	middle := bytes.Clone(stored)
	middle[len(middle)/2] ^= 1
	for name, data := range map[string][]byte{
		"something appended":        append(bytes.Clone(stored), stored...),
		"something hidden in front": append(enc.EncodeAll([]byte("hidden\n"), nil), stored...),
		"cut":                       stored[:len(stored)-1],
		"a bit in the middle":       middle,
		"all zero":                  make([]byte, len(stored)),
		"nothing":                   {},
	} {
		t.Run(name, func(t *testing.T) {
			r := verify(t, data)
			if diff := cmp.Diff([]string{"segment 0-49"}, found(r)); diff != "" {
				t.Errorf("problems (-want +got):\n%s%s", diff, texts(r))
			}
			if r.Size != 100 || r.Lines != 50 {
				t.Errorf("the other segment: size %d, %d lines", r.Size, r.Lines)
			}
			if got := problems(t, m.dir); len(got) != 1 || !strings.Contains(got[0], "cannot be read") {
				t.Errorf("CheckDir: %q", got)
			}
		})
	}
	t.Run("any bit", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			data := bytes.Clone(stored)
			at := rapid.IntRange(0, len(data)-1).Draw(rt, "at")
			data[at] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
			r := verify(rt, data)
			if len(r.Problems) > 0 {
				return
			}
			// Some bits of the format mean nothing; then the lines are what they were.
			if r.Lines != 100 || r.Size != 100 {
				rt.Errorf("bit at %d of %d: %d lines, no problem", at, len(data), r.Lines)
			}
		})
	})
}

func TestRetain(t *testing.T) {
	began := record("x").EventTime
	day := 24 * time.Hour
	size := int64(10 * (len(line(idOf(0))) + 1))
	tests := []struct {
		name string
		cfg  audit.RetainConfig
		age  time.Duration
		want []string
		gone []audit.Range
	}{
		{"nothing to do", audit.RetainConfig{MaxAge: 90 * day}, 89 * day, []string{".jsonl", "10.jsonl", "20.jsonl", "30.jsonl"}, nil},
		{"no limits", audit.RetainConfig{}, 9000 * day, []string{".jsonl", "10.jsonl", "20.jsonl", "30.jsonl"}, nil},
		{"old", audit.RetainConfig{MaxAge: 90 * day}, 91 * day, []string{"30.jsonl"}, []audit.Range{{0, 10}, {10, 20}, {20, 30}}},
		{"large", audit.RetainConfig{MaxBytes: 3*size + 10}, 0, []string{"10.jsonl", "20.jsonl", "30.jsonl"}, []audit.Range{{0, 10}}},
		{"held", audit.RetainConfig{MaxBytes: 1, Held: func() uint64 { return 20 }}, 0, []string{"20.jsonl", "30.jsonl"}, []audit.Range{{0, 10}, {10, 20}}},
		{"held within a segment", audit.RetainConfig{MaxBytes: 1, Held: func() uint64 { return 19 }}, 0, []string{"10.jsonl", "20.jsonl", "30.jsonl"}, []audit.Range{{0, 10}}},
		{"old, and compressed", audit.RetainConfig{MaxAge: 90 * day, Compress: true}, 89 * day, []string{".jsonl.zst", "10.jsonl.zst", "20.jsonl.zst", "30.jsonl"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := makeLog(t, t.TempDir(), 40, 10)
			kept := bytes.Clone(m.head.Checkpoint)
			l := m.running(t, 10)
			maintain(t, l, tt.cfg, began.Add(tt.age))
			if diff := cmp.Diff(tt.want, segmentNames(t, m.dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			mustAppend(t, l, "after")
			waitFor(t, func() bool { c, _ := l.Checkpoint(); return c.Size == 41 })
			r := m.verify(t, func(o *audit.VerifyOptions) { o.Checkpoints = [][]byte{kept} })
			if len(r.Problems)+len(r.Warnings) > 0 {
				t.Errorf("verify:\n%s", texts(r))
			}
			if diff := cmp.Diff(tt.gone, r.Pruned); diff != "" {
				t.Errorf("pruned (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRetainEvidence keeps lines that are not those of the tree.
func TestRetainEvidence(t *testing.T) {
	m := makeLog(t, t.TempDir(), 40, 10)
	l := m.running(t, 10)
	edit(t, segment(m.dir, 0), func(ls [][]byte) [][]byte { ls[3][50] ^= 1; return ls })
	_, err := l.Maintain(t.Context(), audit.RetainConfig{MaxBytes: 1}, time.Now())
	if err == nil || !strings.Contains(err.Error(), "evidence") {
		t.Errorf("Maintain = %v", err)
	}
	if got := segmentNames(t, m.dir); len(got) != 4 {
		t.Errorf("files: %q", got)
	}
}

// TestRetainCrash leaves the note with the lines still there.
func TestRetainCrash(t *testing.T) {
	m := makeLog(t, t.TempDir(), 40, 10)
	first, err := os.ReadFile(segment(m.dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	cfg := audit.RetainConfig{MaxBytes: int64(3*len(first)) + 10}
	maintain(t, m.running(t, 10), cfg, time.Now())
	put(t, segment(m.dir, 0), first)
	if r := m.verify(t, nil); len(r.Problems)+len(r.Warnings) > 0 || r.Lines != 40 || r.Pruned != nil {
		t.Errorf("verify, %d lines:\n%s", r.Lines, texts(r))
	}
}

// TestPruneNotes forges what retention leaves behind.
func TestPruneNotes(t *testing.T) {
	whole := makeLog(t, t.TempDir(), 40, 10)
	size := int64(10 * (len(line(idOf(0))) + 1))
	maintain(t, whole.running(t, 10), audit.RetainConfig{MaxBytes: 2*size + 10}, time.Now())
	path := func(dir string, next int) string { return filepath.Join(dir, "pruned", fmt.Sprintf("%020d", next)) }
	tests := []struct {
		name   string
		change func(t *testing.T, m *made)
		want   []string
	}{
		{"sound", func(t *testing.T, m *made) {}, nil},
		{"sound, without tiles", func(t *testing.T, m *made) { removeAll(t, filepath.Join(m.dir, "tile")) }, nil},
		{"note removed", func(t *testing.T, m *made) { remove(t, path(m.dir, 20)) }, []string{"note 0-19"}},
		{"note changed", func(t *testing.T, m *made) { flip(t, path(m.dir, 20), 60) }, []string{"note 0-0", "note 0-19"}},
		{"note of another place", func(t *testing.T, m *made) {
			data, err := os.ReadFile(path(m.dir, 10))
			if err != nil {
				t.Fatal(err)
			}
			put(t, path(m.dir, 20), data)
		}, []string{"note 0-0", "note 0-19"}},
		{"note by another key", func(t *testing.T, m *made) { forgeNote(t, m, nodeKey(t, madeName, 7), 20) }, []string{"note 0-0", "note 0-19"}},
		{"note of another tree by the right key", func(t *testing.T, m *made) { forgeNote(t, m, m.key, 20) }, []string{"note 0-19"}},
		{"more lines removed", func(t *testing.T, m *made) { remove(t, segment(m.dir, 20)) }, []string{"note 0-29"}},
		{"more lines cut out", func(t *testing.T, m *made) {
			edit(t, segment(m.dir, 20), func(ls [][]byte) [][]byte { return ls[5:] })
		}, []string{"missing 20-24"}},
		{"a line changed, without tiles", func(t *testing.T, m *made) {
			removeAll(t, filepath.Join(m.dir, "tile"))
			edit(t, segment(m.dir, 20), func(ls [][]byte) [][]byte { ls[5][70] ^= 1; return ls })
		}, []string{"unexplained 20-29", "unexplained 30-39"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := *whole
			m.dir = copyOf(t, whole.dir)
			tt.change(t, &m)
			r := m.verify(t, nil)
			if diff := cmp.Diff(tt.want, found(r)); diff != "" {
				t.Errorf("problems (-want +got):\n%s%s", diff, texts(r))
			}
		})
	}
}

func removeAll(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// forgeNote replaces a prune note by one that says other hashes.
func forgeNote(t testing.TB, m *made, signer note.Signer, next uint64) {
	t.Helper()
	p, err := audit.PruneNote{Origin: m.head.Origin, Next: next, Time: time.Now(), Reason: audit.PrunedByAge,
		Edge: make([]merkle.Hash, 2)}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(m.dir, "pruned", fmt.Sprintf("%020d", next)), p.Text)
}

// TestVerifyPieces verifies a copy as it comes out of a bucket: closed segments whole,
// the newest one in pieces, and pieces that were left of a segment that is whole.
func TestVerifyPieces(t *testing.T) {
	m := makeLog(t, t.TempDir(), 100, 60)
	dir := copyOf(t, m.dir)
	cut := func(first, of uint64, from, to int) {
		data, err := os.ReadFile(segment(m.dir, of))
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(data, []byte("\n"))
		tail := filepath.Join(dir, "tail", fmt.Sprintf("%020d", of))
		if err := os.MkdirAll(tail, 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(tail, audit.SegmentName(first, false)), bytes.Join(lines[from:to], nil))
	}
	remove(t, segment(dir, 60))
	cut(0, 0, 0, 20)
	cut(20, 0, 20, 30)
	cut(60, 60, 0, 15)
	cut(75, 60, 15, 16)
	cut(76, 60, 16, 40)
	copied := *m
	copied.dir = dir
	if r := copied.verify(t, nil); len(r.Problems)+len(r.Warnings) > 0 || r.Lines != 100 {
		t.Errorf("verify, %d lines:\n%s", r.Lines, texts(r))
	}
	if got := scan(t, dir, 0); len(got) != 100 {
		t.Errorf("scan: %d lines", len(got))
	}
	removeAll(t, filepath.Join(dir, "tail", fmt.Sprintf("%020d", 60), audit.SegmentName(75, false)))
	if diff := cmp.Diff([]string{"missing 75-75"}, found(copied.verify(t, nil))); diff != "" {
		t.Errorf("a piece is missing (-want +got):\n%s", diff)
	}
}

func TestProve(t *testing.T) {
	m := makeLog(t, t.TempDir(), 1000, 300)
	l := m.running(t, 300)
	maintain(t, l, audit.RetainConfig{MaxBytes: 1, Held: func() uint64 { return 600 }, Compress: true}, time.Now())
	c, _ := l.Checkpoint()
	bare := copyOf(t, m.dir)
	removeAll(t, filepath.Join(bare, "tile"))
	for _, dir := range []string{m.dir, bare} {
		for _, n := range []uint64{600, 601, 767, 768, 899, 900, 998, 999} {
			p, err := audit.Prove(t.Context(), dir, n, c)
			if err != nil {
				t.Errorf("Prove(%d): %v", n, err)
				continue
			}
			if got := eventID(p.Extra); got != idOf(int(n)) {
				t.Errorf("Prove(%d) carries %s", n, got)
			}
			if _, got, err := merkle.CheckProof(p.Marshal(), nil, m.key.VerifierKey()); err != nil || got.Size != 1000 {
				t.Errorf("CheckProof(%d) = %d, %v", n, got.Size, err)
			}
			if _, _, err := merkle.CheckProof(p.Marshal(), line("another"), m.key.VerifierKey()); err == nil {
				t.Errorf("the proof of line %d proves another line", n)
			}
		}
	}
	if _, err := audit.Prove(t.Context(), m.dir, 1000, c); !errors.Is(err, audit.ErrNotCovered) {
		t.Errorf("Prove(1000) = %v", err)
	}
	if _, err := audit.Prove(t.Context(), m.dir, 5, c); !errors.Is(err, audit.ErrNoLine) {
		t.Errorf("Prove of a removed line = %v", err)
	}
	edit(t, segment(m.dir, 900), func(ls [][]byte) [][]byte { ls[50][70] ^= 1; return ls })
	if _, err := audit.Prove(t.Context(), m.dir, 950, c); err == nil {
		t.Error("a changed line was proven")
	}
}

// TestSiblingsProve compares proofs made from lines with those made from tiles, at every
// place of small logs.
func TestSiblingsProve(t *testing.T) {
	for _, size := range []int{1, 2, 3, 7, 8, 13} {
		m := makeLog(t, t.TempDir(), size, 10)
		bare := copyOf(t, m.dir)
		removeAll(t, filepath.Join(bare, "tile"))
		c, err := audit.ReadCheckpoint(m.dir, m.key.VerifierKey())
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint64(size) {
			want, err := audit.Prove(t.Context(), m.dir, n, c)
			if err != nil {
				t.Fatal(err)
			}
			got, err := audit.Prove(t.Context(), bare, n, c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want.Marshal()), string(got.Marshal())); diff != "" {
				t.Errorf("line %d of %d (-tiles +lines):\n%s", n, size, diff)
			}
		}
	}
}

func FuzzParseSegmentName(f *testing.F) {
	for _, s := range []string{"00000000000000000000.jsonl", "00000000000000000007.jsonl.zst", "+0000000000000000007.jsonl",
		"99999999999999999999.jsonl", "0.jsonl", "00000000000000000000.jsonl.cut-7", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		first, compressed, ok := audit.ParseSegmentName(name)
		if ok && audit.SegmentName(first, compressed) != name {
			t.Errorf("ParseSegmentName(%q) = %d, %v", name, first, compressed)
		}
	})
}

func FuzzOpenPruneNote(f *testing.F) {
	key := nodeKey(f, madeName, 1)
	for _, next := range []uint64{1, 8, 11, 1 << 40} {
		p := audit.PruneNote{Origin: madeName + "/1", From: next - 1, Next: next, Time: time.Unix(1e9, 0), Reason: audit.PrunedBySize}
		for n := next; n > 0; n &= n - 1 {
			p.Edge = append(p.Edge, merkle.Hash{byte(n)})
		}
		signed, err := p.Sign(key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(signed.Text)
		text, _, _ := strings.Cut(string(signed.Text), "\n\n")
		f.Add([]byte(text + "\n"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		// As it is, and signed: most inputs would end at the signature.
		for _, text := range [][]byte{text, sign(key, text)} {
			p, err := audit.OpenPruneNote(text, key.Verifier())
			if err != nil {
				continue
			}
			again, err := p.Sign(key)
			if err != nil {
				t.Fatalf("Sign of what was opened: %v", err)
			}
			back, err := audit.OpenPruneNote(again.Text, key.Verifier())
			if err != nil {
				t.Fatal(err)
			}
			p.Text, back.Text = nil, nil
			if diff := cmp.Diff(p, back); diff != "" {
				t.Errorf("opened and signed again:\n%s", diff)
			}
			if _, err := merkle.OpenCheckpoint(text, key.Verifier()); err == nil {
				t.Error("a prune note is a checkpoint as well")
			}
		}
	})
}

// sign signs any text that can be.
func sign(key *audit.NodeKey, text []byte) []byte {
	signed, err := note.Sign(&note.Note{Text: string(text)}, key)
	if err != nil {
		return nil
	}
	return signed
}

func FuzzOpenCompressed(f *testing.F) {
	m := makeLog(f, f.TempDir(), 20, 10)
	maintain(f, m.running(f, 10), audit.RetainConfig{Compress: true}, time.Now())
	stored, err := os.ReadFile(filepath.Join(m.dir, audit.SegmentName(0, true)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stored)
	f.Add(stored[len(stored)-40:])
	path := filepath.Join(f.TempDir(), audit.SegmentName(0, true))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := audit.Segment{Path: path, Compressed: true}.Open()
		if err != nil {
			return
		}
		buf := make([]byte, 64<<10)
		for offset := int64(0); offset < min(r.Size(), 8<<20); offset += int64(len(buf)) {
			if _, err := r.ReadAt(buf, offset); err != nil {
				break
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestMaintainDiskFull keeps the plain segment when there is no room for the other.
func TestMaintainDiskFull(t *testing.T) {
	m := makeLog(t, t.TempDir(), 100, 50)
	l := m.running(t, 50)
	tmp := filepath.Join(m.dir, audit.SegmentName(0, true)+".tmp")
	if err := os.Symlink("/dev/full", tmp); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Maintain(t.Context(), audit.RetainConfig{Compress: true}, time.Now()); !errors.Is(err, unix.ELOOP) {
		t.Errorf("Maintain = %v, want ELOOP: the name is taken by a link", err)
	}
	if diff := cmp.Diff([]string{".jsonl", "50.jsonl"}, segmentNames(t, m.dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
