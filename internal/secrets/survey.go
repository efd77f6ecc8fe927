package secrets

import (
	"sync"
	"time"

	"arca/internal/kms"
	"arca/internal/store"
)

// Survey is how those read secrets who keep something derived from all of them, over all
// accounts: it walks them in bounded pieces and tells which have changed since. It gives
// no values and asks nobody for permission, so it is for the server itself and for
// operations that have authorised their caller.
type Survey struct {
	secrets *Service
	changed *store.Feed[Secret]
}

// NewSurvey begins to collect changes for Changed. A service has at most one survey; the
// store need not be open yet.
func NewSurvey(s *Service) *Survey {
	s.reads.follow()
	return &Survey{secrets: s, changed: s.secrets.Follow()}
}

// Walk visits secrets ordered by account, region and name, from a place on, while fn
// returns true. "" is the place before all, PlaceOf(account) that before the secrets of an
// account; the place of an earlier visit is that of the same secret, if it is still there.
// The records are shared and must not be modified.
func (y *Survey) Walk(v *store.Snap, from string, fn func(place string, sec *Secret) bool) {
	y.secrets.secrets.Ascend(v, indexName, from, fn)
}

// PlaceOf is the place before all secrets of an account.
func PlaceOf(account string) string { return account + "/" }

// Changed hands over at most limit secrets that have been changed or read since they were
// last handed over, as the snapshot shows them, and those that are gone. all says that
// more has changed than could be kept: then every secret is to be looked at again.
func (y *Survey) Changed(v *store.Snap, limit int) (changed []*Secret, gone []UID, all bool) {
	written, all := y.changed.Take(v, limit)
	for _, c := range written {
		if c.Deleted {
			gone = append(gone, c.Record.UID)
			continue
		}
		changed = append(changed, c.Record)
	}
	read, allRead := y.secrets.reads.take(v, max(0, limit-len(written)))
	for _, r := range read {
		if sec, ok := y.Secret(v, r.account, r.region, r.uid); ok {
			changed = append(changed, sec)
		}
	}
	return changed, gone, all || allRead
}

// maxReads bounds the memory of a readFeed: about 8 MB.
const maxReads = 1 << 16

// readFeed collects which secrets have another day of last access than before, as a
// store.Feed does for records: a page has the days of many.
type readFeed struct {
	mu       sync.Mutex
	followed bool           // guarded by mu; somebody takes from it
	changed  map[UID]readOf // guarded by mu
	all      int64          // guarded by mu; not 0: any may have been read up to this revision
}

// readOf is a secret that was read.
type readOf struct {
	uid             UID
	account, region string
	rev             int64 // of the last change
}

func (f *readFeed) follow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followed, f.changed = true, make(map[UID]readOf)
}

// note is told of a change.
func (f *readFeed) note(r readOf) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.followed {
		return
	}
	if _, known := f.changed[r.uid]; !known && len(f.changed) >= maxReads {
		clear(f.changed)
		f.all = r.rev
		return
	}
	f.changed[r.uid] = r
}

// reloaded is told by the store when it has read everything anew.
func (f *readFeed) reloaded(rev int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.changed)
	f.all = rev
}

// take hands over what was read up to the snapshot, at most limit of it. all says that any
// secret may have been read; then what take returns from then on counts from the snapshot.
func (f *readFeed) take(v *store.Snap, limit int) (read []readOf, all bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all != 0 && f.all > v.Revision() {
		return nil, false // the snapshot does not show it yet
	}
	all, f.all = f.all != 0, 0
	for uid, r := range f.changed {
		switch {
		case r.rev > v.Revision():
			continue
		case all:
		case len(read) == limit:
			return read, false
		default:
			read = append(read, r)
		}
		delete(f.changed, uid)
	}
	return read, all
}

// Secret finds a secret by its identity.
func (y *Survey) Secret(v *store.Snap, account, region string, uid UID) (*Secret, bool) {
	sec := y.secrets.byUID(v, scopeOf(account, region), uid)
	return sec, sec != nil
}

// LastRead is midnight of the day on which a secret was last read, on this node or, as far
// as they have told it, on others. It is zero for one that never was.
func (y *Survey) LastRead(v *store.Snap, sec *Secret) time.Time {
	day := y.secrets.lastDay(v, sec)
	if day == 0 {
		return time.Time{}
	}
	return Instant(int64(day) * dayMillis).Time()
}

// KeyARN is the key under which versions of a secret are made now: "" for the account's
// aws/secretsmanager, and the name that the secret keeps where no key answers to it.
func (y *Survey) KeyARN(v *store.Snap, sec *Secret) string {
	if sec.KMSKeyID == "" || sec.KMSKeyID == kms.SecretsManagerAlias {
		return ""
	}
	key, err := y.secrets.kms.Find(v, sec.keyOwner(), sec.KMSKeyID)
	switch {
	case err != nil:
		return sec.KMSKeyID
	case key == nil || key.IsDefault():
		return ""
	}
	return key.ARN()
}
