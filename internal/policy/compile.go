package policy

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Compiled is a Document made ready for decisions. It is immutable and may be shared.
//
// Most statements of most policies are about other actions, so statements are found
// by action: first by service, then by name, where only names with wildcards are
// tried one by one.
type Compiled struct {
	doc        *Document
	statements []statement
	services   map[string]*serviceIndex // by service, in lower case
	// rest are the statements that every action may concern: "*" and NotAction.
	rest []int32

	// scratches are lent to decisions, so that these need no memory of their own.
	scratches sync.Pool // of *scratch
}

type serviceIndex struct {
	exact map[string][]int32 // statements by name of the action, in lower case
	wild  []wildAction
}

type wildAction struct {
	name      glob // in lower case
	statement int32
}

// statement is a Statement made ready.
type statement struct {
	deny         bool
	notActions   []actionPattern // of a NotAction element
	principals   *principals     // nil in identity policies
	notResources bool
	allResources bool // trust policies have no resource and are about their role alone
	resources    []glob
	conditions   []condition
}

type actionPattern struct {
	service string // in lower case, or "*"
	name    glob
}

func (a *actionPattern) match(service, name []byte) bool {
	return a.service == "*" || a.service == string(service) && a.name.matchBytes(name)
}

// matchBytes is match for text in a buffer.
func (g *glob) matchBytes(s []byte) bool {
	if len(s) < len(g.head) || string(s[:len(g.head)]) != g.head {
		return false
	}
	return matchMarked(g.tail, s[len(g.head):])
}

// condition is a Condition made ready. Of the lists, the one of its family is used.
type condition struct {
	source   *Condition
	key      string // as lowerKey has it
	op       comparison
	patterns []glob
	numbers  []decimal
	times    []time.Time
	prefixes []netip.Prefix
	texts    []string // base64 of binary values
	yes, no  bool     // whether true and false are among the values
}

// comparison is how an operator compares two values of its family.
type comparison int8

const (
	isEqual comparison = iota
	isEqualFold
	isLess
	isLessOrEqual
	isGreater
	isGreaterOrEqual
)

// Compile prepares a document that a parser returned.
func Compile(doc *Document) *Compiled {
	c := &Compiled{
		doc:        doc,
		statements: make([]statement, len(doc.Statements)),
		services:   make(map[string]*serviceIndex),
	}
	c.scratches.New = func() any { return new(scratch) }
	for i := range doc.Statements {
		s := &doc.Statements[i]
		c.statements[i] = compileStatement(s)
		c.index(s, int32(i))
	}
	return c
}

// Document returns what was compiled.
func (c *Compiled) Document() *Document { return c.doc }

// index files statement i under its actions.
func (c *Compiled) index(s *Statement, i int32) {
	if s.Actions.Not {
		c.rest = append(c.rest, i)
		return
	}
	for _, a := range s.Actions.List {
		if a.Service == "*" {
			if !slices.Contains(c.rest, i) {
				c.rest = append(c.rest, i)
			}
			continue
		}
		service := strings.ToLower(a.Service)
		x := c.services[service]
		if x == nil {
			x = &serviceIndex{exact: make(map[string][]int32)}
			c.services[service] = x
		}
		name := compileName(a.Name)
		if !name.fixed() {
			x.wild = append(x.wild, wildAction{name: name, statement: i})
		} else if known := x.exact[name.head]; len(known) == 0 || known[len(known)-1] != i {
			x.exact[name.head] = append(known, i)
		}
	}
}

// compileName prepares the name of an action, of which the parser has checked the
// characters.
func compileName(name string) glob {
	p, _ := parsePattern(strings.ToLower(name), Position{}, patternSyntax{wildcards: true})
	return compilePattern(p)
}

func compileStatement(s *Statement) statement {
	out := statement{
		deny:         s.Effect == Deny,
		principals:   compilePrincipals(s.Principals),
		allResources: s.Resources == nil,
	}
	if s.Actions.Not {
		for _, a := range s.Actions.List {
			out.notActions = append(out.notActions, actionPattern{service: strings.ToLower(a.Service), name: compileName(a.Name)})
		}
	}
	if s.Resources != nil {
		out.notResources = s.Resources.Not
		for _, r := range s.Resources.List {
			out.resources = append(out.resources, compilePattern(r.Pattern))
		}
		out.allResources = !out.notResources && slices.ContainsFunc(out.resources, func(g glob) bool { return g.everything() })
	}
	for i := range s.Conditions {
		out.conditions = append(out.conditions, compileCondition(&s.Conditions[i]))
	}
	return out
}

func compileCondition(c *Condition) condition {
	out := condition{source: c, key: lowerKey(c.Key)}
	switch name := c.Operator.Name; {
	case strings.HasSuffix(name, "IgnoreCase"):
		out.op = isEqualFold
	case strings.HasSuffix(name, "LessThan"):
		out.op = isLess
	case strings.HasSuffix(name, "LessThanEquals"):
		out.op = isLessOrEqual
	case strings.HasSuffix(name, "GreaterThan"):
		out.op = isGreater
	case strings.HasSuffix(name, "GreaterThanEquals"):
		out.op = isGreaterOrEqual
	}
	for i := range c.Values {
		v := &c.Values[i]
		switch c.Operator.Family {
		case StringFamily:
			out.patterns = append(out.patterns, compilePattern(v.Pattern))
		case ARNFamily:
			out.patterns = append(out.patterns, compileARN(v.Pattern))
		case NumericFamily:
			// The parser has read it before.
			d, _ := parseDecimal(v.Text)
			out.numbers = append(out.numbers, d)
		case DateFamily:
			out.times = append(out.times, v.Time)
		case BoolFamily, NullFamily:
			out.yes = out.yes || v.Bool
			out.no = out.no || !v.Bool
		case BinaryFamily:
			out.texts = append(out.texts, base64.StdEncoding.EncodeToString(v.Bytes))
		case IPFamily:
			out.prefixes = append(out.prefixes, unmapPrefix(v.Prefix))
		}
	}
	return out
}

// unmapPrefix returns a range of IPv4 addresses that are written as IPv6 in its own
// form, in which they are compared.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	const mapped = 96
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p
}

// Weight is about how many bytes of memory the policy takes besides its text. The
// figures are measured.
func (c *Compiled) Weight() int {
	const perStatement, perName, perValue, perPart = 1024, 160, 320, 64
	n := 0
	for i := range c.doc.Statements {
		s := &c.doc.Statements[i]
		n += perStatement + perName*len(s.Actions.List)
		if s.Principals != nil {
			n += perName * len(s.Principals.List)
		}
		if s.Resources != nil {
			n += perName * len(s.Resources.List)
			for _, r := range s.Resources.List {
				n += perPart * len(r.Pattern.Parts)
			}
		}
		for _, cond := range s.Conditions {
			n += perValue * (1 + len(cond.Values))
			for _, v := range cond.Values {
				n += perPart * len(v.Pattern.Parts)
			}
		}
	}
	return n
}

// ContextKeys returns all condition keys that the document refers to, in conditions
// and as variables: as they are written there first, sorted, each once.
func (c *Compiled) ContextKeys() []string {
	keys := make(map[string]string)
	add := func(key string) {
		if folded := strings.ToLower(key); keys[folded] == "" {
			keys[folded] = key
		}
	}
	variables := func(p Pattern) {
		for _, part := range p.Parts {
			if part.Kind == Variable {
				add(part.Text)
			}
		}
	}
	for _, s := range c.doc.Statements {
		if s.Resources != nil {
			for _, r := range s.Resources.List {
				variables(r.Pattern)
			}
		}
		for _, cond := range s.Conditions {
			add(cond.Key)
			for _, v := range cond.Values {
				variables(v.Pattern)
			}
		}
	}
	out := make([]string, 0, len(keys))
	for _, key := range keys {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}
