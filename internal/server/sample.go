package server

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"arca/internal/api"
)

// Bounds of what strangers can make us do and log: they must neither fill a disk nor
// hide one another. Each source has one line per interval, and all together a few; and
// a source that is refused too often is refused without a look.
const (
	sampleEvery = 10 * time.Second
	sampleLines = 32   // per interval, of all sources
	sampleAddrs = 1024 // sources that are told apart at a time
	// lookEvery: one in so many requests of a source that is refused without a look is
	// looked at nevertheless, or nobody behind the same address would ever get in.
	lookEvery = 16
)

// sampler chooses which refusals are logged, counts the others by source, and tells
// which sources have been refused so often that it is not worth looking at more.
type sampler struct {
	// refusals is how many of a source in an interval are looked at.
	refusals int
	// loud is how many sources are beyond that; while there is none, requests pay for
	// reading it and no more.
	loud atomic.Int32

	mu      sync.Mutex
	sources map[string]*sampled // guarded by mu; "" stands for those that found no place
	until   time.Time           // end of the interval (guarded by mu)
	lines   int                 // in this interval (guarded by mu)
}

type sampled struct {
	logged  bool // in this interval
	skipped int  // since its last line
	refused int  // in this interval
	passed  int  // requests that were refused without a look, or let through in their place
	// known and wasKnown: somebody whose signature holds shares the address, in this
	// interval and the one before.
	known, wasKnown bool
}

// take reports whether a refusal of this source is to be logged, and how many of the
// source were not since the last one that was.
func (s *sampler) take(source string) (skipped int, ok bool) {
	source = network(source)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turnLocked(time.Now())
	e := s.sources[source]
	if e == nil && len(s.sources) >= sampleAddrs {
		source = ""
		e = s.sources[source]
	}
	if e == nil {
		if s.sources == nil {
			s.sources = make(map[string]*sampled)
		}
		e = &sampled{}
		s.sources[source] = e
	}
	// Those that share a place are not limited: one would take the others along.
	if e.refused++; e.refused == s.refusals && source != "" {
		s.loud.Add(1)
	}
	if e.logged || s.lines == sampleLines {
		e.skipped++
		return 0, false
	}
	e.logged = true
	s.lines++
	skipped, e.skipped = e.skipped, 0
	return skipped, true
}

// turnLocked begins a new interval if the last one is over.
func (s *sampler) turnLocked(now time.Time) {
	if now.Before(s.until) {
		return
	}
	s.until, s.lines = now.Add(sampleEvery), 0
	s.loud.Store(0)
	for name, e := range s.sources {
		if e.skipped == 0 && !e.known {
			delete(s.sources, name)
		}
		e.logged, e.refused = false, 0
		e.wasKnown, e.known = e.known, false
	}
	if len(s.sources) >= sampleAddrs {
		clear(s.sources) // the counter of refused requests still has them
	}
}

// excessive reports whether a request is to be refused for what its source has sent
// before. Sources from which verified requests come, too, are spared.
func (s *sampler) excessive(source string) bool {
	if s.loud.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turnLocked(time.Now())
	e := s.sources[network(source)]
	if e == nil || e.refused < s.refusals || e.known || e.wasKnown {
		return false
	}
	e.passed++
	return e.passed%lookEvery != 0
}

// verified notes that a request of the source was somebody's.
func (s *sampler) verified(source string) {
	if s.loud.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.sources[network(source)]; e != nil && e.refused >= s.refusals {
		e.known = true
	}
}

// throttled is the answer to a source that is refused without a look. SDKs wait and
// try again.
func throttled() *refusal {
	return &refusal{"rate", api.ThrottlingException.Errorf("Rate exceeded")}
}

// network is what counts as one source: an IPv4 address, or the 64-bit network that
// whoever has an IPv6 address usually has all of.
func network(source string) string {
	addr, err := netip.ParseAddr(source)
	if err != nil || !addr.Is6() {
		return source
	}
	prefix, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return source
	}
	return prefix.String()
}
