package admin

import (
	"context"
	"errors"
	"regexp"

	"arca/internal/access"
	"arca/internal/api/arcaapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// actionForm is a whole action: what may be allowed, not a pattern for it.
var actionForm = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}:[0-9A-Za-z_.-]{1,64}$`)

func checkAction(action string) error {
	if !actionForm.MatchString(action) {
		return arcaapi.InvalidParameterException.Errorf("The action %q is not of the form service:Name, without wildcards.", action)
	}
	return nil
}

const onlyManagement = "because only the root of the management account may ask about another account"

// authorizeAbout asks whether the caller may ask about access at all, and then keeps
// him to his own account: policies of another account are that account's business.
// Only the root of the management account sees all. It reports whether that is he.
func (s *Service) authorizeAbout(ctx context.Context, c *call.Call, action string, owners func(v *store.Snap) []string) (all bool, err error) {
	if err := c.Authorize(ctx, &call.Check{Action: action, Resource: "*"}); err != nil {
		return false, err
	}
	err = s.store.View(ctx, func(v *store.Snap) error {
		if all = s.access.IsManagement(v, &c.Caller); all {
			return nil
		}
		for _, owner := range owners(v) {
			if owner != c.Caller.Account {
				c.NoteDenial(call.Denial{Action: action, Resource: "*", Reason: onlyManagement})
				return arcaapi.AccessDeniedException.Errorf("User: %s is not authorized to perform: %s about account %s %s",
					c.Caller.ARN, action, owner, onlyManagement)
			}
		}
		return nil
	})
	return all, err
}

// ExplainAccess tells whether a principal may do something, and what each statement of
// each policy that applies has to say about it.
func (s *Service) ExplainAccess(ctx context.Context, c *call.Call, in *arcaapi.ExplainAccessInput) (*arcaapi.ExplainAccessOutput, error) {
	name, nameErr := access.ParseName(in.Principal, c.Caller.Account)
	_, err := s.authorizeAbout(ctx, c, "arca:ExplainAccess", func(v *store.Snap) []string {
		owners := []string{s.access.ResourceAccount(v, c, in.Action, in.Resource)}
		if nameErr == nil {
			owners = append(owners, name.Account)
		}
		return owners
	})
	if err != nil {
		return nil, err
	}
	if nameErr != nil {
		return nil, arcaapi.InvalidParameterException.Errorf("The principal %q is %s.", in.Principal, nameErr)
	}
	if err := checkAction(in.Action); err != nil {
		return nil, err
	}
	q := access.Question{Principal: name, Action: in.Action, Resource: in.Resource}
	for _, e := range in.Context {
		q.Keys = append(q.Keys, policy.ContextKey{Name: e.Key, Values: e.Values})
	}
	a, err := s.access.Explain(ctx, c, &q)
	if errors.Is(err, access.ErrNoPrincipal) {
		return nil, arcaapi.NotFoundException.Errorf("There is no principal %s.", in.Principal)
	}
	if err != nil {
		return nil, err
	}
	return explained(a), nil
}

func explained(a *access.Answer) *arcaapi.ExplainAccessOutput {
	out := &arcaapi.ExplainAccessOutput{
		Principal: &a.Principal, Action: &a.Request.Action, Resource: &a.Request.Resource,
		Decision: new(decisionWord(&a.Decision)), Reason: new(a.Reason()),
		Statements: make([]arcaapi.ConsideredStatement, 0, len(a.Considered)),
	}
	if a.Decision.Source.Name != "" {
		out.Policy = &a.Decision.Source.Name
	}
	if st := access.StatementName(a.Decision.Source, a.Decision.Statement); st != "" {
		out.Statement = &st
	}
	for i := range a.Considered {
		c := &a.Considered[i]
		st := arcaapi.ConsideredStatement{
			Layer: new(c.Layer.String()), Policy: &c.Source, Matched: &c.Matched, Why: &c.Why,
			Decided: new(a.Decides(c)),
		}
		if c.Statement >= 0 {
			st.Number, st.Line, st.Effect = new(int32(c.Statement+1)), new(int32(c.Position.Line)), new(string(c.Effect))
		}
		if c.Sid != "" {
			st.Sid = &c.Sid
		}
		out.Statements = append(out.Statements, st)
	}
	return out
}

func decisionWord(d *policy.Decision) string {
	switch {
	case d.Allowed:
		return "allowed"
	case d.Explicit:
		return "explicitDeny"
	}
	return "implicitDeny"
}

// grantsPerPage is how many grants WhoCan returns unless told otherwise.
const grantsPerPage = 100

// WhoCan lists who may do an action to a resource.
func (s *Service) WhoCan(ctx context.Context, c *call.Call, in *arcaapi.WhoCanInput) (*arcaapi.WhoCanOutput, error) {
	all, err := s.authorizeAbout(ctx, c, "arca:WhoCan", func(v *store.Snap) []string {
		return []string{s.access.ResourceAccount(v, c, in.Action, in.Resource)}
	})
	if err != nil {
		return nil, err
	}
	if err := checkAction(in.Action); err != nil {
		return nil, err
	}
	asked := question("WhoCan", c.Caller.Account, c.Region, in.Action, in.Resource)
	after, err := s.openPage(in.NextToken, asked)
	if err != nil {
		return nil, err
	}
	w := access.Who{Action: in.Action, Resource: in.Resource, Everywhere: all, After: after, Most: grantsPerPage}
	if in.MaxResults != nil {
		w.Most = int(*in.MaxResults)
	}
	g, err := s.access.WhoCan(ctx, c, &w)
	if err != nil {
		return nil, err
	}
	out := &arcaapi.WhoCanOutput{Action: &g.Action, Resource: &g.Resource, Grants: make([]arcaapi.Grant, 0, len(g.List))}
	for i := range g.List {
		out.Grants = append(out.Grants, shownGrant(&g.List[i]))
	}
	out.NextToken, err = s.sealPage(g.Next, asked)
	return out, err
}

func shownGrant(g *access.Grant) arcaapi.Grant {
	out := arcaapi.Grant{Principal: &g.Principal, Allowed: new("yes"), Reason: &g.Reason}
	if g.Conditional {
		out.Allowed = new("conditional")
	}
	if g.Policy != "" {
		out.Policy = &g.Policy
	}
	if g.Statement != "" {
		out.Statement = &g.Statement
	}
	return out
}
