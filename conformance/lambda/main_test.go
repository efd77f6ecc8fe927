// Package lambda_test says what Lambda answers, with the client that AWS publishes.
// Texts are AWS's, letter for letter, wherever they are known; a case whose text is
// Arca's own checks code and status only.
package lambda_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"arca/conformance/identity"
	"arca/conformance/target"
)

// shared is set once, before the tests.
var shared *target.Target

func TestMain(m *testing.M) {
	os.Exit(target.Main(m, func(t *target.Target) { shared = t }))
}

// kit is what one test works with: the client of the account's administrator, and a
// role that functions may have.
type kit struct {
	*identity.Kit
	*lambda.Client
	role *identity.Role
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := identity.New(t, shared)
	return &kit{Kit: k, Client: lambda.NewFromConfig(k.Config), role: k.Role("function", trustLambda())}
}

// client is the one of somebody else.
func client(c *identity.Caller) *lambda.Client { return lambda.NewFromConfig(c.Config) }

// trustLambda is a trust policy for roles of functions.
func trustLambda() string {
	return identity.Policy(identity.Statement{Effect: "Allow", Principal: map[string]any{"Service": "lambda.amazonaws.com"}, Action: "sts:AssumeRole"})
}

// archive is a zip archive with one file of Python.
func archive(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("lambda_function.py")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const source = "def lambda_handler(event, context):\n    return event\n"

// input is a request for a function of Python.
func (k *kit) input(name string) *lambda.CreateFunctionInput {
	k.T.Helper()
	return &lambda.CreateFunctionInput{
		FunctionName: aws.String(k.Prefix + name), Runtime: types.RuntimePython312, Handler: aws.String("lambda_function.lambda_handler"),
		Role: &k.role.ARN, Code: &types.FunctionCode{ZipFile: archive(k.T, source)},
	}
}

// function makes a function and waits as clients do.
func (k *kit) function(name string, change ...func(in *lambda.CreateFunctionInput)) *lambda.CreateFunctionOutput {
	k.T.Helper()
	in := k.input(name)
	for _, c := range change {
		c(in)
	}
	out, err := k.CreateFunction(k.Ctx(), in)
	if err != nil {
		k.T.Fatalf("CreateFunction: %v", err)
	}
	k.Cleanup(func(ctx context.Context) {
		_, _ = k.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: out.FunctionName})
	})
	return out
}

// arn is the ARN of a function of the account's.
func (k *kit) arn(name string) string {
	return "arn:aws:lambda:" + k.Config.Region + ":" + k.ID + ":function:" + name
}

// want is an error as the client should read it; an empty text is not compared.
func want(t *testing.T, what string, err error, status int, code, text string) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code || text != "" && !strings.HasPrefix(e.ErrorMessage(), text) {
		t.Errorf("%s: error %v, want %s: %s", what, err, code, text)
		return
	}
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); !ok || r.HTTPStatusCode() != status {
		t.Errorf("%s: error %v, want the status %d", what, err, status)
	}
}

const (
	badRequest = http.StatusBadRequest
	forbidden  = http.StatusForbidden
	notFound   = http.StatusNotFound
	conflict   = http.StatusConflict
)

// fill writes region, account and a function's ARN into a text.
func (k *kit) fill(form, name string) string {
	return strings.NewReplacer("%F", k.arn(name), "%A", k.ID, "%R", k.Config.Region).Replace(form)
}
