package compliance

import (
	"container/heap"
	"iter"

	"arca/internal/secrets"
)

// seen is what is kept of a secret.
type seen struct {
	uid    secrets.UID
	number uint32
	scope  uint32 // number of its scope
	pass   uint32
	states states
	live   bool // false: nobody's
	at     int  // in the heap; -1 outside
	// next is when time alone changes a state; 0 for never.
	next secrets.Instant
}

// sightings are all secrets that were looked at, by uid and by when a state changes by
// itself. They refer to each other by number, since with pointers every garbage collection
// would follow three for each of very many secrets.
type sightings struct {
	numbers map[secrets.UID]uint32
	rows    []seen
	free    []uint32
	due     []uint32 // a heap by next
}

func newSightings() *sightings { return &sightings{numbers: make(map[secrets.UID]uint32)} }

// of returns what is kept of a secret until another is added, nil if nothing is.
func (s *sightings) of(uid secrets.UID) *seen {
	if n, ok := s.numbers[uid]; ok {
		return &s.rows[n]
	}
	return nil
}

func (s *sightings) add(uid secrets.UID) *seen {
	n := uint32(len(s.rows))
	if last := len(s.free) - 1; last >= 0 {
		n, s.free = s.free[last], s.free[:last]
	} else {
		s.rows = append(s.rows, seen{})
	}
	s.numbers[uid] = n
	s.rows[n] = seen{uid: uid, number: n, live: true, at: -1}
	return &s.rows[n]
}

func (s *sightings) remove(k *seen) {
	s.plan(k, 0)
	delete(s.numbers, k.uid)
	s.free = append(s.free, k.number)
	*k = seen{number: k.number, at: -1}
}

// all visits what is kept of every secret; it may be removed meanwhile.
func (s *sightings) all() iter.Seq[*seen] {
	return func(yield func(*seen) bool) {
		for i := range s.rows {
			if s.rows[i].live && !yield(&s.rows[i]) {
				return
			}
		}
	}
}

// plan puts a secret where the heap has it looked at at a time; 0 takes it out.
func (s *sightings) plan(k *seen, next secrets.Instant) {
	k.next = next
	h := (*dueHeap)(s)
	switch {
	case next == 0 && k.at >= 0:
		heap.Remove(h, k.at)
	case next != 0 && k.at >= 0:
		heap.Fix(h, k.at)
	case next != 0:
		heap.Push(h, k.number)
	}
}

// firstDue is the secret whose state is the first to change by itself, nil if none does.
func (s *sightings) firstDue() *seen {
	if len(s.due) == 0 {
		return nil
	}
	return &s.rows[s.due[0]]
}

// dueHeap is sightings for package heap.
type dueHeap sightings

func (h *dueHeap) row(i int) *seen { return &h.rows[h.due[i]] }

func (h *dueHeap) Len() int           { return len(h.due) }
func (h *dueHeap) Less(i, j int) bool { return h.row(i).next < h.row(j).next }
func (h *dueHeap) Swap(i, j int) {
	h.due[i], h.due[j] = h.due[j], h.due[i]
	h.row(i).at, h.row(j).at = i, j
}

// Push is for package heap.
func (h *dueHeap) Push(x any) {
	h.due = append(h.due, x.(uint32))
	last := len(h.due) - 1
	h.row(last).at = last
}

// Pop is for package heap.
func (h *dueHeap) Pop() any {
	last := len(h.due) - 1
	h.row(last).at = -1
	n := h.due[last]
	h.due = h.due[:last]
	return n
}
