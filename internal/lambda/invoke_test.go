package lambda_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/lambda"
)

// runnerFunc is a runner that the test says.
type runnerFunc func(ctx context.Context, inv *lambda.Invocation) (*lambda.Result, error)

func (f runnerFunc) Invoke(ctx context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
	return f(ctx, inv)
}

func (h *house) runWith(fn runnerFunc) {
	h.runner = func(lambda.Kind) (lambda.Runner, error) { return fn, nil }
}

func TestInvoke(t *testing.T) {
	h := newHouse(t)
	code := handler(t)
	h.function(t, "f", func(in *lambdaapi.CreateFunctionInput) {
		in.Code.ZipFile = code
		in.Environment = &lambdaapi.Environment{Variables: map[string]api.SensitiveString{"A1": "b"}}
	})
	const secret = "printed-by-the-function"
	h.runWith(func(ctx context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
		got, err := inv.Code(ctx)
		if err != nil || string(got) != string(code) {
			t.Errorf("code: %d bytes, %v", len(got), err)
		}
		creds, err := inv.Credentials(ctx, time.Hour)
		if err != nil {
			return nil, err
		}
		found, err := h.iam.Lookup(ctx, creds.AccessKeyID, string(creds.SessionToken))
		if err != nil || found.Principal.ARN != "arn:aws:sts::"+account+":assumed-role/"+roleName+"/f" {
			t.Errorf("credentials of %+v, %v", found, err)
		}
		if s := fmt.Sprintf("%v %+v", creds, *creds); strings.Contains(s, string(creds.SessionToken)) {
			t.Error("credentials print themselves")
		}
		if until := time.Until(inv.Deadline); until > 3*time.Second || until < time.Second {
			t.Errorf("deadline in %v", until)
		}
		if inv.Environment["A1"] != "b" || inv.RequestID == "" || inv.ClientContext != "Y3R4" {
			t.Errorf("invocation %+v", inv)
		}
		return &lambda.Result{Payload: append([]byte(`{"echo":`), append(inv.Payload, '}')...), Log: []byte(strings.Repeat("x", 5000) + secret)}, nil
	})
	out := must[lambdaapi.InvokeOutput](t, h, lambdaapi.OpInvoke, &lambdaapi.InvokeInput{
		FunctionName: "f", Payload: []byte(`{"a":1}`), LogType: new("Tail"), ClientContext: new(api.SensitiveString("Y3R4")),
	})
	log, err := base64.StdEncoding.DecodeString(string(*out.LogResult))
	if string(out.Payload) != `{"echo":{"a":1}}` || *out.StatusCode != 200 || *out.ExecutedVersion != "$LATEST" || out.FunctionError != nil ||
		err != nil || len(log) != 4096 || !strings.HasSuffix(string(log), secret) {
		t.Errorf("Invoke = %+v, log of %d bytes, %v", out, len(log), err)
	}
	if strings.Contains(h.audited(t), "echo") || strings.Contains(h.audited(t), string(*out.LogResult)) {
		t.Error("what the function said is written down")
	}
	h.runWith(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
		if string(inv.Payload) != "{}" {
			t.Errorf("payload %s", inv.Payload)
		}
		return &lambda.Result{Payload: []byte(`{"errorMessage":"no"}`), FunctionError: lambda.Unhandled}, nil
	})
	out = must[lambdaapi.InvokeOutput](t, h, lambdaapi.OpInvoke, &lambdaapi.InvokeInput{FunctionName: "f"})
	if *out.FunctionError != "Unhandled" || out.LogResult != nil {
		t.Errorf("Invoke = %+v", out)
	}
}

func TestInvokeRefuses(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f")
	invoke := func(change func(in *lambdaapi.InvokeInput)) error {
		in := &lambdaapi.InvokeInput{FunctionName: "f"}
		change(in)
		_, err := h.call(lambdaapi.OpInvoke, in)
		return err
	}
	plain := func(*lambdaapi.InvokeInput) {}
	refused(t, "switched off", invoke(plain), lambdaapi.ResourceConflictException,
		"The function cannot be invoked: running functions is switched off on this server: start the server with --run-functions.")
	refused(t, "event", invoke(func(in *lambdaapi.InvokeInput) { in.InvocationType = new("Event") }), lambdaapi.InvalidParameterValueException, "The invocation type Event is not supported")
	refused(t, "durable", invoke(func(in *lambdaapi.InvokeInput) { in.DurableExecutionName = new("x") }), lambdaapi.InvalidParameterValueException, "DurableExecutionName is")
	refused(t, "tenant", invoke(func(in *lambdaapi.InvokeInput) { in.TenantId = new("x") }), lambdaapi.InvalidParameterValueException, "TenantId is")
	refused(t, "no JSON", invoke(func(in *lambdaapi.InvokeInput) { in.Payload = []byte(`{"a":`) }), lambdaapi.InvalidRequestContentException, "Could not parse request body into json")
	refused(t, "version", invoke(func(in *lambdaapi.InvokeInput) { in.Qualifier = new("live") }), lambdaapi.ResourceNotFoundException, "Function not found: "+functionARN("f")+":live")

	h.runWith(func(context.Context, *lambda.Invocation) (*lambda.Result, error) { return nil, lambda.ErrBusy })
	refused(t, "busy", invoke(plain), lambdaapi.TooManyRequestsException, "Rate Exceeded.")
	h.runWith(func(context.Context, *lambda.Invocation) (*lambda.Result, error) { return nil, errors.New("fork: no") })
	refused(t, "broken runner", invoke(plain), lambdaapi.ServiceException, "An error occurred on the server side.")
	h.runWith(func(context.Context, *lambda.Invocation) (*lambda.Result, error) {
		return nil, fmt.Errorf("%w: there is no python3.12", lambda.ErrRuntime)
	})
	refused(t, "no runtime", invoke(plain), lambdaapi.InvalidRuntimeException, "")
	h.runWith(func(context.Context, *lambda.Invocation) (*lambda.Result, error) {
		return nil, fmt.Errorf("%w: checksum", lambda.ErrCode)
	})
	refused(t, "broken archive", invoke(plain), lambdaapi.InvalidZipFileException, "")
	h.runWith(func(context.Context, *lambda.Invocation) (*lambda.Result, error) {
		t.Error("a function without a role is run")
		return nil, nil
	})
	h.run(t, iamapi.OpDeleteRole, &iamapi.DeleteRoleInput{RoleName: roleName})
	refused(t, "no role", invoke(plain), lambdaapi.InvalidParameterValueException, "The role "+roleARN(roleName)+" of the function does not exist")
}
