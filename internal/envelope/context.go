package envelope

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Context encodes an encryption context so that equal contexts, and no others, have
// equal encodings: the number of pairs, then the pairs in byte order of their keys,
// every string after its length. Numbers are four bytes, big endian.
func Context(pairs map[string]string) []byte {
	return appendContext(make([]byte, 0, contextBytes(pairs)), pairs)
}

// contextBytes is the length of the encoding.
func contextBytes(pairs map[string]string) int {
	size := 4
	for k, v := range pairs {
		size += 8 + len(k) + len(v)
	}
	return size
}

func appendContext(out []byte, pairs map[string]string) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(pairs)))
	// Contexts are small and made for every value that is opened: their keys are
	// sorted on the stack.
	var few [8]string
	keys := slices.AppendSeq(few[:0], maps.Keys(pairs))
	slices.Sort(keys)
	for _, k := range keys {
		out = appendString(out, k)
		out = appendString(out, pairs[k])
	}
	return out
}

func appendString(out []byte, s string) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
	return append(out, s...)
}
