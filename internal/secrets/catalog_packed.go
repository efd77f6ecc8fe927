package secrets

import (
	"encoding/binary"
	"slices"

	"github.com/tidwall/btree"
)

// packed has sorted texts, names or words, each with the few numbers that have it. There can
// be more words than secrets, most with a single number, so they are not strings and slices,
// which take several times as much memory and the garbage collector's time: they lie one
// after the other in leaves of a thousand bytes.
type packed struct {
	// leaves are found by a word that stands before none of theirs, and behind all of the leaf
	// before. There is always one by "".
	leaves *btree.Map[string, *leaf]
}

// leaf is entries: the length of the word in two bytes, how many numbers it has, the word,
// and the numbers, four bytes each and in no order.
type leaf struct{ data []byte }

const (
	leafHead  = 2 + 1
	maxLeaf   = 1024
	maxPacked = 16 // numbers of a word
)

func newPacked() packed {
	p := packed{btree.NewMap[string, *leaf](16)}
	p.leaves.Set("", new(leaf))
	return p
}

// leafOf returns the leaf that has a word, if any has.
func (p packed) leafOf(word string) (key string, l *leaf) {
	p.leaves.Descend(word, func(k string, found *leaf) bool {
		key, l = k, found
		return false
	})
	return key, l
}

// entry returns the one that begins at an offset, and where it ends.
func (l *leaf) entry(at int) (word, numbers []byte, end int) {
	from := at + leafHead + int(binary.LittleEndian.Uint16(l.data[at:]))
	end = from + 4*int(l.data[at+2])
	return l.data[at+leafHead : from], l.data[from:end], end
}

// find returns where the entry of a word begins, or would.
func (l *leaf) find(word string) (at int, found bool) {
	for at < len(l.data) {
		w, _, end := l.entry(at)
		if string(w) >= word {
			return at, string(w) == word
		}
		at = end
	}
	return at, false
}

// indexOf returns where a number stands, -1 for nowhere.
func indexOf(numbers []byte, n uint32) int {
	for i := 0; i < len(numbers); i += 4 {
		if binary.LittleEndian.Uint32(numbers[i:]) == n {
			return i
		}
	}
	return -1
}

// add adds a number to a word's. When the word has too many for that, it returns them.
func (p packed) add(word string, n uint32) (tooMany []uint32) {
	_, l := p.leafOf(word)
	at, found := l.find(word)
	var room [leafHead + maxWord + 4]byte
	if found {
		_, numbers, end := l.entry(at)
		if indexOf(numbers, n) >= 0 {
			return nil
		}
		if len(numbers) == 4*maxPacked {
			eachNumber(numbers, func(n uint32) { tooMany = append(tooMany, n) })
			return tooMany
		}
		l.data[at+2]++
		l.data = slices.Insert(l.data, end, binary.LittleEndian.AppendUint32(room[:0], n)...)
	} else {
		entry := append(binary.LittleEndian.AppendUint16(room[:0], uint16(len(word))), 1)
		entry = binary.LittleEndian.AppendUint32(append(entry, word...), n)
		l.data = slices.Insert(l.data, at, entry...)
	}
	if len(l.data) > maxLeaf {
		p.split(l)
	}
	return nil
}

// split moves the second half of a leaf to one of its own.
func (p packed) split(l *leaf) {
	at := 0
	for at < len(l.data)/2 {
		_, _, at = l.entry(at)
	}
	word, _, _ := l.entry(at)
	p.leaves.Set(string(word), &leaf{slices.Clone(l.data[at:])})
	l.data = slices.Clone(l.data[:at])
}

func (p packed) remove(word string, n uint32) {
	key, l := p.leafOf(word)
	at, found := l.find(word)
	if !found {
		return
	}
	_, numbers, end := l.entry(at)
	i := indexOf(numbers, n)
	switch {
	case i < 0:
		return
	case len(numbers) == 4:
		l.data = slices.Delete(l.data, at, end)
	default:
		l.data[at+2]--
		from := end - len(numbers) + i
		l.data = slices.Delete(l.data, from, from+4)
	}
	if 2*len(l.data) < cap(l.data) {
		l.data = slices.Clone(l.data)
	}
	if len(l.data) < maxLeaf/4 {
		p.joinBeside(key, l)
	}
}

// joinBeside makes one leaf of a small one and one beside it, if that has room.
func (p packed) joinBeside(key string, l *leaf) {
	join := func(first *leaf, key string, second *leaf) bool {
		if len(first.data)+len(second.data) > maxLeaf*3/4 {
			return false
		}
		first.data = append(first.data, second.data...)
		p.leaves.Delete(key)
		return true
	}
	beside, next := "", (*leaf)(nil)
	neighbour := func(k string, found *leaf) bool {
		beside, next = k, found
		return k == key
	}
	if p.leaves.Ascend(key, neighbour); next != l && join(l, beside, next) {
		return
	}
	if p.leaves.Descend(key, neighbour); next != l {
		join(next, key, l)
	}
}

// ascend visits the words from one on, each with its numbers, while visit returns true. What
// it is given is good until it returns.
func (p packed) ascend(from string, visit func(word, numbers []byte) bool) {
	first, _ := p.leafOf(from)
	p.leaves.Ascend(first, func(_ string, l *leaf) bool {
		for at, _ := l.find(from); at < len(l.data); {
			word, numbers, end := l.entry(at)
			if !visit(word, numbers) {
				return false
			}
			at = end
		}
		return true
	})
}

// eachNumber visits the numbers of an entry.
func eachNumber(numbers []byte, visit func(n uint32)) {
	for i := 0; i < len(numbers); i += 4 {
		visit(binary.LittleEndian.Uint32(numbers[i:]))
	}
}

// join implements joinable.
func (p packed) join(out numberSet, prefix, from string, most int) (j joined) {
	p.ascend(from, func(word, numbers []byte) bool {
		switch {
		case len(word) < len(prefix) || string(word[:len(prefix)]) != prefix:
			return false
		case j.work > most:
			j.next, j.more = string(word), true
			return false
		}
		eachNumber(numbers, out.addOne)
		j.work += packedWork
		return true
	})
	return j
}
