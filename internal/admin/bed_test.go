package admin_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"arca/internal/access"
	"arca/internal/admin"
	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/iamapi"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/compliance"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/secrets"
	"arca/internal/store"
	"arca/internal/storetest"
	"arca/internal/trail"
)

const management = "123456789012"

// root is the root of the management account.
var root = iam.RootPrincipal(management, "AKIAEXAMPLE")

// bed is the service with all that decides about it, behind a dispatcher.
type bed struct {
	*admin.Clock
	dir     string
	rootKey store.RootKey
	noFile  bool // the root key, or its passphrase, lies in no file
	keys    *admin.Keys
	eraser  *admin.Eraser
	logRoot string
	log     *audit.Log
	heads   *audit.Register
	trail   *trail.Trail
	secrets *secrets.Service
	rules   *compliance.Service
	kms     *kms.Service
	store   *store.Store
	iam     *iam.Service
	access  *access.Service
	d       *call.Dispatcher
}

func newBed(t *testing.T, movable bool) *bed {
	t.Helper()
	b := &bed{dir: t.TempDir(), rootKey: storetest.NewRootKey()}
	b.open(t, movable)
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) open(t *testing.T, movable bool) {
	t.Helper()
	cfg := store.Config{Dir: filepath.Join(b.dir, "store"), RootKey: b.rootKey, Logger: storetest.Logger(t)}
	b.store = storetest.Open(t, cfg, func(s *store.Store) { b.attach(s, movable) }, b.check)
	b.serve(t)
}

func (b *bed) attach(s *store.Store, movable bool) {
	b.store = s
	b.Clock = admin.NewClock(s, movable)
	b.iam = iam.New(s, time.Now)
	b.access = access.New(access.Config{Store: s, IAM: b.iam})
	b.heads = audit.NewRegister(s)
	b.kms = kms.New(kms.Config{Store: s, IAM: b.iam, Logger: slog.New(slog.DiscardHandler)})
	b.secrets = secrets.New(secrets.Config{Store: s, KMS: b.kms, IAM: b.iam, Logger: slog.New(slog.DiscardHandler)})
	b.rules = compliance.New(compliance.Config{Store: s, Survey: secrets.NewSurvey(b.secrets), Logger: slog.New(slog.DiscardHandler)})
	b.keys = admin.NewKeys(s, admin.KeysConfig{StoreDir: filepath.Join(b.dir, "store"), RootKeyFile: b.keyFile(), IAM: b.iam})
}

// keyFile is where a root key lies that is a file, "" for none.
func (b *bed) keyFile() string {
	if b.noFile {
		return ""
	}
	return filepath.Join(b.dir, "root.key")
}

func (b *bed) check(v *store.Snap, report func(problem string)) { b.iam.Check(v, report) }

// serve makes the root of the management account and builds the dispatcher anew.
func (b *bed) serve(t *testing.T) {
	t.Helper()
	secret := envelope.NewPlaintext([]byte("secret"))
	if err := b.iam.EnsureRoot(t.Context(), time.Now(), management, "", root.AccessKeyID, secret); err != nil {
		t.Fatal(err)
	}
	b.logRoot = t.TempDir()
	b.openLog(t)
	b.d = call.New(call.Config{Store: b.store, Log: b.log, Authorize: b.access.Authorize, Logger: slog.New(slog.DiscardHandler)})
	admin.New(admin.Config{
		Store: b.store, Clock: b.Clock, IAM: b.iam, Access: b.access, Keys: b.keys, Compliance: b.rules,
		Audit: admin.AuditLog{Dir: b.logDir(), Node: b.store.NodeID(), Log: b.log, Register: b.heads, Trail: b.trail},
	}).Register(b.d)
	b.kms.Register(b.d)
	b.secrets.Register(b.d)
	b.eraser = admin.NewEraser(b.keys, b.d, slog.New(slog.DiscardHandler))
	b.iam.Register(b.d)
}

func (b *bed) logDir() string { return filepath.Join(b.logRoot, b.store.NodeID()) }

// openLog opens the audit log as a server does.
func (b *bed) openLog(t *testing.T) {
	t.Helper()
	key, head, err := b.heads.Node(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.log = audittest.Open(t, audit.Config{Dir: b.logDir(), Node: b.store.NodeID(), Signer: key, Head: head, Keep: b.heads.Keep})
	if b.trail, err = trail.Open(trail.Config{Log: b.log, LogDir: b.logDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.trail.Close() }) // what it has not saved is indexed again
}

func (b *bed) call(op *api.Operation, in any, caller call.Principal) (any, error) {
	return b.d.Do(context.Background(), &call.Call{
		Op: op, Now: b.Now(), Caller: caller, Partition: "aws", Region: "us-east-1", RequestID: "r",
	}, in)
}

// must is a call that works.
func must[Out any](t *testing.T, b *bed, op *api.Operation, in any, caller call.Principal) *Out {
	t.Helper()
	out, err := b.call(op, in, caller)
	if err != nil {
		t.Fatalf("%s: %v", op.Name, err)
	}
	return out.(*Out)
}

// refused is the code and text of a call that does not work.
func (b *bed) refused(t *testing.T, op *api.Operation, in any, caller call.Principal) string {
	t.Helper()
	_, err := b.call(op, in, caller)
	aerr, ok := errors.AsType[*api.Error](err)
	if !ok {
		t.Fatalf("%s = %v, want an error for the client", op.Name, err)
	}
	return aerr.Code.Name + ": " + aerr.Message
}

// account makes an account and returns its root.
func (b *bed) account(t *testing.T, name string) call.Principal {
	t.Helper()
	out := must[arcaapi.CreateAccountOutput](t, b, arcaapi.OpCreateAccount, &arcaapi.CreateAccountInput{Name: name}, root)
	return iam.RootPrincipal(*out.AccountId, *out.AccessKeyId)
}

// user makes a user with an inline policy in the account of a root.
func (b *bed) user(t *testing.T, owner call.Principal, name, policy string) call.Principal {
	t.Helper()
	out := must[iamapi.CreateUserOutput](t, b, iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: name}, owner)
	must[iamapi.PutUserPolicyOutput](t, b, iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{
		UserName: name, PolicyName: "own", PolicyDocument: policy,
	}, owner)
	return call.Principal{
		Type: call.IAMUser, Account: owner.Account, ID: out.User.UserId, UniqueID: out.User.UserId, ARN: out.User.Arn, UserName: name,
	}
}

const everything = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
