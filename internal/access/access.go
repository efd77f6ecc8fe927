// Package access decides: it gathers the policies that apply to a caller, builds the
// request context, asks package policy and words the denial. It also tells people why
// a decision is as it is, and who may do something.
//
// It trusts package call for who the caller is and package iam for the records. What
// it cannot find or understand (a policy that does not parse, a user that is gone)
// denies. Policies are compiled once, and what was gathered for a caller is kept as
// long as no record it could come from has changed; every decision is made on a state
// as new as the request.
//
// A few things are no matter of policies: see serverDecision.
package access

import (
	"context"
	"fmt"
	"sync"

	"arca/internal/api"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// Config is what a Service needs.
type Config struct {
	Store *store.Store
	IAM   *iam.Service
	// OrganizationID is aws:PrincipalOrgID of every account of this server; "" means that
	// the accounts belong to no organization.
	OrganizationID string
	// TellClients puts the deciding statement, or the kind of Allow that was missing, into
	// the client's error as it stands in the audit record. AWS tells less.
	TellClients bool
	// Find looks up resources that somebody asks about. Without it only their ARNs are
	// known.
	Find Finder
}

// Service decides. It is safe for concurrent use.
type Service struct {
	cfg      Config
	policies policy.Cache
	denyAll  *policy.Compiled
	allowAll *policy.Compiled
	bundles  bundles
	requests sync.Pool // of *request
}

// New builds a Service.
func New(cfg Config) *Service {
	return &Service{
		cfg:      cfg,
		denyAll:  compileAll(policy.Deny),
		allowAll: compileAll(policy.Allow),
		requests: sync.Pool{New: func() any { return new(request) }},
	}
}

// compileAll is a policy for everything. The Deny stands in for one that cannot be
// understood and may have held any; the Allow for policies that are not to be looked at.
func compileAll(effect policy.Effect) *policy.Compiled {
	doc, err := policy.ParseResourcePolicy(
		`{"Version":"2012-10-17","Statement":{"Effect":"` + string(effect) + `","Principal":"*","Action":"*","Resource":"*"}}`)
	if err != nil {
		panic("access: " + err.Error()) // the text is above
	}
	return policy.Compile(doc)
}

// request is everything one decision needs. It is used again and again, so that
// deciding allocates nothing.
type request struct {
	facts    facts
	request  policy.Request
	policies policy.Policies
	session  []policy.Source // room for policies.Session
}

func (s *Service) borrow() *request { return s.requests.Get().(*request) }

// giveBack forgets what the request held of one caller.
func (s *Service) giveBack(r *request) {
	clear(r.session)
	*r = request{session: r.session[:0]}
	s.requests.Put(r)
}

// Authorize is the call.Authorizer of the server: nil when the caller may, otherwise
// the error for the client. Why not stands in the call's audit record.
func (s *Service) Authorize(ctx context.Context, c *call.Call, ck *call.Check) error {
	d, err := s.decide(ctx, c, ck)
	if err != nil {
		return err
	}
	if d.Allowed {
		return nil
	}
	return s.deny(c, ck, &d)
}

// decision is policy's, or one on the server's own operations.
type decision struct {
	policy.Decision
	// only says who may, when that is not a matter of policies.
	only string
	// outside: the resource belongs to another account than the caller, and its policy
	// does not let him in.
	outside bool
}

func (s *Service) decide(ctx context.Context, c *call.Call, ck *call.Check) (d decision, err error) {
	if ck.Snap != nil {
		return s.decideOn(ck.Snap, c, ck), nil
	}
	err = s.cfg.Store.View(ctx, func(v *store.Snap) error {
		d = s.decideOn(v, c, ck)
		return nil
	})
	if err != nil {
		return decision{}, fmt.Errorf("decide %s: %w", ck.Action, err)
	}
	return d, nil
}

func (s *Service) decideOn(v *store.Snap, c *call.Call, ck *call.Check) decision {
	if d, ok := s.serverDecision(v, &c.Caller, ck.Action); ok {
		return d
	}
	r := s.borrow()
	defer s.giveBack(r)
	b := s.bundleOf(v, &c.Caller)
	if b.gone != "" {
		return decision{Decision: policy.Decision{
			Layer: policy.IdentityLayer, Statement: -1, Source: policy.Source{Name: b.gone},
		}}
	}
	s.fill(r, v, &c.Caller, b, ck)
	r.facts.ofCall(c)
	// Not in fill: an index remembers actions, and those of questions come from clients.
	r.policies.Index = b.index
	d := decision{Decision: policy.Evaluate(&r.request, &r.policies)}
	d.outside = !d.Allowed && r.request.Account != c.Caller.Account && !s.letIn(r)
	return d
}

// letIn reports whether the policy of the resource lets the caller of r in, as far as
// it alone decides.
func (s *Service) letIn(r *request) bool {
	return policy.Evaluate(&r.request, &policy.Policies{
		Resource: r.policies.Resource, Grant: r.policies.Grant, Identity: []policy.Source{{Policy: s.allowAll}},
	}).Allowed
}

// fill sets up everything but what only a real connection has.
func (s *Service) fill(r *request, v *store.Snap, caller *call.Principal, b *bundle, ck *call.Check) {
	account := ck.Account
	if account == "" {
		account = caller.Account
	}
	r.facts = facts{
		keys: ck.Keys, more: ck.Context, caller: caller, tags: b.tags,
		resourceAccount: account, organization: s.cfg.OrganizationID,
	}
	r.request = policy.Request{
		Action: ck.Action, Resource: ck.Resource, Account: account,
		Caller: policyCaller(caller), Context: &r.facts, ResourceDecides: ck.ResourceDecides,
	}
	r.policies = policy.Policies{
		Guardrails: b.guardrails, Resource: s.resourceSource(ck, caller, account), Grant: ck.Grant,
		HasBoundary: b.hasBoundary, Boundary: b.boundary, Identity: b.identity,
	}
	if session := caller.Session; session != nil && len(session.Policies)+len(session.PolicyARNs) > 0 {
		r.session = s.appendSession(r.session[:0], v, session)
		r.policies.HasSession, r.policies.Session = true, r.session
	}
}

// policyCaller is the caller as policies see it.
func policyCaller(p *call.Principal) policy.Caller {
	switch p.Type {
	case call.Root:
		return policy.Caller{Kind: policy.RootCaller, Account: p.Account, ARN: p.ARN, UniqueID: p.Account}
	case call.IAMUser:
		return policy.Caller{Kind: policy.UserCaller, Account: p.Account, ARN: p.ARN, UniqueID: p.UniqueID}
	case call.AssumedRole:
		return policy.Caller{
			Kind: policy.RoleCaller, Account: p.Account, ARN: p.ARN, UniqueID: p.UniqueID,
			RoleARN: p.Session.IssuerARN, Session: p.Session.Name,
		}
	case call.WebIdentityUser:
		return policy.Caller{Kind: policy.WebIdentity, Provider: p.Provider}
	case call.AWSService:
		return policy.Caller{Kind: policy.ServiceCaller, Service: p.ID}
	}
	return policy.Caller{}
}

// resourceSource is the policy of the resource that a check is about.
func (s *Service) resourceSource(ck *call.Check, caller *call.Principal, account string) policy.Source {
	if ck.ResourcePolicy == "" {
		return policy.Source{}
	}
	compile, name := s.policies.Resource, "resource policy"
	if ck.ResourceDecides && isRole(ck.Resource) {
		compile, name = s.policies.Trust, "trust policy"
	}
	p, err := compile(ck.ResourcePolicy)
	if err != nil && caller.Type == call.Root && caller.Account == account && ck.Action == "secretsmanager:DeleteResourcePolicy" {
		return policy.Source{} // somebody must be able to mend it
	}
	if err != nil {
		return policy.Source{Policy: s.denyAll, Name: name + ", which cannot be understood"}
	}
	return policy.Source{Policy: p, Name: name}
}

// appendSession adds the session policies of a caller.
func (s *Service) appendSession(dst []policy.Source, v *store.Snap, session *call.Session) []policy.Source {
	for _, text := range session.Policies {
		dst = append(dst, s.identitySource(text, "session policy"))
	}
	for _, arn := range session.PolicyARNs {
		dst = append(dst, s.managedSource(v, arn))
	}
	return dst
}

// identitySource compiles a policy. One that does not parse is nil, which denies.
func (s *Service) identitySource(text, name string) policy.Source {
	p, err := s.policies.Identity(text)
	if err != nil {
		p = nil
	}
	return policy.Source{Policy: p, Name: name}
}

// managedSource is the version in effect of a managed policy. One that is gone is nil,
// which denies.
func (s *Service) managedSource(v *store.Snap, arn string) policy.Source {
	text, ok := s.cfg.IAM.PolicyText(v, arn)
	if !ok {
		return policy.Source{Name: arn}
	}
	return s.identitySource(text, arn)
}

// code is the service's code for a forbidden call.
func code(c *call.Call) *api.Code {
	if c.Op != nil && c.Op.Service != nil && c.Op.Service.AccessDenied != nil {
		return c.Op.Service.AccessDenied
	}
	return api.AccessDeniedException
}
