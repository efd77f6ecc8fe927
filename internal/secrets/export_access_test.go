package secrets

import (
	"context"
	"iter"

	"arca/internal/store"
)

func (r DayRows) With(uid UID, rows DayRows) DayRows           { return r.with(uid, rows) }
func (r DayRows) Of(uid UID) DayRows                           { return r.of(uid) }
func (r DayRows) Joined(sec *Secret, more *LastAccess) DayRows { return r.joined(sec, more) }
func (r DayRows) Valid() bool                                  { return r.valid() }
func (r DayRows) Secrets() iter.Seq2[UID, Day]                 { return r.secrets() }
func (r DayRows) DayOf(versionID string) Day                   { return r.dayOf(versionID) }

// ChangedDays are the secrets whose last day is another than before.
func ChangedDays(before, after DayRows) iter.Seq2[UID, Day] {
	page := func(rows DayRows) *AccessPage {
		if len(rows) == 0 {
			return nil
		}
		return &AccessPage{Days: rows}
	}
	return changedDays(page(before), page(after))
}

// AccessDays is when a version was last read.
func (s *Service) AccessDays(v *store.Snap, sec *Secret) func(versionID string) Day {
	return s.accessDays(v, sec)
}

// FewSeen is how many secrets may wait for them to be stored at once.
const FewSeen = fewSeen

// ManySeen is how many versions may wait.
const ManySeen = manySeen

// RemoveAsBefore deletes a secret as versions before pages did: they leave its days.
func (w Writer) RemoveAsBefore(tx *store.Tx, sec *Secret) {
	w.s.secrets.Delete(tx, secretKey(sec))
	w.s.payloads.DeleteChildren(tx, sec.scope(), sec.parent())
	w.s.formerAccess.DeleteChildren(tx, sec.scope(), sec.parent())
}

// MoveSomeAccess moves one transaction full of former records.
func (s *Service) MoveSomeAccess(ctx context.Context) (int, error) {
	n, _, err := s.moveSomeAccess(ctx, "")
	return n, err
}

// ReloadReads tells of a reload as of a revision.
func (s *Service) ReloadReads(rev int64) { s.reads.reloaded(rev) }
