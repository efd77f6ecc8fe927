package secrets

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"arca/internal/store"
)

const (
	// maxSeen bounds the memory of reads that are not stored yet, in versions: about 40 MB
	// when they all are of different secrets. Beyond it a read may be forgotten: a date of
	// the last access may come late, a read may not fail.
	maxSeen = 100_000
	// knownSlots is how many reads are known at most to be collected or stored: 8 MB, of
	// which those pages are touched that reads fall on.
	knownSlots = 1 << 20
	// fewSeen is how many secrets may wait to be stored for them to be stored at once, and
	// manySeen how many versions: a stop should have them stored within seconds.
	fewSeen  = 256
	manySeen = maxSeen / 4
)

// accessLog collects the days on which versions were read until they are stored.
type accessLog struct {
	known knownReads
	mu    sync.RWMutex
	// seen by uid, contents included (guarded by mu).
	seen map[UID]*seenAccess
	// versions is how many there are in seen (guarded by mu).
	versions int
	// settled is what may be forgotten, unless it was read again (guarded by mu).
	settled []UID
}

// seenAccess is what has been read of a secret.
type seenAccess struct {
	LastAccess
	// stored: it is kept until the next flush, or until room is short, for those who look at a
	// snapshot of before.
	stored bool
}

func newAccessLog() *accessLog {
	return &accessLog{
		known: knownReads{seed: maphash.MakeSeed(), sets: make([]knownSet, knownSlots/len(knownSet{}))},
		seen:  make(map[UID]*seenAccess),
	}
}

// knownReads are the reads, each of a version on a day, that make no work any more, by 63
// bits of a keyed hash. Each has a set of slots, a line of the processor's cache, where the
// newest takes the place of the oldest; whoever lost it is looked up again. Two that are
// taken for one are rarer than a broken disk, and cost a date.
type knownReads struct {
	seed maphash.Seed
	sets []knownSet
}

// knownSet begins with the newest. Those who write to it at the same time may lose what
// the other has added.
type knownSet [8]atomic.Uint64

// fingerprint is what a read is known by.
func (k *knownReads) fingerprint(uid UID, versionID string, day Day) uint64 {
	var room [128]byte
	b := append(room[:0], uid[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(day))
	return maphash.Bytes(k.seed, append(b, versionID...)) | 1 // an empty slot has 0
}

func (k *knownReads) set(fp uint64) *knownSet { return &k.sets[fp>>32%uint64(len(k.sets))] }

func (k *knownReads) has(fp uint64) bool {
	set := k.set(fp)
	for i := range set {
		if set[i].Load() == fp {
			return true
		}
	}
	return false
}

func (k *knownReads) add(fp uint64) {
	if k.has(fp) {
		return
	}
	set := k.set(fp)
	for i := range set {
		if fp = set[i].Swap(fp); fp == 0 {
			return
		}
	}
}

func (k *knownReads) remove(fp uint64) {
	set := k.set(fp)
	for i := range set {
		set[i].CompareAndSwap(fp, 0)
	}
}

// noteRead remembers that a version was read. The common case, a version read already
// that day, takes no lock. Where this process does not know that, but it is stored, as
// after a start, nothing is written; with very many secrets most reads are such.
func (s *Service) noteRead(v *store.Snap, sec *Secret, versionID string, day Day) {
	fp := s.seen.known.fingerprint(sec.UID, versionID, day)
	if s.seen.known.has(fp) {
		return
	}
	if s.storedDays(v, sec).dayOf(versionID) >= day {
		s.seen.known.add(fp)
		return
	}
	s.seen.note(sec, versionID, day)
}

// note collects a read that may not be stored, if there is room.
func (l *accessLog) note(sec *Secret, versionID string, day Day) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.versions >= maxSeen {
		l.forgetSettledLocked()
	}
	a := l.seen[sec.UID]
	if a == nil || a.Versions[versionID] == 0 {
		if l.versions >= maxSeen {
			return
		}
		l.versions++
	}
	if a == nil {
		// Copies: the record's texts are part of something larger.
		a = &seenAccess{LastAccess: LastAccess{UID: sec.UID, Account: strings.Clone(sec.Account), Region: strings.Clone(sec.Region), Versions: make(map[string]Day, 1)}}
		l.seen[sec.UID] = a
	}
	if a.Versions[versionID] == 0 {
		versionID = strings.Clone(versionID)
	}
	a.Versions[versionID] = max(a.Versions[versionID], day)
	a.Day = max(a.Day, day)
	a.stored = false
	l.known.add(l.known.fingerprint(sec.UID, versionID, day))
	if len(a.Versions) > len(sec.Versions) {
		// A secret that is written and read for long leaves versions behind. To one who looks at
		// an older snapshot, those of a newer one are missing: they are to be noted again.
		for id, day := range a.Versions {
			if sec.version(id) == nil {
				l.known.remove(l.known.fingerprint(sec.UID, id, day))
				delete(a.Versions, id)
				l.versions--
			}
		}
	}
}

func (l *accessLog) forgetLocked(uid UID) {
	if a := l.seen[uid]; a != nil {
		l.versions -= len(a.Versions)
	}
	delete(l.seen, uid)
}

func (l *accessLog) forgetSettledLocked() {
	for _, uid := range l.settled {
		if a := l.seen[uid]; a != nil && a.stored {
			l.forgetLocked(uid)
		}
	}
	l.settled = nil
}

// of is what was seen of a secret and may not be stored.
func (l *accessLog) of(uid UID) (LastAccess, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	a := l.seen[uid]
	if a == nil {
		return LastAccess{}, false
	}
	return a.clone(), true
}

// lastDay is the day a secret was last seen to be read; 0 when it was not.
func (l *accessLog) lastDay(uid UID) Day {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if a := l.seen[uid]; a != nil {
		return a.Day
	}
	return 0
}

// unstored copies what is to be stored, and forgets what was before.
func (l *accessLog) unstored() []LastAccess {
	l.mu.Lock()
	l.forgetSettledLocked()
	l.mu.Unlock()
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make([]LastAccess, 0, len(l.seen))
	for _, a := range l.seen {
		out = append(out, a.clone())
	}
	return out
}

// settle marks what was stored, unless it has been read again since it was copied,
// and forgets the secrets that are gone.
func (l *accessLog) settle(stored []LastAccess, gone map[UID]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range stored {
		uid := stored[i].UID
		if gone[uid] {
			l.forgetLocked(uid) // a uid never comes back
		} else if a := l.seen[uid]; a != nil && maps.Equal(a.Versions, stored[i].Versions) {
			a.stored = true
			l.settled = append(l.settled, uid)
		}
	}
}

func (a *LastAccess) clone() LastAccess {
	c := *a
	c.Versions = maps.Clone(a.Versions)
	return c
}

// lastDay is the day a secret was last read, with what this process has seen and not
// stored; 0 when it never was.
func (s *Service) lastDay(v *store.Snap, sec *Secret) Day {
	return s.lastDayAfter(v, sec, unknownDay)
}

// unknownDay stands for a day that has to be looked up.
const unknownDay Day = -1

// lastDayAfter is lastDay where the stored day may be known.
func (s *Service) lastDayAfter(v *store.Snap, sec *Secret, stored Day) Day {
	if stored == unknownDay {
		stored = s.storedDays(v, sec).last()
	}
	return max(stored, s.seen.lastDay(sec.UID))
}

// accessDays is when a version of a secret was last read, likewise.
func (s *Service) accessDays(v *store.Snap, sec *Secret) func(versionID string) Day {
	stored := s.storedDays(v, sec)
	seen, _ := s.seen.of(sec.UID)
	return func(versionID string) Day { return max(stored.dayOf(versionID), seen.Versions[versionID]) }
}

// AccessDue reports whether it is time for FlushAccess, for those who ask often: while many
// secrets are read for the first time of a day, they are left to gather, since those of a
// page cost little more than one of them; but not very many, which a stop would have to
// store.
func (s *Service) AccessDue() bool {
	s.seen.mu.RLock()
	defer s.seen.mu.RUnlock()
	return len(s.seen.seen)-len(s.seen.settled) <= fewSeen || s.seen.versions >= manySeen
}

// FlushAccess stores the days of access that this process has collected. Every node
// does it for itself; the days only grow, so the order among nodes does not matter.
// What cannot be stored is kept for the next time. A crash forgets what was read
// since the last flush.
func (s *Service) FlushAccess(ctx context.Context) error {
	todo := s.seen.unstored()
	slices.SortFunc(todo, func(a, b LastAccess) int {
		return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Region, b.Region), bytes.Compare(a.UID[:], b.UID[:]))
	})
	var problems []error
	// alone is how many are stored page by page, as they could not be stored together: a page
	// that cannot be written, as one that somebody has damaged, must not keep others from it.
	for alone := 0; len(todo) > 0; {
		some := todo
		if alone > 0 {
			some = firstPage(todo)
		}
		n, gone, err := s.storeAccess(ctx, some)
		switch {
		case err == nil:
			s.seen.settle(some[:n], gone)
		case n == 0, !errors.Is(err, store.ErrConflict):
			return fmt.Errorf("store days of last access: %w", errors.Join(append(problems, err)...))
		case !samePage(&some[0], &some[n-1]):
			alone = n
			continue
		default:
			problems = append(problems, err)
		}
		todo, alone = todo[n:], alone-n
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("store some days of last access: %w", err)
	}
	return nil
}

// firstPage is what of sorted days goes to the page of the first one.
func firstPage(todo []LastAccess) []LastAccess {
	n := 1
	for n < len(todo) && samePage(&todo[0], &todo[n]) {
		n++
	}
	return todo[:n]
}

func samePage(a, b *LastAccess) bool {
	return a.Account == b.Account && a.Region == b.Region && pageOf(a.UID) == pageOf(b.UID)
}

// storeAccess writes what is new in the first n of what is to be stored, as many as fit a
// transaction, and names those of them that have been deleted since they were read.
func (s *Service) storeAccess(ctx context.Context, todo []LastAccess) (n int, gone map[UID]bool, err error) {
	_, err = s.store.Update(ctx, func(tx *store.Tx) error {
		n, gone = 0, make(map[UID]bool)
		w := s.pageWriter(tx)
		for ; n < len(todo) && !w.full(); n++ {
			a := &todo[n]
			sec := s.byUID(tx.Snap, scopeOf(a.Account, a.Region), a.UID)
			if sec == nil {
				gone[a.UID] = true
				continue
			}
			if w.join(sec, a) {
				// Guarded, so that no days appear of a secret that is being deleted.
				s.secrets.Guard(tx, secretKey(sec))
				w.others++
			}
		}
		w.end()
		return nil
	})
	return n, gone, err
}
