package event

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// MaxPatternBytes is the longest pattern; EventBridge's limit.
	MaxPatternBytes = 4096
	// maxNumber bounds numbers in patterns, as EventBridge does.
	maxNumber = 5e9
)

// Pattern is an EventBridge pattern: which events somebody wants. It is immutable.
type Pattern struct{ root *group }

// group is an object of a pattern: every field matches, and of every list of
// alternatives at least one.
type group struct {
	fields []field
	or     [][]*group
}

// field matches a member by its value or by members of its own.
type field struct {
	name string
	sub  *group // nil: any
	any  []matcher
}

// operator is how a matcher compares.
type operator uint8

const (
	equals operator = iota // the value exactly as it is written
	equalsFold
	prefix
	prefixFold
	suffix
	suffixFold
	wildcard
	exists
	absent
	numeric
	cidr
	anythingBut
)

// matcher is one element of a list of what a value may be.
type matcher struct {
	op   operator
	kind kind   // of equals
	s    string // of equals and the operators on strings
	// parts are what a wildcard has between its asterisks.
	parts  []string
	bounds []bound
	net    netip.Prefix
	not    []matcher // of anythingBut: what the value must not be
}

// bound is one comparison of numeric.
type bound struct {
	op string
	n  float64
}

// ParsePattern reads a pattern in EventBridge's language. What it does not
// understand, or what could never match, is an error.
func ParsePattern(pattern string) (*Pattern, error) {
	if len(pattern) > MaxPatternBytes {
		return nil, fmt.Errorf("event pattern of %d bytes, the limit is %d", len(pattern), MaxPatternBytes)
	}
	var d document
	if err := d.parse([]byte(pattern)); err != nil {
		return nil, fmt.Errorf("event pattern: %w", err)
	}
	if d.nodes[0].kind != object {
		return nil, errors.New("event pattern: not an object")
	}
	p := patternParser{d: &d}
	g, err := p.group(0)
	if err != nil {
		return nil, fmt.Errorf("event pattern: %w", err)
	}
	return &Pattern{root: g}, nil
}

type patternParser struct{ d *document }

// each calls fn for what is inside an object or array.
func (p patternParser) each(at int, fn func(i int) error) error {
	for i := at + 1; i < int(p.d.nodes[at].next); i = int(p.d.nodes[i].next) {
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

func (p patternParser) key(i int) string {
	n := p.d.nodes[i]
	return unescape(p.d.buf[n.keyStart:n.keyEnd])
}

func (p patternParser) group(at int) (*group, error) {
	g := &group{}
	seen := map[string]bool{}
	err := p.each(at, func(i int) error {
		name := p.key(i)
		if seen[name] {
			return fmt.Errorf("%q stands twice in one object", name)
		}
		seen[name] = true
		if name == "$or" {
			alternatives, err := p.alternatives(i)
			g.or = append(g.or, alternatives)
			return err
		}
		f, err := p.field(name, i)
		if err != nil {
			return err
		}
		g.fields = append(g.fields, f)
		return nil
	})
	if err == nil && len(seen) == 0 {
		err = errors.New("an empty object matches nothing")
	}
	return g, err
}

func (p patternParser) alternatives(at int) ([]*group, error) {
	if p.d.nodes[at].kind != array {
		return nil, errors.New("$or is not a list")
	}
	var all []*group
	err := p.each(at, func(i int) error {
		if p.d.nodes[i].kind != object {
			return errors.New("$or holds something else than objects")
		}
		g, err := p.group(i)
		all = append(all, g)
		return err
	})
	if err == nil && len(all) < 2 {
		err = errors.New("$or needs two alternatives at least")
	}
	return all, err
}

func (p patternParser) field(name string, at int) (field, error) {
	f := field{name: name}
	var err error
	switch p.d.nodes[at].kind {
	case object:
		f.sub, err = p.group(at)
		return f, err
	case array:
	default:
		return f, fmt.Errorf("%q is neither an object nor a list", name)
	}
	err = p.each(at, func(i int) error {
		m, err := p.matcher(i)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		f.any = append(f.any, m)
		return nil
	})
	if err == nil && len(f.any) == 0 {
		err = fmt.Errorf("%q: an empty list matches nothing", name)
	}
	return f, err
}

func (p patternParser) matcher(at int) (matcher, error) {
	n := p.d.nodes[at]
	switch n.kind {
	case array:
		return matcher{}, errors.New("a list inside a list")
	case object:
		if at+1 == int(n.next) || int(p.d.nodes[at+1].next) != int(n.next) {
			return matcher{}, errors.New("a comparison is an object with one member")
		}
		return p.comparison(p.key(at+1), at+1)
	}
	return p.exact(at), nil
}

// exact matches the same string, or a number or literal that is written the same.
func (p patternParser) exact(at int) matcher {
	return matcher{op: equals, kind: p.d.nodes[at].kind, s: p.d.string(at)}
}

func (p patternParser) comparison(op string, at int) (matcher, error) {
	switch op {
	case "exists":
		switch string(p.d.raw(at)) {
		case "true":
			if p.d.nodes[at].kind == literal {
				return matcher{op: exists}, nil
			}
		case "false":
			if p.d.nodes[at].kind == literal {
				return matcher{op: absent}, nil
			}
		}
		return matcher{}, errors.New("exists is neither true nor false")
	case "numeric":
		return p.numeric(at)
	case "cidr":
		net, err := netip.ParsePrefix(p.d.string(at))
		if err != nil || p.d.nodes[at].kind != text {
			return matcher{}, errors.New("cidr is not a network such as 10.0.0.0/8")
		}
		return matcher{op: cidr, net: net.Masked()}, nil
	case "anything-but":
		return p.anythingBut(at)
	}
	return p.onString(op, at)
}

// onString reads a comparison of strings.
func (p patternParser) onString(op string, at int) (matcher, error) {
	fold := false
	if p.d.nodes[at].kind == object && (op == "prefix" || op == "suffix") {
		inner := at + 1
		if inner >= int(p.d.nodes[at].next) || p.key(inner) != "equals-ignore-case" || p.d.nodes[inner].next != p.d.nodes[at].next {
			return matcher{}, fmt.Errorf("%s of something else than a string or equals-ignore-case", op)
		}
		at, fold = inner, true
	}
	if p.d.nodes[at].kind != text {
		return matcher{}, fmt.Errorf("%s of something else than a string", op)
	}
	m := matcher{s: p.d.string(at)}
	switch {
	case op == "equals-ignore-case":
		m.op = equalsFold
	case op == "prefix" && fold:
		m.op = prefixFold
	case op == "prefix":
		m.op = prefix
	case op == "suffix" && fold:
		m.op = suffixFold
	case op == "suffix":
		m.op = suffix
	case op == "wildcard":
		var err error
		m.op = wildcard
		m.parts, err = wildcardParts(m.s)
		return m, err
	default:
		return m, fmt.Errorf("unknown comparison %q", op)
	}
	return m, nil
}

// wildcardParts divides at the asterisks; \* and \\ stand for the characters.
func wildcardParts(s string) ([]string, error) {
	var parts []string
	var part strings.Builder
	star := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '*' && star:
			return nil, errors.New("wildcard with two asterisks in a row")
		case s[i] == '*':
			parts = append(parts, part.String())
			part.Reset()
			star = true
			continue
		case s[i] == '\\':
			i++
			if i == len(s) || s[i] != '*' && s[i] != '\\' {
				return nil, errors.New(`wildcard with a backslash before something else than * or \`)
			}
		}
		part.WriteByte(s[i])
		star = false
	}
	return append(parts, part.String()), nil
}

// numeric reads one equality, or up to one lower and one upper bound.
func (p patternParser) numeric(at int) (matcher, error) {
	wrong := errors.New(`numeric is not a list such as [">", 0, "<=", 5]`)
	if p.d.nodes[at].kind != array {
		return matcher{}, wrong
	}
	m := matcher{op: numeric}
	op := ""
	seen := map[byte]bool{}
	err := p.each(at, func(i int) error {
		if op == "" {
			switch op = p.d.string(i); op {
			case "=", "<", "<=", ">", ">=":
			default:
				return wrong
			}
			if p.d.nodes[i].kind != text || seen[op[0]] {
				return wrong
			}
			seen[op[0]] = true
			return nil
		}
		n, err := strconv.ParseFloat(string(p.d.raw(i)), 64)
		if err != nil || p.d.nodes[i].kind != number || n > maxNumber || n < -maxNumber {
			return wrong
		}
		m.bounds = append(m.bounds, bound{op, n})
		op = ""
		return nil
	})
	if err != nil {
		return matcher{}, err
	}
	if op != "" || len(m.bounds) == 0 || seen['='] && len(m.bounds) > 1 {
		return matcher{}, wrong
	}
	if len(m.bounds) == 2 {
		low, high := m.bounds[0], m.bounds[1]
		if low.op[0] == '<' {
			low, high = high, low
		}
		if low.n > high.n || low.n == high.n && (low.op == ">" || high.op == "<") {
			return matcher{}, errors.New("numeric range that holds no number")
		}
	}
	return m, nil
}

func (p patternParser) anythingBut(at int) (matcher, error) {
	m := matcher{op: anythingBut}
	switch p.d.nodes[at].kind {
	case text, number:
		m.not = []matcher{p.exact(at)}
		return m, nil
	case array:
		var kinds [literal + 1]bool
		err := p.each(at, func(i int) error {
			kinds[p.d.nodes[i].kind] = true
			m.not = append(m.not, p.exact(i))
			return nil
		})
		if len(m.not) == 0 || kinds[object] || kinds[array] || kinds[literal] || kinds[text] == kinds[number] {
			return m, errors.New("anything-but of a list that is not of strings only or numbers only")
		}
		return m, err
	case object:
		inner := at + 1
		if inner >= int(p.d.nodes[at].next) || p.d.nodes[inner].next != p.d.nodes[at].next {
			break
		}
		op := p.key(inner)
		if p.d.nodes[inner].kind != array {
			if p.d.nodes[inner].kind != text {
				break
			}
			n, err := p.onString(op, inner)
			m.not = []matcher{n}
			return m, err
		}
		err := p.each(inner, func(i int) error {
			if p.d.nodes[i].kind != text {
				return fmt.Errorf("anything-but %s of something else than strings", op)
			}
			n, err := p.onString(op, i)
			m.not = append(m.not, n)
			return err
		})
		if err == nil && len(m.not) == 0 {
			break
		}
		return m, err
	}
	return m, errors.New("anything-but of something else than a string, a number, a list of them, or one comparison of strings")
}
