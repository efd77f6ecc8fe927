package merkle_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"arca/internal/merkle"
)

var now = time.Date(2026, 11, 22, 3, 4, 5, 678, time.UTC)

func TestCheckpoint(t *testing.T) {
	key := newKey(t, "arca/d1/n1")
	tree, _ := grow(t, t.TempDir(), 5)
	c := key.checkpoint(t, tree)
	if got := lineAt(c.Text, 0); got != "arca/d1/n1/1" {
		t.Errorf("origin line %q", got)
	}
	if got := lineAt(c.Text, 3); got != "time 2026-11-22T03:04:05Z" {
		t.Errorf("time line %q", got)
	}
	got, err := merkle.OpenCheckpoint(c.Text, key.verifier, key.verifier)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, c, got)
	if got, err = merkle.UnverifiedCheckpoint(c.Text); err != nil {
		t.Fatal(err)
	}
	diff(t, c, got)

	// A witness adds its signature; the checkpoint stays what it was.
	witness := newKey(t, "witness")
	n, err := note.Open(c.Text, note.VerifierList(key.verifier))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(n, witness.signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := merkle.OpenCheckpoint(signed, key.verifier); err != nil {
		t.Error(err)
	}
	if _, err := merkle.OpenCheckpoint(signed, witness.verifier); err == nil {
		t.Error("a witness's signature passes for the log's")
	}
}

func TestCheckpointRefused(t *testing.T) {
	key, other := newKey(t, "arca/d1/n1"), newKey(t, "arca/d1/n1")
	tree, _ := grow(t, t.TempDir(), 5)
	c := key.checkpoint(t, tree)
	sign := func(text string) []byte {
		out, err := note.Sign(&note.Note{Text: text}, key.signer)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	root := c.Root.String()
	tests := []struct {
		name string
		text []byte
	}{
		{"empty", nil},
		{"another key of the same name", other.checkpoint(t, tree).Text},
		{"changed size", bytes.Replace(c.Text, []byte("\n5\n"), []byte("\n6\n"), 1)},
		{"two lines", sign("arca/d1/n1/1\n5\n")},
		{"origin of another node", sign("arca/d1/n2/1\n5\n" + root + "\n")},
		{"origin without generation", sign("arca/d1/n1\n5\n" + root + "\n")},
		{"generation with a leading zero", sign("arca/d1/n1/01\n5\n" + root + "\n")},
		{"size with a leading zero", sign("arca/d1/n1/1\n05\n" + root + "\n")},
		{"negative size", sign("arca/d1/n1/1\n-5\n" + root + "\n")},
		{"size beyond any tree", sign("arca/d1/n1/1\n18446744073709551615\n" + root + "\n")},
		{"short root", sign("arca/d1/n1/1\n5\n" + root[4:] + "\n")},
		{"time that is none", sign("arca/d1/n1/1\n5\n" + root + "\ntime noon\n")},
		{"too long", append(bytes.Clone(c.Text), bytes.Repeat([]byte("x"), 64<<10)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := merkle.OpenCheckpoint(tt.text, key.verifier); err == nil {
				t.Errorf("OpenCheckpoint = %+v, want an error", got)
			}
		})
	}
	if _, err := (merkle.Checkpoint{Origin: "else/1"}).Sign(key.signer); err == nil {
		t.Error("Sign for another log succeeded")
	}
	// An extension that is not known is passed over.
	if _, err := merkle.OpenCheckpoint(sign("arca/d1/n1/1\n5\n"+root+"\nweather fine\n"), key.verifier); err != nil {
		t.Error(err)
	}
}

func TestProofText(t *testing.T) {
	key := newKey(t, "arca/d1/n1")
	tree, tiles := grow(t, t.TempDir(), 1000)
	c := key.checkpoint(t, tree)
	p, err := tiles.Prove(c, 600)
	if err != nil {
		t.Fatal(err)
	}
	p.Extra = []byte("line 600")
	text := p.Marshal()
	if lineAt(text, 0) != "c2sp.org/tlog-proof@v1" || lineAt(text, 1) != "extra bGluZSA2MDA=" || lineAt(text, 2) != "index 600" {
		t.Errorf("text:\n%s", text)
	}
	back, err := merkle.ParseProof(text)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, p, back)
	if _, got, err := merkle.CheckProof(text, nil, key.vkey); err != nil || got.Size != 1000 {
		t.Errorf("CheckProof = %v, %v", got, err)
	}
	if _, _, err := merkle.CheckProof(text, []byte("line 600"), key.vkey); err != nil {
		t.Error(err)
	}
	if _, _, err := merkle.CheckProof(text, []byte("line 601"), key.vkey); err == nil {
		t.Error("another line passes")
	}
	if _, _, err := merkle.CheckProof(text, nil, newKey(t, "arca/d1/n1").vkey); err == nil {
		t.Error("another key passes")
	}
	if _, _, err := merkle.CheckProof(text, nil, "no key"); err == nil {
		t.Error("no key passes")
	}
	p.Extra = nil
	if _, _, err := merkle.CheckProof(p.Marshal(), nil, key.vkey); err == nil {
		t.Error("a proof without a line passes")
	}
	if _, err := tiles.Prove(c, 1000); err == nil {
		t.Error("a line behind the checkpoint is proved")
	}
	// No change of any byte goes unnoticed.
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 4
		if _, _, err := merkle.CheckProof(bad, []byte("line 600"), key.vkey); err == nil && !extraOnly(text, i) {
			t.Fatalf("byte %d can be changed: %q", i, bad[max(0, i-10):min(len(bad), i+10)])
		}
	}
}

// extraOnly reports whether a byte is in the extra data, which proves nothing.
func extraOnly(text []byte, i int) bool {
	line := strings.Count(string(text[:i]), "\n")
	return line == 1
}

func TestConsistency(t *testing.T) {
	key := newKey(t, "arca/d1/n1")
	tree, tiles := grow(t, t.TempDir(), 300)
	earlier := key.checkpoint(t, tree)
	tree.Append(leaves(300, 1000)...)
	if err := tree.Flush(); err != nil {
		t.Fatal(err)
	}
	later := key.checkpoint(t, tree)
	p, err := tiles.Extends(later, earlier)
	if err != nil {
		t.Fatal(err)
	}
	back, err := merkle.ParseConsistency(p.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	diff(t, p, back)
	if _, err := p.Check(earlier, key.verifier); err != nil {
		t.Error(err)
	}
	for name, edit := range map[string]func(c *merkle.Checkpoint, p *merkle.Consistency){
		"another root":    func(c *merkle.Checkpoint, _ *merkle.Consistency) { c.Root[3]++ },
		"another size":    func(c *merkle.Checkpoint, _ *merkle.Consistency) { c.Size-- },
		"another origin":  func(c *merkle.Checkpoint, _ *merkle.Consistency) { c.Origin = "arca/d1/n1/2" },
		"another hash":    func(_ *merkle.Checkpoint, p *merkle.Consistency) { p.Hashes[0][0]++ },
		"a hash less":     func(_ *merkle.Checkpoint, p *merkle.Consistency) { p.Hashes = p.Hashes[1:] },
		"larger than all": func(c *merkle.Checkpoint, p *merkle.Consistency) { c.Size, p.OldSize = 2000, 2000 },
		"empty root":      func(c *merkle.Checkpoint, p *merkle.Consistency) { c.Size, p.OldSize, p.Hashes = 0, 0, nil },
	} {
		c, q := earlier, *p
		q.Hashes = append([]merkle.Hash(nil), p.Hashes...)
		edit(&c, &q)
		if _, err := q.Check(c, key.verifier); err == nil {
			t.Errorf("%s: passes", name)
		}
	}
	if _, err := tiles.Extends(earlier, later); err == nil {
		t.Error("a log that shrank is proved to have grown")
	}
	same, err := tiles.Extends(later, later)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := same.Check(later, key.verifier); err != nil {
		t.Error(err)
	}
	empty := merkle.Checkpoint{Origin: later.Origin, Root: merkle.EmptyRoot()}
	if p, err = tiles.Extends(later, empty); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Check(empty, key.verifier); err != nil {
		t.Error(err)
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	key := newKey(f, "arca/d1/n1")
	tree, _ := grow(f, f.TempDir(), 5)
	f.Add(key.checkpoint(f, tree).Text)
	f.Add([]byte("a/1\n5\n\n— a x\n"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = merkle.UnverifiedCheckpoint(text)
		if c, err := merkle.OpenCheckpoint(text, key.verifier); err == nil && c.Size > merkle.MaxSize {
			t.Errorf("size %d", c.Size)
		}
	})
}

// What is parsed is written back as it was, so that there is one text for one proof.
func FuzzParseProof(f *testing.F) {
	key := newKey(f, "arca/d1/n1")
	tree, tiles := grow(f, f.TempDir(), 50)
	p, err := tiles.Prove(key.checkpoint(f, tree), 7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Marshal())
	p.Extra = []byte("line 7")
	f.Add(p.Marshal())
	f.Add(fmt.Append(nil, "c2sp.org/tlog-proof@v1\nindex 0\n\nx"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := merkle.ParseProof(text)
		if err != nil {
			return
		}
		if got := p.Marshal(); !bytes.Equal(got, text) {
			t.Errorf("%q becomes %q", text, got)
		}
		_, _ = p.Check([]byte("line"), key.verifier)
	})
}

func FuzzParseConsistency(f *testing.F) {
	key := newKey(f, "arca/d1/n1")
	tree, tiles := grow(f, f.TempDir(), 50)
	c := key.checkpoint(f, tree)
	tree.Append(leaves(50, 60)...)
	if err := tree.Flush(); err != nil {
		f.Fatal(err)
	}
	p, err := tiles.Extends(key.checkpoint(f, tree), c)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Marshal())
	f.Add([]byte("old 0\n\nx"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := merkle.ParseConsistency(text)
		if err != nil {
			return
		}
		if got := p.Marshal(); !bytes.Equal(got, text) {
			t.Errorf("%q becomes %q", text, got)
		}
		_, _ = p.Check(c, key.verifier)
	})
}

// FuzzTile: whatever a tile file holds, reading it ends, and proves nothing false.
func FuzzTile(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(make([]byte, 32*50))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		tree, tiles := grow(t, dir, 50)
		c := merkle.Checkpoint{Size: tree.Size(), Root: tree.Root()}
		was, err := tiles.Read(0, 0, 50)
		if err != nil {
			t.Fatal(err)
		}
		if err := merkle.OverwriteTile(tiles, 0, 0, 50, data); err != nil {
			t.Fatal(err)
		}
		if _, err := merkle.OpenTree(tiles, c.Size, c.Root); err == nil {
			got, err := tiles.Read(0, 0, 50)
			if err != nil {
				t.Fatal(err)
			}
			diff(t, was, got)
		}
		_, _ = tiles.Prove(c, 7)
	})
}
