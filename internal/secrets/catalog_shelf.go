package secrets

import (
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/tidwall/btree"
)

// shelf is the catalogue of one scope. Secrets have numbers there, which are dense, hold
// for this process only and are given again to others once a secret is gone. It keeps no
// records, and nothing in it but texts is behind pointers of its own, so that half a million
// secrets cost the garbage collector little.
type shelf struct {
	numbers map[UID]uint32
	free    []uint32
	blocks  []block
	count   int
	// Which numbers are a secret's; which of those are of secrets scheduled for deletion, and
	// of such as have been read. Each has a word for every block.
	used, scheduled, read numberSet

	names, tagKeys, tagValues terms

	ranks rankings
}

// block holds the rest of what is known of 64 numbers, as many as a word of a numberSet
// has bits. Each thing has memory of its own, so that what is needed of many secrets at
// once lies close together.
type block struct {
	// created of all that the block has ever had lies from first to last. Numbers are given
	// in the order of creation, at first and mostly, so that lists in that order can leave
	// out whole blocks.
	first, last Instant

	created, changed *[64]Instant
	days             *[64]Day
	uids             *[64]UID
	names            *[64]string
	marks            *[64]marks
}

func newBlock() block {
	return block{
		first: math.MaxInt64, last: math.MinInt64,
		created: new([64]Instant), changed: new([64]Instant), days: new([64]Day),
		uids: new([64]UID), names: new([64]string), marks: new([64]marks),
	}
}

func newShelf() *shelf {
	return &shelf{numbers: make(map[UID]uint32), names: newTerms(), tagKeys: newTerms(), tagValues: newTerms()}
}

func (sh *shelf) at(n uint32) (b *block, i uint32) { return &sh.blocks[n/64], n % 64 }

// put takes in a secret as it is now. before is what it was, if the shelf was told of
// that; day is when a secret that is new to the shelf was last read; known are its marks,
// if they were made already.
func (sh *shelf) put(before, after *Secret, day Day, known *marks) {
	n, there := sh.numbers[after.UID]
	if !there {
		n = sh.number(after.UID)
	}
	b, i := sh.at(n)
	if !there {
		// A copy: the record's may be part of something larger, and lies far from others.
		b.uids[i], b.names[i] = after.UID, strings.Clone(after.Name)
		sh.names.add(b.names[i], n)
		sh.used.set(n, true)
		sh.setDayAt(n, day)
		sh.ranks.moveAll(n)
		before = nil
	}
	if b.created[i] != after.Created {
		sh.ranks.move(rankCreated, n)
	}
	if b.changed[i] != after.Changed {
		sh.ranks.move(rankChanged, n)
	}
	b.created[i], b.changed[i] = after.Created, after.Changed
	b.first, b.last = min(b.first, after.Created), max(b.last, after.Created)
	sh.scheduled.set(n, after.scheduled())
	retagged := before == nil || !slices.Equal(before.Tags, after.Tags)
	if retagged {
		if before != nil {
			sh.tag(n, before.Tags, terms.remove)
		}
		sh.tag(n, after.Tags, terms.addCopy)
	}
	switch {
	case known != nil:
		b.marks[i] = *known
	case retagged || before.Description != after.Description:
		b.marks[i] = marksOf(after)
	}
}

func (sh *shelf) number(uid UID) uint32 {
	n := uint32(len(sh.blocks) * 64)
	if last := len(sh.free) - 1; last >= 0 {
		n, sh.free = sh.free[last], sh.free[:last]
	} else {
		sh.blocks = append(sh.blocks, newBlock())
		sh.used, sh.scheduled, sh.read = append(sh.used, 0), append(sh.scheduled, 0), append(sh.read, 0)
		for i := uint32(63); i > 0; i-- {
			sh.free = append(sh.free, n+i)
		}
	}
	sh.numbers[uid] = n
	sh.count++
	return n
}

func (sh *shelf) remove(sec *Secret) {
	n, ok := sh.numbers[sec.UID]
	if !ok {
		return
	}
	sh.tag(n, sec.Tags, terms.remove)
	b, i := sh.at(n)
	sh.names.remove(b.names[i], n)
	b.names[i] = ""
	sh.used.set(n, false)
	sh.scheduled.set(n, false)
	sh.read.set(n, false)
	sh.ranks.moveAll(n)
	delete(sh.numbers, sec.UID)
	sh.free = append(sh.free, n)
	sh.count--
}

// setDay notes when a secret was last read, 0 for never, if the shelf has the secret.
func (sh *shelf) setDay(uid UID, day Day) {
	if n, ok := sh.numbers[uid]; ok {
		sh.setDayAt(n, day)
	}
}

func (sh *shelf) setDayAt(n uint32, day Day) {
	b, i := sh.at(n)
	if b.days[i] != day {
		sh.ranks.move(rankDay, n)
	}
	b.days[i] = day
	sh.read.set(n, day != 0)
}

func (sh *shelf) tag(n uint32, tags []Tag, change func(t terms, text string, n uint32)) {
	for _, t := range tags {
		change(sh.tagKeys, t.Key, n)
		change(sh.tagValues, t.Value, n)
	}
}

// terms says of every text that is a name, or a tag's key, or value, which secrets have it.
type terms struct {
	numbers *btree.Map[string, posting]
}

func newTerms() terms { return terms{btree.NewMap[string, posting](16)} }

// posting is the numbers of the secrets with one text. Most texts of a large scope are
// either on very few secrets or on very many: a single number stands in the posting
// itself.
type posting struct {
	one  uint32
	many *numberList // nil: there is only one
}

// each visits the numbers: for a name one, but while one secret takes over that of another.
func (p posting) each(visit func(n uint32)) {
	switch {
	case p.many == nil:
		visit(p.one)
	case p.many.bits == nil:
		for _, n := range p.many.list {
			visit(n)
		}
	default:
		p.many.bits.each(visit)
	}
}

// addCopy is add for a text that may be part of something larger, which should not live as
// long as this.
func (t terms) addCopy(text string, n uint32) {
	if _, ok := t.numbers.Get(text); !ok {
		text = strings.Clone(text)
	}
	t.add(text, n)
}

func (t terms) add(text string, n uint32) {
	p, ok := t.numbers.Get(text)
	switch {
	case !ok:
		t.numbers.Set(text, posting{one: n})
	case p.many != nil:
		p.many.add(n)
	case p.one != n:
		many := new(numberList)
		many.add(p.one)
		many.add(n)
		t.numbers.Set(text, posting{many: many})
	}
}

func (t terms) remove(text string, n uint32) {
	p, ok := t.numbers.Get(text)
	switch {
	case !ok:
	case p.many == nil:
		if p.one == n {
			t.numbers.Delete(text)
		}
	default:
		if p.many.remove(n); p.many.count == 0 {
			t.numbers.Delete(text)
		}
	}
}

// numberList is a set of numbers in whichever form is shorter: a sorted list or bits.
type numberList struct {
	count int
	list  []uint32
	bits  numberSet // not nil: the list is not used
}

func (l *numberList) add(n uint32) {
	if l.bits == nil {
		at, found := slices.BinarySearch(l.list, n)
		if found {
			return
		}
		l.list = slices.Insert(l.list, at, n)
		l.count++
		if 4*len(l.list) > 8*int(l.list[len(l.list)-1]/64+1) {
			for _, n := range l.list {
				l.bits = l.bits.with(n)
			}
			l.list = nil
		}
		return
	}
	if !l.bits.has(n) {
		l.bits = l.bits.with(n)
		l.count++
	}
}

func (l *numberList) remove(n uint32) {
	if l.bits == nil {
		if at, found := slices.BinarySearch(l.list, n); found {
			l.list = slices.Delete(l.list, at, at+1)
			l.count--
		}
		return
	}
	if l.bits.has(n) {
		l.bits[n/64] &^= 1 << (n % 64)
		l.count--
	}
	// A set that has become small is a list again, not at the same size at which it ceased
	// to be one.
	if 4*l.count < 2*len(l.bits) {
		l.list = make([]uint32, 0, l.count)
		l.bits.each(func(n uint32) { l.list = append(l.list, n) })
		l.bits = nil
	}
}

// numberSet is a set of numbers as bits, by block. Words beyond its length are empty.
type numberSet []uint64

func (s numberSet) has(n uint32) bool {
	return int(n/64) < len(s) && s[n/64]>>(n%64)&1 == 1
}

// set adds or removes a number below the set's length.
func (s numberSet) set(n uint32, in bool) {
	s[n/64] &^= 1 << (n % 64)
	if in {
		s[n/64] |= 1 << (n % 64)
	}
}

func (s numberSet) with(n uint32) numberSet {
	for int(n/64) >= len(s) {
		s = append(s, 0)
	}
	s[n/64] |= 1 << (n % 64)
	return s
}

func (s numberSet) count() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

func (s numberSet) each(visit func(n uint32)) {
	for w, word := range s {
		for ; word != 0; word &= word - 1 {
			visit(uint32(w*64 + bits.TrailingZeros64(word)))
		}
	}
}

// addAll adds what is in a posting and below the set's length. It returns about how many
// words it has touched.
func (s numberSet) addAll(p posting) (touched int) {
	switch {
	case p.many == nil:
		s.addOne(p.one)
		return 1
	case p.many.bits != nil:
		words := min(len(s), len(p.many.bits))
		for w := range words {
			s[w] |= p.many.bits[w]
		}
		return words
	}
	for _, n := range p.many.list {
		s.addOne(n)
	}
	return len(p.many.list)
}

func (s numberSet) addOne(n uint32) {
	if int(n/64) < len(s) {
		s[n/64] |= 1 << (n % 64)
	}
}

func (s numberSet) and(o numberSet) {
	for w := range s {
		s[w] &= o[w]
	}
}

func (s numberSet) andNot(o numberSet) {
	for w := range s {
		s[w] &^= o[w]
	}
}
