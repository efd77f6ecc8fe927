package access_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"arca/conformance/identity"
)

// A user with a policy limited to MyApp/* reads one secret and is denied another.
func TestLimitedToPrefix(t *testing.T) {
	k := identity.New(t, shared)
	_, ours := k.Secret(k.Caller, "MyApp/db", "ours")
	name, theirs := k.Secret(k.Caller, "Other/db", "theirs")
	user := k.User("reader", identity.Allow([]string{actGet, actDescribe}, secretsIn(k, k.ID, "MyApp/*")))
	stranger := k.User("stranger")

	reads(k, user.Caller, ours, "ours")
	k.Must(nil, describe(k.Ctx(), user.Caller, ours))
	cannotRead(k, user.Caller, theirs, identity.NoIdentity)
	cannotRead(k, stranger.Caller, ours, identity.NoIdentity)

	// By name it is the same secret, and its ARN is told.
	_, err := read(k.Ctx(), user.Caller, name)
	identity.WantDenied(t, err, user.ARN, actGet, theirs, identity.NoIdentity)
	// What the policy does not name is denied on the right secret, too.
	_, err = user.SM.PutSecretValue(k.Ctx(), &secretsmanager.PutSecretValueInput{SecretId: &ours, SecretString: aws.String("x")})
	identity.WantDenied(t, err, user.ARN, actPut, ours, identity.NoIdentity)
	reads(k, k.Caller, ours, "ours")
}

// Whether a secret exists is told only to those who may do to it what they ask for.
func TestAuthorizationBeforeExistence(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("reader", identity.Allow(actGet, secretsIn(k, k.ID, "MyApp/*")))
	raw := k.Prefix + "Other/none"
	arn := strings.Replace(secretsIn(k, k.ID, "Other/none-AbCdEf"), "*", user.Config.Region, 1)
	for _, id := range []string{raw, arn} {
		_, err := read(k.Ctx(), user.Caller, id)
		identity.WantDenied(t, err, user.ARN, actGet, id, identity.NoIdentity)
		err = describe(k.Ctx(), user.Caller, id)
		identity.WantDenied(t, err, user.ARN, actDescribe, id, identity.NoIdentity)
	}
	_, err := read(k.Ctx(), k.Caller, raw)
	identity.WantError(t, err, "ResourceNotFoundException", http.StatusBadRequest, "Secrets Manager can't find the specified secret.")
}

// Operations without a resource name none in their denial.
func TestDenialsWithoutResource(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("nobody")
	_, err := user.SM.ListSecrets(k.Ctx(), &secretsmanager.ListSecretsInput{})
	identity.WantDenied(t, err, user.ARN, "secretsmanager:ListSecrets", "", identity.NoIdentity)
	_, err = user.SM.GetRandomPassword(k.Ctx(), &secretsmanager.GetRandomPasswordInput{})
	identity.WantDenied(t, err, user.ARN, "secretsmanager:GetRandomPassword", "", identity.NoIdentity)
	_, err = user.SM.BatchGetSecretValue(k.Ctx(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{k.Prefix + "s"}})
	identity.WantDenied(t, err, user.ARN, "secretsmanager:BatchGetSecretValue", "", identity.NoIdentity)
}

// CreateSecret is denied with the bare name; the tags it implies with the ARN the
// secret would have.
func TestCreateDenied(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("maker", identity.Allow(actCreate, secretsIn(k, k.ID, "MyApp/*")))
	name := k.Prefix + "Other/new"
	_, err := user.SM.CreateSecret(k.Ctx(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("v")})
	identity.WantDenied(t, err, user.ARN, actCreate, name, identity.NoIdentity)
	k.Secret(user.Caller, "MyApp/new", "v")

	name = k.Prefix + "MyApp/tagged"
	_, err = user.SM.CreateSecret(k.Ctx(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("v"), Tags: identity.SecretTags("a", "b")})
	if err == nil || !strings.Contains(err.Error(), "is not authorized to perform: "+actTag+" on resource: arn:aws:secretsmanager:"+user.Config.Region+":"+k.ID+":secret:"+name+"-") {
		t.Errorf("CreateSecret with tags = %v, want a denial of %s", err, actTag)
	}
	_, err = read(k.Ctx(), k.Caller, name)
	identity.WantError(t, err, "ResourceNotFoundException", http.StatusBadRequest, "")
}

func TestExplicitDeny(t *testing.T) {
	k := identity.New(t, shared)
	_, open := k.Secret(k.Caller, "MyApp/open", "v")
	_, sealed := k.Secret(k.Caller, "MyApp/sealed/one", "v")
	user := k.User("reader", identity.Allow(actAll, "*"), identity.Deny("secretsmanager:Get*", secretsIn(k, k.ID, "MyApp/sealed/*")))
	reads(k, user.Caller, open, "v")
	cannotRead(k, user.Caller, sealed, identity.ByIdentity)
	k.Must(nil, describe(k.Ctx(), user.Caller, sealed))

	// No resource policy helps against it.
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, sealed, identity.Share(actGet, user.ARN)))
	cannotRead(k, user.Caller, sealed, identity.ByIdentity)

	// Everything but: NotAction with a Deny leaves only what it names. Who reads a secret
	// also uses its key, if only the default one.
	only := k.User("only", identity.Allow(actAll, "*"),
		identity.Policy(identity.Statement{Effect: "Deny", NotAction: []string{actGet, actPut, "kms:Decrypt"}, Resource: "*"}))
	reads(k, only.Caller, open, "v")
	identity.WantDenied(t, describe(k.Ctx(), only.Caller, open), only.ARN, actDescribe, open, identity.ByIdentity)
	// Everywhere but: NotResource.
	but := k.User("but", identity.Policy(identity.Statement{Effect: "Allow", Action: actGet, NotResource: secretsIn(k, k.ID, "MyApp/sealed/*")}))
	reads(k, but.Caller, open, "v")
	cannotRead(k, but.Caller, sealed, identity.NoIdentity)
}

// What a group may do its members may, from the call after the change on.
func TestGroupPolicy(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "MyApp/db", "v")
	member, other := k.User("member"), k.User("other")
	group := k.Group("readers", member)
	cannotRead(k, member.Caller, arn, identity.NoIdentity)
	inline := aws.String("read")
	k.Must(k.IAM.PutGroupPolicy(k.Ctx(), &iam.PutGroupPolicyInput{GroupName: &group, PolicyName: inline, PolicyDocument: aws.String(identity.Allow(actGet, secretsIn(k, k.ID, "MyApp/*")))}))
	k.Settle()
	reads(k, member.Caller, arn, "v")
	cannotRead(k, other.Caller, arn, identity.NoIdentity)

	k.Must(k.IAM.RemoveUserFromGroup(k.Ctx(), &iam.RemoveUserFromGroupInput{GroupName: &group, UserName: &member.Name}))
	k.Must(k.IAM.AddUserToGroup(k.Ctx(), &iam.AddUserToGroupInput{GroupName: &group, UserName: &other.Name}))
	k.Settle()
	cannotRead(k, member.Caller, arn, identity.NoIdentity)
	reads(k, other.Caller, arn, "v")
	k.Must(k.IAM.DeleteGroupPolicy(k.Ctx(), &iam.DeleteGroupPolicyInput{GroupName: &group, PolicyName: inline}))
	k.Settle()
	cannotRead(k, other.Caller, arn, identity.NoIdentity)

	// A Deny of the group counts against what the user has itself.
	other.Allow(identity.Allow(actGet, "*"))
	managed := k.Policy("deny", identity.Deny(actGet, "*"))
	k.Must(k.IAM.AttachGroupPolicy(k.Ctx(), &iam.AttachGroupPolicyInput{GroupName: &group, PolicyArn: &managed}))
	k.Settle()
	cannotRead(k, other.Caller, arn, identity.ByIdentity)
	k.Must(k.IAM.DetachGroupPolicy(k.Ctx(), &iam.DetachGroupPolicyInput{GroupName: &group, PolicyArn: &managed}))
	k.Settle()
	reads(k, other.Caller, arn, "v")
}

// The default version of a managed policy counts, from the call after the change on.
func TestManagedPolicyVersions(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "MyApp/db", "v")
	first, second := k.User("first"), k.User("second")
	managed := k.Policy("read", identity.Allow(actDescribe, "*"))
	for _, u := range []*identity.User{first, second} {
		k.Must(k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: &u.Name, PolicyArn: &managed}))
		k.Cleanup(func(ctx ctx) {
			_, _ = k.IAM.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: &u.Name, PolicyArn: &managed})
		})
	}
	k.Settle()
	cannotRead(k, first.Caller, arn, identity.NoIdentity)

	version := func(text string, inEffect bool) *string {
		t.Helper()
		out, err := k.IAM.CreatePolicyVersion(k.Ctx(), &iam.CreatePolicyVersionInput{PolicyArn: &managed, PolicyDocument: &text, SetAsDefault: inEffect})
		if err != nil {
			t.Fatal(err)
		}
		k.Settle()
		return out.PolicyVersion.VersionId
	}
	v2 := version(identity.Allow([]string{actGet, actDescribe}, "*"), false)
	cannotRead(k, first.Caller, arn, identity.NoIdentity)
	k.Must(k.IAM.SetDefaultPolicyVersion(k.Ctx(), &iam.SetDefaultPolicyVersionInput{PolicyArn: &managed, VersionId: v2}))
	k.Settle()
	reads(k, first.Caller, arn, "v")
	reads(k, second.Caller, arn, "v")

	v3 := version(identity.Deny(actGet, "*"), true)
	cannotRead(k, first.Caller, arn, identity.ByIdentity)
	k.Must(k.IAM.SetDefaultPolicyVersion(k.Ctx(), &iam.SetDefaultPolicyVersionInput{PolicyArn: &managed, VersionId: v2}))
	k.Must(k.IAM.DeletePolicyVersion(k.Ctx(), &iam.DeletePolicyVersionInput{PolicyArn: &managed, VersionId: v3}))
	k.Settle()
	reads(k, first.Caller, arn, "v")

	k.Must(k.IAM.DetachUserPolicy(k.Ctx(), &iam.DetachUserPolicyInput{UserName: &first.Name, PolicyArn: &managed}))
	k.Settle()
	cannotRead(k, first.Caller, arn, identity.NoIdentity)
	reads(k, second.Caller, arn, "v")
}

// The server's own managed policies can be attached as AWS's.
func TestBuiltinPolicies(t *testing.T) {
	k := identity.New(t, shared)
	name, arn := k.Secret(k.Caller, "MyApp/db", "v")
	for _, tc := range []struct {
		policy              string
		get, put, createIAM bool
	}{
		{"AdministratorAccess", true, true, true},
		{"PowerUserAccess", true, true, false},
		{"SecretsManagerReadWrite", true, true, false},
		{"AWSSecretsManagerClientReadOnlyAccess", true, false, false},
		{"ReadOnlyAccess", false, false, false},
		{"IAMFullAccess", false, false, true},
	} {
		t.Run(tc.policy, func(t *testing.T) {
			user := k.User(tc.policy)
			full := "arn:aws:iam::aws:policy/" + tc.policy
			k.Must(k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: &user.Name, PolicyArn: &full}))
			k.Settle()
			may := func(what string, want bool, err error) {
				t.Helper()
				if got := err == nil; got != want {
					t.Errorf("%s: %v, want it allowed: %v", what, err, want)
				}
			}
			_, err := read(k.Ctx(), user.Caller, name)
			may("GetSecretValue", tc.get, err)
			_, err = user.SM.PutSecretValue(k.Ctx(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("v")})
			may("PutSecretValue", tc.put, err)
			_, err = user.IAM.CreateUser(k.Ctx(), &iam.CreateUserInput{UserName: aws.String(k.Prefix + "by-" + tc.policy)})
			may("CreateUser", tc.createIAM, err)
			k.Cleanup(func(ctx ctx) {
				_, _ = k.IAM.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String(k.Prefix + "by-" + tc.policy)})
			})
		})
	}
}

// A permissions boundary limits what policies give, and gives nothing itself.
func TestPermissionsBoundary(t *testing.T) {
	k := identity.New(t, shared)
	_, inside := k.Secret(k.Caller, "MyApp/db", "v")
	_, outside := k.Secret(k.Caller, "Other/db", "v")
	_, shut := k.Secret(k.Caller, "MyApp/shut", "v")
	boundary := k.Policy("boundary", identity.Policy(
		identity.Statement{Effect: "Allow", Action: actGet, Resource: secretsIn(k, k.ID, "MyApp/*")},
		identity.Statement{Effect: "Deny", Action: actGet, Resource: secretsIn(k, k.ID, "MyApp/shut-*")},
	))
	bounded, free := k.User("bounded", identity.Allow(actAll, "*")), k.User("free", identity.Allow(actAll, "*"))
	reads(k, bounded.Caller, outside, "v")
	set := func(u *identity.User) {
		k.Must(k.IAM.PutUserPermissionsBoundary(k.Ctx(), &iam.PutUserPermissionsBoundaryInput{UserName: &u.Name, PermissionsBoundary: &boundary}))
		k.Cleanup(func(ctx ctx) {
			_, _ = k.IAM.DeleteUserPermissionsBoundary(ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: &u.Name})
		})
		k.Settle()
	}
	set(bounded)
	reads(k, bounded.Caller, inside, "v")
	cannotRead(k, bounded.Caller, outside, identity.NoBoundary)
	cannotRead(k, bounded.Caller, shut, identity.ByBoundary)
	reads(k, free.Caller, outside, "v")
	identity.WantDenied(t, describe(k.Ctx(), bounded.Caller, inside), bounded.ARN, actDescribe, inside, identity.NoBoundary)

	empty := k.User("empty")
	set(empty)
	cannotRead(k, empty.Caller, inside, identity.NoIdentity)

	// A resource policy that names the user itself reaches over an implicit denial.
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, outside, identity.Share(actGet, bounded.ARN)))
	reads(k, bounded.Caller, outside, "v")
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, shut, identity.Share(actGet, bounded.ARN)))
	cannotRead(k, bounded.Caller, shut, identity.ByBoundary)

	k.Must(k.IAM.DeleteUserPermissionsBoundary(k.Ctx(), &iam.DeleteUserPermissionsBoundaryInput{UserName: &bounded.Name}))
	k.Settle()
	reads(k, bounded.Caller, shut, "v")
}

// A boundary on a role limits its sessions also where a resource policy names the
// role, and not where it names the session.
func TestRoleBoundary(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "Other/db", "v")
	boundary := k.Policy("boundary", identity.Allow(actGet, secretsIn(k, k.ID, "MyApp/*")))
	user := k.User("user", identity.Allow("sts:AssumeRole", "*"))
	role := k.Role("role", identity.Trust(k.Root()), identity.Allow(actAll, "*"))
	session := k.Assume(user.Caller, role, "session")
	reads(k, session, arn, "v")
	k.Must(k.IAM.PutRolePermissionsBoundary(k.Ctx(), &iam.PutRolePermissionsBoundaryInput{RoleName: &role.Name, PermissionsBoundary: &boundary}))
	k.Cleanup(func(ctx ctx) {
		_, _ = k.IAM.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: &role.Name})
	})
	k.Settle()
	cannotRead(k, session, arn, identity.NoBoundary)
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Share(actGet, role.ARN)))
	cannotRead(k, session, arn, identity.NoBoundary)
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Share(actGet, session.ARN)))
	reads(k, session, arn, "v")
}

// Policy variables stand for who asks.
func TestPolicyVariables(t *testing.T) {
	k := identity.New(t, shared)
	text := identity.Allow(actGet, secretsIn(k, k.ID, "home/${aws:username}/*"))
	ann, bob := k.User("ann", text), k.User("bob", text)
	_, anns := k.Secret(k.Caller, "home/"+ann.Name+"/s", "ann's")
	_, bobs := k.Secret(k.Caller, "home/"+bob.Name+"/s", "bob's")
	reads(k, ann.Caller, anns, "ann's")
	cannotRead(k, ann.Caller, bobs, identity.NoIdentity)
	reads(k, bob.Caller, bobs, "bob's")
	cannotRead(k, bob.Caller, anns, identity.NoIdentity)

	// A role has no user name; a default stands in for it where there is one.
	role := k.Role("role", identity.Trust(k.Root()), text)
	session := k.Assume(k.User("assumer", identity.Allow("sts:AssumeRole", "*")).Caller, role, ann.Name)
	cannotRead(k, session, anns, identity.NoIdentity)
	role.Allow(identity.Allow(actGet, secretsIn(k, k.ID, "home/${aws:username, '"+ann.Name+"'}/*")))
	k.Settle()
	reads(k, session, anns, "ann's")
	cannotRead(k, session, bobs, identity.NoIdentity)

	// A star that comes out of a variable is a star and no pattern.
	tagged := k.User("tagged", identity.Allow(actGet, secretsIn(k, k.ID, "home/${aws:PrincipalTag/owner}/*")))
	cannotRead(k, tagged.Caller, anns, identity.NoIdentity)
	tag(k, tagged, "owner", ann.Name)
	reads(k, tagged.Caller, anns, "ann's")
	cannotRead(k, tagged.Caller, bobs, identity.NoIdentity)
	if shared.AWS {
		return // its tags hold no stars
	}
	_, err := k.IAM.TagUser(k.Ctx(), &iam.TagUserInput{UserName: &tagged.Name, Tags: identity.Tags("owner", "*")})
	identity.WantError(t, err, "ValidationError", http.StatusBadRequest, "")
}

// BatchGetSecretValue decides for each secret, and tells of the denied ones.
func TestBatchDecidesEach(t *testing.T) {
	k := identity.New(t, shared)
	_, mine := k.Secret(k.Caller, "MyApp/db", "mine")
	_, theirs := k.Secret(k.Caller, "Other/db", "theirs")
	user := k.User("reader",
		identity.Allow(actGet, secretsIn(k, k.ID, "MyApp/*")),
		identity.Allow([]string{"secretsmanager:BatchGetSecretValue", "secretsmanager:ListSecrets"}, "*"))
	out, err := user.SM.BatchGetSecretValue(k.Ctx(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{mine, theirs}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.SecretValues) != 1 || aws.ToString(out.SecretValues[0].ARN) != mine || aws.ToString(out.SecretValues[0].SecretString) != "mine" {
		t.Errorf("SecretValues = %+v", out.SecretValues)
	}
	if len(out.Errors) != 1 || aws.ToString(out.Errors[0].SecretId) != theirs || aws.ToString(out.Errors[0].ErrorCode) != "AccessDeniedException" {
		t.Fatalf("Errors = %+v", out.Errors)
	}
	if got, want := aws.ToString(out.Errors[0].Message), identity.DenialText(user.ARN, actGet, theirs, identity.NoIdentity); got != want {
		t.Errorf("message\n\t%s\nwant\n\t%s", got, want)
	}
	filtered, err := user.SM.BatchGetSecretValue(k.Ctx(), &secretsmanager.BatchGetSecretValueInput{
		Filters: []smtypes.Filter{{Key: smtypes.FilterNameStringTypeName, Values: []string{k.Prefix}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(filtered.SecretValues) != 1 || len(filtered.Errors) != 1 {
		t.Errorf("by filter: %d values, errors %+v", len(filtered.SecretValues), filtered.Errors)
	}
}

// ValidateResourcePolicy needs two permissions.
func TestValidateNeedsTwo(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	const act = "secretsmanager:ValidateResourcePolicy"
	one, both := k.User("one", identity.Allow(act, "*")), k.User("both", identity.Allow([]string{act, actPolicy}, "*"))
	text := identity.Share(actGet, both.ARN)
	validate := func(as *identity.User) error {
		_, err := as.SM.ValidateResourcePolicy(k.Ctx(), &secretsmanager.ValidateResourcePolicyInput{SecretId: &arn, ResourcePolicy: &text})
		return err
	}
	k.Must(nil, validate(both))
	identity.WantDenied(t, validate(one), one.ARN, actPolicy, arn, identity.NoIdentity)
	none := k.User("none", identity.Allow(actPolicy, "*"))
	identity.WantDenied(t, validate(none), none.ARN, act, arn, identity.NoIdentity)
}
