package trail

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// attribute says what a key of the index is about. The numbers are in files.
type attribute byte

const (
	anyEvent     attribute = 1 // every event of the account and region; no value
	eventName    attribute = 2
	readOnly     attribute = 3
	userName     attribute = 4
	resourceKind attribute = 5
	resourceName attribute = 6 // each of appendIndexed
	eventSource  attribute = 7
	accessKeyID  attribute = 8
	errorCode    attribute = 9
	sourceIP     attribute = 10
	eventID      attribute = 11 // in a table of its own
)

// place is an account with a region: a key holds for one of them, so that what one
// account does much of never stands in the way of another one's search.
type place struct{ account, region string }

// hasher makes the hashes of keys of one index. The seed is drawn for each, so that
// nobody can choose names that fall together. Falling together costs time and never
// gives a wrong answer: events are compared with what was asked for.
type hasher struct {
	seed uint64
	d    xxhash.Digest
}

func (h *hasher) begin(p place, a attribute) {
	h.d.ResetWithSeed(h.seed)
	var sizes [9]byte
	sizes[0] = byte(a)
	binary.LittleEndian.PutUint32(sizes[1:], uint32(len(p.account)))
	binary.LittleEndian.PutUint32(sizes[5:], uint32(len(p.region)))
	_, _ = h.d.Write(sizes[:]) // never fails
	_, _ = h.d.WriteString(p.account)
	_, _ = h.d.WriteString(p.region)
}

func (h *hasher) key(p place, a attribute, value []byte) uint64 {
	h.begin(p, a)
	_, _ = h.d.Write(value)
	return h.d.Sum64()
}

func (h *hasher) keyOf(p place, a attribute, value string) uint64 {
	h.begin(p, a)
	_, _ = h.d.WriteString(value)
	return h.d.Sum64()
}

// id is the hash of an event id: the same in all accounts.
func (h *hasher) id(id []byte) uint32 {
	return uint32(h.key(place{}, eventID, id) >> 32)
}
