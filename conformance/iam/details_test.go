package iam_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"arca/conformance/identity"
)

// GetAccountAuthorizationDetails tells everything at once.
func TestAccountAuthorizationDetails(t *testing.T) {
	k := identity.New(t, shared)
	managed := k.Policy("policy", readSecrets)
	user := newUser(k, "user", func(in *iam.CreateUserInput) { in.Tags, in.PermissionsBoundary = identity.Tags("a", "b"), &managed })
	role := newRole(k, "role", lambdaTrust, func(in *iam.CreateRoleInput) { in.Tags = identity.Tags("a", "b") })
	group := k.Group("group")
	k.Must(k.IAM.AddUserToGroup(k.Ctx(), &iam.AddUserToGroupInput{GroupName: &group, UserName: user.UserName}))
	p := aws.String("inline")
	k.Must(k.IAM.PutUserPolicy(k.Ctx(), &iam.PutUserPolicyInput{UserName: user.UserName, PolicyName: p, PolicyDocument: &readSecrets}))
	k.Must(k.IAM.PutRolePolicy(k.Ctx(), &iam.PutRolePolicyInput{RoleName: role.RoleName, PolicyName: p, PolicyDocument: &readSecrets}))
	k.Must(k.IAM.PutGroupPolicy(k.Ctx(), &iam.PutGroupPolicyInput{GroupName: &group, PolicyName: p, PolicyDocument: &readSecrets}))
	k.Must(k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: user.UserName, PolicyArn: &managed}))
	k.Must(k.IAM.AttachRolePolicy(k.Ctx(), &iam.AttachRolePolicyInput{RoleName: role.RoleName, PolicyArn: &managed}))
	k.Cleanup(func(ctx ctx) {
		_, _ = k.IAM.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: &group, UserName: user.UserName})
		_, _ = k.IAM.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: user.UserName, PolicyName: p})
		_, _ = k.IAM.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: role.RoleName, PolicyName: p})
		_, _ = k.IAM.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: user.UserName, PolicyArn: &managed})
		_, _ = k.IAM.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: role.RoleName, PolicyArn: &managed})
		_, _ = k.IAM.DeleteUserPermissionsBoundary(ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: user.UserName})
	})

	var all iam.GetAccountAuthorizationDetailsOutput
	collect := func(max int32, filter ...types.EntityType) {
		t.Helper()
		all = iam.GetAccountAuthorizationDetailsOutput{}
		pages := iam.NewGetAccountAuthorizationDetailsPaginator(k.IAM, &iam.GetAccountAuthorizationDetailsInput{Filter: filter, MaxItems: &max})
		for pages.HasMorePages() {
			page, err := pages.NextPage(k.Ctx())
			if err != nil {
				t.Fatal(err)
			}
			all.UserDetailList = append(all.UserDetailList, page.UserDetailList...)
			all.GroupDetailList = append(all.GroupDetailList, page.GroupDetailList...)
			all.RoleDetailList = append(all.RoleDetailList, page.RoleDetailList...)
			all.Policies = append(all.Policies, page.Policies...)
		}
	}
	collect(7)
	inline := func(list []types.PolicyDetail) bool {
		return len(list) == 1 && aws.ToString(list[0].PolicyName) == "inline" && k.Text(list[0].PolicyDocument) == readSecrets
	}
	attached := func(list []types.AttachedPolicy) bool {
		return len(list) == 1 && aws.ToString(list[0].PolicyArn) == managed
	}
	u := slices.IndexFunc(all.UserDetailList, func(u types.UserDetail) bool { return aws.ToString(u.UserName) == *user.UserName })
	g := slices.IndexFunc(all.GroupDetailList, func(g types.GroupDetail) bool { return aws.ToString(g.GroupName) == group })
	r := slices.IndexFunc(all.RoleDetailList, func(r types.RoleDetail) bool { return aws.ToString(r.RoleName) == *role.RoleName })
	m := slices.IndexFunc(all.Policies, func(p types.ManagedPolicyDetail) bool { return aws.ToString(p.Arn) == managed })
	if u < 0 || g < 0 || r < 0 || m < 0 {
		t.Fatalf("found user %d, group %d, role %d, policy %d", u, g, r, m)
	}
	if d := all.UserDetailList[u]; aws.ToString(d.UserId) != *user.UserId || !slices.Equal(d.GroupList, []string{group}) || !inline(d.UserPolicyList) || !attached(d.AttachedManagedPolicies) ||
		d.PermissionsBoundary == nil || aws.ToString(d.PermissionsBoundary.PermissionsBoundaryArn) != managed || len(d.Tags) != 1 {
		t.Errorf("user = %+v", d)
	}
	if d := all.GroupDetailList[g]; !strings.HasPrefix(aws.ToString(d.GroupId), "AGPA") || !inline(d.GroupPolicyList) || len(d.AttachedManagedPolicies) != 0 {
		t.Errorf("group = %+v", d)
	}
	if d := all.RoleDetailList[r]; k.Text(d.AssumeRolePolicyDocument) != lambdaTrust || !inline(d.RolePolicyList) || !attached(d.AttachedManagedPolicies) || len(d.Tags) != 1 {
		t.Errorf("role = %+v", d)
	}
	if d := all.Policies[m]; len(d.PolicyVersionList) != 1 || !d.PolicyVersionList[0].IsDefaultVersion || k.Text(d.PolicyVersionList[0].Document) != readSecrets ||
		aws.ToInt32(d.AttachmentCount) != 2 || aws.ToInt32(d.PermissionsBoundaryUsageCount) != 1 {
		t.Errorf("policy = %+v", d)
	}

	collect(100, types.EntityTypeRole)
	if len(all.UserDetailList)+len(all.GroupDetailList)+len(all.Policies) != 0 || len(all.RoleDetailList) == 0 {
		t.Errorf("by filter: %d users, %d groups, %d policies", len(all.UserDetailList), len(all.GroupDetailList), len(all.Policies))
	}
}

// entry is a value of a condition key.
func entry(key string, kind types.ContextKeyTypeEnum, values ...string) types.ContextEntry {
	return types.ContextEntry{ContextKeyName: &key, ContextKeyType: kind, ContextKeyValues: values}
}

func TestSimulateCustomPolicy(t *testing.T) {
	k := identity.New(t, shared)
	const secret = "arn:aws:secretsmanager:us-east-1:111122223333:secret:MyApp/db-AbCdEf"
	const get, put = "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"
	tagged := identity.Allow(get, "*", identity.If("StringEquals", "aws:PrincipalTag/team", "red"))
	for _, tc := range []struct {
		name    string
		in      iam.SimulateCustomPolicyInput
		want    []types.PolicyEvaluationDecisionType
		missing []string
	}{
		{"allowed and not", iam.SimulateCustomPolicyInput{PolicyInputList: []string{identity.Allow(get, secret)}, ActionNames: []string{get, put}, ResourceArns: []string{secret}},
			[]types.PolicyEvaluationDecisionType{"allowed", "implicitDeny"}, nil},
		{"denied", iam.SimulateCustomPolicyInput{PolicyInputList: []string{identity.Allow("*", "*"), identity.Deny(put, "*")}, ActionNames: []string{get, put}},
			[]types.PolicyEvaluationDecisionType{"allowed", "explicitDeny"}, nil},
		{"other resource", iam.SimulateCustomPolicyInput{PolicyInputList: []string{identity.Allow(get, secret)}, ActionNames: []string{get}, ResourceArns: []string{secret + "x"}},
			[]types.PolicyEvaluationDecisionType{"implicitDeny"}, nil},
		{"context", iam.SimulateCustomPolicyInput{PolicyInputList: []string{tagged}, ActionNames: []string{get},
			ContextEntries: []types.ContextEntry{entry("aws:PrincipalTag/team", types.ContextKeyTypeEnumString, "red")}},
			[]types.PolicyEvaluationDecisionType{"allowed"}, nil},
		{"context of another value", iam.SimulateCustomPolicyInput{PolicyInputList: []string{tagged}, ActionNames: []string{get},
			ContextEntries: []types.ContextEntry{entry("aws:PrincipalTag/team", types.ContextKeyTypeEnumString, "blue")}},
			[]types.PolicyEvaluationDecisionType{"implicitDeny"}, nil},
		{"no context", iam.SimulateCustomPolicyInput{PolicyInputList: []string{tagged}, ActionNames: []string{get}},
			[]types.PolicyEvaluationDecisionType{"implicitDeny"}, []string{"aws:PrincipalTag/team"}},
		{"boundary", iam.SimulateCustomPolicyInput{PolicyInputList: []string{identity.Allow("*", "*")}, PermissionsBoundaryPolicyInputList: []string{identity.Allow(get, "*")}, ActionNames: []string{get, put}},
			[]types.PolicyEvaluationDecisionType{"allowed", "implicitDeny"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := k.IAM.SimulateCustomPolicy(k.Ctx(), &tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if len(out.EvaluationResults) != len(tc.want) || out.IsTruncated {
				t.Fatalf("results = %+v", out.EvaluationResults)
			}
			for i, r := range out.EvaluationResults {
				if aws.ToString(r.EvalActionName) != tc.in.ActionNames[i] || r.EvalDecision != tc.want[i] {
					t.Errorf("%s: %s, want %s", aws.ToString(r.EvalActionName), r.EvalDecision, tc.want[i])
				}
				if (r.EvalDecision == "implicitDeny") != (len(r.MatchedStatements) == 0) && tc.name != "boundary" {
					t.Errorf("%s: statements %+v", r.EvalDecision, r.MatchedStatements)
				}
				if !slices.Equal(r.MissingContextValues, tc.missing) {
					t.Errorf("missing %q, want %q", r.MissingContextValues, tc.missing)
				}
			}
		})
	}
	wantInvalidInput(t, errOf(k.IAM.SimulateCustomPolicy(k.Ctx(), &iam.SimulateCustomPolicyInput{PolicyInputList: []string{"{"}, ActionNames: []string{get}})), "")
	wantInvalidInput(t, errOf(k.IAM.SimulateCustomPolicy(k.Ctx(), &iam.SimulateCustomPolicyInput{PolicyInputList: []string{readSecrets}, ActionNames: []string{"GetSecretValue"}})), "")
}

// SimulatePrincipalPolicy asks what a user or role may do with what it really has.
func TestSimulatePrincipalPolicy(t *testing.T) {
	k := identity.New(t, shared)
	user := newUser(k, "user")
	group := k.Group("group")
	k.Must(k.IAM.AddUserToGroup(k.Ctx(), &iam.AddUserToGroupInput{GroupName: &group, UserName: user.UserName}))
	k.Must(k.IAM.PutGroupPolicy(k.Ctx(), &iam.PutGroupPolicyInput{GroupName: &group, PolicyName: aws.String("p"), PolicyDocument: &readSecrets}))
	k.Cleanup(func(ctx ctx) {
		_, _ = k.IAM.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: &group, UserName: user.UserName})
	})
	k.Settle()
	decisions := func(source string, change ...func(*iam.SimulatePrincipalPolicyInput)) (list []types.PolicyEvaluationDecisionType) {
		t.Helper()
		in := &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &source, ActionNames: []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"}}
		for _, c := range change {
			c(in)
		}
		out, err := k.IAM.SimulatePrincipalPolicy(k.Ctx(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.EvaluationResults {
			list = append(list, r.EvalDecision)
		}
		return list
	}
	type list = []types.PolicyEvaluationDecisionType
	if got := decisions(*user.Arn); !slices.Equal(got, list{"allowed", "implicitDeny"}) {
		t.Errorf("user: %q", got)
	}
	if got := decisions("arn:aws:iam::" + k.ID + ":group/" + group); !slices.Equal(got, list{"allowed", "implicitDeny"}) {
		t.Errorf("group: %q", got)
	}
	more := func(in *iam.SimulatePrincipalPolicyInput) {
		in.PolicyInputList = []string{identity.Policy(
			identity.Statement{Effect: "Allow", Action: "secretsmanager:Put*", Resource: "*"},
			identity.Statement{Effect: "Deny", Action: "secretsmanager:Get*", Resource: "*"})}
	}
	if got := decisions(*user.Arn, more); !slices.Equal(got, list{"explicitDeny", "allowed"}) {
		t.Errorf("with more: %q", got)
	}
	role := newRole(k, "role", lambdaTrust)
	if got := decisions(*role.Arn); !slices.Equal(got, list{"implicitDeny", "implicitDeny"}) {
		t.Errorf("role: %q", got)
	}
	none := *user.Arn + "x"
	wantMissing(t, errOf(k.IAM.SimulatePrincipalPolicy(k.Ctx(), &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &none, ActionNames: []string{"s3:Get"}})), "")
}
