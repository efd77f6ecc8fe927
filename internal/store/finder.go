package store

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// finder leads from hashed keys to the numbers of their records. In the tree a search goes
// through five nodes, with half a million records each past the processor's caches; here it
// is one line of the cache. It only ever proposes: whoever asks looks whether the entry with
// that number has the key. So all states of a table have one finder, whichever of them what
// it says was taken from, and what it does not know it is told when the tree has been
// searched.
type finder struct{ sets []finderSet }

// finderSet is a line of the processor's cache, beginning with what was added last. A slot
// has half of what a key is known by, and the number. Those who write to it at the same time
// may lose what the other has added.
type finderSet [8]atomic.Uint64

// newFinder makes one with room for so many records, and as many again.
func newFinder(records int) *finder {
	sets := 1 << bits.Len(uint(records/(len(finderSet{})/2)))
	return &finder{make([]finderSet, sets)}
}

// room is for how many records it is large enough.
func (f *finder) room() int { return len(f.sets) * len(finderSet{}) / 2 }

// knownBy is the end of a hashed key: the last hash, which is an HMAC.
func knownBy(key string) uint64 {
	var b [8]byte
	copy(b[:], key[max(0, len(key)-len(b)):])
	return binary.BigEndian.Uint64(b[:])
}

func (f *finder) set(known uint64) *finderSet { return &f.sets[known&uint64(len(f.sets)-1)] }

func (f *finder) add(key string, number uint32) {
	known := knownBy(key)
	slot := known&^(1<<32-1) | uint64(number)
	for i, set := 0, f.set(known); i < len(set); i++ {
		if slot = set[i].Swap(slot); slot == 0 {
			return
		}
	}
}

// find returns the number of a key that these entries have.
func (f *finder) find(key string, of *entryList) (number uint32, e *entry, ok bool) {
	known := knownBy(key)
	set := f.set(known)
	for i := range set {
		if slot := set[i].Load(); (slot^known)>>32 == 0 {
			if e := of.find(uint32(slot)); e != nil && e.key() == key {
				return uint32(slot), e, true
			}
		}
	}
	return 0, nil, false
}
