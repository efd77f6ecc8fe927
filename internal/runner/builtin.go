package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"arca/internal/api"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/egress"
	"arca/internal/iam"
	"arca/internal/lambda"
	"arca/internal/rotator"
	"arca/internal/wire"
)

// BuiltInConfig is what a BuiltIn needs. All fields are required.
type BuiltInConfig struct {
	// Egress says to which servers the functions may connect.
	Egress *egress.Client
	// IAM tells whom the credentials of a role's session stand for.
	IAM *iam.Service
	// Do runs a call as the front door does.
	Do func(ctx context.Context, c *call.Call, in any) (any, error)
	// Now is the time of calls, which a development clock may have moved.
	Now func() time.Time
}

// BuiltIn runs the functions of package rotator. It is a lambda.Runner, and safe for
// concurrent use.
//
// A built-in function has no rights of its own: it calls the server as a session of the
// function's role, through the same door as everybody, so its calls are decided and
// written down like those of any other function.
type BuiltIn struct{ cfg BuiltInConfig }

// NewBuiltIn makes a runner.
func NewBuiltIn(cfg BuiltInConfig) *BuiltIn { return &BuiltIn{cfg} }

// Invoke runs one step of a rotation.
func (b *BuiltIn) Invoke(ctx context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
	creds, err := inv.Credentials(ctx, inv.Function.MaxDuration()+time.Minute)
	if err != nil {
		return nil, err
	}
	found, err := b.cfg.IAM.Lookup(ctx, creds.AccessKeyID, string(creds.SessionToken))
	if err != nil {
		return nil, fmt.Errorf("look up role of function %s: %w", inv.Function.Name, err)
	}
	lines := &lineLog{}
	rep := &report{requestID: inv.RequestID, memoryMB: int64(inv.Function.Memory)}
	began := time.Now()
	err = b.rotate(ctx, inv, found.Principal, lines)
	if ctx.Err() != nil {
		return nil, ctx.Err() // nobody waits any more
	}
	rep.duration = time.Since(began)
	res := &lambda.Result{Payload: []byte("null"), Log: rep.log(lines.text())}
	if err == nil {
		return res, nil
	}
	res.FunctionError = lambda.Unhandled
	failed, ok := errors.AsType[*rotator.Error](err)
	switch {
	case !ok:
		return nil, fmt.Errorf("run %s: %w", inv.Function.BuiltInName(), err)
	case failed.Type == rotator.TimedOut:
		res.Payload = timedOut(inv.RequestID, inv.Function.MaxDuration())
	default:
		res.Payload = failure(failed.Type, failed.Message)
	}
	return res, nil
}

func (b *BuiltIn) rotate(ctx context.Context, inv *lambda.Invocation, as call.Principal, lines *lineLog) error {
	event, err := rotator.ParseEvent(inv.Payload)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, inv.Function.MaxDuration())
	defer cancel()
	cfg := rotator.Config{Egress: b.cfg.Egress, Environment: inv.Environment, Log: lines.printf}
	return rotator.Rotate(ctx, cfg, inv.Function.BuiltInName(), b.calls(inv, as), event)
}

// calls makes calls as a principal. Each is one of its own, with its own decision, audit
// record and time.
func (b *BuiltIn) calls(inv *lambda.Invocation, as call.Principal) rotator.Calls {
	partition, ok := arn.PartitionOf(inv.Function.Region)
	if !ok {
		partition = arn.PartitionAWS
	}
	n := 0
	return func(ctx context.Context, op *api.Operation, in any) (any, error) {
		if refused := wire.Validate(op, in); refused != nil {
			return nil, refused
		}
		n++
		return b.cfg.Do(ctx, &call.Call{
			Op: op, Now: b.cfg.Now(), Caller: as, Partition: partition, Region: inv.Function.Region,
			RequestID: fmt.Sprintf("%s-%d", inv.RequestID, n), SourceIP: "127.0.0.1",
			UserAgent: "arca.builtin/" + inv.Function.BuiltInName(), Secure: true,
		}, in)
	}
}

// lineLog collects what a function has to say, a bounded part of it.
type lineLog struct {
	mu  sync.Mutex
	buf strings.Builder // guarded by mu
}

func (l *lineLog) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if line := fmt.Sprintf(format, args...); l.buf.Len()+len(line) < maxOutput {
		l.buf.WriteString(line)
		l.buf.WriteByte('\n')
	}
}

func (l *lineLog) text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []byte(l.buf.String())
}
