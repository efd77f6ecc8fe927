package event

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Match reports whether an event, JSON with its envelope, is what the pattern asks
// for. What is not JSON matches nothing.
func (p *Pattern) Match(event []byte) bool {
	var d document
	return d.parse(event) == nil && p.match(&d)
}

func (p *Pattern) match(d *document) bool {
	return d.nodes[0].kind == object && d.group(p.root, 0)
}

// group matches an object, or none: then only what must be absent matches.
func (d *document) group(g *group, obj int) bool {
	for i := range g.fields {
		f := &g.fields[i]
		at := d.member(obj, f.name)
		if at == none && d.partial {
			continue
		}
		if f.sub != nil {
			if !d.inside(f.sub, at) {
				return false
			}
		} else if !d.anyOf(f.any, at) {
			return false
		}
	}
	for _, alternatives := range g.or {
		if !d.oneOf(alternatives, obj) {
			return false
		}
	}
	return true
}

func (d *document) oneOf(alternatives []*group, obj int) bool {
	for _, g := range alternatives {
		if d.group(g, obj) {
			return true
		}
	}
	return false
}

// inside matches an object, or one of the objects in an array: all that the pattern
// says about it must be true of the same one.
func (d *document) inside(g *group, at int) bool {
	if at == none {
		return d.group(g, none)
	}
	switch d.nodes[at].kind {
	case object:
		return d.group(g, at)
	case array:
		objects := false
		for i := at + 1; i < int(d.nodes[at].next); i = int(d.nodes[i].next) {
			if k := d.nodes[i].kind; k == object || k == array {
				objects = true
				if d.inside(g, i) {
					return true
				}
			}
		}
		return !objects && d.group(g, none)
	}
	return d.group(g, none)
}

// anyOf matches a value, or one of the values in an array.
func (d *document) anyOf(ms []matcher, at int) bool {
	for i := range ms {
		switch ms[i].op {
		case absent:
			if at == none {
				return true
			}
		case exists:
			if at != none {
				return true
			}
		default:
			if at != none && d.valueOrElement(&ms[i], at) {
				return true
			}
		}
	}
	return false
}

// valueOrElement matches one value, or one in an array.
func (d *document) valueOrElement(m *matcher, at int) bool {
	n := &d.nodes[at]
	switch n.kind {
	case object:
		return false
	case array:
		for i := at + 1; i < int(n.next); i = int(d.nodes[i].next) {
			if d.valueOrElement(m, i) {
				return true
			}
		}
		return false
	}
	return d.scalar(m, at)
}

func (d *document) scalar(m *matcher, at int) bool {
	switch k := d.nodes[at].kind; m.op {
	case equals:
		return k == m.kind && d.same(at, m.s)
	case anythingBut:
		for i := range m.not {
			if d.scalar(&m.not[i], at) {
				return false
			}
		}
		return true
	case numeric:
		return k == number && m.inBounds(d.raw(at))
	default:
		return k == text && m.matchString(d.string(at))
	}
}

// same compares without an allocation unless there are escapes.
func (d *document) same(at int, s string) bool {
	raw := d.raw(at)
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == s
	}
	return len(raw) > len(s) && d.string(at) == s
}

func (m *matcher) inBounds(raw []byte) bool {
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return false
	}
	for _, b := range m.bounds {
		ok := false
		switch b.op {
		case "=":
			ok = v == b.n
		case "<":
			ok = v < b.n
		case "<=":
			ok = v <= b.n
		case ">":
			ok = v > b.n
		case ">=":
			ok = v >= b.n
		}
		if !ok {
			return false
		}
	}
	return true
}

func (m *matcher) matchString(s string) bool {
	switch m.op {
	case equalsFold:
		return strings.EqualFold(s, m.s)
	case prefix:
		return strings.HasPrefix(s, m.s)
	case suffix:
		return strings.HasSuffix(s, m.s)
	case prefixFold:
		return strings.EqualFold(s[:runes(s, utf8.RuneCountInString(m.s))], m.s)
	case suffixFold:
		skip := utf8.RuneCountInString(s) - utf8.RuneCountInString(m.s)
		return skip >= 0 && strings.EqualFold(s[runes(s, skip):], m.s)
	case wildcard:
		return matchWildcard(m.parts, s)
	case cidr:
		a, err := netip.ParseAddr(s)
		return err == nil && m.net.Contains(a.Unmap())
	}
	return false
}

// runes is the length in bytes of the first n characters of s.
func runes(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// matchWildcard takes each part where it first occurs; only the last must be at the
// end.
func matchWildcard(parts []string, s string) bool {
	if len(parts) == 1 {
		return s == parts[0]
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, last)
}
