package call

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// errBehind means that nothing new begins: lines of earlier changes wait to be written.
var errBehind = errors.New("audit log is behind")

// Settle tries again to write the lines of changes that were committed while the
// log could not be written. It is cheap when there are none.
func (d *Dispatcher) Settle(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for effect, lines := range d.unsettled {
		if err := d.cfg.Log.Append(context.WithoutCancel(ctx), lines...); err != nil {
			return err
		}
		delete(d.unsettled, effect)
		d.cfg.Store.ReleaseEffect(effect)
	}
	return nil
}

// leftEffect is the effect of a change that may have no line.
type leftEffect struct {
	number uint64
	lines  [][]byte
	ids    []string // of the lines, in their order
}

// Recover writes the lines of changes for which nobody waits any more, and lets their
// effects go: those that an earlier life of this node committed without having synced
// their record, and those of this life whose outcome was unknown and turned out to
// have happened. It runs before the first request is served, and every now and then
// after that. It is cheap when there are none.
func (d *Dispatcher) Recover(ctx context.Context) error {
	d.recovering.Lock()
	defer d.recovering.Unlock()
	left, oldest, err := d.leftEffects(ctx)
	if err != nil {
		return fmt.Errorf("list audit effects: %w", err)
	}
	if len(left) == 0 {
		return nil
	}
	var ids []string
	for _, l := range left {
		ids = append(ids, l.ids...)
	}
	written, err := d.cfg.Log.Contains(ctx, oldest, ids)
	if err != nil {
		return fmt.Errorf("look up audit effects in the log: %w", err)
	}
	lines := 0
	for _, l := range left {
		var missing [][]byte
		for i, id := range l.ids {
			if !written[id] {
				missing = append(missing, l.lines[i])
			}
		}
		if len(missing) > 0 {
			// A crash between here and the release leaves the effect, whose line is then found.
			if err := d.cfg.Log.Append(context.WithoutCancel(ctx), missing...); err != nil {
				return fmt.Errorf("write recovered audit records: %w", err)
			}
		}
		lines += len(missing)
		d.cfg.Store.ReleaseEffect(l.number)
	}
	d.cfg.Logger.Info("changes without an audit record looked up", "changes", len(left), "records_written", lines)
	return nil
}

// leftEffects also returns the time of the oldest line.
func (d *Dispatcher) leftEffects(ctx context.Context) (left []leftEffect, oldest time.Time, err error) {
	err = d.cfg.Store.Effects(ctx, func(number uint64, data []byte) error {
		l := leftEffect{number: number, lines: bytes.Split(data, []byte{'\n'})}
		for _, line := range l.lines {
			id, at, err := lineIdentity(line)
			if err != nil {
				return fmt.Errorf("read effect %d: %w", number, err)
			}
			l.ids = append(l.ids, id)
			if oldest.IsZero() || at.Before(oldest) {
				oldest = at
			}
		}
		left = append(left, l)
		return nil
	})
	return left, oldest, err
}

// lineIdentity reads what Recover needs of a line.
func lineIdentity(line []byte) (id string, at time.Time, err error) {
	var m struct {
		EventID   string    `json:"eventID"`
		EventTime time.Time `json:"eventTime"`
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return "", time.Time{}, fmt.Errorf("parse audit line: %w", err)
	}
	if m.EventID == "" || m.EventTime.IsZero() {
		return "", time.Time{}, errors.New("parse audit line: it has no event id or time")
	}
	return m.EventID, m.EventTime, nil
}
