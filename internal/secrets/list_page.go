package secrets

import (
	"slices"

	"arca/internal/store"
)

// A page is found in up to three ways, and they join seamlessly, for all of them speak of
// the same positions. It is begun by walking the order asked for, which is the quickest
// where filters keep much of what comes. What the walk does not find soon is sought in the
// catalogue, whose candidates are then either walked to, if there are many, or fetched and
// sorted. A name prefix that selects few is fetched through the order of names at once.

// secretPage is one page of the answer. next is the position to go on after; ""
// means that nothing is left. A page may be short, even empty, and have a next.
type secretPage struct {
	secrets []*Secret
	next    string
}

const (
	// firstLook is what the walk may look at before the catalogue is asked: a few hundred
	// secrets.
	firstLook = 256 * recordWork
	// sortWork and pickWork are what a candidate costs to consider and to look up.
	sortWork = 4
	pickWork = 4 * recordWork
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
	if p.q.namePrefix != "" && o != byName {
		if places, ok := p.byNamePrefix(o, after); ok {
			p.take(o, places)
			return
		}
	}
	start := after
	at, ended := p.walk(o, start, p.work+p.q.look)
	if ended {
		return
	}
	found := p.s.candidates(p.v, p.q, o)
	if found == nil {
		p.walkOn(o, at)
		return
	}
	// However much that was, half of the page's work is left for looking at secrets.
	p.work += min(found.work, p.q.work/2)
	if found.loose && found.count > found.all/8 {
		// Sorting portions of them until one has enough that are kept would take longer.
		p.walkOn(o, at)
		return
	}
	// What the walk has to pass until it has met the rest of the page, if candidates stand
	// anywhere; four times that, before it is plain that they stand further on.
	missing := p.limit + 1 - len(p.page.secrets)
	if expected := missing * found.all / max(1, found.count) * p.each(o); found.count > 0 && expected < found.count*sortWork+missing*pickWork {
		if at, ended = p.walk(o, at, min(p.q.work+1, p.work+4*expected)); ended {
			return
		}
	}
	p.gather(o, at, found)
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

// gather takes candidates in the order asked for. They are sorted in portions, each larger
// than the one before, for where filters seek words most candidates may turn out to be
// none.
func (p *pager) gather(o order, after string, found *candidates) {
	for portion := p.limit + 16; ; portion = min(4*portion, maxPortion) {
		spots, bound, more, ok := found.next(after, portion)
		if !ok {
			// The catalogue has moved on too far, or begun anew: rare, and no harm done.
			p.walkOn(o, after)
			return
		}
		p.work += found.count*sortWork + len(spots)*pickWork
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
	most := p.q.gather
	if p.s.catalog.answers() {
		most = min(most, gatherWithCatalog)
	}
	// First the number alone: while the records are not touched that takes little.
	selected := 0
	p.s.walk(p.v, &byPrefix, byName, "", func(string, *Secret) bool { selected++; return selected <= most })
	if selected > most {
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
