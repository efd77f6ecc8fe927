package access_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/conformance/identity"
)

const (
	textUnsupportedPrincipal = "This resource policy contains an unsupported principal."
	textLockOut              = "Your requested changes will not allow you to manage this secret in the future."
	textBroad                = "You can't attach a resource-based policy that allows broad access to the secret."
	textDefaultKey           = "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."
)

// Whom a resource policy names decides on whether it is enough by itself.
func TestResourcePolicyNames(t *testing.T) {
	k := identity.New(t, shared)
	assumer := k.User("assumer", identity.Allow("sts:AssumeRole", "*"))
	user, other := k.User("user"), k.User("other")
	role := k.Role("role", identity.Trust(assumer.ARN))
	session, second := k.Assume(assumer.Caller, role, "one-session"), k.Assume(assumer.Caller, role, "another")
	for _, tc := range []struct {
		name    string
		names   string
		can     []*identity.Caller
		cannot  []*identity.Caller
		missing string
	}{
		{"user", user.ARN, []*identity.Caller{user.Caller}, []*identity.Caller{other.Caller, session}, identity.NoIdentity},
		{"role", role.ARN, []*identity.Caller{session, second}, []*identity.Caller{user.Caller}, identity.NoIdentity},
		{"session", session.ARN, []*identity.Caller{session}, []*identity.Caller{second, user.Caller}, identity.NoIdentity},
		// An account is trusted to say itself who may.
		{"account", k.Root(), nil, []*identity.Caller{user.Caller, session}, identity.NoIdentity},
		{"account by id", k.ID, nil, []*identity.Caller{user.Caller, session}, identity.NoIdentity},
		{"everybody", "*", []*identity.Caller{user.Caller, other.Caller, session}, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, arn := k.Secret(k.Caller, "by-"+strings.ReplaceAll(tc.name, " ", "-"), "v")
			for _, c := range append(tc.can, tc.cannot...) {
				cannotRead(k, c, arn, identity.NoIdentity)
			}
			k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Share(actGet, tc.names)))
			for _, c := range tc.can {
				reads(k, c, arn, "v")
				identity.WantDenied(t, describe(k.Ctx(), c, arn), c.ARN, actDescribe, arn, identity.NoIdentity)
			}
			for _, c := range tc.cannot {
				cannotRead(k, c, arn, tc.missing)
			}
			k.Must(k.SM.DeleteResourcePolicy(k.Ctx(), &secretsmanager.DeleteResourcePolicyInput{SecretId: &arn}))
			for _, c := range tc.can {
				cannotRead(k, c, arn, identity.NoIdentity)
			}
		})
	}
}

func TestResourcePolicyDenies(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	user, other := k.User("user", identity.Allow(actGet, "*")), k.User("other", identity.Allow(actGet, "*"))
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Policy(
		identity.Statement{Effect: "Deny", Principal: identity.Principals(user.ARN), Action: actGet, Resource: "*"})))
	cannotRead(k, user.Caller, arn, identity.ByResource)
	reads(k, other.Caller, arn, "v")
	reads(k, k.Caller, arn, "v")

	// Everybody but one, the root of the account included.
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Policy(
		identity.Statement{Effect: "Deny", Principal: "*", Action: actGet, Resource: "*",
			Condition: identity.If("ArnNotEquals", "aws:PrincipalArn", user.ARN)})))
	reads(k, user.Caller, arn, "v")
	cannotRead(k, other.Caller, arn, identity.ByResource)
	cannotRead(k, k.Caller, arn, identity.ByResource)
	k.Must(k.SM.DeleteResourcePolicy(k.Ctx(), &secretsmanager.DeleteResourcePolicyInput{SecretId: &arn}))
	reads(k, k.Caller, arn, "v")
}

func TestUnknownPrincipal(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	user := k.User("user")
	for name, principal := range map[string]string{
		"user":               "arn:aws:iam::" + k.ID + ":user/" + k.Prefix + "none",
		"user with a path":   strings.Replace(user.ARN, ":user/", ":user/path/", 1),
		"role":               "arn:aws:iam::" + k.ID + ":role/" + k.Prefix + "none",
		"session of no role": "arn:aws:sts::" + k.ID + ":assumed-role/" + k.Prefix + "none/session",
		"group":              "arn:aws:iam::" + k.ID + ":group/" + k.Prefix + "none",
	} {
		err := putPolicy(k.Ctx(), k.Caller, arn, identity.Share(actGet, user.ARN, principal))
		t.Log(name)
		identity.WantError(t, err, "MalformedPolicyDocumentException", http.StatusBadRequest, textUnsupportedPrincipal)
	}
	if got := policyOf(k, k.Caller, arn); got != "" {
		t.Errorf("a policy that was refused is stored: %s", got)
	}
}

// A policy shows ARNs as long as their bearers are there, and ids afterwards. Who
// takes the name later is somebody else.
func TestPrincipalsByID(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	assumer := k.User("assumer", identity.Allow("sts:AssumeRole", "*"))
	user, role := k.User("user"), k.Role("role", identity.Trust(assumer.ARN))
	text := identity.Share(actGet, user.ARN, role.ARN)
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, text))
	if got := policyOf(k, k.Caller, arn); got != text {
		t.Errorf("policy\n\t%s\nwant\n\t%s", got, text)
	}
	reads(k, user.Caller, arn, "v")
	session := k.Assume(assumer.Caller, role, "session")
	reads(k, session, arn, "v")

	k.Must(k.IAM.DeleteAccessKey(k.Ctx(), &iam.DeleteAccessKeyInput{UserName: &user.Name, AccessKeyId: &user.Key}))
	k.Must(k.IAM.DeleteUser(k.Ctx(), &iam.DeleteUserInput{UserName: &user.Name}))
	k.Must(k.IAM.DeleteRole(k.Ctx(), &iam.DeleteRoleInput{RoleName: &role.Name}))
	k.Settle()
	identity.SameJSON(t, policyOf(k, k.Caller, arn), identity.Share(actGet, user.ID, role.ID))

	namesake, roleAgain := k.User("user"), k.Role("role", identity.Trust(assumer.ARN))
	if namesake.ARN != user.ARN || roleAgain.ARN != role.ARN || namesake.ID == user.ID || roleAgain.ID == role.ID {
		t.Fatalf("made anew: %s %s, %s %s", namesake.ARN, namesake.ID, roleAgain.ARN, roleAgain.ID)
	}
	identity.SameJSON(t, policyOf(k, k.Caller, arn), identity.Share(actGet, user.ID, role.ID))
	cannotRead(k, namesake.Caller, arn, identity.NoIdentity)
	cannotRead(k, k.Assume(assumer.Caller, roleAgain, "session"), arn, identity.NoIdentity)

	// The policy can be sent back with the ids in it, and set right.
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, policyOf(k, k.Caller, arn)))
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, text))
	reads(k, namesake.Caller, arn, "v")
}

// A user who is renamed stays whom a policy names.
func TestRenamedPrincipal(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	user := k.User("user")
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Share(actGet, user.ARN)))
	reads(k, user.Caller, arn, "v")
	renamed := k.Prefix + "renamed"
	k.Must(k.IAM.UpdateUser(k.Ctx(), &iam.UpdateUserInput{UserName: &user.Name, NewUserName: &renamed, NewPath: aws.String("/elsewhere/")}))
	k.Cleanup(func(ctx ctx) {
		_, _ = k.IAM.UpdateUser(ctx, &iam.UpdateUserInput{UserName: &renamed, NewUserName: &user.Name})
	})
	k.Settle()
	reads(k, user.Caller, arn, "v")
	now := "arn:aws:iam::" + k.ID + ":user/elsewhere/" + renamed
	identity.SameJSON(t, policyOf(k, k.Caller, arn), identity.Share(actGet, now))
	identity.WantDenied(t, describe(k.Ctx(), user.Caller, arn), now, actDescribe, arn, identity.NoIdentity)
}

// Nobody takes away his own right to change the policy.
func TestPolicyLockOut(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	admin := k.User("admin", identity.Allow(actAll, "*"))
	before := identity.Share(actGet, admin.ARN)
	k.Must(nil, putPolicy(k.Ctx(), admin.Caller, arn, before))
	denyAll := identity.Statement{Effect: "Deny", Principal: "*", Action: actAll, Resource: "*"}
	denySelf := identity.Statement{Effect: "Deny", Principal: identity.Principals(admin.ARN), Action: actPolicy, Resource: "*"}
	for _, s := range []identity.Statement{denyAll, denySelf} {
		err := putPolicy(k.Ctx(), admin.Caller, arn, identity.Policy(s))
		if err == nil || !strings.Contains(err.Error(), textLockOut) {
			t.Errorf("PutResourcePolicy = %v, want %s", err, textLockOut)
		}
	}
	if got := policyOf(k, k.Caller, arn); got != before {
		t.Errorf("policy = %s", got)
	}
	// For somebody else that is no lock-out.
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Policy(denySelf)))
	err := putPolicy(k.Ctx(), admin.Caller, arn, before)
	identity.WantDenied(t, err, admin.ARN, actPolicy, arn, identity.ByResource)
}

// What is broad is decided by all of the policy, not by a star in it.
func TestBlockPublicPolicy(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	user := k.User("user")
	open := identity.Statement{Effect: "Allow", Principal: "*", Action: actGet, Resource: "*"}
	when := func(c identity.Conditions) identity.Statement {
		s := open
		s.Condition = c
		return s
	}
	deny := func(c identity.Conditions) identity.Statement {
		s := when(c)
		s.Effect = "Deny"
		return s
	}
	for _, tc := range []struct {
		name  string
		broad bool
		list  []identity.Statement
	}{
		{"everybody", true, []identity.Statement{open}},
		{"everybody of AWS", true, []identity.Statement{{Effect: "Allow", Principal: map[string]any{"AWS": "*"}, Action: actGet, Resource: "*"}}},
		{"everybody in time", true, []identity.Statement{when(identity.If("DateLessThan", "aws:CurrentTime", "2099-01-01T00:00:00Z"))}},
		{"everybody with TLS", true, []identity.Statement{when(identity.If("Bool", "aws:SecureTransport", "true"))}},
		{"everybody of some account", true, []identity.Statement{when(identity.If("StringLike", "aws:PrincipalAccount", "*"))}},
		{"everybody from anywhere", true, []identity.Statement{when(identity.If("IpAddress", "aws:SourceIp", "0.0.0.0/0"))}},
		{"one user", false, []identity.Statement{{Effect: "Allow", Principal: identity.Principals(user.ARN), Action: actGet, Resource: "*"}}},
		{"the account", false, []identity.Statement{{Effect: "Allow", Principal: identity.Principals(k.Root()), Action: actGet, Resource: "*"}}},
		{"everybody of one account", false, []identity.Statement{when(identity.If("StringEquals", "aws:PrincipalAccount", k.ID))}},
		{"everybody of one organization", false, []identity.Statement{when(identity.If("StringEquals", "aws:PrincipalOrgID", "o-exampleorgid"))}},
		{"everybody from one network", false, []identity.Statement{when(identity.If("IpAddress", "aws:SourceIp", "203.0.113.0/24"))}},
		{"everybody but others", false, []identity.Statement{open, deny(identity.If("StringNotEquals", "aws:PrincipalAccount", k.ID))}},
		{"everybody but one", true, []identity.Statement{open, deny(identity.If("StringEquals", "aws:PrincipalAccount", k.ID))}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := identity.Policy(tc.list...)
			_, err := k.SM.PutResourcePolicy(k.Ctx(), &secretsmanager.PutResourcePolicyInput{SecretId: &arn, ResourcePolicy: &text, BlockPublicPolicy: aws.Bool(true)})
			if tc.broad {
				identity.WantError(t, err, "PublicPolicyException", http.StatusBadRequest, textBroad)
			} else if err != nil {
				t.Errorf("PutResourcePolicy = %v", err)
			}
			valid, err := k.SM.ValidateResourcePolicy(k.Ctx(), &secretsmanager.ValidateResourcePolicyInput{SecretId: &arn, ResourcePolicy: &text})
			if err != nil {
				t.Fatal(err)
			}
			if valid.PolicyValidationPassed == tc.broad || (len(valid.ValidationErrors) > 0) != tc.broad {
				t.Errorf("ValidateResourcePolicy = %v %+v, want broad: %v", valid.PolicyValidationPassed, valid.ValidationErrors, tc.broad)
			}
			k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, text)) // who asks for it may
		})
	}
}

// A secret of another account needs both sides.
func TestCrossAccount(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("a second account")
	other := k.Other()
	_, arn := k.Secret(k.Caller, "shared", "v")
	_, private := k.Secret(k.Caller, "private", "v")
	able := other.User("able", identity.Allow([]string{actDescribe, actTag, actUntag}, arn))
	unable := other.User("unable")

	// The own side alone.
	identity.WantDenied(t, describe(k.Ctx(), able.Caller, arn), able.ARN, actDescribe, arn, identity.NoResource)
	// The account is let in: its own policies decide.
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Share([]string{actDescribe, actTag}, other.Root())))
	k.Must(nil, describe(k.Ctx(), able.Caller, arn))
	identity.WantDenied(t, describe(k.Ctx(), unable.Caller, arn), unable.ARN, actDescribe, arn, identity.NoIdentity)
	k.Must(nil, describe(k.Ctx(), other.Caller, arn)) // its root
	identity.WantDenied(t, describe(k.Ctx(), able.Caller, private), able.ARN, actDescribe, private, identity.NoResource)
	k.Must(able.SM.TagResource(k.Ctx(), &secretsmanager.TagResourceInput{SecretId: &arn, Tags: identity.SecretTags("a", "b")}))
	_, err := able.SM.UntagResource(k.Ctx(), &secretsmanager.UntagResourceInput{SecretId: &arn, TagKeys: []string{"a"}})
	identity.WantDenied(t, err, able.ARN, actUntag, arn, identity.NoResource)
	// One user is let in: its account must agree.
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Share(actDescribe, able.ARN, unable.ARN)))
	k.Must(nil, describe(k.Ctx(), able.Caller, arn))
	identity.WantDenied(t, describe(k.Ctx(), unable.Caller, arn), unable.ARN, actDescribe, arn, identity.NoIdentity)
	identity.WantDenied(t, describe(k.Ctx(), other.Caller, arn), other.ARN, actDescribe, arn, identity.NoResource)
	// And a role.
	role := other.Role("role", identity.Trust(other.Root()), identity.Allow(actDescribe, "*"))
	assumer := other.User("assumer", identity.Allow("sts:AssumeRole", "*"))
	session := k.Assume(assumer.Caller, role, "session")
	identity.WantDenied(t, describe(k.Ctx(), session, arn), session.ARN, actDescribe, arn, identity.NoResource)
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Share(actDescribe, role.ARN)))
	k.Must(nil, describe(k.Ctx(), session, arn))

	// Another account's secrets have no names here, and do not exist for who may not know.
	name, _, _ := strings.Cut(strings.SplitAfter(arn, ":secret:")[1], "shared")
	err = describe(k.Ctx(), able.Caller, name+"shared")
	identity.WantDenied(t, err, able.ARN, actDescribe, name+"shared", identity.NoIdentity)
	gone := arn[:len(arn)-6] + "AbCdEf"
	identity.WantDenied(t, describe(k.Ctx(), able.Caller, gone), able.ARN, actDescribe, gone, identity.NoResource)
}

// Values under the default key stay in their account, whatever policies say.
func TestCrossAccountDefaultKey(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("a second account")
	other := k.Other()
	_, arn := k.Secret(k.Caller, "shared", "v")
	user := other.User("user", identity.Allow(actAll, "*"))
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Share(actAll, other.Root())))
	_, err := read(k.Ctx(), user.Caller, arn)
	identity.WantError(t, err, "InvalidRequestException", http.StatusBadRequest, textDefaultKey)
	_, err = user.SM.PutSecretValue(k.Ctx(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("w")})
	identity.WantError(t, err, "InvalidRequestException", http.StatusBadRequest, textDefaultKey)
	_, err = read(k.Ctx(), other.Caller, arn)
	identity.WantError(t, err, "InvalidRequestException", http.StatusBadRequest, textDefaultKey)

	// All else works.
	k.Must(nil, describe(k.Ctx(), user.Caller, arn))
	k.Must(user.SM.ListSecretVersionIds(k.Ctx(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &arn}))
	k.Must(user.SM.TagResource(k.Ctx(), &secretsmanager.TagResourceInput{SecretId: &arn, Tags: identity.SecretTags("a", "b")}))
	k.Must(user.SM.UntagResource(k.Ctx(), &secretsmanager.UntagResourceInput{SecretId: &arn, TagKeys: []string{"a"}}))
	k.Must(nil, putPolicy(k.Ctx(), user.Caller, arn, identity.Share(actAll, other.Root())))
	if got := policyOf(k, user.Caller, arn); !strings.Contains(got, other.Root()) {
		t.Errorf("policy = %s", got)
	}
	k.Must(user.SM.DeleteSecret(k.Ctx(), &secretsmanager.DeleteSecretInput{SecretId: &arn}))
	k.Must(user.SM.RestoreSecret(k.Ctx(), &secretsmanager.RestoreSecretInput{SecretId: &arn}))
	reads(k, k.Caller, arn, "v")
}

// Accounts have nothing in common but the server.
func TestAccountsApart(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("a second account")
	other := k.Other()
	name, _ := k.Secret(k.Caller, "db", "mine")
	theirs, arn := k.Secret(other.Caller, "db", "theirs")
	if theirs != name || !strings.Contains(arn, ":"+other.ID+":") {
		t.Fatalf("secret of the other account: %s %s", theirs, arn)
	}
	reads(k, k.Caller, name, "mine")
	reads(k, other.Caller, name, "theirs")
	cannotRead(k, k.Caller, arn, identity.NoResource)
	out, err := other.SM.ListSecrets(k.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.SecretList) != 1 || aws.ToString(out.SecretList[0].ARN) != arn {
		t.Errorf("the other account lists %d secrets", len(out.SecretList))
	}
	// A user of the same name is another user.
	mine, their := k.User("same", identity.Allow(actGet, "*")), other.User("same", identity.Allow(actGet, "*"))
	reads(k, mine.Caller, name, "mine")
	reads(k, their.Caller, name, "theirs")
	if users, err := other.IAM.ListUsers(k.Ctx(), nil); err != nil || len(users.Users) != 1 {
		t.Errorf("the other account lists %v, %v", users, err)
	}
}
