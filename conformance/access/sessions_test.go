package access_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"arca/conformance/identity"
)

// A session policy limits the session, and gives nothing.
func TestSessionPolicy(t *testing.T) {
	k := identity.New(t, shared)
	_, inside := k.Secret(k.Caller, "MyApp/db", "v")
	_, outside := k.Secret(k.Caller, "Other/db", "v")
	_, shut := k.Secret(k.Caller, "MyApp/shut", "v")
	assumer := k.User("assumer", identity.Allow("sts:AssumeRole", "*"))
	role := k.Role("role", identity.Trust(k.Root()), identity.Allow(actGet, "*"))
	with := func(text string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.Policy = &text }
	}
	free := k.Assume(assumer.Caller, role, "free")
	limited := k.Assume(assumer.Caller, role, "limited", with(identity.Policy(
		identity.Statement{Effect: "Allow", Action: []string{actGet, actDescribe}, Resource: secretsIn(k, k.ID, "MyApp/*")},
		identity.Statement{Effect: "Deny", Action: actGet, Resource: secretsIn(k, k.ID, "MyApp/shut-*")})))
	reads(k, limited, inside, "v")
	cannotRead(k, limited, outside, identity.NoSession)
	cannotRead(k, limited, shut, identity.BySession)
	identity.WantDenied(t, describe(k.Ctx(), limited, inside), limited.ARN, actDescribe, inside, identity.NoIdentity)
	for _, arn := range []string{inside, outside, shut} {
		reads(k, free, arn, "v")
	}

	// Naming the role, a resource policy is limited like the role's own policies; naming
	// the session it is not.
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, outside, identity.Share(actGet, role.ARN)))
	cannotRead(k, limited, outside, identity.NoSession)
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, outside, identity.Share(actGet, limited.ARN)))
	reads(k, limited, outside, "v")

	// Managed policies limit as well; a change of theirs counts on the next call.
	managed := k.Policy("session", identity.Allow(actGet, secretsIn(k, k.ID, "MyApp/*")))
	byARN := k.Assume(assumer.Caller, role, "by-arn", func(in *sts.AssumeRoleInput) {
		in.PolicyArns = []ststypes.PolicyDescriptorType{{Arn: &managed}}
	})
	reads(k, byARN, inside, "v")
	cannotRead(k, byARN, outside, identity.NoSession)
	k.Must(k.IAM.CreatePolicyVersion(k.Ctx(), &iam.CreatePolicyVersionInput{PolicyArn: &managed, SetAsDefault: true, PolicyDocument: aws.String(identity.Allow(actGet, "*"))}))
	k.Settle()
	if !shared.AWS { // where the policy is packed into the session
		reads(k, byARN, outside, "v")
	}
}

// refusedCredentials are the codes that say that credentials are no good any more.
func refusedCredentials(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != "UnrecognizedClientException" && e.ErrorCode() != "AccessDeniedException" {
		t.Errorf("error = %v, want the credentials refused", err)
	}
}

// A session dies with its role. A namesake of the role does not revive it.
func TestRoleMadeAnew(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	assumer := k.User("assumer", identity.Allow("sts:AssumeRole", "*"))
	text := identity.Allow(actGet, "*")
	role := k.Role("role", identity.Trust(k.Root()))
	k.Must(k.IAM.PutRolePolicy(k.Ctx(), &iam.PutRolePolicyInput{RoleName: &role.Name, PolicyName: aws.String("p"), PolicyDocument: &text}))
	k.Settle()
	session := k.Assume(assumer.Caller, role, "session")
	reads(k, session, arn, "v")

	k.Must(k.IAM.DeleteRolePolicy(k.Ctx(), &iam.DeleteRolePolicyInput{RoleName: &role.Name, PolicyName: aws.String("p")}))
	k.Must(k.IAM.DeleteRole(k.Ctx(), &iam.DeleteRoleInput{RoleName: &role.Name}))
	k.Settle()
	_, err := read(k.Ctx(), session, arn)
	refusedCredentials(t, err)
	k.Role("role", identity.Trust(k.Root()), text)
	_, err = read(k.Ctx(), session, arn)
	refusedCredentials(t, err)
	_, err = session.STS.GetCallerIdentity(k.Ctx(), nil)
	if err == nil {
		t.Error("a session of a role that is gone has an identity")
	}
}

// So does one of GetSessionToken with its user, and a key is dead when it is switched
// off.
func TestUserGone(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	user := k.User("user")
	inline := user.Allow(identity.Allow(actGet, "*"))
	k.Settle()
	out, err := user.STS.GetSessionToken(k.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	session := user.As(&user.ARN, *out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	reads(k, session, arn, "v")

	status := func(s iamtypes.StatusType) {
		k.Must(k.IAM.UpdateAccessKey(k.Ctx(), &iam.UpdateAccessKeyInput{UserName: &user.Name, AccessKeyId: &user.Key, Status: s}))
		k.Settle()
	}
	const text = "The security token included in the request is invalid."
	status(iamtypes.StatusTypeInactive)
	_, err = read(k.Ctx(), user.Caller, arn)
	identity.WantError(t, err, "UnrecognizedClientException", http.StatusBadRequest, text)
	_, err = user.STS.GetCallerIdentity(k.Ctx(), nil)
	identity.WantError(t, err, "InvalidClientTokenId", http.StatusForbidden, text)
	status(iamtypes.StatusTypeActive)
	reads(k, user.Caller, arn, "v")

	k.Must(k.IAM.DeleteUserPolicy(k.Ctx(), &iam.DeleteUserPolicyInput{UserName: &user.Name, PolicyName: &inline}))
	k.Settle()
	cannotRead(k, session, arn, identity.NoIdentity)
	k.Must(k.IAM.DeleteAccessKey(k.Ctx(), &iam.DeleteAccessKeyInput{UserName: &user.Name, AccessKeyId: &user.Key}))
	k.Must(k.IAM.DeleteUser(k.Ctx(), &iam.DeleteUserInput{UserName: &user.Name}))
	k.User("user", identity.Allow(actGet, "*"))
	_, err = read(k.Ctx(), user.Caller, arn)
	identity.WantError(t, err, "UnrecognizedClientException", http.StatusBadRequest, text)
	_, err = read(k.Ctx(), session, arn)
	refusedCredentials(t, err)
}

// Sessions are revoked by denying what began before now, as AWS's console does it.
func TestRevokedByIssueTime(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	assumer := k.User("assumer", identity.Allow("sts:AssumeRole", "*"))
	role := k.Role("role", identity.Trust(k.Root()), identity.Allow(actGet, "*"))
	old := k.Assume(assumer.Caller, role, "old")
	reads(k, old, arn, "v")
	// Issue times have whole seconds.
	revoked := time.Now().Truncate(time.Second).Add(time.Second)
	role.Allow(identity.Deny("*", "*", identity.If("DateLessThan", "aws:TokenIssueTime", revoked.UTC().Format(time.RFC3339))))
	k.Settle()
	cannotRead(k, old, arn, identity.ByIdentity)
	time.Sleep(time.Until(revoked))
	reads(k, k.Assume(assumer.Caller, role, "new"), arn, "v")
	cannotRead(k, old, arn, identity.ByIdentity)
}

// Temporary credentials say that no device was shown, others say nothing.
func TestMultiFactorOfSessions(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	assumer := k.User("assumer", identity.Allow("sts:AssumeRole", "*"))
	role := k.Role("role", identity.Trust(k.Root()))
	session := k.Assume(assumer.Caller, role, "session")
	with := func(condition identity.Conditions) {
		k.Must(k.IAM.PutRolePolicy(k.Ctx(), &iam.PutRolePolicyInput{RoleName: &role.Name, PolicyName: aws.String("p"), PolicyDocument: aws.String(identity.Allow(actGet, "*", condition))}))
		k.Settle()
	}
	with(identity.If("Bool", "aws:MultiFactorAuthPresent", "false"))
	reads(k, session, arn, "v")
	with(identity.If("Bool", "aws:MultiFactorAuthPresent", "true"))
	cannotRead(k, session, arn, identity.NoIdentity)
	with(identity.If("BoolIfExists", "aws:MultiFactorAuthPresent", "true"))
	cannotRead(k, session, arn, identity.NoIdentity)
	with(identity.If("Null", "aws:MultiFactorAuthAge", "true"))
	reads(k, session, arn, "v")
	with(identity.If("Null", "aws:TokenIssueTime", "false"))
	reads(k, session, arn, "v")
}

// Tags, source identity and name of a session are condition keys.
func TestSessionKeys(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	assumer := k.User("assumer", identity.Allow([]string{"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"}, "*"))
	role := k.Role("role", identity.Trust(k.Root()), identity.Allow(actGet, "*", identity.Conditions{"StringEquals": {
		"aws:SourceIdentity": "ann", "aws:PrincipalTag/team": "red", "aws:userid": "${aws:userid}",
	}}))
	named := func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("ann") }
	tagged := func(in *sts.AssumeRoleInput) {
		in.Tags = []ststypes.Tag{{Key: aws.String("team"), Value: aws.String("red")}}
	}
	reads(k, k.Assume(assumer.Caller, role, "both", named, tagged), arn, "v")
	cannotRead(k, k.Assume(assumer.Caller, role, "named", named), arn, identity.NoIdentity)
	cannotRead(k, k.Assume(assumer.Caller, role, "tagged", tagged), arn, identity.NoIdentity)
}

// The credentials of a session hang together.
func TestAlteredSession(t *testing.T) {
	k := identity.New(t, shared)
	assumer := k.User("assumer", identity.Allow("sts:AssumeRole", "*"))
	role := k.Role("role", identity.Trust(k.Root()))
	one, two := k.Assume(assumer.Caller, role, "one"), k.Assume(assumer.Caller, role, "two")
	a, err := one.Config.Credentials.Retrieve(k.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.Config.Credentials.Retrieve(k.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	flipped := []byte(a.SessionToken)
	if flipped[len(flipped)/2] ^= 1; flipped[len(flipped)/2] == '=' {
		flipped[len(flipped)/2] = 'A'
	}
	const text = "The security token included in the request is invalid."
	for name, c := range map[string]aws.Credentials{
		"another's token":      {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: b.SessionToken},
		"another's key id":     {AccessKeyID: b.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken},
		"no token":             {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey},
		"altered token":        {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: string(flipped)},
		"cut token":            {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken[:len(a.SessionToken)-8]},
		"token of user's":      {AccessKeyID: assumer.Key, SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken},
		"text for a token":     {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: "token"},
		"long text for one":    {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken + a.SessionToken},
		"key id made up":       {AccessKeyID: "ASIAIOSFODNN7EXAMPLE", SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken},
		"key id of no account": {AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: a.SecretAccessKey},
	} {
		who := one.As(nil, c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
		_, err := read(k.Ctx(), who, k.Prefix+"none")
		t.Log(name)
		identity.WantError(t, err, "UnrecognizedClientException", http.StatusBadRequest, text)
		_, err = who.STS.GetCallerIdentity(k.Ctx(), nil)
		identity.WantError(t, err, "InvalidClientTokenId", http.StatusForbidden, text)
	}
	// Another's secret makes another signature.
	_, err = read(k.Ctx(), one.As(nil, a.AccessKeyID, b.SecretAccessKey, a.SessionToken), k.Prefix+"none")
	identity.WantError(t, err, "InvalidSignatureException", http.StatusBadRequest, "")
	k.Must(one.STS.GetCallerIdentity(k.Ctx(), nil))
}

// What the account's root may do, its own temporary credentials may do as well.
func TestRootSession(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("credentials of a root")
	other := k.Other()
	out, err := other.STS.GetSessionToken(k.Ctx(), &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(900)})
	if err != nil {
		t.Fatal(err)
	}
	root := other.As(&other.ARN, *out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	name, arn := k.Secret(root, "s", "v")
	reads(k, other.Caller, name, "v")
	k.Must(root.SM.DeleteSecret(k.Ctx(), &secretsmanager.DeleteSecretInput{SecretId: &arn}))
}
