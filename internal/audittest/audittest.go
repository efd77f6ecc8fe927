// Package audittest runs audit logs for tests.
package audittest

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"arca/internal/audit"
)

// Open opens an audit log and runs it until the test ends, which fails when the log
// does. cfg.Logger may be nil.
func Open(t testing.TB, cfg audit.Config) *audit.Log {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	log, err := audit.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("audit log: %v", err)
		}
		_ = log.Close()
	})
	return log
}
