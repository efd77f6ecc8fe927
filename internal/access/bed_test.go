package access_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arca/internal/access"
	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/smapi"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/policy"
	"arca/internal/secrets"
	"arca/internal/store"
	"arca/internal/storetest"
)

const (
	ours   = "111111111111" // the management account
	theirs = "222222222222"
	region = "eu-west-1"
)

var (
	start     = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	root      = iam.RootPrincipal(ours, "AKIAROOT")
	theirRoot = iam.RootPrincipal(theirs, "AKIATHEIRROOT")
)

// bed is the authorizer with what it decides about: identities and secrets on a real
// store, behind a dispatcher with a real log.
type bed struct {
	t      testing.TB
	store  *store.Store
	iam    *iam.Service
	sm     *secrets.Service
	access *access.Service
	d      *call.Dispatcher
	logDir string
}

func newBed(t testing.TB, set ...func(c *access.Config)) *bed {
	t.Helper()
	b := &bed{t: t, logDir: filepath.Join(t.TempDir(), "audit")}
	b.store = storetest.New(t, func(st *store.Store) {
		b.iam = iam.New(st, time.Now)
		b.sm = secrets.New(secrets.Config{Store: st, KMS: kms.New(kms.Config{Store: st, IAM: b.iam}), IAM: b.iam, Logger: slog.New(slog.DiscardHandler)})
	}, func(v *store.Snap, report func(string)) { b.iam.Check(v, report) })
	cfg := access.Config{Store: b.store, IAM: b.iam, OrganizationID: "o-arca", Find: b.sm.Resource}
	for _, s := range set {
		s(&cfg)
	}
	b.access = access.New(cfg)
	for _, r := range []call.Principal{root, theirRoot} {
		secret := envelope.NewPlaintext([]byte("secret"))
		if err := b.iam.EnsureRoot(context.Background(), start, r.Account, "", r.AccessKeyID, secret); err != nil {
			t.Fatal(err)
		}
	}
	log := audittest.Open(t, audit.Config{Dir: b.logDir, Node: b.store.NodeID()})
	b.d = call.New(call.Config{Store: b.store, Log: log, Authorize: b.access.Authorize, Logger: slog.New(slog.DiscardHandler)})
	b.iam.Register(b.d)
	b.sm.Register(b.d)
	b.access.Register(b.d)
	return b
}

func newCall(op *api.Operation, caller call.Principal) *call.Call {
	return &call.Call{
		Op: op, Now: start, Caller: caller, Partition: "aws", Region: region, RequestID: "r",
		SourceIP: "192.0.2.10", UserAgent: "test/1", TLS: &call.TLS{Version: "TLSv1.3"}, Secure: true,
	}
}

func (b *bed) call(op *api.Operation, in any, caller call.Principal) (any, error) {
	return b.d.Do(context.Background(), newCall(op, caller), in)
}

// must is a call that works.
func must[Out any](b *bed, op *api.Operation, in any, caller call.Principal) *Out {
	b.t.Helper()
	out, err := b.call(op, in, caller)
	if err != nil {
		b.t.Fatalf("%s by %s: %v", op.Name, caller.ARN, err)
	}
	return out.(*Out)
}

// refused is code and text of a call that does not work.
func (b *bed) refused(op *api.Operation, in any, caller call.Principal) string {
	b.t.Helper()
	_, err := b.call(op, in, caller)
	aerr, ok := errors.AsType[*api.Error](err)
	if !ok {
		b.t.Fatalf("%s by %s = %v, want an error for the client", op.Name, caller.ARN, err)
	}
	return aerr.Code.Name + ": " + aerr.Message
}

// user makes a user with inline policies.
func (b *bed) user(owner call.Principal, name string, policies ...string) call.Principal {
	b.t.Helper()
	out := must[iamapi.CreateUserOutput](b, iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: name}, owner)
	for i, text := range policies {
		b.put(owner, name, string(rune('a'+i)), text)
	}
	return call.Principal{
		Type: call.IAMUser, Account: owner.Account, ID: out.User.UserId, UniqueID: out.User.UserId, ARN: out.User.Arn, UserName: name,
	}
}

// put sets an inline policy of a user.
func (b *bed) put(owner call.Principal, user, name, text string) {
	b.t.Helper()
	must[iamapi.PutUserPolicyOutput](b, iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: user, PolicyName: name, PolicyDocument: text}, owner)
}

// managed makes a managed policy and returns its ARN.
func (b *bed) managed(owner call.Principal, name, text string) string {
	b.t.Helper()
	out := must[iamapi.CreatePolicyOutput](b, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{PolicyName: name, PolicyDocument: text}, owner)
	return *out.Policy.Arn
}

// role makes a role that the whole account may assume, and returns its ARN.
func (b *bed) role(owner call.Principal, name string, policies ...string) string {
	b.t.Helper()
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + owner.Account + `"},"Action":"sts:AssumeRole"}}`
	out := must[iamapi.CreateRoleOutput](b, iamapi.OpCreateRole, &iamapi.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: trust}, owner)
	for i, text := range policies {
		in := &iamapi.PutRolePolicyInput{RoleName: name, PolicyName: string(rune('a' + i)), PolicyDocument: text}
		must[iamapi.PutRolePolicyOutput](b, iamapi.OpPutRolePolicy, in, owner)
	}
	return out.Role.Arn
}

// session opens a session of a role, or of a user or root with an empty name, and
// returns whom its credentials speak for.
func (b *bed) session(issuer call.Principal, s *iam.Session) call.Principal {
	b.t.Helper()
	s.Account, s.Issuer = issuer.Account, issuer.UniqueID
	token, err := b.iam.NewSession(s, time.Hour)
	if err != nil {
		b.t.Fatal(err)
	}
	cred, err := b.iam.Lookup(context.Background(), s.KeyID, token)
	if err != nil {
		b.t.Fatal(err)
	}
	return cred.Principal
}

// assumed is a session of a role.
func (b *bed) assumed(owner call.Principal, role string, set ...func(s *iam.Session)) call.Principal {
	b.t.Helper()
	var uid string
	b.view(func(v *store.Snap) { uid = b.iam.Role(v, owner.Account, role).UID })
	s := &iam.Session{Name: "work"}
	for _, f := range set {
		f(s)
	}
	return b.session(call.Principal{Account: owner.Account, UniqueID: uid}, s)
}

func (b *bed) view(fn func(v *store.Snap)) {
	b.t.Helper()
	if err := b.store.View(context.Background(), func(v *store.Snap) error { fn(v); return nil }); err != nil {
		b.t.Fatal(err)
	}
}

// secret makes a secret, with a resource policy if that is not empty, and returns its
// ARN.
func (b *bed) secret(owner call.Principal, name, resourcePolicy string, tags ...smapi.Tag) string {
	b.t.Helper()
	value := api.SensitiveString("value of " + name)
	out := must[smapi.CreateSecretOutput](b, smapi.OpCreateSecret, &smapi.CreateSecretInput{
		Name: name, SecretString: &value, Tags: tags, ClientRequestToken: new("11111111-2222-3333-4444-555555555555"),
	}, owner)
	if resourcePolicy != "" {
		b.attach(owner, *out.ARN, resourcePolicy)
	}
	return *out.ARN
}

func (b *bed) attach(owner call.Principal, arn, resourcePolicy string) {
	b.t.Helper()
	must[smapi.PutResourcePolicyOutput](b, smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: arn, ResourcePolicy: resourcePolicy}, owner)
}

// describe is what DescribeSecret answers a caller: "allowed" or the reason at the end
// of the denial.
func (b *bed) describe(caller call.Principal, arn string) string {
	b.t.Helper()
	return b.reason(smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: arn}, caller, arn)
}

func (b *bed) reason(op *api.Operation, in any, caller call.Principal, arn string) string {
	b.t.Helper()
	_, err := b.call(op, in, caller)
	if err == nil {
		return "allowed"
	}
	frame := "User: " + caller.ARN + " is not authorized to perform: " + op.Service.Name + ":" + op.Name + " on resource: " + arn + " "
	aerr, ok := errors.AsType[*api.Error](err)
	if !ok || aerr.Code != op.Service.AccessDenied || !strings.HasPrefix(aerr.Message, frame) {
		b.t.Fatalf("%s by %s: %v, want %s", op.Name, caller.ARN, err, frame)
	}
	return aerr.Message[len(frame):]
}

// ask asks the authorizer itself.
func (b *bed) ask(c *call.Call, ck *call.Check) error {
	return b.access.Authorize(context.Background(), c, ck)
}

// key is a condition key of a request.
func key(name string, values ...string) policy.ContextKey {
	return policy.ContextKey{Name: name, Values: values}
}

// denial is what the audit log tells of the last denied call.
type denial struct{ Action, Resource, Reason, Policy, Statement string }

func (b *bed) lastDenial() (d denial) {
	b.t.Helper()
	err := audit.Scan(context.Background(), b.logDir, 0, func(_ uint64, raw []byte) error {
		var l struct {
			Arca struct{ Denied *denial }
		}
		if err := json.Unmarshal(raw, &l); err != nil {
			return err
		}
		if l.Arca.Denied != nil {
			d = *l.Arca.Denied
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// allow and refuse are policies of one statement.
func allow(action, resource string, condition ...string) string {
	return statement("Allow", "", action, resource, condition...)
}

func refuse(action, resource string, condition ...string) string {
	return statement("Deny", "", action, resource, condition...)
}

// to and notTo are resource policies of one statement, about a principal given as JSON.
func to(principal, action string, condition ...string) string {
	return statement("Allow", `"Principal":`+principal+`,`, action, "*", condition...)
}

func notTo(principal, action string, condition ...string) string {
	return statement("Deny", `"Principal":`+principal+`,`, action, "*", condition...)
}

func statement(effect, principal, action, resource string, condition ...string) string {
	s := `{"Version":"2012-10-17","Statement":{"Sid":"Only","Effect":"` + effect + `",` + principal + `"Action":"` + action + `","Resource":"` + resource + `"`
	if len(condition) > 0 {
		s += `,"Condition":` + condition[0]
	}
	return s + "}}"
}

func aws(arn string) string { return `{"AWS":"` + arn + `"}` }

const all = "secretsmanager:*"
