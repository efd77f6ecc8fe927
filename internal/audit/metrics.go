package audit

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the counters of one log. It is a prometheus.Collector.
type Metrics struct {
	lines, bytes prometheus.Counter
	errors       prometheus.Counter
	damage       prometheus.Counter
	failing      prometheus.Gauge
	journal      prometheus.Gauge
	batchLines   prometheus.Histogram
	syncSeconds  prometheus.Histogram

	treeErrors                                       prometheus.Counter
	breaks, unsigned, checkpointSize, checkpointTime prometheus.Gauge
}

func newMetrics() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "arca", Subsystem: "audit", Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "arca", Subsystem: "audit", Name: name, Help: help, Buckets: buckets})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "arca", Subsystem: "audit", Name: name, Help: help})
	}
	return &Metrics{
		lines:  counter("lines_total", "Audit lines written and synced."),
		bytes:  counter("bytes_total", "Bytes of audit lines written and synced."),
		errors: counter("failed_batches_total", "Batches of audit lines whose callers got an error."),
		damage: counter("damage_total", "Times the files were found removed, replaced, cut or appended to."),
		failing: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "arca", Subsystem: "audit", Name: "failing",
			Help: "1 while audit lines cannot be written and calls are refused for it."}),
		journal:     gauge("journal", "1 while batches are synced in the journal, 0 while each is in the segment itself."),
		batchLines:  histogram("batch_lines", "Lines per synced batch.", prometheus.ExponentialBuckets(1, 2, 12)),
		syncSeconds: histogram("sync_seconds", "Time to write and sync a batch.", prometheus.ExponentialBuckets(50e-6, 2, 16)),
		treeErrors:  counter("tree_errors_total", "Attempts to extend the tree over the lines, or to publish a checkpoint, that failed."),
		breaks: gauge("log_breaks", "Logs of this node that ended because their files were not what had been signed, "+
			"and that nobody has acknowledged."),
		unsigned:       gauge("unsigned_lines", "Lines that no checkpoint covers yet."),
		checkpointSize: gauge("checkpoint_lines", "Lines that the newest checkpoint covers."),
		checkpointTime: gauge("checkpoint_timestamp_seconds", "When the newest checkpoint was signed, in seconds since the Unix epoch."),
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.lines, m.bytes, m.errors, m.damage, m.failing, m.journal, m.batchLines, m.syncSeconds,
		m.treeErrors, m.breaks, m.unsigned, m.checkpointSize, m.checkpointTime}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
}
