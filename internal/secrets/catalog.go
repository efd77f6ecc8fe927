package secrets

import (
	"context"
	"slices"
	"sync"

	"arca/internal/store"
)

// catalog is what lists know of every secret beside the ordered indexes of the mirror:
// which tags it has, which words its texts hold, where it stands in each order. It tells
// which few of many secrets a filter may keep, so that a page need not pass over all the
// others. It never decides alone: what it names is looked up in the caller's snapshot and
// tested there, and a change of it cannot be missed either, see since.
//
// The store tells it of every change before a snapshot shows it, so it is never behind a
// snapshot, at most ahead. It is filled in the background after the store has been read;
// until then, lists do without.
type catalog struct {
	mu       sync.RWMutex
	ready    bool              // guarded by mu; it knows all secrets
	filling  bool              // guarded by mu; changes are taken in, older records follow
	shelves  map[string]*shelf // guarded by mu, contents included; by scope
	observed int64             // guarded by mu; the newest revision the store has told of
	recent   recentChanges     // guarded by mu

	// What has been told while the catalogue was being filled, and what is to be read from
	// an older snapshot must not undo (both guarded by mu).
	touched map[UID]bool
	early   map[UID]Day
}

// recentChanges remembers which secrets the newest changes were about.
type recentChanges struct {
	ring []recentChange // by time, oldest at next once it is full
	next int
	lost int64 // revision of the newest change that is not remembered
}

type recentChange struct {
	rev int64
	uid UID
}

// maxRecent is how many changes may happen between the moment at which a list takes its
// snapshot and the moment at which it has its candidates: far more than do, in
// milliseconds.
const maxRecent = 1 << 12

func (r *recentChanges) add(rev int64, uid UID) {
	if len(r.ring) < maxRecent {
		r.ring = append(r.ring, recentChange{rev, uid})
		return
	}
	r.lost = r.ring[r.next].rev
	r.ring[r.next] = recentChange{rev, uid}
	r.next = (r.next + 1) % maxRecent
}

func (r *recentChanges) forget(rev int64) {
	*r = recentChanges{ring: r.ring[:0], lost: rev}
}

// since names the secrets that have changed after a revision. ok is false when that is not
// known any more. A snapshot of that revision and the catalogue agree about all others:
// this is what makes a list that asks both as consistent as the snapshot.
func (r *recentChanges) since(rev int64) (changed map[UID]bool, ok bool) {
	if r.lost > rev {
		return nil, false
	}
	for i := range r.ring {
		// From the newest backwards.
		c := &r.ring[(r.next+len(r.ring)-1-i)%len(r.ring)]
		if c.rev <= rev {
			break
		}
		if changed == nil {
			changed = make(map[UID]bool)
		}
		changed[c.uid] = true
	}
	return changed, true
}

// toldLocked remembers that a secret has changed, and reports whether the catalogue takes
// the change in.
func (c *catalog) toldLocked(rev int64, uid UID) bool {
	c.observed = rev
	c.recent.add(rev, uid)
	return c.ready || c.filling
}

// secretChanged is told by the store of every change of a secret.
func (c *catalog) secretChanged(rev int64, before, after *Secret) {
	sec := after
	if sec == nil {
		sec = before
	}
	var had, has []mention
	if before == nil || after == nil || before.Description != after.Description || !slices.Equal(before.Tags, after.Tags) {
		had, has = mentionsOf(before), mentionsOf(after)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.toldLocked(rev, sec.UID) {
		return
	}
	if c.filling {
		c.touched[sec.UID] = true
	}
	if after == nil {
		c.shelfLocked(sec.scope()).remove(before, had)
		return
	}
	c.shelfLocked(sec.scope()).put(after, had, has, c.early[sec.UID])
}

// accessChanged is told of every change of a day of last access. They are stored in later
// transactions than their secret, and go with it.
func (c *catalog) accessChanged(rev int64, scope string, uid UID, day Day) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.toldLocked(rev, uid) {
		return
	}
	c.shelfLocked(scope).setDay(uid, day)
	if c.filling {
		c.early[uid] = day
	}
}

// reloaded is told by the store when it has read everything anew.
func (c *catalog) reloaded(rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observed = rev
	c.recent.forget(rev)
	c.dropLocked()
}

func (c *catalog) dropLocked() {
	c.ready, c.filling = false, false
	c.shelves, c.touched, c.early = nil, nil, nil
}

func (c *catalog) shelfLocked(scope string) *shelf {
	sh := c.shelves[scope]
	if sh == nil {
		sh = newShelf()
		c.shelves[scope] = sh
	}
	return sh
}

// begin makes the catalogue take in changes from now on. It returns the revision that a
// snapshot must have at least for the rest to be filled in from it.
func (c *catalog) begin() (from int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked()
	c.filling = true
	c.shelves, c.touched, c.early = make(map[string]*shelf), make(map[UID]bool), make(map[UID]Day)
	return c.observed
}

// filled is a secret as a snapshot shows it.
type filled struct {
	sec      *Secret
	day      Day
	mentions []mention
}

// add takes in secrets from a snapshot, but for those of which something newer has been
// told. It reports whether that is still wanted.
func (c *catalog) add(batch []filled) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.filling {
		return false
	}
	for _, f := range batch {
		if day, told := c.early[f.sec.UID]; told {
			f.day = day
		}
		if sh := c.shelfLocked(f.sec.scope()); c.touched[f.sec.UID] {
			sh.setDay(f.sec.UID, f.day) // of it nothing need have been told; no-op if it is gone
		} else {
			sh.put(f.sec, nil, f.mentions, f.day)
		}
	}
	return true
}

// end makes the catalogue answer.
func (c *catalog) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.filling {
		c.ready, c.filling = true, false
		c.touched, c.early = nil, nil
	}
}

// answers says whether the catalogue knows all secrets.
func (c *catalog) answers() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.ready
}

// fillBatch is how many mentions of secrets are taken in at a time, in well below a
// millisecond: changes have to wait for it. A secret itself counts as some.
const (
	fillBatch      = 1 << 10
	secretMentions = 8
)

// FillCatalog fills what lists find filtered secrets by, if it has yet to be filled: after
// the store was opened, and when it had to be read anew. Lists are right without, but
// slower where a filter keeps few of many secrets. Every node does it for itself; it takes
// some seconds for half a million secrets. Then, and whenever it is called again, it brings
// up to date the orders in which the catalogue is passed over.
func (s *Service) FillCatalog(ctx context.Context) error {
	if s.catalog.answers() {
		s.catalog.rankAnew(ctx)
		return ctx.Err()
	}
	from := s.catalog.begin()
	return s.store.View(ctx, func(v *store.Snap) error {
		if v.Revision() < from {
			return nil // what was told of has yet to be shown; next time
		}
		if s.fillFrom(v, func() bool { return ctx.Err() == nil }) {
			s.catalog.rankAnew(ctx) // without rankings, lists would sort all candidates
			s.catalog.end()
		}
		return ctx.Err()
	})
}

// fillFrom takes in all secrets of a snapshot. It reports whether it came to the end.
func (s *Service) fillFrom(v *store.Snap, goOn func() bool) bool {
	var batch []filled
	more, mentions := true, 0
	s.secrets.Ascend(v, indexCreated, "", func(_ string, sec *Secret) bool {
		f := filled{sec: sec, day: s.storedDays(v, sec).last(), mentions: mentionsOf(sec)} // which takes a while, and nobody waits
		batch = append(batch, f)
		if mentions += secretMentions + len(f.mentions); mentions >= fillBatch {
			more = s.catalog.add(batch) && goOn()
			clear(batch)
			batch, mentions = batch[:0], 0
		}
		return more
	})
	return more && s.catalog.add(batch)
}
