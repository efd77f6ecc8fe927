package compliance

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are how many secrets keep the rules. They name no secret and no account.
type Metrics struct {
	secrets *prometheus.Desc
	changes *prometheus.CounterVec
	// running says that Run runs: elsewhere the numbers are those of another time.
	running atomic.Bool
}

func newMetrics() *Metrics {
	m := &Metrics{
		secrets: prometheus.NewDesc("arca_compliance_secrets", "Secrets by rule and what it says of them.", []string{"rule", "state"}, nil),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arca_compliance_changes_total", Help: "Changes of what a rule says of a secret, by rule and new state.",
		}, []string{"rule", "state"}),
	}
	// The series are there before the first change, so that it shows as one.
	for _, r := range Rules() {
		for st := Compliant; st < stateCount; st++ {
			m.changes.WithLabelValues(string(r), st.String())
		}
	}
	return m
}

func (m *Metrics) changed(c *Change) { m.changes.WithLabelValues(string(c.Rule), c.New.String()).Inc() }

// Describe implements prometheus.Collector.
func (s *Service) Describe(ch chan<- *prometheus.Desc) {
	ch <- s.m.secrets
	s.m.changes.Describe(ch)
}

// Collect implements prometheus.Collector. The numbers of secrets are left out while Run
// does not run, and until every secret has been looked at once: a part of them would look
// like the whole.
func (s *Service) Collect(ch chan<- prometheus.Metric) {
	s.m.changes.Collect(ch)
	counts, whole := s.Counts("")
	if !whole || !s.m.running.Load() {
		return
	}
	for _, r := range Rules() {
		for st := Compliant; st < stateCount; st++ {
			ch <- prometheus.MustNewConstMetric(s.m.secrets, prometheus.GaugeValue, float64(counts.Of(r, st)), string(r), st.String())
		}
	}
}
