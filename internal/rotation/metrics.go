package rotation

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arca/internal/secrets"
)

// Metrics are what operators watch. They name no secret.
type Metrics struct {
	steps     *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	outcomes  *prometheus.CounterVec
	waiting   prometheus.Gauge
	running   prometheus.Gauge
	failing   prometheus.Gauge
	oldestAge prometheus.Gauge
}

func newMetrics() *Metrics {
	const namespace, subsystem = "arca", "rotation"
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	return &Metrics{
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "step_seconds",
			Help:    "How long the steps of rotations took, by step.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 15, 60, 300, 900},
		}, []string{"step"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "step_failures_total",
			Help: "Steps of rotations that failed, by step. Each is tried again.",
		}, []string{"step"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "ended_total",
			Help: "Rotations that ended, by outcome.",
		}, []string{"outcome"}),
		waiting:   gauge("due", "Scheduled rotations that are due and have not begun, at most 1000."),
		running:   gauge("running", "Rotations with a step that is running, at most 1000."),
		failing:   gauge("failing", "Rotations whose last step failed and is tried again, at most 1000."),
		oldestAge: gauge("overdue_seconds", "How long the rotation that has waited longest has been due."),
	}
}

// Collectors are registered by whoever serves metrics.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.steps, m.failures, m.outcomes, m.waiting, m.running, m.failing, m.oldestAge}
}

// Metrics returns the metrics of the engine.
func (e *Engine) Metrics() *Metrics { return e.m }

func (m *Metrics) look(b secrets.RotationBacklog) {
	m.waiting.Set(float64(b.Waiting))
	m.running.Set(float64(b.Running))
	m.failing.Set(float64(b.Failing))
	m.oldestAge.Set(b.Oldest.Seconds())
}

func (m *Metrics) ran(j *secrets.RotationJob, run secrets.StepRun, outcome secrets.RotationOutcome, took time.Duration) {
	m.steps.WithLabelValues(string(j.Step)).Observe(took.Seconds())
	if run.Error != "" {
		m.failures.WithLabelValues(string(j.Step)).Inc()
	}
	if outcome != 0 {
		m.outcomes.WithLabelValues(outcome.String()).Inc()
	}
}
