package policy

import "strings"

// Wildcards in a prepared pattern are single bytes that no policy text holds, since
// policy texts are UTF-8. What stands for a variable may be any bytes; a value with
// one of these two is no text and does not take a variable's place.
const (
	runMark = 0xFE // *
	oneMark = 0xFF // ?
)

// glob is a Pattern made ready for matching.
type glob struct {
	head string // literal; every match begins with it
	tail string // what follows head, from the first wildcard on, with wildcards marked
	// rare is the longest literal of tail. Most patterns that do not match lack it, and
	// finding that out is quick.
	rare string
	// parts is the whole pattern if it has variables, and tail is then unused.
	parts []Part
}

func compilePattern(p Pattern) glob {
	var g glob
	var tail strings.Builder
	for i, part := range p.Parts {
		switch part.Kind {
		case Variable:
			g.parts, g.tail, g.rare = lowerKeys(p.Parts), "", ""
			return g
		case Literal:
			if i == 0 {
				g.head = part.Text
			} else {
				tail.WriteString(part.Text)
				if len(part.Text) > len(g.rare) {
					g.rare = part.Text
				}
			}
		case AnyRun:
			tail.WriteByte(runMark)
		case AnyOne:
			tail.WriteByte(oneMark)
		}
	}
	g.tail = tail.String()
	return g
}

// compileARN prepares a pattern for matchARN: tail is the whole of it.
func compileARN(p Pattern) glob {
	g := compilePattern(p)
	if g.parts == nil {
		g.tail = g.head + g.tail
	}
	return g
}

// lowerKeys returns parts with the keys of variables as a Context wants them.
func lowerKeys(parts []Part) []Part {
	out := make([]Part, len(parts))
	for i, p := range parts {
		if p.Kind == Variable {
			p.Text = lowerKey(p.Text)
		}
		out[i] = p
	}
	return out
}

// lowerKey is the name of a condition key as a Context is asked for it. Only letters of
// ASCII change: lower case loses what some others are, and a Context could not tell any
// more which key is meant.
func lowerKey(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return string(appendLower(make([]byte, 0, len(s)), s))
		}
	}
	return s
}

// everything reports whether the pattern is a single *.
func (g *glob) everything() bool {
	return g.head == "" && g.parts == nil && len(g.tail) == 1 && g.tail[0] == runMark
}

// fixed reports whether the pattern has neither wildcards nor variables.
func (g *glob) fixed() bool { return g.tail == "" && g.parts == nil }

// match reports whether s matches a pattern without variables.
func (g *glob) match(s string) bool {
	if !strings.HasPrefix(s, g.head) {
		return false
	}
	s = s[len(g.head):]
	switch {
	case g.tail == "":
		return s == ""
	case len(g.tail) == 1 && g.tail[0] == runMark:
		return true
	}
	return strings.Contains(s, g.rare) && matchMarked(g.tail, s)
}

type chars interface{ string | []byte }

// matchMarked reports whether s matches p, in which wildcards are marked.
//
// Between two runs stands text of a fixed number of characters, so taking the first
// place where it fits never spoils a later fit: nothing is tried twice, and the work
// is at most the product of the lengths, however hostile the pattern.
func matchMarked[P, S chars](p P, s S) bool {
	cut := indexRun(p)
	if cut < 0 {
		return fitAt(p, s) == len(s)
	}
	n := fitAt(p[:cut], s)
	if n < 0 {
		return false
	}
	p, s = p[cut+1:], s[n:]
	for {
		if cut = indexRun(p); cut < 0 {
			return fitEnd(p, s)
		}
		if cut > 0 {
			end := fitFirst(p[:cut], s)
			if end < 0 {
				return false
			}
			s = s[end:]
		}
		p = p[cut+1:]
	}
}

func indexRun[P chars](p P) int {
	for i := range len(p) {
		if p[i] == runMark {
			return i
		}
	}
	return -1
}

// continues reports whether c is inside a character of UTF-8.
func continues(c byte) bool { return c&0xC0 == 0x80 }

// next returns where the character that begins at i ends.
func next[S chars](s S, i int) int {
	for i++; i < len(s) && continues(s[i]); i++ {
	}
	return i
}

// fitAt returns how much of the front of s fits p, which has no runs; -1 if none does.
func fitAt[P, S chars](p P, s S) int {
	if len(p) > len(s) {
		return -1 // every byte of p takes one of s at least
	}
	j := 0
	for i := range len(p) {
		switch {
		case j == len(s):
			return -1
		case p[i] == oneMark:
			j = next(s, j)
		case p[i] != s[j]:
			return -1
		default:
			j++
		}
	}
	return j
}

// fitFirst returns where the first piece of s that fits p ends, -1 if none does.
func fitFirst[P, S chars](p P, s S) int {
	if len(p)*len(s) > plainSearch && indexOne(p) < 0 {
		// Text is found in time that grows with the sum of the lengths. That it begins
		// inside a character cannot be: it begins with the start of one.
		if i := strings.Index(string(s), string(p)); i >= 0 {
			return i + len(p)
		}
		return -1
	}
	for i := 0; i+len(p) <= len(s); i = next(s, i) {
		if p[0] != oneMark && p[0] != s[i] {
			continue
		}
		if n := fitAt(p, s[i:]); n >= 0 {
			return i + n
		}
	}
	return -1
}

// plainSearch is the product of two lengths up to which a search character by
// character is the faster one.
const plainSearch = 1 << 10

func indexOne[P chars](p P) int {
	for i := range len(p) {
		if p[i] == oneMark {
			return i
		}
	}
	return -1
}

// fitEnd reports whether the end of s fits p.
func fitEnd[P, S chars](p P, s S) bool {
	start := len(s)
	for i := range len(p) {
		if continues(p[i]) {
			continue // counted with its first byte
		}
		if start == 0 {
			return false
		}
		for start--; start > 0 && continues(s[start]); start-- {
		}
	}
	return fitAt(p, s[start:]) == len(s)-start
}

// matchARN reports whether the ARN s matches the pattern p, in which wildcards are
// marked. The six parts are compared each for itself: no wildcard but one in the last
// part stands for a colon. A lone * is for all ARNs.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_ARN
func matchARN[P chars](p P, s string) bool {
	if !hasSixParts(s) {
		return false
	}
	if len(p) == 1 && p[0] == runMark {
		return true
	}
	for range 5 {
		i, j := indexColon(p), strings.IndexByte(s, ':')
		if i < 0 || !matchMarked(p[:i], s[:j]) {
			return false
		}
		p, s = p[i+1:], s[j+1:]
	}
	return matchMarked(p, s)
}

func hasSixParts(s string) bool {
	return strings.HasPrefix(s, "arn:") && strings.Count(s, ":") >= 5
}

func indexColon[P chars](p P) int {
	for i := range len(p) {
		if p[i] == ':' {
			return i
		}
	}
	return -1
}
