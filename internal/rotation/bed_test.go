package rotation_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"arca/internal/access"
	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/iamapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/api/smapi"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/lambda"
	"arca/internal/rotation"
	"arca/internal/secrets"
	"arca/internal/store"
	"arca/internal/storetest"
)

const (
	account = "123456789012"
	region  = "eu-west-1"
)

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// bed is a server without its edge: real services, the server's own decisions, a real
// store and audit log. Functions are Go functions that call back through the dispatcher.
type bed struct {
	store      *store.Store
	iam        *iam.Service
	kms        *kms.Service
	lambda     *lambda.Service
	secrets    *secrets.Service
	dispatcher *call.Dispatcher
	logDir     string

	mu       sync.Mutex
	clock    time.Time                                                                 // guarded by mu
	function func(ctx context.Context, inv *lambda.Invocation) (*lambda.Result, error) // guarded by mu
}

func newBed(t *testing.T) *bed {
	b := &bed{clock: start, logDir: filepath.Join(t.TempDir(), "audit")}
	b.store = storetest.New(t, func(st *store.Store) {
		b.iam = iam.New(st, time.Now)
		log := slog.New(slog.DiscardHandler)
		b.kms = kms.New(kms.Config{Store: st, IAM: b.iam, Logger: log})
		b.lambda = lambda.New(lambda.Config{
			Store: st, IAM: b.iam, Logger: log, Runner: func(lambda.Kind) (lambda.Runner, error) { return b, nil },
			BuiltIn: func(string) bool { return true },
		})
		b.secrets = secrets.New(secrets.Config{Store: st, KMS: b.kms, IAM: b.iam, Logger: log, Function: rotation.FunctionCheck(b.lambda)})
	}, func(v *store.Snap, report func(string)) {
		b.secrets.Check(context.Background(), v, report)
		b.lambda.Check(context.Background(), v, report)
	})
	secret := envelope.NewPlaintext([]byte("secret of " + account))
	if err := b.iam.EnsureRoot(t.Context(), start, account, "", "AKIA"+account, secret); err != nil {
		t.Fatal(err)
	}
	log := audittest.Open(t, audit.Config{Dir: b.logDir, Node: b.store.NodeID()})
	decide := access.New(access.Config{Store: b.store, IAM: b.iam})
	b.dispatcher = call.New(call.Config{Store: b.store, Log: log, Authorize: decide.Authorize, Logger: slog.New(slog.DiscardHandler)})
	b.secrets.Register(b.dispatcher)
	b.lambda.Register(b.dispatcher)
	b.iam.Register(b.dispatcher)
	b.kms.Register(b.dispatcher)
	return b
}

// Invoke is the runner of every function.
func (b *bed) Invoke(ctx context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
	b.mu.Lock()
	f := b.function
	b.mu.Unlock()
	return f(ctx, inv)
}

func (b *bed) setFunction(f func(ctx context.Context, inv *lambda.Invocation) (*lambda.Result, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.function = f
}

func (b *bed) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clock
}

func (b *bed) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock = b.clock.Add(d)
}

func (b *bed) engine(set ...func(*rotation.Config)) *rotation.Engine {
	cfg := rotation.Config{
		Store: b.store, Rotations: secrets.NewRotations(b.secrets, b.dispatcher), Lambda: b.lambda, Now: b.now, Logger: slog.New(slog.DiscardHandler),
	}
	for _, s := range set {
		s(&cfg)
	}
	return rotation.New(cfg)
}

// step runs the engine once, to the end of everything that is due.
func (b *bed) step(t testing.TB, e *rotation.Engine) {
	t.Helper()
	if err := e.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Wait()
}

func (b *bed) call(op *api.Operation, in any, as ...call.Principal) (any, error) {
	c := &call.Call{
		Op: op, Now: b.now(), Partition: "aws", Region: region, SourceIP: "192.0.2.1",
		RequestID: "11111111-2222-3333-4444-555555555555", Caller: iam.RootPrincipal(account, "AKIA"+account),
	}
	for _, p := range as {
		c.Caller = p
	}
	return b.dispatcher.Do(context.Background(), c, in)
}

func must[Out any](t testing.TB, b *bed, op *api.Operation, in any) *Out {
	t.Helper()
	out, err := b.call(op, in)
	if err != nil {
		t.Fatalf("%s: %v", op.Name, err)
	}
	typed, _ := out.(*Out)
	return typed
}

// refused runs a call that has to fail so.
func refused(t testing.TB, b *bed, op *api.Operation, in any, want string) {
	t.Helper()
	_, err := b.call(op, in)
	aerr, ok := errors.AsType[*api.Error](err)
	if !ok {
		t.Fatalf("%s: error %v, want %s", op.Name, err, want)
	}
	if got := aerr.Code.Name + ": " + aerr.Message; got != want {
		t.Errorf("%s: error\n %s, want\n %s", op.Name, got, want)
	}
}

func functionARN(name string) string {
	return "arn:aws:lambda:" + region + ":" + account + ":function:" + name
}

// addFunction makes a function that Secrets Manager may invoke.
func (b *bed) addFunction(t testing.TB, name string) {
	t.Helper()
	const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	_, _ = b.call(iamapi.OpCreateRole, &iamapi.CreateRoleInput{RoleName: "rotator", AssumeRolePolicyDocument: trust}) // one for all
	must[lambdaapi.FunctionConfiguration](t, b, lambdaapi.OpCreateFunction, &lambdaapi.CreateFunctionInput{
		FunctionName: name, Role: "arn:aws:iam::" + account + ":role/rotator", Runtime: new("provided.al2023"),
		Handler: new("arca.builtin/Test"), Code: &lambdaapi.FunctionCode{}, Timeout: new(int32(60)),
	})
	b.permit(t, name)
}

func (b *bed) permit(t testing.TB, name string) {
	t.Helper()
	must[lambdaapi.AddPermissionOutput](t, b, lambdaapi.OpAddPermission, &lambdaapi.AddPermissionInput{
		FunctionName: name, StatementId: "rotation", Action: "lambda:InvokeFunction", Principal: "secretsmanager.amazonaws.com", SourceAccount: new(account),
	})
}

func (b *bed) addSecret(t testing.TB, name, value string) {
	t.Helper()
	must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{
		Name: name, ClientRequestToken: token(1), SecretString: new(api.SensitiveString(value)),
	})
}

func (b *bed) describe(t testing.TB, name string) *arcaapi.DescribeRotationOutput {
	t.Helper()
	return must[arcaapi.DescribeRotationOutput](t, b, arcaapi.OpDescribeRotation, &arcaapi.DescribeRotationInput{SecretId: name})
}
