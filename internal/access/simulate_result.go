package access

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/policy"
)

// simulationsPerPage is how many results an answer has unless told otherwise.
const simulationsPerPage = 100

// markerPurpose names the key in the store's keyring.
const markerPurpose = "page-token"

// page answers the pairs of action and resource from a marker on. The pairs are
// numbered: the marker is the number of the next one, sealed so that clients do not
// make them up, and good for a question of that many pairs.
func (sim *simulation) page(ctx context.Context, marker *string, maxItems *int32) (page []iamapi.EvaluationResult, truncated bool, next *string, err error) {
	total := len(sim.actions) * len(sim.resources)
	st := sim.s.cfg.Store
	ad := fmt.Appendf(nil, "simulate\x00%s\x00%s\x00%d\x00%d", sim.c.Op.Name, sim.c.Caller.Account, len(sim.actions), len(sim.resources))
	from := 0
	if marker != nil {
		sealed, err := base64.RawURLEncoding.Strict().DecodeString(*marker)
		if err != nil {
			return nil, false, nil, errMarker()
		}
		position, err := st.Unseal(markerPurpose, sealed, ad)
		if err != nil {
			return nil, false, nil, errMarker()
		}
		if from, err = strconv.Atoi(string(position.Bytes())); err != nil {
			return nil, false, nil, errMarker()
		}
	}
	most := simulationsPerPage
	if maxItems != nil {
		most = int(*maxItems)
	}
	to := min(from+most, total)
	page = []iamapi.EvaluationResult{}
	for i := from; i < to; i++ {
		if err := ctx.Err(); err != nil {
			return nil, false, nil, err
		}
		page = append(page, sim.result(sim.actions[i/len(sim.resources)], sim.resources[i%len(sim.resources)]))
	}
	if to == total {
		return page, false, nil, nil
	}
	sealed, err := st.Seal(markerPurpose, []byte(strconv.Itoa(to)), ad)
	if err != nil {
		return nil, false, nil, fmt.Errorf("seal marker: %w", err)
	}
	return page, true, new(base64.RawURLEncoding.EncodeToString(sealed)), nil
}

func errMarker() error { return iamapi.ValidationError.Errorf("The Marker value is invalid.") }

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
		if owner := accountIn(resource); owner != "" && sim.owner == "" {
			req.Account = owner
		} else if sim.owner != "" {
			req.Account = sim.owner
		}
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

func evalDecision(d *policy.Decision) string {
	switch {
	case d.Allowed:
		return "allowed"
	case d.Explicit:
		return "explicitDeny"
	}
	return "implicitDeny"
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
		start, end := c.Position, endOf(o.text, c.Position)
		list = append(list, iamapi.Statement{
			SourcePolicyId: &o.id, SourcePolicyType: &o.kind, StartPosition: shownPosition(start), EndPosition: shownPosition(end),
		})
	}
	return list
}

func shownPosition(p policy.Position) *iamapi.Position {
	return &iamapi.Position{Line: new(int32(p.Line)), Column: new(int32(p.Column))}
}

// endOf is the position of the brace that ends the object at start.
func endOf(text string, start policy.Position) policy.Position {
	at := policy.Position{Line: 1, Column: 1}
	depth, quoted, escaped := 0, false, false
	for _, c := range text {
		if at.Line > start.Line || at.Line == start.Line && at.Column >= start.Column {
			switch {
			case escaped:
				escaped = false
			case quoted && c == '\\':
				escaped = true
			case c == '"':
				quoted = !quoted
			case quoted:
			case c == '{':
				depth++
			case c == '}':
				if depth--; depth <= 0 {
					return at
				}
			}
		}
		at.Column++
		if c == '\n' {
			at = policy.Position{Line: at.Line + 1, Column: 1}
		}
	}
	return at
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
