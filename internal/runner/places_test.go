package runner_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"arca/internal/lambda"
	"arca/internal/runner"
)

// TestPlaces: neither a function, by changing itself, nor an account, by having many, gets
// all the places there are.
func TestPlaces(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *runner.ProcessConfig) {
		c.MaxInstances, c.MaxPerFunction, c.BusyTime = 8, 2, 200*time.Millisecond
	})
	code := "import time\ndef lambda_handler(e, c):\n    time.sleep(e['s'])\n    return 1\n"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{}, 16)
	n := 0
	// occupy starts a function that goes on, and reports whether there was a place.
	occupy := func(f *function) bool {
		t.Helper()
		refused := make(chan error, 1)
		go func() {
			_, err := b.Invoke(ctx, f.invocation(`{"s":600}`))
			refused <- err
			ended <- struct{}{}
		}()
		n++
		select {
		case err := <-refused:
			if !errors.Is(err, lambda.ErrBusy) {
				t.Errorf("Invoke = %v, want ErrBusy", err)
			}
			return false
		case <-time.After(2 * time.Second):
			return true
		}
	}
	defer func() {
		cancel()
		for range n {
			<-ended
		}
	}()
	one := python(b, code)
	for i, want := range []bool{true, true, false} {
		// Another revision of the same function: the first ones go on.
		next := *one
		next.Revision = fmt.Sprint(i)
		if got := occupy(&next); got != want {
			t.Errorf("revision %d of a function has a place: %v, want %v", i, got, want)
		}
	}
	for i, want := range []bool{true, true, false} {
		if got := occupy(python(b, code)); got != want {
			t.Errorf("function %d of an account with 2 processes has a place: %v, want %v", i, got, want)
		}
	}
	other := python(b, code)
	other.Account = "210987654321"
	if got := answer[int](b, other, `{"s":0}`); got != 1 {
		t.Errorf("the other account's function answered %d", got)
	}
	// Idle processes make room.
	for range 3 {
		f := python(b, code)
		f.Account = "210987654321"
		// To end one may take longer than the short time that is waited here.
		var err error
		for tries := 0; tries < 50; tries++ {
			if _, err = b.Invoke(t.Context(), f.invocation(`{"s":0}`)); !errors.Is(err, lambda.ErrBusy) {
				break
			}
		}
		if err != nil {
			t.Errorf("the other account's function: %v", err)
		}
	}
}
