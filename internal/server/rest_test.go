package server_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"arca/internal/api/lambdaapi"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/server"
	"arca/internal/wire"
)

// newRESTEdge is an edge that serves Lambda, too.
func newRESTEdge(t testing.TB, run func(ctx context.Context, c *call.Call, in any) (any, error), change ...func(*server.Config)) *edge {
	t.Helper()
	router, err := wire.NewRouter(smapi.Service, lambdaapi.Service)
	if err != nil {
		t.Fatal(err)
	}
	return newEdge(t, append([]func(*server.Config){func(c *server.Config) { c.Router, c.Do = router, run }}, change...)...)
}

// pathRequest is a request whose operation stands in its path.
func pathRequest(t testing.TB, method, path, body, service string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, here+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	sign(t, r, body, credentials(), service, region, time.Now())
	return r
}

// answered is status, code and body of an answer.
func answered(t testing.TB, res *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s %s", res.StatusCode, res.Header.Get("X-Amzn-Errortype"), body)
}

func TestRESTAnswers(t *testing.T) {
	e := newRESTEdge(t, func(_ context.Context, _ *call.Call, in any) (any, error) {
		switch in := in.(type) {
		case *lambdaapi.GetPolicyInput:
			switch in.FunctionName {
			case "missing":
				return nil, lambdaapi.ResourceNotFoundException.Errorf("no such policy")
			case "bug":
				return nil, errors.New("holding a value")
			case "panic":
				panic("holding a value")
			}
			return &lambdaapi.GetPolicyOutput{Policy: new(in.FunctionName + text(in.Qualifier))}, nil
		case *lambdaapi.DeleteFunctionInput:
			return &lambdaapi.DeleteFunctionOutput{StatusCode: new(int32(204))}, nil
		}
		return nil, lambdaapi.ServiceException.Errorf("not here")
	})
	const policy = "/2015-03-31/functions/%s/policy"
	for _, tt := range []struct {
		name    string
		request *http.Request
		want    string
	}{
		{"output", pathRequest(t, "GET", fmt.Sprintf(policy, "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af")+"?Qualifier=v1", "", "lambda"),
			`200  {"Policy":"arn:aws:lambda:us-east-1:123456789012:function:fv1"}`},
		{"no body", pathRequest(t, "DELETE", "/2015-03-31/functions/f", "", "lambda"), "204  "},
		{"error of the operation", pathRequest(t, "GET", fmt.Sprintf(policy, "missing"), "", "lambda"), `404 ResourceNotFoundException {"Type":"User","Message":"no such policy"}`},
		{"error without a code", pathRequest(t, "GET", fmt.Sprintf(policy, "bug"), "", "lambda"), `500 ServiceException {"Type":"Service","Message":"An error occurred on the server side."}`},
		{"panic", pathRequest(t, "GET", fmt.Sprintf(policy, "panic"), "", "lambda"), `500 ServiceException {"Type":"Service","Message":"An error occurred on the server side."}`},
		{"constraint", pathRequest(t, "GET", fmt.Sprintf(policy, "f")+"?Qualifier=", "", "lambda"), `400 ValidationException {"message":"2 validation errors detected`},
		{"signed for another service", pathRequest(t, "GET", fmt.Sprintf(policy, "f"), "", "secretsmanager"),
			`403 InvalidSignatureException {"message":"Credential should be scoped to correct service: 'lambda'. "}`},
		{"not served", pathRequest(t, "GET", "/2015-03-31/functions/f/aliases", "", "lambda"), `404 UnknownOperationException {"message":"This server has no operation GET /2015-03-31/functions/f/aliases."}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := direct(e, tt.request)
			got := answered(t, res)
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("answer %s, want %s", got, tt.want)
			}
			if ids := requestIDs(res); len(ids) != 1 || len(ids[0]) != 36 {
				t.Errorf("request ids %q", ids)
			}
			if res.StatusCode == http.StatusNoContent && res.Header.Get("Content-Length") != "" {
				t.Error("an answer without a body has a length")
			}
		})
	}
	r, err := http.NewRequest("GET", here+"/2015-03-31/functions/f/policy", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := answered(t, direct(e, r)); got != `403 MissingAuthenticationTokenException {"message":"Request is missing Authentication Token"}` {
		t.Errorf("unsigned: %s", got)
	}
	// A name that was changed after it was signed, in each way to write it.
	r = pathRequest(t, "GET", fmt.Sprintf(policy, "f"), "", "lambda")
	r.URL.Path = fmt.Sprintf(policy, "g")
	if got := answered(t, direct(e, r)); !strings.HasPrefix(got, "403 InvalidSignatureException") {
		t.Errorf("changed path: %s", got)
	}
	r = pathRequest(t, "GET", fmt.Sprintf(policy, "f")+"?Qualifier=v1", "", "lambda")
	r.URL.RawQuery = "Qualifier=v2"
	if got := answered(t, direct(e, r)); !strings.HasPrefix(got, "403 InvalidSignatureException") {
		t.Errorf("changed query: %s", got)
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// The SDK invokes a function: headers go in, headers and a payload come back.
func TestRESTInvoke(t *testing.T) {
	var in *lambdaapi.InvokeInput
	var left time.Duration
	e := newRESTEdge(t, func(ctx context.Context, _ *call.Call, given any) (any, error) {
		in = given.(*lambdaapi.InvokeInput)
		end, _ := ctx.Deadline()
		left = time.Until(end)
		return &lambdaapi.InvokeOutput{
			StatusCode: new(int32(200)), Payload: []byte(`{"errorMessage":"x"}`), FunctionError: new("Unhandled"), ExecutedVersion: new("$LATEST"),
		}, nil
	})
	srv := httptest.NewServer(e)
	defer srv.Close()
	client := lambda.New(lambda.Options{
		Region: region, BaseEndpoint: &srv.URL, Retryer: aws.NopRetryer{}, Credentials: awscreds.NewStaticCredentialsProvider(keyID, secret, ""),
	})
	out, err := client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("f"), LogType: types.LogTypeTail, Payload: []byte(`{"a":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	if in.FunctionName != "f" || text(in.LogType) != "Tail" || string(in.Payload) != `{"a":1}` ||
		aws.ToString(out.FunctionError) != "Unhandled" || string(out.Payload) != `{"errorMessage":"x"}` || aws.ToString(out.ExecutedVersion) != "$LATEST" {
		t.Errorf("in %+v, out %+v", in, out)
	}
	if left < 15*time.Minute {
		t.Errorf("%v for a function that may take 15 minutes", left)
	}
}

// Only bodies that carry code may be large, and few of those at a time.
func TestLargeBodies(t *testing.T) {
	entered, release := make(chan bool), make(chan bool)
	e := newRESTEdge(t, func(_ context.Context, c *call.Call, _ any) (any, error) {
		if c.Op == lambdaapi.OpUpdateFunctionCode {
			entered <- true
			<-release
		}
		return nil, nil
	}, func(c *server.Config) { c.Limits.MemoryBytes = 32 << 20 })
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise)
	padded := func(bytes int) string { return `{"Description":"x"}` + strings.Repeat(" ", bytes) }
	put := func(path string, bytes int) string {
		return answered(t, direct(e, pathRequest(t, "PUT", path, padded(bytes), "lambda")))
	}
	const code, configuration = "/2015-03-31/functions/f/code", "/2015-03-31/functions/f/configuration"
	if got := put(configuration, 1<<20); !strings.HasPrefix(got, `413 RequestEntityTooLargeException {"message":"The request is larger than 1048576 bytes."}`) {
		t.Errorf("large configuration: %s", got)
	}
	if got := put(code, lambdaapi.OpUpdateFunctionCode.MaxBody); !strings.HasPrefix(got, `413 RequestEntityTooLargeException {"message":"Request must be smaller than 14243158 bytes for the UpdateFunctionCode operation"}`) {
		t.Errorf("too large code: %s", got)
	}
	if got := answered(t, direct(e, pathRequest(t, "POST", "/2015-03-31/functions/f/invocations", padded(6<<20), "lambda"))); !strings.HasPrefix(got, `413 RequestTooLargeException {"message":"Request must be smaller than 6291456 bytes for the Invoke operation"}`) {
		t.Errorf("too large payload: %s", got)
	}
	// Two bodies of 3 MiB, held twice, do not fit into a quarter of 32 MiB.
	done := make(chan string)
	go func() { done <- put(code, 3<<20) }()
	<-entered
	if got := put(code, 3<<20); !strings.HasPrefix(got, "503 ServiceUnavailable") {
		t.Errorf("second upload: %s", got)
	}
	if got := put(configuration, 100); !strings.HasPrefix(got, "200") {
		t.Errorf("small request beside: %s", got)
	}
	release <- true
	if got := <-done; !strings.HasPrefix(got, "200") {
		t.Errorf("first upload: %s", got)
	}
}

// An answer that a slow function keeps waiting for is not cut off.
func TestSlowOperation(t *testing.T) {
	e := newRESTEdge(t, func(ctx context.Context, c *call.Call, _ any) (any, error) {
		select {
		case <-time.After(400 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if c.Op == lambdaapi.OpInvoke {
			return &lambdaapi.InvokeOutput{Payload: []byte("1")}, nil
		}
		return &lambdaapi.GetPolicyOutput{Policy: new("{}")}, nil
	}, func(c *server.Config) {
		c.Limits.CallTimeout, c.Limits.WriteTimeout = 100*time.Millisecond, 200*time.Millisecond
	})
	rn := run(t, e, nil, nil)
	client := lambda.New(lambda.Options{
		Region: region, BaseEndpoint: &rn.url, Retryer: aws.NopRetryer{}, Credentials: awscreds.NewStaticCredentialsProvider(keyID, secret, ""),
	})
	out, err := client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("f")})
	if err != nil || string(out.Payload) != "1" {
		t.Errorf("Invoke = %+v, %v", out, err)
	}
	_, err = client.GetPolicy(t.Context(), &lambda.GetPolicyInput{FunctionName: aws.String("f")})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "ServiceException" {
		t.Errorf("GetPolicy = %v, want the end of its time", err)
	}
}
