package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcHeadroomBytes is how much is allocated between two garbage collections at
	// least. Requests leave a few kilobytes each; with Go's default, a small store's
	// heap of some 20 MB would be collected dozens of times a second under load, which
	// measured a fifth of the processor time of a read.
	gcHeadroomBytes = 128 << 20
	// gcPercentFloor is Go's default, which a large heap keeps.
	gcPercentFloor = 100
	gcTuneInterval = time.Second
)

// gcPercent gives a live heap its headroom.
func gcPercent(liveBytes uint64) int {
	if liveBytes == 0 {
		return gcPercentFloor
	}
	return max(gcPercentFloor, int(min(gcHeadroomBytes*100/liveBytes, 800)))
}

// raiseProcs gives Go's scheduler more processors than there are cores. Every answer
// waits for a disk sync, which blocks a thread; when it returns, its goroutine needs
// a free processor or queues behind all that are ready to run, which under load took
// longer than the sync. With half as many again there is one, and the kernel lets the
// thread run at once: measured on two cores, reads gained a third and writes a tenth.
// Whoever sets GOMAXPROCS has decided, and is left alone.
func raiseProcs(getenv func(string) string) {
	if getenv("GOMAXPROCS") == "" {
		n := runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(n + (n+1)/2)
	}
}

// tuneGC keeps the headroom until ctx ends, and then puts back what was set. Whoever
// sets GOGC has decided, and is left alone.
func tuneGC(ctx context.Context, getenv func(string) string) {
	if getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(gcTuneInterval)
	defer tick.Stop()
	last := gcPercentFloor
	defer func() { debug.SetGCPercent(gcPercentFloor) }()
	for {
		metrics.Read(sample)
		// Small changes are not worth the stop that setting the value costs.
		if p := gcPercent(sample[0].Value.Uint64()); p > last*11/10 || p < last*9/10 {
			debug.SetGCPercent(p)
			last = p
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
