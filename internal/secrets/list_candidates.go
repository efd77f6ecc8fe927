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
	// loose says that there is more to decide than the catalogue knows, or was asked, so that
	// most of the candidates may come to nothing.
	loose bool
}

const (
	// chunkBlocks is how many blocks of a shelf are looked through at a time, which takes well
	// below a millisecond: changes have to wait for it. In the same way, chunkNumbers bounds
	// what is taken from the tags at a time.
	chunkBlocks  = 128
	chunkNumbers = 1 << 15
	// maxPortion bounds how many candidates are sorted at a time.
	maxPortion = 1 << 14
	// textWork is what a text of the catalogue costs that a prefix selects.
	textWork = 6
)

// spent says that the catalogue has been asked enough for one page. What is left of the
// filters is then up to the records.
func (c *candidates) spent(more int) bool { return c.work+more > 2*c.q.work }

// candidates asks the catalogue. nil says that it cannot tell.
func (s *Service) candidates(v *store.Snap, q *secretQuery, o order) *candidates {
	c := &candidates{s: s, v: v, q: q, order: o, loose: q.see != nil}
	s.catalog.mu.RLock()
	if !s.catalog.ready {
		s.catalog.mu.RUnlock()
		return nil
	}
	if c.shelf = s.catalog.shelves[q.scope]; c.shelf != nil {
		c.all = c.shelf.count
		c.set = c.members()
	}
	s.catalog.mu.RUnlock()
	for i := range q.filter {
		c.narrowByPrefix(&q.filter[i])
	}
	// The others take longer, the fewer are left the less so.
	for i := range q.filter {
		c.narrowByWords(&q.filter[i])
	}
	c.count = c.set.count()
	return c
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

// eachBlock replaces each word of the set that is not empty by what keep makes of it. It
// goes the way of the list.
func (c *candidates) eachBlock(keep func(b *block, word uint64) uint64) {
	for from := 0; from < len(c.set); from += chunkBlocks {
		c.s.catalog.mu.RLock()
		for w := from; w < min(from+chunkBlocks, len(c.set)); w++ {
			w := w
			if c.q.descending {
				w = len(c.set) - 1 - w
			}
			// Without those that have gone since: they stand nowhere.
			if c.set[w] &= c.shelf.used[w]; c.set[w] != 0 {
				c.set[w] = keep(&c.shelf.blocks[w], c.set[w])
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
		if set, whole := c.beginning(texts, part.plain); whole {
			c.set.and(set)
		}
	}
	if len(part.negated) > 0 {
		set, _ := c.beginning(texts, part.negated)
		c.set.andNot(set)
	}
}

// beginning returns the secrets that have a text with one of the prefixes. whole is false
// if finding all of them would have taken too long.
func (c *candidates) beginning(texts func(*shelf) terms, values []filterValue) (out numberSet, whole bool) {
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
				c.loose = true
				return out, false
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

func (c *candidates) narrowByWords(part *filterPart) {
	if part.key != "all" && part.key != "description" {
		return
	}
	c.loose = true
	if len(part.plain) == 0 {
		return // what has all the marks of a negated value may yet not have its words
	}
	var sought []marks
	for i := range part.plain {
		if len(part.plain[i].words.words) > 0 { // else it finds nothing
			sought = append(sought, part.plain[i].words.marks())
		}
	}
	if c.spent(c.set.count() * len(sought)) {
		return
	}
	c.narrow(func(b *block, i int) bool {
		for j := range sought {
			if b.marks[i].has(&sought[j]) {
				return true
			}
		}
		return false
	}, max(1, len(sought)))
}

// narrow leaves in the set what keep keeps, which is so much work for each.
func (c *candidates) narrow(keep func(b *block, i int) bool, work int) {
	c.eachBlock(func(b *block, word uint64) (kept uint64) {
		for rest := word; rest != 0; rest &= rest - 1 {
			if i := bits.TrailingZeros64(rest); keep(b, i) {
				kept |= 1 << i
			}
			c.work += work
		}
		return kept
	})
}

// candidate is a secret that the catalogue has at a place.
type candidate struct {
	place
	id UID
}

// firstByName returns the first candidates by name after a position, at most so many. Names
// are in order already, and to pass those of others touches nothing but numbers.
func (c *candidates) firstByName(after string, limit int) (found []candidate) {
	from, more := after, c.shelf != nil
	visited := 0
	visit := func(name string, p posting) bool {
		// Names are not looked at, which would take longer than all else, but for the first: it
		// may be the last one of before.
		if visited++; visited == 1 && from != "" && name == from {
			return true
		}
		if visited == chunkNumbers {
			from, more = name, true
		}
		p.each(func(n uint32) {
			if c.set.has(n) {
				b, i := c.shelf.at(n)
				found = append(found, candidate{place{name: name}, b.uids[i]})
			}
		})
		return len(found) < limit && !more
	}
	for more {
		more, visited = false, 0
		c.s.catalog.mu.RLock()
		switch names := c.shelf.names.numbers; {
		case !c.q.descending:
			names.Ascend(from, visit)
		case from == "":
			names.Reverse(visit)
		default:
			names.Descend(from, visit)
		}
		c.s.catalog.mu.RUnlock()
	}
	return found[:min(limit, len(found))]
}

// first returns the first candidates after a position, at most so many.
func (c *candidates) first(after string, limit int) (found []candidate) {
	if c.order == byName && c.count > c.all/256 {
		return c.firstByName(after, limit)
	}
	start, bounded := c.order.placeAt(after)
	bounded = bounded && after != ""
	var last *place // once there are enough: what stands behind it is of no interest
	sortFirst := func() {
		slices.SortFunc(found, func(a, b candidate) int {
			if c.q.descending {
				return b.compare(&a.place)
			}
			return a.compare(&b.place)
		})
		if len(found) >= limit {
			found = found[:limit]
			last = &place{}
			*last = found[limit-1].place
		}
	}
	c.eachBlock(func(b *block, word uint64) uint64 {
		if c.outside(b, bounded, start.at, last) {
			return word
		}
		for rest := word; rest != 0; rest &= rest - 1 {
			i := bits.TrailingZeros64(rest)
			p := c.placeIn(b, i)
			if bounded && !c.q.before(&start, &p) || last != nil && !c.q.before(&p, last) {
				continue
			}
			if found = append(found, candidate{p, b.uids[i]}); len(found) >= 2*limit {
				sortFirst()
			}
		}
		return word
	})
	sortFirst()
	return found
}

// outside says that nothing in a block can stand between two places in the order of
// creation.
func (c *candidates) outside(b *block, bounded bool, start Instant, last *place) bool {
	switch {
	case c.order != byCreated && c.order != byUnread:
		return false
	case c.q.descending:
		return bounded && b.first > start || last != nil && b.last < last.at
	}
	return bounded && b.last < start || last != nil && b.first > last.at
}

func (c *candidates) placeIn(b *block, i int) place {
	switch c.order {
	case byName:
		return place{name: b.names[i]}
	case byChanged:
		return place{at: b.changed[i], uid: b.uids[i]}
	case byRead:
		return place{at: Instant(b.days[i]), uid: b.uids[i]}
	}
	return place{at: b.created[i], uid: b.uids[i]}
}

// next returns the first candidates after a position, at most so many, with their records
// in the snapshot. bound is the position up to which none is missing; more says that some
// stand beyond it. ok is false when the catalogue cannot tell any more.
func (c *candidates) next(after string, limit int) (spots []spot, bound string, more, ok bool) {
	places := c.first(after, limit)
	c.s.catalog.mu.RLock()
	changed, ok := c.s.catalog.recent.since(c.v.Revision())
	c.s.catalog.mu.RUnlock()
	if !ok {
		return nil, "", false, false
	}
	var last place
	if more = len(places) == limit; more {
		last = places[limit-1].place
		bound = c.order.position(&last)
	}
	for i := range places {
		p := &places[i]
		if changed[p.id] {
			continue
		}
		if sec, found := c.s.secrets.Get(c.v, store.Key{Scope: c.q.scope, Parent: p.id.String()}); found {
			spots = append(spots, spot{p.place, sec})
		}
	}
	// All that has changed stands where the snapshot shows it, whatever the catalogue said.
	start, bounded := c.order.placeAt(after)
	bounded = bounded && after != ""
	for uid := range changed {
		sec, found := c.s.secrets.Get(c.v, store.Key{Scope: c.q.scope, Parent: uid.String()})
		if !found {
			continue
		}
		at, in := c.s.placeOf(c.v, c.order, sec)
		if !in || bounded && !c.q.before(&start, &at) || more && c.q.before(&last, &at) {
			continue
		}
		spots = append(spots, spot{at, sec})
	}
	if len(changed) > 0 {
		c.q.sort(spots)
	}
	return spots, bound, more, true
}
