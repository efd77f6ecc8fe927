package secrets

import (
	"unicode"
	"unicode/utf8"
)

// marks is a Bloom filter over the beginnings of all words in a secret's name, description
// and tags. What the filters "all" and "description" may find has all marks of the words
// that they seek; of what they cannot find, very little has them too, by chance or because
// a word of it begins alike. Long descriptions fill it up, and are then read every time.
type marks [8]uint64

// maxMark is the length, in characters, of the longest beginning that leaves a mark.
const maxMark = 8

// marksPer is how many bits a beginning of each length sets. One character is for filters of
// a single letter, which has a bit of its own; two and three are for short words, the others
// tell longer ones apart that begin alike. Where nothing but one mark may tell, it has two
// bits.
func marksPer(length int) int {
	switch length {
	case 2, maxMark:
		return 2
	case 1, 3, 5:
		return 1
	}
	return 0
}

// marksOf cuts the texts both ways, as filters do. A word's beginning leaves the same marks
// whichever way it was cut, for they are taken from the text as it goes on, not from the
// word: a sought word that begins the word is what the text goes on with.
func marksOf(sec *Secret) (m marks) {
	m.addText(sec.Name)
	m.addText(sec.Description)
	// Words of cutSpaces that none of cutClasses begins with: those that open with neither
	// letter nor digit.
	for word, rest := cutSpaces(sec.Description); word != ""; word, rest = cutSpaces(rest) {
		if r, _ := utf8.DecodeRuneInString(word); classOf(r) == other {
			m.add(word)
		}
	}
	for _, t := range sec.Tags {
		m.addText(t.Key)
		m.addText(t.Value)
	}
	return m
}

// addText marks the beginning of every word of cutClasses.
func (m *marks) addText(text string) {
	for rest := text; ; {
		word, after := cutClasses(rest)
		if word == "" {
			return
		}
		m.add(rest[len(rest)-len(after)-len(word):])
		rest = after
	}
}

// add marks the beginnings of a text, whatever the case.
func (m *marks) add(text string) {
	hash := uint32(2166136261)
	for length := 1; length <= maxMark && text != ""; length++ {
		r, size := rune(text[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(text)
		}
		text = text[size:]
		r = unicode.ToLower(r)
		hash = (hash ^ uint32(r)) * 16777619
		spread := hash
		for range marksPer(length) {
			// FNV leaves its high bits much alike for short texts; this spreads them.
			spread ^= spread >> 15
			spread *= 0x2c1b3c6d
			m.set(length, spread, r)
		}
	}
}

// set sets the bit of a beginning: among the first 64 for one character, where ASCII
// letters and digits do not share theirs, and among the others for several.
func (m *marks) set(length int, hash uint32, r rune) {
	switch {
	case length > 1:
		bit := uint64(hash) * uint64(64*(len(m)-1)) >> 32
		m[1+bit/64] |= 1 << (bit % 64)
	case 'a' <= r && r <= 'z':
		m[0] |= 1 << (r - 'a')
	case '0' <= r && r <= '9':
		m[0] |= 1 << (26 + r - '0')
	default:
		m[0] |= 1 << (36 + hash>>16%28)
	}
}

// marks returns those that a text has in which the query finds something.
func (q wordQuery) marks() (m marks) {
	for _, word := range q.words {
		m.add(word)
	}
	return m
}

// has reports whether all of the others are among the marks.
func (m *marks) has(o *marks) bool {
	for i := range m {
		if m[i]&o[i] != o[i] {
			return false
		}
	}
	return true
}

// hasAny reports whether it has all of one of several.
func (m *marks) hasAny(some []marks) bool {
	for i := range some {
		if m.has(&some[i]) {
			return true
		}
	}
	return false
}
