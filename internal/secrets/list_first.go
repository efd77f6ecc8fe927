package secrets

import (
	"math/bits"
	"slices"
)

const (
	// scanBatch is how many candidates are looked at in a row while changes wait.
	scanBatch = 512
	// stepsPerWork is how many numbers are passed for one piece of work.
	stepsPerWork = 4
	// stepsPerLookup is how many are passed in the time in which one candidate's place is
	// looked up.
	stepsPerLookup = 4
)

// candidate is a secret that the catalogue has at a place.
type candidate struct {
	place
	id UID
}

// firsts are candidates that come next: all that stand before the bound, if there is one.
// Of what has changed since the snapshot was taken, they may have any or none.
type firsts struct {
	found []candidate
	bound place
	more  bool // there is a bound
}

// first returns the first candidates after a place (nil: all), about so many at most. ok is
// false when the catalogue cannot tell any more.
func (c *candidates) first(start *place, limit int) (f firsts, ok bool) {
	if c.ranking == nil || c.count <= c.q.few {
		return c.pick(c.set, start, nil, limit), true
	}
	if f, ok = c.scan(start, limit); !ok {
		return f, false
	}
	var end *place
	if f.more {
		end = &f.bound
	}
	// What has moved since the order was made stands anywhere among them.
	moved := c.pick(c.restless, start, end, limit)
	f.found = append(f.found, moved.found...)
	if moved.more {
		f.bound, f.more = moved.bound, true
	}
	return f, true
}

// scan passes over the order asked for.
func (c *candidates) scan(start *place, limit int) (f firsts, ok bool) {
	sorted := c.ranking.sorted
	at, step, end := 0, 1, len(sorted)
	if c.q.descending {
		at, step, end = len(sorted)-1, -1, -1
	}
	if start != nil {
		at = c.ranking.from(start, c.q.descending)
	}
	batch := make([]uint32, 0, scanBatch)
	for steps := 0; ; steps = 0 {
		size := min(scanBatch, limit+headEvery)
		batch = batch[:0]
		for patience := c.count * stepsPerLookup; at != end && len(batch) < size && steps < patience; at += step {
			steps++
			if n := sorted[at]; c.set.has(n) && !c.moved.has(n) {
				batch = append(batch, n)
			}
		}
		if at != end && len(batch) < size {
			batch, at = c.lookUp(batch, at, step, end, size)
			steps += c.count * stepsPerLookup
		}
		c.work += steps / stepsPerWork
		c.s.catalog.mu.RLock()
		changed, known := c.s.catalog.recent.since(c.v.Revision())
		// Where a changed secret stands now says nothing of where it was met.
		standing := func(n uint32) (found candidate, ok bool) {
			b, i := c.shelf.at(n)
			if len(changed) > 0 && changed[b.uids[i]] {
				return candidate{}, false
			}
			found = candidate{b.placeIn(c.order.rank(), int(i)), b.uids[i]}
			return found, start == nil || c.q.before(start, &found.place)
		}
		for i, n := range batch {
			if !known {
				break
			}
			if found, ok := standing(n); ok {
				f.found = append(f.found, found)
			}
			if len(f.found) == limit {
				f.bound, f.more = f.found[limit-1].place, i < len(batch)-1 || at != end
				break
			}
		}
		c.s.catalog.mu.RUnlock()
		if !known || f.more || at == end {
			return f, known
		}
	}
}

// lookUp adds to a batch, up to a size, the candidates that passing over the order would
// meet from a place in it on, by looking each candidate's place up: less work where they are
// few and stand far away. It returns where to go on.
func (c *candidates) lookUp(batch []uint32, at, step, end, size int) ([]uint32, int) {
	size -= len(batch)
	var ahead []int // how far away some stand, the nearest among them
	most := max(at-end, end-at)
	c.set.each(func(n uint32) {
		if int(n) >= len(c.ranking.places) || c.moved.has(n) {
			return
		}
		away := (int(c.ranking.places[n]) - 1 - at) * step
		if c.ranking.places[n] == 0 || away < 0 || away >= most {
			return
		}
		if ahead = append(ahead, away); len(ahead) == 2*size {
			slices.Sort(ahead)
			ahead = ahead[:size]
			most = ahead[size-1]
		}
	})
	slices.Sort(ahead)
	ahead = ahead[:min(size, len(ahead))]
	for _, away := range ahead {
		batch = append(batch, c.ranking.sorted[at+away*step])
	}
	if len(ahead) < size {
		return batch, end
	}
	return batch, at + (ahead[size-1]+1)*step
}

// pick sorts the candidates of a set that stand between two places, or at the second one.
func (c *candidates) pick(set numberSet, start, end *place, limit int) (f firsts) {
	last := end // what stands behind it is of no interest
	sortFirst := func() {
		slices.SortFunc(f.found, func(a, b candidate) int {
			if c.q.descending {
				return b.compare(&a.place)
			}
			return a.compare(&b.place)
		})
		if len(f.found) >= limit {
			f.found = f.found[:limit]
			f.bound, f.more = f.found[limit-1].place, true
			last = &f.bound
		}
	}
	c.eachBlock(set, func(b *block, word uint64) uint64 {
		if c.outside(b, start, last) {
			return word
		}
		for rest := word; rest != 0; rest &= rest - 1 {
			i := bits.TrailingZeros64(rest)
			c.work += sortWork
			p := b.placeIn(c.order.rank(), i)
			if start != nil && !c.q.before(start, &p) || last != nil && c.q.before(last, &p) {
				continue
			}
			if f.found = append(f.found, candidate{p, b.uids[i]}); len(f.found) >= 2*limit {
				sortFirst()
			}
		}
		return word
	})
	sortFirst()
	return f
}

// outside says that nothing in a block can stand between two places in the order of
// creation.
func (c *candidates) outside(b *block, start, last *place) bool {
	switch {
	case c.order != byCreated && c.order != byUnread:
		return false
	case c.q.descending:
		return start != nil && b.first > start.at || last != nil && b.last < last.at
	}
	return start != nil && b.last < start.at || last != nil && b.first > last.at
}

// next returns the first candidates after a position, about so many, with their records
// in the snapshot. bound is the position up to which none is missing; more says that some
// may stand beyond it. ok is false when the catalogue cannot tell any more.
func (c *candidates) next(after string, limit int) (spots []spot, bound string, more, ok bool) {
	var start *place
	if p, placed := c.order.placeAt(after); placed && after != "" {
		start = &p
	}
	f, ok := c.first(start, limit)
	if !ok {
		return nil, "", false, false
	}
	c.s.catalog.mu.RLock()
	changed, ok := c.s.catalog.recent.since(c.v.Revision())
	c.s.catalog.mu.RUnlock()
	if !ok {
		return nil, "", false, false
	}
	if f.more {
		bound = c.order.position(&f.bound)
	}
	beyond := func(p *place) bool { return f.more && c.q.before(&f.bound, p) }
	for i := range f.found {
		p := &f.found[i]
		if changed[p.id] || beyond(&p.place) {
			continue
		}
		if sec := c.s.byUID(c.v, c.q.scope, p.id); sec != nil {
			spots = append(spots, spot{p.place, sec})
		}
	}
	// All that has changed stands where the snapshot shows it, whatever the catalogue said.
	for uid := range changed {
		sec := c.s.byUID(c.v, c.q.scope, uid)
		if sec == nil {
			continue
		}
		at, in := c.s.placeOf(c.v, c.order, sec)
		if !in || start != nil && !c.q.before(start, &at) || beyond(&at) {
			continue
		}
		spots = append(spots, spot{at, sec})
	}
	c.q.sort(spots)
	return spots, bound, f.more, true
}
