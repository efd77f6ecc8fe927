package audit_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
)

// uncompared lists the sizes of the checkpoints that were not compared.
func uncompared(r *audit.VerifyReport) (sizes []uint64) {
	for _, c := range r.Uncompared {
		sizes = append(sizes, c.Size)
	}
	return sizes
}

// TestVerifyUncompared does not pass over a checkpoint of which nothing can be said.
func TestVerifyUncompared(t *testing.T) {
	m := makeLog(t, t.TempDir(), 15, 10)
	kept := bytes.Clone(m.head.Checkpoint)
	m.write(t, 40, 10)
	size := int64(10 * (len(line(idOf(0))) + 1))
	maintain(t, m.running(t, 10), audit.RetainConfig{MaxBytes: 2*size + 10}, time.Now())
	if names := segmentNames(t, m.dir); names[0] == ".jsonl" {
		t.Fatalf("nothing was removed: %q", names)
	}
	with := func(o *audit.VerifyOptions) { o.Checkpoints = [][]byte{kept} }
	if r := m.verify(t, with); len(r.Problems)+len(r.Uncompared) > 0 {
		t.Errorf("with tiles, %d not compared:\n%s", uncompared(r), texts(r))
	}
	bare := *m
	bare.dir = copyOf(t, m.dir)
	removeAll(t, filepath.Join(bare.dir, "tile"))
	r := bare.verify(t, with)
	if diff := cmp.Diff([]uint64{10, 15}, uncompared(r)); diff != "" || len(r.Problems) > 0 {
		t.Errorf("without tiles (-want +got):\n%s%s", diff, texts(r))
	}
}

// TestVerifyLater compares, of a part of a log, what is claimed about what follows.
func TestVerifyLater(t *testing.T) {
	m := makeLog(t, t.TempDir(), 1000, 100)
	before := copyOf(t, m.dir)
	sound := bytes.Clone(m.head.Checkpoint)
	m.write(t, 1200, 100)
	later := bytes.Clone(m.head.Checkpoint)

	forged := &made{dir: t.TempDir(), key: m.key, checkpoints: make(map[uint64][]byte)}
	l, _ := start(t, forged.config(100))
	for n := range 1000 {
		mustAppend(t, l, idOf(n+1))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name       string
		kept       []byte
		bare       bool
		want       []string
		uncompared []uint64
	}{
		{"sound", sound, false, nil, nil},
		{"of another log with this key", forged.head.Checkpoint, false, []string{"rewritten 0-1000"}, nil},
		{"of lines that are not here", later, false, nil, []uint64{1200}},
		{"no tiles", later, true, nil, []uint64{400, 500, 600, 700, 800, 900, 1000, 1200}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := *m
			m.dir = copyOf(t, before)
			if tt.bare {
				removeAll(t, filepath.Join(m.dir, "tile"))
			}
			r := m.verify(t, func(o *audit.VerifyOptions) { o.From, o.To, o.Checkpoints = 150, 250, [][]byte{tt.kept} })
			if diff := cmp.Diff(tt.want, found(r)); diff != "" {
				t.Errorf("problems (-want +got):\n%s%s", diff, texts(r))
			}
			if diff := cmp.Diff(tt.uncompared, uncompared(r)); diff != "" {
				t.Errorf("not compared (-want +got):\n%s", diff)
			}
		})
	}
}

// TestVerifyRangeEnds reads as far as it takes, and says how far that was.
func TestVerifyRangeEnds(t *testing.T) {
	whole := makeLog(t, t.TempDir(), 100, 100)
	early := bytes.Clone(whole.head.Checkpoint)
	whole.write(t, 1000, 100)
	change := func(t *testing.T, dir string, n int) {
		edit(t, segment(dir, uint64(n/100*100)), func(ls [][]byte) [][]byte { ls[n%100][30] ^= 1; return ls })
	}
	unclose := func(t *testing.T, dir string) { removeAll(t, filepath.Join(dir, "checkpoints")) }
	tests := []struct {
		name     string
		from, to uint64
		break_   func(t *testing.T, dir string)
		want     []string
		verified audit.Range
		lines    uint64
	}{
		{"sound", 250, 320, nil, nil, audit.Range{From: 250, To: 320}, 200},
		{"no end", 850, 0, nil, nil, audit.Range{From: 850, To: 1000}, 200},
		{"partly beyond the end", 950, 1050, nil, nil, audit.Range{From: 950, To: 1000}, 100},
		{"beyond the end", 2000, 3000, nil, nil, audit.Range{}, 100},
		{"beyond the end, without end", 2000, 0, nil, nil, audit.Range{}, 100},
		{"no closing checkpoints", 250, 320, unclose, nil, audit.Range{From: 250, To: 320}, 800},
		{"no closing checkpoints, a change inside", 250, 320, func(t *testing.T, dir string) {
			unclose(t, dir)
			change(t, dir, 310)
		}, []string{"changed 310-310"}, audit.Range{}, 800},
		{"neither closing checkpoints nor tiles, a change inside", 250, 320, func(t *testing.T, dir string) {
			unclose(t, dir)
			removeAll(t, filepath.Join(dir, "tile"))
			change(t, dir, 310)
		}, []string{"unexplained 0-99", "unexplained 100-199", "unexplained 200-299", "unexplained 300-399", "unexplained 400-499",
			"unexplained 500-599", "unexplained 600-699", "unexplained 700-799", "unexplained 800-899", "unexplained 900-999"}, audit.Range{}, 1000},
		{"an early checkpoint instead of the others", 250, 320, func(t *testing.T, dir string) {
			unclose(t, dir)
			put(t, filepath.Join(dir, "checkpoint"), early)
			change(t, dir, 310)
		}, []string{"unexplained 250-319"}, audit.Range{}, 1000},
		{"the last line cut out, no tiles", 250, 299, func(t *testing.T, dir string) {
			removeAll(t, filepath.Join(dir, "tile"))
			edit(t, segment(dir, 200), func(ls [][]byte) [][]byte { return ls[:99] })
		}, []string{"unexplained 200-299"}, audit.Range{}, 299},
		{"its last segment removed", 150, 250, func(t *testing.T, dir string) {
			remove(t, segment(dir, 200))
		}, []string{"missing 200-299"}, audit.Range{}, 100},
		{"the end cut off inside", 850, 950, func(t *testing.T, dir string) {
			edit(t, segment(dir, 900), func(ls [][]byte) [][]byte { return ls[:20] })
		}, []string{"cut-off 920-999"}, audit.Range{}, 120},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := *whole
			m.dir = copyOf(t, whole.dir)
			if tt.break_ != nil {
				tt.break_(t, m.dir)
			}
			r := m.verify(t, func(o *audit.VerifyOptions) { o.From, o.To = tt.from, tt.to })
			if diff := cmp.Diff(tt.want, found(r)); diff != "" {
				t.Errorf("problems (-want +got):\n%s%s", diff, texts(r))
			}
			if len(tt.want) == 0 && r.Verified != tt.verified {
				t.Errorf("verified %v, want %v", r.Verified, tt.verified)
			}
			if r.Lines != tt.lines {
				t.Errorf("hashed %d lines, want %d", r.Lines, tt.lines)
			}
		})
	}
}

// TestVerifyHeadChecked says whether what etcd knows was really compared.
func TestVerifyHeadChecked(t *testing.T) {
	m := makeLog(t, t.TempDir(), 70, 30)
	old := copyOf(t, m.dir)
	head := m.head
	if r := m.verify(t, func(o *audit.VerifyOptions) { o.Head = &head }); !r.HeadChecked {
		t.Error("the head was compared, and the report does not say so")
	}
	head.Checkpoint = nil
	if r := m.verify(t, func(o *audit.VerifyOptions) { o.Head = &head }); r.HeadChecked {
		t.Error("a head without a checkpoint cannot have been compared")
	}
	if r := m.verify(t, nil); r.HeadChecked {
		t.Error("there was no head")
	}
	m.write(t, 100, 30)
	m.dir = old
	if r := m.verify(t, func(o *audit.VerifyOptions) { o.Head = &m.head }); r.HeadChecked {
		t.Error("a log that was cut is said to have what etcd knows")
	}
}

// TestVerifyLostKey takes the key of a former log from where it is, the node's directory.
func TestVerifyLostKey(t *testing.T) {
	m := makeLog(t, t.TempDir(), 70, 30)
	old := copyOf(t, m.dir)
	m.write(t, 100, 30)
	m.dir = old
	m.write(t, 40, 30)
	lost := filepath.Join(m.dir, m.head.Former[0].Dir)
	if _, err := os.Stat(filepath.Join(lost, "key")); err == nil {
		t.Fatal("a former log has a key of its own")
	}
	check := func(dir string) {
		t.Helper()
		r, err := audit.Verify(t.Context(), audit.VerifyOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if r.Key != m.key.VerifierKey() || r.Size != 70 || len(r.Problems) > 0 || !strings.Contains(texts(r), "the verifier key was read from the directory") {
			t.Errorf("key %q, %d lines:\n%s", r.Key, r.Size, texts(r))
		}
	}
	check(lost)
	t.Chdir(lost)
	check(".")
	// A copy of it alone, under another name, has none.
	if key, err := audit.ReadKey(copyOf(t, lost)); err == nil {
		t.Errorf("ReadKey of a directory without one: %s", key)
	}
}
