package iam

import (
	"context"
	"fmt"
	"sync"
	"time"

	"arca/internal/store"
)

const (
	// useEvery is how exactly it is known when something was last used: it is written
	// at most once in that time.
	useEvery = 15 * time.Minute
	// maxUses bounds the memory of uses, about 200 bytes each. Beyond it a use may be
	// forgotten: a date may come late, a request may not fail.
	maxUses = 50_000
	// useBatch is how many one transaction writes, each guarded by what was used.
	useBatch = store.MaxWrites / 2
)

// useLog collects uses until they are stored, and remembers what was stored lately so
// that only the first use in useEvery makes work. The zero value is ready.
type useLog struct {
	mu   sync.RWMutex
	seen map[string]seenUse // guarded by mu; by access key id or unique id of a role
	// pending is how many of seen are not stored (guarded by mu).
	pending int
}

type seenUse struct {
	at              Millis
	service, region string
	stored          bool
}

// note remembers a use. The common case, something used already in the last quarter
// of an hour, takes a shared lock only.
func (l *useLog) note(id string, u seenUse) {
	l.mu.RLock()
	old, known := l.seen[id]
	l.mu.RUnlock()
	if known && !later(u.at, old.at) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = make(map[string]seenUse)
	}
	old, known = l.seen[id]
	switch {
	case known && !later(u.at, old.at):
		return
	case !known && len(l.seen) >= maxUses && !l.evictLocked():
		return
	case !known || old.stored:
		l.pending++
	}
	l.seen[id] = u
}

// later reports whether a use is worth being told after one that is known. A clock
// that was set back makes it so as well.
func later(at, known Millis) bool {
	d := time.Duration(at-known) * time.Millisecond
	return d >= useEvery || d <= -useEvery
}

// evictLocked makes room by forgetting a use that is stored. It looks at a few only,
// in the map's random order: when nearly all wait to be stored, it is better to forget
// the new one than to search.
func (l *useLog) evictLocked() bool {
	tries := 16
	for id, u := range l.seen {
		if u.stored {
			delete(l.seen, id)
			return true
		}
		if tries--; tries == 0 {
			return false
		}
	}
	return false
}

// unstored copies what is to be stored.
func (l *useLog) unstored() (ids []string, uses []seenUse) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.pending == 0 {
		return nil, nil
	}
	for id, u := range l.seen {
		if !u.stored {
			ids, uses = append(ids, id), append(uses, u)
		}
	}
	return ids, uses
}

// settle marks uses as stored, unless there has been a later one since.
func (l *useLog) settle(ids []string, uses []seenUse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, id := range ids {
		if u, ok := l.seen[id]; ok && u == uses[i] {
			u.stored = true
			l.seen[id] = u
			l.pending--
		}
	}
}

// NoteUse remembers that an access key, or a role by its unique id, was used for a
// service in a region. It neither fails nor waits; FlushUses stores what it collected.
func (s *Service) NoteUse(id, service, region string, now time.Time) {
	s.used.note(id, seenUse{at: now.UnixMilli(), service: service, region: region})
}

// FlushUses stores the uses that this process has collected. Every node does it for
// itself, and what another has stored in the last quarter of an hour is left alone.
// What cannot be stored is kept for the next time. A crash forgets what was used since
// the last flush.
func (s *Service) FlushUses(ctx context.Context) error {
	for ids, uses := s.used.unstored(); len(ids) > 0; {
		n := min(len(ids), useBatch)
		if err := s.storeUses(ctx, ids[:n], uses[:n]); err != nil {
			return fmt.Errorf("store last uses: %w", err)
		}
		s.used.settle(ids[:n], uses[:n])
		ids, uses = ids[n:], uses[n:]
	}
	return nil
}

func (s *Service) storeUses(ctx context.Context, ids []string, uses []seenUse) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		for i, id := range ids {
			account, ok := s.guardUsed(tx, id)
			if !ok {
				continue // deleted since
			}
			old, ok := s.uses.Get(tx.Snap, useRecordKey(id))
			if ok && !later(uses[i].at, old.At) {
				continue
			}
			s.uses.Put(tx, useRecordKey(id), &Use{
				ID: id, Account: account, At: uses[i].at, Service: uses[i].service, Region: uses[i].region,
			})
		}
		return nil
	})
	return err
}

// guardUsed makes sure that what was used is still there when its use is stored: no
// use is left behind by a deletion. It returns the account it belongs to.
func (s *Service) guardUsed(tx *store.Tx, id string) (account string, ok bool) {
	if k := first(s.keys, tx.Snap, byID, id); k != nil {
		s.keys.Guard(tx, accessKeyKey(id))
		return k.Account, true
	}
	if r := s.RoleByID(tx.Snap, id); r != nil {
		s.roles.Guard(tx, recordKey(r.Account, r.UID))
		return r.Account, true
	}
	return "", false
}

// LastUse is the stored last use of an access key, or of a role by its unique id; nil
// when none is known.
func (s *Service) LastUse(v *store.Snap, id string) *Use {
	u, _ := s.uses.Get(v, useRecordKey(id))
	return u
}

// useRecordKey is where the last use of an access key or role is kept. Whoever deletes
// the one deletes the other in the same transaction.
func useRecordKey(id string) store.Key { return store.Key{Scope: "use", Parent: id} }
