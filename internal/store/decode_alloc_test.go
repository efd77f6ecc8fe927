//go:build !race

// With the race detector, pools forget things at random.

package store_test

import (
	"fmt"
	"testing"

	"arca/internal/store"
)

// A record costs as many allocations as it has lists, and one for all of its texts; those
// that come again cost nothing.
func TestDecoderAllocations(t *testing.T) {
	dec := store.NewDecoders[mixed](t)
	bodies := make([][]byte, 2000)
	for i := range bodies {
		bodies[i] = dec.Encode(&mixed{
			Name: fmt.Sprint("name-", i), Place: "eu-west-1", Tags: []pair{{"team", fmt.Sprint("t-", i)}, {"stage", "prod"}},
			Labels: []string{"CURRENT"}, Key: make([]byte, 40), Keys: [][]byte{make([]byte, 30)},
		})
	}
	var i int
	for range bodies {
		dec.Fast(bodies[i])
		i++
	}
	i = 0
	got := testing.AllocsPerRun(1000, func() {
		if _, ok := dec.Fast(bodies[i]); !ok {
			t.Fatal("left to the general decoder")
		}
		i++
	})
	// The record, its tags, its keys, all texts, all byte strings.
	if got > 5 {
		t.Errorf("a record costs %v allocations, want 5", got)
	}
}
