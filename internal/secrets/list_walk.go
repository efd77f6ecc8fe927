package secrets

import (
	"bytes"
	"cmp"
	"strings"

	"arca/internal/api/smapi"
	"arca/internal/store"
)

// Lists go by orders that the mirror keeps of every scope: name, creation, change and
// access. A place in one is remembered as the ordering key of a record (which ends in the
// record's uid, so no two are equal), and secrets that come and go between two pages move
// nothing else.

const (
	sortByName     = "name"
	sortByCreated  = "created-date"
	sortByChanged  = "last-changed-date"
	sortByAccessed = "last-accessed-date"
)

const (
	// pageWork bounds what one page may look at, roughly in characters. Every record
	// costs recordWork, which is to decode it, and its texts as often as filters read them. It
	// is about twenty milliseconds: 8,000 secrets that a filter refuses.
	pageWork   = 2 << 20
	recordWork = 256
	// lookupWork is the further cost of a record in the order of last access, where
	// each is looked up in a second table.
	lookupWork = 256
	// decisionWork is what asking the authorizer about one secret costs.
	decisionWork = 1024
	// gatherRecords is how many secrets a name prefix may select for them to be fetched
	// through the name order and sorted, whatever order is asked for, while the catalogue
	// does not know.
	gatherRecords = 2048
)

// secretQuery is one question about the secrets of a scope.
type secretQuery struct {
	scope      string
	sortBy     string
	descending bool
	planned    bool // secrets scheduled for deletion too
	filter     secretFilter
	namePrefix string // every kept secret's name begins with it

	// see reports whether the caller may know of a secret; nil shows all. err is the first
	// error it had, which ends the page.
	see func(sec *Secret) (bool, error)
	err error

	work   int // what one page may look at
	look   int // what of it the walk may look at before the catalogue is asked; 0: firstLook
	gather int // how many secrets may be fetched by name and sorted
	few    int // how many candidates are sorted rather than met in their order
}

// newSecretQuery compiles filters for the default order.
func newSecretQuery(scope string, filters []smapi.Filter) (secretQuery, error) {
	filter, err := compileFilters(filters)
	if err != nil {
		return secretQuery{}, err
	}
	return secretQuery{
		scope: scope, sortBy: sortByCreated, filter: filter, namePrefix: namePrefix(filters),
		work: pageWork, gather: gatherRecords, few: fewCandidates,
	}, nil
}

// firstLook is what the walk may look at before the catalogue is asked.
func (q *secretQuery) firstLook(o order) int {
	switch {
	case q.look > 0:
		return q.look
	case o == byUnread || o == byRead:
		return 0 // the catalogue knows who was read
	case len(q.filter) == 0, o == byName && q.namePrefix != "" && len(q.filter) == 1:
		return firstLook
	}
	return 0
}

func (q *secretQuery) keeps(sec *Secret, work *int) bool {
	return (q.planned || !sec.scheduled()) && q.filter.keeps(sec, work)
}

// shows decides about a secret that the filters keep.
func (q *secretQuery) shows(sec *Secret, work *int) bool {
	if q.see == nil {
		return true
	}
	*work += decisionWork
	ok, err := q.see(sec)
	if err != nil {
		q.err = err
	}
	return ok && err == nil
}

// order is one that secrets are walked or sorted in. Its positions are the keys of an
// index without the scope.
type order int

const (
	byName order = iota
	byCreated
	byChanged
	// The order of last access joins two: first the secrets that were never read, by
	// creation, then the others by day.
	byUnread
	byRead
)

// orders are those that the list asked for consists of.
func (q *secretQuery) orders() []order {
	switch q.sortBy {
	case sortByName:
		return []order{byName}
	case sortByChanged:
		return []order{byChanged}
	case sortByAccessed:
		if q.descending {
			return []order{byRead, byUnread}
		}
		return []order{byUnread, byRead}
	}
	return []order{byCreated}
}

// phase begins the positions of an order that is only part of the one asked for.
func (o order) phase() string {
	switch o {
	case byUnread:
		return "0"
	case byRead:
		return "1"
	}
	return ""
}

// place is where a secret stands in an order.
type place struct {
	name string  // in the order of names, and alone there
	at   Instant // in the others
	uid  UID
}

func (p *place) compare(o *place) int {
	if c := cmp.Compare(p.at, o.at); c != 0 {
		return c
	}
	if c := strings.Compare(p.name, o.name); c != 0 {
		return c
	}
	return bytes.Compare(p.uid[:], o.uid[:])
}

// placeOf tells where a secret stands; false when it is not in that order.
func (s *Service) placeOf(v *store.Snap, o order, sec *Secret) (place, bool) {
	switch o {
	case byName:
		return place{name: sec.Name}, true
	case byChanged:
		return place{at: sec.Changed, uid: sec.UID}, true
	case byUnread, byRead:
		day := s.storedDays(v, sec).last()
		if day > 0 && o == byRead {
			return place{at: Instant(day), uid: sec.UID}, true
		}
		return place{at: sec.Created, uid: sec.UID}, day > 0 == (o == byRead)
	}
	return place{at: sec.Created, uid: sec.UID}, true
}

// position is the place as pages remember it.
func (o order) position(p *place) string {
	if o == byName {
		return p.name
	}
	return o.phase() + p.at.orderKey() + string(p.uid[:])
}

// placeAt reads a position of the order.
func (o order) placeAt(position string) (p place, ok bool) {
	if o == byName {
		return place{name: position}, true
	}
	position, ok = strings.CutPrefix(position, o.phase())
	if !ok || len(position) != 8+len(p.uid) {
		return place{}, false
	}
	p.at = instantOfKey(position[:8])
	copy(p.uid[:], position[8:])
	return p, true
}

// storedDay is the day of the last access that a position tells of; unknownDay if its order
// goes by something else.
func (q *secretQuery) storedDay(position string) Day {
	if q.sortBy != sortByAccessed {
		return unknownDay
	}
	if p, ok := byRead.placeAt(position); ok {
		return Day(p.at)
	}
	return 0
}

// walk visits the secrets of a scope that stand after a position of an order, until visit
// returns false. A position without a secret is visited with nil, so that the work behind
// it can be counted.
func (s *Service) walk(v *store.Snap, q *secretQuery, o order, after string, visit func(position string, sec *Secret) (more bool)) {
	base := q.scope + "\x00"
	after = strings.TrimPrefix(after, o.phase())
	switch o {
	case byName:
		walkIndex(s.secrets, v, indexName, base, q.namePrefix, after, q.descending, visit)
	case byCreated:
		walkIndex(s.secrets, v, indexCreated, base, "", after, q.descending, visit)
	case byChanged:
		walkIndex(s.secrets, v, indexChanged, base, "", after, q.descending, visit)
	case byUnread:
		walkIndex(s.secrets, v, indexCreated, base, "", after, q.descending, func(position string, sec *Secret) bool {
			if s.storedDays(v, sec).last() > 0 {
				sec = nil
			}
			return visit(o.phase()+position, sec)
		})
	case byRead:
		walkIndex(s.access.Keys(), v, indexAccessed, base, "", after, q.descending, func(position string, _ struct{}) bool {
			position = o.phase() + position
			p, _ := o.placeAt(position)
			return visit(position, s.byUID(v, q.scope, p.uid))
		})
	}
}

// indexed is a table, or the keys of one.
type indexed[R any] interface {
	Ascend(v *store.Snap, index, from string, fn func(key string, r R) bool)
	Descend(v *store.Snap, index, from string, fn func(key string, r R) bool)
}

// walkIndex visits the records whose index key begins with base and prefix and
// stands after base and after, upwards or downwards. Positions are keys without
// base.
func walkIndex[R any](t indexed[R], v *store.Snap, index, base, prefix, after string, descending bool, visit func(position string, r R) bool) {
	if descending {
		from := keyAfterAll(base + prefix)
		if after != "" {
			from = base + after
		}
		t.Descend(v, index, from, func(key string, r R) bool {
			switch {
			case strings.HasPrefix(key, base+prefix):
				return after != "" && key == base+after || visit(key[len(base):], r)
			default:
				return key > base+prefix // the bound itself can be somebody's key
			}
		})
		return
	}
	from := base + prefix
	if after != "" {
		from = max(from, base+after+"\x00")
	}
	t.Ascend(v, index, from, func(key string, r R) bool {
		return strings.HasPrefix(key, base+prefix) && visit(key[len(base):], r)
	})
}

// keyAfterAll is a key that no key with the prefix exceeds. The prefix ends in a
// separator or a character of a name, never in the last byte value.
func keyAfterAll(prefix string) string {
	end := []byte(prefix)
	end[len(end)-1]++
	return string(end)
}
