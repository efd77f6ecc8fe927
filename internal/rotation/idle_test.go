package rotation_test

import (
	"context"
	"fmt"
	"testing"

	"arca/internal/lambda"
)

// An engine that has nothing to do costs the same with many scheduled secrets as with
// one: it looks at what is due first, and no further.
func TestIdleCost(t *testing.T) {
	b := newBed(t)
	b.addFunction(t, "f")
	b.setFunction(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
		if err := b.template(eventOf(t, inv)); err != nil {
			return failed(err.Error(), "")
		}
		return ok()
	})
	e := b.engine()
	n := 0
	schedule := func(count int) {
		for range count {
			name := fmt.Sprintf("s%d", n)
			n++
			b.addSecret(t, name, "v")
			b.rotate(t, name, "f", 2)
		}
		b.step(t, e)
	}
	idle := func() float64 {
		return testing.AllocsPerRun(20, func() {
			if err := e.Step(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	schedule(1)
	one := idle()
	schedule(100)
	if many := idle(); many > 2*one+10 {
		t.Errorf("a step with nothing to do takes %v allocations with %d scheduled secrets, and %v with one", many, n, one)
	}
}
