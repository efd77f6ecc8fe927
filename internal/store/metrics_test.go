package store_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"arca/internal/store"
	"arca/internal/storetest"
)

// gathered returns all samples of a collector by name and labels; a histogram counts as
// the number of its observations.
func gathered(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				out[name] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				out[name] = m.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				out[name] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	var h shelf
	closed := store.New(store.Config{})
	if got := gathered(t, closed.Metrics()); got["arca_store_revision"] != 0 || got["arca_store_commits_total result=committed"] != 0 {
		t.Errorf("metrics of a store that is not open: %v", got)
	}
	s := storetest.New(t, h.attach)
	before := gathered(t, s.Metrics())
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "one"), &thing{Name: "one"}) })
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "two"), &thing{Name: "two"}) })
	lost := false
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		r, _ := h.things.Get(tx.Snap, at("a", "one"))
		if !lost {
			lost = true
			mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "one"), &thing{Name: "one", N: 5}) })
		}
		h.things.Put(tx, at("a", "one"), &thing{Name: "one", N: r.N + 1})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	_ = s.Lead(ctx, "watchman", func(context.Context, *store.Leadership) error {
		if got := gathered(t, s.Metrics())["arca_store_engine_leading engine=watchman"]; got != 1 {
			t.Errorf("arca_store_engine_leading of the leader = %v", got)
		}
		stop()
		return nil
	})
	after := gathered(t, s.Metrics())
	for name, want := range map[string]float64{
		"arca_store_commits_total result=committed":   4,
		"arca_store_commits_total result=conflict":    1,
		"arca_store_commits_total result=unknown":     0,
		"arca_store_commits_total result=unavailable": 0,
		"arca_store_commit_seconds":                   5,
	} {
		if got := after[name] - before[name]; got != want {
			t.Errorf("%s grew by %v, want %v", name, got, want)
		}
	}
	for name, want := range map[string]float64{
		"arca_store_records table=things":           2,
		"arca_store_records table=parts":            0,
		"arca_store_has_leader":                     1,
		"arca_store_is_leader":                      1,
		"arca_store_watching":                       1,
		"arca_store_engine_leading engine=watchman": 0,
		"arca_store_refused_records_total":          0,
		"arca_store_watch_interruptions_total":      0,
		"arca_store_reloads_total":                  0,
	} {
		if got, ok := after[name]; got != want || !ok {
			t.Errorf("%s = %v (there: %v), want %v", name, got, ok, want)
		}
	}
	if after["arca_store_revision"] <= before["arca_store_revision"] || after["arca_store_db_bytes"] == 0 || after["arca_store_db_quota_bytes"] == 0 {
		t.Errorf("revision %v after %v, size %v of %v", after["arca_store_revision"], before["arca_store_revision"],
			after["arca_store_db_bytes"], after["arca_store_db_quota_bytes"])
	}
}
