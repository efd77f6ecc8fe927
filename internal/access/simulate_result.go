package access

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/paging"
	"arca/internal/policy"
)

const (
	// simulationsPerPage is how many results, one for each action, an answer has unless
	// told otherwise.
	simulationsPerPage = 100
	// pairsPerPage is how many pairs of action and resource an answer may have before it
	// ends with the action at hand.
	pairsPerPage = 1000
	// bytesPerPage bounds the policies that are read for an answer, each as often as there
	// are pairs, and namedPerPage the statements and condition keys that it can name.
	bytesPerPage = 64 << 20
	namedPerPage = 200_000
)

// atOnce is how many pairs of action and resource an answer may have, given how much
// there is to look at for each.
func (sim *simulation) atOnce() int {
	return min(bytesPerPage/max(1, sim.bytes), namedPerPage/(1+len(sim.origins)+len(sim.keys)))
}

// page answers the actions from a marker on. The marker is the number of the next one,
// sealed so that clients do not make them up, and good for a question of that many
// actions and resources.
func (sim *simulation) page(ctx context.Context, marker *string, maxItems *int32) (page []iamapi.EvaluationResult, truncated bool, next *string, err error) {
	total := len(sim.actions)
	st := sim.s.cfg.Store
	question := paging.QuestionOf(sim.c.Op.Name, sim.c.Caller.Account, strconv.Itoa(total), strconv.Itoa(len(sim.resources)))
	from := 0
	if marker != nil {
		position, err := paging.Open(st, question, *marker)
		if err == nil {
			from, err = strconv.Atoi(position)
		}
		if err != nil {
			return nil, false, nil, iamapi.ValidationError.Wrap(err, "The Marker value is invalid.")
		}
	}
	most := simulationsPerPage
	if maxItems != nil {
		most = int(*maxItems)
	}
	page = []iamapi.EvaluationResult{}
	at := from
	for ; at < total && len(page) < most && len(page)*len(sim.resources) < pairsPerPage; at++ {
		if len(page) > 0 && (len(page)+1)*len(sim.resources) > sim.atOnce() {
			break
		}
		result, err := sim.action(ctx, sim.actions[at])
		if err != nil {
			return nil, false, nil, err
		}
		page = append(page, result)
	}
	if at >= total {
		return page, false, nil, nil
	}
	token, err := paging.Seal(st, question, strconv.Itoa(at))
	if err != nil {
		return nil, false, nil, err
	}
	return page, true, &token, nil
}

// action answers one action, as AWS does: with the results of the resources that were
// named in ResourceSpecificResults. The result of a single resource is that of the action
// as well. Of several, the action has the strictest decision and no statements.
func (sim *simulation) action(ctx context.Context, action string) (whole iamapi.EvaluationResult, err error) {
	specific := make([]iamapi.ResourceSpecificResult, 0, len(sim.resources))
	for i, resource := range sim.resources {
		if err := ctx.Err(); err != nil {
			return whole, err // nobody waits any more
		}
		r := sim.result(action, resource)
		specific = append(specific, iamapi.ResourceSpecificResult{
			EvalResourceName: resource, EvalResourceDecision: r.EvalDecision,
			MatchedStatements: r.MatchedStatements, MissingContextValues: r.MissingContextValues,
			EvalDecisionDetails: r.EvalDecisionDetails, PermissionsBoundaryDecisionDetail: r.PermissionsBoundaryDecisionDetail,
		})
		if i == 0 {
			whole = r
			continue
		}
		whole = iamapi.EvaluationResult{
			EvalActionName: action, EvalResourceName: new("*"), EvalDecision: strictest(whole.EvalDecision, r.EvalDecision),
			MatchedStatements: []iamapi.Statement{}, MissingContextValues: union(whole.MissingContextValues, r.MissingContextValues),
			OrganizationsDecisionDetail: bothOrganizations(whole.OrganizationsDecisionDetail, r.OrganizationsDecisionDetail),
		}
	}
	if len(specific) > 1 || sim.resources[0] != "*" {
		whole.ResourceSpecificResults = specific
	}
	return whole, nil
}

// strictest is the decision of two that allows less.
func strictest(a, b string) string {
	for _, d := range []string{explicitDeny, implicitDeny} {
		if a == d || b == d {
			return d
		}
	}
	return allowed
}

// union adds to a what only b has.
func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(slices.Clip(a), s) // a may be shared
		}
	}
	return a
}

// bothOrganizations says whether the guardrails allow both of two, nil where there are
// none.
func bothOrganizations(a, b *iamapi.OrganizationsDecisionDetail) *iamapi.OrganizationsDecisionDetail {
	if a == nil || b == nil {
		return nil
	}
	return &iamapi.OrganizationsDecisionDetail{AllowedByOrganizations: new(*a.AllowedByOrganizations && *b.AllowedByOrganizations)}
}

// result decides one pair.
func (sim *simulation) result(action, resource string) iamapi.EvaluationResult {
	req, ps := sim.request(action, resource)
	x := policy.Explain(req, ps)
	out := iamapi.EvaluationResult{
		EvalActionName: action, EvalResourceName: &resource, EvalDecision: evalDecision(&x.Decision),
		MatchedStatements: sim.matched(&x), MissingContextValues: sim.missing(req),
	}
	if len(ps.Guardrails) > 0 {
		alone := policy.Evaluate(ownRequest(req), &policy.Policies{Guardrails: ps.Guardrails, Identity: sim.anything()})
		out.OrganizationsDecisionDetail = &iamapi.OrganizationsDecisionDetail{AllowedByOrganizations: &alone.Allowed}
	}
	if ps.HasBoundary {
		alone := policy.Evaluate(ownRequest(req), &policy.Policies{HasBoundary: true, Boundary: ps.Boundary, Identity: sim.anything()})
		out.PermissionsBoundaryDecisionDetail = &iamapi.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: &alone.Allowed}
	}
	if req.Account != req.Caller.Account && !(x.Decision.Layer == policy.GuardrailLayer && !x.Decision.Allowed) {
		own := policy.Evaluate(ownRequest(req), &policy.Policies{HasBoundary: ps.HasBoundary, Boundary: ps.Boundary, Identity: ps.Identity})
		theirs := policy.Evaluate(req, &policy.Policies{Resource: ps.Resource, Identity: sim.anything()})
		out.EvalDecisionDetails = map[string]string{
			iamPolicyType: evalDecision(&own), resourcePolicyType: evalDecision(&theirs),
		}
	}
	return out
}

// anything stands in for identity policies that are not to be looked at.
func (sim *simulation) anything() []policy.Source { return []policy.Source{{Policy: sim.s.allowAll}} }

// ownRequest is a request for a resource of the caller's own account.
func ownRequest(req *policy.Request) *policy.Request {
	own := *req
	own.Account, own.ResourceDecides = req.Caller.Account, false
	return &own
}

// request is the question about one pair. Without a resource policy or an owner only
// the caller's own side is simulated, whoever owns the resource.
func (sim *simulation) request(action, resource string) (*policy.Request, *policy.Policies) {
	req := &policy.Request{Action: action, Resource: resource, Caller: sim.policy, Account: sim.policy.Account}
	if sim.policies.Resource.Policy != nil || sim.owner != "" {
		req.Account = cmp.Or(sim.owner, accountIn(resource), req.Account)
	}
	f := sim.facts
	f.caller, f.resourceAccount = &sim.caller, req.Account
	req.Context = &f
	ps := sim.policies
	if sim.decides {
		// A trust policy decides about assuming the role and nothing else.
		if req.ResourceDecides = assumesRole(action); !req.ResourceDecides {
			ps.Resource = policy.Source{}
		}
	}
	return req, &ps
}

// Decisions in AWS's words.
const (
	allowed      = iamapi.PolicyEvaluationDecisionTypeAllowed
	explicitDeny = iamapi.PolicyEvaluationDecisionTypeExplicitDeny
	implicitDeny = iamapi.PolicyEvaluationDecisionTypeImplicitDeny
)

func evalDecision(d *policy.Decision) string {
	switch {
	case d.Allowed:
		return allowed
	case d.Explicit:
		return explicitDeny
	}
	return implicitDeny
}

// matched lists the statements that determine the result: the Deny statements, or
// else the Allow statements of a request that is allowed.
func (sim *simulation) matched(x *policy.Explanation) []iamapi.Statement {
	list := []iamapi.Statement{}
	effect := policy.Allow
	switch {
	case x.Decision.Explicit:
		effect = policy.Deny
	case !x.Decision.Allowed:
		return list
	}
	skip := len(sim.origins) - len(x.Considered) // a trust policy that was left out
	for i := range x.Considered {
		c := &x.Considered[i]
		if !c.Matched || c.Effect != effect || c.Layer == policy.GuardrailLayer && effect == policy.Allow {
			continue
		}
		at := i
		if c.Layer != policy.GuardrailLayer {
			at += skip
		}
		o := sim.origins[at]
		start, end := c.Position, sim.endOf(o.text, c.Position)
		list = append(list, iamapi.Statement{
			SourcePolicyId: &o.id, SourcePolicyType: &o.kind, StartPosition: shownPosition(start), EndPosition: shownPosition(end),
		})
	}
	return list
}

func shownPosition(p policy.Position) *iamapi.Position {
	return &iamapi.Position{Line: new(int32(p.Line)), Column: new(int32(p.Column))}
}

// objectEnds tells of every object in a text of JSON, by where its opening brace is, the
// position after its closing one, which is where AWS's answers have the end. It reads the
// text once: a policy can have a thousand statements.
func objectEnds(text string) map[policy.Position]policy.Position {
	ends := make(map[policy.Position]policy.Position)
	var open []policy.Position
	at := policy.Position{Line: 1, Column: 1}
	quoted, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			open = append(open, at)
		case c == '}' && len(open) > 0:
			ends[open[len(open)-1]] = policy.Position{Line: at.Line, Column: at.Column + 1}
			open = open[:len(open)-1]
		}
		at.Column++
		if c == '\n' {
			at = policy.Position{Line: at.Line + 1, Column: 1}
		}
	}
	return ends
}

// endOf is where a statement of a policy ends.
func (sim *simulation) endOf(text string, start policy.Position) policy.Position {
	ends, known := sim.ends[text]
	if !known {
		ends = objectEnds(text)
		if sim.ends == nil {
			sim.ends = make(map[string]map[policy.Position]policy.Position)
		}
		sim.ends[text] = ends
	}
	return ends[start]
}

// missing lists the condition keys that the policies refer to and the request does not
// have.
func (sim *simulation) missing(req *policy.Request) []string {
	out := []string{}
	for _, key := range sim.keys {
		if _, ok := req.Context.Lookup(nil, strings.ToLower(key)); !ok {
			out = append(out, key)
		}
	}
	return out
}
