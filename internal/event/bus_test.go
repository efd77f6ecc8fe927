package event_test

import (
	"fmt"
	"strings"
	"testing"

	"arca/internal/event"
)

func TestBusIsBounded(t *testing.T) {
	b := event.NewBus(event.BusConfig{Account: "1", Region: "r"})
	for i := range event.MaxWaiting + 10 {
		b.Emit(event.Event{DetailType: fmt.Sprint(i)})
	}
	b.Emit(event.Event{DetailType: "large", Detail: []byte(`"` + strings.Repeat("x", 1<<20) + `"`)})
	events, dropped := event.Waiting(b)
	if len(events) != event.MaxWaiting || dropped != 11 {
		t.Errorf("%d events wait and %d were dropped, want %d and 11", len(events), dropped, event.MaxWaiting)
	}
	if e := events[0]; e.ID == "" || e.ID == events[1].ID || e.Source != "arca" || e.Account != "1" || e.Region != "r" || e.Time.IsZero() {
		t.Errorf("event %+v", e)
	}
	var none *event.Bus
	none.Emit(event.Event{}) // takes everything
}

// TestBusKeepsTheNewestState also when it is full.
func TestBusKeepsTheNewestState(t *testing.T) {
	b := event.NewBus(event.BusConfig{})
	for i := range event.MaxWaiting {
		b.Emit(event.Event{DetailType: fmt.Sprint(i), Key: fmt.Sprint("k", i%600)})
	}
	for i := range 1000 {
		b.Emit(event.Event{DetailType: fmt.Sprint("filler", i)})
	}
	b.Emit(event.Event{DetailType: "newest", Key: "k3"})
	events, _ := event.Waiting(b)
	seen := map[string]string{}
	for _, e := range events {
		if e.Key != "" && seen[e.Key] != "" {
			t.Errorf("key %s waits twice", e.Key)
		}
		seen[e.Key] = e.DetailType
	}
	if seen["k3"] != "newest" || seen["k2"] != "602" {
		t.Errorf("k3 %s, k2 %s", seen["k3"], seen["k2"])
	}
}

func TestCondition(t *testing.T) {
	tests := []struct {
		name string
		sets []bool
		want string
	}{
		{"well from the beginning", []bool{false, false}, "well quietly"},
		{"bad from the beginning", []bool{true, true}, "bad"},
		{"changes", []bool{false, true, true, false, true}, "well quietly, bad, well, bad"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := event.NewBus(event.BusConfig{})
			c := b.Condition("bad", "well")
			var got []string
			for _, on := range tt.sets {
				c.Set(on, map[string]int{"n": 1})
				events, _ := event.Waiting(b)
				for _, e := range events {
					text := e.DetailType
					if e.Quiet {
						text += " quietly"
					}
					if string(e.Detail) != `{"n":1}` {
						t.Errorf("detail %s", e.Detail)
					}
					got = append(got, text)
				}
			}
			if got := strings.Join(got, ", "); got != tt.want {
				t.Errorf("events %q, want %q", got, tt.want)
			}
		})
	}
	b := event.NewBus(event.BusConfig{})
	b.Condition("bad", "well").Set(true, func() {}) // what cannot be encoded
	if events, _ := event.Waiting(b); len(events) != 1 || len(events[0].Detail) != 0 {
		t.Errorf("events %+v", events)
	}
}
