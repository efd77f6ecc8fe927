package server

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the edge's collectors; app registers them.
type Metrics struct {
	unverified *prometheus.CounterVec
	panics     prometheus.Counter
}

func newMetrics() *Metrics {
	return &Metrics{
		unverified: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arca_unverified_requests_total",
			Help: "Requests refused before their sender was known, by reason.",
		}, []string{"reason"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arca_request_panics_total",
			Help: "Requests whose handling panicked.",
		}),
	}
}

// Collectors lists what is to be registered.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.unverified, m.panics}
}

func (m *Metrics) refused(reason string) { m.unverified.WithLabelValues(reason).Inc() }

// Metrics gives the edge's collectors.
func (s *Server) Metrics() *Metrics { return s.metrics }

// sampleEvery is how often a refused request is logged at most: strangers must not
// be able to fill a disk with log lines.
const sampleEvery = time.Second

// sampler lets one event through per interval and counts the others.
type sampler struct {
	mu      sync.Mutex
	next    time.Time // guarded by mu
	skipped int       // guarded by mu
}

// take reports whether this event is let through, and how many were not since the
// last one that was.
func (s *sampler) take() (skipped int, ok bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		s.skipped++
		return 0, false
	}
	skipped, s.skipped, s.next = s.skipped, 0, now.Add(sampleEvery)
	return skipped, true
}
