package iam_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"arca/conformance/identity"
)

// The calls of Terraform's AWS provider, in its order and with its members: a user
// with a key, a role that a provider of tokens may assume, a policy attached to both;
// changes of all, and all of it destroyed again.
func TestTerraform(t *testing.T) {
	k := identity.New(t, shared)

	// Whom the provider works for is what it asks first.
	who, err := k.STS.GetCallerIdentity(k.Ctx(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	account := aws.ToString(who.Account)

	// Apply: aws_iam_policy.
	policy, err := k.IAM.CreatePolicy(k.Ctx(), &iam.CreatePolicyInput{
		PolicyName: aws.String(k.Prefix + "tf"), Path: aws.String("/"), Description: aws.String(""), PolicyDocument: &readSecrets})
	if err != nil {
		t.Fatal(err)
	}
	policyARN := policy.Policy.Arn
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: policyARN}) })
	readPolicy := func(want string) {
		t.Helper()
		p, err := k.IAM.GetPolicy(k.Ctx(), &iam.GetPolicyInput{PolicyArn: policyARN})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(p.Policy.PolicyName) != k.Prefix+"tf" || aws.ToString(p.Policy.Path) != "/" || aws.ToString(p.Policy.Description) != "" || p.Policy.AttachmentCount == nil {
			t.Errorf("GetPolicy = %+v", p.Policy)
		}
		v, err := k.IAM.GetPolicyVersion(k.Ctx(), &iam.GetPolicyVersionInput{PolicyArn: policyARN, VersionId: p.Policy.DefaultVersionId})
		if err != nil {
			t.Fatal(err)
		}
		identity.SameJSON(t, unescape(t, v.PolicyVersion.Document), want)
	}
	readPolicy(readSecrets)

	// Apply: aws_iam_openid_connect_provider.
	provider, err := k.IAM.CreateOpenIDConnectProvider(k.Ctx(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String("https://" + k.Prefix + "tf.example.com"), ClientIDList: []string{"sts.amazonaws.com"}, Tags: identity.Tags("owner", "platform")})
	if err != nil {
		t.Fatal(err)
	}
	providerARN := provider.OpenIDConnectProviderArn
	k.Cleanup(func(ctx ctx) {
		_, _ = k.IAM.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN})
	})
	readProvider := func(clients ...string) {
		t.Helper()
		p, err := k.IAM.GetOpenIDConnectProvider(k.Ctx(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(p.Url) != k.Prefix+"tf.example.com" || len(p.ClientIDList) != len(clients) || len(p.Tags) != 1 {
			t.Errorf("GetOpenIDConnectProvider = %+v", p)
		}
	}
	readProvider("sts.amazonaws.com")

	// Apply: aws_iam_role.
	role := aws.String(k.Prefix + "tf")
	trust := identity.Policy(identity.Statement{
		Effect: "Allow", Principal: map[string]any{"Federated": *providerARN}, Action: "sts:AssumeRoleWithWebIdentity",
		Condition: identity.If("StringEquals", k.Prefix+"tf.example.com:sub", "repo:o/r:ref:refs/heads/main")})
	if _, err := k.IAM.CreateRole(k.Ctx(), &iam.CreateRoleInput{
		RoleName: role, Path: aws.String("/"), AssumeRolePolicyDocument: &trust, MaxSessionDuration: aws.Int32(3600), Tags: identity.Tags("owner", "platform"),
	}); err != nil {
		t.Fatal(err)
	}
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: role}) })
	readRole := func(wantTrust string, attached int) {
		t.Helper()
		r, err := k.IAM.GetRole(k.Ctx(), &iam.GetRoleInput{RoleName: role})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(r.Role.Arn) != "arn:aws:iam::"+account+":role/"+*role || aws.ToString(r.Role.Path) != "/" || r.Role.PermissionsBoundary != nil || len(r.Role.Tags) != 1 {
			t.Errorf("GetRole = %+v", r.Role)
		}
		identity.SameJSON(t, unescape(t, r.Role.AssumeRolePolicyDocument), wantTrust)
		inline, err := k.IAM.ListRolePolicies(k.Ctx(), &iam.ListRolePoliciesInput{RoleName: role})
		if err != nil || len(inline.PolicyNames) != 0 {
			t.Errorf("ListRolePolicies = %+v, %v", inline, err)
		}
		managed, err := k.IAM.ListAttachedRolePolicies(k.Ctx(), &iam.ListAttachedRolePoliciesInput{RoleName: role})
		if err != nil || len(managed.AttachedPolicies) != attached {
			t.Errorf("ListAttachedRolePolicies = %+v, %v", managed, err)
		}
	}
	readRole(trust, 0)

	// Apply: aws_iam_role_policy_attachment.
	k.Must(k.IAM.AttachRolePolicy(k.Ctx(), &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: policyARN}))
	readRole(trust, 1)

	// Apply: aws_iam_user, its key and the attachment.
	user := aws.String(k.Prefix + "tf")
	k.Must(k.IAM.CreateUser(k.Ctx(), &iam.CreateUserInput{UserName: user, Path: aws.String("/"), Tags: identity.Tags("owner", "platform")}))
	readUser := func(name *string, tags int) {
		t.Helper()
		u, err := k.IAM.GetUser(k.Ctx(), &iam.GetUserInput{UserName: name})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(u.User.UserName) != *name || aws.ToString(u.User.Path) != "/" || u.User.PermissionsBoundary != nil || len(u.User.Tags) != tags {
			t.Errorf("GetUser = %+v", u.User)
		}
	}
	readUser(user, 1)
	key, err := k.IAM.CreateAccessKey(k.Ctx(), &iam.CreateAccessKeyInput{UserName: user})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := k.IAM.ListAccessKeys(k.Ctx(), &iam.ListAccessKeysInput{UserName: user})
	if err != nil || len(keys.AccessKeyMetadata) != 1 || aws.ToString(keys.AccessKeyMetadata[0].AccessKeyId) != aws.ToString(key.AccessKey.AccessKeyId) {
		t.Errorf("ListAccessKeys = %+v, %v", keys, err)
	}
	k.Must(k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: user, PolicyArn: policyARN}))
	attached, err := k.IAM.ListAttachedUserPolicies(k.Ctx(), &iam.ListAttachedUserPoliciesInput{UserName: user})
	if err != nil || len(attached.AttachedPolicies) != 1 {
		t.Errorf("ListAttachedUserPolicies = %+v, %v", attached, err)
	}

	// Change of the policy: a version, and then the version made the default.
	changed := identity.Allow([]string{"secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"}, "*")
	versions, err := k.IAM.ListPolicyVersions(k.Ctx(), &iam.ListPolicyVersionsInput{PolicyArn: policyARN})
	if err != nil || len(versions.Versions) != 1 {
		t.Errorf("ListPolicyVersions = %+v, %v", versions, err)
	}
	version, err := k.IAM.CreatePolicyVersion(k.Ctx(), &iam.CreatePolicyVersionInput{PolicyArn: policyARN, PolicyDocument: &changed, SetAsDefault: false})
	if err != nil {
		t.Fatal(err)
	}
	k.Must(k.IAM.SetDefaultPolicyVersion(k.Ctx(), &iam.SetDefaultPolicyVersionInput{PolicyArn: policyARN, VersionId: version.PolicyVersion.VersionId}))
	readPolicy(changed)

	// Change of the provider, the role and the user.
	k.Must(k.IAM.UpdateOpenIDConnectProviderThumbprint(k.Ctx(), &iam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: providerARN, ThumbprintList: []string{thumbprint}}))
	k.Must(k.IAM.AddClientIDToOpenIDConnectProvider(k.Ctx(), &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN, ClientID: aws.String("other")}))
	k.Must(k.IAM.UntagOpenIDConnectProvider(k.Ctx(), &iam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN, TagKeys: []string{"owner"}}))
	k.Must(k.IAM.TagOpenIDConnectProvider(k.Ctx(), &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN, Tags: identity.Tags("team", "data")}))
	readProvider("sts.amazonaws.com", "other")
	k.Must(k.IAM.UpdateAssumeRolePolicy(k.Ctx(), &iam.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: &lambdaTrust}))
	k.Must(k.IAM.UpdateRoleDescription(k.Ctx(), &iam.UpdateRoleDescriptionInput{RoleName: role, Description: aws.String("changed")}))
	k.Must(k.IAM.UpdateRole(k.Ctx(), &iam.UpdateRoleInput{RoleName: role, MaxSessionDuration: aws.Int32(7200)}))
	k.Must(k.IAM.UntagRole(k.Ctx(), &iam.UntagRoleInput{RoleName: role, TagKeys: []string{"owner"}}))
	k.Must(k.IAM.TagRole(k.Ctx(), &iam.TagRoleInput{RoleName: role, Tags: identity.Tags("team", "data")}))
	readRole(lambdaTrust, 1)
	renamed := aws.String(k.Prefix + "tf-renamed")
	k.Must(k.IAM.UpdateUser(k.Ctx(), &iam.UpdateUserInput{UserName: user, NewUserName: renamed, NewPath: aws.String("/")}))
	k.Must(k.IAM.PutUserPermissionsBoundary(k.Ctx(), &iam.PutUserPermissionsBoundaryInput{UserName: renamed, PermissionsBoundary: policyARN}))
	k.Must(k.IAM.DeleteUserPermissionsBoundary(k.Ctx(), &iam.DeleteUserPermissionsBoundaryInput{UserName: renamed}))
	k.Must(k.IAM.TagUser(k.Ctx(), &iam.TagUserInput{UserName: renamed, Tags: identity.Tags("team", "data")}))
	readUser(renamed, 2)

	// A refresh takes an entity for gone when it is answered with NoSuchEntity.
	wantMissing(t, errOf(k.IAM.GetUser(k.Ctx(), &iam.GetUserInput{UserName: user})), noUser(*user))
	// And tries again for new principals as long as this text comes.
	wantMalformed(t, errOf(k.IAM.UpdateAssumeRolePolicy(k.Ctx(), &iam.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: aws.String(identity.Trust("arn:aws:iam::" + account + ":user/" + *user))})),
		`Invalid principal in policy: "AWS":"arn:aws:iam::`+account+`:user/`+*user+`"`)

	// Destroy, attachments first.
	k.Must(k.IAM.DetachUserPolicy(k.Ctx(), &iam.DetachUserPolicyInput{UserName: renamed, PolicyArn: policyARN}))
	k.Must(k.IAM.DetachRolePolicy(k.Ctx(), &iam.DetachRolePolicyInput{RoleName: role, PolicyArn: policyARN}))
	k.Must(k.IAM.DeleteAccessKey(k.Ctx(), &iam.DeleteAccessKeyInput{UserName: renamed, AccessKeyId: key.AccessKey.AccessKeyId}))
	groups, err := k.IAM.ListGroupsForUser(k.Ctx(), &iam.ListGroupsForUserInput{UserName: renamed})
	if err != nil || len(groups.Groups) != 0 {
		t.Errorf("ListGroupsForUser = %+v, %v", groups, err)
	}
	k.Must(k.IAM.DeleteUser(k.Ctx(), &iam.DeleteUserInput{UserName: renamed}))
	profiles, err := k.IAM.ListInstanceProfilesForRole(k.Ctx(), &iam.ListInstanceProfilesForRoleInput{RoleName: role})
	if err != nil || len(profiles.InstanceProfiles) != 0 {
		t.Errorf("ListInstanceProfilesForRole = %+v, %v", profiles, err)
	}
	k.Must(k.IAM.DeleteRole(k.Ctx(), &iam.DeleteRoleInput{RoleName: role}))
	k.Must(k.IAM.DeletePolicyVersion(k.Ctx(), &iam.DeletePolicyVersionInput{PolicyArn: policyARN, VersionId: aws.String("v1")}))
	k.Must(k.IAM.DeletePolicy(k.Ctx(), &iam.DeletePolicyInput{PolicyArn: policyARN}))
	k.Must(k.IAM.DeleteOpenIDConnectProvider(k.Ctx(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN}))
	for _, err := range []error{
		errOf(k.IAM.DeleteRole(k.Ctx(), &iam.DeleteRoleInput{RoleName: role})),
		errOf(k.IAM.DetachRolePolicy(k.Ctx(), &iam.DetachRolePolicyInput{RoleName: role, PolicyArn: policyARN})),
		errOf(k.IAM.GetOpenIDConnectProvider(k.Ctx(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN})),
	} {
		identity.WantError(t, err, "NoSuchEntity", http.StatusNotFound, "")
	}
}

// unescape decodes a policy as Terraform does, for which a plus is a space.
func unescape(t *testing.T, encoded *string) string {
	t.Helper()
	text, err := url.QueryUnescape(aws.ToString(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
