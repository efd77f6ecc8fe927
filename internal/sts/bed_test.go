package sts_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"arca/internal/access"
	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/stsapi"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/egress"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/oidc"
	"arca/internal/oidctest"
	"arca/internal/store"
	"arca/internal/storetest"
	"arca/internal/sts"
	"arca/internal/wire"
)

const (
	account      = "123456789012"
	otherAccount = "999999999999"
)

// bed runs operations as the server does: through a dispatcher, on a real store, with
// real decisions and a real audit log. It has two accounts.
type bed struct {
	store      *store.Store
	iam        *iam.Service
	dispatcher *call.Dispatcher
	logDir     string

	mu     sync.Mutex
	offset time.Duration // of the clock; guarded by mu
}

// newBed opens a bed that trusts the servers of some issuers.
func newBed(t testing.TB, issuers ...*oidctest.Issuer) *bed {
	t.Helper()
	b := &bed{logDir: filepath.Join(t.TempDir(), "audit")}
	b.store = storetest.New(t, func(st *store.Store) { b.iam = iam.New(st, b.now) },
		func(v *store.Snap, report func(string)) { b.iam.Check(v, report) })
	for _, id := range []string{account, otherAccount} {
		err := b.iam.EnsureRoot(context.Background(), time.Now(), id, "", rootKey(id), envelope.NewPlaintext([]byte("secret of "+id)))
		if err != nil {
			t.Fatal(err)
		}
	}
	log := audittest.Open(t, audit.Config{Dir: b.logDir, Node: b.store.NodeID()})
	decide := access.New(access.Config{Store: b.store, IAM: b.iam})
	b.dispatcher = call.New(call.Config{
		Store: b.store, Log: log, Authorize: decide.Authorize, Logger: slog.New(slog.DiscardHandler),
	})
	b.iam.Register(b.dispatcher)
	roots := x509.NewCertPool()
	for _, i := range issuers {
		roots.AppendCertsFromPEM(i.Authority.PEM())
	}
	verifier := oidc.New(oidc.Config{
		Egress: egress.New(egress.Config{AllowLoopback: true, RootCAs: roots}), Now: b.now, Logger: slog.New(slog.DiscardHandler),
	})
	sts.New(sts.Config{Store: b.store, IAM: b.iam, OIDC: verifier}).Register(b.dispatcher)
	return b
}

func (b *bed) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.offset)
}

func (b *bed) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offset += d
}

func rootKey(account string) string { return "AKIAROOT" + account }

func root(account string) call.Principal { return iam.RootPrincipal(account, rootKey(account)) }

// anonymous is who sends a request without a signature.
func anonymous() call.Principal { return call.Principal{Type: call.Anonymous} }

// call runs one call. What the edge would not let through does not get through here.
func (b *bed) call(caller call.Principal, op *api.Operation, in any) (any, error) {
	if err := wire.Validate(op, in); err != nil {
		codes.Note(op, err)
		return nil, err
	}
	out, err := b.dispatcher.Do(context.Background(), &call.Call{
		Op: op, Now: b.now(), Caller: caller, Partition: "aws", Region: "us-east-1", SourceIP: "192.0.2.7",
		RequestID: "11111111-2222-3333-4444-555555555555", Host: "sts.amazonaws.com",
	}, in)
	codes.Note(op, err)
	return out, err
}

// must is call for calls that have to succeed, with the type of the answer.
func must[Out any](t testing.TB, b *bed, caller call.Principal, op *api.Operation, in any) *Out {
	t.Helper()
	out, err := b.call(caller, op, in)
	if err != nil {
		t.Fatalf("%s: %v", op.Name, err)
	}
	if out == nil {
		return nil
	}
	typed, ok := out.(*Out)
	if !ok {
		t.Fatalf("%s answered %T", op.Name, out)
	}
	return typed
}

// told is an error as the client is told, "" for none.
func told(err error) string {
	if err == nil {
		return ""
	}
	aerr, ok := errors.AsType[*api.Error](err)
	if !ok {
		return "no *api.Error: " + err.Error()
	}
	return aerr.Code.Name + ": " + aerr.Message
}

// refused runs a call that has to fail with this code and text.
func refused(t testing.TB, b *bed, caller call.Principal, op *api.Operation, in any, want string) {
	t.Helper()
	_, err := b.call(caller, op, in)
	if got := told(err); got != want {
		t.Errorf("%s: error\n %s, want\n %s", op.Name, got, want)
	}
}

// user makes a user, with an inline policy unless that is empty, and returns it as it
// signs.
func (b *bed) user(t testing.TB, account, name, policy string) call.Principal {
	t.Helper()
	must[iamapi.CreateUserOutput](t, b, root(account), iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: name})
	if policy != "" {
		must[iamapi.PutUserPolicyOutput](t, b, root(account), iamapi.OpPutUserPolicy,
			&iamapi.PutUserPolicyInput{UserName: name, PolicyName: "p", PolicyDocument: policy})
	}
	key := must[iamapi.CreateAccessKeyOutput](t, b, root(account), iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{UserName: &name})
	return b.signer(t, key.AccessKey.AccessKeyId, "")
}

// role makes a role with these trust and inline policies and returns its ARN.
func (b *bed) role(t testing.TB, account, name, trust, policy string, change ...func(in *iamapi.CreateRoleInput)) string {
	t.Helper()
	in := &iamapi.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: trust}
	for _, fn := range change {
		fn(in)
	}
	out := must[iamapi.CreateRoleOutput](t, b, root(account), iamapi.OpCreateRole, in)
	if policy != "" {
		must[iamapi.PutRolePolicyOutput](t, b, root(account), iamapi.OpPutRolePolicy,
			&iamapi.PutRolePolicyInput{RoleName: name, PolicyName: "p", PolicyDocument: policy})
	}
	return out.Role.Arn
}

// signer is whom credentials speak for.
func (b *bed) signer(t testing.TB, keyID, token string) call.Principal {
	t.Helper()
	cred, err := b.iam.Lookup(context.Background(), keyID, token)
	if err != nil {
		t.Fatalf("look up %s: %v", keyID, err)
	}
	return cred.Principal
}

// bearer is whom the answer's credentials speak for.
func (b *bed) bearer(t testing.TB, c *stsapi.Credentials) call.Principal {
	t.Helper()
	return b.signer(t, c.AccessKeyId, string(c.SessionToken))
}

// assume opens a session that has to be allowed.
func (b *bed) assume(t testing.TB, caller call.Principal, in *stsapi.AssumeRoleInput) call.Principal {
	t.Helper()
	return b.bearer(t, must[stsapi.AssumeRoleOutput](t, b, caller, stsapi.OpAssumeRole, in).Credentials)
}

// mayProbe asks whether a caller may do the one thing that needs a permission here and
// changes nothing.
func (b *bed) mayProbe(t testing.TB, caller call.Principal) bool {
	t.Helper()
	_, err := b.call(caller, stsapi.OpGetAccessKeyInfo, &stsapi.GetAccessKeyInfoInput{AccessKeyId: rootKey(account)})
	return err == nil
}

// line is what these tests look at in a record.
type line struct {
	EventName    string
	ErrorCode    string
	UserIdentity struct {
		Type, PrincipalID, ARN, AccountID, UserName, IdentityProvider string
	}
	RequestParameters map[string]any
	raw               string
}

// lines reads the audit log's records of one operation.
func (b *bed) lines(t testing.TB, operation string) (all []line) {
	t.Helper()
	err := audit.Scan(context.Background(), b.logDir, 0, func(_ uint64, raw []byte) error {
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			return fmt.Errorf("record %s: %w", raw, err)
		}
		if l.raw = string(raw); l.EventName == operation {
			all = append(all, l)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Policies.

func identity(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

func allow(action, resource string) string {
	return `{"Effect":"Allow","Action":` + action + `,"Resource":"` + resource + `"}`
}

// trust lets a principal, given as JSON, do actions; condition is JSON or empty.
func trust(principal, actions, condition string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":` + actions + condition + `}]}`
}

func arnPrincipal(arn string) string { return `{"AWS":"` + arn + `"}` }

func accountPrincipal(account string) string { return arnPrincipal(iam.RootARN(account)) }

const (
	assumeAction = `"sts:AssumeRole"`
	// everySession are all actions that a session can need.
	everySession = `["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`
	probeAction  = `"sts:GetAccessKeyInfo"`
)
