package event

import (
	"bytes"
	"encoding/json"
	"errors"
)

// kind is what a JSON value is.
type kind uint8

const (
	object kind = iota
	array
	text
	number
	literal // true, false or null
)

// maxDepth bounds the nesting of what is parsed.
const maxDepth = 512

var errJSON = errors.New("not JSON, or nested too deeply")

// node is one value of a document. The values inside an object or array follow it,
// up to the node number next.
type node struct {
	kind             kind
	keyEscaped       bool  // the member's name holds escapes
	keyStart, keyEnd int32 // of the member's name, between its quotes; in objects only
	start, end       int32 // of the value; a string's are between its quotes
	next             int32
}

// document is JSON that was parsed far enough to find values in it by name. It is
// parsed once and asked by many patterns, and its memory is used again for the next
// one: this runs for every line of the log.
type document struct {
	buf   []byte
	nodes []node
	// partial: of members that are missing nothing is known, and they match.
	partial bool
}

// parse takes buf, which must not change while the document is in use.
func (d *document) parse(buf []byte) error {
	d.buf, d.nodes = buf, d.nodes[:0]
	i, ok := d.value(d.space(0), 0, 0, 0)
	if !ok || d.space(i) != len(buf) {
		d.nodes = d.nodes[:0]
		return errJSON
	}
	return nil
}

func (d *document) space(i int) int {
	for i < len(d.buf) && (d.buf[i] == ' ' || d.buf[i] == '\t' || d.buf[i] == '\n' || d.buf[i] == '\r') {
		i++
	}
	return i
}

// value parses the value that begins at i and returns where it ends.
func (d *document) value(i, keyStart, keyEnd, depth int) (end int, ok bool) {
	if i >= len(d.buf) || depth > maxDepth {
		return i, false
	}
	at := len(d.nodes)
	d.nodes = append(d.nodes, node{keyStart: int32(keyStart), keyEnd: int32(keyEnd)})
	start := i
	k := literal
	switch c := d.buf[i]; {
	case c == '"':
		k, start = text, i+1
		i, ok = d.str(i)
		end = i - 1
	case c == '{':
		k = object
		i, ok = d.members(i, depth)
		end = i
	case c == '[':
		k = array
		i, ok = d.elements(i, depth)
		end = i
	case c == 't':
		i, ok = d.word(i, "true")
		end = i
	case c == 'f':
		i, ok = d.word(i, "false")
		end = i
	case c == 'n':
		i, ok = d.word(i, "null")
		end = i
	default:
		k = number
		i, ok = d.number(i)
		end = i
	}
	if !ok {
		return i, false
	}
	n := &d.nodes[at]
	n.kind, n.start, n.end, n.next = k, int32(start), int32(end), int32(len(d.nodes))
	return i, true
}

func (d *document) word(i int, w string) (int, bool) {
	if !bytes.HasPrefix(d.buf[i:], []byte(w)) {
		return i, false
	}
	return i + len(w), true
}

// str passes over a string and returns what follows its closing quote.
func (d *document) str(i int) (int, bool) {
	for i++; i < len(d.buf); i++ {
		switch c := d.buf[i]; {
		case c == '"':
			return i + 1, true
		case c < 0x20:
			return i, false
		case c == '\\':
			i++
			if i >= len(d.buf) {
				return i, false
			}
			switch d.buf[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+4 >= len(d.buf) || !hex4(d.buf[i+1:i+5]) {
					return i, false
				}
				i += 4
			default:
				return i, false
			}
		}
	}
	return i, false
}

func hex4(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func (d *document) number(i int) (int, bool) {
	if i < len(d.buf) && d.buf[i] == '-' {
		i++
	}
	whole := i
	i = d.digits(i)
	if i == whole || i-whole > 1 && d.buf[whole] == '0' {
		return i, false
	}
	if i < len(d.buf) && d.buf[i] == '.' {
		part := i + 1
		if i = d.digits(part); i == part {
			return i, false
		}
	}
	if i < len(d.buf) && (d.buf[i] == 'e' || d.buf[i] == 'E') {
		i++
		if i < len(d.buf) && (d.buf[i] == '+' || d.buf[i] == '-') {
			i++
		}
		part := i
		if i = d.digits(part); i == part {
			return i, false
		}
	}
	return i, true
}

func (d *document) digits(i int) int {
	for i < len(d.buf) && d.buf[i] >= '0' && d.buf[i] <= '9' {
		i++
	}
	return i
}

func (d *document) members(i, depth int) (int, bool) {
	i = d.space(i + 1)
	if i < len(d.buf) && d.buf[i] == '}' {
		return i + 1, true
	}
	for {
		if i >= len(d.buf) || d.buf[i] != '"' {
			return i, false
		}
		keyStart := i + 1
		var ok bool
		if i, ok = d.str(i); !ok {
			return i, false
		}
		keyEnd := i - 1
		at := len(d.nodes)
		if i = d.space(i); i >= len(d.buf) || d.buf[i] != ':' {
			return i, false
		}
		if i, ok = d.value(d.space(i+1), keyStart, keyEnd, depth+1); !ok {
			return i, false
		}
		d.nodes[at].keyEscaped = bytes.IndexByte(d.buf[keyStart:keyEnd], '\\') >= 0
		i = d.space(i)
		switch {
		case i >= len(d.buf):
			return i, false
		case d.buf[i] == '}':
			return i + 1, true
		case d.buf[i] != ',':
			return i, false
		}
		i = d.space(i + 1)
	}
}

func (d *document) elements(i, depth int) (int, bool) {
	i = d.space(i + 1)
	if i < len(d.buf) && d.buf[i] == ']' {
		return i + 1, true
	}
	for {
		var ok bool
		if i, ok = d.value(i, 0, 0, depth+1); !ok {
			return i, false
		}
		i = d.space(i)
		switch {
		case i >= len(d.buf):
			return i, false
		case d.buf[i] == ']':
			return i + 1, true
		case d.buf[i] != ',':
			return i, false
		}
		i = d.space(i + 1)
	}
}

// none stands for a value that is not there.
const none = -1

// member is the number of the object's member, or none. Of several with one name it
// is the last, as other readers have it.
func (d *document) member(obj int, name string) int {
	found := none
	if obj == none || d.nodes[obj].kind != object {
		return none
	}
	for i := obj + 1; i < int(d.nodes[obj].next); i = int(d.nodes[i].next) {
		n := &d.nodes[i]
		if n.keyEscaped {
			if unescape(d.buf[n.keyStart:n.keyEnd]) == name {
				found = i
			}
		} else if int(n.keyEnd-n.keyStart) == len(name) && string(d.buf[n.keyStart:n.keyEnd]) == name {
			found = i
		}
	}
	return found
}

// find follows a path of names, into the first element of arrays that has it.
func (d *document) find(at int, path ...string) int {
	for len(path) > 0 && at != none {
		if d.nodes[at].kind == array {
			for i := at + 1; i < int(d.nodes[at].next); i = int(d.nodes[i].next) {
				if found := d.find(i, path...); found != none {
					return found
				}
			}
			return none
		}
		at, path = d.member(at, path[0]), path[1:]
	}
	return at
}

// raw is the value as it is written; of a string what is between its quotes.
func (d *document) raw(i int) []byte { return d.buf[d.nodes[i].start:d.nodes[i].end] }

// string is the text of a value: a string's content, and what is written for a
// number, true, false or null. Of everything else it is empty.
func (d *document) string(i int) string {
	if i == none {
		return ""
	}
	switch d.nodes[i].kind {
	case text:
		return unescape(d.raw(i))
	case object, array:
		return ""
	}
	return string(d.raw(i))
}

// unescape is the content of a string whose syntax has been checked.
func unescape(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	quoted := make([]byte, 0, len(raw)+2)
	quoted = append(append(append(quoted, '"'), raw...), '"')
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return string(raw) // not possible: str has checked it
	}
	return s
}
