package secrets

import (
	"context"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
)

// ranking is the numbers of a shelf in one order, as they stood when they were sorted: to
// find the first candidates after a place, it is passed over from there, and a bit looked at
// for each number. Nothing moves within it. Secrets that come, go or move afterwards are
// noted, for lists to consider apart, and from time to time it is made anew.
type ranking struct {
	sorted []uint32 // fixed
	places []uint32 // fixed; by number, its place among the sorted plus one, 0 if it has none
	heads  []place  // fixed; where every headEvery-th of the sorted numbers stood

	moved  numberSet   // guarded by the catalogue's mu; not where they were sorted in, if anywhere
	count  int         // guarded by the catalogue's mu; of moved
	wanted atomic.Bool // a list has had to consider some that have moved
}

const (
	headEvery = 64
	// rankedPiece is how many names are taken from the catalogue at a time.
	rankedPiece = 1 << 13
)

// rank says which ranking an order goes by.
type rank int

const (
	rankName rank = iota
	rankCreated
	rankChanged
	rankDay // of those that have been read
	ranks
)

func (o order) rank() rank {
	switch o {
	case byName:
		return rankName
	case byChanged:
		return rankChanged
	case byRead:
		return rankDay
	}
	return rankCreated
}

// rankings are those of a shelf: each as it is used (nil before it was first made), and
// while it is being made anew, what moves meanwhile.
type rankings struct {
	used, coming [ranks]*ranking
}

// move notes that a number stands elsewhere, or nowhere, or is another secret's.
func (r *rankings) move(k rank, n uint32) {
	r.used[k].move(n)
	r.coming[k].move(n)
}

func (r *rankings) moveAll(n uint32) {
	for k := range ranks {
		r.move(k, n)
	}
}

func (r *ranking) move(n uint32) {
	if r != nil && !r.moved.has(n) {
		r.moved = r.moved.with(n)
		r.count++
	}
}

// stale says that so many have moved since that it takes lists long to consider them.
func (r *ranking) stale() bool {
	return r == nil || r.count > 64+len(r.sorted)/64 && r.wanted.Load()
}

// from returns where to begin in the sorted numbers to find what stands behind a place in
// either direction. Up to headEvery that stand before it come first.
func (r *ranking) from(start *place, descending bool) int {
	if descending {
		behind := sort.Search(len(r.heads), func(i int) bool { return r.heads[i].compare(start) >= 0 })
		return min(len(r.sorted), behind*headEvery) - 1
	}
	behind := sort.Search(len(r.heads), func(i int) bool { return r.heads[i].compare(start) > 0 })
	return max(0, behind-1) * headEvery
}

// beginning returns the part of a ranking by name that has all names with a prefix, and of
// that the part that surely has no other.
func (r *ranking) beginning(prefix string) (from, sureFrom, sureTo, to int) {
	first := sort.Search(len(r.heads), func(i int) bool { return r.heads[i].name >= prefix })
	behind := first + sort.Search(len(r.heads)-first, func(i int) bool { return !strings.HasPrefix(r.heads[first+i].name, prefix) })
	return max(0, first-1) * headEvery, first * headEvery, (behind - 1) * headEvery, min(len(r.sorted), behind*headEvery)
}

// ranked is a number with where it stands.
type ranked struct {
	place
	n uint32
}

// rankAnew makes the rankings that are missing or have become stale.
func (c *catalog) rankAnew(ctx context.Context) {
	type due struct {
		sh *shelf
		k  rank
	}
	var all []due
	c.mu.RLock()
	for _, sh := range c.shelves {
		for k, r := range sh.ranks.used {
			if r.stale() {
				all = append(all, due{sh, rank(k)})
			}
		}
	}
	c.mu.RUnlock()
	for _, d := range all {
		if ctx.Err() != nil {
			return
		}
		coming := c.beginRank(d.sh, d.k)
		c.endRank(d.sh, d.k, coming, c.sortedBy(d.sh, d.k))
	}
}

// beginRank makes a shelf note what moves from now on: it is not where sortedBy finds it.
func (c *catalog) beginRank(sh *shelf, k rank) (coming *ranking) {
	coming = new(ranking)
	c.mu.Lock()
	defer c.mu.Unlock()
	sh.ranks.coming[k] = coming
	return coming
}

// sortedBy sorts the numbers of a shelf while changes go on: they wait no longer for it
// than for a list.
func (c *catalog) sortedBy(sh *shelf, k rank) []ranked {
	c.mu.RLock()
	room := sh.count
	if k == rankDay {
		room = sh.read.count()
	}
	c.mu.RUnlock()
	// With room for some that come meanwhile: to grow it is to copy it, under the lock.
	all := make([]ranked, 0, room+room/16)
	if k == rankName {
		return c.byName(sh, all)
	}
	return c.byTime(sh, k, all)
}

// endRank puts a ranking to use.
func (c *catalog) endRank(sh *shelf, k rank, coming *ranking, all []ranked) {
	coming.sorted = make([]uint32, len(all))
	length := uint32(0)
	for i := range all {
		length = max(length, all[i].n+1)
	}
	coming.places = make([]uint32, length)
	for i := range all {
		coming.sorted[i] = all[i].n
		coming.places[all[i].n] = uint32(i + 1)
		if i%headEvery == 0 {
			coming.heads = append(coming.heads, all[i].place)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if sh.ranks.coming[k] == coming {
		sh.ranks.used[k], sh.ranks.coming[k] = coming, nil
	}
}

// byName takes the names as they are sorted already.
func (c *catalog) byName(sh *shelf, all []ranked) []ranked {
	for from, more := "", true; more; {
		more = false
		taken := 0
		c.mu.RLock()
		sh.names.ascend(from, func(name, numbers []byte) bool {
			if taken == rankedPiece {
				from, more = string(name), true
				return false
			}
			taken++
			eachNumber(numbers, func(n uint32) {
				b, i := sh.at(n)
				all = append(all, ranked{b.placeIn(rankName, int(i)), n})
			})
			return true
		})
		c.mu.RUnlock()
	}
	return all
}

func (c *catalog) byTime(sh *shelf, k rank, all []ranked) []ranked {
	for from, more := 0, true; more; from += chunkBlocks {
		c.mu.RLock()
		for w := from; w < min(from+chunkBlocks, len(sh.blocks)); w++ {
			b, word := &sh.blocks[w], sh.used[w]
			if k == rankDay {
				word = sh.read[w]
			}
			numberSet{word}.each(func(i uint32) {
				all = append(all, ranked{b.placeIn(k, int(i)), uint32(w)*64 + i})
			})
		}
		more = from+chunkBlocks < len(sh.blocks)
		c.mu.RUnlock()
	}
	slices.SortFunc(all, func(a, b ranked) int { return a.compare(&b.place) })
	return all
}

// placeIn is where one of the block's secrets stands.
func (b *block) placeIn(k rank, i int) place {
	switch k {
	case rankName:
		return place{name: b.names.at(uint32(i))}
	case rankChanged:
		return place{at: b.changed[i], uid: b.uids[i]}
	case rankDay:
		return place{at: Instant(b.days[i]), uid: b.uids[i]}
	}
	return place{at: b.created[i], uid: b.uids[i]}
}
