package call

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arca/internal/store"
)

// ServiceEvent is something a service did without being called: CloudTrail's
// AwsServiceEvent (AWS CloudTrail user guide, "Record contents").
type ServiceEvent struct {
	Source      string // "secretsmanager.amazonaws.com"
	Name        string // "EndSecretVersionDelete"
	Account     string
	Region      string
	ResourceARN string // shown as additionalEventData.SecretId, or among the resources
	// ResourceType is CloudTrail's name for what ResourceARN names, e.g. "AWS::KMS::Key",
	// and puts it among the record's resources.
	ResourceType string
	// Details is the JSON object serviceEventDetails; nil for none.
	Details   []byte
	InvokedBy string // "" means Source
	RequestID string // "" means that of the call it belongs to, or a random one
	Error     string // errorMessage; "" for success
}

// errNothingToRecord ends a transaction that emitted no event.
var errNothingToRecord = errors.New("no service event")

// ServiceUpdate commits a change that an engine makes by itself, together with the
// service events it emits; the events are in the log when it returns nil. fn may run
// again; only the events of the committed run count. A run that emits no event commits
// nothing, whatever it wrote: what nobody called for is recorded too.
//
// When the error is store.ErrUnknown, Recover writes the events once it is known that
// the change happened. With any other error there was no change, or its events are in
// the log before the next call or change begins.
func (d *Dispatcher) ServiceUpdate(ctx context.Context, now time.Time, fn func(tx *store.Tx, emit func(ServiceEvent)) error) error {
	if err := d.Settle(ctx); err != nil {
		return fmt.Errorf("%w: %w", errBehind, err)
	}
	if err := d.gate(false); err != nil {
		return err
	}
	base := newEventID()
	var lines [][]byte
	var events []ServiceEvent
	commit, err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		events = events[:0]
		if err := fn(tx, func(e ServiceEvent) { events = append(events, e) }); err != nil {
			return err
		}
		if len(events) == 0 {
			return errNothingToRecord
		}
		tx.SetEffect(func(changes []store.Change) []byte {
			lines = d.serviceLines(base, now, events, changes)
			return joinLines(lines)
		})
		return nil
	})
	if errors.Is(err, errNothingToRecord) {
		return nil
	}
	if err != nil || commit.Effect == 0 {
		return err
	}
	// Durable together with its effect; a crash from here on leaves the events to the
	// next start.
	return d.append(commit.Effect, lines)
}
