package trail

import (
	"slices"
	"sort"
)

// index is what a search asks, in memory or in a file. Every error is errIndex or one
// of reading the file.
type index interface {
	info() header
	allPlaces() ([]place, error)
	allBlocks() ([]block, error)
	// weigh says how long the list of a key is, and whether there is one.
	weigh(k uint64) (bytes int, found bool, err error)
	// list appends the lines of a key, ascending.
	list(dst []uint32, k uint64) ([]uint32, error)
	// listID appends the lines whose event id may have the hash.
	listID(dst []uint32, hash uint32) ([]uint32, error)
}

// fewLines is how many lines are rather read than compared with another list.
const fewLines = 32

// candidates returns the lines, ascending, among which are all that are asked for.
// Blocks are nil when there is none.
func candidates(x index, q *query) (lines []uint32, blocks []block, err error) {
	h := x.info()
	if h.lines == 0 || int64(h.latest) < q.from || int64(h.earliest) > q.to {
		return nil, nil, nil
	}
	hash := hasher{seed: h.seed}
	if q.EventID != "" {
		lines, err = x.listID(nil, hash.id([]byte(q.EventID)))
	} else {
		lines, err = q.listed(x, &hash)
	}
	if err != nil || len(lines) == 0 {
		return nil, nil, err
	}
	if blocks, err = x.allBlocks(); err != nil {
		return nil, nil, err
	}
	return q.inTime(lines, blocks), blocks, nil
}

func (q *query) listed(x index, hash *hasher) ([]uint32, error) {
	places := []place{{q.Account, q.Region}}
	if q.Account == "" || q.Region == "" {
		all, err := x.allPlaces()
		if err != nil {
			return nil, err
		}
		places = slices.DeleteFunc(all, func(p place) bool {
			return q.Account != "" && q.Account != p.account || q.Region != "" && q.Region != p.region
		})
	}
	var lines []uint32
	for _, p := range places {
		some, err := intersect(x, q.terms(hash, p))
		if err != nil {
			return nil, err
		}
		lines = append(lines, some...)
	}
	if len(places) > 1 {
		slices.Sort(lines)
		lines = slices.Compact(lines)
	}
	return lines, nil
}

// intersect returns the lines that every term has, or somewhat more.
func intersect(x index, terms [][]uint64) ([]uint32, error) {
	type weighed struct {
		keys  []uint64
		bytes int
	}
	var order []weighed
	for _, keys := range terms {
		w := weighed{}
		for _, k := range keys {
			n, found, err := x.weigh(k)
			if err != nil {
				return nil, err
			}
			if found {
				w.keys = append(w.keys, k)
				w.bytes += n
			}
		}
		if w.keys == nil {
			return nil, nil
		}
		order = append(order, w)
	}
	slices.SortStableFunc(order, func(a, b weighed) int { return a.bytes - b.bytes })
	var lines []uint32
	for i, w := range order {
		if i > 0 && len(lines) <= fewLines {
			break
		}
		var list []uint32
		for _, k := range w.keys {
			var err error
			if list, err = x.list(list, k); err != nil {
				return nil, err
			}
		}
		if len(w.keys) > 1 {
			slices.Sort(list)
			list = slices.Compact(list)
		}
		if i == 0 {
			lines = list
		} else {
			lines = common(lines, list)
		}
	}
	return lines, nil
}

// common keeps of a what is in b, too; both ascend.
func common(a, b []uint32) []uint32 {
	kept := a[:0]
	for _, n := range a {
		for len(b) > 0 && b[0] < n {
			b = b[1:]
		}
		if len(b) == 0 {
			break
		}
		if b[0] == n {
			kept = append(kept, n)
		}
	}
	return kept
}

// inTime drops lines of blocks in which nothing is of the time that is asked for.
func (q *query) inTime(lines []uint32, blocks []block) []uint32 {
	if q.from <= 0 && q.to == maxTime {
		return lines
	}
	kept := lines[:0]
	i := 0
	for _, n := range lines {
		for i+1 < len(blocks) && blocks[i+1].line <= n {
			i++
		}
		if int64(blocks[i].maxTime) >= q.from && int64(blocks[i].minTime) <= q.to {
			kept = append(kept, n)
		}
	}
	return kept
}

// blockOf finds the block of a line.
func blockOf(blocks []block, n uint32) int {
	return sort.Search(len(blocks), func(i int) bool { return blocks[i].line > n }) - 1
}
