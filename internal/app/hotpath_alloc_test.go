//go:build !race

// With the race detector, pools forget things at random.

package app_test

import (
	"math"
	"strings"
	"testing"
)

// TestHotPathAllocs holds what calls may allocate: a change that costs allocations in
// the hot path should be one that somebody meant.
func TestHotPathAllocs(t *testing.T) {
	h := newHotPath(t)
	for _, o := range hotOperations {
		t.Run(o.name, func(t *testing.T) {
			const rounds, runs = 6, 50
			requests := make([]*hotRequest, rounds*(runs+1))
			for i := range requests {
				operation, in := o.in(i)
				requests[i] = h.sign(t, operation, in)
			}
			c, i := newCaller(), 0
			// What happens beside the calls only adds to a round.
			got := math.Inf(1)
			for range rounds {
				got = min(got, testing.AllocsPerRun(runs, func() {
					c.send(t, h, requests[i])
					i++
				}))
			}
			t.Logf("%.0f allocations", got)
			if got > o.allocations {
				t.Errorf("%s makes %.0f allocations, want at most %.0f:\n%s", o.name, got, o.allocations, strings.TrimSpace(hotHint))
			}
		})
	}
}

const hotHint = `
go test ./internal/app -run '^$' -bench HotPath -memprofile mem.out -memprofilerate 1; go tool pprof -sample_index=alloc_objects -top mem.out`
