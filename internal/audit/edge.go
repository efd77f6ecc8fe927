package audit

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"arca/internal/merkle"
)

// maxPieceLevel: hashing works in subtrees of at most 2^8 lines, which is what one
// hash tile covers.
const maxPieceLevel = 8

// edge is a tree of which only the roots of its largest complete subtrees are kept,
// from left to right. That is all it takes to go on adding lines and to compute roots.
type edge struct {
	size  uint64
	nodes []merkle.Hash // one for each bit that is set in size, the highest first
}

// edgeFrom takes over the subtree roots of a tree of that size.
func edgeFrom(size uint64, nodes []merkle.Hash) (*edge, error) {
	if len(nodes) != bits.OnesCount64(size) {
		return nil, fmt.Errorf("%d hashes for the edge of a tree of %d lines", len(nodes), size)
	}
	return &edge{size, append([]merkle.Hash(nil), nodes...)}, nil
}

// add appends a complete subtree of 2^level lines. The size is a multiple of that.
// joined, if not nil, is called with each larger subtree that this completes.
func (e *edge) add(level int, h merkle.Hash, joined func(level int, h merkle.Hash)) {
	at := e.size >> level
	e.size += 1 << level
	for ; at&1 == 1; at >>= 1 {
		last := len(e.nodes) - 1
		h = tlog.NodeHash(e.nodes[last], h)
		e.nodes = e.nodes[:last]
		level++
		if joined != nil {
			joined(level, h)
		}
	}
	e.nodes = append(e.nodes, h)
}

// root is the hash of the whole tree.
func (e *edge) root() merkle.Hash {
	if e.size == 0 {
		return merkle.EmptyRoot()
	}
	root := e.nodes[len(e.nodes)-1]
	for i := len(e.nodes) - 2; i >= 0; i-- {
		root = tlog.NodeHash(e.nodes[i], root)
	}
	return root
}

// readEdge reads the edge that a tree had at a smaller size from hashes that the
// reader has proven.
func readEdge(size uint64, r tlog.HashReader) (*edge, error) {
	var indexes []int64
	for at, rest := uint64(0), size; rest > 0; {
		level := bits.Len64(rest) - 1
		indexes = append(indexes, tlog.StoredHashIndex(level, int64(at>>level)))
		at += 1 << level
		rest -= 1 << level
	}
	if len(indexes) == 0 {
		return new(edge), nil
	}
	nodes, err := r.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	return edgeFrom(size, nodes)
}

// piece is the root of a complete subtree of 2^level lines.
type piece struct {
	level int
	hash  merkle.Hash
}

// appendPieces appends the subtrees that leaves, which begin with number first, are
// made of: the fewest of at most 2^maxPieceLevel lines. It overwrites leaves.
func appendPieces(pieces []piece, first uint64, leaves []merkle.Hash) []piece {
	for len(leaves) > 0 {
		level := min(bits.TrailingZeros64(first), bits.Len(uint(len(leaves)))-1, maxPieceLevel)
		n := 1 << level
		pieces = append(pieces, piece{level, foldLeaves(leaves[:n])})
		first += uint64(n)
		leaves = leaves[n:]
	}
	return pieces
}

// foldLeaves is the root over a power of two of leaves, which it overwrites.
func foldLeaves(leaves []merkle.Hash) merkle.Hash {
	for len(leaves) > 1 {
		half := leaves[:len(leaves)/2]
		for i := range half {
			half[i] = tlog.NodeHash(leaves[2*i], leaves[2*i+1])
		}
		leaves = half
	}
	return leaves[0]
}
