package secrets

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"arca/internal/store"
)

const (
	// maxSeen bounds the memory of reads. Beyond it, reads of secrets that were not
	// read lately may be forgotten: a date of the last access may come late, a read may
	// not fail.
	maxSeen = 200_000
	// accessBatch is how many access records one transaction writes. Each is compared
	// together with its secret.
	accessBatch = store.MaxWrites / 2
)

// accessLog collects the days on which versions were read. What was stored is kept
// too, so that only the first read of a day makes work. The zero value is ready.
type accessLog struct {
	mu sync.RWMutex
	// seen by uid, contents included (guarded by mu).
	seen map[UID]*LastAccess
	// dirty are the uids of what is not stored yet (guarded by mu).
	dirty map[UID]bool
}

// note remembers that a version was read. The common case, a version read already
// that day, takes a shared lock only.
func (l *accessLog) note(sec *Secret, versionID string, day Day) {
	l.mu.RLock()
	a := l.seen[sec.UID]
	known := a != nil && a.Versions[versionID] >= day
	l.mu.RUnlock()
	if known {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen, l.dirty = make(map[UID]*LastAccess), make(map[UID]bool)
	}
	a = l.seen[sec.UID]
	if a == nil {
		if len(l.seen) >= maxSeen && !l.evictLocked() {
			return
		}
		a = &LastAccess{UID: sec.UID, Account: sec.Account, Region: sec.Region, Versions: make(map[string]Day, 1)}
		l.seen[sec.UID] = a
	}
	a.Versions[versionID] = max(a.Versions[versionID], day)
	a.Day = max(a.Day, day)
	l.dirty[sec.UID] = true
}

// evictLocked makes room for one secret by forgetting one that is stored. It looks at
// a few only, in the map's random order: when nearly all are waiting to be stored, it
// is better to forget the read than to search.
func (l *accessLog) evictLocked() bool {
	tries := 16
	for uid := range l.seen {
		if !l.dirty[uid] {
			delete(l.seen, uid)
			return true
		}
		if tries--; tries == 0 {
			return false
		}
	}
	return false
}

// of is what was seen of a secret.
func (l *accessLog) of(uid UID) (LastAccess, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	a := l.seen[uid]
	if a == nil {
		return LastAccess{}, false
	}
	return a.clone(), true
}

// unstored copies what is to be stored.
func (l *accessLog) unstored() []LastAccess {
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make([]LastAccess, 0, len(l.dirty))
	for uid := range l.dirty {
		out = append(out, l.seen[uid].clone())
	}
	return out
}

// settle marks what was stored, unless it has been read again since it was copied.
func (l *accessLog) settle(stored []LastAccess) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range stored {
		a := l.seen[stored[i].UID]
		if a != nil && maps.Equal(a.Versions, stored[i].Versions) {
			delete(l.dirty, stored[i].UID)
		}
	}
}

func (a *LastAccess) clone() LastAccess {
	c := *a
	c.Versions = maps.Clone(a.Versions)
	return c
}

// lastAccess is the day a secret was last read and the days of its versions, with
// what this process has seen and not stored. Both are zero when it never was. The
// map is shared and must not be changed.
func (s *Service) lastAccess(v *store.Snap, sec *Secret) (Day, map[string]Day) {
	stored, ok := s.access.Get(v, accessKey(sec))
	seen, pending := s.seen.of(sec.UID)
	switch {
	case ok && pending:
		m := seen.merged(stored, sec)
		return m.Day, m.Versions
	case ok:
		return stored.Day, stored.Versions
	default:
		return seen.Day, seen.Versions
	}
}

// merged joins what was seen with what is stored, without versions that are gone.
func (a *LastAccess) merged(stored *LastAccess, sec *Secret) LastAccess {
	m := a.clone()
	if stored != nil {
		m.Day = max(m.Day, stored.Day)
		for id, day := range stored.Versions {
			m.Versions[id] = max(m.Versions[id], day)
		}
	}
	maps.DeleteFunc(m.Versions, func(id string, _ Day) bool { return sec.version(id) == nil })
	return m
}

// FlushAccess stores the days of access that this process has collected. Every node
// does it for itself; the days only grow, so the order among nodes does not matter.
// What cannot be stored is kept for the next time. A crash forgets what was read
// since the last flush.
func (s *Service) FlushAccess(ctx context.Context) error {
	for todo := s.seen.unstored(); len(todo) > 0; {
		batch := todo[:min(len(todo), accessBatch)]
		todo = todo[len(batch):]
		if err := s.storeAccess(ctx, batch); err != nil {
			return fmt.Errorf("store days of last access: %w", err)
		}
		s.seen.settle(batch)
	}
	return nil
}

func (s *Service) storeAccess(ctx context.Context, batch []LastAccess) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		for i := range batch {
			a := &batch[i]
			sec, ok := s.secrets.Get(tx.Snap, store.Key{Scope: scopeOf(a.Account, a.Region), Parent: a.UID.String()})
			if !ok {
				continue // deleted since it was read
			}
			stored, _ := s.access.Get(tx.Snap, accessKey(sec))
			m := a.merged(stored, sec)
			if stored != nil && m.Day == stored.Day && maps.Equal(m.Versions, stored.Versions) {
				continue
			}
			// Guarded, so that no record appears under a secret that is being deleted.
			s.secrets.Guard(tx, secretKey(sec))
			s.access.Put(tx, accessKey(sec), &m)
		}
		return nil
	})
	return err
}
