package secrets

import (
	"slices"
	"strings"

	"arca/internal/store"
)

// candidates are the secrets of one order that filters may keep, as the catalogue knows
// them. They hold for one snapshot: what has changed since that was taken is looked up
// there instead.
type candidates struct {
	s     *Service
	v     *store.Snap
	q     *secretQuery
	order order

	shelf *shelf
	set   numberSet
	count int // of the set
	all   int // secrets in the scope
	work  int // that it took

	// The order asked for and that of names, nil if the catalogue has yet to sort them, and
	// what stands elsewhere by now, nil for nothing. restless is what of the set does.
	ranking, names                *ranking
	moved, movedOfNames, restless numberSet
}

const (
	// chunkBlocks is how many blocks of a shelf are looked through at a time, which takes well
	// below a millisecond: changes have to wait for it. In the same way, chunkWork bounds what
	// is taken from texts and their sets at a time.
	chunkBlocks = 128
	chunkWork   = 1 << 16
	// textWork is what a text of the catalogue costs that a prefix selects, packedWork a word
	// that few have; to copy words of memory costs little.
	textWork, packedWork = 6, 2
	touchesPerWork       = 4
	// fewCandidates are sorted more quickly than met on the way through all secrets.
	fewCandidates = 512
	// edgeNumbers is how many names are compared at a time.
	edgeNumbers = 1 << 10
)

// spent says that the catalogue has been asked enough for one page. What is left of the
// filters is then up to the records.
func (c *candidates) spent() bool { return c.work > 2*c.q.work }

// candidates asks the catalogue. nil says that it cannot tell.
func (s *Service) candidates(v *store.Snap, q *secretQuery, o order) *candidates {
	c := &candidates{s: s, v: v, q: q, order: o}
	s.catalog.mu.RLock()
	if !s.catalog.ready {
		s.catalog.mu.RUnlock()
		return nil
	}
	if c.shelf = s.catalog.shelves[q.scope]; c.shelf != nil {
		c.all = c.shelf.count
		c.set = c.members()
		c.ranking, c.moved = c.rankingNow(o.rank())
		if slices.ContainsFunc(q.filter, func(part filterPart) bool { return part.key == "name" }) {
			c.names, c.movedOfNames = c.rankingNow(rankName)
		}
	}
	s.catalog.mu.RUnlock()
	for i := range q.filter {
		if !c.set.empty() {
			c.narrow(&q.filter[i])
		}
	}
	c.split()
	return c
}

// rankingNow returns a ranking and what has moved since it was made. The caller holds the
// catalogue's lock. Of what moves from now on, a list takes none from the catalogue.
func (c *candidates) rankingNow(k rank) (*ranking, numberSet) {
	r := c.shelf.ranks.used[k]
	if r == nil || r.count == 0 {
		return r, nil
	}
	if !r.wanted.Load() {
		r.wanted.Store(true)
	}
	moved := make(numberSet, len(c.set))
	copy(moved, r.moved)
	return r, moved
}

// split tells candidates that stand elsewhere than they were sorted in from the others.
func (c *candidates) split() {
	c.count = c.set.count()
	if c.moved != nil {
		c.restless = slices.Clone(c.set)
		c.restless.and(c.moved)
	}
}

// sorting is the work of telling which candidates come next where no ranking does.
func (c *candidates) sorting() int {
	if c.ranking == nil || c.count <= c.q.few {
		return c.count * sortWork
	}
	return c.restless.count() * sortWork
}

// members are the secrets that are in the order and may be listed. The caller holds the
// catalogue's lock.
func (c *candidates) members() numberSet {
	sh := c.shelf
	set := slices.Clone(sh.used)
	if !c.q.planned {
		set.andNot(sh.scheduled)
	}
	switch c.order {
	case byUnread:
		set.andNot(sh.read)
	case byRead:
		set.and(sh.read)
	}
	return set
}

// eachBlock replaces each word of a set that is not empty by what keep makes of it. It
// goes the way of the list.
func (c *candidates) eachBlock(set numberSet, keep func(b *block, word uint64) uint64) {
	for from := 0; from < len(set); from += chunkBlocks {
		c.s.catalog.mu.RLock()
		for w := from; w < min(from+chunkBlocks, len(set)); w++ {
			w := w
			if c.q.descending {
				w = len(set) - 1 - w
			}
			// Without those that have gone since: they stand nowhere.
			if set[w] &= c.shelf.used[w]; set[w] != 0 {
				set[w] = keep(&c.shelf.blocks[w], set[w])
			}
		}
		c.s.catalog.mu.RUnlock()
	}
}

// finder adds to a set the secrets that one value of a filter finds. It leaves out some, and
// returns false, if to find all would take too long. If sure is asked for, it rather leaves
// some out than adds others.
type finder func(out numberSet, value *filterValue, sure bool) (whole bool)

// narrow leaves in the set what a filter may keep.
func (c *candidates) narrow(part *filterPart) {
	var find finder
	plain, negated := part.plain, part.negated
	switch part.key {
	case "name":
		find = c.named
		plain, negated = outermost(plain), outermost(negated)
	case "tag-key", "tag-value":
		texts := func(sh *shelf) joinable { return sh.tagKeys }
		if part.key == "tag-value" {
			texts = func(sh *shelf) joinable { return sh.tagValues }
		}
		find = func(out numberSet, value *filterValue, _ bool) bool { return c.join(out, texts, value.text) }
		plain, negated = outermost(plain), outermost(negated)
	case "description":
		find = c.described
	case "all":
		find = c.anywhere
	default: // primary-region and owning-service, which no secret has
		find = func(numberSet, *filterValue, bool) bool { return true }
	}
	// Without all that a plain value finds, nothing can be ruled out. What negated ones find
	// is, as far as it is known.
	if len(plain) > 0 {
		found, whole := make(numberSet, len(c.set)), true
		for i := range plain {
			whole = whole && find(found, &plain[i], false)
		}
		if whole {
			c.set.and(found)
		}
	}
	if len(negated) > 0 {
		found := make(numberSet, len(c.set))
		for i := range negated {
			find(found, &negated[i], true)
		}
		c.set.andNot(found)
	}
}

// outermost leaves out values that begin with another one.
func outermost(values []filterValue) (some []filterValue) {
	sorted := slices.SortedFunc(slices.Values(values), func(a, b filterValue) int { return strings.Compare(a.text, b.text) })
	for _, v := range sorted {
		if last := len(some) - 1; last < 0 || !strings.HasPrefix(v.text, some[last].text) {
			some = append(some, v)
		}
	}
	return some
}

// join adds to a set what texts have that begin with a prefix. It stops when that takes too
// long.
func (c *candidates) join(out numberSet, texts func(*shelf) joinable, prefix string) (whole bool) {
	for j := (joined{next: prefix, more: true}); j.more; {
		if c.spent() {
			return false
		}
		c.s.catalog.mu.RLock()
		j = texts(c.shelf).join(out, prefix, j.next, chunkWork)
		c.s.catalog.mu.RUnlock()
		c.work += j.work
	}
	return true
}

// named finds names with a prefix. Only at the edges of their part of the order of names are
// names looked at, which lie scattered in memory.
func (c *candidates) named(out numberSet, value *filterValue, _ bool) (whole bool) {
	prefix := value.text
	if c.names == nil {
		return c.join(out, func(sh *shelf) joinable { return sh.names }, prefix)
	}
	if c.spent() {
		return false
	}
	r := c.names
	from, sureFrom, sureTo, to := r.beginning(prefix)
	own := make(numberSet, len(out))
	var edges []uint32
	for at := from; at < to; at++ {
		if at >= sureFrom && at < sureTo {
			own.addOne(r.sorted[at])
		} else {
			edges = append(edges, r.sorted[at])
		}
	}
	if c.movedOfNames != nil {
		own.andNot(c.movedOfNames)
		c.movedOfNames.each(func(n uint32) { edges = append(edges, n) })
	}
	for some := range slices.Chunk(edges, edgeNumbers) {
		c.s.catalog.mu.RLock()
		for _, n := range some {
			if b, i := c.shelf.at(n); strings.HasPrefix(b.names.at(i), prefix) {
				own.addOne(n)
			}
		}
		c.s.catalog.mu.RUnlock()
	}
	out.or(own)
	c.work += (to-from)/4 + len(edges)*textWork
	return true
}
