package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Explanation is a Decision with everything that was weighed for it. It shows values
// of condition keys, which are no secrets.
type Explanation struct {
	Decision Decision
	Request  Request
	// Considered are all statements of all policies, in the order of the evaluation.
	Considered []Considered
}

// Considered is what one statement had to say.
type Considered struct {
	Layer     Layer
	Source    string // name of the policy
	Statement int    // its index; -1 stands for a whole policy that could not be read
	Sid       string
	Position  Position
	Effect    Effect
	Matched   bool
	Why       string // one sentence, without a full stop
}

// Explain decides as Evaluate does and tells of each statement whether it matched and,
// if not, what kept it from that first. It reads every statement whole, so it is for
// people and not for deciding calls.
func Explain(req *Request, ps *Policies) Explanation {
	x := explainer{out: Explanation{Decision: Evaluate(req, ps), Request: *req}}
	x.e = evaluation{req: *req, boundary: ps.HasBoundary}
	for _, s := range ps.Guardrails {
		x.policy(GuardrailLayer, s)
	}
	if ps.Resource.Policy != nil {
		x.policy(ResourceLayer, ps.Resource)
	}
	for _, s := range ps.Identity {
		x.policy(IdentityLayer, s)
	}
	if ps.HasBoundary {
		x.policy(BoundaryLayer, ps.Boundary)
	}
	if ps.HasSession {
		for _, s := range ps.Session {
			x.policy(SessionLayer, s)
		}
	}
	x.e.finish()
	return x.out
}

type explainer struct {
	e   evaluation
	out Explanation
}

func (x *explainer) policy(layer Layer, source Source) {
	if source.Policy == nil {
		x.out.Considered = append(x.out.Considered, Considered{
			Layer: layer, Source: source.Name, Statement: none, Why: "the policy cannot be read, so nothing is allowed",
		})
		return
	}
	x.e.begin(source.Policy)
	for i := range source.Policy.statements {
		s := &source.Policy.doc.Statements[i]
		matched, why := x.statement(s, &source.Policy.statements[i])
		x.out.Considered = append(x.out.Considered, Considered{
			Layer: layer, Source: source.Name, Statement: i, Sid: s.Sid, Position: s.Position, Effect: s.Effect,
			Matched: matched, Why: why,
		})
	}
}

func (x *explainer) statement(s *Statement, c *statement) (matched bool, why string) {
	if why := x.action(s); why != "" {
		return false, why
	}
	how := x.e.reach(c)
	if how == notNamed {
		return false, x.principal(s)
	}
	if !x.e.resource(c) {
		return false, x.resource(s, c)
	}
	for i := range c.conditions {
		if !x.e.met(&c.conditions[i], c.deny) {
			return false, x.condition(&c.conditions[i], c.deny)
		}
	}
	return true, x.match(s, how)
}

// action tells why the action of the request does not match, "" if it does.
func (x *explainer) action(s *Statement) string {
	service, name := x.e.action()
	listed := false
	for _, a := range s.Actions.List {
		p := actionPattern{service: strings.ToLower(a.Service), name: compileName(a.Name)}
		listed = listed || p.match(service, name)
	}
	if listed != s.Actions.Not {
		return ""
	}
	all := listOf(len(s.Actions.List), func(i int) string { return s.Actions.List[i].String() })
	if s.Actions.Not {
		return fmt.Sprintf("action %s is among those left out, %s", show(x.e.req.Action), all)
	}
	return fmt.Sprintf("action %s is not among %s", show(x.e.req.Action), all)
}

func (x *explainer) principal(s *Statement) string {
	all := listOf(len(s.Principals.List), func(i int) string { return s.Principals.List[i].Value })
	if s.Principals.Not {
		return fmt.Sprintf("principal %s is among those left out, %s", x.e.req.Caller.describe(), all)
	}
	return fmt.Sprintf("principal %s is not among %s", x.e.req.Caller.describe(), all)
}

// describe names the caller for people.
func (c *Caller) describe() string {
	switch c.Kind {
	case ServiceCaller:
		return show(c.Service)
	case WebIdentity:
		return "the bearer of a token of " + show(c.Provider)
	case RootCaller, UserCaller, RoleCaller:
		return show(c.ARN)
	}
	return "nobody"
}

func (x *explainer) resource(s *Statement, c *statement) string {
	all := listOf(len(s.Resources.List), func(i int) string { return show(s.Resources.List[i].Pattern.Text) + x.resolved(&c.resources[i]) })
	if !s.Resources.Not {
		return fmt.Sprintf("resource %s is not among %s", show(x.e.req.Resource), all)
	}
	for i := range c.resources {
		if matched, _ := x.e.matches(&c.resources[i], x.e.req.Resource); matched {
			return fmt.Sprintf("resource %s is among those left out, %s", show(x.e.req.Resource), all)
		}
	}
	return fmt.Sprintf("which resources are left out is not known: %s", all)
}

// resolved shows what a pattern with variables has become.
func (x *explainer) resolved(g *glob) string {
	if g.parts == nil {
		return ""
	}
	text, ok := x.e.resolve(g)
	if !ok {
		return " (a variable has no value)"
	}
	shown := []byte(string(text))
	for i, c := range shown {
		switch c {
		case runMark:
			shown[i] = '*'
		case oneMark:
			shown[i] = '?'
		}
	}
	return " (here " + show(string(shown)) + ")"
}

// show returns s for a line of text: shortened, and in quotation marks if it holds
// characters that could do something to a terminal.
func show(s string) string {
	const most = 512
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

func (x *explainer) condition(c *condition, deny bool) string {
	op := &c.source.Operator
	key := show(c.source.Key)
	head := fmt.Sprintf("condition %s %s: ", op, key)
	values := x.e.lookup(c.key)
	defer x.e.forget(values)
	switch {
	case len(values) == 0:
		return head + "the request has no " + key
	case op.Family == NullFamily:
		return head + "the request has " + key
	}
	has := listOf(len(values), func(i int) string { return quote(values[i]) })
	wants := listOf(len(c.source.Values), func(i int) string {
		s := quote(c.source.Values[i].Text)
		if i < len(c.patterns) {
			s += x.resolved(&c.patterns[i])
		}
		return s
	})
	if len(c.source.Values) == 0 {
		wants = "what no value is"
	}
	if op.Negated {
		wants = "none of " + wants
	}
	quantity := ""
	if len(values) > 1 && op.Quantifier == OneValue && !deny {
		quantity = " for every value"
	}
	return head + "the request has " + has + ", the policy wants " + wants + quantity
}

// match tells what it means that a statement matched.
func (x *explainer) match(s *Statement, how reach) string {
	if s.Effect == Deny {
		return "it matches, and a Deny decides"
	}
	switch {
	case s.Principals == nil:
		return "it matches"
	case how == byAccount:
		return fmt.Sprintf("it matches; it names the account %s, whose own policies decide further", x.e.req.Caller.Account)
	case how == byRole:
		return "it matches; it names the role, which its permissions boundary and session policies limit further"
	case x.e.req.Caller.ofAWS() && x.e.req.Caller.Account != x.e.req.Account:
		return "it matches; the policies of the caller's own account decide further"
	}
	return "it matches, and no identity-based policy needs to allow as well"
}

// listOf joins the first of n items.
func listOf(n int, item func(i int) string) string {
	const most = 6
	var b strings.Builder
	for i := range min(n, most) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(item(i))
	}
	if n > most {
		fmt.Fprintf(&b, " and %d more", n-most)
	}
	return b.String()
}

// Summary tells in one sentence what decided.
func (x *Explanation) Summary() string {
	d := &x.Decision
	switch {
	case d.Allowed && d.Statement == none && d.Source.Name != "":
		return "allowed by " + d.Source.Name
	case d.Allowed && d.Statement == none:
		return "allowed, since the root of an account needs no identity-based policy"
	case d.Allowed:
		return "allowed by " + d.statement()
	case d.Explicit:
		return "denied by " + d.statement()
	case d.Source.Name != "":
		return fmt.Sprintf("denied %s (%s)", d.Reason(show(x.Request.Action)), d.Source.Name)
	}
	return "denied " + d.Reason(show(x.Request.Action))
}

// statement names the statement that decided.
func (d *Decision) statement() string {
	s := fmt.Sprintf("statement %d", d.Statement+1)
	if d.Source.Policy != nil && d.Statement >= 0 && d.Statement < len(d.Source.Policy.doc.Statements) {
		if sid := d.Source.Policy.doc.Statements[d.Statement].Sid; sid != "" {
			s += " " + quote(sid)
		}
	}
	s += " of the " + d.Layer.String()
	if d.Source.Name != "" {
		s += " " + quote(d.Source.Name)
	}
	return s
}

// String returns the explanation as lines for people: what was asked and decided, then
// the statements by policy, those that matched with a plus sign.
func (x *Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s\nfor %s: %s\n", show(x.Request.Action), show(x.Request.Resource), x.Request.Caller.describe(), x.Summary())
	for i := range x.Considered {
		c := &x.Considered[i]
		if i == 0 || c.Layer != x.Considered[i-1].Layer || c.Source != x.Considered[i-1].Source || c.Statement <= 0 {
			fmt.Fprintf(&b, "\n%s %q\n", c.Layer, c.Source)
		}
		if c.Statement == none {
			fmt.Fprintf(&b, "  - %s\n", c.Why)
			continue
		}
		mark := '-'
		if c.Matched {
			mark = '+'
		}
		fmt.Fprintf(&b, "  %c statement %d", mark, c.Statement+1)
		if c.Sid != "" {
			fmt.Fprintf(&b, " %q", c.Sid)
		}
		fmt.Fprintf(&b, " (%s, line %d): %s\n", c.Effect, c.Position.Line, c.Why)
	}
	return b.String()
}
