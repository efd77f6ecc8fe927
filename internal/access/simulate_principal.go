package access

import (
	"slices"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/store"
)

// principalSource is what a stored user, group or role brings into a simulation.
type principalSource struct {
	caller     call.Principal // of no kind for a group
	tags       []iam.Tag
	guardrails [][]simulatedPolicy
	identity   []simulatedPolicy
	boundary   []simulatedPolicy
}

// sourceReader collects the policies of a principal but for those left out.
type sourceReader struct {
	s    *Service
	v    *store.Snap
	left []iamapi.PolicyIdentifier
	src  *principalSource
}

// principalSource reads a user, group or role of the caller's account.
func (s *Service) principalSource(v *store.Snap, c *call.Call, source string, left []iamapi.PolicyIdentifier) (*principalSource, error) {
	r := &sourceReader{s: s, v: v, left: left, src: &principalSource{}}
	resource, ok := strings.CutPrefix(source, "arn:aws:iam::"+c.Caller.Account+":")
	if !ok {
		if accountIn(source) == "" {
			return nil, iamapi.InvalidInput.Errorf("Invalid Entity Arn: %s", source)
		}
		return nil, errNoEntity(source)
	}
	kind, path, _ := strings.Cut(resource, "/")
	name := path[strings.LastIndexByte(path, '/')+1:]
	switch kind {
	case "user":
		u := s.cfg.IAM.User(v, c.Caller.Account, name)
		if u == nil || u.ARN() != source {
			return nil, errNoEntity(source)
		}
		r.src.caller, r.src.tags = userPrincipal(u), u.Tags
		r.policies(&u.Policies, kind, u.Name)
		for _, uid := range u.Groups {
			if g := s.cfg.IAM.GroupByID(v, uid); g != nil {
				r.policies(&g.Policies, "group", g.Name)
			}
		}
		r.boundary(u.Boundary)
	case "group":
		g := s.cfg.IAM.Group(v, c.Caller.Account, name)
		if g == nil || g.ARN() != source {
			return nil, errNoEntity(source)
		}
		r.policies(&g.Policies, kind, g.Name)
	case "role":
		role := s.cfg.IAM.Role(v, c.Caller.Account, name)
		if role == nil || role.ARN() != source {
			return nil, errNoEntity(source)
		}
		r.src.caller, r.src.tags = rolePrincipal(role, anySession), role.Tags
		r.policies(&role.Policies, kind, role.Name)
		r.boundary(role.Boundary)
	default:
		return nil, iamapi.InvalidInput.Errorf("Invalid Entity Arn: %s", source)
	}
	r.guardrail(c.Caller.Account)
	return r.src, nil
}

func errNoEntity(source string) error {
	return iamapi.NoSuchEntity.Errorf("The entity %s cannot be found.", source)
}

func (r *sourceReader) policies(ps *iam.Policies, kind, owner string) {
	for _, in := range ps.Inline {
		if !r.isLeft(func(p *iamapi.PolicyIdentifier) bool {
			i := p.InlinePolicyIdentifier
			return i != nil && strings.EqualFold(i.PolicyName, in.Name) && i.AttachmentType == kind && strings.EqualFold(i.AttachmentName, owner)
		}) {
			r.src.identity = append(r.src.identity, r.s.simulated(in.Text, kind+"_"+owner+"_"+in.Name))
		}
	}
	for _, arn := range ps.Attached {
		if !r.isLeft(func(p *iamapi.PolicyIdentifier) bool { return isManaged(p) && *p.PolicyArn == arn }) {
			r.src.identity = append(r.src.identity, r.managed(arn))
		}
	}
}

// isManaged reports whether a policy that is left out is an attached one.
func isManaged(p *iamapi.PolicyIdentifier) bool {
	return p.PolicyArn != nil && (p.PolicyType == nil || *p.PolicyType == "aws-managed" || *p.PolicyType == "user-managed")
}

func (r *sourceReader) isLeft(match func(p *iamapi.PolicyIdentifier) bool) bool {
	return slices.ContainsFunc(r.left, func(p iamapi.PolicyIdentifier) bool { return match(&p) })
}

func (r *sourceReader) boundary(arn string) {
	if arn == "" || r.isLeft(func(p *iamapi.PolicyIdentifier) bool {
		return p.PolicyType != nil && *p.PolicyType == "permission-boundary" && (p.PolicyArn == nil || *p.PolicyArn == arn)
	}) {
		return
	}
	r.src.boundary = []simulatedPolicy{r.managed(arn)}
}

func (r *sourceReader) guardrail(account string) {
	a := r.s.cfg.IAM.Account(r.v, account)
	if a == nil || a.Guardrail == "" || r.isLeft(func(p *iamapi.PolicyIdentifier) bool { return p.PolicyType != nil && *p.PolicyType == "scp" }) {
		return
	}
	r.src.guardrails = [][]simulatedPolicy{{r.s.simulated(a.Guardrail, "guardrail")}}
}

// managed is a managed policy, under its name as AWS shows it. One that is gone cannot
// be read, and so denies.
func (r *sourceReader) managed(arn string) simulatedPolicy {
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	text, ok := r.s.cfg.IAM.PolicyText(r.v, arn)
	if !ok {
		return simulatedPolicy{origin: origin{name, iamPolicyType, ""}}
	}
	return r.s.simulated(text, name)
}

func (s *Service) simulated(text, id string) simulatedPolicy {
	p, err := s.policies.Identity(text)
	if err != nil {
		p = nil
	}
	return simulatedPolicy{p, origin{id, iamPolicyType, text}}
}
