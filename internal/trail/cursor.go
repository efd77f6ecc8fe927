package trail

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// cursor walks over one JSON text without building anything. It finds its way through
// valid JSON exactly; of other bytes it reports some as malformed and takes the rest
// for what they look like. It never reads beyond the text and always comes to an end.
type cursor struct {
	b []byte
	i int
}

func (c *cursor) space() {
	for c.i < len(c.b) {
		switch c.b[c.i] {
		case ' ', '\t', '\r', '\n':
			c.i++
		default:
			return
		}
	}
}

// peek returns the byte that the next value begins with, or 0 at the end.
func (c *cursor) peek() byte {
	c.space()
	if c.i < len(c.b) {
		return c.b[c.i]
	}
	return 0
}

// text returns what stands between the quotes of the string at the cursor, and whether
// escapes are in it.
func (c *cursor) text() (raw []byte, escaped, ok bool) {
	const (
		ones = 0x0101010101010101
		tops = 0x80 * ones
	)
	start := c.i + 1
	for end := start; end < len(c.b); {
		// Eight bytes at once: most strings are short, and there are many in a line. The
		// difference to what is looked for is zero where it is, and of the bytes that this
		// marks the first one is never wrong.
		if end+8 <= len(c.b) {
			x := binary.LittleEndian.Uint64(c.b[end:])
			quote, backslash := x^'"'*ones, x^'\\'*ones
			found := ((quote-ones)&^quote | (backslash-ones)&^backslash) & tops
			if found == 0 {
				end += 8
				continue
			}
			end += bits.TrailingZeros64(found) / 8
		}
		switch c.b[end] {
		case '"':
			c.i = end + 1
			return c.b[start:end], escaped, true
		case '\\':
			escaped = true
			end++ // its second byte may be a quote
		}
		end++
	}
	return nil, false, false
}

// skip passes over the value at the cursor, whatever it is.
func (c *cursor) skip() bool {
	depth := 0
	for c.i < len(c.b) {
		switch c.b[c.i] {
		case '"':
			if _, _, ok := c.text(); !ok {
				return false
			}
			if depth == 0 {
				return true
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return true // the end of what the value stands in
			}
			if depth--; depth == 0 {
				c.i++
				return true
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return true
			}
		}
		c.i++
	}
	return depth == 0
}

// enter moves into the object or array that opens with the given byte. It returns
// false, without moving, when the value is another.
func (c *cursor) enter(open byte) bool {
	if c.peek() != open {
		return false
	}
	c.i++
	return true
}

// element moves to the next element of an array that was entered. Done means that the
// array has ended and was left.
func (c *cursor) element(first bool) (done, ok bool) {
	switch b := c.peek(); {
	case b == ']':
		c.i++
		return true, true
	case first:
		return false, b != 0
	case b != ',':
		return false, false
	}
	c.i++
	return false, c.peek() != 0
}

// member moves to the value of the next member of an object that was entered, and
// returns its name.
func (c *cursor) member(first bool) (name []byte, done, ok bool) {
	b := c.peek()
	if b == '}' {
		c.i++
		return nil, true, true
	}
	if !first {
		if b != ',' {
			return nil, false, false
		}
		c.i++
		b = c.peek()
	}
	if b != '"' {
		return nil, false, false
	}
	raw, escaped, ok := c.text()
	if !ok || c.peek() != ':' {
		return nil, false, false
	}
	c.i++
	if escaped {
		raw = unescape(raw)
	}
	return raw, false, c.peek() != 0
}

// str returns the value at the cursor if it is a string, and otherwise passes over it
// and returns nil. The bytes are those of the text unless escapes were in it.
func (c *cursor) str() (value []byte, ok bool) {
	if c.peek() != '"' {
		return nil, c.skip()
	}
	raw, escaped, ok := c.text()
	if escaped {
		raw = unescape(raw)
	}
	return raw, ok
}

// unescape is the value of a string in which escapes are. Escapes are rare: they stand
// for characters that do not show.
func unescape(raw []byte) []byte {
	quoted := make([]byte, 0, len(raw)+2)
	quoted = append(append(append(quoted, '"'), raw...), '"')
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return raw
	}
	return []byte(s)
}
