package wire

import (
	"unicode/utf16"
	"unicode/utf8"

	"arca/internal/api"
)

// maxDepth bounds how deep arrays and objects may nest, known members or not. The
// deepest input of any service we describe needs six.
const maxDepth = 64

// syntaxError is the answer to bytes that are not JSON. AWS gives no text with it.
func syntaxError() *api.Error { return api.SerializationException.Errorf("") }

// scanner reads JSON (RFC 8259) from a byte slice, without guessing: no comments, no
// trailing commas, no invalid UTF-8, no half surrogate pairs.
type scanner struct {
	data  []byte
	pos   int
	depth int
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// take consumes c if it is next, after white space.
func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.pos == len(s.data) {
		return false
	}
	s.pos++
	return true
}

// literal consumes true, false or null, named by its text.
func (s *scanner) literal(text string) bool {
	end := s.pos + len(text)
	if end > len(s.data) || string(s.data[s.pos:end]) != text {
		return false
	}
	s.pos = end
	return true
}

func (s *scanner) enter() bool {
	s.depth++
	s.pos++
	return s.depth <= maxDepth
}

// rawString consumes a string and returns what stands between its quotes. It is
// checked in full; plain says that it holds no escapes and so is its own value.
func (s *scanner) rawString() (raw []byte, plain, ok bool) {
	if !s.take('"') {
		return nil, false, false
	}
	start, ascii := s.pos, true
	plain = true
	for i := s.pos; i < len(s.data); {
		switch c := s.data[i]; {
		case c == '"':
			s.pos = i + 1
			raw = s.data[start:i]
			return raw, plain, ascii || utf8.Valid(raw)
		case c < ' ':
			return nil, false, false
		case c == '\\':
			plain = false
			n := escapeLen(s.data[i:])
			if n == 0 {
				return nil, false, false
			}
			i += n
		default:
			if c >= utf8.RuneSelf {
				ascii = false
			}
			i++
		}
	}
	return nil, false, false
}

// escapeLen returns the length of the escape sequence at the start of b, a surrogate
// pair counting as one, or 0 when it is malformed.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		r, ok := hex4(b)
		if !ok {
			return 0
		}
		if !utf16.IsSurrogate(r) {
			return 6
		}
		low, ok := hex4(b[6:])
		if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
			return 0
		}
		return 12
	}
	return 0
}

// hex4 reads the \uXXXX at the start of b.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		digit, ok := hexDigit(c)
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	return r, true
}

// unescape appends the value of a checked raw string to dst.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		n := escapeLen(raw[i:])
		switch raw[i+1] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(raw[i:])
			if n == 12 {
				low, _ := hex4(raw[i+6:])
				r = utf16.DecodeRune(r, low)
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, raw[i+1])
		}
		i += n
	}
	return dst
}

// str consumes a string and returns its value.
func (s *scanner) str() (string, bool) {
	raw, plain, ok := s.rawString()
	if !ok {
		return "", false
	}
	if plain {
		return string(raw), true
	}
	return string(unescape(make([]byte, 0, len(raw)), raw)), true
}

// number consumes a number and returns its text. whole says that it has neither
// fraction nor exponent.
func (s *scanner) number() (text []byte, whole, ok bool) {
	s.peek()
	start := s.pos
	if s.pos < len(s.data) && s.data[s.pos] == '-' {
		s.pos++
	}
	zero := s.pos < len(s.data) && s.data[s.pos] == '0'
	if n := s.digits(); n == 0 || zero && n > 1 {
		return nil, false, false
	}
	whole = true
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		s.pos++
		whole = false
		if s.digits() == 0 {
			return nil, false, false
		}
	}
	if s.pos < len(s.data) && (s.data[s.pos] == 'e' || s.data[s.pos] == 'E') {
		s.pos++
		whole = false
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		if s.digits() == 0 {
			return nil, false, false
		}
	}
	return s.data[start:s.pos], whole, true
}

func (s *scanner) digits() int {
	start := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos - start
}

// skip consumes any value, checking it as strictly as one that is kept.
func (s *scanner) skip() bool {
	switch s.peek() {
	case '{':
		if !s.enter() {
			return false
		}
		if !s.take('}') {
			for {
				if _, _, ok := s.rawString(); !ok || !s.take(':') || !s.skip() {
					return false
				}
				if s.take('}') {
					break
				}
				if !s.take(',') {
					return false
				}
			}
		}
		s.depth--
		return true
	case '[':
		if !s.enter() {
			return false
		}
		if !s.take(']') {
			for {
				if !s.skip() {
					return false
				}
				if s.take(']') {
					break
				}
				if !s.take(',') {
					return false
				}
			}
		}
		s.depth--
		return true
	case '"':
		_, _, ok := s.rawString()
		return ok
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	_, _, ok := s.number()
	return ok
}
