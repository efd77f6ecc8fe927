package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arca/internal/rootkey"
	"arca/internal/store"
)

// resealPause is left to callers between two steps that seal records anew: a step holds
// up the commits that come in meanwhile, by a few milliseconds.
const resealPause = 10 * time.Millisecond

// runKeys leads the work that follows the rotation of a storage key, and erasures.
func (a *App) runKeys(ctx context.Context) error {
	return a.store.Lead(ctx, "reseal", func(ctx context.Context, _ *store.Leadership) error {
		next := time.NewTimer(0)
		defer next.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-next.C:
			}
			next.Reset(a.stepKeys(ctx))
		}
	})
}

// stepKeys does a bounded amount of sealing, and one stage of an erasure. It returns
// when to do more.
func (a *App) stepKeys(ctx context.Context) (pause time.Duration) {
	if a.gate(false) != nil {
		return engineInterval // package space has said why
	}
	now := a.clock.Now()
	pause = engineInterval
	progress, err := a.store.Reseal(ctx, now)
	switch {
	case err != nil && ctx.Err() == nil:
		a.log.Warn("sealing records anew did not get on; it is tried again", "error", err.Error())
	case err == nil && progress.More:
		pause = resealPause
	}
	if err == nil && a.keys.NoteStuck(progress.Stuck) && progress.Stuck > 0 {
		a.log.Error("records do not open and keep an old key from being dropped; arca fsck names them", "records", progress.Stuck)
	}
	if progress.Dropped > 0 {
		a.log.Info("no record is left under an older storage key; it was dropped", "keys", progress.Dropped)
	}
	more, err := a.eraser.Step(ctx, now)
	switch {
	case err != nil && ctx.Err() == nil:
		a.log.Warn("an erasure did not get on; it is tried again", "error", err.Error())
	case more:
		pause = resealPause
	}
	return pause
}

// keyMetrics tells of the keys below the root key.
type keyMetrics struct {
	store *store.Store
	keys  *prometheus.Desc
	left  *prometheus.Desc
}

// keyMetricsTimeout bounds what a scrape waits for a store that does not answer.
const keyMetricsTimeout = 2 * time.Second

func newKeyMetrics(st *store.Store) *keyMetrics {
	return &keyMetrics{
		store: st,
		keys:  prometheus.NewDesc("arca_keyring_keys", "Keys of the keyring, by purpose and state.", []string{"purpose", "state"}, nil),
		left:  prometheus.NewDesc("arca_keyring_records_left", "Records that are still sealed under a storage key that was replaced.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *keyMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.keys
	ch <- m.left
}

// Collect implements prometheus.Collector. What cannot be read is left out.
func (m *keyMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), keyMetricsTimeout)
	defer cancel()
	ring, err := m.store.Keyring(ctx)
	if err != nil {
		return
	}
	type group struct{ purpose, state string }
	counts := make(map[group]int)
	left := int64(0)
	for _, k := range ring {
		retired, active := group{k.Purpose, "retired"}, group{k.Purpose, "active"}
		if k.Active {
			counts[active]++
			counts[retired] += 0 // so that the series is there before it is wanted
			continue
		}
		counts[retired]++
		if k.Records != nil {
			left += *k.Records
		}
	}
	for g, n := range counts {
		ch <- prometheus.MustNewConstMetric(m.keys, prometheus.GaugeValue, float64(n), g.purpose, g.state)
	}
	ch <- prometheus.MustNewConstMetric(m.left, prometheus.GaugeValue, float64(left))
}

// place is the file with the root key or its passphrase, as a message names it; "" where
// there is none.
func (c *RootKeyConfig) place() string {
	if c.Kind == rootkey.KindFile {
		return c.File
	}
	return c.PassphraseFile
}
