package lambda_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arca/internal/access"
	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/lambda"
	"arca/internal/store"
	"arca/internal/storetest"
	"arca/internal/wire"
)

const (
	account      = "123456789012"
	otherAccount = "999999999999"
	region       = "eu-west-1"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 891e6, time.UTC)

// house runs operations as the server does: through a dispatcher, with the server's own
// decisions, on a real store, with a real audit log. It has two accounts.
type house struct {
	store      *store.Store
	iam        *iam.Service
	svc        *lambda.Service
	dispatcher *call.Dispatcher
	logDir     string
	now        time.Time
	runner     func(k lambda.Kind) (lambda.Runner, error)
}

func newHouse(t testing.TB) *house {
	h := &house{now: start, logDir: filepath.Join(t.TempDir(), "audit")}
	h.store = storetest.New(t, h.attach, h.verify)
	h.open(t)
	return h
}

func (h *house) attach(st *store.Store) {
	h.attachIAM(st)
	h.svc = lambda.New(lambda.Config{
		Store: st, IAM: h.iam, Logger: slog.New(slog.DiscardHandler),
		Runner: func(k lambda.Kind) (lambda.Runner, error) {
			if h.runner == nil {
				return nil, errors.New("start the server with --run-functions")
			}
			return h.runner(k)
		},
		BuiltIn: func(name string) bool { return name == "SecretsManagerGenericRotation" },
	})
}

func (h *house) attachIAM(st *store.Store) { h.iam = iam.New(st, time.Now) }

func (h *house) verify(v *store.Snap, report func(problem string)) {
	h.svc.Check(context.Background(), v, report)
}

func (h *house) open(t testing.TB) {
	for _, account := range []string{account, otherAccount} {
		secret := envelope.NewPlaintext([]byte("secret of " + account))
		if err := h.iam.EnsureRoot(context.Background(), start, account, "", "AKIA"+account, secret); err != nil {
			t.Fatal(err)
		}
	}
	log := audittest.Open(t, audit.Config{Dir: h.logDir, Node: h.store.NodeID()})
	decide := access.New(access.Config{Store: h.store, IAM: h.iam})
	h.dispatcher = call.New(call.Config{Store: h.store, Log: log, Authorize: decide.Authorize, Logger: slog.New(slog.DiscardHandler)})
	h.svc.Register(h.dispatcher)
	h.iam.Register(h.dispatcher)
}

// everyCommit runs do with each of its commits failing in every way, and repeated after
// an error as a client repeats it. The whole store is checked after each run.
func everyCommit(t *testing.T, setup func(t *testing.T, h *house), do func(t *testing.T, h *house) error, verify func(t *testing.T, h *house)) {
	storetest.EveryCommit(t, storetest.Scenario[*house]{
		Attach: func(st *store.Store) *house {
			h := &house{now: start, store: st}
			h.attach(st)
			return h
		},
		Setup: func(t *testing.T, h *house) {
			h.logDir = filepath.Join(t.TempDir(), "audit")
			h.open(t)
			setup(t, h)
		},
		Do:     do,
		Verify: verify,
		Check:  func(h *house, v *store.Snap, report func(problem string)) { h.verify(v, report) },
	})
}

// audited is the text of the audit log.
func (h *house) audited(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(h.logDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// callOption changes who calls, or where.
type callOption func(*call.Call)

func as(p call.Principal) callOption { return func(c *call.Call) { c.Caller = p } }

func otherRoot() callOption { return as(iam.RootPrincipal(otherAccount, "AKIA"+otherAccount)) }

// call runs one call of account's root, unless options say otherwise. What the edge
// would not let through does not get through here.
func (h *house) call(op *api.Operation, in any, options ...callOption) (any, error) {
	c := &call.Call{
		Op: op, Now: h.now, Partition: "aws", Region: region, SourceIP: "192.0.2.10",
		RequestID: "11111111-2222-3333-4444-555555555555", Caller: iam.RootPrincipal(account, "AKIA"+account),
	}
	for _, set := range options {
		set(c)
	}
	if err := wire.Validate(op, in); err != nil {
		return nil, err
	}
	out, err := h.dispatcher.Do(context.Background(), c, in)
	codes.Note(op, err)
	return out, err
}

// do is call with the type of the answer.
func do[Out any](h *house, op *api.Operation, in any, options ...callOption) (*Out, error) {
	out, err := h.call(op, in, options...)
	if err != nil || out == nil {
		return nil, err
	}
	return out.(*Out), nil
}

// must is do for calls that succeed.
func must[Out any](t testing.TB, h *house, op *api.Operation, in any, options ...callOption) *Out {
	t.Helper()
	out, err := do[Out](h, op, in, options...)
	if err != nil {
		t.Fatalf("%s: %v", op.Name, err)
	}
	return out
}

// run is call for calls that succeed and whose answer does not matter.
func (h *house) run(t testing.TB, op *api.Operation, in any, options ...callOption) {
	t.Helper()
	if _, err := h.call(op, in, options...); err != nil {
		t.Fatalf("%s: %v", op.Name, err)
	}
}

// shown is an error as the client reads it.
func shown(err error) string {
	if aerr, ok := errors.AsType[*api.Error](err); ok {
		return aerr.Code.Name + ": " + aerr.Message
	}
	if err != nil {
		return "another error: " + err.Error()
	}
	return "no error"
}

// refused checks an error by its code and the beginning of its text.
func refused(t testing.TB, what string, err error, code *api.Code, text string) {
	t.Helper()
	if aerr, ok := errors.AsType[*api.Error](err); !ok || aerr.Code != code || !strings.HasPrefix(aerr.Message, text) {
		t.Errorf("%s: %s, want %s: %s", what, shown(err), code.Name, text)
	}
}

const roleName = "rotator"

const trustLambda = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}`

func roleARN(name string) string { return "arn:aws:iam::" + account + ":role/" + name }

// role makes a role with a trust policy.
func (h *house) role(t testing.TB, name, trust string) {
	t.Helper()
	h.run(t, iamapi.OpCreateRole, &iamapi.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: trust})
}

// file is one entry of an archive.
type file struct{ name, text string }

// archive makes a zip archive.
func archive(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		e, err := w.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Store})
		if err == nil {
			_, err = e.Write([]byte(f.text))
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

func handler(t testing.TB) []byte { return archive(t, file{"lambda_function.py", "x = 1\n"}) }

// input is a request for a function of Python whose role is there.
func input(t testing.TB, name string) *lambdaapi.CreateFunctionInput {
	return &lambdaapi.CreateFunctionInput{
		FunctionName: name, Runtime: new("python3.12"), Handler: new("lambda_function.lambda_handler"),
		Role: roleARN(roleName), Code: &lambdaapi.FunctionCode{ZipFile: handler(t)},
	}
}

// function makes a function, and its role if that is not there.
func (h *house) function(t testing.TB, name string, change ...func(in *lambdaapi.CreateFunctionInput)) *lambdaapi.FunctionConfiguration {
	t.Helper()
	if _, err := h.call(iamapi.OpGetRole, &iamapi.GetRoleInput{RoleName: roleName}); err != nil {
		h.role(t, roleName, trustLambda)
	}
	in := input(t, name)
	for _, c := range change {
		c(in)
	}
	return must[lambdaapi.FunctionConfiguration](t, h, lambdaapi.OpCreateFunction, in)
}

// record is the record of a function.
func (h *house) record(t testing.TB, name string) (f *lambda.Function) {
	t.Helper()
	err := h.store.View(context.Background(), func(v *store.Snap) error {
		found, ok := h.svc.Find(v, functionARN(name))
		if !ok {
			t.Fatalf("no function %s", name)
		}
		f = found
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func functionARN(name string) string {
	return "arn:aws:lambda:" + region + ":" + account + ":function:" + name
}

// packages counts the packages that there are, and those that no function has.
func (h *house) packages(t testing.TB) (all, staged int) {
	t.Helper()
	_, packages, _ := h.svc.Tables()
	err := h.store.View(context.Background(), func(v *store.Snap) error {
		all, staged = 0, 0
		return packages.Walk(context.Background(), v, func(p *lambda.Package) error {
			all++
			if p.Function == [16]byte{} {
				staged++
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, staged
}

// user makes a user with a policy and returns the principal.
func (h *house) user(t testing.TB, name, policy string) call.Principal {
	t.Helper()
	made := must[iamapi.CreateUserOutput](t, h, iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: name}).User
	if policy != "" {
		h.run(t, iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: name, PolicyName: "p", PolicyDocument: policy})
	}
	return call.Principal{
		Type: call.IAMUser, Account: account, ID: made.UserId, UniqueID: made.UserId, ARN: made.Arn, UserName: name, AccessKeyID: "AKIAUSER",
	}
}
