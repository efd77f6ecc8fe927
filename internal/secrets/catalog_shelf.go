package secrets

import (
	"math"
	"math/bits"
	"slices"
	"strings"
	"unsafe"

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

	names              packed // no two secrets have one, but while one takes over that of another
	tagKeys, tagValues *tagTexts
	words              [wordKinds]wordIndex

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
	names            *blockNames
}

func newBlock() block {
	return block{
		first: math.MaxInt64, last: math.MinInt64,
		created: new([64]Instant), changed: new([64]Instant), days: new([64]Day),
		uids: new([64]UID), names: new(blockNames),
	}
}

// blockNames are the names of a block, in one piece of memory.
type blockNames struct {
	text []byte // what was once written does not change: others may have it
	used int    // bytes of it that are a name's
	from [64]uint32
	to   [64]uint32
}

func (b *blockNames) at(i uint32) string {
	name := b.text[b.from[i]:b.to[i]]
	return unsafe.String(unsafe.SliceData(name), len(name))
}

func (b *blockNames) set(i uint32, name string) {
	b.used += len(name) - int(b.to[i]-b.from[i])
	b.from[i], b.to[i] = 0, 0
	if len(b.text)+len(name) > 2*b.used {
		text := make([]byte, 0, b.used)
		for j := range uint32(len(b.from)) {
			had := b.at(j)
			b.from[j] = uint32(len(text))
			text = append(text, had...)
			b.to[j] = uint32(len(text))
		}
		b.text = text
	}
	b.from[i] = uint32(len(b.text))
	b.text = append(b.text, name...)
	b.to[i] = uint32(len(b.text))
}

func newShelf() *shelf {
	sh := &shelf{numbers: make(map[UID]uint32), names: newPacked(), tagKeys: newTagTexts(), tagValues: newTagTexts()}
	for as := range sh.words {
		sh.words[as] = newWordIndex()
	}
	return sh
}

func (sh *shelf) at(n uint32) (b *block, i uint32) { return &sh.blocks[n/64], n % 64 }

// put takes in a secret as it is now: has are its mentions, had those that it had, if the
// shelf was told of that; both are nil if they are the same. day is when a secret that is
// new to the shelf was last read.
func (sh *shelf) put(sec *Secret, had, has []mention, day Day) {
	n, there := sh.numbers[sec.UID]
	if !there {
		n = sh.number(sec.UID)
		if had = nil; has == nil {
			has = mentionsOf(sec)
		}
	}
	b, i := sh.at(n)
	if !there {
		b.uids[i] = sec.UID
		b.names.set(i, sec.Name)
		sh.names.add(sec.Name, n)
		sh.used.set(n, true)
		sh.setDayAt(n, day)
		sh.ranks.moveAll(n)
	}
	if b.created[i] != sec.Created {
		sh.ranks.move(rankCreated, n)
	}
	if b.changed[i] != sec.Changed {
		sh.ranks.move(rankChanged, n)
	}
	b.created[i], b.changed[i] = sec.Created, sec.Changed
	b.first, b.last = min(b.first, sec.Created), max(b.last, sec.Created)
	sh.scheduled.set(n, sec.scheduled())
	sh.mentions(n, had, has)
}

// mentions takes in what of the mentions of a number has changed.
func (sh *shelf) mentions(n uint32, had, has []mention) {
	for len(had)+len(has) > 0 {
		c := -1 // which of the first ones comes first
		if len(had) == 0 {
			c = 1
		} else if len(has) > 0 {
			c = had[0].compare(has[0])
		}
		if c < 0 {
			sh.mentioning(had[0].as).remove(had[0].text, n)
		}
		if c > 0 {
			sh.mentioning(has[0].as).add(has[0].text, n)
		}
		if c <= 0 {
			had = had[1:]
		}
		if c >= 0 {
			has = has[1:]
		}
	}
}

func (sh *shelf) mentioning(as mentionedAs) interface {
	add(text string, n uint32)
	remove(text string, n uint32)
} {
	switch as {
	case tagKey:
		return sh.tagKeys
	case tagValue:
		return sh.tagValues
	}
	return &sh.words[as]
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

// remove takes out a secret, whose mentions were these.
func (sh *shelf) remove(sec *Secret, had []mention) {
	n, ok := sh.numbers[sec.UID]
	if !ok {
		return
	}
	sh.mentions(n, had, nil)
	b, i := sh.at(n)
	sh.names.remove(b.names.at(i), n)
	b.names.set(i, "")
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

// joinable is sorted texts with sets of numbers.
type joinable interface {
	// join adds to a set what texts have that begin with a prefix, from one of them on, until it
	// has done so much work.
	join(out numberSet, prefix, from string, most int) joined
}

// joined is what came of that.
type joined struct {
	work int
	next string // where to go on
	more bool
}

// textMap is sorted texts with something for each.
type textMap[V any] struct{ *btree.Map[string, V] }

func newTextMap[V any]() textMap[V] { return textMap[V]{btree.NewMap[string, V](16)} }

// join is that of joinable: touch adds what a text has, and returns about how many words of
// memory it has touched.
func (m textMap[V]) join(prefix, from string, most int, touch func(v V) int) (j joined) {
	m.Ascend(from, func(text string, v V) bool {
		switch {
		case !strings.HasPrefix(text, prefix):
			return false
		case j.work > most:
			j.next, j.more = text, true
			return false
		}
		j.work += textWork + touch(v)/touchesPerWork
		return true
	})
	return j
}

// terms says of every word that many have which numbers have it.
type terms struct{ numbers textMap[posting] }

func newTerms() terms { return terms{newTextMap[posting]()} }

// join implements joinable.
func (t terms) join(out numberSet, prefix, from string, most int) joined {
	return t.numbers.join(prefix, from, most, out.addAll)
}

// posting is the numbers of the secrets with one text. Most texts of a large scope are
// either on very few secrets or on very many: a single number stands in the posting
// itself.
type posting struct {
	one  uint32
	many *numberList // nil: there is only one
}

// noNumber is nobody's: a posting with it alone is empty.
const noNumber = math.MaxUint32

func (p posting) with(n uint32) posting {
	if p.many == nil {
		if p.one == n {
			return p
		}
		return posting{many: newNumberList([]uint32{p.one, n})}
	}
	p.many.add(n)
	return p
}

// without returns what is left, and whether that is anything.
func (p posting) without(n uint32) (rest posting, some bool) {
	if p.many != nil {
		p.many.remove(n)
		some = p.many.count > 0
	} else {
		some = p.one != n
	}
	if !some {
		return posting{one: noNumber}, false
	}
	return p, true
}

// each visits the numbers.
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

// numberList is a set of numbers in whichever form is shorter: a sorted list or bits.
type numberList struct {
	count int
	list  []uint32
	bits  numberSet // not nil: the list is not used
}

func newNumberList(some []uint32) *numberList {
	l := new(numberList)
	for _, n := range some {
		l.add(n)
	}
	return l
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
		// With one that lies far beyond the others, a list may be shorter.
		if words := int(n/64 + 1); words > len(l.bits) && 4*(l.count+1) < 2*words {
			l.asList()
			l.add(n)
			return
		}
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
		l.asList()
	}
}

func (l *numberList) asList() {
	l.list = make([]uint32, 0, l.count+1)
	l.bits.each(func(n uint32) { l.list = append(l.list, n) })
	l.bits = nil
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

func (s numberSet) or(o numberSet) {
	for w, word := range o {
		s[w] |= word
	}
}

func (s numberSet) andNot(o numberSet) {
	for w := range s {
		s[w] &^= o[w]
	}
}

func (s numberSet) empty() bool {
	for _, word := range s {
		if word != 0 {
			return false
		}
	}
	return true
}
