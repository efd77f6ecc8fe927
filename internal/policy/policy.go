// Package policy is the IAM policy language: who may do what to which resource, under
// which conditions.
//
// Parse… turn a policy text into a Document and promise that it is grammatically
// whole: every element has the type, form and company that AWS asks for, every
// condition value is of its operator's type, nothing was skipped, guessed or read
// twice. What a parser does not understand, it refuses, since a Deny that is not
// understood would be a hole. Whether principals, actions or resources exist is not
// asked here.
//
// Evaluate decides a Request by compiled Policies as AWS does, and Explain tells how
// it came to that. Both promise that a Deny that matches always wins, and that a
// policy that should be there and cannot be read denies. They trust whoever asks: that
// the Caller is who it says, that the Context is true, and that all policies that
// apply are given.
//
// The package is pure: no input or output, clock or logging. It trusts no policy text;
// they come from clients. Work and memory are bounded by MaxBytes.
package policy

import "arca/internal/arn"

// MaxBytes is the longest policy text that the parsers read, well above every limit
// of AWS on the policies of its services. Those limits are the services' to enforce.
const MaxBytes = 64 << 10

// ContextKey is one condition key with its values in a request context.
// A key that is absent from the request is absent here.
type ContextKey struct {
	Name   string // e.g. "secretsmanager:VersionStage"; compared without case
	Values []string
}

// Position is a place in a policy text.
type Position struct {
	Line   int // from 1
	Column int // in characters, from 1
}

// Version is the version of the policy language a document is written in.
type Version string

// The versions that exist. A document that names none is of Version2008, in which
// ${…} has no meaning.
const (
	Version2008 Version = "2008-10-17"
	Version2012 Version = "2012-10-17"
)

// Document is a parsed, grammatically valid policy. It is not changed after parsing
// and may be shared.
type Document struct {
	Version    Version
	ID         string // "" without one
	Statements []Statement
}

// Effect is what a statement does when it matches.
type Effect string

// The two effects.
const (
	Allow Effect = "Allow"
	Deny  Effect = "Deny"
)

// Statement is one statement of a policy. It matches a request when all of its parts
// do.
type Statement struct {
	Position   Position
	Sid        string // "" without one
	Effect     Effect
	Principals *Principals // nil in identity policies
	Actions    Actions
	Resources  *Resources // nil in trust policies
	Conditions []Condition
}

// Principals is a Principal or, with Not, a NotPrincipal element.
type Principals struct {
	Position Position
	Not      bool
	List     []Principal
}

// PrincipalKind tells which kind of principal is named, and how.
type PrincipalKind string

// The kinds of principals.
const (
	Everyone      PrincipalKind = "*"             // "*", anonymous callers included
	AnyAWS        PrincipalKind = "AWS:*"         // {"AWS": "*"}
	Account       PrincipalKind = "Account"       // an account id or the ARN of its root: the whole account
	User          PrincipalKind = "User"          // ARN of an IAM user
	Role          PrincipalKind = "Role"          // ARN of an IAM role
	AssumedRole   PrincipalKind = "AssumedRole"   // ARN of one session of a role
	FederatedUser PrincipalKind = "FederatedUser" // ARN of a session of GetFederationToken
	UniqueID      PrincipalKind = "UniqueID"      // AIDA… or AROA…, as shown for a principal that is gone; see below
	Service       PrincipalKind = "Service"       // name.amazonaws.com
	Federated     PrincipalKind = "Federated"     // an identity provider: its ARN or name
	CanonicalUser PrincipalKind = "CanonicalUser" // Amazon S3's name of an account
)

// Principal is one principal of a statement.
//
// A UniqueID with a colon, AROA…:name, is one session of a role. That form is for
// storing an AssumedRole so that a later role of the same name does not inherit it.
// AWS has no such principal, so services refuse it from clients: a UniqueID whose
// Value holds a colon.
type Principal struct {
	Position Position
	Kind     PrincipalKind
	Value    string // as written
	// ARN is Value, if that is one. Of a bare account id it has only Account.
	ARN arn.ARN
}

// Actions is an Action or, with Not, a NotAction element.
type Actions struct {
	Position Position
	Not      bool
	List     []Action
}

// Action is a pattern for actions, compared without case. The action "*" has "*" for
// both parts.
type Action struct {
	Position Position
	Service  string // without wildcards, or "*"
	Name     string // may hold the wildcards * and ?
}

// Resources is a Resource or, with Not, a NotResource element.
type Resources struct {
	Position Position
	Not      bool
	List     []Resource
}

// Resource is a pattern for ARNs. It is "*", has the six parts of an ARN, or ends
// early with a *, which then stands for all that follows.
type Resource struct {
	Position Position
	Pattern  Pattern
}

// Condition is one condition key under one operator. It is met when the key's value
// in the request is like any of Values or, under a negated operator, like none of
// them; so without Values it is never met under the one and always under the other.
type Condition struct {
	Position Position
	Operator Operator
	Key      string // as written; compared without case
	Values   []Value
}
