package policy

// CallerKind is the kind of principal a request comes from, as far as policies tell
// kinds apart.
type CallerKind int

// The kinds of callers. A caller of no kind is nobody: only an Allow to everyone
// ("*") matches it.
const (
	Nobody        CallerKind = iota
	RootCaller               // the root of an account
	UserCaller               // an IAM user, also with a session token of its own
	RoleCaller               // a session of a role
	WebIdentity              // the bearer of a token of an OIDC provider, before it has a role
	ServiceCaller            // a service: its principal is Service
)

// Caller is who asks. It is a fact, not a claim.
type Caller struct {
	Kind     CallerKind
	Account  string // 12 digits; "" for WebIdentity, ServiceCaller and Nobody
	ARN      string // of the user, the root or the session (arn:…:sts::…:assumed-role/NAME/SESSION)
	UniqueID string // AIDA… of a user, AROA… of the role of a session
	RoleARN  string // of a RoleCaller: the ARN of the role itself
	Session  string // of a RoleCaller: the name of the session
	Service  string // of a ServiceCaller, e.g. "lambda.amazonaws.com"
	Provider string // of a WebIdentity: the ARN of its OIDC provider
}

// Context gives the values of condition keys in a request. Lookup appends the values
// of key, whose letters of ASCII are in lower case, to dst and returns the extended
// slice; ok is false when the request does not have the key. Names are equal as
// strings.EqualFold has it: they may hold tag keys in any script. A key may be there
// with no values. Lookup may be called many times and concurrently, and must be pure.
type Context interface {
	Lookup(dst []string, key string) (values []string, ok bool)
}

// Request is one question: may Caller do Action to Resource?
type Request struct {
	Action   string // "secretsmanager:GetSecretValue"
	Resource string // an ARN, or "*" for actions without a resource
	Account  string // the owner of the resource
	Caller   Caller
	Context  Context
	// ResourceDecides is for resources that nobody may use but through their own policy,
	// the owner's account included: the trust policy of a role, the policy of a KMS key.
	// An Allow to an account there hands the decision on to the account's own policies; a
	// resource without a policy allows nobody.
	ResourceDecides bool
}

// Layer is where in the evaluation a policy takes part.
type Layer int

// The layers, in the order in which AWS evaluates them.
const (
	GuardrailLayer Layer = iota + 1 // limits an account: the role of a service control policy
	ResourceLayer                   // attached to the resource; a role's trust policy, too
	BoundaryLayer                   // permissions boundary of a user or role
	SessionLayer                    // given when the session was made
	IdentityLayer                   // of the user, its groups, or the role
)

// Source is one policy that takes part in a decision.
type Source struct {
	Policy *Compiled
	// Name tells people which policy it is: the ARN of a managed policy, or words like
	// "inline policy readers of group ops".
	Name string
}

// Grant is a permission on a resource that is kept beside its policy, as those of KMS
// keys are. It allows what an Allow in the resource policy would that names the caller
// as closely; it never outweighs a Deny. Whether it covers the action, and whether its
// constraints are met, is for whoever keeps it to say.
// https://docs.aws.amazon.com/kms/latest/developerguide/grants.html
type Grant struct {
	Name string // for people
	To   GrantTo
}

// GrantTo tells whom a grant names.
type GrantTo int8

// What a grant can name.
const (
	NoGrant        GrantTo = iota
	GrantToAccount         // the account of the caller
	GrantToRole            // the role of the caller's session
	GrantToCaller          // the user, the session or the service itself
)

// reach returns how closely the grant names the caller.
func (g *Grant) reach() reach {
	switch g.To {
	case GrantToAccount:
		return byAccount
	case GrantToRole:
		return byRole
	case GrantToCaller:
		return directly
	}
	return notNamed
}

// Policies are all policies that apply to one request, by layer. A Source without a
// Policy is one that applies and cannot be read. It may have held a Deny, so it denies
// whatever others allow.
type Policies struct {
	// Guardrails limit the caller's account: each must allow. None limits nothing.
	Guardrails []Source
	// Resource is the policy of the resource; a nil Policy means that it has none.
	Resource Source
	// Grant is the one on the resource that speaks for the caller, if there is any.
	Grant Grant
	// Boundary limits the caller when HasBoundary; a boundary that cannot be found has a
	// nil Policy.
	HasBoundary bool
	Boundary    Source
	// Session limits the caller when HasSession: at least one of the list must allow, so
	// an empty list allows nothing.
	HasSession bool
	Session    []Source
	// Identity are the policies of the caller itself: at least one must allow.
	Identity []Source
	// Index is made of Identity, for speed. One that is nil, or of another slice, counts
	// for nothing.
	Index *Index
}

// Decision is the answer and what it rests on.
type Decision struct {
	Allowed bool
	// Layer is that of the statement that decided or, when an Allow was missing, where
	// it was missing.
	Layer Layer
	// Explicit says that a Deny statement decided.
	Explicit bool
	// Source and Statement (its index, -1 for none) name the statement that decided. When
	// an Allow was missing from one policy, Source is that policy. Neither is there when
	// the root of an account was allowed without any policy; of a grant there is the name.
	Source    Source
	Statement int
}
