package server

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of what strangers can make us log: they must neither fill a disk nor hide
// one another. Each source has one line per interval, and all together a few.
const (
	sampleEvery = 10 * time.Second
	sampleLines = 32   // per interval, of all sources
	sampleAddrs = 1024 // sources that are told apart at a time
)

// sampler chooses which events are logged, and counts the others by source.
type sampler struct {
	mu      sync.Mutex
	sources map[string]*sampled // guarded by mu; "" stands for those that found no place
	until   time.Time           // end of the interval (guarded by mu)
	lines   int                 // in this interval (guarded by mu)
}

type sampled struct {
	logged  bool // in this interval
	skipped int  // since its last line
}

// take reports whether an event of this source is to be logged, and how many of the
// source were not since the last one that was.
func (s *sampler) take(source string) (skipped int, ok bool) {
	source = network(source)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !now.Before(s.until) {
		s.until, s.lines = now.Add(sampleEvery), 0
		for name, e := range s.sources {
			if e.skipped == 0 {
				delete(s.sources, name)
			}
			e.logged = false
		}
		if len(s.sources) >= sampleAddrs {
			clear(s.sources) // the counter of refused requests still has them
		}
	}
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
	if e.logged || s.lines == sampleLines {
		e.skipped++
		return 0, false
	}
	e.logged = true
	s.lines++
	skipped, e.skipped = e.skipped, 0
	return skipped, true
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
