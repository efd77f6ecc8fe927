// Package call is what every operation runs in: who calls, when, from where, what
// was decided about it and what of it is written down. Below it there is no HTTP;
// above it there are no secrets.
//
// It trusts the edge to have verified the signature, and the authorizer it was
// built with to decide. It makes sure that every answered operation was decided,
// that a change and its audit effect commit together, and that no answer leaves
// before its audit record is on disk.
package call

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arca/internal/api"
	"arca/internal/policy"
	"arca/internal/store"
)

// PrincipalType is CloudTrail's userIdentity.type.
type PrincipalType string

// The kinds of principal that can sign a request, and AWSService for an engine.
const (
	Root        PrincipalType = "Root"
	IAMUser     PrincipalType = "IAMUser"
	AssumedRole PrincipalType = "AssumedRole"
	AWSService  PrincipalType = "AWSService"
)

// Principal is who signed the request. Its fields are facts about a verified
// signature, never claims of the request.
type Principal struct {
	Type        PrincipalType
	Account     string // 12 digits
	ID          string // principalId: the account for root, AIDA… or AROA…:session otherwise
	ARN         string
	UserName    string
	AccessKeyID string
}

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
	TLS       *TLS // nil without TLS

	state
}

// TLS is what the audit record says about the connection.
type TLS struct{ Version, CipherSuite string }

// state is what the dispatcher and the operation build up while a call runs.
type state struct {
	d       *Dispatcher
	in      any
	eventID string
	decided bool
	updated bool
	// effect is the number of the audit effect that committed with the change; 0 for none.
	effect  uint64
	changes []store.Change
	events  []ServiceEvent
	// subLines are the finished records of sub-calls, newest last.
	subLines [][]byte
	parent   *Call
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
}

// Authorizer decides. nil means allowed; anything else is an *api.Error for the client.
type Authorizer func(ctx context.Context, c *Call, ck *Check) error

// Authorize asks whether the caller may do what ck says. Operations ask exactly
// once per resource, before any fact about the resource can leak through an error.
func (c *Call) Authorize(ctx context.Context, ck *Check) error {
	c.decided = true
	return c.d.cfg.Authorize(ctx, c, ck)
}

// NoDecision says that AWS lets every verified caller do this, and why.
func (c *Call) NoDecision(reason string) {
	if reason == "" {
		panic("call: NoDecision needs a reason")
	}
	c.decided = true
}

// ErrSecondUpdate is a programmer's mistake: an operation commits once, so that
// its effect describes all it did.
var ErrSecondUpdate = errors.New("operation commits a second time")

// Update runs fn as store.Update does and commits the audit effect of this call in
// the same transaction, so that a crash cannot separate change and record. It may
// be used once per call. fn may run again, and decides again when it does.
func (c *Call) Update(ctx context.Context, st *store.Store, fn func(tx *store.Tx) error) error {
	if c.updated {
		return ErrSecondUpdate
	}
	c.updated = true
	before := len(c.events)
	commit, err := st.Update(ctx, func(tx *store.Tx) error {
		c.events = c.events[:before]
		if err := fn(tx); err != nil {
			return err
		}
		tx.SetEffect(func(changes []store.Change) []byte {
			c.changes = changes
			return c.effectLines()
		})
		return nil
	})
	if err != nil {
		c.events, c.changes = c.events[:before], nil
		return err
	}
	c.effect = commit.Effect
	if c.effect == 0 {
		c.changes = nil
	}
	return nil
}

// ServiceEvent adds an event that nobody called for but this call caused, such as
// CancelSecretVersionDelete. Within an Update closure it counts only for the run
// that commits.
func (c *Call) ServiceEvent(e ServiceEvent) { c.events = append(c.events, e) }

// SubCall opens a call inside this one that gets an audit record of its own, as
// BatchGetSecretValue does for every secret it reads. The caller, time and source
// are those of the outer call.
func (c *Call) SubCall(op *api.Operation, in any) *Call {
	sub := &Call{
		Op: op, Now: c.Now, Caller: c.Caller, Partition: c.Partition, Region: c.Region,
		RequestID: c.RequestID, SourceIP: c.SourceIP, UserAgent: c.UserAgent, Host: c.Host, TLS: c.TLS,
	}
	sub.state = state{d: c.d, in: in, eventID: newEventID(), parent: c}
	return sub
}

// Done ends a sub-call: its record goes into the log together with that of the
// outer call, before the answer leaves. It returns the error as the client is to
// see it (an *api.Error), or nil.
func (c *Call) Done(out any, err error) *api.Error {
	if c.parent == nil {
		panic("call: Done outside a sub-call")
	}
	if c.updated {
		panic("call: a sub-call cannot commit")
	}
	aerr := c.d.settleError(c, err)
	c.parent.subLines = append(c.parent.subLines, c.line(out, aerr))
	return aerr
}

// settleError turns whatever an operation returned into what a client may see,
// and refuses an answer that nobody decided.
func (d *Dispatcher) settleError(c *Call, err error) *api.Error {
	if err == nil && !c.decided {
		err = fmt.Errorf("%s answered without an authorization decision", c.Op.Name)
	}
	if err == nil {
		return nil
	}
	aerr, ok := errors.AsType[*api.Error](err)
	if ok {
		if error(aerr) != err || aerr.Unwrap() != nil {
			d.cfg.Logger.Warn("operation refused", "operation", c.Op.Name, "request", c.RequestID, "error", err.Error())
		}
		return aerr
	}
	if errors.Is(err, context.Canceled) {
		d.cfg.Logger.Info("caller went away", "operation", c.Op.Name, "request", c.RequestID)
	} else {
		d.cfg.Logger.Error("operation failed", "operation", c.Op.Name, "request", c.RequestID, "error", err.Error())
	}
	return c.Op.Service.InternalError.Errorf("%s", internalMessage)
}

// internalMessage is all a client learns of an unexpected failure.
const internalMessage = "An error occurred on the server side."
