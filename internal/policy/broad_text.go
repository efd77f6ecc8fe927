package policy

import (
	"math/bits"
	"strings"
	"unicode"
)

// What a string, ARN or Boolean condition matches is a regular language, so whether any
// string meets some conditions and misses others can be decided: by walking all strings
// at once, as sets of places that a string has led to in each of the patterns.

type elementKind int8

const (
	oneRune  elementKind = iota // the character itself
	foldRune                    // the character, in any case
	anyRune
	notColon
	digitRune
)

// element is one step of a pattern: a character, or with run any number of them.
type element struct {
	kind elementKind
	r    rune
	run  bool
}

func (e element) takes(r rune) bool {
	switch e.kind {
	case oneRune:
		return r == e.r
	case foldRune:
		return sameFold(r, e.r)
	case notColon:
		return r != ':'
	case digitRune:
		return r >= '0' && r <= '9'
	}
	return true
}

func sameFold(a, b rune) bool {
	for r := unicode.SimpleFold(a); ; r = unicode.SimpleFold(r) {
		if r == b {
			return true
		}
		if r == a {
			return false
		}
	}
}

// language is the strings that one pattern matches.
type language []element

func (l language) literal(text string, kind elementKind) language {
	for _, r := range text {
		l = append(l, element{kind: kind, r: r})
	}
	return l
}

// some is one or more of a kind.
func (l language) some(kind elementKind) language {
	return append(l, element{kind: kind}, element{kind: kind, run: true})
}

// stringLanguage is what a string operator matches. value gives the owner's keys, the
// only variables there are here.
func stringLanguage(p Pattern, op comparison, value func(Part) string) language {
	kind := oneRune
	if op == isEqualFold {
		kind = foldRune
	}
	var l language
	for _, part := range p.Parts {
		switch part.Kind {
		case Literal:
			l = l.literal(part.Text, kind)
		case Variable:
			l = l.literal(value(part), kind)
		case AnyRun:
			l = append(l, element{kind: anyRune, run: true})
		case AnyOne:
			l = append(l, element{kind: anyRune})
		}
	}
	return l
}

// arnLanguage is what an ARN operator matches, nothing if ok is false: the six parts
// each for itself, of which the first is always "arn".
func arnLanguage(p Pattern, value func(Part) string) (l language, ok bool) {
	whole := stringLanguage(p, isEqual, value)
	if len(whole) == 1 && whole[0].run {
		l = l.literal("arn:", oneRune)
		for range 4 {
			l = append(l, element{kind: notColon, run: true}, element{r: ':'})
		}
		return append(l, element{kind: anyRune, run: true}), true
	}
	var first language
	part := 0
	for _, e := range whole {
		switch {
		case e.kind == oneRune && e.r == ':' && part < 5:
			part++
			l = append(l, e)
			continue
		case e.kind == anyRune && part < 5:
			e.kind = notColon
		}
		if part == 0 {
			first = append(first, e)
		} else {
			l = append(l, e)
		}
	}
	if part < 5 || !first.holds("arn") {
		return nil, false
	}
	return append(language(nil).literal("arn", oneRune), l...), true
}

// holds reports whether text is in the language.
func (l language) holds(text string) bool {
	w := newWalk([]language{l}, true)
	set := w.start
	for _, r := range text {
		set = w.step(set, r)
	}
	return w.accepts(set)
}

// walk follows strings through the patterns of one condition.
type walk struct {
	elements []element // of all patterns, with one that means nothing behind each
	ends     []bool    // which of the elements these are
	start    []uint64  // a set of places in elements
	want     bool      // whether a string shall be in one of the languages, or in none
}

func newWalk(union []language, want bool) *walk {
	w := &walk{want: want}
	var starts []int
	for _, l := range union {
		starts = append(starts, len(w.elements))
		w.elements = append(append(w.elements, l...), element{})
	}
	w.ends = make([]bool, len(w.elements))
	n := 0
	for _, l := range union {
		n += len(l) + 1
		w.ends[n-1] = true
	}
	w.start = make([]uint64, (len(w.elements)+63)/64)
	for _, at := range starts {
		w.enter(w.start, at)
	}
	return w
}

// enter adds a place, and those behind runs, which may be empty.
func (w *walk) enter(set []uint64, at int) {
	for {
		set[at/64] |= 1 << (at % 64)
		if w.ends[at] || !w.elements[at].run {
			return
		}
		at++
	}
}

func (w *walk) step(set []uint64, r rune) []uint64 {
	next := make([]uint64, len(set))
	for word, b := range set {
		for ; b != 0; b &= b - 1 {
			at := word*64 + bits.TrailingZeros64(b)
			if w.ends[at] || !w.elements[at].takes(r) {
				continue
			}
			if w.elements[at].run {
				w.enter(next, at)
			} else {
				w.enter(next, at+1)
			}
		}
	}
	return next
}

func (w *walk) accepts(set []uint64) bool {
	for word, b := range set {
		for ; b != 0; b &= b - 1 {
			if w.ends[word*64+bits.TrailingZeros64(b)] {
				return true
			}
		}
	}
	return false
}

// dead reports whether no string that begins so can be right.
func (w *walk) dead(set []uint64) bool {
	if !w.want {
		return false
	}
	for _, b := range set {
		if b != 0 {
			return false
		}
	}
	return true
}

// spell finds a shortest string that is right for all walks. It reports found, and
// none only if it has seen that there is no such string; neither when the budget, which
// it uses up, ran out.
func spell(walks []*walk, budget *int) (text string, found, none bool) {
	type node struct {
		sets   [][]uint64
		parent int
		r      rune
	}
	root := node{parent: -1}
	cost := 16
	for _, w := range walks {
		root.sets = append(root.sets, w.start)
		cost += 8 * len(w.start)
	}
	runes := alphabet(walks)
	nodes := []node{root}
	seen := map[string]bool{placesKey(root.sets): true}
	for at := 0; at < len(nodes); at++ {
		right := true
		for i, w := range walks {
			right = right && w.accepts(nodes[at].sets[i]) == w.want
		}
		if right {
			var reversed []rune
			for n := at; nodes[n].parent >= 0; n = nodes[n].parent {
				reversed = append(reversed, nodes[n].r)
			}
			var b strings.Builder
			for i := len(reversed) - 1; i >= 0; i-- {
				b.WriteRune(reversed[i])
			}
			return b.String(), true, false
		}
	next:
		for _, r := range runes {
			if *budget -= cost; *budget < 0 {
				return "", false, false
			}
			sets := make([][]uint64, len(walks))
			for i, w := range walks {
				if sets[i] = w.step(nodes[at].sets[i], r); w.dead(sets[i]) {
					continue next
				}
			}
			if key := placesKey(sets); !seen[key] {
				seen[key] = true
				nodes = append(nodes, node{sets: sets, parent: at, r: r})
			}
		}
	}
	return "", false, true
}

func placesKey(sets [][]uint64) string {
	var b strings.Builder
	for _, set := range sets {
		for _, word := range set {
			for shift := 0; shift < 64; shift += 8 {
				b.WriteByte(byte(word >> shift))
			}
		}
	}
	return b.String()
}

// alphabet is enough characters for every way in which the walks can go: those that
// the patterns hold, and one each of the others that an element can tell apart.
func alphabet(walks []*walk) []rune {
	var out []rune
	seen := make(map[rune]bool)
	add := func(r rune) {
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	for _, w := range walks {
		for at, e := range w.elements {
			switch {
			case w.ends[at]:
			case e.kind == oneRune:
				add(e.r)
			case e.kind == foldRune:
				add(e.r)
				for r := unicode.SimpleFold(e.r); r != e.r; r = unicode.SimpleFold(r) {
					add(r)
				}
			}
		}
	}
	add(':')
	// One digit and one other that no pattern holds stand for all such.
	for _, spare := range [...]string{"0123456789", "xyzwvutsrqponmlkjihgfedcba-_"} {
		for _, r := range spare {
			if !seen[r] {
				add(r)
				break
			}
		}
	}
	// Should the patterns hold all of these: there are more characters than bytes in a
	// policy.
	for r := rune(0x4E00); ; r++ {
		if !seen[r] {
			add(r)
			return out
		}
	}
}
