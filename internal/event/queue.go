package event

import (
	"slices"
	"sync"
	"time"
)

const (
	// maxQueue and maxQueueBytes bound what waits for one target beside the log.
	maxQueue      = 1000
	maxQueueBytes = 8 << 20
	// giveUpAfter is how long an event is tried that a target does not take although
	// it takes others.
	giveUpAfter = 24 * time.Hour
)

// item is an event that waits to be sent.
type item struct {
	ID    string    `json:"id"`
	Key   string    `json:"key,omitempty"`
	Body  []byte    `json:"body"`
	First time.Time `json:"first"` // when it was first tried, or queued
	Tries int       `json:"tries"`
	// FromLog: the log holds it, and delivery has gone on behind it.
	FromLog bool `json:"fromLog,omitempty"`
	// Alarm: a notification, the last to be dropped.
	Alarm bool `json:"alarm,omitempty"`

	next  time.Time // not before; zero is at once, as after a restart
	probe bool      // from the log, put here while the target took nothing
	busy  bool
}

// queueFile is the file of a queue.
type queueFile struct {
	Items []*item `json:"items"`
}

// queue holds what a target is sent beside the events that it reads from the log:
// notifications, events about the server, and single events that the target does not
// take while it takes others. It is bounded, and kept in a file.
type queue struct {
	path string
	wake chan struct{} // capacity 1

	mu      sync.Mutex
	items   []*item // guarded by mu
	bytes   int     // guarded by mu
	dirty   bool    // guarded by mu
	dropped uint64  // guarded by mu
}

func openQueue(path string) (*queue, error) {
	q := &queue{path: path, wake: make(chan struct{}, 1)}
	var f queueFile
	if _, err := readState(path, &f); err != nil {
		return nil, err
	}
	for _, it := range f.Items {
		if it != nil && it.ID != "" {
			q.items = append(q.items, it)
			q.bytes += len(it.Body)
		}
	}
	return q, nil
}

// push takes an item that nothing else holds. To make room, the oldest is dropped,
// notifications last. An item of the same id stays as it is; an older state of the
// same key is replaced.
func (q *queue) push(it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, old := range q.items {
		if old.ID == it.ID {
			return
		}
		if it.Key != "" && old.Key == it.Key && !old.busy {
			q.removeLocked(old)
			break
		}
	}
	for len(q.items) >= maxQueue || q.bytes+len(it.Body) > maxQueueBytes && len(q.items) > 0 {
		victim := slices.IndexFunc(q.items, func(i *item) bool { return !i.Alarm && !i.busy })
		if victim < 0 {
			victim = slices.IndexFunc(q.items, func(i *item) bool { return !i.busy })
		}
		q.dropped++
		if victim < 0 {
			return
		}
		q.removeLocked(q.items[victim])
	}
	q.addLocked(it)
}

// park takes an event from the log, if less than half of the queue is used.
func (q *queue) park(it *item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= maxQueue/2 || q.bytes+len(it.Body) > maxQueueBytes/2 {
		return false
	}
	q.addLocked(it)
	return true
}

func (q *queue) addLocked(it *item) {
	q.items = append(q.items, it)
	q.bytes += len(it.Body)
	q.dirty = true
	q.ring()
}

func (q *queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default: // whoever waits knows already
	}
}

func (q *queue) removeLocked(it *item) {
	if i := slices.Index(q.items, it); i >= 0 {
		q.items = slices.Delete(q.items, i, i+1)
		q.bytes -= len(it.Body)
		q.dirty = true
	}
}

// take returns an item that is due, which its caller then holds, or how long it is
// until there is one; a negative time means that nothing waits.
func (q *queue) take(now time.Time) (*item, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var first *item
	for _, it := range q.items {
		if !it.busy && (first == nil || it.next.Before(first.next)) {
			first = it
		}
	}
	if first == nil {
		return nil, -1
	}
	if wait := first.next.Sub(now); wait > 0 {
		return nil, wait
	}
	first.busy = true
	first.Tries++
	return first, 0
}

// done removes an item that was sent or given up.
func (q *queue) done(it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.removeLocked(it)
}

// putBack lets an item be taken again later.
func (q *queue) putBack(it *item, next time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it.busy, it.next = false, next
	q.dirty = true
	q.ring()
}

// hurry makes everything due whose target has only now come back. What a target
// refused while it took others keeps its time.
func (q *queue) hurry() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range q.items {
		if !it.FromLog || it.probe {
			it.next, it.probe = time.Time{}, false
		}
	}
	q.ring()
}

// save writes the file if something changed.
func (q *queue) save() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.dirty {
		return nil
	}
	if err := writeState(q.path, queueFile{Items: q.items}); err != nil {
		return err
	}
	q.dirty = false
	return nil
}

func (q *queue) figures() (waiting int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items), q.dropped
}
