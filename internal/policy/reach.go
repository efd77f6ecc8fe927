package policy

import "strings"

// reach is how closely a statement of a resource policy names the caller. Within one
// account that decides which other policies limit what the statement allows.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
type reach int8

const (
	// notNamed: the statement is about somebody else.
	notNamed reach = iota
	// byAccount: it names the caller's account, which passes the decision on to the
	// policies of that account.
	byAccount
	// byRole: it names the role of a session. What is allowed so must also be allowed by
	// the role's boundary and by the session's policy, but not by the role's policies.
	byRole
	// directly: it names the user, the session, the service or the provider, or everyone.
	// In its own account such a caller needs no other Allow. That neither boundary nor
	// session policy limits what everyone is allowed, AWS says where it compares a role
	// as principal with aws:PrincipalArn beside a "*".
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
	directly
)

// principals is a Principals element made ready.
type principals struct {
	not  bool
	list []principal
}

type principal struct {
	kind    PrincipalKind
	value   string // account, ARN, unique id or name
	session string // of a unique id with one
}

func compilePrincipals(p *Principals) *principals {
	if p == nil {
		return nil
	}
	out := &principals{not: p.Not, list: make([]principal, len(p.List))}
	for i, named := range p.List {
		c := principal{kind: named.Kind, value: named.Value}
		switch named.Kind {
		case Account:
			c.value = named.ARN.Account
		case UniqueID:
			c.value, c.session, _ = strings.Cut(named.Value, ":")
		}
		out.list[i] = c
	}
	return out
}

// ofAWS reports whether the caller belongs to an account.
func (c *Caller) ofAWS() bool {
	return c.Kind == RootCaller || c.Kind == UserCaller || c.Kind == RoleCaller
}

// reach returns how closely the principal names the caller. Users that federate with
// GetFederationToken and canonical users of Amazon S3 do not exist here: no caller is
// one.
func (p *principal) reach(c *Caller) reach {
	named, how := false, directly
	switch p.kind {
	case Everyone:
		named = true
	case AnyAWS:
		named = c.ofAWS()
	case Account:
		named, how = c.ofAWS() && c.Account == p.value, byAccount
	case User:
		named = c.Kind == UserCaller && c.ARN == p.value
	case Role:
		named, how = c.Kind == RoleCaller && c.RoleARN == p.value, byRole
	case AssumedRole:
		named = c.Kind == RoleCaller && c.ARN == p.value
	case UniqueID:
		named = c.UniqueID == p.value
		switch {
		case p.session != "":
			named = named && c.Kind == RoleCaller && c.Session == p.session
		case c.Kind == RoleCaller:
			how = byRole
		default:
			named = named && c.Kind == UserCaller
		}
	case Service:
		named = c.Kind == ServiceCaller && c.Service == p.value
	case Federated:
		named = c.Kind == WebIdentity && c.Provider == p.value
	}
	if !named {
		return notNamed
	}
	return how
}

// reach returns how closely a statement names the caller of the request. Identity
// policies are about nobody else.
func (e *evaluation) reach(s *statement) reach {
	if s.principals == nil {
		return directly
	}
	if s.principals.not {
		if s.principals.excepts(&e.req.Caller, e.boundary) {
			return notNamed
		}
		return directly
	}
	best := notNamed
	for i := range s.principals.list {
		if how := s.principals.list[i].reach(&e.req.Caller); how > best {
			best = how
		}
	}
	return best
}

// excepts reports whether a NotPrincipal element leaves the caller out.
//
// AWS looks at the account first, then at the user, or the role and then its session;
// each of them must be on the list, or the Deny holds. It also holds for everybody
// with a permissions boundary, whatever the list says.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
func (p *principals) excepts(c *Caller, boundary bool) bool {
	if boundary && c.ofAWS() {
		return false
	}
	var account, role, caller bool
	for i := range p.list {
		named := &p.list[i]
		switch how := named.reach(c); {
		case how == notNamed:
		case named.kind == Everyone || named.kind == AnyAWS:
			return true
		case how == byAccount:
			account = true
		case how == byRole:
			role = true
		default:
			caller = true
		}
	}
	switch c.Kind {
	case RootCaller:
		return account
	case UserCaller:
		return account && caller
	case RoleCaller:
		return account && role && caller
	}
	return caller
}
