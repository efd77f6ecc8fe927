package store

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what operators watch about the store. It is a prometheus.Collector that
// asks nobody: a scrape is answered whatever state etcd is in.
type Metrics struct {
	store *Store

	commitSeconds prometheus.Histogram
	commits       *prometheus.CounterVec
	watches       prometheus.Counter
	loads         prometheus.Counter
	// newest is the highest revision that etcd has told of.
	newest atomic.Int64

	mu      sync.Mutex
	leading map[string]int // guarded by mu; engines that this process campaigns for; 1: it leads

	watching atomic.Bool

	revision, lag, refused, effects      *prometheus.Desc
	records, leads, hasLeader, leader    *prometheus.Desc
	dbBytes, dbUsed, dbQuota, watchAlive *prometheus.Desc
}

// What became of a commit, as the label of arca_store_commits_total.
const (
	commitDone        = "committed"
	commitConflict    = "conflict"
	commitUnavailable = "unavailable"
	commitUnknown     = "unknown"
)

func newMetrics(s *Store) *Metrics {
	const namespace, subsystem = "arca", "store"
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
	}
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}
	}
	m := &Metrics{
		store:   s,
		leading: make(map[string]int),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "commit_seconds",
			Help:    "Time from sending a transaction to etcd to knowing what became of it.",
			Buckets: prometheus.ExponentialBuckets(100e-6, 2.5, 13),
		}),
		commits: prometheus.NewCounterVec(counter("commits_total", "Transactions sent to etcd, by what became of them."), []string{"result"}),
		watches: prometheus.NewCounter(counter("watch_interruptions_total", "Times the watch that feeds the mirror was interrupted.")),
		loads:   prometheus.NewCounter(counter("reloads_total", "Times the mirror was read anew because the watch fell behind.")),

		revision:   desc("revision", "Revision of etcd that the mirror shows."),
		lag:        desc("mirror_lag_revisions", "Revisions that the mirror is behind the newest that etcd has told of."),
		refused:    desc("refused_records_total", "Values in etcd that were not taken over because they were older, damaged or not ours."),
		effects:    desc("pending_effects", "Changes whose audit record is not confirmed yet."),
		records:    desc("records", "Records in the mirror, by table.", "table"),
		leads:      desc("engine_leading", "1 while this process leads an engine, by engine.", "engine"),
		hasLeader:  desc("has_leader", "1 while the embedded etcd member knows a leader."),
		leader:     desc("is_leader", "1 while the embedded etcd member is the leader."),
		dbBytes:    desc("db_bytes", "Size of the file of the embedded etcd member."),
		dbUsed:     desc("db_used_bytes", "Part of that file that is in use."),
		dbQuota:    desc("db_quota_bytes", "Size at which the embedded etcd member refuses to write."),
		watchAlive: desc("watching", "1 while the watch that feeds the mirror is open."),
	}
	for _, result := range []string{commitDone, commitConflict, commitUnavailable, commitUnknown} {
		m.commits.WithLabelValues(result)
	}
	return m
}

// Metrics returns the metrics of the store, which may not be open yet.
func (s *Store) Metrics() *Metrics { return s.metrics }

// sent counts a transaction that was sent.
func (m *Metrics) sent(since time.Time, err error) {
	result := commitDone
	switch {
	case errors.Is(err, ErrConflict), errors.Is(err, ErrNotLeader):
		result = commitConflict
	case errors.Is(err, ErrUnknown):
		result = commitUnknown
	case err != nil:
		result = commitUnavailable
	}
	m.commits.WithLabelValues(result).Inc()
	m.commitSeconds.Observe(time.Since(since).Seconds())
}

// campaigns notes that this process wants to lead an engine, leads that it does, or does
// no more.
func (m *Metrics) campaigns(engine string, leads int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leading[engine] = leads
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Collector{m.commitSeconds, m.commits, m.watches, m.loads} {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{
		m.revision, m.lag, m.refused, m.effects, m.records, m.leads, m.hasLeader, m.leader,
		m.dbBytes, m.dbUsed, m.dbQuota, m.watchAlive,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. What only an embedded member knows is left out
// without one, and everything about the mirror before the store is open.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.commitSeconds, m.commits, m.watches, m.loads} {
		c.Collect(ch)
	}
	s := m.store
	// Held to the end: what closes the member waits until it has been asked.
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opened || s.closed || s.mirror == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	truth := func(d *prometheus.Desc, is bool) {
		v := 0.0
		if is {
			v = 1
		}
		gauge(d, v)
	}
	newest := m.newest.Load()
	if s.etcd != nil {
		newest = max(newest, s.etcd.Server.KV().Rev())
	}
	st := s.Stats() // after newest: the mirror is shown no further behind than it is
	gauge(m.revision, float64(st.Revision))
	gauge(m.lag, float64(max(0, newest-st.Revision)))
	ch <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(st.Refused))
	gauge(m.effects, float64(st.Pending))
	for table, n := range st.Records {
		gauge(m.records, float64(n), table)
	}
	truth(m.watchAlive, m.watching.Load())
	m.mu.Lock()
	for engine, leads := range m.leading {
		gauge(m.leads, float64(leads), engine)
	}
	m.mu.Unlock()
	if s.etcd == nil {
		return
	}
	leader := s.etcd.Server.Leader()
	truth(m.hasLeader, leader != 0)
	truth(m.leader, leader == s.etcd.Server.MemberID())
	gauge(m.dbBytes, float64(st.DBBytes))
	gauge(m.dbUsed, float64(st.DBUsedBytes))
	gauge(m.dbQuota, float64(st.QuotaBytes))
}
