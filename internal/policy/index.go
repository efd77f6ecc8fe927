package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Index finds, among the identity policies of one caller, the statements that an action
// may concern, so that a decision need not look into every policy for them. It remembers
// them for the actions it was asked about, and is a matter of speed only: what Evaluate
// decides with it is what it decides without.
//
// It knows nothing that its policies do not say. Whoever gathers a caller's policies anew,
// because one of them has changed, makes a new Index of them.
//
// It may be used by many at once. Its memory is bounded by maxIndexBytes.
type Index struct {
	sources []Source
	known   atomic.Pointer[indexed] // never changed, only replaced
	mu      sync.Mutex              // held to replace it
}

// indexed is what an index remembers.
type indexed struct {
	candidates map[string][]candidate // by action
	bytes      int                    // what they take
	full       bool
}

// candidate is a statement whose action matches.
type candidate struct{ source, statement int32 }

// What an index remembers takes about these bytes for an action and for a candidate, and
// all of it at most maxIndexBytes. An action that finds no room is searched for each time.
const (
	perAction     = 96
	perCandidate  = 8
	maxIndexBytes = 4 << 10
)

// NewIndex makes an index of the identity policies of a caller, which are not changed any
// more. It returns nil when they are not what it is made for: when one of them cannot be
// read, or names principals, as identity policies do not.
func NewIndex(sources []Source) *Index {
	if len(sources) == 0 {
		return nil
	}
	for _, s := range sources {
		if s.Policy == nil || slices.ContainsFunc(s.Policy.statements, func(st statement) bool { return st.principals != nil }) {
			return nil
		}
	}
	return &Index{sources: sources}
}

// of reports whether the index is of just these policies.
func (x *Index) of(sources []Source) bool {
	return x != nil && len(sources) == len(x.sources) && &sources[0] == &x.sources[0]
}

// find returns the statements that the action of e may concern, in the order of their
// policies and in these of their numbers; ok is false when they have to be searched for.
func (x *Index) find(e *evaluation) (list []candidate, ok bool) {
	known := x.known.Load()
	if known == nil {
		return x.learn(e)
	}
	if list, ok = known.candidates[e.req.Action]; ok || known.full {
		return list, ok
	}
	return x.learn(e)
}

// learn searches for the candidates of an action and remembers them if there is room.
func (x *Index) learn(e *evaluation) (list []candidate, ok bool) {
	for i := range x.sources {
		p := x.sources[i].Policy
		e.begin(p)
		e.concerned(p, func(statement int) { list = append(list, candidate{int32(i), int32(statement)}) })
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.statement, b.statement))
	})
	list = slices.Clip(slices.Compact(list))

	x.mu.Lock()
	defer x.mu.Unlock()
	next := &indexed{candidates: make(map[string][]candidate)}
	if known := x.known.Load(); known != nil {
		maps.Copy(next.candidates, known.candidates)
		next.bytes, next.full = known.bytes, known.full
	}
	size := perAction + perCandidate*len(list)
	switch _, there := next.candidates[e.req.Action]; {
	case there || next.full:
		return list, true
	case next.bytes+size > maxIndexBytes:
		next.full = true
	default:
		next.candidates[strings.Clone(e.req.Action)] = list
		next.bytes += size
	}
	x.known.Store(next)
	return list, true
}

// anyIndexed is anyOf for the policies of an index: the first Deny that matches decides,
// otherwise the first Allow.
func (e *evaluation) anyIndexed(x *Index) found {
	list, ok := x.find(e)
	if !ok {
		return e.anyOf(x.sources)
	}
	all := found{deny: none, allow: none}
	for _, c := range list {
		s := &x.sources[c.source]
		st := &s.Policy.statements[c.statement]
		if !st.deny && all.allow != none {
			continue
		}
		e.begin(s.Policy)
		if !e.resource(st) || !e.conditions(st) {
			continue
		}
		if st.deny {
			return found{source: *s, deny: int(c.statement), allow: none}
		}
		all.source, all.allow, all.how = *s, int(c.statement), directly
	}
	return all
}
