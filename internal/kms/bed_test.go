package kms_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arca/internal/access"
	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/kmsapi"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/store"
	"arca/internal/storetest"
	"arca/internal/wire"
)

const otherAccount = "999999999999"

// house runs operations as the server does: through a dispatcher, with the server's own
// decisions, on a real store, with a real audit log. It has two accounts.
type house struct {
	store      *store.Store
	iam        *iam.Service
	svc        *kms.Service
	keys       *store.Table[kms.Key]
	dispatcher *call.Dispatcher
	log        *audit.Log
	logDir     string
	now        time.Time
}

func newHouse(t testing.TB) *house {
	h := &house{now: start, logDir: filepath.Join(t.TempDir(), "audit")}
	h.store = storetest.New(t, h.attach, h.verify)
	h.open(t)
	return h
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (h *house) attach(st *store.Store) {
	h.iam = iam.New(st, time.Now)
	h.svc, h.keys, _ = kms.NewWithTables(kms.Config{Store: st, IAM: h.iam, Logger: slog.New(slog.DiscardHandler)})
}

func (h *house) verify(v *store.Snap, report func(problem string)) { h.svc.Check(v, report) }

func (h *house) open(t testing.TB) {
	for _, account := range []string{account, otherAccount} {
		secret := envelope.NewPlaintext([]byte("secret of " + account))
		if err := h.iam.EnsureRoot(context.Background(), start, account, "", "AKIA"+account, secret); err != nil {
			t.Fatal(err)
		}
	}
	log := audittest.Open(t, audit.Config{Dir: h.logDir, Node: h.store.NodeID()})
	h.log = log
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

// callOption changes who calls, or where.
type callOption func(*call.Call)

func as(p call.Principal) callOption { return func(c *call.Call) { c.Caller = p } }

func otherRoot() callOption { return as(iam.RootPrincipal(otherAccount, "AKIA"+otherAccount)) }

func inRegion(region string) callOption { return func(c *call.Call) { c.Region = region } }

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
func do[Out any](t testing.TB, h *house, op *api.Operation, in any, options ...callOption) (*Out, error) {
	t.Helper()
	out, err := h.call(op, in, options...)
	if err != nil || out == nil {
		return nil, err
	}
	typed, ok := out.(*Out)
	if !ok {
		t.Fatalf("%s answered %T", op.Name, out)
	}
	return typed, nil
}

// must is do for calls that have to succeed.
func must[Out any](t testing.TB, h *house, op *api.Operation, in any, options ...callOption) *Out {
	t.Helper()
	out, err := do[Out](t, h, op, in, options...)
	if err != nil {
		t.Fatalf("%s: %v", op.Name, err)
	}
	return out
}

// run is must for calls whose answer does not matter.
func (h *house) run(t testing.TB, op *api.Operation, in any, options ...callOption) {
	t.Helper()
	if _, err := h.call(op, in, options...); err != nil {
		t.Fatalf("%s: %v", op.Name, err)
	}
}

// refused runs a call that has to fail with this code and text.
func (h *house) refused(t testing.TB, want string, op *api.Operation, in any, options ...callOption) {
	t.Helper()
	_, err := h.call(op, in, options...)
	if got := shown(err); got != want {
		t.Errorf("%s: error\n %s, want\n %s", op.Name, got, want)
	}
}

// shown is what a client sees of an error.
func shown(err error) string {
	if aerr, ok := errors.AsType[*api.Error](err); ok {
		return aerr.Code.Name + ": " + aerr.Message
	}
	if err == nil {
		return "none"
	}
	return err.Error()
}

// audited is everything in the audit log.
func (h *house) audited(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	err := audit.Scan(context.Background(), h.logDir, 0, func(_ uint64, line []byte) error {
		all.Write(line)
		all.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func (h *house) view(t testing.TB, fn func(v *store.Snap)) {
	t.Helper()
	if err := h.store.View(context.Background(), func(v *store.Snap) error { fn(v); return nil }); err != nil {
		t.Fatal(err)
	}
}

// step runs the engine once.
func (h *house) step(t testing.TB) {
	t.Helper()
	if err := kms.NewUpkeep(h.svc, h.dispatcher).Step(context.Background(), h.now); err != nil {
		t.Fatal(err)
	}
}

// key makes a key, with its policy if one is given, and returns id and ARN.
func (h *house) key(t testing.TB, set ...func(in *kmsapi.CreateKeyInput)) (id, arn string) {
	t.Helper()
	in := &kmsapi.CreateKeyInput{}
	for _, s := range set {
		s(in)
	}
	m := must[kmsapi.CreateKeyOutput](t, h, kmsapi.OpCreateKey, in).KeyMetadata
	return m.KeyId, *m.Arn
}

func withPolicy(text string) func(in *kmsapi.CreateKeyInput) {
	return func(in *kmsapi.CreateKeyInput) { in.Policy = &text }
}

// user makes a user with an inline policy, none if it is empty.
func (h *house) user(t testing.TB, owner, name, policy string) call.Principal {
	t.Helper()
	root := as(iam.RootPrincipal(owner, "AKIA"+owner))
	u := must[iamapi.CreateUserOutput](t, h, iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: name}, root).User
	if policy != "" {
		h.run(t, iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: name, PolicyName: "p", PolicyDocument: policy}, root)
	}
	return call.Principal{Type: call.IAMUser, Account: owner, ID: u.UserId, UniqueID: u.UserId, ARN: u.Arn, UserName: name}
}

// session makes a role and a session of it.
func (h *house) session(t testing.TB, owner, role, policy string) call.Principal {
	t.Helper()
	root := as(iam.RootPrincipal(owner, "AKIA"+owner))
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + owner + `"},"Action":"sts:AssumeRole"}}`
	r := must[iamapi.CreateRoleOutput](t, h, iamapi.OpCreateRole, &iamapi.CreateRoleInput{RoleName: role, AssumeRolePolicyDocument: trust}, root).Role
	if policy != "" {
		h.run(t, iamapi.OpPutRolePolicy, &iamapi.PutRolePolicyInput{RoleName: role, PolicyName: "p", PolicyDocument: policy}, root)
	}
	return call.Principal{
		Type: call.AssumedRole, Account: owner, ID: r.RoleId + ":me", UniqueID: r.RoleId,
		ARN:     "arn:aws:sts::" + owner + ":assumed-role/" + role + "/me",
		Session: &call.Session{IssuerType: "Role", IssuerID: r.RoleId, IssuerARN: r.Arn, IssuerName: role, Name: "me", Issued: start, Expires: start.Add(time.Hour)},
	}
}

// allow and deny are statements of identity policies.
func allow(resource string, actions ...string) string { return identity("Allow", resource, actions) }

func deny(resource string, actions ...string) string { return identity("Deny", resource, actions) }

func identity(effect, resource string, actions []string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"` + effect + `","Action":["` + strings.Join(actions, `","`) + `"],"Resource":"` + resource + `"}}`
}

// encrypt encrypts by account's root and returns the ciphertext.
func (h *house) encrypt(t testing.TB, keyID, text string, encCtx map[string]string) []byte {
	t.Helper()
	return must[kmsapi.EncryptOutput](t, h, kmsapi.OpEncrypt, &kmsapi.EncryptInput{KeyId: keyID, Plaintext: []byte(text), EncryptionContext: encCtx}).CiphertextBlob
}

// decrypts checks that account's root can read a ciphertext.
func (h *house) decrypts(t testing.TB, blob []byte, encCtx map[string]string, want string) {
	t.Helper()
	out := must[kmsapi.DecryptOutput](t, h, kmsapi.OpDecrypt, &kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: encCtx})
	if string(out.Plaintext) != want {
		t.Errorf("Decrypt returns another plaintext than %q", want)
	}
}
