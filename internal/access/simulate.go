package access

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// Register makes the dispatcher serve the operations of IAM that simulate decisions.
func (s *Service) Register(d *call.Dispatcher) {
	call.Register(d, iamapi.OpSimulateCustomPolicy, s.SimulateCustomPolicy)
	call.Register(d, iamapi.OpSimulatePrincipalPolicy, s.SimulatePrincipalPolicy)
}

// What a simulation is made of, as AWS names it in the answer.
const (
	identityInput = "PolicyInputList"
	boundaryInput = "PermissionsBoundaryPolicyInputList"
	guardInput    = "OrderedOrganizationPolicyInputList"
	resourceInput = "ResourcePolicy"

	iamPolicyType      = "IAM Policy"
	resourcePolicyType = "Resource Policy"
)

// maxSimulations bounds how many pairs of action and resource one question may have.
const maxSimulations = 10_000

// maxSimulatedValue is how long a value of a condition key may be: as long as the
// longest that requests have.
const maxSimulatedValue = 2048

// simulation is a question that is the same for every action and resource in it.
type simulation struct {
	s      *Service
	c      *call.Call
	caller call.Principal // of no kind when nobody is named
	policy policy.Caller
	facts  facts
	// owner owns resources, "" for whoever the caller is.
	owner     string
	actions   []string
	resources []string
	policies  policy.Policies
	// origins tell of each statement, in the order in which Explain considers them, where
	// it comes from.
	origins []origin
	// decides: the resource policy is the trust policy of a role.
	decides bool
	keys    []string // that the policies refer to
	bytes   int      // of all policies
	// ends are objectEnds of their texts, once they were asked for.
	ends map[string]map[policy.Position]policy.Position
}

// origin is where a statement comes from, and the text it stands in.
type origin struct{ id, kind, text string }

// simulatedPolicy is one policy of a simulation.
type simulatedPolicy struct {
	policy *policy.Compiled
	origin
}

// simulationInput has the members that both operations share.
type simulationInput struct {
	actions, resources            []string
	resourcePolicy, owner, caller *string
	entries                       []iamapi.ContextEntry
	handling                      *string
}

// SimulateCustomPolicy tells how policies that the request holds would decide. Of what
// is stored it looks at the user of CallerArn alone, for the unique id.
func (s *Service) SimulateCustomPolicy(ctx context.Context, c *call.Call, in *iamapi.SimulateCustomPolicyInput) (*iamapi.SimulateCustomPolicyOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "iam:SimulateCustomPolicy", Resource: "*"}); err != nil {
		return nil, err
	}
	sim := &simulation{s: s, c: c}
	sim.facts = facts{now: c.Now, region: c.Region, organization: s.cfg.OrganizationID}
	identity, err := s.inputPolicies(identityInput, in.PolicyInputList)
	if err != nil {
		return nil, err
	}
	boundary, err := s.inputPolicies(boundaryInput, in.PermissionsBoundaryPolicyInputList)
	if err != nil {
		return nil, err
	}
	guardrails, err := s.guardrailInput(in.OrderedOrganizationPolicyInputList)
	if err != nil {
		return nil, err
	}
	shared := &simulationInput{in.ActionNames, in.ResourceArns, in.ResourcePolicy, in.ResourceOwner, in.CallerArn, in.ContextEntries, in.ResourceHandlingOption}
	if err := sim.prepare(ctx, shared, nil); err != nil {
		return nil, err
	}
	if err := sim.gather(guardrails, identity, boundary, shared.resourcePolicy); err != nil {
		return nil, err
	}
	page, truncated, marker, err := sim.page(ctx, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iamapi.SimulateCustomPolicyOutput{EvaluationResults: page, IsTruncated: &truncated, Marker: marker}, nil
}

// SimulatePrincipalPolicy tells how the policies of a user, group or role of the
// caller's account would decide, with further ones that the request may hold.
func (s *Service) SimulatePrincipalPolicy(ctx context.Context, c *call.Call, in *iamapi.SimulatePrincipalPolicyInput) (*iamapi.SimulatePrincipalPolicyOutput, error) {
	sim := &simulation{s: s, c: c}
	shared := &simulationInput{in.ActionNames, in.ResourceArns, in.ResourcePolicy, in.ResourceOwner, in.CallerArn, in.ContextEntries, in.ResourceHandlingOption}
	var src *principalSource
	err := s.cfg.Store.View(ctx, func(v *store.Snap) error {
		ck := s.iamCheck(v, c, "iam:SimulatePrincipalPolicy", in.PolicySourceArn)
		if ck.Account != c.Caller.Account {
			// What others have tagged decides nothing here.
			ck.Account, ck.Keys = c.Caller.Account, nil
		}
		ck.Snap = v
		if err := c.Authorize(ctx, &ck); err != nil {
			return err
		}
		var err error
		src, err = s.principalSource(v, c, in.PolicySourceArn, in.PolicyExclusionList)
		return err
	})
	if err != nil {
		return nil, err
	}
	identity, err := s.inputPolicies(identityInput, in.PolicyInputList)
	if err != nil {
		return nil, err
	}
	boundary, err := s.inputPolicies(boundaryInput, in.PermissionsBoundaryPolicyInputList)
	if err != nil {
		return nil, err
	}
	if len(boundary) == 0 {
		boundary = src.boundary
	}
	sim.facts = facts{tags: src.tags, now: c.Now, region: c.Region, organization: s.cfg.OrganizationID}
	if err := sim.prepare(ctx, shared, src); err != nil {
		return nil, err
	}
	if err := sim.gather(src.guardrails, append(src.identity, identity...), boundary, shared.resourcePolicy); err != nil {
		return nil, err
	}
	page, truncated, marker, err := sim.page(ctx, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iamapi.SimulatePrincipalPolicyOutput{EvaluationResults: page, IsTruncated: &truncated, Marker: marker}, nil
}

// inputPolicies parses a list of identity policies of the request.
func (s *Service) inputPolicies(list string, texts []string) (out []simulatedPolicy, err error) {
	if list == boundaryInput && len(texts) > 1 {
		return nil, iamapi.InvalidInput.Errorf("You can specify only one permissions boundary policy.")
	}
	for i, text := range texts {
		id := list + "." + strconv.Itoa(i+1)
		p, err := s.policies.Identity(text)
		if err != nil {
			return nil, iamapi.InvalidInput.Wrap(err, "Invalid policy "+id+": "+err.Error())
		}
		out = append(out, simulatedPolicy{p, origin{id, iamPolicyType, text}})
	}
	return out, nil
}

// guardrailInput parses the service control policies of the levels of an
// organization. On each level one of the policies must allow, so they act as one.
func (s *Service) guardrailInput(levels []iamapi.OrderedOrganizationPolicyType) (out [][]simulatedPolicy, err error) {
	for i, level := range levels {
		list, err := s.inputPolicies(guardInput+"."+strconv.Itoa(i+1), level.ServiceControlPolicyInputList)
		if err != nil {
			return nil, err
		}
		out = append(out, list)
	}
	return out, nil
}

var simulatedAction = regexp.MustCompile(`^[0-9A-Za-z-]+:[0-9A-Za-z]+$`)

// prepare reads what both operations share. src is nil for custom policies.
func (sim *simulation) prepare(ctx context.Context, in *simulationInput, src *principalSource) error {
	if in.handling != nil {
		return iamapi.InvalidInput.Errorf("ResourceHandlingOption %s is about EC2 instances, which are not simulated here.", *in.handling)
	}
	for _, a := range in.actions {
		if !simulatedAction.MatchString(a) {
			return iamapi.InvalidInput.Errorf("Invalid Action Name: %s", a)
		}
	}
	if sim.resources = in.resources; len(sim.resources) == 0 {
		sim.resources = []string{"*"}
	}
	for _, r := range sim.resources {
		if _, err := arn.Parse(r); err != nil && r != "*" {
			return iamapi.InvalidInput.Errorf("Invalid Resource ARN: %s", r)
		}
	}
	sim.actions = in.actions
	if len(sim.actions)*len(sim.resources) > maxSimulations {
		return iamapi.InvalidInput.Errorf("There are more than %d pairs of action and resource to simulate.", maxSimulations)
	}
	if in.owner != nil {
		owner := accountIn(*in.owner)
		if arn.ValidAccount(*in.owner) {
			owner = *in.owner
		}
		if owner == "" {
			return iamapi.InvalidInput.Errorf("Invalid Resource Owner: %s", *in.owner)
		}
		sim.owner = owner
	}
	if err := sim.readKeys(in.entries); err != nil {
		return err
	}
	return sim.readCaller(ctx, in, src)
}

// readCaller finds who the simulated caller is.
func (sim *simulation) readCaller(ctx context.Context, in *simulationInput, src *principalSource) error {
	if in.resourcePolicy != nil && in.caller == nil && (src == nil || src.caller.Type != call.IAMUser) {
		return iamapi.InvalidInput.Errorf("CallerArn is required when a ResourcePolicy is specified.")
	}
	switch {
	case in.caller != nil:
		n, err := ParseName(*in.caller, sim.c.Caller.Account)
		if err != nil || n.kind != call.IAMUser || n.arn == "" {
			return iamapi.InvalidInput.Errorf("Invalid Caller ARN: %s. It must be the ARN of an IAM user.", *in.caller)
		}
		sim.caller = call.Principal{Type: call.IAMUser, Account: n.Account, ARN: n.arn, UserName: n.name}
		// Policies may name a user of this account by its unique id.
		if n.Account == sim.c.Caller.Account {
			err := sim.s.cfg.Store.View(ctx, func(v *store.Snap) error {
				if u := sim.s.cfg.IAM.User(v, n.Account, n.name); u != nil && u.ARN() == n.arn {
					sim.caller = userPrincipal(u)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	case src != nil:
		sim.caller = src.caller
	}
	sim.policy = policyCaller(&sim.caller)
	if sim.caller.Type == "" {
		// Nobody is named: a user of whichever account owns the resource, or a member of
		// the group.
		sim.policy = policy.Caller{Kind: policy.UserCaller, Account: sim.c.Caller.Account}
	}
	return nil
}

// readKeys reads the condition keys of the request.
func (sim *simulation) readKeys(entries []iamapi.ContextEntry) error {
	for _, e := range entries {
		if e.ContextKeyName == nil || len(e.ContextKeyValues) == 0 {
			return iamapi.InvalidInput.Errorf("A context entry needs a name and values.")
		}
		for _, v := range e.ContextKeyValues {
			if len(v) > maxSimulatedValue {
				return iamapi.InvalidInput.Errorf("A value of context key %s is longer than %d bytes.", *e.ContextKeyName, maxSimulatedValue)
			}
		}
		if e.ContextKeyType != nil && !strings.HasSuffix(*e.ContextKeyType, "List") && len(e.ContextKeyValues) > 1 {
			return iamapi.InvalidInput.Errorf("Context key %s is of type %s and has more than one value.", *e.ContextKeyName, *e.ContextKeyType)
		}
		sim.facts.keys = append(sim.facts.keys, policy.ContextKey{Name: *e.ContextKeyName, Values: e.ContextKeyValues})
	}
	return nil
}

// gather puts the policies together.
func (sim *simulation) gather(guardrails [][]simulatedPolicy, identity, boundary []simulatedPolicy, resource *string) error {
	for _, level := range guardrails {
		sim.policies.Guardrails = append(sim.policies.Guardrails, sim.level(level))
	}
	if resource != nil {
		src, decides, err := sim.s.resourceInput(*resource)
		if err != nil {
			return err
		}
		sim.decides = decides
		sim.policies.Resource = sim.add(src)
	}
	for _, p := range identity {
		sim.policies.Identity = append(sim.policies.Identity, sim.add(p))
	}
	if len(boundary) > 0 {
		sim.policies.HasBoundary, sim.policies.Boundary = true, sim.add(boundary[0])
	}
	slices.Sort(sim.keys)
	sim.keys = slices.CompactFunc(sim.keys, strings.EqualFold)
	if most := sim.atOnce(); len(sim.resources) > most {
		return iamapi.InvalidInput.Errorf("With policies of this size, at most %d resources can be simulated at a time.", most)
	}
	return nil
}

// resourceInput parses the resource policy of a request, which may be the trust policy
// of a role.
func (s *Service) resourceInput(text string) (p simulatedPolicy, trust bool, err error) {
	o := origin{resourceInput, resourcePolicyType, text}
	compiled, err := s.policies.Resource(text)
	if err == nil {
		return simulatedPolicy{compiled, o}, false, nil
	}
	if compiled, trustErr := s.policies.Trust(text); trustErr == nil {
		return simulatedPolicy{compiled, o}, true, nil
	}
	return p, false, iamapi.InvalidInput.Wrap(err, "Invalid policy "+resourceInput+": "+err.Error())
}

// add notes where the statements of a policy come from. One that cannot be read counts
// as one.
func (sim *simulation) add(p simulatedPolicy) policy.Source {
	sim.bytes += len(p.text)
	if p.policy == nil {
		sim.origins = append(sim.origins, p.origin)
		return policy.Source{Name: p.id}
	}
	for range p.policy.Document().Statements {
		sim.origins = append(sim.origins, p.origin)
	}
	sim.keys = append(sim.keys, p.policy.ContextKeys()...)
	return policy.Source{Policy: p.policy, Name: p.id}
}

// level joins the policies of one level of an organization into one.
func (sim *simulation) level(list []simulatedPolicy) policy.Source {
	if len(list) == 1 {
		return sim.add(list[0])
	}
	joined := &policy.Document{Version: policy.Version2012}
	for _, p := range list {
		if p.policy == nil {
			return sim.add(p)
		}
		joined.Statements = append(joined.Statements, p.policy.Document().Statements...)
	}
	for _, p := range list {
		sim.add(p)
	}
	return policy.Source{Policy: policy.Compile(joined), Name: guardInput}
}
