package policy

import (
	"sync"
	"sync/atomic"
)

// Cache keeps compiled policies by their text, so that a text that many principals or
// many calls share is compiled once. It is a matter of speed only: what it returns is
// what parsing anew would. It never holds more than its bounds, and forgets what has
// not been asked for lately. The zero Cache is ready for use, by many at once.
type Cache struct {
	maxEntries, maxBytes int // 0 for the bounds below

	mu      sync.RWMutex
	entries map[cacheKey]*cacheEntry // guarded by mu, like all that follows
	bytes   int                      // of all entries, by their weight
	ring    []*cacheEntry            // in the order in which they are looked at for eviction
	hand    int
}

// Memory is what counts, not text: a compiled policy takes about ten times the memory
// of its text, and one that is written for it a hundred and fifty times.
const (
	defaultCacheEntries = 16 << 10
	defaultCacheBytes   = 80 << 20
)

type grammar int8

const (
	identityGrammar grammar = iota
	resourceGrammar
	trustGrammar
)

type cacheKey struct {
	grammar grammar
	text    string
}

type cacheEntry struct {
	key      cacheKey
	compiled *Compiled
	weight   int
	used     atomic.Bool // since the hand last came by
}

// Identity compiles an identity policy, permissions boundary, session policy or
// guardrail. On an error, which is a *SyntaxError, the caller must deny.
func (c *Cache) Identity(text string) (*Compiled, error) {
	return c.get(cacheKey{identityGrammar, text}, ParseIdentityPolicy)
}

// Resource compiles a resource policy. On an error, which is a *SyntaxError, the
// caller must deny.
func (c *Cache) Resource(text string) (*Compiled, error) {
	return c.get(cacheKey{resourceGrammar, text}, ParseResourcePolicy)
}

// Trust compiles the trust policy of a role. On an error, which is a *SyntaxError, the
// caller must deny.
func (c *Cache) Trust(text string) (*Compiled, error) {
	return c.get(cacheKey{trustGrammar, text}, ParseTrustPolicy)
}

func (c *Cache) get(key cacheKey, parse func(string) (*Document, error)) (*Compiled, error) {
	c.mu.RLock()
	entry := c.entries[key]
	c.mu.RUnlock()
	if entry != nil {
		if !entry.used.Load() {
			entry.used.Store(true)
		}
		return entry.compiled, nil
	}
	doc, err := parse(key.text)
	if err != nil {
		return nil, err
	}
	return c.add(key, Compile(doc)), nil
}

// add keeps a compiled policy, unless another call has done so meanwhile.
func (c *Cache) add(key cacheKey, compiled *Compiled) *Compiled {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry := c.entries[key]; entry != nil {
		return entry.compiled
	}
	maxEntries, maxBytes := c.maxEntries, c.maxBytes
	if maxEntries == 0 {
		maxEntries, maxBytes = defaultCacheEntries, defaultCacheBytes
	}
	if c.entries == nil {
		c.entries = make(map[cacheKey]*cacheEntry)
	}
	weight := len(key.text) + compiled.Weight()
	if weight > maxBytes {
		return compiled
	}
	for len(c.ring) > 0 && (len(c.ring) >= maxEntries || c.bytes+weight > maxBytes) {
		c.evictLocked()
	}
	entry := &cacheEntry{key: key, compiled: compiled, weight: weight}
	c.entries[key] = entry
	c.ring = append(c.ring, entry)
	c.bytes += weight
	return compiled
}

// evictLocked forgets one entry: the next one at the hand that was not used since the
// hand came by. One round is enough for that, unless others mark entries meanwhile.
func (c *Cache) evictLocked() {
	for passed := 0; ; passed++ {
		if c.hand >= len(c.ring) {
			c.hand = 0
		}
		entry := c.ring[c.hand]
		if entry.used.Swap(false) && passed <= len(c.ring) {
			c.hand++
			continue
		}
		last := len(c.ring) - 1
		c.ring[c.hand] = c.ring[last]
		c.ring[last] = nil
		c.ring = c.ring[:last]
		delete(c.entries, entry.key)
		c.bytes -= entry.weight
		return
	}
}
