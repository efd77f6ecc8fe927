package policy

import (
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// The reader of JSON in this file exists because encoding/json drops what matters
// here: it accepts a member twice and takes the last, ignores the case of names,
// mends broken Unicode, and cannot tell where a value stood. Two readers of one
// policy must never come to two policies.

// maxDepth is the deepest nesting of a JSON text that is read. A policy needs six.
const maxDepth = 16

type nodeKind int

const (
	nullNode nodeKind = iota
	boolNode
	numberNode
	stringNode
	listNode
	objectNode
)

func (k nodeKind) String() string {
	return [...]string{"null", "a Boolean", "a number", "a string", "a list", "an object"}[k]
}

// node is one value of a JSON text.
type node struct {
	kind    nodeKind
	at      Position
	text    string // of a string; true, false or the digits as written for a scalar
	start   int    // where a string begins in the text, at its quotation mark
	end     int    // behind its closing quotation mark
	items   []node
	members []member
}

type member struct {
	at    Position
	name  string
	value node
}

// jsonReader reads a text from front to end.
type jsonReader struct {
	text string
	pos  int
	line int // of pos
	// column is the one of offset mark, which lies in the line of pos. Counting goes on
	// from there: counting from the start of the line would make a long line quadratic.
	mark, column int
}

// readJSON reads a whole text.
func readJSON(text string) (node, *SyntaxError) {
	r := &jsonReader{text: text, line: 1, column: 1}
	if len(text) > MaxBytes {
		return node{}, bad(Position{1, 1}, "policy is longer than %d bytes", MaxBytes)
	}
	if !utf8.ValidString(text) {
		return node{}, r.fail("text is not UTF-8")
	}
	r.space()
	n, err := r.value(1)
	if err != nil {
		return node{}, err
	}
	r.space()
	if r.pos < len(r.text) {
		return node{}, r.fail("text goes on after the policy")
	}
	return n, nil
}

// at returns the position of the next byte.
func (r *jsonReader) at() Position {
	r.column += utf8.RuneCountInString(r.text[r.mark:r.pos])
	r.mark = r.pos
	return Position{Line: r.line, Column: r.column}
}

func (r *jsonReader) fail(format string, args ...any) *SyntaxError {
	return &SyntaxError{Kind: NotJSON, Position: r.at(), Reason: fmt.Sprintf(format, args...), Text: textNotJSON}
}

// peek returns the next byte, 0 at the end. A 0 in the text is nowhere allowed.
func (r *jsonReader) peek() byte {
	if r.pos == len(r.text) {
		return 0
	}
	return r.text[r.pos]
}

func (r *jsonReader) space() {
	for {
		switch r.peek() {
		case '\n':
			r.pos++
			r.line++
			r.mark, r.column = r.pos, 1
		case ' ', '\t', '\r':
			r.pos++
		default:
			return
		}
	}
}

func (r *jsonReader) value(depth int) (node, *SyntaxError) {
	if depth > maxDepth {
		return node{}, r.fail("values are nested deeper than %d levels", maxDepth)
	}
	n := node{at: r.at()}
	switch c := r.peek(); {
	case c == '{':
		return r.object(n, depth)
	case c == '[':
		return r.list(n, depth)
	case c == '"':
		start := r.pos
		s, err := r.str()
		n.kind, n.text, n.start, n.end = stringNode, s, start, r.pos
		return n, err
	case c == '-' || c >= '0' && c <= '9':
		s, err := r.number()
		n.kind, n.text = numberNode, s
		return n, err
	}
	for _, word := range [...]struct {
		text string
		kind nodeKind
	}{{"true", boolNode}, {"false", boolNode}, {"null", nullNode}} {
		if len(r.text)-r.pos >= len(word.text) && r.text[r.pos:r.pos+len(word.text)] == word.text {
			r.pos += len(word.text)
			n.kind, n.text = word.kind, word.text
			return n, nil
		}
	}
	if r.pos == len(r.text) {
		return node{}, r.fail("text ends where a value is expected")
	}
	return node{}, r.fail("a value cannot begin with %s", r.character())
}

func (r *jsonReader) character() string {
	c, _ := utf8.DecodeRuneInString(r.text[r.pos:])
	return strconv.QuoteRune(c)
}

func (r *jsonReader) object(n node, depth int) (node, *SyntaxError) {
	n.kind = objectNode
	r.pos++
	r.space()
	if r.peek() == '}' {
		r.pos++
		return n, nil
	}
	seen := make(map[string]bool)
	for {
		if r.peek() != '"' {
			return node{}, r.unexpected("a name in quotation marks")
		}
		m := member{at: r.at()}
		var err *SyntaxError
		if m.name, err = r.str(); err != nil {
			return node{}, err
		}
		if seen[m.name] {
			return node{}, bad(m.at, "%s is given twice", quote(m.name))
		}
		seen[m.name] = true
		r.space()
		if r.peek() != ':' {
			return node{}, r.unexpected("a colon")
		}
		r.pos++
		r.space()
		if m.value, err = r.value(depth + 1); err != nil {
			return node{}, err
		}
		n.members = append(n.members, m)
		r.space()
		switch r.peek() {
		case ',':
			r.pos++
			r.space()
		case '}':
			r.pos++
			return n, nil
		default:
			return node{}, r.unexpected("a comma or }")
		}
	}
}

func (r *jsonReader) list(n node, depth int) (node, *SyntaxError) {
	n.kind = listNode
	r.pos++
	r.space()
	if r.peek() == ']' {
		r.pos++
		return n, nil
	}
	for {
		item, err := r.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
		r.space()
		switch r.peek() {
		case ',':
			r.pos++
			r.space()
		case ']':
			r.pos++
			return n, nil
		default:
			return node{}, r.unexpected("a comma or ]")
		}
	}
}

func (r *jsonReader) unexpected(want string) *SyntaxError {
	if r.pos == len(r.text) {
		return r.fail("text ends where %s is expected", want)
	}
	return r.fail("%s stands where %s is expected", r.character(), want)
}

// number reads a number and returns it as written.
func (r *jsonReader) number() (string, *SyntaxError) {
	start := r.pos
	digits := func() bool {
		from := r.pos
		for r.peek() >= '0' && r.peek() <= '9' {
			r.pos++
		}
		return r.pos > from
	}
	if r.peek() == '-' {
		r.pos++
	}
	if r.peek() == '0' {
		r.pos++
	} else if !digits() {
		return "", r.unexpected("a digit")
	}
	if r.peek() == '.' {
		r.pos++
		if !digits() {
			return "", r.unexpected("a digit")
		}
	}
	if c := r.peek(); c == 'e' || c == 'E' {
		r.pos++
		if c := r.peek(); c == '+' || c == '-' {
			r.pos++
		}
		if !digits() {
			return "", r.unexpected("a digit")
		}
	}
	return r.text[start:r.pos], nil
}

// str reads a string, at whose opening quotation mark the reader stands.
func (r *jsonReader) str() (string, *SyntaxError) {
	r.pos++
	start := r.pos
	for { // the common case: nothing escaped
		switch c := r.peek(); {
		case c == '"':
			s := r.text[start:r.pos]
			r.pos++
			return s, nil
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return "", r.badInString()
		}
		r.pos++
	}
}

func (r *jsonReader) badInString() *SyntaxError {
	if r.pos == len(r.text) {
		return r.fail("text ends inside a string")
	}
	return r.fail("a control character stands inside a string")
}

// escaped goes on reading the string that began at start, from its first backslash.
func (r *jsonReader) escaped(start int) (string, *SyntaxError) {
	out := append(make([]byte, 0, 2*(r.pos-start)+16), r.text[start:r.pos]...)
	for {
		switch c := r.peek(); {
		case c == '"':
			r.pos++
			return string(out), nil
		case c < ' ':
			return "", r.badInString()
		case c != '\\':
			out = append(out, c)
			r.pos++
			continue
		}
		c, err := r.escape()
		if err != nil {
			return "", err
		}
		out = utf8.AppendRune(out, c)
	}
}

// escape reads one escape sequence.
func (r *jsonReader) escape() (rune, *SyntaxError) {
	r.pos++
	c := r.peek()
	if c == 'u' {
		return r.escapedUnit()
	}
	plain, ok := map[byte]rune{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}[c]
	if !ok {
		return 0, r.unexpected("the rest of an escape sequence")
	}
	r.pos++
	return plain, nil
}

// escapedUnit reads the hexadecimal digits of \u, and the second half of a pair.
func (r *jsonReader) escapedUnit() (rune, *SyntaxError) {
	first, ok := r.hex4()
	if !ok {
		return 0, r.fail("\\u is not followed by four hexadecimal digits")
	}
	if !utf16.IsSurrogate(first) {
		return first, nil
	}
	if r.peek() == '\\' {
		r.pos++
		if second, ok := r.hex4(); ok {
			if c := utf16.DecodeRune(first, second); c != utf8.RuneError {
				return c, nil
			}
		}
	}
	return 0, r.fail("half of a surrogate pair stands alone")
}

// hex4 reads u and four digits.
func (r *jsonReader) hex4() (rune, bool) {
	if r.peek() != 'u' || len(r.text)-r.pos < 5 {
		return 0, false
	}
	var v rune
	for _, c := range []byte(r.text[r.pos+1 : r.pos+5]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | rune(c)
	}
	r.pos += 5
	return v, true
}
