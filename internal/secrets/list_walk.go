package secrets

import (
	"slices"
	"strings"

	"arca/internal/api/smapi"
	"arca/internal/store"
)

// A list is walked, never sorted: the mirror keeps every scope ordered by name,
// creation, change and access. Its place is remembered as the ordering key of a
// record (which ends in the record's uid, so no two are equal), and secrets that
// come and go between two pages move nothing else.

const (
	sortByName     = "name"
	sortByCreated  = "created-date"
	sortByChanged  = "last-changed-date"
	sortByAccessed = "last-accessed-date"
)

const (
	// pageWork bounds what one page may look at, roughly in characters. Every record
	// costs recordWork, and its texts as often as filters read them. It is about ten
	// milliseconds: 30,000 secrets that a filter refuses.
	pageWork   = 2 << 20
	recordWork = 64
	// lookupWork is the further cost of a record in the order of last access, where
	// each is looked up in a second table.
	lookupWork = 64
	// decisionWork is what asking the authorizer about one secret costs.
	decisionWork = 1024
	// gatherRecords is how many secrets a name prefix may select for them to be
	// fetched through the name order and sorted, whatever order is asked for.
	gatherRecords = 4096
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
	gather int // how many secrets may be fetched by name and sorted
}

// newSecretQuery compiles filters for the default order.
func newSecretQuery(scope string, filters []smapi.Filter) (secretQuery, error) {
	filter, err := compileFilters(filters)
	if err != nil {
		return secretQuery{}, err
	}
	return secretQuery{
		scope: scope, sortBy: sortByCreated, filter: filter, namePrefix: namePrefix(filters),
		work: pageWork, gather: gatherRecords,
	}, nil
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

// secretPage is one page of the answer. next is the position to go on after; ""
// means that nothing is left. A page may be short, even empty, and have a next.
type secretPage struct {
	secrets []*Secret
	next    string
}

// page collects up to limit secrets that stand after a position. It is of no use when
// q.err is set.
func (s *Service) page(v *store.Snap, q *secretQuery, after string, limit int) secretPage {
	if q.namePrefix != "" && q.sortBy != sortByName {
		if page, ok := s.gatherPage(v, q, after, limit); ok {
			return page
		}
	}
	var page secretPage
	work, last, each := 0, "", recordWork
	if q.sortBy == sortByAccessed {
		each += lookupWork
	}
	s.walk(v, q, after, func(position string, sec *Secret) bool {
		work += each
		if sec != nil && q.keeps(sec, &work) && q.shows(sec, &work) {
			if len(page.secrets) == limit {
				page.next = last
				return false
			}
			page.secrets = append(page.secrets, sec)
		}
		last = position
		if work > q.work {
			page.next = last
			return false
		}
		return q.err == nil
	})
	return page
}

// gatherPage answers through the name order when the prefix selects few secrets:
// walking another order past everything else would take many pages. It reports
// false when there are too many of them.
func (s *Service) gatherPage(v *store.Snap, q *secretQuery, after string, limit int) (secretPage, bool) {
	type entry struct {
		position string
		secret   *Secret
	}
	byName := secretQuery{scope: q.scope, sortBy: sortByName, namePrefix: q.namePrefix}
	// First the number alone: while the records are not touched that takes little.
	selected := 0
	s.walk(v, &byName, "", func(string, *Secret) bool { selected++; return selected <= q.gather })
	if selected > q.gather {
		return secretPage{}, false
	}
	var found []entry
	work := 0
	s.walk(v, &byName, "", func(_ string, sec *Secret) bool {
		if work > q.work {
			return false
		}
		if !q.keeps(sec, &work) {
			return true
		}
		position := s.positionOf(v, q.sortBy, sec)
		if after == "" || position > after != q.descending && position != after {
			found = append(found, entry{position, sec})
		}
		return true
	})
	if work > q.work {
		return secretPage{}, false
	}
	slices.SortFunc(found, func(a, b entry) int {
		if q.descending {
			a, b = b, a
		}
		return strings.Compare(a.position, b.position)
	})
	var page secretPage
	last := after
	for _, e := range found {
		if q.shows(e.secret, &work) {
			if len(page.secrets) == limit {
				page.next = last
				break
			}
			page.secrets = append(page.secrets, e.secret)
		}
		last = e.position
		if q.err != nil || work > q.work {
			page.next = last
			break
		}
	}
	return page, true
}

// Positions in the order of last access: secrets never read come before all days,
// among themselves in order of creation.
const (
	neverRead = "0"
	onceRead  = "1"
)

// positionOf is where a secret stands in an order.
func (s *Service) positionOf(v *store.Snap, sortBy string, sec *Secret) string {
	created := sec.Created.orderKey() + string(sec.UID[:])
	switch sortBy {
	case sortByName:
		return sec.Name
	case sortByChanged:
		return sec.Changed.orderKey() + string(sec.UID[:])
	case sortByAccessed:
		if access, ok := s.access.Get(v, accessKey(sec)); ok {
			return onceRead + Instant(access.Day).orderKey() + string(sec.UID[:])
		}
		return neverRead + created
	}
	return created
}

// walk visits the secrets of a scope that stand after a position, in the order
// asked for, until visit returns false. A position without a secret is visited
// with nil, so that the work behind it can be counted.
func (s *Service) walk(v *store.Snap, q *secretQuery, after string, visit func(position string, sec *Secret) bool) {
	base := q.scope + "\x00"
	switch q.sortBy {
	case sortByName:
		walkIndex(s.secrets, v, indexName, base, q.namePrefix, after, q.descending, visit)
	case sortByCreated:
		walkIndex(s.secrets, v, indexCreated, base, "", after, q.descending, visit)
	case sortByChanged:
		walkIndex(s.secrets, v, indexChanged, base, "", after, q.descending, visit)
	case sortByAccessed:
		s.walkAccessed(v, q, after, visit)
	}
}

// walkAccessed joins two orders: secrets that have an access record by its day,
// the others by creation.
func (s *Service) walkAccessed(v *store.Snap, q *secretQuery, after string, visit func(string, *Secret) bool) {
	base := q.scope + "\x00"
	part := func(phase, after string) (more bool) {
		more = true
		if phase == neverRead {
			walkIndex(s.secrets, v, indexCreated, base, "", after, q.descending, func(position string, sec *Secret) bool {
				if _, read := s.access.Get(v, accessKey(sec)); read {
					sec = nil
				}
				more = visit(phase+position, sec)
				return more
			})
			return more
		}
		walkIndex(s.access, v, indexAccessed, base, "", after, q.descending, func(position string, r *LastAccess) bool {
			sec, _ := s.secrets.Get(v, store.Key{Scope: q.scope, Parent: r.UID.String()})
			more = visit(phase+position, sec)
			return more
		})
		return more
	}
	phases := []string{neverRead, onceRead}
	if q.descending {
		slices.Reverse(phases)
	}
	for _, phase := range phases {
		if after != "" && !strings.HasPrefix(after, phase) {
			continue // an earlier page has passed it
		}
		if !part(phase, strings.TrimPrefix(after, phase)) {
			return
		}
		after = ""
	}
}

// walkIndex visits the records whose index key begins with base and prefix and
// stands after base and after, upwards or downwards. Positions are keys without
// base.
func walkIndex[T any](t *store.Table[T], v *store.Snap, index, base, prefix, after string, descending bool, visit func(position string, r *T) bool) {
	if descending {
		from := keyAfterAll(base + prefix)
		if after != "" {
			from = base + after
		}
		t.Descend(v, index, from, func(key string, r *T) bool {
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
	t.Ascend(v, index, from, func(key string, r *T) bool {
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
