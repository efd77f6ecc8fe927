package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/audit"
	"arca/internal/merkle"
)

// TestTreeOverCrashes: after any sequence of lines, clean ends and power failures, the
// log holds what was acknowledged, its checkpoint has the root over that, nothing that
// etcd was ever told is contradicted, and every line can be proved.
func TestTreeOverCrashes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		k := new(keeper)
		var want [][]byte
		for range rapid.IntRange(1, 4).Draw(rt, "lives") {
			cfg := k.config(t, dir)
			cfg.MaxSegmentBytes = rapid.SampledFrom([]int64{2 << 10, 64 << 10, 1 << 20}).Draw(rt, "segment bytes")
			crash := rapid.Bool().Draw(rt, "crash")
			var next string
			var then *keeper
			with(t, cfg, func(l *audit.Log) {
				if got := l.Size(); got != uint64(len(want)) {
					rt.Fatalf("Size() = %d, want %d", got, len(want))
				}
				for range rapid.IntRange(0, 6).Draw(rt, "batches") {
					batch := make([][]byte, rapid.SampledFrom([]int{1, 30, 300, 700}).Draw(rt, "lines"))
					for i := range batch {
						batch[i] = fmt.Append(nil, "line ", len(want)+i, " ", string(bytes.Repeat([]byte("x"), i%50)))
					}
					if err := l.Append(context.Background(), batch...); err != nil {
						rt.Fatal(err)
					}
					want = append(want, batch...)
				}
				if crash {
					// etcd knows a checkpoint before the file is there, so the files are read first.
					next, then = copyDir(t, dir), k.clone()
				}
			})
			if crash {
				dir, k = next, then
				losePower(rt, dir)
			}
		}
		with(t, k.config(t, dir), func(l *audit.Log) {
			want = append(want, []byte("last"))
			if err := l.Append(context.Background(), []byte("last")); err != nil {
				rt.Fatal(err)
			}
			if c, ok := l.Checkpoint(); ok {
				eventually(t, "whole tiles", func() bool { return provable(dir, c) })
			}
		})
		got := linesIn(t, dir)
		if len(got) != len(want) {
			rt.Fatalf("%d lines, want %d", len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				rt.Fatalf("line %d = %q, want %q", i, got[i], want[i])
			}
		}
		c := checkpoint(t, filepath.Join(dir, "checkpoint"))
		rootAt := rootsOf(t, want)
		if c.Origin != "arca/d1/n1/1" || c.Size != uint64(len(want)) || c.Root != rootAt(len(want)) {
			rt.Fatalf("checkpoint of %s with %d lines, want %d", c.Origin, c.Size, len(want))
		}
		for size, root := range k.told[c.Origin] {
			if size > 0 && root != rootAt(int(size)) {
				rt.Fatalf("etcd was told another root at %d", size)
			}
		}
		tiles := merkle.NewTiles(dir)
		for n := 0; n < len(want); n += 200 {
			p, err := tiles.Prove(c, uint64(n))
			if err != nil {
				rt.Fatal(err)
			}
			if _, err := p.Check(want[n], testKey(t).Verifier()); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

func provable(dir string, c merkle.Checkpoint) bool {
	for n := uint64(0); n < c.Size; n += 200 { // there is no tile without one of these
		if _, err := merkle.NewTiles(dir).Prove(c, n); err != nil {
			return false
		}
	}
	return true
}

func (k *keeper) clone() *keeper {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := &keeper{head: k.head, told: make(map[string]map[uint64]merkle.Hash)}
	for origin, roots := range k.told {
		out.told[origin] = make(map[uint64]merkle.Hash)
		for size, root := range roots {
			out.told[origin][size] = root
		}
	}
	return out
}

// losePower does to a directory what a power failure may do: part of a line that nobody
// was told about is at the end, and tiles that were not synced are torn, empty, zeros or
// gone. Those that closing checkpoints cover were synced, but for the last one of each
// level, which the next segment completes.
func losePower(rt *rapid.T, dir string) {
	segs, err := audit.Segments(dir)
	if err != nil {
		rt.Fatal(err)
	}
	path := segs[len(segs)-1].Path
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(data, "torn"[:rapid.IntRange(0, 4).Draw(rt, "torn")]...), 0o600)
	}
	if err != nil {
		rt.Fatal(err)
	}
	closed := 0
	entries, _ := os.ReadDir(filepath.Join(dir, "checkpoints"))
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			closed = max(closed, n)
		}
	}
	paths, err := filepath.Glob(filepath.Join(dir, "tile", "*", "*"))
	if err != nil {
		rt.Fatal(err)
	}
	partial, err := filepath.Glob(filepath.Join(dir, "tile", "*", "*.p", "*"))
	if err != nil {
		rt.Fatal(err)
	}
	if rapid.Bool().Draw(rt, "edge") {
		paths = append(paths, partial...)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			continue
		}
		n, err := strconv.Atoi(filepath.Base(path))
		if err == nil && filepath.Base(filepath.Dir(path)) == "0" && n < closed/256 {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			rt.Fatal(err)
		}
		switch rapid.IntRange(0, 9).Draw(rt, "loss") {
		case 0:
			err = os.Remove(path)
		case 1:
			err = os.WriteFile(path, nil, 0o600)
		case 2:
			err = os.WriteFile(path, data[:len(data)/2], 0o600)
		case 3:
			clear(data[min(len(data), 4096):])
			err = os.WriteFile(path, data, 0o600)
		case 4:
			clear(data)
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			rt.Fatal(err)
		}
	}
}
