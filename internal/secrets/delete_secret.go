package secrets

import (
	"context"
	"time"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

const (
	minRecoveryDays     = 7
	maxRecoveryDays     = 30
	defaultRecoveryDays = 30
)

// DeleteSecret schedules a deletion at the end of a recovery window, or deletes at
// once when forced. A forced deletion succeeds for a secret that does not exist:
// whoever repeats it gets what they wanted.
func (s *Service) DeleteSecret(ctx context.Context, c *call.Call, in *smapi.DeleteSecretInput) (*smapi.DeleteSecretOutput, error) {
	id, err := parseIdentifier(c, in.SecretId)
	if err != nil {
		return nil, err
	}
	var keys conditions
	keys.flag("secretsmanager:ForceDeleteWithoutRecovery", in.ForceDeleteWithoutRecovery)
	keys.number("secretsmanager:RecoveryWindowInDays", in.RecoveryWindowInDays)
	force := in.ForceDeleteWithoutRecovery != nil && *in.ForceDeleteWithoutRecovery
	invented := newSuffix()
	var out *smapi.DeleteSecretOutput
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		sec := s.find(tx.Snap, &id)
		if err := c.Authorize(ctx, check(tx.Snap, "DeleteSecret", &id, sec, keys...)); err != nil {
			return err
		}
		days, err := recoveryDays(in.RecoveryWindowInDays, force)
		if err != nil {
			return err
		}
		switch {
		case sec == nil && force && !id.foreign:
			out = inventedDeletion(c, id, invented)
			return nil
		case sec == nil:
			return errNoSecret()
		case force:
			out = deleteOutput(sec, InstantOf(c.Now))
			if !sec.scheduled() {
				for range sec.Versions {
					c.ServiceEvent(versionEvent(eventStartDelete, sec))
				}
			}
			for range sec.Versions {
				c.ServiceEvent(versionEvent(eventEndDelete, sec))
			}
			s.remove(tx, sec)
			return nil
		case sec.scheduled():
			return errScheduled()
		}
		sec = sec.clone()
		sec.Deleted, sec.Changed = InstantOf(c.Now), InstantOf(c.Now)
		sec.DeleteAfter = InstantOf(c.Now.Add(time.Duration(days) * 24 * time.Hour))
		s.put(tx, sec)
		for range sec.Versions {
			c.ServiceEvent(versionEvent(eventStartDelete, sec))
		}
		out = deleteOutput(sec, sec.DeleteAfter)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// recoveryDays is the window the request asks for.
func recoveryDays(asked *int64, force bool) (int64, error) {
	switch {
	case asked == nil:
		return defaultRecoveryDays, nil
	case force:
		return 0, smapi.InvalidParameterException.Errorf("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case *asked < minRecoveryDays || *asked > maxRecoveryDays:
		return 0, smapi.InvalidParameterException.Errorf("The RecoveryWindowInDays value must be between %d and %d days (inclusive).", minRecoveryDays, maxRecoveryDays)
	}
	return *asked, nil
}

// remove deletes a secret with all that belongs to it, at most one in a transaction. The
// name is free from this commit on; a namesake gets another uid, so nothing of this secret
// can reach it.
func (s *Service) remove(tx *store.Tx, sec *Secret) {
	s.secrets.Delete(tx, secretKey(sec))
	if !sec.NameKeyed {
		s.names.Delete(tx, nameRecordKey(sec.scope(), sec.Name))
	}
	s.payloads.DeleteChildren(tx, sec.scope(), sec.parent())
	s.formerAccess.DeleteChildren(tx, sec.scope(), sec.parent())
	s.jobs.DeleteChildren(tx, sec.scope(), sec.parent())
	s.histories.DeleteChildren(tx, sec.scope(), sec.parent())
	days := s.pageWriter(tx)
	days.forget(sec)
	days.end()
}

func deleteOutput(sec *Secret, at Instant) *smapi.DeleteSecretOutput {
	return &smapi.DeleteSecretOutput{ARN: new(sec.ARN()), Name: &sec.Name, DeletionDate: at.pointer()}
}

// inventedDeletion is AWS's answer to a forced deletion of nothing: an ARN that never
// was.
func inventedDeletion(c *call.Call, id identifier, suffix string) *smapi.DeleteSecretOutput {
	if id.suffix != "" {
		suffix = id.suffix
	}
	return &smapi.DeleteSecretOutput{
		ARN:  new(secretARN(id.partition, id.region, id.account, id.name, suffix)),
		Name: &id.name, DeletionDate: InstantOf(c.Now).pointer(),
	}
}
