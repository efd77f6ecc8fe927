package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// gcEvery is how often garbage should be collected, as far as gcHeadroomMost permits. A
	// collection takes half of two cores for some 50 ms, in which calls wait: with more of
	// them than one in five seconds, one call in a hundred does.
	gcEvery = 5 * time.Second
	// What a small heap may allocate between two collections, whatever Go's default: what
	// the process allocates in gcEvery, at least and at most this, and at most one part in
	// gcMemoryShare of the memory there is. A heap with more live than that gets as much as
	// is live. Reads leave some ten kilobytes each and writes a hundred; with the default, a
	// small store's heap of some 20 MB would be collected many times a second, which measured
	// a tenth of the processor time of a read.
	gcHeadroomLeast = 64 << 20
	gcHeadroomMost  = 512 << 20
	gcMemoryShare   = 16
	// A collection costs what is live, some 1.3 s of processor time for a gigabyte, and
	// so a large heap should be collected so much less often, with headroom up to half as
	// much again as is live, until the heap would be larger than this between collections.
	gcEveryGigabyte = 15 * time.Second
	gcHeapMost      = 11 << 28
	// gcRateKept is what is left of a rate of allocation a second after it has fallen, so
	// that the headroom outlives a pause.
	gcRateKept = 0.97
	// gcPercentDefault is Go's default, which a heap between the headroom and
	// gcLargeBytes keeps.
	gcPercentDefault = 100
	// gcLargeBytes is a live heap beyond which the headroom grows by a quarter of what
	// the heap does. A full account of 500,000 ordinary secrets has 1.3 GB live; with 2 GB,
	// as with values of former versions and large ones, Go's default would let it grow to 4
	// GB between collections, and so it stays at 3.6.
	gcLargeBytes = 3 << 29
	// gcPercentCeiling keeps a nearly empty heap from growing for nothing.
	gcPercentCeiling = 2000
	gcTuneInterval   = time.Second
	// gcStartPercent is the headroom of a heap below gcStartBytes while a start fills it:
	// with Go's default it would be collected each time it has doubled, for nothing.
	gcStartPercent = 400
	gcStartBytes   = 1 << 29
	// profileBytes: the heap profile takes one sample in so many bytes allocated. Go's
	// default of 512 KiB was 1.4 % of the processor time of a write.
	profileBytes = 4 << 20
)

func init() {
	// The earlier the better: all of a profile is scaled by this rate, and what packages
	// allocated while they were initialised was sampled by Go's, so that a heap profile shows
	// up to eight times as much of it as there is.
	runtime.MemProfileRate = profileBytes
}

// gcPercent gives a live heap its headroom. rootBytes are the stacks and the globals, to
// which Go applies the percentage as well.
func gcPercent(liveBytes, rootBytes, headroom uint64) int {
	switch {
	case liveBytes == 0:
		return gcPercentDefault
	case liveBytes > gcLargeBytes:
		return int((gcLargeBytes + (liveBytes-gcLargeBytes)/4) * 100 / liveBytes)
	}
	return max(gcPercentDefault, int(min(headroom*100/(liveBytes+rootBytes), gcPercentCeiling)))
}

// gcHeadroom follows the rate at which a process allocates.
type gcHeadroom struct {
	memory    uint64  // that the process may use, 0 if that is not known
	allocated uint64  // in all, at the last tick
	rate      float64 // bytes a second
}

// tick takes note, once in gcTuneInterval, of how much has been allocated in all.
func (h *gcHeadroom) tick(allocated uint64) {
	if h.allocated != 0 {
		rate := float64(allocated-h.allocated) / gcTuneInterval.Seconds()
		h.rate = max(rate, h.rate*gcRateKept)
	}
	h.allocated = allocated
}

// bytes is the headroom of a heap with so much live.
func (h *gcHeadroom) bytes(liveBytes uint64) uint64 {
	every := max(gcEvery, time.Duration(float64(gcEveryGigabyte)*float64(liveBytes)/(1<<30)))
	most := uint64(gcHeadroomMost)
	if liveBytes < gcHeapMost {
		most = max(most, min(liveBytes*3/2, gcHeapMost-liveBytes))
	}
	if h.memory == 0 {
		most = gcHeadroomLeast
	} else {
		most = min(most, h.memory/gcMemoryShare)
	}
	return min(most, max(gcHeadroomLeast, uint64(h.rate*every.Seconds())))
}

// memoryLimit is the memory that the process may use: what the machine has or, if it is
// less, what its control group allows; 0 if neither can be read.
func memoryLimit(providers ...memlimit.Provider) (least uint64) {
	for _, limit := range providers {
		if n, err := limit(); err == nil && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// gcPercentAtStart is gcPercent while the store is opened.
func gcPercentAtStart(liveBytes, rootBytes, headroom uint64) int {
	if liveBytes < gcStartBytes {
		return gcStartPercent
	}
	return gcPercent(liveBytes, rootBytes, headroom)
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
	sample := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	tick := time.NewTicker(gcTuneInterval)
	defer tick.Stop()
	last := gcPercentDefault
	defer func() { debug.SetGCPercent(gcPercentDefault) }()
	percent := gcPercentAtStart
	headroom := &gcHeadroom{memory: memoryLimit(memlimit.FromCgroup, memlimit.FromSystem)}
	for ticked := false; ; {
		metrics.Read(sample)
		if ticked && opened == nil { // what a start allocates says nothing of what follows
			headroom.tick(sample[1].Value.Uint64())
		}
		roots := sample[2].Value.Uint64() + sample[3].Value.Uint64()
		live := sample[0].Value.Uint64()
		// Small changes are not worth the stop that setting the value costs.
		if p := percent(live, roots, headroom.bytes(live)); p > last*11/10 || p < last*9/10 {
			debug.SetGCPercent(p)
			last = p
		}
		select {
		case <-ctx.Done():
			return
		case <-opened:
			percent, opened, ticked = gcPercent, nil, false
		case <-tick.C:
			ticked = true
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
