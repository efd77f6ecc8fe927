package audit

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// appendMember appends a member that is always present: its name with all
// punctuation, then the value, cut to maxTextBytes.
func appendMember(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	return appendString(dst, value, maxTextBytes)
}

// appendOptional is appendMember for a value that is left out when empty.
func appendOptional(dst []byte, name, value string, limit int) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, name...)
	return appendString(dst, value, limit)
}

// appendString appends s as a JSON string of at most limit bytes before escaping.
// Invalid UTF-8 becomes U+FFFD. Every character that ends a line for some reader,
// moves a terminal's cursor or reorders what a person sees is escaped: the strings
// come from strangers, and the line is read by people and by tools that are less
// careful than a JSON parser.
func appendString(dst []byte, s string, limit int) []byte {
	if len(s) > limit {
		s = cut(s, limit)
	}
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		if i+8 <= len(s) && plain8(load8(s[i:])) {
			i += 8
			continue
		}
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || size > 1) && !escaped(r) {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		if r == '"' || r == '\\' {
			dst = append(dst, '\\', byte(r))
		} else {
			dst = appendEscape(dst, r)
		}
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// load8 is the first eight bytes of s as one number. The compiler makes one load of it.
func load8(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// plain8 reports whether none of eight bytes needs a closer look: all are printable
// ASCII, and neither quotes nor backslashes. Almost every string in a line is that from
// end to end, and looking at its bytes one by one was half of what a line costs.
//
// Each term sets the top bit of a byte, and possibly of those above it, when the byte is
// one that is looked for: less than a space, or equal, which makes the difference zero.
// Bytes beyond ASCII have that bit themselves.
func plain8(x uint64) bool {
	const (
		ones = 0x0101010101010101
		tops = 0x80 * ones
	)
	quote, backslash, del := x^'"'*ones, x^'\\'*ones, x^0x7f*ones
	return (x|(x-' '*ones)|(quote-ones)|(backslash-ones)|(del-ones))&tops == 0
}

// escaped reports whether a character beyond ASCII is written as an escape. All of
// them are in the basic plane.
func escaped(r rune) bool {
	switch {
	case r <= 0x9f: // C1 controls
		return true
	case r == '\u061c', r == '\u2028', r == '\u2029', r == '\ufeff':
		return true
	case r >= 0x2000 && r <= 0x206f:
		return unicode.Is(unicode.Cf, r) // joiners, direction marks, overrides, isolates
	}
	return false
}

func appendEscape(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// cut returns at most limit bytes of s without splitting a character.
func cut(s string, limit int) string {
	for i := limit; i > limit-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:limit] // not UTF-8 there, so nothing is split
}

// appendObject appends a JSON object that was encoded elsewhere. It is checked once
// more, since one object that is not JSON would make the whole line, and with it the
// log, unreadable.
func appendObject(dst, object []byte, limit int, member string) []byte {
	switch {
	case len(object) == 0:
		return append(dst, "null"...)
	case len(object) > limit:
		return appendOmitted(dst, len(object), member+" too large")
	case isSimple(object):
		return append(dst, object...)
	case !isObject(object):
		return appendOmitted(dst, len(object), member+" not a JSON object")
	}
	size := len(object)
	for _, c := range object {
		if c < 0x20 {
			// In valid JSON only white space between tokens: the indented form.
			var b bytes.Buffer
			if err := json.Compact(&b, object); err != nil {
				return appendOmitted(dst, size, member+" not a JSON object")
			}
			object = b.Bytes()
			break
		}
	}
	start := len(dst)
	dst = appendVisible(dst, object)
	if len(dst)-start > limit {
		// Escapes are up to six times as long as what they stand for.
		return appendOmitted(dst[:start], size, member+" too large")
	}
	return dst
}

// appendVisible appends valid JSON in one line, with the characters escaped that
// appendString escapes, too. In valid JSON they can only stand in strings.
func appendVisible(dst, object []byte) []byte {
	start := 0
	for i := 0; i < len(object); {
		if object[i] < 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRune(object[i:])
		if escaped(r) {
			dst = append(dst, object[start:i]...)
			dst = appendEscape(dst, r)
			start = i + size
		}
		i += size
	}
	return append(dst, object[start:]...)
}

func isObject(b []byte) bool {
	return len(b) >= 2 && b[0] == '{' && json.Valid(b) && utf8.Valid(b)
}

// isSimple reports whether b is a JSON object that can be in a line as it is: in its
// shortest form, of printable ASCII, without escapes, and with whole numbers only. Nearly
// all objects of our own are. It takes a quarter of the time of the checks that the
// others go through, and it says yes to nothing that those refuse or change.
func isSimple(b []byte) bool {
	var arrays uint64 // bit n: what is open at depth n is an array
	depth := 0
	inArray := func() bool { return arrays>>depth&1 != 0 }
	if len(b) == 0 || b[0] != '{' {
		return false
	}
	for i, key := 0, false; i < len(b); {
		if key {
			if i = simpleString(b, i); i < 0 || i >= len(b) || b[i] != ':' {
				return false
			}
			i++
			key = false
			continue
		}
		switch c := b[i]; {
		case c == '{' || c == '[':
			if depth++; depth == 64 {
				return false
			}
			arrays &^= 1 << depth
			if c == '[' {
				arrays |= 1 << depth
			}
			key = c == '{'
			if i++; i >= len(b) || b[i] != c+2 { // the bracket that closes it
				continue
			}
		case c == '"':
			i = simpleString(b, i)
		default:
			i = simpleWord(b, i)
		}
		if i < 0 {
			return false
		}
		// A value has ended, or what holds nothing is about to.
		for i < len(b) && (b[i] == '}' || b[i] == ']') {
			if inArray() != (b[i] == ']') {
				return false
			}
			i++
			if depth--; depth == 0 {
				return i == len(b)
			}
		}
		if i >= len(b) || b[i] != ',' {
			return false
		}
		i++
		key = !inArray()
	}
	return false
}

// simpleString returns the end of the string that begins at i, or -1 if it is none or not
// a simple one.
func simpleString(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for i++; i < len(b); {
		if i+8 <= len(b) && plain8(binary.LittleEndian.Uint64(b[i:])) {
			i += 8
			continue
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < 0x20 || c >= 0x7f || c == '\\':
			return -1
		}
		i++
	}
	return -1
}

// simpleWord returns the end of the whole number, true, false or null at i, or -1.
func simpleWord(b []byte, i int) int {
	for _, word := range [...]string{"true", "false", "null"} {
		if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
			return i + len(word)
		}
	}
	if b[i] == '-' {
		i++
	}
	digits := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == digits || b[digits] == '0' && i > digits+1 {
		return -1
	}
	return i
}

// appendOmitted writes what CloudTrail puts in the place of a member it leaves out.
func appendOmitted(dst []byte, size int, reason string) []byte {
	dst = append(dst, `{"omitted":true,"originalSize":`...)
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, `,"reason":`...)
	dst = appendString(dst, reason, maxTextBytes)
	return append(dst, '}')
}
