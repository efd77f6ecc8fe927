package secrets

import (
	"context"
	"slices"
	"time"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/policy"
	"arca/internal/store"
)

// Clone is the copy that operations change.
func (s *Secret) Clone() *Secret { return s.clone() }

// LabelNew labels a version of sec, which must be a clone, as a new value does.
func LabelNew(sec *Secret, id string, stages []string) {
	labelNew(sec.Versions, sec.version(id), stages)
}

// MoveLabel is UpdateSecretVersionStage on the versions of a clone.
func MoveLabel(sec *Secret, stage string, from, to *string) (bool, error) {
	return moveLabel(sec.Versions, stage, from, to)
}

// CheckSecret lists what is wrong with a record by itself.
func CheckSecret(sec *Secret) []string { return checkSecret(sec) }

// Identifier is a SecretId taken apart.
type Identifier struct {
	Account, Region, Name, Suffix string
	Foreign                       bool
	WouldBeARN                    string
}

// ParseIdentifier takes a SecretId apart for a caller.
func ParseIdentifier(c *call.Call, raw string) (Identifier, error) {
	id, err := parseIdentifier(c, raw)
	return Identifier{id.account, id.region, id.name, id.suffix, id.foreign, id.wouldBeARN()}, err
}

// NewSuffix draws the end of an ARN.
func NewSuffix() string { return newSuffix() }

// OrderKey is the form of an Instant in index keys.
func OrderKey(i Instant) string { return i.orderKey() }

// AddTags applies the tags of a request to a clone.
func AddTags(s *Service, sec *Secret, tags []smapi.Tag) error { return s.addTags(sec, tags) }

// WithQuotas is a service without a store, for rules that need none.
func WithQuotas(q Quotas) *Service { return &Service{quotas: q.withDefaults(), seen: newAccessLog()} }

// Announce adds an empty version with AWSPENDING to a secret, as a rotation does.
func (s *Service) Announce(ctx context.Context, scope, name, versionID string, now time.Time) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		sec := s.byName(tx.Snap, scope, name).clone()
		sec.Versions = append(sec.Versions, Version{ID: versionID, Stages: []string{stagePending}, Created: InstantOf(now)})
		s.put(tx, sec)
		return nil
	})
	return err
}

// Spoil changes the records of a secret in ways that no operation does.
func (s *Service) Spoil(ctx context.Context, scope, name string, how func(tx *store.Tx, w Writer, sec *Secret)) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		how(tx, Writer{s}, s.byName(tx.Snap, scope, name).clone())
		return nil
	})
	return err
}

// Writer writes single records.
type Writer struct{ s *Service }

// Secret writes the record of a secret alone.
func (w Writer) Secret(tx *store.Tx, sec *Secret) { w.s.put(tx, sec) }

// DropSecret deletes the record of a secret alone.
func (w Writer) DropSecret(tx *store.Tx, sec *Secret) { w.s.secrets.Delete(tx, secretKey(sec)) }

// Name writes the record of a name alone.
func (w Writer) Name(tx *store.Tx, sec *Secret, name string, uid UID) {
	w.s.names.Put(tx, nameRecordKey(sec.scope(), name), &SecretName{UID: uid})
}

// AsFormat4 writes a secret as formats 1 to 4 did: keyed by its uid, the name reserved by a
// record, each value in a record of its own.
func (w Writer) AsFormat4(ctx context.Context, tx *store.Tx, sec *Secret) error {
	if !sec.NameKeyed {
		return nil
	}
	s := w.s
	former := sec.clone()
	former.NameKeyed = false
	for i := range former.Versions {
		ver := &former.Versions[i]
		if ver.Kind == NoValue {
			continue
		}
		p, err := s.payload(ctx, tx.Snap, sec, ver)
		if err != nil {
			return err
		}
		s.payloads.Put(tx, valueKey(former, ver.ID), &Payload{p.DataKey, p.Value, p.FormerDataKeys})
		ver.Payload = Payload{}
	}
	if j, ok := s.jobs.Get(tx.Snap, jobKey(sec)); ok {
		s.jobs.Put(tx, jobKey(former), j)
	}
	if h, err := s.histories.Load(ctx, tx.Snap, historyKey(sec)); err == nil {
		s.histories.Put(tx, historyKey(former), h)
	}
	s.remove(tx, sec)
	at := pageKey(sec.scope(), pageOf(sec.UID))
	if days, ok := s.access.Get(tx.Snap, at); ok {
		s.access.Put(tx, at, days) // instead of what remove has done
	}
	w.Name(tx, sec, sec.Name, sec.UID)
	s.secrets.Put(tx, secretKey(former), former)
	return nil
}

// Days changes the page that has the days of a secret.
func (w Writer) Days(tx *store.Tx, sec *Secret, change func(p *AccessPage)) {
	at := pageKey(sec.scope(), pageOf(sec.UID))
	stored, _ := w.s.access.Get(tx.Snap, at)
	p := *stored
	p.Days = slices.Clone(p.Days)
	change(&p)
	w.s.access.Put(tx, at, &p)
}

// AsFormerAccess writes the days of access of a secret as versions before pages did.
func (w Writer) AsFormerAccess(tx *store.Tx, sec *Secret, day Day, versions map[string]Day) {
	pages := w.s.pageWriter(tx)
	pages.forget(sec)
	pages.end()
	w.s.secrets.Guard(tx, secretKey(sec))
	w.s.formerAccess.Put(tx, formerAccessKey(sec), &LastAccess{UID: sec.UID, Account: sec.Account, Region: sec.Region, Day: day, Versions: versions})
}

// FormerAccess counts the records of versions before pages.
func (s *Service) FormerAccess() int { return s.store.Stats().Records[formerAccess] }

// CopyValue puts the value of one version in the place of another's; both are records of
// their own.
func (w Writer) CopyValue(ctx context.Context, tx *store.Tx, sec *Secret, from, to string) error {
	p, err := w.s.payloads.Load(ctx, tx.Snap, valueKey(sec, from))
	if err != nil {
		return err
	}
	w.s.secrets.Guard(tx, secretKey(sec))
	w.s.payloads.Put(tx, valueKey(sec, to), p)
	return nil
}

// DropValue deletes the value of a version alone.
func (w Writer) DropValue(tx *store.Tx, sec *Secret, id string) {
	w.s.secrets.Guard(tx, secretKey(sec))
	w.s.payloads.Delete(tx, valueKey(sec, id))
}

// Note remembers a read as GetSecretValue does where the day is not stored yet.
func (s *Service) Note(sec *Secret, versionID string, day Day) {
	if !s.seen.known.has(s.seen.known.fingerprint(sec.UID, versionID, day)) {
		s.seen.note(sec, versionID, day)
	}
}

// Seen counts the secrets and versions whose reads are in memory, and the secrets among
// them that wait to be stored.
func (s *Service) Seen() (secrets, versions, waiting int) {
	s.seen.mu.RLock()
	defer s.seen.mu.RUnlock()
	for _, a := range s.seen.seen {
		versions += len(a.Versions)
		if !a.stored {
			waiting++
		}
	}
	return len(s.seen.seen), versions, waiting
}

// ForgetReads leaves nothing in memory, as a start does.
func (s *Service) ForgetReads() { s.seen = newAccessLog() }

// ForgetKnown leaves no read known, as if others had taken all slots.
func (s *Service) ForgetKnown() {
	clear(s.seen.known.sets)
}

// Knows is how many of so many reads that were added are known, -1 if one that was
// removed still is.
func Knows(reads int) (known int) {
	k := newAccessLog().known
	fp := func(i int) uint64 { return k.fingerprint(UID{byte(i), byte(i >> 8), byte(i >> 16)}, "v", 20_000) }
	for i := range reads {
		k.add(fp(i))
		k.add(fp(i))
	}
	for i := range reads {
		if k.has(fp(i)) {
			known++
		}
		k.remove(fp(i))
		if k.has(fp(i)) {
			return -1
		}
	}
	return known
}

// SettleAll takes everything seen for stored.
func (s *Service) SettleAll() { s.seen.settle(s.seen.unstored(), nil) }

// MaxSeen is the most versions whose reads are kept in memory.
const MaxSeen = maxSeen

// EncryptionContext is what a version's value and data key are bound to.
func EncryptionContext(arn, versionID string) map[string]string {
	return encryptionContext(arn, versionID)
}

// OpenValue opens a value with its data key.
func OpenValue(key *envelope.Key, sealed []byte, encCtx map[string]string) (envelope.Plaintext, error) {
	return openValue(key, sealed, envelope.BindContext(encCtx))
}

// WithKeys is a check with the condition keys of its question among its own.
func WithKeys(ck *call.Check) call.Check {
	all := *ck
	if q, ok := ck.Context.(*question); ok {
		all.Keys, all.Context = append(slices.Clip(all.Keys), q.conditionKeys()...), nil
	}
	return all
}

// Questions are what a policy asks about a secret: a key and its values, as they are
// worked out, and as they are listed.
func Questions(secretID string, sec *Secret) (lookup func(key string) ([]string, bool), list []policy.ContextKey) {
	q := &question{secretID: secretID, sec: sec}
	return func(key string) ([]string, bool) { return q.Lookup(nil, key) }, q.conditionKeys()
}

// AccessRevision is when an access record was last written.
func (s *Service) AccessRevision(v *store.Snap) int64 { return s.access.Revision(v) }
