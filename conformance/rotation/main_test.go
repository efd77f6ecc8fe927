// Package rotation_test rotates secrets of real databases, with the clients that AWS
// publishes: with the functions that Arca brings along, and with functions of Python,
// Node.js and Go and a webhook as its users would write them.
package rotation_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"arca/conformance/identity"
	"arca/conformance/target"
)

var long = flag.Bool("long", false, "run as many rotations as the documentation claims")

// shared is set once, before the tests.
var shared *target.Target

func TestMain(m *testing.M) {
	os.Exit(target.Main(m, func(t *target.Target) { shared = t }))
}

const (
	rotatorService = "secretsmanager.amazonaws.com"
	// patience is for machines that run many tests at once.
	patience = 90 * time.Second
)

// kit is what one test works with: the clients of the account's administrator.
type kit struct {
	*identity.Kit
	lambda *lambda.Client
	server *target.Server
	last   map[string]time.Time // when secrets were rotated before the rotation under way
}

// newKit works on the server of all tests, which runs built-in functions and webhooks.
func newKit(t *testing.T) *kit {
	t.Helper()
	k := identity.New(t, shared)
	return &kit{Kit: k, lambda: lambda.NewFromConfig(k.Config), server: shared.Server, last: map[string]time.Time{}}
}

// ownKit works on a server of its own, with further flags.
func ownKit(t *testing.T, flags ...string) *kit {
	t.Helper()
	if shared.Server == nil {
		t.Skip("needs a server that the test starts")
	}
	server := shared.Server.Start(t, flags...)
	k := identity.New(t, server.Target())
	return &kit{Kit: k, lambda: lambda.NewFromConfig(k.Config), server: server, last: map[string]time.Time{}}
}

// rotatorRole is a role for a function that rotates some secrets and may read others.
func (k *kit) rotatorRole(name string, secrets []string, readable ...string) *identity.Role {
	k.T.Helper()
	statements := []identity.Statement{
		{Effect: "Allow", Resource: secrets, Action: []string{
			"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage",
		}},
		{Effect: "Allow", Resource: "*", Action: "secretsmanager:GetRandomPassword"},
	}
	if len(readable) > 0 {
		statements = append(statements, identity.Statement{Effect: "Allow", Resource: readable, Action: []string{"secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"}})
	}
	trust := identity.Policy(identity.Statement{Effect: "Allow", Principal: map[string]any{"Service": "lambda.amazonaws.com"}, Action: "sts:AssumeRole"})
	return k.Role(name, trust, identity.Policy(statements...))
}

// builtIn is a change of a function into one that Arca brings along.
func builtIn(kind string) func(in *lambda.CreateFunctionInput) {
	return func(in *lambda.CreateFunctionInput) {
		in.Runtime, in.Handler = types.RuntimeProvidedal2023, aws.String("arca.builtin/"+kind)
	}
}

// withCode is a change of a function into one with code of its own.
func withCode(t *testing.T, runtime types.Runtime, handler string, env map[string]string, files map[string]string) func(in *lambda.CreateFunctionInput) {
	t.Helper()
	return func(in *lambda.CreateFunctionInput) {
		in.Runtime, in.Handler, in.Code.ZipFile = runtime, &handler, archive(t, files)
		in.Environment = &types.Environment{Variables: env}
	}
}

// archive packs files; all may be executed.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range files {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(fs.FileMode(0o755))
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// function makes a function that Secrets Manager may invoke for secrets of the account.
func (k *kit) function(name string, role *identity.Role, change func(in *lambda.CreateFunctionInput)) (arn string) {
	k.T.Helper()
	in := &lambda.CreateFunctionInput{
		FunctionName: aws.String(k.Prefix + name), Role: &role.ARN, Timeout: aws.Int32(60), MemorySize: aws.Int32(256), Code: &types.FunctionCode{},
	}
	change(in)
	made, err := k.lambda.CreateFunction(k.Ctx(), in)
	if err != nil {
		k.T.Fatalf("CreateFunction: %v", err)
	}
	k.Cleanup(func(ctx context.Context) {
		_, _ = k.lambda.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: made.FunctionArn})
	})
	k.permit(aws.ToString(made.FunctionArn), k.ID)
	return aws.ToString(made.FunctionArn)
}

// permit lets Secrets Manager invoke a function for secrets of an account.
func (k *kit) permit(function, account string) {
	k.T.Helper()
	k.Must(k.lambda.AddPermission(k.Ctx(), &lambda.AddPermissionInput{
		FunctionName: &function, StatementId: aws.String("rotation-" + account), Action: aws.String("lambda:InvokeFunction"),
		Principal: aws.String(rotatorService), SourceAccount: &account,
	}))
}

// rotate begins a rotation and returns the version that it makes.
func (k *kit) rotate(id string, change ...func(in *secretsmanager.RotateSecretInput)) (version string) {
	k.T.Helper()
	k.last[id] = aws.ToTime(k.describe(id).LastRotatedDate)
	in := &secretsmanager.RotateSecretInput{SecretId: &id}
	for _, c := range change {
		c(in)
	}
	out, err := k.SM.RotateSecret(k.Ctx(), in)
	if err != nil {
		k.T.Fatalf("RotateSecret: %v", err)
	}
	return aws.ToString(out.VersionId)
}

// by sets the function and a schedule of 30 days.
func by(function string) func(in *secretsmanager.RotateSecretInput) {
	return func(in *secretsmanager.RotateSecretInput) {
		in.RotationLambdaARN, in.RotationRules = &function, &smtypes.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}
	}
}

func (k *kit) describe(id string) *secretsmanager.DescribeSecretOutput {
	k.T.Helper()
	out, err := k.SM.DescribeSecret(k.Ctx(), &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		k.T.Fatalf("DescribeSecret: %v", err)
	}
	return out
}

// rotated waits until a version is current and its rotation has ended.
func (k *kit) rotated(id, version string) {
	k.T.Helper()
	k.soon("version "+version+" becomes current", func() bool {
		d := k.describe(id)
		return slices.Contains(d.VersionIdsToStages[version], "AWSCURRENT") && aws.ToTime(d.LastRotatedDate).After(k.last[id])
	}, func() string { return k.timeline(id) })
}

// timeline is how a rotation went, for people.
func (k *kit) timeline(id string) string {
	if k.server == nil {
		return ""
	}
	out, err := k.server.Arca(context.WithoutCancel(k.Ctx()), "rotation", "show", id)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// soon repeats a check until it holds.
func (k *kit) soon(what string, check func() bool, explain ...func() string) {
	k.T.Helper()
	for deadline := time.Now().Add(patience); !check(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			text := ""
			for _, e := range explain {
				text += e()
			}
			k.T.Fatalf("waited in vain for: %s\n%s", what, text)
		}
	}
}

// value is the value of a label.
func (k *kit) value(id, stage string) string {
	k.T.Helper()
	out, err := k.SM.GetSecretValue(k.Ctx(), &secretsmanager.GetSecretValueInput{SecretId: &id, VersionStage: &stage})
	if err != nil {
		k.T.Fatalf("GetSecretValue(%s): %v", stage, err)
	}
	return aws.ToString(out.SecretString)
}

// event is a line of the audit log as far as rotation is concerned.
type event struct {
	EventName, EventType, EventSource, RequestID, ErrorMessage, UserAgent, SourceIPAddress string
	UserIdentity                                                                           map[string]any
	RequestParameters, ResponseElements, AdditionalEventData                               map[string]any
	ReadOnly                                                                               bool
}

// events are those of a secret that nobody called for.
func (k *kit) events(arn string) (list []event) {
	k.T.Helper()
	files, err := filepath.Glob(filepath.Join(k.OwnServer().Home, "data", "audit", "*", "*.jsonl"))
	if err != nil || len(files) == 0 {
		k.T.Fatalf("no audit log: %v", err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			k.T.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if !strings.HasSuffix(line, "\n") || !strings.Contains(line, arn) {
				continue // what has no end yet is not acknowledged either
			}
			var e event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				k.T.Fatalf("line %q: %v", line, err)
			}
			if e.EventType == "AwsServiceEvent" {
				list = append(list, e)
			}
		}
	}
	return list
}

func names(events []event) (list []string) {
	for _, e := range events {
		list = append(list, e.EventName)
	}
	return list
}
