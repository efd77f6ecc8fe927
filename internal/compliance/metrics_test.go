package compliance_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// samples are the values of a collector's metric by its labels.
func samples(t *testing.T, c prometheus.Collector, metric string) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != metric {
			continue
		}
		for _, m := range f.GetMetric() {
			key := ""
			for _, l := range m.GetLabel() {
				key += l.GetValue() + " "
			}
			out[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	b := newBed(t)
	b.create(t, "a")
	b.create(t, "b")
	b.rotate(t, "b", 30)
	if got := samples(t, b.svc, "arca_compliance_secrets"); len(got) != 0 {
		t.Errorf("before the first look: %v", got)
	}
	if got := samples(t, b.svc, "arca_compliance_changes_total"); len(got) != 15 || got["secretsmanager-using-cmk COMPLIANT "] != 0 {
		t.Errorf("changes before the first: %v", got)
	}
	b.steps(t)
	if got := samples(t, b.svc, "arca_compliance_secrets"); len(got) != 0 {
		t.Errorf("where another process tells: %v", got)
	}
	b.create(t, "c")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.svc.Run(ctx, func() time.Time { return b.now }) }()
	var changes map[string]float64
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if changes = samples(t, b.svc, "arca_compliance_changes_total"); changes["secretsmanager-using-cmk NON_COMPLIANT "] > 0 {
			break
		}
	}
	got := samples(t, b.svc, "arca_compliance_secrets")
	for key, want := range map[string]float64{
		"secretsmanager-rotation-enabled-check NON_COMPLIANT ":  2,
		"secretsmanager-rotation-enabled-check COMPLIANT ":      1,
		"secretsmanager-rotation-enabled-check NOT_APPLICABLE ": 0,
		"secretsmanager-secret-unused COMPLIANT ":               3,
		"secretsmanager-using-cmk NON_COMPLIANT ":               3,
	} {
		if v, ok := got[key]; v != want || !ok {
			t.Errorf("arca_compliance_secrets %s= %v (there: %v), want %v", key, v, ok, want)
		}
	}
	if got := changes["secretsmanager-using-cmk NON_COMPLIANT "]; got != 1 {
		t.Errorf("changes to NON_COMPLIANT under using-cmk: %v, want that of the new secret", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}
