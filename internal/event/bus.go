package event

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

const (
	// maxWaiting bounds the events that wait in a bus.
	maxWaiting = 1024
	// maxDetailBytes bounds the detail of an event that did not come from the log.
	maxDetailBytes = 64 << 10
	// arcaSource is the source of events about the server itself.
	arcaSource = "arca"
)

// BusConfig says what an event that names no place of its own is about.
type BusConfig struct {
	Account, Region string
	// Now is the clock; nil means the system's.
	Now func() time.Time
}

// Bus takes events that do not come from the audit log: what happens to the server
// itself. It is safe for concurrent use; a nil Bus takes everything and keeps nothing.
type Bus struct {
	cfg  BusConfig
	wake chan struct{} // capacity 1: events wait

	mu      sync.Mutex
	waiting []Event       // in order of arrival; guarded by mu
	room    chan struct{} // closed when all of them are taken; guarded by mu
	dropped uint64        // guarded by mu
}

// NewBus returns an empty bus.
func NewBus(cfg BusConfig) *Bus {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Bus{cfg: cfg, wake: make(chan struct{}, 1), room: make(chan struct{})}
}

// Emit takes an event and never blocks. What the event leaves open is filled in: id,
// time, source, account and region. When too many wait the event is dropped and
// counted, unless an older one with its key waits, whose place it takes.
func (b *Bus) Emit(e Event) {
	if b == nil {
		return
	}
	if full := b.put(&e); full != nil {
		b.drop()
	}
}

// EmitWait is Emit for those who can wait: while the bus is full it does, until ctx
// ends. When it returns nil before ctx has ended, whoever runs the bus as long as ctx
// lasts gets the event.
func (b *Bus) EmitWait(ctx context.Context, e Event) error {
	if b == nil {
		return nil
	}
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("emit event %s: %w", e.DetailType, context.Cause(ctx))
		}
		full := b.put(&e)
		if full == nil {
			break
		}
		select {
		case <-full:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil { // its reader may have gone before it came
		return fmt.Errorf("emit event %s: %w", e.DetailType, context.Cause(ctx))
	}
	return nil
}

// put fills in an event and takes it. When the bus is full, it returns what is closed
// when there is room again.
func (b *Bus) put(e *Event) (full <-chan struct{}) {
	if e.ID == "" {
		e.ID = newID()
	}
	if e.Time.IsZero() {
		e.Time = b.cfg.Now()
	}
	if e.Source == "" {
		e.Source = arcaSource
	}
	if e.Account == "" {
		e.Account = b.cfg.Account
	}
	if e.Region == "" {
		e.Region = b.cfg.Region
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(e.Detail) > maxDetailBytes {
		b.dropped++
		return nil
	}
	if e.Key != "" {
		for i := range b.waiting {
			if b.waiting[i].Key == e.Key {
				b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
				break
			}
		}
	}
	if len(b.waiting) >= maxWaiting {
		return b.room
	}
	b.waiting = append(b.waiting, *e)
	select {
	case b.wake <- struct{}{}:
	default: // the reader already knows
	}
	return nil
}

func (b *Bus) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped++
}

// takeNow takes what waits.
func (b *Bus) takeNow() []Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.waiting
	b.waiting = nil
	if len(events) > 0 {
		close(b.room)
		b.room = make(chan struct{})
	}
	return events
}

// take waits for events and takes all of them.
func (b *Bus) take(ctx context.Context) ([]Event, error) {
	for {
		if events := b.takeNow(); len(events) > 0 {
			return events, nil
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (b *Bus) droppedCount() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}

// Condition is something that is wrong with the server or is not, and reports each
// change on a bus.
type Condition struct {
	bus             *Bus
	raised, cleared string
	key             string

	mu    sync.Mutex
	known bool // guarded by mu
	on    bool // guarded by mu
}

// Condition returns a condition whose changes are events of these detail types, such
// as "Audit Log Failing" and "Audit Log Recovered".
func (b *Bus) Condition(raised, cleared string) *Condition {
	return &Condition{bus: b, raised: raised, cleared: cleared, key: raised}
}

// Set says how it is now; detail, which may be nil, is encoded as the event's detail.
// The first Set that finds everything well is seen by alarms alone, so that one which
// was raised before a restart is cleared.
func (c *Condition) Set(on bool, detail any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known && c.on == on {
		return
	}
	e := Event{DetailType: c.cleared, Key: c.key, Quiet: !c.known && !on}
	if on {
		e.DetailType = c.raised
	}
	c.known, c.on = true, on
	if detail != nil {
		// What cannot be encoded is left out: that the condition changed matters more.
		if text, err := json.Marshal(detail); err == nil && len(text) > 0 && text[0] == '{' && len(text) <= maxDetailBytes {
			e.Detail = text
		}
	}
	c.bus.Emit(e)
}

// newID draws a random UUID, version 4.
func newID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails: crypto/rand ends the program instead
	return uuid(u, 4)
}

// uuid writes 16 bytes as a UUID of the version.
func uuid(u [16]byte, version byte) string {
	u[6], u[8] = u[6]&0x0f|version<<4, u[8]&0x3f|0x80
	var s [36]byte
	hex.Encode(s[:8], u[:4])
	hex.Encode(s[9:13], u[4:6])
	hex.Encode(s[14:18], u[6:8])
	hex.Encode(s[19:23], u[8:10])
	hex.Encode(s[24:], u[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
