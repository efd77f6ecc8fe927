package store

import "sync"

// maxFeed bounds the memory of a feed that nobody takes from: about 10 MB.
const maxFeed = 1 << 16

// Feed tells one follower which records of a table have changed, whoever changed them.
// A record that changes several times before it is taken is told once. It is what lets
// something derived from half a million records be kept without reading them all again
// after each change.
type Feed[T any] struct {
	t *table
	f *feed
}

// feed is what a table knows of its follower.
type feed struct {
	mu      sync.Mutex
	changed map[string]fed // guarded by mu; by hashed key
	size    int            // guarded by mu; how many changes, and records that are gone, it holds
	all     int64          // guarded by mu; not 0: anything may have changed up to this revision
}

// fed is what has become of a key.
type fed struct {
	rev int64 // of the last change
	// gone are the records that were deleted. One that has been put in the place of another
	// since may be of somebody else, so that neither tells of the other.
	gone []*entry
}

// clear forgets everything.
func (f *feed) clear() {
	clear(f.changed)
	f.size = 0
}

func (f *feed) forget(key string) {
	f.size -= 1 + len(f.changed[key].gone)
	delete(f.changed, key)
}

// Follow begins to collect what changes in the table. A table has at most one follower;
// a second one is a programmer's mistake and panics, and so is one of a table with
// InlineLimit, whose records the mirror may not have.
func (t *Table[T]) Follow() *Feed[T] {
	if t.t.inline > 0 {
		panic("store: Follow of table " + t.t.name + ", whose records may not be in memory")
	}
	f := &feed{changed: make(map[string]fed)}
	if !t.t.feed.CompareAndSwap(nil, f) {
		panic("store: table followed twice: " + t.t.name)
	}
	return &Feed[T]{t.t, f}
}

// FeedChange is a record as a snapshot shows it or, when it is Deleted, as it last was. It
// is shared and must not be modified.
type FeedChange[T any] struct {
	Record  *T
	Deleted bool
}

// Take hands over at most limit records that have changed up to the snapshot, in no order;
// a limit that is less than what was deleted under one key counts as that. all says that there were too many to keep, or that the mirror had to be read
// anew: then the follower reads the whole table, and what Take returns from then on
// counts from the snapshot. What changed after the snapshot stays for the next Take.
func (f *Feed[T]) Take(v *Snap, limit int) (changed []FeedChange[T], all bool) {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	if f.f.all != 0 {
		if f.f.all > v.st.rev {
			return nil, false // the snapshot does not show it yet
		}
		f.f.all = 0
		all = true
		for key, c := range f.f.changed {
			if c.rev <= v.st.rev {
				f.f.forget(key)
			}
		}
		return nil, all
	}
	for key, c := range f.f.changed {
		if limit == 0 || len(changed) > 0 && len(changed)+1+len(c.gone) > limit {
			break
		}
		if c.rev > v.st.rev {
			continue
		}
		f.f.forget(key)
		for _, e := range c.gone {
			changed = append(changed, FeedChange[T]{Record: f.t.record(e).(*T), Deleted: true})
		}
		if e, ok := v.find(f.t, key); ok {
			changed = append(changed, FeedChange[T]{Record: f.t.record(e).(*T)})
		}
	}
	return changed, false
}

// noteFed tells the follower of a table, if it has one, of a change; gone is the record
// that was deleted by it.
func (t *table) noteFed(key string, rev int64, gone *entry) {
	f := t.feed.Load()
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, known := f.changed[key]
	if (!known || gone != nil) && f.size >= maxFeed {
		f.clear()
		f.all = rev
		return
	}
	if !known {
		f.size++
	}
	c.rev = rev
	if gone != nil {
		c.gone = append(c.gone, gone)
		f.size++
	}
	f.changed[key] = c
}

// noteAllFed tells the follower that the mirror was read anew as of a revision.
func (t *table) noteAllFed(rev int64) {
	f := t.feed.Load()
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clear()
	f.all = rev
}
