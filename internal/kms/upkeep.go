package kms

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arca/internal/api"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/store"
)

// upkeepBatch bounds the work of one Step, so that a backlog neither delays the end of
// leadership nor starves callers.
const upkeepBatch = 100

// eventSource is that of the events nobody called for.
const eventSource = "kms.amazonaws.com"

// Upkeep deletes keys whose time is over and rotates those whose turn it is. Its
// decisions are made again inside each commit on the state they change, so two processes
// that run it at once waste work but do no harm: it needs no fence.
type Upkeep struct {
	kms        *Service
	dispatcher *call.Dispatcher
}

// NewUpkeep makes the engine of a service. The dispatcher records what it does.
func NewUpkeep(s *Service, d *call.Dispatcher) *Upkeep { return &Upkeep{kms: s, dispatcher: d} }

// Step does what is due at now, a bounded amount of it. One key that cannot be seen to
// does not hold up the others; their errors are returned together.
func (u *Upkeep) Step(ctx context.Context, now time.Time) error {
	var due []envelope.KeyID
	err := u.kms.store.View(ctx, func(v *store.Snap) error {
		due = due[:0]
		until := orderKey(now.UnixMilli())
		u.kms.keys.Ascend(v, byDue, "", func(at string, k *Key) bool {
			if at > until || len(due) == upkeepBatch {
				return false
			}
			due = append(due, k.ID)
			return true
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("list keys that are due: %w", err)
	}
	var problems []error
	for _, id := range due {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := u.see(ctx, now, id); err != nil {
			problems = append(problems, fmt.Errorf("see to key %s: %w", IDText(id), err))
		}
	}
	return errors.Join(problems...)
}

// see deletes or rotates one key, whichever is due in the state that the commit
// compares; neither, when it has been cancelled meanwhile.
func (u *Upkeep) see(ctx context.Context, now time.Time, id envelope.KeyID) error {
	s := u.kms
	var gone *Key
	err := u.dispatcher.ServiceUpdate(ctx, now, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
		gone = nil
		old := s.find(tx.Snap, id)
		at := now.UnixMilli()
		if old == nil || old.due() == 0 || old.due() > at {
			return nil
		}
		if old.State == PendingDeletion {
			s.remove(tx, old)
			gone = old
			emit(keyEvent("DeleteKey", old, nil))
			return nil
		}
		key := old.clone()
		if err := s.addMaterial(key, at, automatic); err != nil {
			return err
		}
		if !key.IsDefault() {
			key.NextRotation = at + days(key.RotationDays)
		}
		s.keys.Put(tx, keyKey(key), key)
		emit(rotated(key))
		return nil
	})
	if err == nil && gone != nil {
		s.opened.forget(gone)
	}
	return err
}

// remove deletes a key with all that hangs on it. What it encrypted cannot be read ever
// after.
func (s *Service) remove(tx *store.Tx, key *Key) {
	s.keys.Delete(tx, keyKey(key))
	s.grants.DeleteChildren(tx, key.scope(), IDText(key.ID))
	s.aliasesOf(tx.Snap, key, func(a *Alias) bool {
		s.aliases.Delete(tx, aliasKey(a.scope(), a.Name))
		return true
	})
}

// rotated is the event of a key that has got a new version.
func rotated(key *Key) call.ServiceEvent {
	m := key.current()
	details := api.AppendJSONString([]byte(`,"rotationType":`), m.Rotation)
	details = api.AppendJSONString(append(details, `,"keyOrigin":`...), originKMS)
	details = api.AppendJSONString(append(details, `,"previousKeyMaterialId":`...), materialID(key, &key.Material[len(key.Material)-2]))
	details = api.AppendJSONString(append(details, `,"currentKeyMaterialId":`...), materialID(key, m))
	return keyEvent("RotateKey", key, details)
}

// keyEvent is an event about a key, as CloudTrail has it for KMS. details are more
// members of serviceEventDetails.
func keyEvent(name string, key *Key, details []byte) call.ServiceEvent {
	all := api.AppendJSONString([]byte(`{"keyId":`), IDText(key.ID))
	return call.ServiceEvent{
		Source: eventSource, Name: name, Account: key.Account, Region: key.Region, InvokedBy: "AWS Internal",
		ResourceARN: key.ARN(), ResourceType: keyType, Details: append(append(all, details...), '}'),
	}
}
