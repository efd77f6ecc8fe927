package ship

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the counters of the copies and sinks. It is a prometheus.Collector.
type Metrics struct {
	s *Shipper
	// Of copies and of sinks.
	copy, sink descriptions
	others     *prometheus.Desc
	skipped    *prometheus.Desc
}

type descriptions struct{ lines, seconds, sent, bytes, errors, missed, failing *prometheus.Desc }

// Metrics are the counters, for registration.
func (s *Shipper) Metrics() *Metrics {
	desc := func(name, help, label string) *prometheus.Desc {
		return prometheus.NewDesc("arca_"+name, help, []string{label}, nil)
	}
	set := func(name, label, who string) descriptions {
		return descriptions{
			lines:   desc(name+"_lag_lines", "Audit lines that the "+who+" does not have yet.", label),
			seconds: desc(name+"_lag_seconds", "Age of the oldest audit line that the "+who+" does not have yet; 0 when it has all.", label),
			sent:    desc(name+"_sent_total", "Audit lines delivered to the "+who+", repeated ones included.", label),
			bytes:   desc(name+"_sent_bytes_total", "Bytes of audit lines and segments delivered to the "+who+".", label),
			errors:  desc(name+"_errors_total", "Failed attempts to deliver to the "+who+".", label),
			missed:  desc(name+"_missed_total", "Audit lines that were gone before the "+who+" had them.", label),
			failing: desc(name+"_failing", "1 while the last attempt to deliver to the "+who+" failed.", label),
		}
	}
	return &Metrics{
		s:       s,
		copy:    set("audit_copy", "copy", "copy"),
		sink:    set("sink", "sink", "sink"),
		others:  desc("audit_copy_others", "Copies of another log, or with lines this log has lost, that stand beside the copy.", "copy"),
		skipped: desc("sink_skipped_total", "Audit lines left out because the receiver refuses them.", "sink"),
	}
}

func (d descriptions) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.lines, d.seconds, d.sent, d.bytes, d.errors, d.missed, d.failing}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range append(append(m.copy.all(), m.sink.all()...), m.others, m.skipped) {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	now, size := time.Now(), m.s.cfg.Log.Size()
	for _, c := range m.s.copies {
		m.copy.collect(ch, &c.state, c.cfg.Name, size, now)
		ch <- prometheus.MustNewConstMetric(m.others, prometheus.GaugeValue, float64(c.others.Load()), c.cfg.Name)
	}
	for _, k := range m.s.sinks {
		skipped := m.sink.collect(ch, &k.state, k.cfg.Name, size, now)
		ch <- prometheus.MustNewConstMetric(m.skipped, prometheus.CounterValue, float64(skipped), k.cfg.Name)
	}
}

func (d descriptions) collect(ch chan<- prometheus.Metric, s *state, name string, size uint64, now time.Time) (skipped uint64) {
	st := s.status("", name, "", size, now)
	failing := 0.0
	if st.Failing != "" {
		failing = 1
	}
	s.mu.Lock()
	sent, bytes, errors, missed := s.sent, s.bytes, s.errors, s.missed
	skipped = s.skipped
	s.mu.Unlock()
	gauge := func(desc *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, name)
	}
	counter := func(desc *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), name)
	}
	gauge(d.lines, float64(st.LagLines))
	gauge(d.seconds, st.Lag.Seconds())
	counter(d.sent, sent)
	counter(d.bytes, bytes)
	counter(d.errors, errors)
	counter(d.missed, missed)
	gauge(d.failing, failing)
	return skipped
}
