package audit

import (
	"bytes"
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

// appendOmitted writes what CloudTrail puts in the place of a member it leaves out.
func appendOmitted(dst []byte, size int, reason string) []byte {
	dst = append(dst, `{"omitted":true,"originalSize":`...)
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, `,"reason":`...)
	dst = appendString(dst, reason, maxTextBytes)
	return append(dst, '}')
}
