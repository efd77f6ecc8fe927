package policy

import (
	"strings"
)

// ParseResourcePolicy parses a policy that is attached to a resource: every
// statement needs Principal or NotPrincipal. The error is a *SyntaxError.
func ParseResourcePolicy(text string) (*Document, error) {
	return parse(text, parser{principal: required, resource: required, id: true, freeSid: true})
}

// ParseIdentityPolicy parses a policy attached to an identity: no Principal allowed.
// The error is a *SyntaxError. Permissions boundaries, session policies and account
// guardrails have the same grammar.
func ParseIdentityPolicy(text string) (*Document, error) {
	return parse(text, parser{principal: refused, resource: required})
}

// ParseTrustPolicy parses the policy of a role that says who may assume it: every
// statement needs Principal, none has a resource, and all actions are those of STS.
// The error is a *SyntaxError.
func ParseTrustPolicy(text string) (*Document, error) {
	return parse(text, parser{principal: required, noNotPrincipal: true, resource: refused, stsOnly: true, id: true, freeSid: true})
}

type presence int

const (
	refused presence = iota
	required
)

// parser holds what differs between the places where policies are attached.
type parser struct {
	principal      presence
	noNotPrincipal bool
	resource       presence
	stsOnly        bool // no actions of other services
	id             bool
	freeSid        bool // any text may be a Sid

	variables bool            // the document's version knows variables
	sids      map[string]bool // of the statements so far
}

func parse(text string, p parser) (*Document, error) {
	n, err := readJSON(text)
	if err != nil {
		return nil, err
	}
	d, err := p.document(n)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (p *parser) document(n node) (*Document, *SyntaxError) {
	if n.kind != objectNode {
		return nil, bad(n.at, "the policy is %s, not an object", n.kind)
	}
	d := &Document{Version: Version2008}
	var statements *node
	// Elements come in any order, but what ${ means depends on the version.
	for i, m := range n.members {
		switch m.name {
		case "Version":
			d.Version = Version(m.value.text)
			if m.value.kind != stringNode || d.Version != Version2008 && d.Version != Version2012 {
				return nil, bad(m.value.at, "Version is neither %q nor %q", Version2012, Version2008).
					withText("The policy must contain a valid version string")
			}
		case "Id":
			if !p.id {
				return nil, bad(m.at, "a policy of this type has no Id")
			}
			if m.value.kind != stringNode {
				return nil, bad(m.value.at, "Id is %s, not a string", m.value.kind)
			}
			d.ID = m.value.text
		case "Statement":
			statements = &n.members[i].value
		default:
			return nil, bad(m.at, "there is no policy element %s", quote(m.name))
		}
	}
	if statements == nil {
		return nil, bad(n.at, "the policy has no Statement")
	}
	p.variables = d.Version == Version2012
	p.sids = make(map[string]bool)

	list := statements.items
	if statements.kind == objectNode {
		list = []node{*statements}
	} else if statements.kind != listNode {
		return nil, bad(statements.at, "Statement is %s, not an object or a list", statements.kind)
	}
	if len(list) == 0 {
		return nil, bad(statements.at, "Statement is empty")
	}
	for _, s := range list {
		statement, err := p.statement(s)
		if err != nil {
			return nil, err
		}
		d.Statements = append(d.Statements, statement)
	}
	return d, nil
}

func (p *parser) statement(n node) (Statement, *SyntaxError) {
	if n.kind != objectNode {
		return Statement{}, bad(n.at, "a statement is %s, not an object", n.kind)
	}
	s := Statement{Position: n.at}
	present := make(map[string]bool, len(n.members))
	var err *SyntaxError
	for _, m := range n.members {
		present[m.name] = true
		switch m.name {
		case "Sid":
			err = p.sid(m.value, &s)
		case "Effect":
			s.Effect = Effect(m.value.text)
			if m.value.kind != stringNode || s.Effect != Allow && s.Effect != Deny {
				err = bad(m.value.at, "Effect is neither %q nor %q", Allow, Deny)
			}
		case "Principal", "NotPrincipal":
			switch {
			case p.principal == refused:
				err = bad(m.at, "a policy of this type has no %s", m.name).
					withKind(UnwantedPrincipal).withText("Policy document should not specify a principal.")
			case p.noNotPrincipal && m.name == "NotPrincipal":
				err = bad(m.at, "a policy of this type has no %s", m.name)
			default:
				s.Principals, err = p.principals(m.value, m.name == "NotPrincipal")
			}
		case "Action", "NotAction":
			s.Actions, err = p.actions(m.value, m.name)
		case "Resource", "NotResource":
			if p.resource == refused {
				err = bad(m.at, "a policy of this type has no %s", m.name).withText("Has prohibited field Resource")
			} else {
				s.Resources, err = p.resources(m.value, m.name)
			}
		case "Condition":
			s.Conditions, err = p.conditions(m.value)
		default:
			err = bad(m.at, "there is no statement element %s", quote(m.name))
		}
		if err != nil {
			return Statement{}, err
		}
	}
	return s, p.complete(n, s, present)
}

// complete checks that a statement has the elements it needs, and no two that
// exclude each other.
func (p *parser) complete(n node, s Statement, present map[string]bool) *SyntaxError {
	for _, pair := range [][2]string{{"Principal", "NotPrincipal"}, {"Action", "NotAction"}, {"Resource", "NotResource"}} {
		if present[pair[0]] && present[pair[1]] {
			return bad(n.at, "a statement has both %s and %s", pair[0], pair[1])
		}
	}
	switch {
	case !present["Effect"]:
		return bad(n.at, "a statement has no Effect").withText("Missing required field Effect")
	case !present["Action"] && !present["NotAction"]:
		return bad(n.at, "a statement has neither Action nor NotAction").withText("Policy statement must contain actions.")
	case s.Resources == nil && p.resource == required:
		return bad(n.at, "a statement has neither Resource nor NotResource").withText("Policy statement must contain resources.")
	case s.Principals == nil && p.principal == required:
		return bad(n.at, "a statement has neither Principal nor NotPrincipal").withText("Missing required field Principal")
	case s.Principals != nil && s.Principals.Not && s.Effect == Allow:
		// It would allow everybody else, anonymous callers included.
		return bad(s.Principals.Position, "NotPrincipal stands in a statement that allows")
	}
	return nil
}

func (p *parser) sid(n node, s *Statement) *SyntaxError {
	if n.kind != stringNode {
		return bad(n.at, "Sid is %s, not a string", n.kind)
	}
	s.Sid = n.text
	if n.text == "" {
		return nil
	}
	if !p.freeSid {
		for _, c := range n.text {
			if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') {
				return bad(n.at, "Sid %s is not made of letters and digits", quote(n.text)).
					withText("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
			}
		}
	}
	if p.sids[n.text] {
		return bad(n.at, "two statements have the Sid %s", quote(n.text)).
			withText("Statement IDs (SID) in a single policy must be unique.")
	}
	p.sids[n.text] = true
	return nil
}

// stringList reads a string, or a list of strings that is not empty.
func stringList(n node, what string) ([]node, *SyntaxError) {
	switch n.kind {
	case stringNode:
		return []node{n}, nil
	case listNode:
		if len(n.items) == 0 {
			return nil, bad(n.at, "a list of %ss is empty", what)
		}
		for _, item := range n.items {
			if item.kind != stringNode {
				return nil, bad(item.at, "a %s is %s, not a string", what, item.kind)
			}
		}
		return n.items, nil
	}
	return nil, bad(n.at, "a %s is %s, not a string or a list of strings", what, n.kind)
}

func (p *parser) conditions(n node) ([]Condition, *SyntaxError) {
	if n.kind != objectNode {
		return nil, bad(n.at, "Condition is %s, not an object", n.kind)
	}
	var all []Condition
	for _, m := range n.members {
		op, err := parseOperator(m.name, m.at)
		if err != nil {
			return nil, err
		}
		if m.value.kind != objectNode {
			return nil, bad(m.value.at, "the conditions of %s are %s, not an object", m.name, m.value.kind)
		}
		seen := make(map[string]bool)
		for _, key := range m.value.members {
			c, err := p.condition(key, op)
			if err != nil {
				return nil, err
			}
			folded := strings.ToLower(key.name)
			if seen[folded] {
				return nil, bad(key.at, "condition key %s is given twice, in different case", quote(key.name))
			}
			seen[folded] = true
			all = append(all, c)
		}
	}
	return all, nil
}

func (p *parser) condition(m member, op Operator) (Condition, *SyntaxError) {
	if !validKey(m.name) {
		return Condition{}, bad(m.at, "condition key %s does not have the form prefix:name", quote(m.name)).
			withText("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
	}
	c := Condition{Position: m.at, Operator: op, Key: m.name}
	values := []node{m.value}
	if m.value.kind == listNode {
		values = m.value.items
	}
	for _, n := range values {
		v, err := p.value(n, op)
		if err != nil {
			return Condition{}, err
		}
		c.Values = append(c.Values, v)
	}
	return c, nil
}
