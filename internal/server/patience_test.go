package server_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"arca/internal/server"
)

// TestPatience does the same to it and to context.WithTimeout, whatever was asked of
// them before.
func TestPatience(t *testing.T) {
	type key struct{}
	type made func(context.Context, time.Duration) (context.Context, context.CancelFunc)
	kinds := map[string]made{"patience": server.WithPatience, "context": context.WithTimeout}
	look := func(ctx context.Context) string {
		done := false
		if ctx.Done() != nil {
			select {
			case <-ctx.Done():
				done = true
			default:
			}
		}
		deadline, ok := ctx.Deadline()
		return fmt.Sprint(ctx.Err(), " ", done, " ", context.Cause(ctx), " ", deadline.UnixNano(), " ", ok, " ", ctx.Value(key{}))
	}
	before := map[string]func(ctx context.Context){
		"nothing": func(context.Context) {},
		"err":     func(ctx context.Context) { _ = ctx.Err() },
		"done":    func(ctx context.Context) { ctx.Done() },
		"child": func(ctx context.Context) {
			child, cancel := context.WithCancel(ctx)
			context.AfterFunc(child, cancel)
		},
	}
	happens := map[string]func(parent, end context.CancelFunc){
		"nothing":  func(_, _ context.CancelFunc) {},
		"end":      func(_, end context.CancelFunc) { end() },
		"parent":   func(parent, _ context.CancelFunc) { parent() },
		"time":     func(_, _ context.CancelFunc) { time.Sleep(2 * time.Second) },
		"both":     func(parent, end context.CancelFunc) { end(); parent() },
		"late end": func(_, end context.CancelFunc) { time.Sleep(2 * time.Second); end() },
	}
	for b, ask := range before {
		for h, happen := range happens {
			for _, parentLife := range []time.Duration{time.Hour, time.Millisecond} {
				t.Run(fmt.Sprint(b, "/", h, "/", parentLife), func(t *testing.T) {
					got := map[string]string{}
					for name, with := range kinds {
						synctest.Test(t, func(*testing.T) {
							root, cancelRoot := context.WithTimeout(context.WithValue(context.Background(), key{}, "v"), parentLife)
							defer cancelRoot()
							parent, cancelParent := context.WithCancel(root)
							defer cancelParent()
							ctx, end := with(parent, time.Second)
							defer end()
							ask(ctx)
							happen(cancelParent, end)
							synctest.Wait()
							child, cancel := context.WithCancel(ctx)
							defer cancel()
							got[name] = look(ctx) + "; child " + look(child)
						})
					}
					if got["patience"] != got["context"] {
						t.Errorf("patience: %s\ncontext:  %s", got["patience"], got["context"])
					}
				})
			}
		}
	}
}

// TestPatienceWakes whoever waits.
func TestPatienceWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := server.WithPatience(t.Context(), time.Second)
		defer end()
		child, cancel := context.WithCancel(ctx)
		defer cancel()
		start := time.Now()
		<-child.Done()
		if took := time.Since(start); took != time.Second || !errors.Is(child.Err(), context.DeadlineExceeded) {
			t.Errorf("woken after %v by %v", took, child.Err())
		}
	})
}
