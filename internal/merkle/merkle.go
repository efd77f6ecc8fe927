// Package merkle keeps the Merkle tree over a log of lines: hash tiles in a directory,
// signed checkpoints, and proofs that a line is in a log or that a log has only grown.
// Trees are those of RFC 6962; tiles, checkpoints and proofs have the forms that C2SP
// publishes (tlog-tiles, tlog-checkpoint, tlog-proof), so that other people's tools
// read them.
//
// Promised: a proof that checks out says what it says about the log whose key the
// checker was given, whoever made the proof and the files it was made from. A tree that
// opens has the root it was asked for.
//
// Trusted: SHA-256, Ed25519, and that whoever holds the signing key signs no two
// histories; package audit sees to the last. Nothing is trusted about tiles on disk.
// Whoever writes to them can make proofs impossible until they are made again from the
// lines, and can make no false one. Nothing here is secret: a tile holds hashes of
// lines, which tell a line to those only who can guess all of it.
package merkle

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// HashSize is the size of a hash in bytes.
	HashSize = tlog.HashSize

	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileBytes  = tileWidth * HashSize
	// levels of tiles that a tree of maxSize has.
	levels = 6

	// MaxSize is the largest tree: at a million lines a second it lasts eight years.
	MaxSize = 1 << 48
)

// Hash is the hash of a leaf, of a node or of a whole tree.
type Hash = tlog.Hash

// ErrTiles means that the tiles are missing, torn or not those of the tree that was
// asked for. They can be made again from the lines.
var ErrTiles = errors.New("hash tiles do not hold the tree")

// smallLine is the length up to which a line is hashed from a copy on the stack, which
// costs less than memory of its own.
const smallLine = 2047

// LeafHash is the hash of a line, given without its newline, as a leaf.
func LeafHash(line []byte) Hash {
	if len(line) > smallLine {
		return tlog.RecordHash(line)
	}
	var buf [1 + smallLine]byte // begins with the zero that marks a leaf
	n := copy(buf[1:], line)
	return sha256.Sum256(buf[:1+n])
}

// EmptyRoot is the root of a tree without leaves.
func EmptyRoot() Hash { return sha256.Sum256(nil) }

// Tree is a growing tree. It keeps the right edge in memory and writes tiles as they
// are completed. Its methods must not be called concurrently.
type Tree struct {
	tiles *Tiles
	size  uint64
	edge  [levels][]Hash // the hashes of the last tile of each level, while it is not full
	// full holds completed tiles that are not written yet, at most maxFull of them.
	full []fullTile
	lost bool
	// shown is the width of the partial tile of each level that is on disk, and the one
	// before it; 0 for none.
	shown, before [levels]int
}

type fullTile struct {
	level  int
	n      uint64
	hashes []Hash
}

// maxFull bounds the tiles that wait for a disk that takes none: 16 MiB.
const maxFull = 2048

// NewTree is an empty tree.
func NewTree(tiles *Tiles) *Tree { return &Tree{tiles: tiles} }

// OpenTree is the tree of a size and root whose tiles were written before. The error
// wraps ErrTiles when they do not give that root. Only the tiles of the right edge are
// looked at; reading others proves them.
func OpenTree(tiles *Tiles, size uint64, root Hash) (*Tree, error) {
	if size > MaxSize {
		return nil, fmt.Errorf("open tree: size %d", size)
	}
	t := NewTree(tiles)
	t.size = size
	for level := range t.edge {
		width := int(size >> (tileHeight * level) % tileWidth)
		if width == 0 {
			continue
		}
		hashes, err := tiles.Read(level, size>>(tileHeight*(level+1)), width)
		if err != nil {
			return nil, fmt.Errorf("open tree of %d leaves: %w", size, err)
		}
		t.edge[level] = hashes
	}
	if t.Root() != root {
		return nil, fmt.Errorf("open tree of %d leaves: %w", size, ErrTiles)
	}
	return t, nil
}

// Size is the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// Append adds leaves. Nothing is written before Flush, which may be left out for some
// hundred thousand leaves.
func (t *Tree) Append(leaves ...Hash) {
	for _, h := range leaves {
		t.size++
		t.add(0, h)
	}
}

func (t *Tree) add(level int, h Hash) {
	if t.edge[level] == nil {
		t.edge[level] = make([]Hash, 0, tileWidth)
	}
	t.edge[level] = append(t.edge[level], h)
	if len(t.edge[level]) < tileWidth {
		return
	}
	done := t.edge[level]
	t.edge[level] = nil
	if len(t.full) >= maxFull {
		t.full, t.lost = t.full[1:], true
	}
	t.full = append(t.full, fullTile{level, t.size>>(tileHeight*(level+1)) - 1, done})
	if level+1 < levels {
		t.add(level+1, subtree(done))
	}
}

// subtree is the root over a power of two of hashes.
func subtree(hashes []Hash) Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return tlog.NodeHash(subtree(hashes[:half]), subtree(hashes[half:]))
}

// Root is the root hash over all leaves.
func (t *Tree) Root() Hash {
	if t.size == 0 {
		return EmptyRoot()
	}
	var root Hash
	begun := false
	// From the smallest complete subtree, at the right, to the largest.
	for _, hashes := range t.edge {
		end := len(hashes)
		for width := 1; end > 0; width *= 2 {
			if end&width == 0 {
				continue
			}
			h := subtree(hashes[end-width : end])
			if begun {
				h = tlog.NodeHash(h, root)
			}
			root, begun = h, true
			end -= width
		}
	}
	return root
}

// Flush writes the tiles that the tree of this size has and that are not on disk. They
// are not synced. After an error it goes on where it stopped when it is called again.
func (t *Tree) Flush() error {
	for len(t.full) > 0 {
		f := t.full[0]
		if err := t.tiles.write(f.level, f.n, f.hashes); err != nil {
			return err
		}
		t.full = t.full[1:]
		t.tiles.remove(f.level, f.n, t.shown[f.level])
		t.tiles.remove(f.level, f.n, t.before[f.level])
		t.tiles.removeEmpty(f.level, f.n)
		t.shown[f.level], t.before[f.level] = 0, 0
	}
	t.full = nil
	for level, hashes := range t.edge {
		if len(hashes) == 0 || len(hashes) == t.shown[level] {
			continue
		}
		n := t.size >> (tileHeight * (level + 1))
		if err := t.tiles.write(level, n, hashes); err != nil {
			return err
		}
		// A wider tile says all that a narrower one does. The one before stays for the
		// checkpoint that is the newest until the next one is there.
		t.tiles.remove(level, n, t.before[level])
		t.before[level], t.shown[level] = t.shown[level], len(hashes)
	}
	return nil
}

// Lost reports whether tiles were given up because they could not be written for too
// long. The tree itself is sound; the tiles have to be made again from the lines.
func (t *Tree) Lost() bool { return t.lost }
