package iam_test

import (
	"slices"
	"testing"

	"arca/internal/api"
	"arca/internal/api/iamapi"
)

// TestBoundaryKey: whether somebody may change a user or role can depend on the
// boundary that it has, or would get, in the operations for which AWS documents
// iam:PermissionsBoundary.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
func TestBoundaryKey(t *testing.T) {
	h := newHouse(t)
	before, after, attached := h.createPolicy(t, "before"), h.createPolicy(t, "after"), h.createPolicy(t, "attached")
	h.createUser(t, "u", func(in *iamapi.CreateUserInput) { in.PermissionsBoundary = &before })
	h.createRole(t, "r", func(in *iamapi.CreateRoleInput) { in.PermissionsBoundary = &before })
	for _, tt := range []struct {
		op   *api.Operation
		in   any
		want string // "" for no such key
	}{
		{iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: "u", PolicyName: "p", PolicyDocument: simplePolicy}, before},
		{iamapi.OpDeleteUserPolicy, &iamapi.DeleteUserPolicyInput{UserName: "u", PolicyName: "p"}, before},
		{iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "u", PolicyArn: attached}, before},
		{iamapi.OpDetachUserPolicy, &iamapi.DetachUserPolicyInput{UserName: "u", PolicyArn: attached}, before},
		{iamapi.OpPutUserPermissionsBoundary, &iamapi.PutUserPermissionsBoundaryInput{UserName: "u", PermissionsBoundary: after}, after},
		{iamapi.OpDeleteUserPermissionsBoundary, &iamapi.DeleteUserPermissionsBoundaryInput{UserName: "u"}, after},
		{iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: "u", PolicyName: "p", PolicyDocument: simplePolicy}, ""},
		{iamapi.OpPutRolePolicy, &iamapi.PutRolePolicyInput{RoleName: "r", PolicyName: "p", PolicyDocument: simplePolicy}, before},
		{iamapi.OpDeleteRolePolicy, &iamapi.DeleteRolePolicyInput{RoleName: "r", PolicyName: "p"}, before},
		{iamapi.OpAttachRolePolicy, &iamapi.AttachRolePolicyInput{RoleName: "r", PolicyArn: attached}, before},
		{iamapi.OpDetachRolePolicy, &iamapi.DetachRolePolicyInput{RoleName: "r", PolicyArn: attached}, before},
		{iamapi.OpTagRole, &iamapi.TagRoleInput{RoleName: "r", Tags: tags("k", "v")}, ""},
		{iamapi.OpPutRolePermissionsBoundary, &iamapi.PutRolePermissionsBoundaryInput{RoleName: "r", PermissionsBoundary: after}, after},
		{iamapi.OpDeleteRolePermissionsBoundary, &iamapi.DeleteRolePermissionsBoundaryInput{RoleName: "r"}, after},
	} {
		h.questions()
		h.run(t, tt.op, tt.in)
		got := []string{}
		for _, k := range h.questions()[0].Keys {
			if k.Name == "iam:PermissionsBoundary" {
				got = append(got, k.Values...)
			}
		}
		want := []string{tt.want}
		if tt.want == "" {
			want = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s asked with iam:PermissionsBoundary %q, want %q", tt.op.Name, got, want)
		}
	}
}
