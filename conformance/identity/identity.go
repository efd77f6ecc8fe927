// Package identity gives conformance tests people and workloads: accounts, users and
// roles, each with clients of its own, made through the API by ordinary clients.
//
// On a target that outlives the tests everything is removed when a test ends.
package identity

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"arca/conformance/target"
)

// Caller is somebody with credentials, and the clients that use them.
type Caller struct {
	ARN    string
	Config aws.Config
	SM     *secretsmanager.Client
	IAM    *iam.Client
	STS    *sts.Client
}

// NewCaller gives credentials their clients.
func NewCaller(arn string, cfg aws.Config) *Caller {
	return &Caller{
		ARN: arn, Config: cfg,
		SM: secretsmanager.NewFromConfig(cfg), IAM: iam.NewFromConfig(cfg), STS: sts.NewFromConfig(cfg),
	}
}

// with is a caller of the same server with other credentials.
func (c *Caller) with(arn, keyID, secret, token string) *Caller {
	cfg := c.Config.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(keyID, secret, token)
	return NewCaller(arn, cfg)
}

// Account is an account and the administrator of it: its root, or against AWS
// whoever runs the tests.
type Account struct {
	*Caller
	ID string

	k *Kit
}

// User is an IAM user with an access key.
type User struct {
	*Caller
	Name string
	ID   string // AIDA…
	Key  string // AKIA…

	account *Account
}

// Role is an IAM role.
type Role struct {
	Name string
	ARN  string
	ID   string // AROA…

	account *Account
}

// Kit is what one test works with. It begins in the account of the target.
type Kit struct {
	*Account
	T *testing.T
	// Prefix begins the names of everything the test makes and of nothing else. It is
	// right for the names of secrets and of all that IAM keeps.
	Prefix string

	target *target.Target
}

// New starts a parallel test.
func New(t *testing.T, on *target.Target) *Kit {
	t.Helper()
	t.Parallel()
	return NewSerial(t, on)
}

// NewSerial starts a test that must not run beside others.
func NewSerial(t *testing.T, on *target.Target) *Kit {
	t.Helper()
	k := &Kit{T: t, Prefix: "conformance-" + RandomHex(6) + "-", target: on}
	k.Account = &Account{Caller: NewCaller("", on.Config), k: k}
	who, err := k.STS.GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatalf("GetCallerIdentity: %v", err)
	}
	k.ID, k.ARN = aws.ToString(who.Account), aws.ToString(who.Arn)
	return k
}

// RandomHex draws a name that nobody has.
func RandomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return hex.EncodeToString(b)
}

// Ctx is the test's context.
func (k *Kit) Ctx() context.Context { return k.T.Context() }

// Ours skips a test that AWS cannot run, or not at a price that is right.
func (k *Kit) Ours(why string) {
	k.T.Helper()
	if k.target.AWS {
		k.T.Skipf("not against AWS: %s", why)
	}
}

// OwnServer is the process under test, for tests that must look at it from the
// inside; others skip them.
func (k *Kit) OwnServer() *target.Server {
	k.T.Helper()
	if k.target.Server == nil {
		k.T.Skip("needs a server that the tests have started")
	}
	return k.target.Server
}

// Settle waits until AWS has heard of a change to identities. Arca's changes are in
// force on the next call, so there is nothing to wait for.
func (k *Kit) Settle() {
	if k.target.AWS {
		time.Sleep(20 * time.Second)
	}
}

// Must ends the test when a call that has to succeed did not.
func (k *Kit) Must(_ any, err error) {
	k.T.Helper()
	if err != nil {
		k.T.Fatal(err)
	}
}

// Cleanup runs fn at the end of the test, on targets that outlive it.
func (k *Kit) Cleanup(fn func(ctx context.Context)) {
	if k.target.Server == nil {
		k.T.Cleanup(func() { fn(context.Background()) })
	}
}

// Other makes a second account.
func (k *Kit) Other() *Account {
	k.T.Helper()
	server := k.OwnServer()
	out, err := server.Arca(k.Ctx(), "account", "create", k.Prefix+RandomHex(2))
	if err != nil {
		k.T.Fatal(err)
	}
	var made struct {
		AccountID       string `json:"AccountId"`
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
	}
	if err := json.Unmarshal(out, &made); err != nil {
		k.T.Fatalf("arca account create wrote %q: %v", out, err)
	}
	return &Account{
		Caller: k.with("arn:aws:iam::"+made.AccountID+":root", made.AccessKeyID, made.SecretAccessKey, ""),
		ID:     made.AccountID, k: k,
	}
}

// Root is the ARN that stands for the whole account in policies.
func (a *Account) Root() string { return "arn:aws:iam::" + a.ID + ":root" }

// User makes a user with an access key and an inline policy for each text.
func (a *Account) User(name string, policies ...string) *User {
	a.k.T.Helper()
	ctx, full := a.k.Ctx(), a.k.Prefix+name
	made, err := a.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: &full})
	if err != nil {
		a.k.T.Fatalf("CreateUser(%s): %v", full, err)
	}
	u := &User{Name: full, ID: aws.ToString(made.User.UserId), account: a}
	a.k.Cleanup(func(ctx context.Context) { a.removeUser(ctx, full) })
	for _, text := range policies {
		u.Allow(text)
	}
	key, err := a.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &full})
	if err != nil {
		a.k.T.Fatalf("CreateAccessKey(%s): %v", full, err)
	}
	u.Key = aws.ToString(key.AccessKey.AccessKeyId)
	u.Caller = a.with(aws.ToString(made.User.Arn), u.Key, aws.ToString(key.AccessKey.SecretAccessKey), "")
	a.k.Settle()
	return u
}

// Allow adds an inline policy to the user and returns its name.
func (u *User) Allow(text string) string {
	u.account.k.T.Helper()
	name := "inline-" + RandomHex(4)
	u.account.k.Must(u.account.IAM.PutUserPolicy(u.account.k.Ctx(), &iam.PutUserPolicyInput{
		UserName: &u.Name, PolicyName: &name, PolicyDocument: &text,
	}))
	return name
}

// Role makes a role with an inline policy for each text.
func (a *Account) Role(name, trust string, policies ...string) *Role {
	a.k.T.Helper()
	full := a.k.Prefix + name
	made, err := a.IAM.CreateRole(a.k.Ctx(), &iam.CreateRoleInput{RoleName: &full, AssumeRolePolicyDocument: &trust})
	if err != nil {
		a.k.T.Fatalf("CreateRole(%s): %v", full, err)
	}
	r := &Role{Name: full, ARN: aws.ToString(made.Role.Arn), ID: aws.ToString(made.Role.RoleId), account: a}
	a.k.Cleanup(func(ctx context.Context) { a.removeRole(ctx, full) })
	for _, text := range policies {
		r.Allow(text)
	}
	a.k.Settle()
	return r
}

// Allow adds an inline policy to the role.
func (r *Role) Allow(text string) {
	r.account.k.T.Helper()
	r.account.k.Must(r.account.IAM.PutRolePolicy(r.account.k.Ctx(), &iam.PutRolePolicyInput{
		RoleName: &r.Name, PolicyName: aws.String("inline-" + RandomHex(4)), PolicyDocument: &text,
	}))
}

// SessionARN is the ARN of a session of the role.
func (r *Role) SessionARN(session string) string {
	return "arn:aws:sts::" + r.account.ID + ":assumed-role/" + r.Name + "/" + session
}

// Assume opens a session of a role. change may alter the request.
func (k *Kit) Assume(by *Caller, r *Role, session string, change ...func(*sts.AssumeRoleInput)) *Caller {
	k.T.Helper()
	in := &sts.AssumeRoleInput{RoleArn: &r.ARN, RoleSessionName: &session}
	for _, c := range change {
		c(in)
	}
	out, err := by.STS.AssumeRole(k.Ctx(), in)
	if err != nil {
		k.T.Fatalf("AssumeRole(%s): %v", r.Name, err)
	}
	return by.As(out.AssumedRoleUser.Arn, *out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
}

// As is a caller of the same server with temporary credentials.
func (c *Caller) As(arn *string, keyID, secret, token string) *Caller {
	return c.with(aws.ToString(arn), keyID, secret, token)
}

// Group makes a group of users.
func (a *Account) Group(name string, members ...*User) string {
	a.k.T.Helper()
	full := a.k.Prefix + name
	a.k.Must(a.IAM.CreateGroup(a.k.Ctx(), &iam.CreateGroupInput{GroupName: &full}))
	a.k.Cleanup(func(ctx context.Context) {
		a.removeGroup(ctx, full)
	})
	for _, u := range members {
		a.k.Must(a.IAM.AddUserToGroup(a.k.Ctx(), &iam.AddUserToGroupInput{GroupName: &full, UserName: &u.Name}))
	}
	return full
}

// Policy makes a managed policy and returns its ARN.
func (a *Account) Policy(name, text string) string {
	a.k.T.Helper()
	out, err := a.IAM.CreatePolicy(a.k.Ctx(), &iam.CreatePolicyInput{PolicyName: aws.String(a.k.Prefix + name), PolicyDocument: &text})
	if err != nil {
		a.k.T.Fatalf("CreatePolicy(%s): %v", name, err)
	}
	a.k.Cleanup(func(ctx context.Context) {
		// Whoever uses it was made later, and so is gone by now.
		_, _ = a.IAM.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: out.Policy.Arn})
	})
	return aws.ToString(out.Policy.Arn)
}

// Secret makes a secret with a value, as a caller, and returns its name and ARN.
func (k *Kit) Secret(by *Caller, name, value string, tags ...string) (fullName, arn string) {
	k.T.Helper()
	fullName = k.Prefix + name
	out, err := by.SM.CreateSecret(k.Ctx(), &secretsmanager.CreateSecretInput{Name: &fullName, SecretString: &value, Tags: SecretTags(tags...)})
	if err != nil {
		k.T.Fatalf("CreateSecret(%s): %v", fullName, err)
	}
	k.Cleanup(func(ctx context.Context) {
		_, _ = by.SM.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: out.ARN, ForceDeleteWithoutRecovery: aws.Bool(true)})
	})
	return fullName, aws.ToString(out.ARN)
}

// Text undoes the encoding in which IAM answers with policies.
func (k *Kit) Text(encoded *string) string {
	k.T.Helper()
	text, err := url.PathUnescape(aws.ToString(encoded))
	if err != nil || strings.Contains(aws.ToString(encoded), " ") {
		k.T.Fatalf("policy %q is not URL-encoded: %v", aws.ToString(encoded), err)
	}
	return text
}

// Tags are tags of IAM from keys and values in turn.
func Tags(pairs ...string) (tags []iamtypes.Tag) {
	for i := 0; i+1 < len(pairs); i += 2 {
		tags = append(tags, iamtypes.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return tags
}
