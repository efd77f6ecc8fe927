package lambda

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"arca/internal/api"
	"arca/internal/api/lambdaapi"
	"arca/internal/call"
	"arca/internal/store"
)

// Invocation is one run of a function.
type Invocation struct {
	Function *Function
	// Environment are the variables that the function was given; they are secret.
	Environment map[string]string
	Payload     []byte // JSON
	RequestID   string
	// Deadline is when the function's time is over, by the real clock.
	Deadline time.Time
	// ClientContext is what the caller sent for the function to read, as it came.
	ClientContext string
	// Now is the time that policies see, which a development clock may have moved.
	Now time.Time
	// Code reads the archive. Runners that keep what they unpacked do so by the
	// function's SHA256.
	Code func(ctx context.Context) ([]byte, error)
	// Credentials opens a session of the function's role, no longer than needed.
	Credentials func(ctx context.Context, lifetime time.Duration) (*Credentials, error)
}

// Result is what came of an invocation.
type Result struct {
	Payload []byte // JSON: the answer, or what Lambda says about an error
	// FunctionError is empty when the function answered; "Handled" when it reported an
	// error itself, "Unhandled" when it broke, ran too long or said nothing.
	FunctionError string
	// Log is the end of what it printed. It may hold secrets.
	Log []byte
}

// The values of FunctionError.
const (
	Handled   = "Handled"
	Unhandled = "Unhandled"
)

// Runner runs functions of one kind. Invoke may be called concurrently, and may block
// until the deadline; it then stops what it started. An error means that the function was
// not run, or that nobody knows what became of it: what the function itself does wrong is
// a Result.
type Runner interface {
	Invoke(ctx context.Context, inv *Invocation) (*Result, error)
}

var (
	// ErrBusy means that the runner runs as many functions as it may. The caller may try
	// again later.
	ErrBusy = errors.New("too many functions are running")
	// ErrOff means that this server runs no functions of the kind.
	ErrOff = errors.New("running functions is switched off on this server")
	// ErrRuntime means that this server has nothing to run the function's runtime with.
	// The text of the error around it says what is missing.
	ErrRuntime = errors.New("the runtime is not available on this server")
	// ErrCode means that the archive holds nothing that can be run. The text of the error
	// around it says why.
	ErrCode = errors.New("the code cannot be used")
)

// Run invokes a function as it is now, whoever wants it: it decides nothing. The errors
// are those above and a *RoleError, wrapped in errors that say more, and an *api.Error
// for a function that is gone. Whether the role may still be assumed is asked every time:
// a runner that keeps a process waiting keeps its credentials, too.
func (s *Service) Run(ctx context.Context, f *Function, payload []byte, requestID, clientContext string, now time.Time) (*Result, error) {
	if s.cfg.Runner == nil {
		return nil, ErrOff
	}
	runner, err := s.cfg.Runner(f.Kind())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOff, err)
	}
	inv := &Invocation{Payload: payload, RequestID: requestID, ClientContext: clientContext, Now: now}
	var refusal *RoleError
	err = s.store.View(ctx, func(v *store.Snap) error {
		if inv.Function, err = s.current(v, f); err != nil {
			return err
		}
		refusal = s.roleRefusal(v, inv.Function, now)
		inv.Environment, err = s.environment(ctx, v, inv.Function)
		return err
	})
	if err == nil && refusal != nil {
		err = refusal
	}
	if err != nil {
		return nil, fmt.Errorf("prepare function %s: %w", f.Name, err)
	}
	f = inv.Function
	inv.Deadline = time.Now().Add(f.MaxDuration())
	inv.Code = func(ctx context.Context) ([]byte, error) { return s.Code(ctx, f) }
	inv.Credentials = func(ctx context.Context, lifetime time.Duration) (*Credentials, error) {
		return s.RoleSession(ctx, f, f.Name, lifetime, now)
	}
	res, err := runner.Invoke(ctx, inv)
	if err != nil {
		return nil, fmt.Errorf("run function %s: %w", f.Name, err)
	}
	return res, nil
}

// logTail is how much of a log the answer to LogType Tail has.
const logTail = 4 << 10

func (s *Service) opInvoke(ctx context.Context, c *call.Call, in *lambdaapi.InvokeInput) (*lambdaapi.InvokeOutput, error) {
	n, err := named(c, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	var f *Function
	err = s.store.View(ctx, func(v *store.Snap) error {
		f, err = s.load(ctx, c, v, n, "InvokeFunction")
		return err
	})
	if err != nil {
		return nil, err
	}
	switch {
	case in.DurableExecutionName != nil:
		return nil, lambdaapi.InvalidParameterValueException.Errorf("DurableExecutionName is not supported by this server.")
	case in.TenantId != nil:
		return nil, lambdaapi.InvalidParameterValueException.Errorf("TenantId is not supported by this server.")
	case text(in.InvocationType) == lambdaapi.InvocationTypeEvent:
		return nil, lambdaapi.InvalidParameterValueException.Errorf("The invocation type Event is not supported by this server: use RequestResponse.")
	case text(in.InvocationType) == lambdaapi.InvocationTypeDryRun:
		return &lambdaapi.InvokeOutput{StatusCode: new(int32(http.StatusNoContent))}, nil
	}
	payload := []byte(in.Payload)
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	if !json.Valid(payload) {
		return nil, lambdaapi.InvalidRequestContentException.Errorf("Could not parse request body into json.")
	}
	res, err := s.Run(ctx, f, payload, c.RequestID, text(in.ClientContext), c.Now)
	if err != nil {
		return nil, invokeError(err)
	}
	out := &lambdaapi.InvokeOutput{StatusCode: new(int32(http.StatusOK)), ExecutedVersion: new(latest), Payload: res.Payload}
	if res.FunctionError != "" {
		out.FunctionError = &res.FunctionError
	}
	if text(in.LogType) == lambdaapi.LogTypeTail {
		tail := res.Log[max(0, len(res.Log)-logTail):]
		out.LogResult = new(api.SensitiveString(base64.StdEncoding.EncodeToString(tail)))
	}
	return out, nil
}

// invokeError words what kept a function from running for whoever may invoke it.
func invokeError(err error) error {
	if role, ok := errors.AsType[*RoleError](err); ok {
		return lambdaapi.InvalidParameterValueException.Errorf("%s", role.Text)
	}
	switch {
	case errors.Is(err, ErrOff):
		// Lambda's code for a function that cannot be invoked as it is; not to be retried.
		return lambdaapi.ResourceConflictException.Errorf("The function cannot be invoked: %v.", err)
	case errors.Is(err, ErrRuntime):
		return lambdaapi.InvalidRuntimeException.Errorf("%v", err)
	case errors.Is(err, ErrCode):
		return lambdaapi.InvalidZipFileException.Errorf("%v", err)
	case errors.Is(err, ErrBusy):
		return lambdaapi.TooManyRequestsException.Errorf("Rate Exceeded.")
	}
	return err
}
