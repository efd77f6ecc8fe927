package call_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/call"
	"arca/internal/store"
)

// effects counts the audit effects that earlier lives of the node left.
func (b *bed) effects(t *testing.T) (n int) {
	t.Helper()
	err := b.store.Effects(t.Context(), func(uint64, []byte) error { n++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *bed) mustRecover(t *testing.T) {
	t.Helper()
	if err := b.d.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) wantEvents(t *testing.T, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, b.events(t)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// While the record of a change cannot be written, its caller gets an error and nothing
// new is started; afterwards the record is written once.
func TestSettle(t *testing.T) {
	b := newBed(t)
	b.servePut()
	ran := false
	b.serveRead(func(ctx context.Context, c *call.Call) error { ran = true; return allowed(ctx, c) })

	b.breakLog()
	if out, err := b.create(t.Context(), "a"); code(t, err) != internal || out != nil {
		t.Errorf("answer %v, error %v, want an internal error", out, err)
	}
	if !b.has(t, "a") {
		t.Error("the change is gone")
	}
	if out, err := b.read(t.Context(), "a"); code(t, err) != internal || out != nil || ran {
		t.Errorf("answer %v, error %v; run: %v; want an internal error before it runs", out, err, ran)
	}
	err := b.d.ServiceUpdate(t.Context(), start, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
		t.Error("an engine's change was started")
		return nil
	})
	if err == nil {
		t.Error("ServiceUpdate = nil")
	}
	if err := b.d.Settle(t.Context()); err == nil {
		t.Error("Settle = nil while the log is broken")
	}

	b.mendLog(t)
	if _, err := b.read(t.Context(), "a"); err != nil || !ran { // settles by itself
		t.Fatalf("after the outage: %v", err)
	}
	if err := b.d.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The refused read left nothing: its answer was withheld for want of a record.
	b.wantEvents(t, "CreateSecret+", "GetSecretValue")
	b.restart(t)
	b.mustRecover(t)
	b.wantEvents(t, "CreateSecret+", "GetSecretValue")
}

// A crash between the commit and the line: the next life writes it, once.
func TestRecoverWritesLine(t *testing.T) {
	b := newBed(t)
	b.serve(func(ctx context.Context, c *call.Call) error {
		if err := allowed(ctx, c); err != nil {
			return err
		}
		return c.Update(ctx, b.store, func(tx *store.Tx) error {
			b.notes.Put(tx, noteKey("a"), &note{"a"})
			c.ServiceEvent(call.ServiceEvent{Source: "secretsmanager.amazonaws.com", Name: "StartSecretVersionDelete", Account: account, Region: region})
			return nil
		})
	})
	b.breakLog()
	if _, err := b.create(t.Context(), "a"); code(t, err) != internal {
		t.Fatalf("error %v", err)
	}
	b.restart(t)
	if n := b.effects(t); n != 1 {
		t.Fatalf("%d effects are left, want 1", n)
	}
	if err := b.d.Recover(t.Context()); err == nil {
		t.Error("Recover = nil while the log is broken")
	}
	b.mendLog(t)
	b.mustRecover(t)
	b.wantEvents(t, "CreateSecret+", "StartSecretVersionDelete")
	l := b.lines(t)[0]
	if l.RequestID != request || l.RequestParameters["name"] != "a" || l.ResponseElements != nil {
		t.Errorf("line %s", l.raw)
	}
	b.mustRecover(t)
	b.restart(t)
	b.mustRecover(t)
	b.wantEvents(t, "CreateSecret+", "StartSecretVersionDelete")
}

// A crash between the line and the removal of the effect: the effect is dropped, and
// what is missing of several lines is added.
func TestRecoverFindsLine(t *testing.T) {
	for _, tt := range []struct {
		name    string
		written []int // of the effect's lines
		want    []string
	}{
		{"all", []int{0, 1}, []string{"CreateSecret+", "EndSecretVersionDelete"}},
		{"the first", []int{0}, []string{"CreateSecret+", "EndSecretVersionDelete"}},
		{"the second", []int{1}, []string{"EndSecretVersionDelete", "CreateSecret+"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			b.serve(func(ctx context.Context, c *call.Call) error {
				c.ServiceEvent(call.ServiceEvent{Source: "secretsmanager.amazonaws.com", Name: "EndSecretVersionDelete", Account: account})
				if err := allowed(ctx, c); err != nil {
					return err
				}
				return c.Update(ctx, b.store, func(tx *store.Tx) error { b.notes.Put(tx, noteKey("a"), &note{"a"}); return nil })
			})
			b.breakLog()
			_, _ = b.create(t.Context(), "a") // fails, see above
			b.restart(t)
			b.mendLog(t)
			// What the earlier life would have written.
			err := b.store.Effects(t.Context(), func(_ uint64, data []byte) error {
				lines := bytes.Split(data, []byte("\n"))
				for _, i := range tt.written {
					if err := b.log.Append(t.Context(), lines[i]); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			b.mustRecover(t)
			b.wantEvents(t, tt.want...)
			if err := b.store.RemoveStep(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.restart(t)
			if n := b.effects(t); n != 0 {
				t.Errorf("%d effects are left, want none", n)
			}
		})
	}
}

// once makes the first commit after it fail in this way.
func once(f store.Fault) func() store.Fault {
	return func() store.Fault { out := f; f = store.NoFault; return out }
}

// When nobody knows whether a commit happened, the answer is an internal error with a
// record of its own; the change gets its record as soon as it is known.
func TestUnknownOutcome(t *testing.T) {
	for _, tt := range []struct {
		name    string
		restart bool
	}{{"found by this life", false}, {"found by the next life", true}} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			b.serve(func(ctx context.Context, c *call.Call) error {
				if err := allowed(ctx, c); err != nil {
					return err
				}
				return c.Update(ctx, b.store, func(tx *store.Tx) error {
					b.notes.Put(tx, noteKey("a"), &note{"a"})
					c.ServiceEvent(call.ServiceEvent{Source: "secretsmanager.amazonaws.com", Name: "CancelSecretVersionDelete", Account: account})
					return nil
				})
			})
			b.commit = once(store.FaultUnknown)
			if _, err := b.create(t.Context(), "a"); code(t, err) != internal {
				t.Fatalf("error %v", err)
			}
			b.wantEvents(t, "CreateSecret InternalServiceError")
			if tt.restart {
				b.restart(t)
			}
			b.mustRecover(t)
			b.mustRecover(t)
			b.wantEvents(t, "CreateSecret InternalServiceError", "CreateSecret+", "CancelSecretVersionDelete")
			for _, l := range b.lines(t) {
				if l.RequestID != request {
					t.Errorf("request id %q in %s", l.RequestID, l.raw)
				}
			}
		})
	}
}

// Commits that did not happen leave one record, of the failed call.
func TestCommitRefused(t *testing.T) {
	b := newBed(t, func(b *bed) { b.commit = once(store.FaultNotApplied) })
	b.servePut()
	if _, err := b.create(t.Context(), "a"); code(t, err) != internal {
		t.Fatalf("error %v", err)
	}
	b.restart(t)
	b.mustRecover(t)
	b.wantEvents(t, "CreateSecret InternalServiceError")
}

// Recover may run while calls do, and beside itself.
func TestRecoverBesideCalls(t *testing.T) {
	b := newBed(t)
	b.servePut()
	var n int
	b.commit = func() store.Fault {
		if n++; n%3 == 0 {
			return store.FaultUnknown
		}
		return store.NoFault
	}
	stop, stopped := make(chan struct{}), make(chan error, 2)
	for range 2 {
		go func() {
			var errs []error
			for {
				select {
				case <-stop:
					stopped <- errors.Join(errs...)
					return
				default:
					errs = append(errs, b.d.Recover(context.Background()))
				}
			}
		}()
	}
	for i := range 12 {
		_, err := b.create(t.Context(), string(rune('a'+i)))
		if (err != nil) != (i%3 == 2) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	close(stop)
	if err := errors.Join(<-stopped, <-stopped); err != nil {
		t.Fatal(err)
	}
	b.mustRecover(t)
	var changed []string
	for _, l := range b.lines(t) {
		if len(l.Arca.Changes) > 0 {
			changed = append(changed, l.RequestParameters["name"].(string))
		}
	}
	slices.Sort(changed)
	want := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("changes on record (-want +got):\n%s", diff)
	}
}

// An effect that is none of ours stops the start: to drop it would lose a record.
func TestRecoverRefusesForeignEffect(t *testing.T) {
	for _, data := range []string{"", "{}", "no JSON", `{"eventID":"x"}`} {
		b := newBed(t)
		_, err := b.store.Update(t.Context(), func(tx *store.Tx) error {
			b.notes.Put(tx, noteKey("a"), &note{"a"})
			tx.SetEffect(func([]store.Change) []byte { return []byte(data) })
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		b.restart(t)
		if err := b.d.Recover(t.Context()); err == nil {
			t.Errorf("Recover of effect %q = nil", data)
		}
	}
}
