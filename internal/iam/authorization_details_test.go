package iam_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/iamapi"
	"arca/internal/iam"
)

func TestGetAccountAuthorizationDetails(t *testing.T) {
	h := newHouse(t)
	own := h.createPolicy(t, "own")
	h.run(t, iamapi.OpCreatePolicyVersion, &iamapi.CreatePolicyVersionInput{PolicyArn: own, PolicyDocument: denyPolicy, SetAsDefault: new(true)})
	h.createGroup(t, "ops")
	h.run(t, iamapi.OpAttachGroupPolicy, &iamapi.AttachGroupPolicyInput{GroupName: "ops", PolicyArn: adminARN})
	user := h.createUser(t, "ann", func(in *iamapi.CreateUserInput) { in.Tags, in.PermissionsBoundary = tags("a", "b"), &own })
	h.run(t, iamapi.OpAddUserToGroup, &iamapi.AddUserToGroupInput{GroupName: "ops", UserName: "ann"})
	h.run(t, iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: "ann", PolicyName: "in", PolicyDocument: simplePolicy})
	h.createUser(t, "bob")
	h.createRole(t, "app", func(in *iamapi.CreateRoleInput) {
		in.Tags, in.AssumeRolePolicyDocument = tags("c", "d"), trust(`{"AWS":"`+user.Arn+`"}`)
	})
	h.run(t, iamapi.OpAttachRolePolicy, &iamapi.AttachRolePolicyInput{RoleName: "app", PolicyArn: own})
	h.run(t, iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: "foreign"}, otherRoot())

	collect := func(max int32, filter ...string) (all iamapi.GetAccountAuthorizationDetailsOutput, pages int) {
		t.Helper()
		in := &iamapi.GetAccountAuthorizationDetailsInput{MaxItems: &max, Filter: filter}
		for {
			out := must[iamapi.GetAccountAuthorizationDetailsOutput](t, h, iamapi.OpGetAccountAuthorizationDetails, in)
			pages++
			all.UserDetailList = append(all.UserDetailList, out.UserDetailList...)
			all.GroupDetailList = append(all.GroupDetailList, out.GroupDetailList...)
			all.RoleDetailList = append(all.RoleDetailList, out.RoleDetailList...)
			all.Policies = append(all.Policies, out.Policies...)
			if n := len(out.UserDetailList) + len(out.GroupDetailList) + len(out.RoleDetailList) + len(out.Policies); n > int(max) || n == 0 {
				t.Errorf("page of %d", n)
			}
			if !*out.IsTruncated {
				return all, pages
			}
			in.Marker = out.Marker
		}
	}
	whole, pages := collect(1000)
	if pages != 1 {
		t.Errorf("%d pages", pages)
	}
	for _, max := range []int32{1, 2, 5} {
		if again, _ := collect(max); cmp.Diff(whole, again) != "" {
			t.Errorf("by %d (-whole +got):\n%s", max, cmp.Diff(whole, again))
		}
	}

	if n := len(whole.UserDetailList); n != 2 {
		t.Fatalf("%d users", n)
	}
	ann := whole.UserDetailList[0]
	if *ann.UserName != "ann" || !slices.Equal(ann.GroupList, []string{"ops"}) || len(ann.UserPolicyList) != 1 ||
		unescaped(t, *ann.UserPolicyList[0].PolicyDocument) != simplePolicy || *ann.PermissionsBoundary.PermissionsBoundaryArn != own ||
		len(ann.AttachedManagedPolicies) != 0 || cmp.Diff(tags("a", "b"), ann.Tags) != "" {
		t.Errorf("user %+v", ann)
	}
	if len(whole.GroupDetailList) != 1 || *whole.GroupDetailList[0].AttachedManagedPolicies[0].PolicyArn != adminARN {
		t.Errorf("groups %+v", whole.GroupDetailList)
	}
	if len(whole.RoleDetailList) != 1 {
		t.Fatalf("roles %+v", whole.RoleDetailList)
	}
	role := whole.RoleDetailList[0]
	if *role.AttachedManagedPolicies[0].PolicyName != "own" || unescaped(t, *role.AssumeRolePolicyDocument) != trust(`{"AWS":"`+user.Arn+`"}`) ||
		role.InstanceProfileList == nil || role.RoleLastUsed == nil || cmp.Diff(tags("c", "d"), role.Tags) != "" {
		t.Errorf("role %+v", role)
	}
	if len(whole.Policies) != 1+len(iam.BuiltinPolicies()) {
		t.Fatalf("%d policies", len(whole.Policies))
	}
	p := whole.Policies[0]
	if *p.Arn != own || *p.DefaultVersionId != "v2" || *p.AttachmentCount != 1 || *p.PermissionsBoundaryUsageCount != 1 || len(p.PolicyVersionList) != 2 ||
		unescaped(t, *p.PolicyVersionList[0].Document) != denyPolicy || unescaped(t, *p.PolicyVersionList[1].Document) != simplePolicy {
		t.Errorf("policy %+v", p)
	}

	for _, tc := range []struct {
		filter []string
		want   string
	}{
		{[]string{"User"}, "2 0 0 0"},
		{[]string{"Group", "Role"}, "0 1 1 0"},
		{[]string{"Role", "Role", "LocalManagedPolicy"}, "0 0 1 1"},
		{[]string{"AWSManagedPolicy"}, fmt.Sprintf("0 0 0 %d", len(iam.BuiltinPolicies()))},
	} {
		for _, max := range []int32{1, 100} {
			got, _ := collect(max, tc.filter...)
			if g := fmt.Sprintf("%d %d %d %d", len(got.UserDetailList), len(got.GroupDetailList), len(got.RoleDetailList), len(got.Policies)); g != tc.want {
				t.Errorf("filter %v by %d: %s, want %s", tc.filter, max, g, tc.want)
			}
		}
	}
}
