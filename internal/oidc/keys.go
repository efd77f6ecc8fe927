package oidc

import (
	"container/list"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

const (
	// minRetry is how long an issuer is left alone after it was asked, whatever came of
	// it: neither tokens with made-up key ids nor an issuer that fails make us ask more.
	minRetry = 10 * time.Second
	// Keys are taken for current as long as the issuer says, within these bounds.
	minFresh, usualFresh, maxFresh = time.Minute, 10 * time.Minute, time.Hour
	// maxStale is how old keys may be that are used because their issuer does not answer.
	maxStale = 6 * time.Hour
	// maxIssuers and maxCacheBytes bound what is remembered.
	maxIssuers    = 1000
	maxCacheBytes = 32 << 20
	// maxFetches bounds the issuers that are asked at the same time. It only has to keep
	// sockets from running out: each is given back within fetchTime.
	maxFetches = 512
	// maxAccountFetches and maxAccountIssuers bound the part of one account in them: its
	// issuers may all be silent, and it may change thumbprints as often as it likes.
	maxAccountFetches = 64
	maxAccountIssuers = 200
	// maxCandidates bounds the keys that one token is tried with.
	maxCandidates = 4
)

// keyCache remembers the keys of issuers. An issuer that is registered with other
// thumbprints is another one here: who vouches for its server decides which keys are
// believed, and one account must not decide that for the next.
type keyCache struct {
	cfg     Config
	timeout time.Duration // of one fetch
	flight  singleflight.Group
	slots   chan struct{}

	mu      sync.Mutex
	issuers map[string]*list.Element // of *issuer; guarded by mu
	recent  list.List                // of *issuer, latest use first; guarded by mu
	bytes   int                      // of all key sets; guarded by mu
	// held and asking count, by account, the issuers that are remembered because of it and
	// those that are being asked; guarded by mu.
	held, asking map[string]int
}

// issuer is what is known of one issuer.
type issuer struct {
	id      string
	account string // that it was first looked up for

	mu      sync.Mutex
	set     *keySet   // the last that was fetched, nil before; guarded by mu
	tried   time.Time // when it was asked last, zero for never; guarded by mu
	failure error     // what came of it; guarded by mu

	// size is what the set counts for in keyCache.bytes; guarded by keyCache.mu.
	size int
}

// keySet is a set of keys as published at one time. It is not changed.
type keySet struct {
	keys    []jose.JSONWebKey
	size    int
	fetched time.Time
	fresh   time.Time // until when it is taken for current
}

func newKeyCache(cfg Config) *keyCache {
	return &keyCache{
		cfg: cfg, timeout: fetchTime, slots: make(chan struct{}, maxFetches), issuers: make(map[string]*list.Element),
		held: make(map[string]int), asking: make(map[string]int),
	}
}

// find returns the keys that a token with this key id and algorithm may be signed
// with, at least one.
func (k *keyCache) find(ctx context.Context, p Provider, kid string, alg jose.SignatureAlgorithm) ([]any, error) {
	iss := k.issuer(p)
	if keys, err := iss.look(k.cfg.Now(), kid, alg, false); keys != nil || err != nil {
		return keys, err
	}
	// The fetch belongs to all who wait for it: it neither ends with this caller nor
	// takes longer than fetchTime.
	done := k.flight.DoChan(iss.id, func() (any, error) {
		k.refresh(iss, p)
		return nil, nil
	})
	select {
	case <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return iss.look(k.cfg.Now(), kid, alg, true)
}

// look decides by what is known. With neither keys nor an error the issuer is to be
// asked, which never happens when it was asked just now.
func (iss *issuer) look(now time.Time, kid string, alg jose.SignatureAlgorithm, asked bool) ([]any, error) {
	iss.mu.Lock()
	set, tried, failure := iss.set, iss.tried, iss.failure
	iss.mu.Unlock()

	asked = asked || !tried.IsZero() && now.Sub(tried) < minRetry
	var found []any
	if set != nil && (now.Before(set.fresh) || asked && now.Sub(set.fetched) < maxStale) {
		found = set.find(kid, alg)
	}
	switch {
	case found != nil:
		return found, nil
	case !asked:
		return nil, nil
	case failure != nil:
		return nil, failure
	}
	return nil, &Error{Kind: NoKey, cause: errUnknownKey}
}

// find returns keys of this id that fit the algorithm. A token without a key id is
// only accepted when there is no choice.
func (s *keySet) find(kid string, alg jose.SignatureAlgorithm) []any {
	var found []any
	for i := range s.keys {
		key := &s.keys[i]
		if (kid == "" || key.KeyID == kid) && fits(key, alg) && len(found) < maxCandidates {
			found = append(found, key.Key)
		}
	}
	if kid == "" && len(found) > 1 {
		return nil
	}
	return found
}

// refresh asks the issuer, unless somebody else just did.
func (k *keyCache) refresh(iss *issuer, p Provider) {
	now := k.cfg.Now()
	iss.mu.Lock()
	again := !iss.tried.IsZero() && now.Sub(iss.tried) < minRetry
	iss.mu.Unlock()
	if again {
		return
	}
	set, err := k.fetch(p)
	iss.mu.Lock()
	iss.tried, iss.failure = k.cfg.Now(), err
	if err == nil {
		iss.set = set
	}
	iss.mu.Unlock()
	if err == nil {
		k.weigh(iss, set.size)
	}
}

// issuer finds what is known of an issuer and marks it as used.
func (k *keyCache) issuer(p Provider) *issuer {
	thumbprints := slices.Clone(p.Thumbprints)
	slices.Sort(thumbprints)
	id := p.Issuer + "\x00" + strings.ToLower(strings.Join(thumbprints, ","))
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.issuers[id]; ok {
		k.recent.MoveToFront(e)
		return e.Value.(*issuer)
	}
	if k.held[p.Account] >= maxAccountIssuers {
		k.forgetOneOfLocked(p.Account)
	}
	iss := &issuer{id: id, account: p.Account}
	k.issuers[id] = k.recent.PushFront(iss)
	k.held[p.Account]++
	k.shrinkLocked()
	return iss
}

// forgetOneOfLocked makes room within the part of one account.
func (k *keyCache) forgetOneOfLocked(account string) {
	for e := k.recent.Back(); e != nil; e = e.Prev() {
		if e.Value.(*issuer).account == account {
			k.forgetLocked(e)
			return
		}
	}
}

func (k *keyCache) forgetLocked(e *list.Element) {
	iss := e.Value.(*issuer)
	k.recent.Remove(e)
	delete(k.issuers, iss.id)
	k.bytes -= iss.size
	if k.held[iss.account]--; k.held[iss.account] == 0 {
		delete(k.held, iss.account)
	}
}

// begin reports whether an account may have one more issuer asked; then end follows.
func (k *keyCache) begin(account string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asking[account] >= maxAccountFetches {
		return false
	}
	k.asking[account]++
	return true
}

func (k *keyCache) end(account string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asking[account]--; k.asking[account] == 0 {
		delete(k.asking, account)
	}
}

// weigh notes the size of an issuer's new key set.
func (k *keyCache) weigh(iss *issuer, size int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.issuers[iss.id]; !ok || e.Value.(*issuer) != iss {
		return // forgotten meanwhile; whoever still holds it may use it
	}
	k.bytes += size - iss.size
	iss.size = size
	k.shrinkLocked()
}

// shrinkLocked forgets the issuers that were not used for the longest time.
func (k *keyCache) shrinkLocked() {
	for len(k.issuers) > maxIssuers || k.bytes > maxCacheBytes && len(k.issuers) > 1 {
		k.forgetLocked(k.recent.Back())
	}
}
