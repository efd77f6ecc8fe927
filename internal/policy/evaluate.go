package policy

// none stands for a statement that there is not, granted for the Allow of a grant.
const none, granted = -1, -2

// Evaluate decides a request as AWS does. It may be called concurrently and does not
// change its arguments.
//
//   - A Deny that matches, in whichever policy, decides.
//   - Each guardrail must allow, the root of the account included.
//   - Within one account either the resource policy or the caller's own policies must
//     allow. The caller's own policies are the identity policies and, where there are
//     any, the boundary and the session policies, of which each kind must allow; the
//     root needs no identity policy. Whether boundary and session policies limit what
//     the resource policy allows depends on whom it names: see reach.
//   - Between accounts both sides must allow.
//   - Callers without an account have the resource policy alone.
//   - A grant counts as an Allow of the resource policy.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html
func Evaluate(req *Request, ps *Policies) Decision {
	e := evaluation{req: *req, boundary: ps.HasBoundary}
	d := e.decide(ps)
	e.finish()
	return d
}

// found is what one policy, or all of a layer, say.
type found struct {
	source    Source
	deny      int // index of the statement that denies, none without one
	allow     int
	how       reach // of the Allow
	unread    bool  // a policy that must be there is not
	unallowed bool  // for guardrails: source does not allow
}

func (f *found) decision(layer Layer, explicit bool) Decision {
	d := Decision{Layer: layer, Explicit: explicit, Source: f.source, Statement: f.deny}
	if !explicit {
		d.Allowed, d.Statement = true, max(f.allow, none)
	}
	return d
}

func missing(layer Layer, source Source) Decision {
	return Decision{Layer: layer, Source: source, Statement: none}
}

func (e *evaluation) decide(ps *Policies) Decision {
	// Every policy is searched for a Deny before a missing Allow counts. The order is the
	// one in which AWS documents the layers.
	guard := e.guardrails(ps.Guardrails)
	if guard.deny != none {
		return guard.decision(GuardrailLayer, true)
	}
	resource := found{deny: none, allow: none}
	if ps.Resource.Policy != nil {
		if resource = e.one(ps.Resource); resource.deny != none {
			return resource.decision(ResourceLayer, true)
		}
	}
	if how := ps.Grant.reach(); how > resource.how {
		resource.source, resource.allow, resource.how = Source{Name: ps.Grant.Name}, granted, how
	}
	var identity found
	if ps.Index.of(ps.Identity) {
		identity = e.anyIndexed(ps.Index)
	} else {
		identity = e.anyOf(ps.Identity)
	}
	if identity.deny != none {
		return identity.decision(IdentityLayer, true)
	}
	boundary := found{deny: none, allow: none}
	if ps.HasBoundary {
		if boundary = e.one(ps.Boundary); boundary.deny != none {
			return boundary.decision(BoundaryLayer, true)
		}
	}
	session := found{deny: none, allow: none}
	if ps.HasSession {
		if session = e.anyOf(ps.Session); session.deny != none {
			return session.decision(SessionLayer, true)
		}
	}

	// A policy that should be there and is not may have held a Deny.
	switch {
	case guard.unread:
		return missing(GuardrailLayer, guard.source)
	case identity.unread:
		return missing(IdentityLayer, identity.source)
	case boundary.unread:
		return missing(BoundaryLayer, boundary.source)
	case session.unread:
		return missing(SessionLayer, session.source)
	case guard.unallowed:
		return missing(GuardrailLayer, guard.source)
	}

	caller := &e.req.Caller
	own := caller.ofAWS() && caller.Account != "" && caller.Account == e.req.Account
	if resource.allow == none && (!own || e.req.ResourceDecides) {
		return missing(ResourceLayer, ps.Resource)
	}
	allowed := resource.decision(ResourceLayer, false)
	switch {
	case !caller.ofAWS(), own && resource.how == directly:
		return allowed
	case own && resource.how == byRole:
	default:
		switch {
		case caller.Kind == RootCaller:
			identity.source, identity.allow = Source{}, none
		case identity.allow == none:
			return missing(IdentityLayer, Source{})
		}
		if own {
			allowed = identity.decision(IdentityLayer, false)
		}
	}
	switch {
	case ps.HasBoundary && boundary.allow == none:
		return missing(BoundaryLayer, ps.Boundary)
	case ps.HasSession && session.allow == none:
		return missing(SessionLayer, Source{})
	}
	return allowed
}

// guardrails asks all guardrails, of which each must allow. Of several that do not,
// the first is named.
func (e *evaluation) guardrails(sources []Source) found {
	all := found{deny: none, allow: none}
	for _, s := range sources {
		f := e.one(s)
		if f.deny != none {
			return f
		}
		if f.unread && !all.unread || f.allow == none && !all.unread && !all.unallowed {
			all.source, all.unread, all.unallowed = s, f.unread, true
		}
	}
	return all
}

// anyOf asks policies of which one must allow.
func (e *evaluation) anyOf(sources []Source) found {
	all := found{deny: none, allow: none}
	for _, s := range sources {
		if s.Policy == nil {
			if !all.unread {
				all.source, all.unread = s, true
			}
			continue
		}
		f := found{source: s, deny: none, allow: none}
		e.search(s.Policy, &f, all.allow == none && !all.unread)
		if f.deny != none {
			return f
		}
		if f.allow != none {
			all = f
		}
	}
	return all
}

// one asks one policy.
func (e *evaluation) one(s Source) found {
	f := found{source: s, deny: none, allow: none, unread: s.Policy == nil}
	if !f.unread {
		e.search(s.Policy, &f, true)
	}
	return f
}

// search finds the first Deny of a policy that matches and, if it is wanted, the first
// of the Allows that name the caller most closely.
func (e *evaluation) search(c *Compiled, f *found, wantAllow bool) {
	e.begin(c)
	e.concerned(c, func(i int) { e.try(c, i, f, wantAllow) })
}

// concerned visits the statements of a policy that the action of the request may concern,
// in no order, and some of them more than once.
func (e *evaluation) concerned(c *Compiled, visit func(i int)) {
	service, name := e.action()
	if x := c.services[string(service)]; x != nil {
		for _, i := range x.exact[string(name)] {
			visit(int(i))
		}
		for i := range x.wild {
			if w := &x.wild[i]; w.name.matchBytes(name) {
				visit(int(w.statement))
			}
		}
	}
	for _, i := range c.rest {
		if !e.excepted(&c.statements[i]) {
			visit(int(i))
		}
	}
}

// try adds statement i of a policy, whose action matches, to what is found.
func (e *evaluation) try(c *Compiled, i int, f *found, wantAllow bool) {
	s := &c.statements[i]
	if s.deny {
		if (f.deny == none || i < f.deny) && e.reach(s) != notNamed && e.resource(s) && e.conditions(s) {
			f.deny = i
		}
		return
	}
	if !wantAllow {
		return
	}
	how := e.reach(s)
	if how == notNamed || f.allow != none && (how < f.how || how == f.how && i >= f.allow) {
		return
	}
	if e.resource(s) && e.conditions(s) {
		f.allow, f.how = i, how
	}
}
