package secrets

import (
	"math/bits"
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

	// sought are the marks of which a candidate has one of each, if the set has yet to be
	// narrowed to those; tested is how many were tested one by one.
	sought [][]marks
	tested int

	// The order asked for and that of names, nil if the catalogue has yet to sort them, and
	// what stands elsewhere by now, nil for nothing. restless is what of the set does.
	ranking, names                *ranking
	moved, movedOfNames, restless numberSet
}

const (
	// chunkBlocks is how many blocks of a shelf are looked through at a time, which takes well
	// below a millisecond: changes have to wait for it. In the same way, chunkNumbers bounds
	// what is taken from the tags at a time.
	chunkBlocks  = 128
	chunkNumbers = 1 << 15
	// textWork is what a text of the catalogue costs that a prefix selects, testWork what a
	// candidate costs whose marks are tested.
	textWork, testWork = 6, 6
	// fewCandidates are sorted more quickly than met on the way through all secrets. A multiple
	// of that is tested for marks at once, which takes well below a millisecond. Of more, those
	// that come first are tested one by one, up to another multiple: where few have the marks,
	// to test all in the order in which they lie in memory is quicker.
	fewCandidates       = 512
	fewMarks, mostTests = 16, 32
	// edgeNumbers is how many names are compared at a time.
	edgeNumbers = 1 << 10
)

// spent says that the catalogue has been asked enough for one page. What is left of the
// filters is then up to the records.
func (c *candidates) spent(more int) bool { return c.work+more > 2*c.q.work }

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
		c.narrowByPrefix(&q.filter[i])
	}
	// The others take longer, the fewer are left the less so.
	for i := range q.filter {
		c.narrowByWords(&q.filter[i])
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

func (c *candidates) narrowByPrefix(part *filterPart) {
	if c.set.count() == 0 {
		return
	}
	var texts func(*shelf) terms
	names := part.key == "name"
	switch part.key {
	case "name":
		texts = func(sh *shelf) terms { return sh.names }
	case "tag-key":
		texts = func(sh *shelf) terms { return sh.tagKeys }
	case "tag-value":
		texts = func(sh *shelf) terms { return sh.tagValues }
	case "primary-region", "owning-service":
		if len(part.plain) > 0 { // no secret has either
			clear(c.set)
		}
		return
	default:
		return
	}
	// Without all that a plain value selects, nothing can be ruled out. What negated ones
	// select is, as far as it is known.
	if len(part.plain) > 0 {
		if set, whole := c.beginning(texts, names, part.plain); whole {
			c.set.and(set)
		}
	}
	if len(part.negated) > 0 {
		set, _ := c.beginning(texts, names, part.negated)
		c.set.andNot(set)
	}
}

// beginning returns the secrets that have a text with one of the prefixes. whole is false
// if finding all of them would have taken too long.
func (c *candidates) beginning(texts func(*shelf) terms, names bool, values []filterValue) (out numberSet, whole bool) {
	out = make(numberSet, len(c.set))
	prefixes := make([]string, len(values))
	for i := range values {
		prefixes[i] = values[i].text
	}
	slices.Sort(prefixes)
	passed := "" // the last one that was not within another
	for i, prefix := range prefixes {
		if i > 0 && strings.HasPrefix(prefix, passed) {
			continue
		}
		passed = prefix
		for from, more := prefix, c.shelf != nil; more; {
			if c.spent(0) {
				return out, false
			}
			if names && c.names != nil {
				c.named(out, prefix)
				break
			}
			more = false
			taken, visited := 0, 0
			c.s.catalog.mu.RLock()
			texts(c.shelf).numbers.Ascend(from, func(text string, p posting) bool {
				if !strings.HasPrefix(text, prefix) {
					return false
				}
				if taken > chunkNumbers {
					from, more = text, true
					return false
				}
				visited++
				taken += out.addAll(p)
				return true
			})
			c.s.catalog.mu.RUnlock()
			c.work += visited*textWork + taken/4
		}
	}
	return out, true
}

// named adds the secrets whose names begin with a prefix. Only at the edges of their part
// of the order of names are names looked at, which lie scattered in memory.
func (c *candidates) named(out numberSet, prefix string) {
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
			if b, i := c.shelf.at(n); strings.HasPrefix(b.names[i], prefix) {
				own.addOne(n)
			}
		}
		c.s.catalog.mu.RUnlock()
	}
	for w := range own {
		out[w] |= own[w]
	}
	c.work += (to-from)/4 + len(edges)*textWork
}

func (c *candidates) narrowByWords(part *filterPart) {
	if part.key != "all" && part.key != "description" {
		return
	}
	if len(part.plain) == 0 {
		return // what has all the marks of a negated value may yet not have its words
	}
	var sought []marks
	for i := range part.plain {
		if len(part.plain[i].words.words) > 0 { // else it finds nothing
			sought = append(sought, part.plain[i].words.marks())
		}
	}
	if len(sought) == 0 {
		clear(c.set)
		return
	}
	c.sought = append(c.sought, sought)
	if c.ranking == nil || c.set.count() <= fewMarks*c.q.few {
		c.narrowByMarks()
	}
}

// narrowByMarks leaves in the set what has the marks sought, unless that would take too
// long.
func (c *candidates) narrowByMarks() {
	each := 0
	for _, some := range c.sought {
		each += len(some)
	}
	if c.spent(c.set.count() * each) {
		return
	}
	c.eachBlock(c.set, func(b *block, word uint64) (kept uint64) {
		for rest := word; rest != 0; rest &= rest - 1 {
			if i := bits.TrailingZeros64(rest); c.marked(b, i) {
				kept |= 1 << i
			}
			c.work += each
		}
		return kept
	})
	c.sought = nil
}

// marked reports whether a secret has what marks are sought.
func (c *candidates) marked(b *block, i int) bool {
	for _, some := range c.sought {
		if !b.marks[i].hasAny(some) {
			return false
		}
	}
	return true
}
