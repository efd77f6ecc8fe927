package store

import (
	"container/list"
	"sync"
)

// cache keeps decoded records that the mirror only has stubs of, least recently used
// first out. Its key holds the revision, so an entry is never stale.
type cache struct {
	mu    sync.Mutex
	max   int64                      // bytes
	used  int64                      // guarded by mu
	items map[cacheKey]*list.Element // guarded by mu
	order list.List                  // guarded by mu; of *cached, newest first
}

type cacheKey struct {
	table *table
	key   string
	rev   int64
}

type cached struct {
	key  cacheKey
	rec  any
	size int64
}

// cachedOverhead is what a record takes beyond its bytes, roughly.
const cachedOverhead = 256

func newCache(maxBytes int64) *cache {
	return &cache{max: maxBytes, items: make(map[cacheKey]*list.Element)}
}

func (c *cache) get(k cacheKey) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.items[k]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*cached).rec, true
}

func (c *cache) put(k cacheKey, rec any, size int64) {
	size += cachedOverhead
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[k]; ok || size > c.max {
		return
	}
	c.items[k] = c.order.PushFront(&cached{k, rec, size})
	c.used += size
	for c.used > c.max {
		el := c.order.Back()
		old := c.order.Remove(el).(*cached)
		delete(c.items, old.key)
		c.used -= old.size
	}
}
