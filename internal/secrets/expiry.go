package secrets

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arca/internal/call"
	"arca/internal/store"
)

// expiryBatch bounds the work of one Step, so that a backlog neither delays the end
// of leadership nor starves callers.
const expiryBatch = 200

// Expiry ends recovery windows and prunes versions. Its decisions are made again
// inside each commit on the state they change, so two processes that run it at once
// waste work but do no harm: it needs no fence.
type Expiry struct {
	secrets    *Service
	dispatcher *call.Dispatcher
}

// NewExpiry makes the engine of a service. The dispatcher records what it does.
func NewExpiry(s *Service, d *call.Dispatcher) *Expiry {
	return &Expiry{secrets: s, dispatcher: d}
}

// Step does what is due at now, a bounded amount of it. One item that cannot be done
// does not hold up the others; their errors are returned together.
func (e *Expiry) Step(ctx context.Context, now time.Time) error {
	due, err := e.due(ctx, InstantOf(now))
	if err != nil {
		return err
	}
	var problems []error
	for _, key := range due {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := e.expire(ctx, now, key); err != nil {
			problems = append(problems, fmt.Errorf("expire secret %s: %w", key.Parent, err))
		}
	}
	if done := len(due) - len(problems); done > 0 {
		e.secrets.log.Info("secrets deleted or pruned as they were due", "secrets", done)
	}
	return errors.Join(problems...)
}

// due lists what the indexes by due time say may be done, each secret once.
func (e *Expiry) due(ctx context.Context, now Instant) ([]store.Key, error) {
	var keys []store.Key
	err := e.secrets.store.View(ctx, func(v *store.Snap) error {
		keys = keys[:0]
		for _, index := range []string{indexDeletion, indexPrune} {
			n := 0
			e.secrets.secrets.Ascend(v, index, "", func(at string, r *Secret) bool {
				if at > now.orderKey() || n == expiryBatch {
					return false
				}
				if index == indexDeletion || r.DeleteAfter.IsZero() || r.DeleteAfter > now {
					keys = append(keys, secretKey(r))
				}
				n++
				return true
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list what is due: %w", err)
	}
	return keys, nil
}

// expire deletes the secret or prunes its versions, whichever is due in the state
// that the commit compares; neither, when the secret has been restored meanwhile.
func (e *Expiry) expire(ctx context.Context, now time.Time, key store.Key) error {
	s := e.secrets
	return e.dispatcher.ServiceUpdate(ctx, now, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
		sec, ok := s.secrets.Get(tx.Snap, key)
		if !ok {
			return nil
		}
		if sec.scheduled() && sec.DeleteAfter <= InstantOf(now) {
			s.remove(tx, sec)
			// At least one, so that the end of a secret without versions is on record too.
			for range max(1, len(sec.Versions)) {
				emit(versionEvent(eventEndDelete, sec))
			}
			return nil
		}
		sec = sec.clone()
		gone := s.prune(tx, sec, s.quotas.Versions, now)
		if len(gone) == 0 {
			return nil
		}
		s.put(tx, sec)
		for range gone {
			emit(versionEvent(eventStartDelete, sec))
			emit(versionEvent(eventEndDelete, sec))
		}
		return nil
	})
}
