package policy

import (
	"net/netip"
	"strings"
)

// scratch is the memory of one decision.
type scratch struct {
	action []byte   // in lower case
	values []string // values of condition keys; a stack
	text   []byte   // of a pattern with its variables replaced
}

// evaluation is one request on its way through policies. It has its own copy of the
// request and keeps no memory but that of scratch, so that neither moves to the heap.
type evaluation struct {
	req      Request
	boundary bool // whether the caller has a permissions boundary

	pool  *Compiled // that lent mem, nil before the first policy
	mem   *scratch
	colon int // between service and name in mem.action
}

// begin borrows memory from a policy, unless that has happened.
func (e *evaluation) begin(c *Compiled) {
	if e.mem != nil {
		return
	}
	e.pool, e.mem = c, c.scratches.Get().(*scratch)
	e.mem.action = appendLower(e.mem.action[:0], e.req.Action)
	e.colon = indexColon(e.mem.action)
}

// action returns service and name of the action in lower case. What has no colon is no
// action; only patterns for all actions match it.
func (e *evaluation) action() (service, name []byte) {
	if e.colon < 0 {
		return nil, nil
	}
	return e.mem.action[:e.colon], e.mem.action[e.colon+1:]
}

// appendLower appends s with its letters of ASCII in lower case.
func appendLower(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

// finish gives memory back, without the request's values.
func (e *evaluation) finish() {
	if e.mem == nil {
		return
	}
	clear(e.mem.values[:cap(e.mem.values)])
	e.mem.values = e.mem.values[:0]
	e.pool.scratches.Put(e.mem)
	e.pool, e.mem = nil, nil
}

// lookup returns the values of a key. They stay good until the evaluation ends.
func (e *evaluation) lookup(key string) []string {
	if e.req.Context == nil {
		return nil
	}
	mem := e.mem
	n := len(mem.values)
	all, ok := e.req.Context.Lookup(mem.values, key)
	if !ok || len(all) <= n {
		return nil
	}
	mem.values = all
	return all[n:]
}

// forget takes the values of lookup off the stack again.
func (e *evaluation) forget(values []string) {
	e.mem.values = e.mem.values[:len(e.mem.values)-len(values)]
}

// matches reports whether s matches the pattern. It is not resolved if that depends on
// a variable that has no value in the request; it then does not match.
func (e *evaluation) matches(g *glob, s string) (matched, resolved bool) {
	if g.parts == nil {
		return g.match(s), true
	}
	if !strings.HasPrefix(s, g.head) {
		return false, true
	}
	text, ok := e.resolve(g)
	return ok && matchMarked(text, s), ok
}

// resolve puts values into a pattern with variables. What it returns is good until the
// next call.
//
// A variable has a value if the request has its key with just one: AWS does not
// replace variables by keys with several.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
func (e *evaluation) resolve(g *glob) ([]byte, bool) {
	mem := e.mem
	text := mem.text[:0]
	for i := range g.parts {
		switch p := &g.parts[i]; p.Kind {
		case Literal:
			text = append(text, p.Text...)
		case AnyRun:
			text = append(text, runMark)
		case AnyOne:
			text = append(text, oneMark)
		case Variable:
			values := e.lookup(p.Text)
			value, ok := p.Default, p.HasDefault
			if len(values) > 0 {
				value, ok = values[0], len(values) == 1 && !marked(values[0])
			}
			e.forget(values)
			if !ok {
				return nil, false
			}
			text = append(text, value...)
		}
	}
	mem.text = text
	return text, true
}

// marked reports whether a value holds bytes that would be taken for wildcards.
func marked(s string) bool {
	return strings.IndexByte(s, runMark) >= 0 || strings.IndexByte(s, oneMark) >= 0
}

// excepted reports whether a NotAction element names the action.
func (e *evaluation) excepted(s *statement) bool {
	service, name := e.action()
	for i := range s.notActions {
		if s.notActions[i].match(service, name) {
			return true
		}
	}
	return false
}

// resource reports whether a statement is about the resource of the request.
//
// With NotResource a variable without a value names nothing, so a Deny stays in force
// for all resources. An Allow does not: what was to be left out is not known.
func (e *evaluation) resource(s *statement) bool {
	if s.allResources {
		return true
	}
	named, known := false, true
	for i := range s.resources {
		matched, resolved := e.matches(&s.resources[i], e.req.Resource)
		known = known && resolved
		if matched {
			named = true
			break
		}
	}
	if s.notResources {
		return !named && (known || s.deny)
	}
	return named
}

// conditions reports whether all conditions of a statement are met.
func (e *evaluation) conditions(s *statement) bool {
	for i := range s.conditions {
		if !e.met(&s.conditions[i], s.deny) {
			return false
		}
	}
	return true
}

// met reports whether a condition is met.
//
// A key without values is treated as one that is not there. For a key that is not
// there, operators are not met, negated ones are; IfExists and ForAllValues are met,
// ForAnyValue is not.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
//
// AWS does not say what an operator without a quantifier does with several values. To
// err on the safe side, an Allow wants all of them to meet it and a Deny any.
func (e *evaluation) met(cond *condition, deny bool) bool {
	values := e.lookup(cond.key)
	defer e.forget(values)
	op := &cond.source.Operator
	if op.Family == NullFamily {
		if len(values) == 0 {
			return cond.yes
		}
		return cond.no
	}
	if len(values) == 0 {
		return metWithout(op)
	}
	any := oneIsEnough(op, deny)
	for _, v := range values {
		if e.meets(cond, v) == any {
			return any
		}
	}
	return !any
}

// metWithout reports whether a condition is met by a request without its key.
func metWithout(op *Operator) bool {
	switch {
	case op.IfExists:
		return true
	case op.Quantifier == OneValue:
		return op.Negated
	}
	return op.Quantifier == ForAllValues
}

// oneIsEnough reports whether a condition is met when one of several values meets it.
func oneIsEnough(op *Operator, deny bool) bool {
	return op.Quantifier == ForAnyValue || op.Quantifier == OneValue && deny
}

// meets reports whether one value of the request meets a condition: it is like one of
// the policy's values or, under a negated operator, like none of them. A value that is
// not of the operator's type is like nothing.
func (e *evaluation) meets(cond *condition, v string) bool {
	return e.like(cond, v) != cond.source.Operator.Negated
}

func (e *evaluation) like(cond *condition, v string) bool {
	switch cond.source.Operator.Family {
	case StringFamily:
		for i := range cond.patterns {
			if e.likeString(cond.op, &cond.patterns[i], v) {
				return true
			}
		}
	case ARNFamily:
		for i := range cond.patterns {
			if e.likeARN(&cond.patterns[i], v) {
				return true
			}
		}
	case NumericFamily:
		if d, ok := parseDecimal(v); ok {
			for _, n := range cond.numbers {
				if cond.op.holds(d.compare(n)) {
					return true
				}
			}
		}
	case DateFamily:
		if len(cond.times) > 0 {
			return likeDate(cond, v)
		}
	case BoolFamily:
		return cond.yes && strings.EqualFold(v, "true") || cond.no && strings.EqualFold(v, "false")
	case BinaryFamily:
		for _, text := range cond.texts {
			if text == v {
				return true
			}
		}
	case IPFamily:
		return likeIP(cond, v)
	}
	return false
}

func (e *evaluation) likeString(op comparison, g *glob, v string) bool {
	if op != isEqualFold {
		matched, _ := e.matches(g, v)
		return matched
	}
	if g.parts == nil {
		return strings.EqualFold(g.head, v)
	}
	text, ok := e.resolve(g)
	return ok && strings.EqualFold(string(text), v)
}

func (e *evaluation) likeARN(g *glob, v string) bool {
	if !strings.HasPrefix(v, g.head) {
		return false
	}
	if g.parts == nil {
		return matchARN(g.tail, v)
	}
	text, ok := e.resolve(g)
	return ok && matchARN(text, v)
}

func likeDate(cond *condition, v string) bool {
	t, ok := parseDate(v)
	if !ok {
		return false
	}
	for _, u := range cond.times {
		if cond.op.holds(t.Compare(u)) {
			return true
		}
	}
	return false
}

func likeIP(cond *condition, v string) bool {
	a, err := netip.ParseAddr(v)
	if err != nil || a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	for _, p := range cond.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// holds reports whether a comparison with this outcome is what the operator asks for.
func (c comparison) holds(outcome int) bool {
	switch c {
	case isLess:
		return outcome < 0
	case isLessOrEqual:
		return outcome <= 0
	case isGreater:
		return outcome > 0
	case isGreaterOrEqual:
		return outcome >= 0
	}
	return outcome == 0
}
