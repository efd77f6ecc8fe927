package merkle_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"arca/internal/merkle"
)

func leaf(n uint64) merkle.Hash { return merkle.LeafHash(fmt.Append(nil, "line ", n)) }

func leaves(from, to uint64) (out []merkle.Hash) {
	for n := from; n < to; n++ {
		out = append(out, leaf(n))
	}
	return out
}

// reference is the tree of package tlog, with every hash in memory.
type reference struct {
	hashes []merkle.Hash
	size   uint64
}

func (r *reference) ReadHashes(indexes []int64) ([]merkle.Hash, error) {
	out := make([]merkle.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = r.hashes[x]
	}
	return out, nil
}

func (r *reference) root(t testing.TB, size uint64) merkle.Hash {
	t.Helper()
	for ; r.size < size; r.size++ {
		h, err := tlog.StoredHashesForRecordHash(int64(r.size), leaf(r.size), r)
		if err != nil {
			t.Fatal(err)
		}
		r.hashes = append(r.hashes, h...)
	}
	h, err := tlog.TreeHash(int64(size), r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func grow(t testing.TB, dir string, size uint64) (*merkle.Tree, *merkle.Tiles) {
	t.Helper()
	tiles := merkle.NewTiles(dir)
	tree := merkle.NewTree(tiles)
	tree.Append(leaves(0, size)...)
	if err := tree.Flush(); err != nil {
		t.Fatal(err)
	}
	return tree, tiles
}

func TestLeafHash(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 2046, 2047, 2048, 5000} {
		line := bytes.Repeat([]byte("x"), n)
		if got, want := merkle.LeafHash(line), tlog.RecordHash(line); got != want {
			t.Errorf("LeafHash of %d bytes = %v, want %v", n, got, want)
		}
	}
	line := bytes.Repeat([]byte("x"), 1000)
	if n := testing.AllocsPerRun(100, func() { merkle.LeafHash(line) }); n > 0 {
		t.Errorf("LeafHash allocates %v times", n)
	}
}

// The roots are those of package tlog at every size, and every size can be opened again
// and grows on as if nothing had happened.
func TestTreeAtEverySize(t *testing.T) {
	dir := t.TempDir()
	tiles := merkle.NewTiles(dir)
	tree := merkle.NewTree(tiles)
	var ref reference
	if tree.Root() != merkle.EmptyRoot() {
		t.Error("root of an empty tree")
	}
	for size := uint64(1); size <= 600; size++ {
		tree.Append(leaf(size - 1))
		want := ref.root(t, size)
		if got := tree.Root(); got != want {
			t.Fatalf("root at %d = %v, want %v", size, got, want)
		}
		if err := tree.Flush(); err != nil {
			t.Fatal(err)
		}
		again, err := merkle.OpenTree(tiles, size, want)
		if err != nil {
			t.Fatal(err)
		}
		if size%7 == 0 {
			tree = again
		}
	}
}

// Batches, flushes and openings in any order give the root over all leaves, and every
// leaf and every earlier size can be proved.
func TestTreeProperties(t *testing.T) {
	key := newKey(t, "log")
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		tiles := merkle.NewTiles(dir)
		tree := merkle.NewTree(tiles)
		var ref reference
		var past []merkle.Checkpoint
		for range rapid.IntRange(1, 6).Draw(rt, "batches") {
			n := rapid.Uint64Range(1, 900).Draw(rt, "leaves")
			tree.Append(leaves(tree.Size(), tree.Size()+n)...)
			if err := tree.Flush(); err != nil {
				t.Fatal(err)
			}
			c := key.checkpoint(t, tree)
			if want := ref.root(t, c.Size); c.Root != want {
				rt.Fatalf("root at %d = %v, want %v", c.Size, c.Root, want)
			}
			past = append(past, c)
			if tree, err = merkle.OpenTree(tiles, c.Size, c.Root); err != nil {
				rt.Fatal(err)
			}
		}
		last := past[len(past)-1]
		for _, c := range past {
			p, err := tiles.Extends(last, c)
			if err != nil {
				rt.Fatal(err)
			}
			if _, err := p.Check(c, key.verifier); err != nil {
				rt.Fatal(err)
			}
			at, err := tiles.RootAt(c.Size, last.Size, last.Root)
			if err != nil || at != c.Root {
				rt.Fatalf("RootAt(%d) = %v, %v, want %v", c.Size, at, err, c.Root)
			}
			index := rapid.Uint64Range(0, c.Size-1).Draw(rt, "index")
			proof, err := tiles.Prove(c, index)
			if err != nil {
				rt.Fatal(err)
			}
			if _, err := proof.Check(fmt.Append(nil, "line ", index), key.verifier); err != nil {
				rt.Fatal(err)
			}
			if _, err := proof.Check(fmt.Append(nil, "line ", index+1), key.verifier); err == nil {
				rt.Fatalf("another line passes as line %d", index)
			}
		}
	})
}

// The files are where C2SP's tlog-tiles has them; its example is a tree of 70,000.
func TestLayout(t *testing.T) {
	dir := t.TempDir()
	tree, tiles := grow(t, dir, 70_000)
	var ref reference
	if tree.Root() != ref.root(t, 70_000) {
		t.Error("the root is not that of package tlog")
	}
	for _, n := range []uint64{0, 65_535, 65_536, 69_999} {
		if _, err := tiles.Prove(merkle.Checkpoint{Size: 70_000, Root: tree.Root()}, n); err != nil {
			t.Error(err)
		}
	}
	for path, hashes := range map[string]int64{
		"tile/0/000": 256, "tile/0/272": 256, "tile/0/273.p/112": 112, "tile/1/000": 256, "tile/1/001.p/17": 17, "tile/2/000.p/1": 1,
	} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Error(err)
		} else if info.Size() != 32*hashes {
			t.Errorf("%s has %d bytes, want %d", path, info.Size(), 32*hashes)
		}
	}
	count := 0
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			count++
		}
		return err
	})
	if err != nil || count != 273+1+1+1+1 {
		t.Errorf("%d files, %v", count, err)
	}
	if got, want := merkle.TilePath(merkle.NewTiles(dir), 3, 1234067, 256), filepath.Join(dir, "tile/3/x001/x234/067"); got != want {
		t.Errorf("path = %s, want %s", got, want)
	}
}

// Partial tiles do not pile up: a wider one and then the full one take their place.
func TestPartialTilesGo(t *testing.T) {
	dir := t.TempDir()
	tree, tiles := grow(t, dir, 1)
	for tree.Size() < 300 {
		tree.Append(leaf(tree.Size()))
		if err := tree.Flush(); err != nil {
			t.Fatal(err)
		}
		entries, _ := os.ReadDir(filepath.Join(dir, "tile/0/000.p"))
		if len(entries) > 2 {
			t.Fatalf("size %d: %d partial tiles", tree.Size(), len(entries))
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "tile/0/000.p")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("partial tiles stay beside the full one: %v", err)
	}
	// What an older checkpoint needs is read from wider tiles.
	var ref reference
	for size := uint64(1); size <= 300; size++ {
		if _, err := merkle.OpenTree(tiles, size, ref.root(t, size)); err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
	}
}

func TestDamagedTiles(t *testing.T) {
	const size = 700
	full, partial := "tile/0/001", "tile/0/002.p/188"
	tests := []struct {
		name   string
		file   string
		damage func(data []byte) []byte
		opens  bool // the right edge is whole
	}{
		{"partial tile torn", partial, func(d []byte) []byte { return d[:100] }, false},
		{"partial tile empty", partial, func([]byte) []byte { return nil }, false},
		{"partial tile with a lost block", partial, func(d []byte) []byte { clear(d[4096:]); return d }, false},
		{"partial tile changed", partial, func(d []byte) []byte { d[5] ^= 1; return d }, false},
		{"full tile torn", full, func(d []byte) []byte { return d[:8191] }, true},
		{"full tile of zeros", full, func(d []byte) []byte { clear(d); return d }, true},
		{"full tile changed", full, func(d []byte) []byte { d[5] ^= 1; return d }, true},
	}
	key := newKey(t, "log")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			tree, tiles := grow(t, dir, size)
			c := key.checkpoint(t, tree)
			path := filepath.Join(dir, tt.file)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, tt.damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = merkle.OpenTree(tiles, size, c.Root)
			if tt.opens && err != nil || !tt.opens && !errors.Is(err, merkle.ErrTiles) {
				t.Errorf("OpenTree: %v", err)
			}
			if _, err := tiles.Prove(c, 300); !errors.Is(err, merkle.ErrTiles) {
				t.Errorf("Prove: %v, want ErrTiles", err)
			}
			// Made again from the lines, everything is back.
			if _, tiles = grow(t, dir, size); err != nil && tt.opens {
				t.Fatal(err)
			}
			if _, err := tiles.Prove(c, 300); err != nil {
				t.Errorf("Prove after repair: %v", err)
			}
		})
	}
	t.Run("another tree", func(t *testing.T) {
		dir := t.TempDir()
		_, tiles := grow(t, dir, size)
		var other merkle.Hash
		if _, err := merkle.OpenTree(tiles, size, other); !errors.Is(err, merkle.ErrTiles) {
			t.Errorf("OpenTree: %v, want ErrTiles", err)
		}
		if _, err := merkle.OpenTree(tiles, size+1, other); !errors.Is(err, merkle.ErrTiles) {
			t.Errorf("OpenTree: %v, want ErrTiles", err)
		}
	})
}

// While tiles cannot be written they wait, up to a bound, and the tree is sound.
func TestFlushGoesOn(t *testing.T) {
	dir := t.TempDir()
	blocker := filepath.Join(dir, "tile")
	if err := os.WriteFile(blocker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tiles := merkle.NewTiles(dir)
	tree := merkle.NewTree(tiles)
	tree.Append(leaves(0, 1000)...)
	if err := tree.Flush(); err == nil {
		t.Fatal("Flush into a file succeeded")
	}
	tree.Append(leaves(1000, 2000)...)
	if err := os.Remove(blocker); err != nil {
		t.Fatal(err)
	}
	if err := tree.Flush(); err != nil {
		t.Fatal(err)
	}
	var ref reference
	if _, err := merkle.OpenTree(tiles, 2000, ref.root(t, 2000)); err != nil || tree.Lost() {
		t.Errorf("OpenTree: %v, lost %v", err, tree.Lost())
	}
	many := merkle.NewTree(merkle.NewTiles(filepath.Join(dir, "tile", "0", "000")))
	many.Append(slices.Repeat([]merkle.Hash{leaf(0)}, 2060*256)...)
	if !many.Lost() {
		t.Error("tiles wait without bound")
	}
}

func TestSync(t *testing.T) {
	dir := t.TempDir()
	_, tiles := grow(t, dir, 70_000)
	if err := tiles.Sync(0, 70_000); err != nil {
		t.Error(err)
	}
	if err := tiles.Sync(60_000, 70_000); err != nil {
		t.Error(err)
	}
	if err := tiles.Sync(60_000, 69_999); err != nil {
		t.Error(err)
	}
	if err := os.Truncate(filepath.Join(dir, "tile/0/250"), 10); err != nil {
		t.Fatal(err)
	}
	if err := tiles.Sync(0, 70_000); !errors.Is(err, merkle.ErrTiles) {
		t.Errorf("Sync over a torn tile = %v, want ErrTiles", err)
	}
	if err := tiles.Sync(65_536, 70_000); err != nil {
		t.Error(err)
	}
}

// What Sync has made durable stays readable although nothing that is written later is
// durable yet; the next Sync cleans up.
func TestSyncedTilesStay(t *testing.T) {
	dir := t.TempDir()
	tree, tiles := grow(t, dir, 300)
	root := tree.Root()
	if err := tiles.Sync(0, 300); err != nil {
		t.Fatal(err)
	}
	for tree.Size() < 700 {
		tree.Append(leaf(tree.Size()))
		if err := tree.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	// A power failure takes what was not synced.
	for _, name := range []string{"tile/0/001", "tile/1/000.p/2"} {
		if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := merkle.OpenTree(tiles, 300, root); err != nil {
		t.Errorf("what was synced: %v", err)
	}
	tree, tiles = grow(t, dir, 700)
	if err := tiles.Sync(300, 700); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tile/0/001.p")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("partial tiles stay beside the full one: %v", err)
	}
	if _, err := merkle.OpenTree(tiles, 700, tree.Root()); err != nil {
		t.Error(err)
	}
}

type testKey struct {
	signer   note.Signer
	verifier note.Verifier
	vkey     string
}

func newKey(t testing.TB, name string) testKey {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	k := testKey{vkey: vkey}
	if k.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	if k.verifier, err = note.NewVerifier(vkey); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k testKey) checkpoint(t testing.TB, tree *merkle.Tree) merkle.Checkpoint {
	t.Helper()
	c, err := merkle.Checkpoint{Origin: merkle.Origin(k.signer.Name(), 1), Size: tree.Size(), Root: tree.Root(), Time: now}.Sign(k.signer)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func diff(t testing.TB, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func lineAt(text []byte, n int) string { return strings.Split(string(text), "\n")[n] }

func BenchmarkLeafHash(b *testing.B) {
	line := bytes.Repeat([]byte("x"), 1000)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		merkle.LeafHash(line)
	}
}

func BenchmarkAppend(b *testing.B) {
	tree := merkle.NewTree(merkle.NewTiles(b.TempDir()))
	h := leaf(0)
	for i := 0; b.Loop(); i++ {
		tree.Append(h)
		if i%10_000 == 9_999 {
			if err := tree.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
