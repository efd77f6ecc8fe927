package access

import (
	"context"
	"fmt"
	"strings"

	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// Who is the question who may do an action to a resource.
type Who struct {
	Action   string
	Resource string
	// Everywhere lists the principals of all accounts one by one. Without it, only those
	// of the account that owns the resource; of other accounts it is told whom the
	// resource's policy lets in, and nothing of their own policies.
	Everywhere bool
	After      string // position after which to go on; "" is the beginning
	Most       int    // grants
}

// Grant is one principal that may.
type Grant struct {
	Principal string // an ARN, "*" for everybody, the name of a service or a provider
	// Conditional: it depends on the request. Reason says on what of it.
	Conditional bool
	Reason      string
	Policy      string // that of the statement that allows; "" when there is none
	Statement   string
}

// Grants is one page of an answer.
type Grants struct {
	Action, Resource string
	List             []Grant
	Next             string // position for the next page; "" at the end
}

// maxAsked bounds how many principals are looked at for one page, so that a question
// nobody can be named for takes a bounded time. A page may be empty and not the last.
const maxAsked = 2000

// WhoCan lists who may do an action to a resource, roots of accounts included. It
// decides for each principal as Authorize does, on one state of the store.
func (s *Service) WhoCan(ctx context.Context, c *call.Call, w *Who) (g *Grants, err error) {
	err = s.cfg.Store.View(ctx, func(v *store.Snap) error {
		ck := s.check(v, c, w.Action, w.Resource)
		if ck.Account == "" {
			ck.Account = c.Caller.Account
		}
		// How a request names the secret is its own affair.
		ck.Keys = withoutKey(ck.Keys, "secretsmanager:SecretId")
		l := &lister{ctx: ctx, s: s, v: v, c: c, w: w, ck: &ck, out: &Grants{Action: ck.Action, Resource: ck.Resource}}
		l.run()
		g = l.out
		return ctx.Err()
	})
	return g, err
}

func withoutKey(keys []policy.ContextKey, name string) (out []policy.ContextKey) {
	for _, k := range keys {
		if !strings.EqualFold(k.Name, name) {
			out = append(out, k)
		}
	}
	return out
}

// lister goes through principals in the order of their positions: whom the resource's
// policy names, then account by account root, users and roles.
type lister struct {
	ctx   context.Context // of the one call
	s     *Service
	v     *store.Snap
	c     *call.Call
	w     *Who
	ck    *call.Check
	out   *Grants
	asked int
	last  string
}

func (l *lister) run() {
	for i, n := range l.subjects() {
		if !l.visit(fmt.Sprintf("!%06d", i), n.principal, n.own) {
			return
		}
	}
	l.s.cfg.IAM.Accounts(l.v, func(a *iam.Account) bool {
		if a.ID != l.ck.Account && (!l.w.Everywhere || l.ck.ResourcePolicy == "") {
			return true // nobody of that account can be allowed, or be shown
		}
		return l.account(a.ID)
	})
}

// account visits the principals of one account; false ends the page.
func (l *lister) account(id string) bool {
	if id+"\x04" <= l.w.After {
		return true
	}
	root := iam.RootPrincipal(id, "")
	if !l.visit(id+"\x01", &root, true) {
		return false
	}
	more := true
	l.s.cfg.IAM.Users(l.v, id, func(u *iam.User) bool {
		p := userPrincipal(u)
		more = l.visit(id+"\x02"+strings.ToLower(u.Name), &p, true)
		return more
	})
	if !more {
		return false
	}
	l.s.cfg.IAM.Roles(l.v, id, func(r *iam.Role) bool {
		p := rolePrincipal(r, anySession)
		more = l.visit(id+"\x03"+strings.ToLower(r.Name), &p, true)
		return more
	})
	return more
}

// visit asks about one principal unless an earlier page has; false ends this page.
func (l *lister) visit(position string, p *call.Principal, own bool) bool {
	if position <= l.w.After {
		return true
	}
	if l.ctx.Err() != nil {
		return false
	}
	if len(l.out.List) == l.w.Most || l.asked == maxAsked {
		l.out.Next = l.last
		return false
	}
	l.asked++
	l.last = position
	if g, ok := l.ask(p, own); ok {
		l.out.List = append(l.out.List, g)
	}
	return true
}

// ask decides for one principal. With own, its own policies count; otherwise only what
// the resource's policy says, and it remains open what they do.
func (l *lister) ask(p *call.Principal, own bool) (g Grant, ok bool) {
	s := l.s
	g.Principal = named(p)
	if d, is := s.serverDecision(l.v, p, l.ck.Action); is {
		g.Reason = d.only
		return g, d.Allowed
	}
	b := &bundle{identity: []policy.Source{{Policy: s.allowAll}}}
	if own {
		b = s.bundleOf(l.v, p)
	}
	if b.gone != "" {
		return g, false
	}
	r := new(request)
	s.fill(r, l.v, p, b, l.ck)
	r.facts.region = regionOf(l.ck.Resource, l.c.Region)
	know := knower{facts: &r.facts, anybody: p.ARN == "*"}
	r.request.Context = &know
	d := policy.Evaluate(&r.request, &r.policies)
	if know.open {
		// What was asked about the request is answered with "it has none", which may be
		// what lets it in or what keeps it out.
		generous := policy.Evaluate(&r.request, variantOf(&r.policies, know.known, true))
		if !generous.Allowed {
			return g, false
		}
		strict := policy.Evaluate(&r.request, variantOf(&r.policies, know.known, false))
		if d = generous; strict.Allowed {
			d = strict
		} else {
			g.Conditional = true
			g.Reason = requirements(&r.request, &r.policies, know.known)
		}
	}
	if !d.Allowed {
		return g, false
	}
	if g.Reason == "" {
		x := policy.Explanation{Decision: d, Request: r.request}
		g.Reason = x.Summary()
	}
	g.Policy, g.Statement = d.Source.Name, StatementName(d.Source, d.Statement)
	if !own && policyCaller(p).Account != "" {
		g.Conditional = true
		g.Reason += "; the policies of its own account decide as well"
	}
	return g, true
}

// named is how people know a principal.
func named(p *call.Principal) string {
	switch p.Type {
	case call.AWSService:
		return p.ID
	case call.WebIdentityUser:
		return p.Provider
	}
	return shownARN(p)
}

// subject is somebody whom the policy of a resource names.
type subject struct {
	principal *call.Principal
	own       bool // its own policies count
}

// subjects lists whom an Allow of the resource's policy names and nobody else on this
// page's list stands for, each once, in the order of the text.
func (l *lister) subjects() (list []subject) {
	src := l.s.resourceSource(l.ck, &call.Principal{}, "")
	if src.Policy == nil {
		return nil
	}
	seen := make(map[string]bool)
	add := func(p call.Principal, own bool) {
		if key := named(&p); !seen[key] {
			seen[key] = true
			list = append(list, subject{&p, own})
		}
	}
	doc := src.Policy.Document()
	for i := range doc.Statements {
		st := &doc.Statements[i]
		if st.Effect != policy.Allow || st.Principals == nil {
			continue
		}
		if st.Principals.Not {
			add(everybody(), false)
			continue
		}
		for j := range st.Principals.List {
			l.addNamed(&st.Principals.List[j], add)
		}
	}
	return list
}

// everybody is any principal of any account.
func everybody() call.Principal {
	return call.Principal{Type: call.Root, Account: "*", ID: "*", UniqueID: "*", ARN: "*"}
}

func (l *lister) addNamed(p *policy.Principal, add func(p call.Principal, own bool)) {
	visible := func(account string) bool { return l.w.Everywhere || account == l.ck.Account }
	switch p.Kind {
	case policy.Everyone, policy.AnyAWS:
		add(everybody(), false)
	case policy.Service:
		add(call.Principal{Type: call.AWSService, ID: p.Value}, true)
	case policy.Federated:
		add(call.Principal{Type: call.WebIdentityUser, Provider: p.Value}, true)
	case policy.Account:
		if !visible(p.ARN.Account) {
			add(iam.RootPrincipal(p.ARN.Account, ""), false)
		}
	case policy.UniqueID:
		uid, session, isSession := strings.Cut(p.Value, ":")
		if u := l.s.cfg.IAM.UserByID(l.v, uid); u != nil && !isSession && !visible(u.Account) {
			add(userPrincipal(u), false)
		}
		if r := l.s.cfg.IAM.RoleByID(l.v, uid); r != nil {
			switch {
			case isSession:
				add(rolePrincipal(r, session), visible(r.Account))
			case !visible(r.Account):
				add(rolePrincipal(r, anySession), false)
			}
		}
	}
}

// knower answers only what does not depend on the request, and notes when anything
// else was asked.
type knower struct {
	facts   *facts
	anybody bool // nothing is known of the principal either
	open    bool
}

// Lookup implements policy.Context.
func (k *knower) Lookup(dst []string, key string) ([]string, bool) {
	if !k.known(key) {
		k.open = true
		return dst, false
	}
	return k.facts.Lookup(dst, key)
}

// known reports whether a key, in lower case, is the same in every request of the
// principal for the resource.
func (k *knower) known(key string) bool {
	for _, prefix := range [...]string{"aws:resourcetag/", "secretsmanager:resourcetag/", "iam:resourcetag/"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	switch key {
	case "aws:resourceaccount", "aws:resourceorgid", "aws:requestedregion", "aws:viaawsservice", "secretsmanager:secretprimaryregion":
		return true
	}
	if k.anybody {
		return false
	}
	role := k.facts.caller.Type == call.AssumedRole
	if strings.HasPrefix(key, principalTag) {
		// A session may have tags of its own, which hide those of its role.
		return !role
	}
	switch key {
	case "aws:principalarn", "aws:principalaccount", "aws:principalorgid", "aws:principaltype", "aws:username",
		"aws:principalisawsservice", "aws:principalservicename", "aws:principalservicenameslist":
		return true
	case "aws:userid":
		return !role || k.facts.caller.Session.Name != anySession
	}
	return false
}
