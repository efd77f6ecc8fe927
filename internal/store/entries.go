package store

import "slices"

// entryList holds the entries of a table by number, and is copied on write as the trees
// are: these hold numbers where they would else hold pointers, of which the garbage
// collector would follow every one.
type entryList struct {
	top []*level[level[level[entry]]]
	// edit marks the levels that only this list has. nil: none yet.
	edit *edit
}

const (
	levelBits = 5
	levelMask = 1<<levelBits - 1
)

// level is a node of a list.
type level[K any] struct {
	edit *edit
	kids [1 << levelBits]*K
}

// at returns the entry with a number that is in use.
func (l *entryList) at(n uint32) *entry {
	return l.top[n>>(3*levelBits)].kids[n>>(2*levelBits)&levelMask].kids[n>>levelBits&levelMask].kids[n&levelMask]
}

// find returns the entry with any number, nil for none.
func (l *entryList) find(n uint32) *entry {
	if i := int(n >> (3 * levelBits)); i < len(l.top) && l.top[i] != nil {
		if b := l.top[i].kids[n>>(2*levelBits)&levelMask]; b != nil {
			if c := b.kids[n>>levelBits&levelMask]; c != nil {
				return c.kids[n&levelMask]
			}
		}
	}
	return nil
}

// set gives a number its entry, nil for none.
func (l *entryList) set(n uint32, e *entry) {
	if l.edit == nil {
		l.edit = new(edit)
		l.top = slices.Clone(l.top)
	}
	i := int(n >> (3 * levelBits))
	for len(l.top) <= i {
		l.top = append(l.top, nil)
	}
	a := own(&l.top[i], l.edit)
	b := own(&a.kids[n>>(2*levelBits)&levelMask], l.edit)
	c := own(&b.kids[n>>levelBits&levelMask], l.edit)
	c.kids[n&levelMask] = e
}

// own puts a level that may be changed under an edit in the place of one that may not.
func own[K any](at **level[K], by *edit) *level[K] {
	if l := *at; l != nil && l.edit == by {
		return l
	}
	c := new(level[K])
	if *at != nil {
		*c = **at
	}
	c.edit = by
	*at = c
	return c
}

// copy returns a list that stays as this one is now.
func (l *entryList) copy() entryList {
	l.edit = nil
	return *l
}
