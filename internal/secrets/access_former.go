package secrets

import (
	"context"
	"fmt"
	"math"
	"strings"

	"arca/internal/store"
)

// Versions before pages kept the days of each secret in a record of its own, which hung
// under the secret. They are moved into pages at a start, and what is left of them later.

// formerAccess is the table of those records.
const formerAccess = "secret-access"

// indexPages lists former records in the order of the pages that they go to.
const indexPages = "page"

// attachFormerAccess attaches the table of the former records.
func (s *Service) attachFormerAccess(st *store.Store) {
	s.formerAccess = store.NewTable(st, store.TableSpec[LastAccess]{
		Name: formerAccess, Format: formerAccessFormat, Packed: true, Vanishes: true,
		Quiet: func(*LastAccess) bool { return true },
		Indexes: []store.Index[LastAccess]{
			{Name: indexPages, Keys: func(r *LastAccess, emit func(string)) {
				emit(scopeOf(r.Account, r.Region) + "\x00" + string(r.UID[:]))
			}},
		},
	})
}

// formerAccessKey is where a former record is.
func formerAccessKey(sec *Secret) store.Key {
	return store.Key{Scope: sec.scope(), Parent: sec.parent(), Child: "days"}
}

// Upgrade moves what older versions have stored to where this one looks for it, at a start
// before anybody is served. What cannot be written now, on a disk that is full, is moved
// later: until then, those days are unknown.
func (s *Service) Upgrade(ctx context.Context) {
	if err := s.moveFormerAccess(ctx, math.MaxInt); err != nil && ctx.Err() == nil {
		s.log.Warn("days of last access that an older version has stored are moved later", "error", err.Error())
	}
}

// movesAtOnce is how many transactions UpgradeSome makes: some tenths of a second.
const movesAtOnce = 50

// UpgradeSome does a bounded part of what Upgrade has left.
func (s *Service) UpgradeSome(ctx context.Context) error { return s.moveFormerAccess(ctx, movesAtOnce) }

// moveProgress is after how many records somebody who waits is told how far it is.
const moveProgress = 50_000

// moveFormerAccess moves former records into pages, in so many transactions at most. A
// crash leaves some of them.
func (s *Service) moveFormerAccess(ctx context.Context, most int) error {
	all := s.store.Stats().Records[formerAccess]
	if all == 0 {
		return nil
	}
	moved, told := 0, 0
	for from := ""; ; most-- {
		if most == 0 {
			return nil // the rest another time
		}
		n, next, err := s.moveSomeAccess(ctx, from)
		if err != nil {
			return fmt.Errorf("move days of last access into pages: %w", err)
		}
		if n == 0 {
			break
		}
		from = next
		if moved += n; moved-told >= moveProgress {
			told = moved
			s.log.Info("days of last access are moved to their new place, once after an upgrade", "moved", moved, "of", all)
		}
	}
	s.log.Info("days of last access were moved to their new place", "secrets", moved)
	// An older version that has stored some has also deleted secrets, without their pages.
	return s.dropLeftDays(ctx)
}

// dropLeftDays removes the days of secrets that are gone. A uid never comes back, so
// comparing the page is enough.
func (s *Service) dropLeftDays(ctx context.Context) error {
	var left []LastAccess
	err := s.store.View(ctx, func(v *store.Snap) error {
		left = nil
		return s.access.Walk(ctx, v, func(p *AccessPage) error {
			scope := scopeOf(p.Account, p.Region)
			for uid := range p.Days.secrets() {
				if s.byUID(v, scope, uid) == nil {
					account, region, _ := strings.Cut(scope, "/")
					left = append(left, LastAccess{UID: uid, Account: account, Region: region})
				}
			}
			return ctx.Err()
		})
	})
	if err != nil {
		return fmt.Errorf("look for days of last access of deleted secrets: %w", err)
	}
	for len(left) > 0 {
		n := 0
		_, err := s.store.Update(ctx, func(tx *store.Tx) error {
			w := s.pageWriter(tx)
			for n = 0; n < len(left) && !w.full(); n++ {
				w.forget(&Secret{UID: left[n].UID, Account: left[n].Account, Region: left[n].Region})
			}
			w.end()
			return nil
		})
		if err != nil {
			return fmt.Errorf("remove days of last access of deleted secrets: %w", err)
		}
		left = left[n:]
	}
	return nil
}

// moveSomeAccess moves as many former records as fit a transaction, from a key of indexPages
// on, and returns how many and where the next ones begin. A record is compared as it is
// deleted, and goes with its secret, so no days are moved to a page of a secret that is
// being deleted.
func (s *Service) moveSomeAccess(ctx context.Context, from string) (n int, next string, err error) {
	_, err = s.store.Update(ctx, func(tx *store.Tx) error {
		n, next = 0, from
		w := s.pageWriter(tx)
		s.formerAccess.Ascend(tx.Snap, indexPages, from, func(key string, a *LastAccess) bool {
			if w.full() {
				return false
			}
			n, next = n+1, key+"\x00"
			scope := scopeOf(a.Account, a.Region)
			if sec := s.byUID(tx.Snap, scope, a.UID); sec != nil {
				w.join(sec, a)
				s.formerAccess.Delete(tx, formerAccessKey(sec))
				w.others++
				return true
			}
			for _, parent := range []string{a.UID.name(), a.UID.String()} {
				at := store.Key{Scope: scope, Parent: parent, Child: "days"}
				if left, ok := s.formerAccess.Get(tx.Snap, at); ok && left.UID == a.UID {
					s.formerAccess.Delete(tx, at)
					w.others++
				}
			}
			return true
		})
		w.end()
		return nil
	})
	return n, next, err
}
