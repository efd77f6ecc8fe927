package main

import (
	"errors"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestGCPercent(t *testing.T) {
	const room = 128 << 20
	for _, c := range []struct {
		name              string
		live, roots, room uint64
		want              int
	}{
		{"not known yet", 0, 0, room, 100},
		{"nearly empty", 1 << 20, 0, room, 2000},
		{"small", 64 << 20, 0, room, 200},
		{"small with many stacks", 64 << 20, 64 << 20, 256 << 20, 200},
		{"small and busy", 64 << 20, 0, 512 << 20, 800},
		{"as large as the headroom", 128 << 20, 0, room, 100},
		{"medium", 1 << 30, 0, 512 << 20, 100},
		{"medium and busy", 1 << 30, 0, 3 << 29, 150},
		{"a full account", 3 << 29, 0, room, 100},
		{"more", 2 << 30, 0, 512 << 20, 81},
		{"large", 5 << 30, 0, 512 << 20, 47},
	} {
		if got := gcPercent(c.live, c.roots, c.room); got != c.want {
			t.Errorf("%s: gcPercent(%d, %d, %d) = %d, want %d", c.name, c.live, c.roots, c.room, got, c.want)
		}
	}
}

func TestGCPercentAtStart(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 400}, {1 << 20, 400}, {400 << 20, 400}, {1 << 29, 100}, {1 << 30, 100}, {2 << 30, 81}} {
		if got := gcPercentAtStart(c.live, 0, 512<<20); got != c.want {
			t.Errorf("gcPercentAtStart(%d) = %d, want %d", c.live, got, c.want)
		}
	}
}

func TestGCHeadroom(t *testing.T) {
	const mb = 1 << 20
	h := &gcHeadroom{memory: 64 << 30}
	for _, c := range []struct {
		name      string
		allocated uint64
		want      uint64
	}{
		{"first look", 1000 * mb, 64 * mb},
		{"idle", 1001 * mb, 64 * mb},
		{"at work", 1041 * mb, 200 * mb},
		{"a pause keeps most of it", 1041 * mb, 194 * mb},
		{"very busy", 2041 * mb, 512 * mb},
	} {
		h.tick(c.allocated)
		if got := h.bytes(0); got/mb != c.want/mb {
			t.Errorf("%s: headroom is %d MB, want %d", c.name, got/mb, c.want/mb)
		}
	}
	for range 180 {
		h.tick(2041 * mb)
	}
	if got := h.bytes(0); got != 64*mb {
		t.Errorf("three minutes after the last allocation the headroom is %d MB, want 64", got/mb)
	}
	for _, c := range []struct{ memory, live, most uint64 }{
		{0, 0, 64 * mb}, {512 * mb, 0, 32 * mb}, {4 << 30, 0, 256 * mb}, {24 << 30, 0, 512 * mb},
		{0, 1024 * mb, 64 * mb}, {4 << 30, 1024 * mb, 256 * mb}, {24 << 30, 800 * mb, 1200 * mb},
		{64 << 30, 1024 * mb, 1536 * mb}, {64 << 30, 1500 * mb, 1316 * mb}, {64 << 30, 2 << 30, 768 * mb}, {64 << 30, 4 << 30, 512 * mb},
	} {
		h := &gcHeadroom{memory: c.memory}
		h.tick(1)
		h.tick(1 << 40)
		if got := h.bytes(c.live); got != c.most {
			t.Errorf("with %d MB of memory and %d MB live the headroom is %d MB at most, want %d", c.memory/mb, c.live/mb, got/mb, c.most/mb)
		}
	}
	// The larger the heap, the rarer its collections.
	h = &gcHeadroom{memory: 64 << 30}
	h.tick(1)
	h.tick(1 + 20*mb)
	for live, want := range map[uint64]uint64{100 * mb: 100 * mb, 512 * mb: 150 * mb, 1024 * mb: 300 * mb} {
		if got := h.bytes(live); got != want {
			t.Errorf("with %d MB live the headroom is %d MB, want %d", live/mb, got/mb, want/mb)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	none := func() (uint64, error) { return 0, errors.New("not here") }
	for _, c := range []struct {
		name      string
		providers []memlimit.Provider
		want      uint64
	}{
		{"neither is known", []memlimit.Provider{none, none}, 0},
		{"no control group", []memlimit.Provider{none, memlimit.Limit(2)}, 2},
		{"a small control group", []memlimit.Provider{memlimit.Limit(1), memlimit.Limit(2)}, 1},
		{"one that may take more than there is", []memlimit.Provider{memlimit.Limit(3), memlimit.Limit(2)}, 2},
	} {
		if got := memoryLimit(c.providers...); got != c.want {
			t.Errorf("%s: memoryLimit() = %d, want %d", c.name, got, c.want)
		}
	}
}
