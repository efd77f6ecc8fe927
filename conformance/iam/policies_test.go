package iam_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"arca/conformance/identity"
)

var readSecrets = identity.Allow("secretsmanager:GetSecretValue", "*")

func TestManagedPolicy(t *testing.T) {
	k := identity.New(t, shared)
	name := k.Prefix + "Policy"
	made, err := k.IAM.CreatePolicy(k.Ctx(), &iam.CreatePolicyInput{
		PolicyName: &name, Path: aws.String("/team/"), PolicyDocument: &readSecrets, Description: aws.String("reads"), Tags: identity.Tags("a", "b")})
	if err != nil {
		t.Fatal(err)
	}
	arn := aws.ToString(made.Policy.Arn)
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: &arn}) })
	if p := made.Policy; arn != "arn:aws:iam::"+k.ID+":policy/team/"+name || !regexp.MustCompile(`^ANPA[A-Z0-9]{17}$`).MatchString(aws.ToString(p.PolicyId)) ||
		aws.ToString(p.DefaultVersionId) != "v1" || aws.ToInt32(p.AttachmentCount) != 0 || aws.ToInt32(p.PermissionsBoundaryUsageCount) != 0 || !p.IsAttachable ||
		aws.ToString(p.Path) != "/team/" || p.CreateDate == nil || p.UpdateDate == nil {
		t.Errorf("CreatePolicy = %+v", p)
	}
	got, err := k.IAM.GetPolicy(k.Ctx(), &iam.GetPolicyInput{PolicyArn: &arn})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(got.Policy.Description) != "reads" || len(got.Policy.Tags) != 1 {
		t.Errorf("GetPolicy = %+v", got.Policy)
	}
	wantExists(t, errOf(k.IAM.CreatePolicy(k.Ctx(), &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &readSecrets})),
		"A policy called "+name+" already exists. Duplicate names are not allowed.")
	k.Must(k.IAM.DeletePolicy(k.Ctx(), &iam.DeletePolicyInput{PolicyArn: &arn}))
	wantMissing(t, errOf(k.IAM.GetPolicy(k.Ctx(), &iam.GetPolicyInput{PolicyArn: &arn})), "Policy "+arn+" was not found.")
	wantMissing(t, errOf(k.IAM.DeletePolicy(k.Ctx(), &iam.DeletePolicyInput{PolicyArn: &arn})), "Policy "+arn+" was not found.")
}

func bucket(i int) string { return "arn:aws:s3:::bucket-" + strconv.Itoa(i) + "/*" }

func TestPolicyVersions(t *testing.T) {
	k := identity.New(t, shared)
	arn := k.Policy("policy", readSecrets)
	create := func(text string, set bool) (*types.PolicyVersion, error) {
		out, err := k.IAM.CreatePolicyVersion(k.Ctx(), &iam.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: &text, SetAsDefault: set})
		if err != nil {
			return nil, err
		}
		return out.PolicyVersion, nil
	}
	remove := func(id string) error {
		return errOf(k.IAM.DeletePolicyVersion(k.Ctx(), &iam.DeletePolicyVersionInput{PolicyArn: &arn, VersionId: &id}))
	}
	for i, id := range []string{"v2", "v3", "v4", "v5"} {
		v, err := create(identity.Allow("s3:*", bucket(i)), i == 2)
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(v.VersionId) != id || v.IsDefaultVersion != (i == 2) || v.CreateDate == nil {
			t.Errorf("version = %+v", v)
		}
	}
	_, err := create(readSecrets, false)
	wantLimit(t, err, "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
	version, err := k.IAM.GetPolicyVersion(k.Ctx(), &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v4")})
	if err != nil {
		t.Fatal(err)
	}
	if v := version.PolicyVersion; !v.IsDefaultVersion || k.Text(v.Document) != identity.Allow("s3:*", bucket(2)) {
		t.Errorf("GetPolicyVersion = %s", *v.Document)
	}
	list, err := k.IAM.ListPolicyVersions(k.Ctx(), &iam.ListPolicyVersionsInput{PolicyArn: &arn})
	if err != nil || len(list.Versions) != 5 || aws.ToString(list.Versions[0].VersionId) != "v5" || list.Versions[0].Document != nil {
		t.Errorf("ListPolicyVersions = %+v, %v", list, err)
	}
	wantConflict(t, remove("v4"), "Cannot delete the default version of a policy.")
	wantMissing(t, remove("v9"), "Policy "+arn+" version v9 does not exist or is not attachable.")
	wantMissing(t, errOf(k.IAM.SetDefaultPolicyVersion(k.Ctx(), &iam.SetDefaultPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v9")})), "Policy "+arn+" version v9 does not exist or is not attachable.")
	wantConflict(t, errOf(k.IAM.DeletePolicy(k.Ctx(), &iam.DeletePolicyInput{PolicyArn: &arn})),
		"This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	k.Must(nil, remove("v5"))
	// Numbers are not used again.
	if v, err := create(readSecrets, false); err != nil || aws.ToString(v.VersionId) != "v6" {
		t.Errorf("next version = %+v, %v", v, err)
	}
	k.Must(k.IAM.SetDefaultPolicyVersion(k.Ctx(), &iam.SetDefaultPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v1")}))
	for _, id := range []string{"v2", "v3", "v4", "v6"} {
		k.Must(nil, remove(id))
	}
	k.Must(k.IAM.DeletePolicy(k.Ctx(), &iam.DeletePolicyInput{PolicyArn: &arn}))
}

func TestPolicyErrors(t *testing.T) {
	k := identity.New(t, shared)
	name := k.Prefix + "policy"
	create := func(text string) error {
		return errOf(k.IAM.CreatePolicy(k.Ctx(), &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &text}))
	}
	wantMalformed(t, create("{"), textNotJSON)
	wantMalformed(t, create("[]"), "")
	wantMalformed(t, create(`{"Version":"2012-10-17"}`), "")
	wantMalformed(t, create(identity.Share("s3:*", k.ID)), "Policy document should not specify a principal.")
	wantMalformed(t, create(strings.Replace(readSecrets, "2012-10-17", "2012-10-18", 1)), "")
	wantMalformed(t, create(strings.Replace(readSecrets, "Effect", "effect", 1)), "")
	wantMalformed(t, create(strings.Replace(readSecrets, `"*"`, `"all"`, 1)), "")
	wantMalformed(t, create(identity.Allow("s3:*", "*", identity.If("StringIs", "aws:username", "x"))), "")
	wantMalformed(t, create(identity.Policy(
		identity.Statement{Sid: "One", Effect: "Allow", Action: "s3:*", Resource: "*"},
		identity.Statement{Sid: "One", Effect: "Allow", Action: "s3:*", Resource: "*"})), "Statement IDs (SID) in a single policy must be unique.")
	wantLimit(t, create(sized(6144)), "Cannot exceed quota for PolicySize: 6144")
	k.Must(nil, create(sized(6000)+strings.Repeat("\n", 1000))) // white space does not count
	arn := "arn:aws:iam::" + k.ID + ":policy/" + name
	k.Must(k.IAM.DeletePolicy(k.Ctx(), &iam.DeletePolicyInput{PolicyArn: &arn}))

	wantInvalid(t, errOf(k.IAM.GetPolicy(k.Ctx(), &iam.GetPolicyInput{PolicyArn: aws.String("this is no ARN at all")})), "Invalid ARN:  Could not be parsed!")
	wantInvalid(t, errOf(k.IAM.GetPolicy(k.Ctx(), &iam.GetPolicyInput{PolicyArn: aws.String("x")})),
		detected+"Value 'x' at 'policyArn' failed to satisfy constraint: Member must have length greater than or equal to 20")
	user := newUser(k, "user")
	attach := func(arn string) error {
		return errOf(k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: user.UserName, PolicyArn: &arn}))
	}
	wantMissing(t, attach(arn), "Policy "+arn+" does not exist or is not attachable.")
	builtin := "arn:aws:iam::aws:policy/NotAPolicyOfAWS"
	wantMissing(t, attach(builtin), "Policy "+builtin+" does not exist or is not attachable.")
	wantMissing(t, errOf(k.IAM.DetachUserPolicy(k.Ctx(), &iam.DetachUserPolicyInput{UserName: user.UserName, PolicyArn: &arn})), "Policy "+arn+" was not found.")
}

func TestAttachments(t *testing.T) {
	k := identity.New(t, shared)
	arn := k.Policy("policy", readSecrets)
	user, role := newUser(k, "user"), newRole(k, "role", lambdaTrust)
	group := k.Group("group")
	bounded := newUser(k, "bounded", func(in *iam.CreateUserInput) { in.PermissionsBoundary = &arn })
	if bounded.PermissionsBoundary == nil || aws.ToString(bounded.PermissionsBoundary.PermissionsBoundaryArn) != arn || bounded.PermissionsBoundary.PermissionsBoundaryType != "Policy" { // the SDK's constant is another, AWS's answer is this
		t.Errorf("boundary = %+v", bounded.PermissionsBoundary)
	}
	for range 2 { // a second time changes nothing
		k.Must(k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: user.UserName, PolicyArn: &arn}))
		k.Must(k.IAM.AttachGroupPolicy(k.Ctx(), &iam.AttachGroupPolicyInput{GroupName: &group, PolicyArn: &arn}))
		k.Must(k.IAM.AttachRolePolicy(k.Ctx(), &iam.AttachRolePolicyInput{RoleName: role.RoleName, PolicyArn: &arn}))
	}
	detach := func() {
		k.Must(k.IAM.DetachUserPolicy(k.Ctx(), &iam.DetachUserPolicyInput{UserName: user.UserName, PolicyArn: &arn}))
		k.Must(k.IAM.DetachGroupPolicy(k.Ctx(), &iam.DetachGroupPolicyInput{GroupName: &group, PolicyArn: &arn}))
		k.Must(k.IAM.DetachRolePolicy(k.Ctx(), &iam.DetachRolePolicyInput{RoleName: role.RoleName, PolicyArn: &arn}))
	}
	counts := func(attached, boundaries int32) {
		t.Helper()
		out, err := k.IAM.GetPolicy(k.Ctx(), &iam.GetPolicyInput{PolicyArn: &arn})
		if err != nil {
			t.Fatal(err)
		}
		if p := out.Policy; aws.ToInt32(p.AttachmentCount) != attached || aws.ToInt32(p.PermissionsBoundaryUsageCount) != boundaries {
			t.Errorf("counts %d and %d, want %d and %d", *p.AttachmentCount, *p.PermissionsBoundaryUsageCount, attached, boundaries)
		}
	}
	counts(3, 1)
	out, err := k.IAM.ListEntitiesForPolicy(k.Ctx(), &iam.ListEntitiesForPolicyInput{PolicyArn: &arn, PolicyUsageFilter: types.PolicyUsageTypePermissionsPolicy})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.PolicyUsers) != 1 || aws.ToString(out.PolicyUsers[0].UserName) != *user.UserName || aws.ToString(out.PolicyUsers[0].UserId) != *user.UserId ||
		len(out.PolicyGroups) != 1 || aws.ToString(out.PolicyGroups[0].GroupName) != group || len(out.PolicyRoles) != 1 || aws.ToString(out.PolicyRoles[0].RoleName) != *role.RoleName {
		t.Errorf("ListEntitiesForPolicy = %+v", out)
	}
	out, err = k.IAM.ListEntitiesForPolicy(k.Ctx(), &iam.ListEntitiesForPolicyInput{PolicyArn: &arn, PolicyUsageFilter: types.PolicyUsageTypePermissionsBoundary})
	if err != nil || len(out.PolicyUsers) != 1 || aws.ToString(out.PolicyUsers[0].UserName) != *bounded.UserName || len(out.PolicyGroups)+len(out.PolicyRoles) != 0 {
		t.Errorf("ListEntitiesForPolicy = %+v, %v", out, err)
	}
	list, err := k.IAM.ListAttachedUserPolicies(k.Ctx(), &iam.ListAttachedUserPoliciesInput{UserName: user.UserName})
	if err != nil || len(list.AttachedPolicies) != 1 || aws.ToString(list.AttachedPolicies[0].PolicyArn) != arn || aws.ToString(list.AttachedPolicies[0].PolicyName) != k.Prefix+"policy" {
		t.Errorf("ListAttachedUserPolicies = %+v, %v", list, err)
	}
	remove := func() error { return errOf(k.IAM.DeletePolicy(k.Ctx(), &iam.DeletePolicyInput{PolicyArn: &arn})) }
	wantConflict(t, remove(), "Cannot delete a policy attached to entities.")
	detach()
	counts(0, 1)
	wantConflict(t, remove(), "")
	k.Must(k.IAM.DeleteUserPermissionsBoundary(k.Ctx(), &iam.DeleteUserPermissionsBoundaryInput{UserName: bounded.UserName}))
	counts(0, 0)
	wantMissing(t, errOf(k.IAM.DetachUserPolicy(k.Ctx(), &iam.DetachUserPolicyInput{UserName: user.UserName, PolicyArn: &arn})), "Policy "+arn+" was not found.")
	k.Must(nil, remove())
}

func TestAttachedPoliciesQuota(t *testing.T) {
	k := identity.New(t, shared)
	user := newUser(k, "user")
	for i := range 11 {
		arn := k.Policy("policy-"+string(rune('a'+i)), readSecrets)
		err := errOf(k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: user.UserName, PolicyArn: &arn}))
		k.Cleanup(func(ctx ctx) {
			_, _ = k.IAM.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: user.UserName, PolicyArn: &arn})
		})
		if i < 10 {
			k.Must(nil, err)
		} else {
			wantLimit(t, err, "Cannot exceed quota for PoliciesPerUser: 10")
		}
	}
}

// The server's own policies are as AWS's: everybody's, and nobody's to change.
func TestBuiltinPolicies(t *testing.T) {
	k := identity.New(t, shared)
	arn := "arn:aws:iam::aws:policy/SecretsManagerReadWrite"
	got, err := k.IAM.GetPolicy(k.Ctx(), &iam.GetPolicyInput{PolicyArn: &arn})
	if err != nil {
		t.Fatal(err)
	}
	if p := got.Policy; aws.ToString(p.Arn) != arn || !strings.HasPrefix(aws.ToString(p.PolicyId), "ANPA") || !p.IsAttachable {
		t.Errorf("GetPolicy = %+v", p)
	}
	version, err := k.IAM.GetPolicyVersion(k.Ctx(), &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: got.Policy.DefaultVersionId})
	if err != nil || !strings.Contains(k.Text(version.PolicyVersion.Document), "secretsmanager:*") {
		t.Errorf("GetPolicyVersion = %+v, %v", version, err)
	}
	if err := errOf(k.IAM.DeletePolicy(k.Ctx(), &iam.DeletePolicyInput{PolicyArn: &arn})); err == nil {
		t.Error("a policy of the server is deleted")
	}
	if err := errOf(k.IAM.CreatePolicyVersion(k.Ctx(), &iam.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: &readSecrets, SetAsDefault: true})); err == nil {
		t.Error("a policy of the server is changed")
	}
	own := k.Policy("own", readSecrets)
	names := func(scope types.PolicyScopeType, change ...func(*iam.ListPoliciesInput)) (arns []string) {
		t.Helper()
		in := &iam.ListPoliciesInput{Scope: scope}
		for _, c := range change {
			c(in)
		}
		pages := iam.NewListPoliciesPaginator(k.IAM, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(k.Ctx())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page.Policies {
				arns = append(arns, aws.ToString(p.Arn))
			}
		}
		return arns
	}
	if list := names(types.PolicyScopeTypeAws); !slices.Contains(list, arn) || slices.Contains(list, own) {
		t.Errorf("Scope AWS: %q", list)
	}
	if list := names(types.PolicyScopeTypeLocal); slices.Contains(list, arn) || !slices.Contains(list, own) {
		t.Errorf("Scope Local: %q", list)
	}
	if list := names(types.PolicyScopeTypeAll); !slices.Contains(list, arn) || !slices.Contains(list, own) {
		t.Errorf("Scope All: %q", list)
	}
	if list := names(types.PolicyScopeTypeLocal, func(in *iam.ListPoliciesInput) { in.OnlyAttached = true }); slices.Contains(list, own) {
		t.Errorf("attached: %q", list)
	}
}
