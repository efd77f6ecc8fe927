package event

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the figures of events and alarms. It is a prometheus.Collector.
type Metrics struct {
	s *Service

	delivered, failed, givenUp, missed, unreadable *prometheus.Desc
	lag, waiting, dropped, busDropped              *prometheus.Desc
	state, groups, evicted, alarmLag               *prometheus.Desc
}

func newMetrics(s *Service) *Metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &Metrics{
		s:          s,
		delivered:  desc("arca_events_delivered_total", "Events and notifications that their target has taken.", "target"),
		failed:     desc("arca_events_failed_total", "Attempts to deliver that failed.", "target"),
		givenUp:    desc("arca_events_given_up_total", "Events that their target refused for good.", "target"),
		missed:     desc("arca_events_missed_lines_total", "Audit lines that were pruned before the target had their events.", "target"),
		unreadable: desc("arca_events_unreadable_lines_total", "Audit lines of which no event could be made.", "target"),
		lag:        desc("arca_event_lag_lines", "Audit lines that delivery to the target has yet to pass.", "target"),
		waiting:    desc("arca_events_waiting", "Notifications and events that wait for the target beside the log.", "target"),
		dropped:    desc("arca_events_dropped_total", "Notifications and events that found no room to wait.", "target"),
		busDropped: desc("arca_events_bus_dropped_total", "Events about the server that found no room before they were looked at."),
		state:      desc("arca_alarm_state", "1 while the alarm is raised.", "alarm"),
		groups:     desc("arca_alarm_groups", "Groups of the alarm that are raised.", "alarm"),
		evicted:    desc("arca_alarm_evicted_groups_total", "Groups that were forgotten to make room for others.", "alarm"),
		alarmLag:   desc("arca_alarm_lag_lines", "Audit lines that alarms have yet to count."),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.delivered, m.failed, m.givenUp, m.missed, m.unreadable, m.lag, m.waiting, m.dropped,
		m.busDropped, m.state, m.groups, m.evicted, m.alarmLag} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	for _, w := range m.s.targets {
		waiting, dropped := w.queue.figures()
		gauge(m.waiting, uint64(waiting), w.Name)
		counter(m.dropped, dropped, w.Name)
		w.mu.Lock()
		place := w.placeLocked()
		delivered, failed, givenUp, missed, unreadable := w.delivered, w.failed, w.givenUp, w.missed, w.unreadable
		w.mu.Unlock()
		counter(m.delivered, delivered, w.Name)
		counter(m.failed, failed, w.Name)
		counter(m.givenUp, givenUp, w.Name)
		counter(m.missed, missed, w.Name)
		counter(m.unreadable, unreadable, w.Name)
		gauge(m.lag, w.lagBehind(place), w.Name)
	}
	for _, a := range m.s.engine.figures() {
		gauge(m.state, uint64(min(a.raised, 1)), a.name)
		gauge(m.groups, uint64(a.raised), a.name)
		counter(m.evicted, a.givenUp, a.name)
	}
	if m.s.cfg.Log != nil && m.s.engine.wants() {
		gauge(m.alarmLag, behind(m.s.cfg.Log.Size(), m.s.engine.position()))
	}
	counter(m.busDropped, m.s.cfg.Bus.droppedCount())
}

func (w *target) lagBehind(place uint64) uint64 {
	if w.cursor == nil {
		return 0
	}
	return behind(w.log.Size(), place)
}

func behind(size, place uint64) uint64 {
	if place >= size {
		return 0
	}
	return size - place
}
