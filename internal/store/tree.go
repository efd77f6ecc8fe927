package store

// tree is a sorted set, a B-tree that is copied on write: copy takes no time, and the
// two share every node until one of them changes it. Items are found by a pivot P,
// which is what orders them. One goroutine may change a tree, any number may read a copy
// that nobody changes.
//
// It is our own for what it costs at half a million secrets, which make some four
// million items: a tree built from sorted items has full nodes, of one piece of memory
// each, where one grown item by item has nodes that are half empty.
type tree[I, P any] struct {
	order order[I, P]
	root  *treeNode[I] // nil if empty
	count int
	// edit marks the nodes that only this tree has. nil: none yet.
	edit *edit
}

// order says where items stand.
type order[I, P any] interface {
	// find returns the place of the first item that is not before the pivot, and
	// whether it is the pivot's.
	find(items []I, at P) (i int, found bool)
}

const (
	// treeWidth is the items of a full node. Every commit copies one node of each level
	// in each tree it changes: narrow nodes make that cheap, at the price of deeper trees.
	treeWidth = 16
	// treeLow is the number of items below which a node that loses one is filled up.
	treeLow = 5
	// treeFill is the number that a built tree's nodes have, so that not every first
	// insertion splits one.
	treeFill = 14
)

// edit is an identity; it has a size so that no two are at one address.
type edit struct{ _ byte }

type treeNode[I any] struct {
	edit  *edit
	kids  *[treeWidth + 1]*treeNode[I] // nil in a leaf; kids[i] holds what is before items[i]
	n     int
	items [treeWidth]I
}

func (n *treeNode[I]) list() []I { return n.items[:n.n] }

// copy returns a tree that stays as this one is now.
func (t *tree[I, P]) copy() tree[I, P] {
	t.edit = nil
	return *t
}

// Len is the number of items.
func (t *tree[I, P]) Len() int { return t.count }

func (t *tree[I, P]) get(at P) (item I, ok bool) {
	for n := t.root; n != nil; {
		i, found := t.order.find(n.list(), at)
		if found {
			return n.items[i], true
		}
		if n.kids == nil {
			break
		}
		n = n.kids[i]
	}
	return item, false
}

// own returns a node that this tree may change.
func (t *tree[I, P]) own(n *treeNode[I]) *treeNode[I] {
	if n.edit == t.edit {
		return n
	}
	c := *n
	c.edit = t.edit
	if n.kids != nil {
		kids := *n.kids
		c.kids = &kids
	}
	return &c
}

func (t *tree[I, P]) begin() {
	if t.edit == nil {
		t.edit = new(edit)
	}
}

// set puts an item in at its pivot, in place of one that has the same.
func (t *tree[I, P]) set(item I, at P) {
	t.begin()
	if t.root == nil {
		t.root = &treeNode[I]{edit: t.edit}
	}
	t.root = t.own(t.root)
	up, right := t.insert(t.root, item, at)
	if right != nil {
		root := &treeNode[I]{edit: t.edit, kids: new([treeWidth + 1]*treeNode[I]), n: 1}
		root.items[0], root.kids[0], root.kids[1] = up, t.root, right
		t.root = root
	}
}

// insert puts an item in below a node that the tree owns. If the node has to be split,
// right is its upper part and up the item between the two.
func (t *tree[I, P]) insert(n *treeNode[I], item I, at P) (up I, right *treeNode[I]) {
	i, found := t.order.find(n.list(), at)
	if found {
		n.items[i] = item
		return up, nil
	}
	if n.kids == nil {
		t.count++
		return t.place(n, i, item, nil)
	}
	n.kids[i] = t.own(n.kids[i])
	between, kid := t.insert(n.kids[i], item, at)
	if kid == nil {
		return up, nil
	}
	return t.place(n, i, between, kid)
}

// place puts an item, and the child after it, at a place in a node, splitting it if it
// is full.
func (t *tree[I, P]) place(n *treeNode[I], i int, item I, kid *treeNode[I]) (up I, right *treeNode[I]) {
	if n.n < treeWidth {
		n.put(i, item, kid)
		return up, nil
	}
	const half = treeWidth / 2
	right = &treeNode[I]{edit: t.edit}
	right.n = copy(right.items[:], n.items[half+1:])
	up = n.items[half]
	clear(n.items[half:])
	n.n = half
	if n.kids != nil {
		right.kids = new([treeWidth + 1]*treeNode[I])
		copy(right.kids[:], n.kids[half+1:])
		clear(n.kids[half+1:])
	}
	if i <= half {
		n.put(i, item, kid)
	} else {
		right.put(i-half-1, item, kid)
	}
	return up, right
}

// put shifts what follows a place to make room.
func (n *treeNode[I]) put(i int, item I, kid *treeNode[I]) {
	copy(n.items[i+1:n.n+1], n.items[i:n.n])
	n.items[i] = item
	if n.kids != nil {
		copy(n.kids[i+2:n.n+2], n.kids[i+1:n.n+1])
		n.kids[i+1] = kid
	}
	n.n++
}

// cut takes the item at a place out, and the child after it.
func (n *treeNode[I]) cut(i int) (item I, kid *treeNode[I]) {
	item = n.items[i]
	copy(n.items[i:], n.items[i+1:n.n])
	if n.kids != nil {
		kid = n.kids[i+1]
		copy(n.kids[i+1:], n.kids[i+2:n.n+1])
		n.kids[n.n] = nil
	}
	n.n--
	clear(n.items[n.n : n.n+1])
	return item, kid
}

// remove takes the item of a pivot out, if there is one.
func (t *tree[I, P]) remove(at P) {
	if _, ok := t.get(at); !ok {
		return
	}
	t.begin()
	t.root = t.own(t.root)
	t.removeBelow(t.root, at)
	t.count--
	if t.root.n == 0 {
		if t.root.kids == nil {
			t.root = nil
		} else {
			t.root = t.root.kids[0]
		}
	}
}

func (t *tree[I, P]) removeBelow(n *treeNode[I], at P) {
	i, found := t.order.find(n.list(), at)
	if n.kids == nil {
		n.cut(i)
		return
	}
	n.kids[i] = t.own(n.kids[i])
	if found {
		n.items[i] = t.removeLast(n.kids[i])
	} else {
		t.removeBelow(n.kids[i], at)
	}
	t.refill(n, i)
}

func (t *tree[I, P]) removeLast(n *treeNode[I]) I {
	if n.kids == nil {
		item, _ := n.cut(n.n - 1)
		return item
	}
	last := n.n
	n.kids[last] = t.own(n.kids[last])
	item := t.removeLast(n.kids[last])
	t.refill(n, last)
	return item
}

// refill sees to it that a child which lost an item has enough: it gets one from a
// neighbour, or the two become one.
func (t *tree[I, P]) refill(n *treeNode[I], i int) {
	if n.kids[i].n >= treeLow {
		return
	}
	at := max(i-1, 0) // the item between the child and its neighbour
	left, right := t.own(n.kids[at]), t.own(n.kids[at+1])
	n.kids[at], n.kids[at+1] = left, right
	switch {
	case left.n+right.n < treeWidth:
		between, _ := n.cut(at)
		left.items[left.n] = between
		copy(left.items[left.n+1:], right.list())
		if left.kids != nil {
			copy(left.kids[left.n+1:], right.kids[:right.n+1])
		}
		left.n += 1 + right.n
	case left.n > right.n:
		item, kid := left.cut(left.n - 1)
		right.unshift(n.items[at], kid)
		n.items[at] = item
	default:
		var first *treeNode[I]
		if right.kids != nil {
			first = right.kids[0]
		}
		left.put(left.n, n.items[at], first)
		n.items[at] = right.shift()
	}
}

// unshift puts an item before all others, and a child before that.
func (n *treeNode[I]) unshift(item I, kid *treeNode[I]) {
	if n.kids != nil {
		copy(n.kids[1:n.n+2], n.kids[:n.n+1])
		n.kids[0] = kid
	}
	copy(n.items[1:n.n+1], n.items[:n.n])
	n.items[0] = item
	n.n++
}

// shift takes out the first item, and the child before it.
func (n *treeNode[I]) shift() I {
	item := n.items[0]
	if n.kids != nil {
		n.kids[0] = n.kids[1]
	}
	n.cut(0)
	return item
}

// build fills an empty tree with items in their order.
func (t *tree[I, P]) build(items []I) {
	t.root, t.count = nil, len(items)
	t.begin()
	if len(items) == 0 {
		return
	}
	// The leaves and the items between them; then the nodes over those, and so on. Each
	// level is cut into nodes of equal size.
	between := items
	var below []*treeNode[I]
	for {
		n := (len(between) + treeFill + 1) / (treeFill + 1)
		if below != nil {
			n = (len(below) + treeFill) / (treeFill + 1)
		}
		nodes := make([]*treeNode[I], 0, n)
		ups := make([]I, 0, n)
		left, from := len(between)-(n-1), 0
		for i := range n {
			size := left / (n - i)
			left -= size
			node := &treeNode[I]{edit: t.edit, n: size}
			copy(node.items[:], between[from:from+size])
			if below != nil {
				node.kids = new([treeWidth + 1]*treeNode[I])
				copy(node.kids[:], below[from:from+size+1])
			}
			from += size
			if i < n-1 {
				ups = append(ups, between[from])
				from++
			}
			nodes = append(nodes, node)
		}
		if n == 1 {
			t.root = nodes[0]
			return
		}
		between, below = ups, nodes
	}
}

// scan visits all items while fn returns true.
func (t *tree[I, P]) scan(fn func(item I) bool) {
	if t.root != nil {
		t.root.scan(fn)
	}
}

func (n *treeNode[I]) scan(fn func(item I) bool) bool {
	for i := range n.n {
		if n.kids != nil && !n.kids[i].scan(fn) {
			return false
		}
		if !fn(n.items[i]) {
			return false
		}
	}
	return n.kids == nil || n.kids[n.n].scan(fn)
}

// ascend visits the items from a pivot on.
func (t *tree[I, P]) ascend(from P, fn func(item I) bool) {
	if t.root != nil {
		t.ascendBelow(t.root, from, fn)
	}
}

func (t *tree[I, P]) ascendBelow(n *treeNode[I], from P, fn func(item I) bool) bool {
	i, found := t.order.find(n.list(), from)
	if !found && n.kids != nil && !t.ascendBelow(n.kids[i], from, fn) {
		return false
	}
	for ; i < n.n; i++ {
		if !fn(n.items[i]) {
			return false
		}
		if n.kids != nil && !n.kids[i+1].scan(fn) {
			return false
		}
	}
	return true
}

// reverse visits all items from the last to the first.
func (t *tree[I, P]) reverse(fn func(item I) bool) {
	if t.root != nil {
		t.root.reverse(t.root.n, fn)
	}
}

// reverse visits what is before the i-th item.
func (n *treeNode[I]) reverse(i int, fn func(item I) bool) bool {
	for ; ; i-- {
		if n.kids != nil && !n.kids[i].reverse(n.kids[i].n, fn) {
			return false
		}
		if i == 0 {
			return true
		}
		if !fn(n.items[i-1]) {
			return false
		}
	}
}

// descend visits the items before a pivot, from the last to the first.
func (t *tree[I, P]) descend(before P, fn func(item I) bool) {
	if t.root != nil {
		t.descendBelow(t.root, before, fn)
	}
}

func (t *tree[I, P]) descendBelow(n *treeNode[I], before P, fn func(item I) bool) bool {
	i, found := t.order.find(n.list(), before)
	if n.kids != nil {
		if found {
			if !n.kids[i].reverse(n.kids[i].n, fn) {
				return false
			}
		} else if !t.descendBelow(n.kids[i], before, fn) {
			return false
		}
	}
	for ; i > 0; i-- {
		if !fn(n.items[i-1]) {
			return false
		}
		if n.kids != nil && !n.kids[i-1].reverse(n.kids[i-1].n, fn) {
			return false
		}
	}
	return true
}
