package access

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// Finder looks up a resource that somebody asks about, by ARN or by name, as a request
// of c would. ck is a question about it without an action; found tells whether it is
// there: if not, ck is about what it would be. It decides nothing.
type Finder func(v *store.Snap, c *call.Call, resource string) (ck call.Check, found bool)

// Question is what somebody wants to have explained.
type Question struct {
	Principal Name
	Action    string
	Resource  string // an ARN, "*", or what a Finder knows
	// Keys are condition keys that the request is to have. They come before those that
	// the principal and the resource give.
	Keys []policy.ContextKey
}

// Answer is a decision with its reasons.
type Answer struct {
	policy.Explanation
	Principal string // ARN
	// Only says who may, for actions that are no matter of policies.
	Only string
}

// Reason tells in one sentence what decided.
func (a *Answer) Reason() string {
	switch {
	case a.Only == "":
		return a.Summary()
	case a.Decision.Allowed:
		return "allowed " + a.Only
	}
	return "denied " + a.Only
}

// Decides reports whether a considered statement is the one that decided.
func (a *Answer) Decides(c *policy.Considered) bool {
	d := &a.Decision
	return d.Statement >= 0 && c.Statement == d.Statement && c.Layer == d.Layer && c.Source == d.Source.Name
}

// Explain tells what the decision on a question would be, and why. The request it
// thinks of has no connection: aws:SourceIp and its like are absent unless they are
// among the keys. The error is ErrNoPrincipal, or the store's.
func (s *Service) Explain(ctx context.Context, c *call.Call, q *Question) (a *Answer, err error) {
	err = s.cfg.Store.View(ctx, func(v *store.Snap) error {
		a, err = s.explainOn(v, c, q)
		return err
	})
	return a, err
}

func (s *Service) explainOn(v *store.Snap, c *call.Call, q *Question) (*Answer, error) {
	p, err := s.principal(v, q.Principal)
	if err != nil {
		return nil, err
	}
	ck := s.check(v, c, q.Action, q.Resource)
	a := &Answer{Principal: shownARN(&p)}
	a.Request = policy.Request{Action: ck.Action, Resource: ck.Resource, Caller: policyCaller(&p)}
	if d, ok := s.serverDecision(v, &p, q.Action); ok {
		a.Decision, a.Only = d.Decision, d.only
		return a, nil
	}
	b := s.bundleOf(v, &p)
	if b.gone != "" {
		return nil, fmt.Errorf("%w: %s", ErrNoPrincipal, b.gone)
	}
	ck.Keys = override(ck.Keys, q.Keys)
	ck.ResourcePolicy = s.shownPolicy(v, ck.ResourcePolicy)
	r := new(request) // explanations keep what they are given
	s.fill(r, v, &p, b, &ck)
	r.facts.ofQuestion(c, &ck)
	a.Explanation = policy.Explain(&r.request, &r.policies)
	return a, nil
}

// shownPolicy is a resource policy with the ARNs of principals that are stored by their
// unique ids, as far as they exist. It means the same, and people can read it.
func (s *Service) shownPolicy(v *store.Snap, stored string) string {
	if stored == "" {
		return ""
	}
	shown, err := policy.Rewrite(stored, func(p policy.Principal) (string, bool) { return s.cfg.IAM.ShowPrincipal(v, p) })
	if err != nil {
		return stored
	}
	return shown
}

// ofQuestion adds the time and the region of a request that nobody has sent.
func (f *facts) ofQuestion(c *call.Call, ck *call.Check) {
	f.now, f.region = c.Now, regionOf(ck.Resource, c.Region)
}

// regionOf is the region of a resource, or the one given where it has none.
func regionOf(resource, otherwise string) string {
	if a, err := arn.Parse(resource); err == nil && a.Region != "" {
		return a.Region
	}
	return otherwise
}

// override puts given keys in front and drops those that they stand in for.
func override(keys, given []policy.ContextKey) []policy.ContextKey {
	all := slices.Clone(given)
	for _, k := range keys {
		if !slices.ContainsFunc(given, func(g policy.ContextKey) bool { return strings.EqualFold(g.Name, k.Name) }) {
			all = append(all, k)
		}
	}
	return all
}

// check is the question that an operation would ask about a resource, as far as it
// can be told without the request: whose it is, its policy and its tags.
func (s *Service) check(v *store.Snap, c *call.Call, action, resource string) call.Check {
	service, _, _ := strings.Cut(action, ":")
	ours := strings.EqualFold(service, "iam") || strings.EqualFold(service, "sts")
	switch {
	case resource == "*":
		return call.Check{Action: action, Resource: "*"}
	case ours || strings.HasPrefix(resource, "arn:aws:iam::"):
		return s.iamCheck(v, c, action, resource)
	case s.cfg.Find != nil:
		if ck, found := s.cfg.Find(v, c, resource); found || !arn.IsARN(resource) {
			ck.Action = action
			return ck
		}
	}
	return call.Check{Action: action, Resource: resource, Account: accountIn(resource)}
}

// accountIn is the account in an ARN; "" without one.
func accountIn(resource string) string {
	a, err := arn.Parse(resource)
	if err != nil || !arn.ValidAccount(a.Account) {
		return ""
	}
	return a.Account
}

// iamCheck is the question about a user or role, given by ARN or as "user/NAME" or
// "role/NAME".
func (s *Service) iamCheck(v *store.Snap, c *call.Call, action, resource string) call.Check {
	ck := call.Check{Action: action, Resource: resource, Account: accountIn(resource)}
	n, err := ParseName(resource, c.Caller.Account)
	if err != nil {
		return ck
	}
	tag := func(key, value string) {
		ck.Keys = append(ck.Keys,
			policy.ContextKey{Name: "aws:ResourceTag/" + key, Values: []string{value}},
			policy.ContextKey{Name: "iam:ResourceTag/" + key, Values: []string{value}})
	}
	switch n.kind {
	case call.IAMUser:
		if u := s.cfg.IAM.User(v, n.Account, n.name); u != nil && (n.arn == "" || n.arn == u.ARN()) {
			ck.Resource, ck.Account = u.ARN(), u.Account
			for _, t := range u.Tags {
				tag(t.Key, t.Value)
			}
		}
	case call.AssumedRole:
		assumes := assumesRole(action)
		if r := s.cfg.IAM.Role(v, n.Account, n.name); r != nil && (n.arn == "" || n.arn == r.ARN()) {
			ck.Resource, ck.Account = r.ARN(), r.Account
			for _, t := range r.Tags {
				tag(t.Key, t.Value)
			}
			if assumes {
				ck.ResourcePolicy = r.Trust
			}
		}
		ck.ResourceDecides = assumes
	}
	if n.arn == "" && ck.Resource == resource {
		// It is not there: what it would be without a path.
		ck.Resource, ck.Account = wouldBeARN(n), n.Account
	}
	return ck
}

// wouldBeARN is the ARN of a principal that does not exist.
func wouldBeARN(n Name) string {
	switch n.kind {
	case call.Root:
		return iam.RootARN(n.Account)
	case call.IAMUser:
		return "arn:aws:iam::" + n.Account + ":user/" + n.name
	}
	return "arn:aws:iam::" + n.Account + ":role/" + n.name
}

// assumesRole reports whether the trust policy of a role decides on an action.
func assumesRole(action string) bool {
	for _, a := range [...]string{"sts:AssumeRole", "sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"} {
		if strings.EqualFold(action, a) {
			return true
		}
	}
	return false
}

// ResourceAccount is the account that owns a resource somebody asks about: the
// caller's, when the resource does not tell.
func (s *Service) ResourceAccount(v *store.Snap, c *call.Call, action, resource string) string {
	if a := s.check(v, c, action, resource).Account; a != "" {
		return a
	}
	return c.Caller.Account
}
