package trail

import (
	"bytes"
	"encoding/binary"
)

const (
	// memoEntries is how many lists of lines a builder remembers, memoBytes the longest
	// value that it remembers them by: 32 KiB in all.
	memoEntries = 256
	memoBytes   = 128
	// maxLists is how many lists the value of one attribute stands in: a resource, under
	// each of its names.
	maxLists = 2
)

// memo remembers where the values of recent lines stand in the index. Consecutive lines
// have most of their values in common, and to compare bytes takes a fraction of what two
// hashes and a large map take. It is told again what it has forgotten: each value has one
// place, and the latest is in it.
type memo struct {
	entries [memoEntries]memoEntry
}

type memoEntry struct {
	attribute attribute
	place     int // of the builder's places
	value     []byte
	lists     [maxLists]*posting // the rest is nil; lists stay those of their key as long as the index grows
}

// of is the entry that a value has if there is one, with whether it is its own. To
// remember other lists there, call set.
func (m *memo) of(at int, a attribute, value []byte) (e *memoEntry, ok bool) {
	var head, tail uint64
	switch n := len(value); {
	case n >= 8:
		head, tail = binary.LittleEndian.Uint64(value), binary.LittleEndian.Uint64(value[n-8:])
	default:
		for _, c := range value {
			head = head<<8 | uint64(c)
		}
	}
	// Names that differ in neither end take turns, which costs time only.
	h := (head ^ tail*0x9e3779b97f4a7c15 ^ uint64(len(value))<<32 ^ uint64(a)<<40 ^ uint64(at)<<48) * 0xff51afd7ed558ccd
	e = &m.entries[h>>56]
	return e, e.attribute == a && e.place == at && bytes.Equal(e.value, value)
}

func (e *memoEntry) set(at int, a attribute, value []byte, lists [maxLists]*posting) {
	if len(value) > memoBytes {
		return
	}
	e.attribute, e.place, e.value, e.lists = a, at, append(e.value[:0], value...), lists
}

// memoIdentities is how many callers a reader of records remembers, memoIdentityBytes the
// longest userIdentity.
const (
	memoIdentities    = 8
	memoIdentityBytes = 2 << 10
)

// identity is what the index needs of a line's userIdentity.
type identity struct{ kind, arn, name, accessKey []byte }

// identities remembers callers of recent lines, the latest first: their userIdentity,
// which is a quarter of a line, and what was read from it.
type identities struct {
	recent [memoIdentities]knownIdentity
	missed int
}

// rememberEvery: of callers that are not known, one in so many is remembered. Where there
// are few they are soon known, and where there are many, remembering all would cost more
// than it spares.
const rememberEvery = 8

type knownIdentity struct {
	raw []byte
	identity
}

// find returns who a text begins with. A JSON object says where it ends: what begins with
// all of one and goes on is that one, and something that follows it.
func (ids *identities) find(text []byte) *knownIdentity {
	for i := range ids.recent {
		if k := &ids.recent[i]; len(k.raw) > 0 && bytes.HasPrefix(text, k.raw) {
			if i > 0 {
				ids.recent[0], ids.recent[i] = ids.recent[i], ids.recent[0]
			}
			return &ids.recent[0]
		}
	}
	return nil
}

// remember takes the place of the caller who was not asked for, for longest or nearly so.
func (ids *identities) remember(raw []byte, id identity) {
	if ids.missed++; ids.missed%rememberEvery != 0 || len(raw) > memoIdentityBytes {
		return
	}
	last := len(ids.recent) - 1
	k := ids.recent[last]
	copy(ids.recent[1:], ids.recent[:last])
	k.raw = append(k.raw[:0], raw...)
	k.identity = identity{bytes.Clone(id.kind), bytes.Clone(id.arn), bytes.Clone(id.name), bytes.Clone(id.accessKey)}
	ids.recent[0] = k
}
