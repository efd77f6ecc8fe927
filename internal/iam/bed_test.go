package iam_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/store"
	"arca/internal/storetest"
	"arca/internal/wire"
)

const (
	otherAccount = "999999999999"
	otherKeyID   = "AKIAOTHERACCOUNTEXAM"
	// simplePolicy is an identity policy that allows one thing.
	simplePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`
	// adminARN is a managed policy that every account has.
	adminARN = "arn:aws:iam::aws:policy/AdministratorAccess"
)

// house runs operations as the server does: through a dispatcher, on a real store,
// with a real audit log. It has two accounts.
type house struct {
	store      *store.Store
	svc        *iam.Service
	tables     iam.Tables
	dispatcher *call.Dispatcher
	logDir     string
	now        time.Time
	logged     bytes.Buffer // of the dispatcher; read when no call is under way

	mu    sync.Mutex
	deny  func(ck *call.Check) bool // guarded by mu; nil allows everything
	real  call.Authorizer           // guarded by mu; decides instead, if there is one
	asked []call.Check              // guarded by mu
}

// newHouse opens a house whose quotas shrink changes before it is used.
func newHouse(t testing.TB, shrink ...func(q *iam.Quotas)) *house {
	h := &house{now: start, logDir: filepath.Join(t.TempDir(), "audit")}
	h.store = storetest.New(t, func(st *store.Store) { h.attach(st, shrink...) }, h.verify)
	h.open(t)
	return h
}

func (h *house) attach(st *store.Store, shrink ...func(q *iam.Quotas)) {
	h.svc, h.tables = iam.NewWithTables(st, shrink...)
}

func (h *house) verify(v *store.Snap, report func(problem string)) { h.svc.Check(v, report) }

// open makes the accounts, opens the audit log and registers the operations.
func (h *house) open(t testing.TB) {
	for _, root := range [][2]string{{account, keyID}, {otherAccount, otherKeyID}} {
		if err := h.svc.EnsureRoot(context.Background(), start, root[0], "", root[1], plain("secret of "+root[0])); err != nil {
			t.Fatal(err)
		}
	}
	log := audittest.Open(t, audit.Config{Dir: h.logDir, Node: h.store.NodeID()})
	logger := slog.New(slog.NewTextHandler(&h.logged, nil))
	h.dispatcher = call.New(call.Config{Store: h.store, Log: log, Authorize: h.authorize, Logger: logger})
	h.svc.Register(h.dispatcher)
}

// everyHouseCommit runs do with each of its commits failing in every way, and
// repeated after an error as a client repeats it. The whole store is checked after
// each run.
func everyHouseCommit(t *testing.T, setup func(t *testing.T, h *house), do func(t *testing.T, h *house) error, verify func(t *testing.T, h *house)) {
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

func (h *house) authorize(ctx context.Context, c *call.Call, ck *call.Check) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, *ck)
	if h.real != nil {
		return h.real(ctx, c, ck)
	}
	if h.deny != nil && h.deny(ck) {
		shown := ck.Shown
		if shown == "" {
			shown = ck.Resource
		}
		return api.AccessDenied.Errorf("User: %s is not authorized to perform: %s on resource: %s", c.Caller.ARN, ck.Action, shown)
	}
	return nil
}

// refuse makes the authorizer refuse what deny says; nil ends that.
func (h *house) refuse(deny func(ck *call.Check) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deny = deny
}

// questions returns what the authorizer was asked since the last time.
func (h *house) questions() []call.Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := h.asked
	h.asked = nil
	return asked
}

// callOption changes who calls.
type callOption func(*call.Call)

// as makes a principal the caller; without it the root of account calls.
func as(p call.Principal) callOption { return func(c *call.Call) { c.Caller = p } }

// otherRoot is the root of the other account.
func otherRoot() callOption { return as(iam.RootPrincipal(otherAccount, otherKeyID)) }

// asUser makes a user of account the caller.
func (h *house) asUser(t testing.TB, name string) callOption {
	t.Helper()
	var p call.Principal
	h.view(t, func(v *store.Snap) {
		u := h.svc.User(v, account, name)
		if u == nil {
			t.Fatalf("no user %s", name)
		}
		p = call.Principal{Type: call.IAMUser, Account: account, ID: u.UID, UniqueID: u.UID, ARN: u.ARN(), UserName: u.Name}
	})
	return as(p)
}

// asRole makes a session of some role of account the caller.
func asRole() callOption {
	return as(call.Principal{
		Type: call.AssumedRole, Account: account, ID: "AROAEXAMPLEEXAMPLE234:me", UniqueID: "AROAEXAMPLEEXAMPLE234",
		ARN: "arn:aws:sts::" + account + ":assumed-role/ops/me",
	})
}

func (h *house) view(t testing.TB, fn func(v *store.Snap)) {
	t.Helper()
	err := h.store.View(context.Background(), func(v *store.Snap) error { fn(v); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

// call runs one call of account's root, unless options say otherwise. What the edge
// would not let through does not get through here.
func (h *house) call(op *api.Operation, in any, options ...callOption) (any, error) {
	c := &call.Call{
		Op: op, Now: h.now, Partition: "aws", Region: "us-east-1",
		RequestID: "11111111-2222-3333-4444-555555555555", Caller: iam.RootPrincipal(account, keyID),
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
	if err != nil {
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
	if got := shownError(err); got != want {
		t.Fatalf("%s: error\n %s, want\n %s", op.Name, got, want)
	}
}

// shownError is what a client sees of an error.
func shownError(err error) string {
	if aerr, ok := errors.AsType[*api.Error](err); ok {
		return aerr.Code.Name + ": " + aerr.Message
	}
	return text(err)
}

// settled is nil for errors that only say that the first try went through: operations
// of IAM cannot tell a repeat from a second wish.
func settled(err error, codes ...*api.Code) error {
	if aerr, ok := errors.AsType[*api.Error](err); ok && slices.Contains(codes, aerr.Code) {
		return nil
	}
	return err
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

// createUser makes a user, a second after what was before.
func (h *house) createUser(t testing.TB, name string, set ...func(in *iamapi.CreateUserInput)) *iamapi.User {
	t.Helper()
	h.now = h.now.Add(time.Second)
	in := &iamapi.CreateUserInput{UserName: name}
	for _, s := range set {
		s(in)
	}
	return must[iamapi.CreateUserOutput](t, h, iamapi.OpCreateUser, in).User
}

func (h *house) createGroup(t testing.TB, name string) *iamapi.Group {
	t.Helper()
	h.now = h.now.Add(time.Second)
	return must[iamapi.CreateGroupOutput](t, h, iamapi.OpCreateGroup, &iamapi.CreateGroupInput{GroupName: name}).Group
}

// createPolicy makes a customer managed policy.
func (h *house) createPolicy(t testing.TB, name string) (arn string) {
	t.Helper()
	h.now = h.now.Add(time.Second)
	out := must[iamapi.CreatePolicyOutput](t, h, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{PolicyName: name, PolicyDocument: simplePolicy})
	return *out.Policy.Arn
}

// createKey makes an access key of a user.
func (h *house) createKey(t testing.TB, user string) *iamapi.AccessKey {
	t.Helper()
	h.now = h.now.Add(time.Second)
	return must[iamapi.CreateAccessKeyOutput](t, h, iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{UserName: &user}).AccessKey
}

// tags are tags of keys and values in turn.
func tags(keysAndValues ...string) (list []iamapi.Tag) {
	for pair := range slices.Chunk(keysAndValues, 2) {
		list = append(list, iamapi.Tag{Key: pair[0], Value: pair[1]})
	}
	return list
}

// unescaped is a policy text as it was before it was URL-encoded for the answer.
func unescaped(t testing.TB, s string) string {
	t.Helper()
	text, err := url.PathUnescape(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
