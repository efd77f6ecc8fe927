// Package call is what every operation runs in: who calls, when, from where, what
// was decided about it and what of it is written down. Below it there is no HTTP;
// above it there are no secrets.
//
// It trusts the edge to have verified the signature, and the authorizer it was
// built with to decide. It makes sure that nothing is answered or changed without a
// decision, that a change and its audit effect commit together, and that no answer
// leaves before its audit record is on disk. What was changed is recorded even when
// its caller has gone, when the operation panicked, and when nobody knew whether the
// commit happened: then as soon as that is known.
package call

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"arca/internal/api"
	"arca/internal/audit"
	"arca/internal/policy"
	"arca/internal/store"
)

// PrincipalType is CloudTrail's userIdentity.type.
type PrincipalType string

// The kinds of principal that can sign a request; AWSService for an engine;
// WebIdentityUser for the bearer of a token that an operation itself has verified, and
// Anonymous for whoever calls one of the few operations that need no signature.
const (
	Root            PrincipalType = "Root"
	IAMUser         PrincipalType = "IAMUser"
	AssumedRole     PrincipalType = "AssumedRole"
	AWSService      PrincipalType = "AWSService"
	WebIdentityUser PrincipalType = "WebIdentityUser"
	Anonymous       PrincipalType = "Anonymous"
)

// Principal is who signed the request. Its fields are facts about a verified
// signature, never claims of the request.
type Principal struct {
	Type        PrincipalType
	Account     string // 12 digits
	ID          string // principalId: the account for root, AIDA… or AROA…:session otherwise
	UniqueID    string // of the user or role: AIDA…, AROA…; the account for root
	ARN         string
	UserName    string
	AccessKeyID string
	// Provider is the ARN of a WebIdentityUser's OIDC provider.
	Provider string
	// Session is what temporary credentials say; nil for long-lived ones.
	Session *Session
}

// Session is what is known of a caller with temporary credentials. It may be shared
// between calls and must not be changed.
type Session struct {
	IssuerType string // Role, IAMUser or Root
	IssuerID   string // unique id of the role or user; the account for root
	IssuerARN  string
	IssuerName string // "" for root
	Name       string // of a role's session
	Issued     time.Time
	Expires    time.Time
	// Policies are the texts, PolicyARNs the names of session policies. When there are
	// any, the session may do only what one of them allows.
	Policies       []string
	PolicyARNs     []string
	Tags           []Tag
	TransitiveTags []string // keys of the tags that a further role's session inherits
	SourceIdentity string
	Chained        bool // another role's session made it
	// Provider is the ARN of the OIDC provider that vouched for the session, Claims the
	// condition keys that its token gave.
	Provider string
	Claims   []policy.ContextKey
}

// Tag is one key with its value.
type Tag struct{ Key, Value string }

// Call is one request by a verified principal, as an operation sees it. It is used
// by one goroutine at a time.
type Call struct {
	Op        *api.Operation
	Now       time.Time // the one time of this request; a development clock may have moved it
	Caller    Principal
	Partition string // "aws", "aws-cn", "aws-us-gov"
	Region    string // of the credential scope
	RequestID string
	SourceIP  string // without port
	UserAgent string
	Host      string
	TLS       *TLS // nil without TLS between the client, or its proxy, and this server
	Secure    bool // TLS from the client to this server or to a proxy that is trusted

	state
}

// TLS is what the audit record says about the connection.
type TLS struct{ Version, CipherSuite string }

// state is what the dispatcher and the operation build up while a call runs.
type state struct {
	d       *Dispatcher
	in      any
	eventID string
	allowed bool // by the authorizer, or NoDecision was said
	denial  *Denial
	updated bool
	omitted bool // OmitRecord was said
	// effect is the number of the audit effect that committed with the change; 0 for none.
	effect  uint64
	changes []store.Change
	events  []ServiceEvent
	// resources are what NoteResource was told.
	resources []audit.Resource
	// owned are what NoteOwned was told.
	owned []audit.Resource
	decoy bool // MarkDecoy was said
	// subLines are the finished records of sub-calls and forwarded calls, newest last;
	// subOpen is how many sub-calls are not finished.
	subLines [][]byte
	subOpen  int
	paper    *paper // of the outermost call, until its lines are in the log
	parent   *Call  // of a sub-call or forwarded call
	service  string // that forwarded the call
}

// Check is one question to the authorizer: may the caller do Action to Resource?
type Check struct {
	Action   string // "secretsmanager:GetSecretValue"
	Resource string // ARN, or "*" for actions without a resource
	// Shown is how a denial names the resource when that is not Resource itself
	// (a secret that does not exist is named as it was sent).
	Shown string
	// Account owns the resource; "" means the caller's account.
	Account string
	// ResourcePolicy is the policy text attached to the resource, "" for none.
	ResourcePolicy string
	// Keys are the service's own condition keys; the global ones are added by the authorizer.
	Keys []policy.ContextKey
	// ResourceDecides is policy.Request's: nobody may use the resource but through
	// ResourcePolicy.
	ResourceDecides bool
	// Grant is the one on the resource that speaks for the caller.
	Grant policy.Grant
	// Context has more of the service's own condition keys, for which it is asked when a
	// policy names them; nil for none. It must not be used after the decision.
	Context policy.Context
	// Snap is the state that the operation reads, on which the decision is then made as
	// well; nil is the newest.
	Snap *store.Snap
}

// Denial is why a call was denied, for the audit record.
type Denial struct {
	Action    string
	Resource  string
	Reason    string // which statement decided, or which kind of Allow was missing
	Policy    string // name of the policy of the deciding statement; "" without one
	Statement string // Sid or number of the deciding statement
}

// Authorizer decides. nil means allowed; anything else is an *api.Error for the client.
type Authorizer func(ctx context.Context, c *Call, ck *Check) error

// Authorize asks whether the caller may do what ck says. Operations ask exactly
// once per resource, before any fact about the resource can leak through an error.
// An operation that was denied everything it asked for can neither answer nor commit.
func (c *Call) Authorize(ctx context.Context, ck *Check) error {
	if err := c.d.cfg.Authorize(ctx, c, ck); err != nil {
		return err
	}
	c.allowed = true
	return nil
}

// Allowed asks the same for an answer that depends on it without failing: which
// entries of a list to show, or whether a change would shut its own caller out. It
// takes the place of no Authorize, and a denial is not noted. The error says that no
// decision could be had.
func (c *Call) Allowed(ctx context.Context, ck *Check) (bool, error) {
	noted := c.denial
	err := c.d.cfg.Authorize(ctx, c, ck)
	c.denial = noted
	if aerr, ok := errors.AsType[*api.Error](err); ok && aerr.Code == c.Op.Service.AccessDenied {
		return false, nil
	}
	return err == nil, err
}

// NoteDenial keeps the reason of a denial for the audit record of the call. The first
// one stays: it is what the call failed for.
func (c *Call) NoteDenial(d Denial) {
	if c.denial == nil {
		c.denial = &d
	}
}

// NoteResource puts a resource into the audit record of the call, with its type as
// CloudTrail names it, e.g. "AWS::IAM::Role".
func (c *Call) NoteResource(account, kind, arn string) {
	r := audit.Resource{AccountID: account, Type: kind, ARN: arn}
	if !slices.Contains(c.resources, r) { // what a transaction notes, it may note again
		c.resources = append(c.resources, r)
	}
}

// NoteOwned says that the call is about a resource of another account, which gets a
// record of its own, also of a denial. Unlike with NoteResource, nothing of it shows in
// the record of the caller's account: it is to be said before the decision, as soon as
// the resource is found.
func (c *Call) NoteOwned(account, kind, arn string) {
	r := audit.Resource{AccountID: account, Type: kind, ARN: arn}
	if account != c.Caller.Account && !slices.Contains(c.owned, r) { // as in NoteResource
		c.owned = append(c.owned, r)
	}
}

// MarkDecoy says that the call asks for a secret that nobody has a reason to read. Its
// record tells, also that of a denial; the caller learns nothing of it.
func (c *Call) MarkDecoy() { c.decoy = true }

// NoDecision says that AWS lets every verified caller do this, and why.
func (c *Call) NoDecision(reason string) {
	if reason == "" {
		panic("call: NoDecision needs a reason")
	}
	c.allowed = true
}

// OmitRecord leaves this call out of the audit log if it succeeds and changes nothing,
// and says why that hides nothing: it is a part of an act whose beginning and end are
// recorded. A refusal is recorded all the same.
func (c *Call) OmitRecord(reason string) {
	if reason == "" {
		panic("call: OmitRecord needs a reason")
	}
	c.omitted = true
}

// The mistakes an operation can make. They are a programmer's, found by the first
// test that runs it; the client gets an internal error and nothing is changed.
var (
	// ErrUndecided: it would answer or commit, but was never allowed to.
	ErrUndecided = errors.New("no authorization decision allowed it")
	// ErrSecondUpdate: it commits a second time. It may do so once, so that its effect
	// describes all it did.
	ErrSecondUpdate = errors.New("operation commits a second time")
	// ErrSubCall: a sub-call commits, or the outer call answers before it is done.
	ErrSubCall = errors.New("sub-call commits or is not done")
)

// Update runs fn as store.Update does and commits the audit effect of this call in
// the same transaction, so that a crash cannot separate change and record. It may
// be used once per call. fn may run again, and decides again when it does.
func (c *Call) Update(ctx context.Context, st *store.Store, fn func(tx *store.Tx) error) error {
	if c.updated {
		return ErrSecondUpdate
	}
	if c.parent != nil {
		return ErrSubCall
	}
	c.updated = true
	before, lines, text := len(c.events), len(c.subLines), c.paper.length()
	commit, err := st.Update(ctx, func(tx *store.Tx) error {
		c.events, c.subLines = c.events[:before], c.subLines[:lines]
		c.paper.cut(text)
		if err := fn(tx); err != nil {
			return err
		}
		if !c.allowed {
			return ErrUndecided
		}
		tx.SetEffect(func(changes []store.Change) []byte {
			c.changes = changes
			return c.effectLines()
		})
		return nil
	})
	if err != nil || commit.Effect == 0 {
		c.events, c.changes = c.events[:before], nil
	}
	if errors.Is(err, store.ErrUnknown) {
		// The effect may be in the store, and Recover then writes a line of this id that
		// tells what changed. The line of the answer is another one.
		// Those of forwarded calls would be the same, and the log tells records apart by id.
		c.eventID, c.subLines = newEventID(), c.subLines[:lines]
	}
	if err != nil {
		return err
	}
	// Durable together with its effect: should this process die now, the next start
	// writes the record.
	c.effect = commit.Effect
	return nil
}

// ServiceEvent adds an event that nobody called for but this call caused, such as
// CancelSecretVersionDelete. Within an Update closure it counts only for the run
// that commits, and not at all when nothing was written.
func (c *Call) ServiceEvent(e ServiceEvent) { c.events = append(c.events, e) }

// SubCall opens a call inside this one that gets an audit record of its own, as
// BatchGetSecretValue does for every secret it reads. The caller, time and source
// are those of the outer call.
func (c *Call) SubCall(op *api.Operation, in any) *Call {
	c.subOpen++
	return c.inner(op, in)
}

func (c *Call) inner(op *api.Operation, in any) *Call {
	sub := &Call{
		Op: op, Now: c.Now, Caller: c.Caller, Partition: c.Partition, Region: c.Region,
		RequestID: c.RequestID, SourceIP: c.SourceIP, UserAgent: c.UserAgent, Host: c.Host, TLS: c.TLS, Secure: c.Secure,
	}
	sub.state = state{d: c.d, in: in, eventID: newEventID(), paper: c.paper, parent: c}
	return sub
}

// Done ends a sub-call or a forwarded call, once: its record goes into the log together
// with that of the outer call, before the answer leaves. It returns the error as the
// client is to see it, or nil. With an error, out must not be answered with.
func (c *Call) Done(out any, err error) *api.Error {
	forwarded := c.service != ""
	if c.parent == nil || !forwarded && c.parent.subOpen == 0 {
		panic("call: Done outside a sub-call")
	}
	aerr := c.d.clientError(c, err)
	if !forwarded {
		c.parent.subOpen--
	}
	c.parent.subLines = c.appendLines(c.parent.subLines, out, aerr)
	c.parent.subLines = append(c.parent.subLines, c.subLines...)
	c.parent.events = append(c.parent.events, c.events...)
	return aerr
}

// clientError turns whatever an operation returned into what a client may see, and
// refuses an answer that nobody allowed or whose sub-calls have no record yet.
func (d *Dispatcher) clientError(c *Call, err error) *api.Error {
	switch {
	case err != nil:
	case !c.allowed:
		err = ErrUndecided
	case c.subOpen != 0:
		err = ErrSubCall
	default:
		return nil
	}
	aerr, ok := errors.AsType[*api.Error](err)
	if ok {
		if error(aerr) != err || aerr.Unwrap() != nil {
			c.logEnd(slog.LevelWarn, "operation refused", "error", err.Error())
		}
		return aerr
	}
	switch {
	case errors.Is(err, context.Canceled):
		c.logEnd(slog.LevelInfo, "caller went away")
	case errors.Is(err, errBehind):
		// finish says that this call has no record either.
	default:
		c.logEnd(slog.LevelError, "operation failed", "error", err.Error())
	}
	return c.internalError()
}

// logEnd logs how this call ended; of the calls of strangers, a sample.
func (c *Call) logEnd(level slog.Level, msg string, args ...any) {
	args = append([]any{"operation", c.Op.Name, "request", c.RequestID}, args...)
	if c.Caller.Type == Anonymous {
		c.d.strangers.log(c.d.cfg.Logger, level, msg, args...)
		return
	}
	c.d.cfg.Logger.Log(context.Background(), level, msg, args...)
}

func (c *Call) internalError() *api.Error {
	return c.Op.Service.InternalError.Errorf("%s", internalMessage)
}

// internalMessage is all a client learns of an unexpected failure.
const internalMessage = "An error occurred on the server side."
