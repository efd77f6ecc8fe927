package server

import "github.com/prometheus/client_golang/prometheus"

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
