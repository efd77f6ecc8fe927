package secrets

import (
	"cmp"
	"slices"
	"strings"
)

// mention is a text by which filters find a secret, and what it is there: a tag's key or
// value, or a word of another text.
type mention struct {
	text string
	as   mentionedAs
}

type mentionedAs uint8

const (
	nameWord mentionedAs = iota
	// Words of the description: most are the same however it is cut, the others come of
	// cutting it as filter "all" does, or as filter "description" does.
	plainWord
	classWord
	spaceWord
	wordKinds

	tagKey   = wordKinds
	tagValue = wordKinds + 1
)

// maxWord is how many bytes of a word the catalogue has. What a longer one finds there may
// yet go on otherwise.
const maxWord = 32

func (m mention) compare(o mention) int {
	if c := strings.Compare(m.text, o.text); c != 0 {
		return c
	}
	return cmp.Compare(m.as, o.as)
}

// mentionsOf returns all that a secret has, sorted, each once.
func mentionsOf(sec *Secret) []mention {
	if sec == nil {
		return nil
	}
	all := make([]mention, 0, 32)
	add := func(as mentionedAs, text string, cut cutter) {
		eachWord(text, cut, func(word string) { all = append(all, mention{word, as}) })
	}
	add(nameWord, sec.Name, cutClasses)
	add(classWord, sec.Description, cutClasses)
	add(spaceWord, sec.Description, cutSpaces)
	for _, t := range sec.Tags {
		all = append(all, mention{t.Key, tagKey}, mention{t.Value, tagValue})
	}
	slices.SortFunc(all, mention.compare)
	all = slices.Compact(all)
	kept := all[:0]
	for _, m := range all {
		if last := len(kept) - 1; m.as == spaceWord && last >= 0 && kept[last] == (mention{m.text, classWord}) {
			kept[last].as = plainWord
			continue
		}
		kept = append(kept, m)
	}
	return kept
}

// eachWord visits the words of a text as the catalogue has them.
func eachWord(text string, cut cutter, visit func(word string)) {
	for word, rest := cut(text); word != ""; word, rest = cut(rest) {
		word = strings.ToLower(word)
		visit(word[:min(len(word), maxWord)])
	}
}

// wordIndex says of every word which numbers have it, of secrets or of texts. Most words of
// a large scope are either in very few or in very many.
type wordIndex struct {
	few  packed
	many terms
}

func newWordIndex() wordIndex { return wordIndex{newPacked(), newTerms()} }

func (w *wordIndex) add(word string, n uint32) {
	if p, ok := w.many.numbers.Get(word); ok {
		p.many.add(n)
		return
	}
	if some := w.few.add(word, n); some != nil {
		for _, n := range some {
			w.few.remove(word, n)
		}
		w.many.numbers.Set(strings.Clone(word), posting{many: newNumberList(append(some, n))}) // see tagTexts.add
	}
}

func (w *wordIndex) remove(word string, n uint32) {
	p, ok := w.many.numbers.Get(word)
	if !ok {
		w.few.remove(word, n)
		return
	}
	// Not at the same number at which it came.
	if p.many.remove(n); p.many.count == maxPacked/2 {
		w.many.numbers.Delete(word)
		p.each(func(n uint32) { w.few.add(word, n) })
	}
}

// join implements joinable. A word may go from one part to the other while changes are let
// in: what is left of either is left of both.
func (w *wordIndex) join(out numberSet, prefix, from string, most int) joined {
	j, k := w.few.join(out, prefix, from, most), w.many.join(out, prefix, from, most)
	j.work += k.work
	if k.more && (!j.more || k.next < j.next) {
		j.next, j.more = k.next, true
	}
	return j
}

// tagTexts are the texts of tags, keys or values, with the secrets that have them. They
// have numbers of their own, as secrets do, so that the texts with several words can be
// found, and then their secrets.
type tagTexts struct {
	numbers textMap[uint32]
	secrets []*[64]posting // by the number of the text
	free    []uint32
	words   wordIndex // of the texts
}

func newTagTexts() *tagTexts { return &tagTexts{numbers: newTextMap[uint32](), words: newWordIndex()} }

func (t *tagTexts) at(text uint32) *posting { return &t.secrets[text/64][text%64] }

func (t *tagTexts) add(text string, n uint32) {
	if known, ok := t.numbers.Get(text); ok {
		*t.at(known) = t.at(known).with(n)
		return
	}
	if len(t.free) == 0 {
		for i := range uint32(64) {
			t.free = append(t.free, uint32(len(t.secrets)*64)+63-i)
		}
		t.secrets = append(t.secrets, new([64]posting))
	}
	last := len(t.free) - 1
	known := t.free[last]
	t.free = t.free[:last]
	*t.at(known) = posting{one: n}
	// A copy: it may be part of something larger, which should not live as long as this.
	t.numbers.Set(strings.Clone(text), known)
	eachWord(text, cutClasses, func(word string) { t.words.add(word, known) })
}

func (t *tagTexts) remove(text string, n uint32) {
	known, ok := t.numbers.Get(text)
	if !ok {
		return
	}
	rest, some := t.at(known).without(n)
	*t.at(known) = rest
	if !some {
		t.numbers.Delete(text)
		t.free = append(t.free, known)
		eachWord(text, cutClasses, func(word string) { t.words.remove(word, known) })
	}
}

// join implements joinable.
func (t *tagTexts) join(out numberSet, prefix, from string, most int) joined {
	return t.numbers.join(prefix, from, most, func(text uint32) int { return out.addAll(*t.at(text)) })
}
