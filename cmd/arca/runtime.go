package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcHeadroomBytes is how much a process may allocate between two garbage
	// collections, whatever Go's default. Requests leave some ten kilobytes each; with
	// the default, a small store's heap of some 20 MB would be collected many times a
	// second under load, which measured a tenth of the processor time of a read.
	gcHeadroomBytes = 128 << 20
	// gcPercentDefault is Go's default, which a heap between the headroom and
	// gcLargeBytes keeps.
	gcPercentDefault = 100
	// gcLargeBytes is a live heap beyond which the headroom grows by a quarter of what
	// the heap does. A full account of 500,000 ordinary secrets has 1.3 GB live; with 2 GB,
	// as with values of former versions and large ones, Go's default would let it grow to 4
	// GB between collections, and so it stays at 3.6.
	gcLargeBytes = 3 << 29
	// gcPercentCeiling keeps a nearly empty heap from growing for nothing.
	gcPercentCeiling = 800
	gcTuneInterval   = time.Second
	// gcStartPercent is the headroom of a heap below gcStartBytes while a start fills it:
	// with Go's default it would be collected each time it has doubled, for nothing.
	gcStartPercent = 400
	gcStartBytes   = 1 << 29
)

// gcPercent gives a live heap its headroom.
func gcPercent(liveBytes uint64) int {
	switch {
	case liveBytes == 0:
		return gcPercentDefault
	case liveBytes > gcLargeBytes:
		return int((gcLargeBytes + (liveBytes-gcLargeBytes)/4) * 100 / liveBytes)
	}
	return max(gcPercentDefault, int(min(gcHeadroomBytes*100/liveBytes, gcPercentCeiling)))
}

// gcPercentAtStart is gcPercent while the store is opened.
func gcPercentAtStart(liveBytes uint64) int {
	if liveBytes < gcStartBytes {
		return gcStartPercent
	}
	return gcPercent(liveBytes)
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

// tuneGC keeps the headroom until ctx ends, and then puts Go's default back; opened is
// closed when the store is open. Whoever sets GOGC has decided, and is left alone.
func tuneGC(ctx context.Context, getenv func(string) string, opened <-chan struct{}) {
	if getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(gcTuneInterval)
	defer tick.Stop()
	last := gcPercentDefault
	defer func() { debug.SetGCPercent(gcPercentDefault) }()
	percent := gcPercentAtStart
	for {
		metrics.Read(sample)
		// Small changes are not worth the stop that setting the value costs.
		if p := percent(sample[0].Value.Uint64()); p > last*11/10 || p < last*9/10 {
			debug.SetGCPercent(p)
			last = p
		}
		select {
		case <-ctx.Done():
			return
		case <-opened:
			percent, opened = gcPercent, nil
		case <-tick.C:
		}
	}
}

// returnMemory gives what reading many records took back to the system. It is called once,
// when they have been read, and costs a garbage collection.
func returnMemory() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(sample); sample[0].Value.Uint64() > gcLargeBytes/4 {
		debug.FreeOSMemory()
	}
}
