package iam_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"arca/conformance/identity"
)

// Nothing of IAM works without a permission, and nobody learns what there is.
func TestDenied(t *testing.T) {
	k := identity.New(t, shared)
	user, victim := k.User("user"), k.User("victim")
	none := k.Prefix + "none"
	managed := k.Policy("policy", readSecrets)
	for _, tc := range []struct {
		action, resource string
		call             func(c *iam.Client) error
	}{
		{"GetUser", "user " + victim.Name, func(c *iam.Client) error { return errOf(c.GetUser(k.Ctx(), &iam.GetUserInput{UserName: &victim.Name})) }},
		{"GetUser", "user " + none, func(c *iam.Client) error { return errOf(c.GetUser(k.Ctx(), &iam.GetUserInput{UserName: &none})) }},
		{"GetUser", "user " + user.Name, func(c *iam.Client) error { return errOf(c.GetUser(k.Ctx(), nil)) }},
		{"DeleteUser", "user " + victim.Name, func(c *iam.Client) error {
			return errOf(c.DeleteUser(k.Ctx(), &iam.DeleteUserInput{UserName: &victim.Name}))
		}},
		{"CreateAccessKey", "user " + victim.Name, func(c *iam.Client) error {
			return errOf(c.CreateAccessKey(k.Ctx(), &iam.CreateAccessKeyInput{UserName: &victim.Name}))
		}},
		{"GetRole", "role " + none, func(c *iam.Client) error { return errOf(c.GetRole(k.Ctx(), &iam.GetRoleInput{RoleName: &none})) }},
		{"CreateGroup", "", func(c *iam.Client) error {
			return errOf(c.CreateGroup(k.Ctx(), &iam.CreateGroupInput{GroupName: &none}))
		}},
		{"GetPolicy", "policy " + managed, func(c *iam.Client) error {
			return errOf(c.GetPolicy(k.Ctx(), &iam.GetPolicyInput{PolicyArn: &managed}))
		}},
		{"ListUsers", "", func(c *iam.Client) error { return errOf(c.ListUsers(k.Ctx(), nil)) }},
		{"GetAccountAuthorizationDetails", "*", func(c *iam.Client) error { return errOf(c.GetAccountAuthorizationDetails(k.Ctx(), nil)) }},
		{"AttachUserPolicy", "user " + user.Name, func(c *iam.Client) error {
			return errOf(c.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: &user.Name, PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")}))
		}},
		{"PutUserPolicy", "user " + user.Name, func(c *iam.Client) error {
			return errOf(c.PutUserPolicy(k.Ctx(), &iam.PutUserPolicyInput{UserName: &user.Name, PolicyName: aws.String("p"), PolicyDocument: &readSecrets}))
		}},
	} {
		err := tc.call(user.IAM)
		t.Log(tc.action)
		if tc.resource != "" {
			identity.WantDeniedQuery(t, err, user.ARN, "iam:"+tc.action, tc.resource, identity.NoIdentity)
		} else {
			identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")
		}
	}
	k.Must(victim.STS.GetCallerIdentity(k.Ctx(), nil))
}

// Permissions can be had below a path, by tag, and for some policies only.
func TestLimitedAdministrators(t *testing.T) {
	k := identity.New(t, shared)
	path := "/" + k.Prefix + "team/"
	arn := func(kind string) string { return "arn:aws:iam::" + k.ID + ":" + kind + path + "*" }
	lead := k.User("lead", identity.Allow([]string{"iam:CreateUser", "iam:DeleteUser", "iam:GetUser"}, arn("user")))
	create := func(name, path string) error {
		full := k.Prefix + name
		k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &full}) })
		return errOf(lead.IAM.CreateUser(k.Ctx(), &iam.CreateUserInput{UserName: &full, Path: &path}))
	}
	k.Must(nil, create("inside", path))
	name := k.Prefix + "outside"
	identity.WantDeniedQuery(t, create("outside", "/"), lead.ARN, "iam:CreateUser", "arn:aws:iam::"+k.ID+":user/"+name, identity.NoIdentity)
	inside := k.Prefix + "inside"
	if out, err := lead.IAM.GetUser(k.Ctx(), &iam.GetUserInput{UserName: &inside}); err != nil || aws.ToString(out.User.Path) != path {
		t.Errorf("GetUser = %+v, %v", out, err)
	}
	k.Must(lead.IAM.DeleteUser(k.Ctx(), &iam.DeleteUserInput{UserName: &inside}))

	// By tag of the user that it is about.
	byTag := k.User("by-tag", identity.Allow("iam:GetUser", "*", identity.If("StringEquals", "iam:ResourceTag/team", "red")),
		identity.Allow("iam:TagUser", "*", identity.If("ForAllValues:StringEquals", "aws:TagKeys", "note")))
	red := newUser(k, "red", func(in *iam.CreateUserInput) { in.Tags = identity.Tags("team", "red") })
	blue := newUser(k, "blue", func(in *iam.CreateUserInput) { in.Tags = identity.Tags("team", "blue") })
	k.Settle()
	k.Must(byTag.IAM.GetUser(k.Ctx(), &iam.GetUserInput{UserName: red.UserName}))
	identity.WantError(t, errOf(byTag.IAM.GetUser(k.Ctx(), &iam.GetUserInput{UserName: blue.UserName})), "AccessDenied", http.StatusForbidden, "")
	k.Must(byTag.IAM.TagUser(k.Ctx(), &iam.TagUserInput{UserName: blue.UserName, Tags: identity.Tags("note", "x")}))
	identity.WantError(t, errOf(byTag.IAM.TagUser(k.Ctx(), &iam.TagUserInput{UserName: blue.UserName, Tags: identity.Tags("team", "red")})), "AccessDenied", http.StatusForbidden, "")

	// One who may attach only some policies cannot make himself more.
	allowed := k.Policy("allowed", readSecrets)
	attacher := k.User("attacher", identity.Allow("iam:AttachUserPolicy", "*", identity.If("ArnEquals", "iam:PolicyARN", allowed)))
	attach := func(policy string) error {
		return errOf(attacher.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: &attacher.Name, PolicyArn: &policy}))
	}
	identity.WantError(t, attach("arn:aws:iam::aws:policy/AdministratorAccess"), "AccessDenied", http.StatusForbidden, "")
	k.Must(nil, attach(allowed))

	// One who may make users only with a boundary makes none without.
	boundary := k.Policy("boundary", readSecrets)
	delegate := k.User("delegate", identity.Allow([]string{"iam:CreateUser", "iam:PutUserPolicy"}, "*", identity.If("StringEquals", "iam:PermissionsBoundary", boundary)))
	delegated := k.Prefix + "delegated"
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &delegated}) })
	identity.WantError(t, errOf(delegate.IAM.CreateUser(k.Ctx(), &iam.CreateUserInput{UserName: &delegated})), "AccessDenied", http.StatusForbidden, "")
	identity.WantError(t, errOf(delegate.IAM.CreateUser(k.Ctx(), &iam.CreateUserInput{UserName: &delegated, PermissionsBoundary: &allowed})), "AccessDenied", http.StatusForbidden, "")
	k.Must(delegate.IAM.CreateUser(k.Ctx(), &iam.CreateUserInput{UserName: &delegated, PermissionsBoundary: &boundary}))
	put := func(name string) error {
		return errOf(delegate.IAM.PutUserPolicy(k.Ctx(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: aws.String(identity.Allow("*", "*"))}))
	}
	k.Must(nil, put(delegated))
	identity.WantError(t, put(delegate.Name), "AccessDenied", http.StatusForbidden, "")
	k.Must(k.IAM.DeleteUserPolicy(k.Ctx(), &iam.DeleteUserPolicyInput{UserName: &delegated, PolicyName: aws.String("p")}))
}

// Credentials of GetSessionToken have shown no device, so IAM is closed to them.
func TestSessionTokenCannotCallIAM(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow("*", "*"))
	out, err := user.STS.GetSessionToken(k.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	session := user.As(&user.ARN, *out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	k.Must(session.SM.ListSecrets(k.Ctx(), nil))
	identity.WantError(t, errOf(session.IAM.ListUsers(k.Ctx(), nil)), "AccessDenied", http.StatusForbidden, "")
	identity.WantError(t, errOf(session.IAM.GetUser(k.Ctx(), nil)), "AccessDenied", http.StatusForbidden, "")
	k.Must(user.IAM.GetUser(k.Ctx(), nil))
}

// Accounts do not see each other's identities.
func TestIdentitiesApart(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("a second account")
	other := k.Other()
	user := k.User("user", identity.Allow("*", "*"))
	managed := k.Policy("policy", readSecrets)
	_, err := other.IAM.GetUser(k.Ctx(), &iam.GetUserInput{UserName: &user.Name})
	wantMissing(t, err, noUser(user.Name))
	theirs := other.User("theirs")
	err = errOf(other.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: &theirs.Name, PolicyArn: &managed}))
	if err == nil || strings.Contains(err.Error(), "ServiceFailure") {
		t.Errorf("attaching another account's policy: %v", err)
	}
	err = errOf(other.IAM.GetPolicy(k.Ctx(), &iam.GetPolicyInput{PolicyArn: &managed}))
	if err == nil || strings.Contains(err.Error(), "ServiceFailure") {
		t.Errorf("another account's policy: %v", err)
	}
	err = errOf(other.IAM.DeleteAccessKey(k.Ctx(), &iam.DeleteAccessKeyInput{UserName: &theirs.Name, AccessKeyId: &user.Key}))
	wantMissing(t, err, "The Access Key with id "+user.Key+" cannot be found.")
	err = errOf(user.IAM.GetAccessKeyLastUsed(k.Ctx(), &iam.GetAccessKeyLastUsedInput{AccessKeyId: &theirs.Key}))
	if err == nil {
		t.Error("the last use of another account's key is told")
	}
	out, err := other.IAM.GetAccountAuthorizationDetails(k.Ctx(), nil)
	if err != nil || len(out.UserDetailList) != 1 || len(out.RoleDetailList) != 0 {
		t.Errorf("GetAccountAuthorizationDetails = %+v, %v", out, err)
	}
}

// Errors of the edge, as the Query protocol has them.
func TestCredentialErrors(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow("*", "*"))
	unknown := user.As(nil, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "")
	identity.WantError(t, errOf(unknown.IAM.ListUsers(k.Ctx(), nil)), "InvalidClientTokenId", http.StatusForbidden, "The security token included in the request is invalid.")
	forged := user.As(nil, user.Key, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "")
	err := errOf(forged.IAM.ListUsers(k.Ctx(), nil))
	identity.WantError(t, err, "SignatureDoesNotMatch", http.StatusForbidden, "")
	if err != nil && !strings.Contains(err.Error(), "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.") {
		t.Errorf("error = %v", err)
	}
}
