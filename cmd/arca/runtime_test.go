package main

import "testing"

func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		name string
		live uint64
		want int
	}{
		{"not known yet", 0, 100},
		{"nearly empty", 1 << 20, 800},
		{"small", 64 << 20, 200},
		{"as large as the headroom", 128 << 20, 100},
		{"medium", 1 << 30, 100},
		{"a full account", 3 << 29, 100},
		{"more", 2 << 30, 81},
		{"large", 5 << 30, 47},
	} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%s: gcPercent(%d) = %d, want %d", c.name, c.live, got, c.want)
		}
	}
}

func TestGCPercentAtStart(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 400}, {1 << 20, 400}, {400 << 20, 400}, {1 << 29, 100}, {1 << 30, 100}, {2 << 30, 81}} {
		if got := gcPercentAtStart(c.live); got != c.want {
			t.Errorf("gcPercentAtStart(%d) = %d, want %d", c.live, got, c.want)
		}
	}
}
