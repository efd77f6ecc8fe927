package kms

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arca/internal/store"
)

// Metrics are how many keys there are. It is a prometheus.Collector, and names no key.
type Metrics struct {
	service *Service
	keys    *prometheus.Desc

	mu     sync.Mutex
	rev    int64            // guarded by mu; of the table that was counted
	counts map[keyGroup]int // guarded by mu
}

type keyGroup struct {
	manager string
	state   State
}

// metricsTimeout bounds what a scrape waits for a store that does not answer.
const metricsTimeout = 2 * time.Second

// NewMetrics makes the metrics of a service.
func NewMetrics(s *Service) *Metrics {
	return &Metrics{
		service: s,
		keys:    prometheus.NewDesc("arca_kms_keys", "KMS keys of all accounts, by who manages them and state.", []string{"manager", "state"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { ch <- m.keys }

// Collect implements prometheus.Collector. What cannot be read is left out.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), metricsTimeout)
	defer cancel()
	var counts map[keyGroup]int
	if err := m.service.store.View(ctx, func(v *store.Snap) error {
		counts = m.count(v)
		return nil
	}); err != nil {
		return
	}
	for g, n := range counts {
		ch <- prometheus.MustNewConstMetric(m.keys, prometheus.GaugeValue, float64(n), g.manager, string(g.state))
	}
}

// count goes through all keys only when one of them has changed.
func (m *Metrics) count(v *store.Snap) map[keyGroup]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rev := m.service.keys.Revision(v); m.counts == nil || rev != m.rev {
		counts := map[keyGroup]int{ // there before the first key is
			{managerAWS, Enabled}: 0, {managerCustomer, Enabled}: 0,
			{managerCustomer, Disabled}: 0, {managerCustomer, PendingDeletion}: 0,
		}
		m.service.keys.Ascend(v, byID, "", func(_ string, k *Key) bool {
			counts[keyGroup{k.Manager, k.State}]++
			return true
		})
		m.rev, m.counts = rev, counts
	}
	return m.counts
}
