package store

import (
	"maps"
	"reflect"
	"sync"
	"sync/atomic"
)

const (
	// maxSharedTexts bounds what is kept for one field, and maxSharedBytes each of it.
	maxSharedTexts = 256
	maxSharedBytes = 128
	// minSharing is how often, per text kept, a field must have met one that it knew
	// by the time that it is full. A field whose values are all different is not worth the
	// asking.
	minSharing = 2
)

// texts keeps the values of a field that come again and again, so that records share
// their memory. It learns the first few; after that it does not change, and a field that
// turns out to have a value of its own in every record is given up.
type texts struct {
	known atomic.Pointer[map[string]any] // string, or reflect.Value of a list
	over  atomic.Bool                    // full, or given up
	hits  atomic.Int64                   // counted as far as it matters

	mu sync.Mutex // held while known is replaced
}

func (t *texts) find(raw []byte) (any, bool) {
	m := t.known.Load()
	if m == nil {
		return nil, false
	}
	v, ok := (*m)[string(raw)]
	if ok && t.hits.Load() < minSharing*maxSharedTexts {
		t.hits.Add(1)
	}
	return v, ok
}

// get returns a text that is kept.
func (t *texts) get(raw []byte) (string, bool) {
	if v, ok := t.find(raw); ok {
		return v.(string), true
	}
	if !t.wants(raw) {
		return "", false
	}
	s := string(raw)
	t.learn(s, s)
	return s, true
}

// getList returns a list that is kept, by its bytes.
func (t *texts) getList(raw []byte) (reflect.Value, bool) {
	v, ok := t.find(raw)
	if !ok {
		return reflect.Value{}, false
	}
	return v.(reflect.Value), true
}

// wants says whether a value of these bytes would be kept.
func (t *texts) wants(raw []byte) bool {
	return len(raw) > 0 && len(raw) <= maxSharedBytes && !t.over.Load()
}

// learn keeps a text, or a list of texts, from now on.
func (t *texts) learn(key string, v any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.known.Load()
	if t.over.Load() {
		return
	}
	next := make(map[string]any)
	if old != nil {
		next = maps.Clone(*old)
	}
	next[key] = v
	t.known.Store(&next)
	if len(next) < maxSharedTexts {
		return
	}
	t.over.Store(true)
	if t.hits.Load() < minSharing*maxSharedTexts {
		t.known.Store(nil)
	}
}
