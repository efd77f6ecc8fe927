package secrets

import (
	"slices"

	"arca/internal/store"
)

// A page is found in up to three ways, and they join seamlessly, for all of them speak of
// the same positions. A record that is walked past costs much, as it may have to be decoded
// for that: only where nearly all that comes is kept, the order asked for is walked.
// Otherwise the catalogue is asked, and its candidates are fetched in that order. While there
// is no catalogue, a name prefix that selects few is fetched through the order of names.

// secretPage is one page of the answer. next is the position to go on after; ""
// means that nothing is left. A page may be short, even empty, and have a next.
type secretPage struct {
	secrets []*Secret
	days    []Day // the stored day of each one's last access, or unknownDay
	next    string
}

const (
	// firstLook is what the walk may look at before the catalogue is asked, where it should
	// find a page at once.
	firstLook = 512 * recordWork
	// sortWork and pickWork are what a candidate costs to consider and to look up.
	sortWork = 32
	pickWork = 2 * recordWork
	// decodedSecrets, times those that are few, is how many secrets a scope may have for their
	// records to be likely to be decoded already: to walk past one then costs less, compared
	// with looking it up.
	decodedSecrets = 8
	// maxPortion bounds how many candidates are fetched at a time.
	maxPortion = 1 << 12
)

// pager is one page in the making.
type pager struct {
	s     *Service
	v     *store.Snap
	q     *secretQuery
	limit int

	page secretPage
	last string // the position of the last secret looked at
	work int
	// deciding is the work of the authorizer, apart from the rest: it says nothing of how
	// well a walk is doing.
	deciding int
	full     bool // the page is full, or the work done; page.next is set
}

// page collects up to limit secrets that stand after a position. It is of no use when
// q.err is set.
func (s *Service) page(v *store.Snap, q *secretQuery, after string, limit int) secretPage {
	p := pager{s: s, v: v, q: q, limit: limit, last: after}
	for _, o := range q.orders() {
		if len(after) > 0 && len(o.phase()) > 0 && after[:1] != o.phase() {
			continue // an earlier page has passed it
		}
		p.fill(o, after)
		if p.full || q.err != nil {
			break
		}
		after = ""
	}
	return p.page
}

// fill goes through one order, from a position on, as far as the page has room.
func (p *pager) fill(o order, after string) {
	at, ended := after, false
	if look := p.q.firstLook(o); look > 0 {
		if at, ended = p.walk(o, at, p.work+look); ended {
			return
		}
	}
	found := p.s.candidates(p.v, p.q, o)
	if found == nil {
		p.without(o, at)
		return
	}
	// However much that was, half of the page's work is left for looking at secrets.
	p.work += min(found.work, p.q.work/2)
	// What the walk has to pass until it has met the rest of the page, if candidates stand
	// anywhere; four times that, before it is plain that they stand further on. It is compared
	// with sorting those that moved since the order was made, and looking them up.
	missing := p.limit + 1 - len(p.page.secrets)
	expected := missing * found.all / max(1, found.count) * p.each(o)
	cost := expected
	if found.all <= decodedSecrets*p.q.few && p.each(o) == recordWork {
		cost /= 4
	}
	if found.count > 0 && cost < missing*pickWork+found.sorting() {
		if at, ended = p.walk(o, at, min(p.q.work+1, p.work+4*expected)); ended {
			return
		}
	}
	p.gather(o, at, found)
}

// without does without the catalogue.
func (p *pager) without(o order, after string) {
	if p.q.namePrefix != "" && o != byName {
		if places, ok := p.byNamePrefix(o, after); ok {
			p.take(o, places)
			return
		}
	}
	p.walkOn(o, after)
}

// each is what a record costs that the walk passes.
func (p *pager) each(o order) int {
	if o == byUnread || o == byRead {
		return recordWork + lookupWork
	}
	return recordWork
}

// walk passes over secrets until it has done so much work. ended says that the order, or
// the page, is at its end; otherwise the walk stopped at a position.
func (p *pager) walk(o order, after string, upTo int) (at string, ended bool) {
	at, ended = after, true
	p.s.walk(p.v, p.q, o, after, func(position string, sec *Secret) bool {
		if p.work >= upTo {
			ended = false
			return false
		}
		p.work += p.each(o)
		at = position
		return p.look(position, sec)
	})
	return at, ended
}

// walkOn walks as far as the page's work goes, which is at least one secret: a page that
// ended where it began would be asked for again for ever.
func (p *pager) walkOn(o order, after string) {
	p.work = min(p.work, p.q.work)
	p.walk(o, after, p.q.work+1)
}

// look decides about the secret at a position, nil when there is none, and reports whether
// to go on.
func (p *pager) look(position string, sec *Secret) (more bool) {
	if sec != nil && p.q.keeps(sec, &p.work) && p.q.shows(sec, &p.deciding) {
		if len(p.page.secrets) == p.limit {
			p.page.next, p.full = p.last, true
			return false
		}
		p.page.secrets = append(p.page.secrets, sec)
		p.page.days = append(p.page.days, p.q.storedDay(position))
	}
	p.last = position
	if p.work+p.deciding > p.q.work {
		p.page.next, p.full = p.last, true
		return false
	}
	return p.q.err == nil
}

// spot is a place with the secret that is there.
type spot struct {
	place
	sec *Secret
}

// take looks at secrets in the order of their places.
func (p *pager) take(o order, spots []spot) (more bool) {
	for i := range spots {
		if !p.look(o.position(&spots[i].place), spots[i].sec) {
			return false
		}
	}
	return true
}

// gather takes candidates in the order asked for. They are fetched in portions, each larger
// than the one before, for where the catalogue was asked too much most candidates may turn
// out to be none.
func (p *pager) gather(o order, after string, found *candidates) {
	for portion := p.limit + 8 - len(p.page.secrets); ; portion = min(4*portion, maxPortion) {
		before := found.work
		spots, bound, more, ok := found.next(after, portion)
		if !ok {
			// The catalogue has moved on too far, or begun anew: rare, and no harm done.
			p.walkOn(o, after)
			return
		}
		p.work += found.work - before + len(spots)*pickWork
		if !p.take(o, spots) || !more {
			return
		}
		after, p.last = bound, bound
		if p.work > p.q.work {
			p.page.next, p.full = bound, true
			return
		}
	}
}

// byNamePrefix fetches what a name prefix selects through the order of names, if that is
// little: walking another order past everything else would take long. It reports false
// when there is too much of it.
func (p *pager) byNamePrefix(o order, after string) (spots []spot, ok bool) {
	byPrefix := secretQuery{scope: p.q.scope, namePrefix: p.q.namePrefix}
	// First the number alone.
	selected := 0
	p.s.walk(p.v, &byPrefix, byName, "", func(string, *Secret) bool { selected++; return selected <= p.q.gather })
	if selected > p.q.gather {
		return nil, false
	}
	// If all are shown, what does not fit on the page need not be sorted.
	room := selected
	if p.q.see == nil {
		room = p.limit + 1 - len(p.page.secrets)
	}
	bound, bounded := o.placeAt(after)
	work := 0
	p.s.walk(p.v, &byPrefix, byName, "", func(_ string, sec *Secret) bool {
		if !p.q.keeps(sec, &work) {
			return work <= p.q.work
		}
		at, in := p.s.placeOf(p.v, o, sec)
		if in && (!bounded || p.q.before(&bound, &at)) {
			if len(spots) >= 2*room {
				p.q.sort(spots)
				spots = spots[:room]
			}
			spots = append(spots, spot{at, sec})
		}
		return work <= p.q.work
	})
	p.q.sort(spots)
	return spots[:min(room, len(spots))], work <= p.q.work
}

// before says which of two places comes first in the direction asked for.
func (q *secretQuery) before(a, b *place) bool {
	c := a.compare(b)
	return c < 0 && !q.descending || c > 0 && q.descending
}

func (q *secretQuery) sort(spots []spot) {
	slices.SortFunc(spots, func(a, b spot) int {
		if q.descending {
			return b.compare(&a.place)
		}
		return a.compare(&b.place)
	})
}
