package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// IntTree is a tree of whole numbers.
type IntTree struct{ tree[int, int] }

type intOrder struct{}

func (intOrder) find(items []int, at int) (int, bool) { return slices.BinarySearch(items, at) }

// NewIntTree builds a tree.
func NewIntTree(items []int) *IntTree {
	t := &IntTree{tree[int, int]{order: intOrder{}}}
	t.build(items)
	return t
}

// Set puts a number in.
func (t *IntTree) Set(i int) { t.set(i, i) }

// Remove takes one out.
func (t *IntTree) Remove(i int) { t.remove(i) }

// Has looks for one.
func (t *IntTree) Has(i int) bool {
	_, ok := t.get(i)
	return ok
}

// Copy is a tree that does not change.
func (t *IntTree) Copy() *IntTree { return &IntTree{t.copy()} }

func gather(visit func(fn func(int) bool), limit int) (out []int) {
	if limit == 0 {
		return nil
	}
	visit(func(i int) bool {
		out = append(out, i)
		return len(out) != limit
	})
	return out
}

// All lists what the tree holds.
func (t *IntTree) All() []int { return gather(t.scan, -1) }

// Backwards is All from the last to the first.
func (t *IntTree) Backwards() []int { return gather(t.reverse, -1) }

// From lists some numbers from one on.
func (t *IntTree) From(i, limit int) []int {
	return gather(func(fn func(int) bool) { t.ascend(i, fn) }, limit)
}

// Before lists some numbers below one, from the last on.
func (t *IntTree) Before(i, limit int) []int {
	return gather(func(fn func(int) bool) { t.descend(i, fn) }, limit)
}

// CheckShape verifies that all leaves are equally deep, that no node is empty and that
// nothing is left behind in one.
func (t *IntTree) CheckShape(tb testing.TB) {
	tb.Helper()
	if t.root != nil {
		t.checkNode(tb, t.root)
	}
}

func (t *IntTree) checkNode(tb testing.TB, n *treeNode[int]) (depth int) {
	tb.Helper()
	if n.n == 0 {
		tb.Fatal("a node of the tree is empty")
	}
	if slices.ContainsFunc(n.items[n.n:], func(i int) bool { return i != 0 }) {
		tb.Fatal("a node of the tree keeps what was taken out of it")
	}
	if n.kids == nil {
		return 1
	}
	for i, kid := range n.kids {
		switch {
		case (kid != nil) != (i <= n.n):
			tb.Fatalf("child %d of a node with %d items: %v", i, n.n, kid)
		case kid == nil:
		default:
			d := t.checkNode(tb, kid)
			if depth != 0 && d != depth {
				tb.Fatal("the tree's leaves are not equally deep")
			}
			depth = d
		}
	}
	return depth + 1
}

// Fill is the share of the nodes' places that hold something.
func (t *IntTree) Fill() float64 {
	var items, places int
	var walk func(n *treeNode[int])
	walk = func(n *treeNode[int]) {
		items += n.n
		places += treeWidth
		if n.kids != nil {
			for _, kid := range n.kids[:n.n+1] {
				walk(kid)
			}
		}
	}
	walk(t.root)
	return float64(items) / float64(places)
}

// Pieces counts what lies in each range that a table is loaded in, and says how much one
// should hold at most.
func (t *Table[T]) Pieces(ctx context.Context) (counts []int64, most int64, err error) {
	s := t.t.store
	rev := s.mirror.current.Load().rev
	ranges, err := s.cutTable(ctx, t.t, rev)
	if err != nil {
		return nil, 0, err
	}
	for i, r := range ranges {
		if i > 0 && ranges[i-1][1] != r[0] {
			return nil, 0, fmt.Errorf("range %d begins at %x, the one before ends at %x", i, r[0], ranges[i-1][1])
		}
		n, err := s.countRange(ctx, r[0], r[1], rev)
		if err != nil {
			return nil, 0, err
		}
		counts = append(counts, n)
	}
	return counts, maxShardRecords, nil
}

// SortedKeys sorts index keys, each of a record of its own, as the load of an index does.
// The records have their numbers for keys.
func SortedKeys(keys []string) (sorted []string, records []string) {
	var of entryList
	loaded := make([]loadedKey, len(keys))
	for i, key := range keys {
		of.set(uint32(i), newStub(fmt.Sprintf("%06d", i)))
		loaded[i] = loadedKey{key: key, item: indexItem{number: uint32(i)}}
	}
	sortKeys(loaded, &of)
	for _, k := range loaded {
		sorted, records = append(sorted, k.key), append(records, of.at(k.item.number).key())
	}
	return sorted, records
}
