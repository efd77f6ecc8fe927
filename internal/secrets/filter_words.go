package secrets

import (
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cutter takes the first word off a text: it returns the word and what follows
// it. The word is empty when the text holds no further one.
type cutter func(text string) (word, rest string)

// cutSpaces separates words at white space only. Filter "description" reads
// both its values and the descriptions this way.
func cutSpaces(text string) (word, rest string) {
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	if end := strings.IndexFunc(text, unicode.IsSpace); end >= 0 {
		return text[:end], text[end:]
	}
	return text, ""
}

// cutClasses separates words where the kind of character changes: between
// letter cases, letters and digits, and at anything that is neither. A capital
// followed by small letters opens their word, so a run of capitals gives its
// last one away: "COMPANYthings" is "COMPAN" and "Ythings". Filter "all" reads
// both its values and the attributes this way.
func cutClasses(text string) (word, rest string) {
	start := strings.IndexFunc(text, func(r rune) bool { return classOf(r) != other })
	if start < 0 {
		return "", ""
	}
	text = text[start:]
	first, size := utf8.DecodeRuneInString(text)
	class := classOf(first)
	end, last := classRun(text, size, class)
	if class == upper {
		next, _ := utf8.DecodeRuneInString(text[end:])
		if classOf(next) == lower {
			if last > 0 {
				end = last
			} else {
				end, _ = classRun(text, end, lower)
			}
		}
	}
	return text[:end], text[end:]
}

// classRun returns the end of the run of one class that continues at from, and
// where its last character begins (0 when nothing continued).
func classRun(text string, from int, class charClass) (end, last int) {
	end = from
	for end < len(text) {
		r, size := utf8.DecodeRuneInString(text[end:])
		if classOf(r) != class {
			break
		}
		last = end
		end += size
	}
	return end, last
}

type charClass int

const (
	other charClass = iota
	lower           // also letters of scripts that know no case
	upper
	digit
)

func classOf(r rune) charClass {
	switch {
	case 'a' <= r && r <= 'z':
		return lower
	case 'A' <= r && r <= 'Z':
		return upper
	case '0' <= r && r <= '9':
		return digit
	case r < utf8.RuneSelf || r == utf8.RuneError:
		return other
	case unicode.IsUpper(r) || unicode.IsTitle(r):
		return upper
	case unicode.IsLetter(r) || unicode.IsMark(r):
		return lower
	case unicode.IsDigit(r):
		return digit
	}
	return other
}

// wordQuery is a filter value cut into words. It matches a text in which each
// of them begins some word, whatever the case.
type wordQuery struct {
	cut   cutter
	words []string // lower case, sorted, without repetition
}

func newWordQuery(value string, cut cutter) wordQuery {
	q := wordQuery{cut: cut}
	for word, rest := cut(value); word != ""; word, rest = cut(rest) {
		q.words = append(q.words, strings.ToLower(word))
	}
	slices.Sort(q.words)
	q.words = slices.Compact(q.words)
	return q
}

// matches reports whether every word of the query begins a word of text. A
// query without words finds nothing: AWS does so for "+". The text is cut once,
// however many words are sought, so that a long value cannot multiply the work.
func (q wordQuery) matches(text string) bool {
	var small [16]bool
	found := small[:]
	if len(q.words) > len(small) {
		found = make([]bool, len(q.words))
	}
	missing := len(q.words)
	for word, rest := q.cut(text); word != "" && missing > 0; word, rest = q.cut(rest) {
		initial := firstLower(word)
		from := sort.Search(len(q.words), func(i int) bool { return firstLower(q.words[i]) >= initial })
		for i := from; i < len(q.words) && firstLower(q.words[i]) == initial; i++ {
			if !found[i] && foldPrefix(word, q.words[i]) {
				found[i] = true
				missing--
			}
		}
	}
	return len(q.words) > 0 && missing == 0
}

func firstLower(word string) rune {
	r, _ := utf8.DecodeRuneInString(word)
	return unicode.ToLower(r)
}

// foldPrefix reports whether text begins with prefix, which is in lower case.
func foldPrefix(text, prefix string) bool {
	for prefix != "" {
		if text == "" {
			return false
		}
		p, pn := utf8.DecodeRuneInString(prefix)
		t, tn := utf8.DecodeRuneInString(text)
		if p != unicode.ToLower(t) {
			return false
		}
		prefix, text = prefix[pn:], text[tn:]
	}
	return true
}
