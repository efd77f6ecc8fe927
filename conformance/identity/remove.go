package identity

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// What tests leave on a target that outlives them is removed as far as it can be:
// nothing here fails a test, whose own errors say more.

func (a *Account) removeUser(ctx context.Context, name string) {
	if keys, err := a.IAM.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &name}); err == nil {
		for _, k := range keys.AccessKeyMetadata {
			_, _ = a.IAM.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: k.AccessKeyId})
		}
	}
	if inline, err := a.IAM.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: &name}); err == nil {
		for _, p := range inline.PolicyNames {
			_, _ = a.IAM.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: &name, PolicyName: &p})
		}
	}
	if attached, err := a.IAM.ListAttachedUserPolicies(ctx, &iam.ListAttachedUserPoliciesInput{UserName: &name}); err == nil {
		for _, p := range attached.AttachedPolicies {
			_, _ = a.IAM.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: &name, PolicyArn: p.PolicyArn})
		}
	}
	if groups, err := a.IAM.ListGroupsForUser(ctx, &iam.ListGroupsForUserInput{UserName: &name}); err == nil {
		for _, g := range groups.Groups {
			_, _ = a.IAM.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: &name, GroupName: g.GroupName})
		}
	}
	_, _ = a.IAM.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &name})
}

func (a *Account) removeRole(ctx context.Context, name string) {
	if inline, err := a.IAM.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &name}); err == nil {
		for _, p := range inline.PolicyNames {
			_, _ = a.IAM.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: &p})
		}
	}
	if attached, err := a.IAM.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &name}); err == nil {
		for _, p := range attached.AttachedPolicies {
			_, _ = a.IAM.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &name, PolicyArn: p.PolicyArn})
		}
	}
	_, _ = a.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name})
}

func (a *Account) removeGroup(ctx context.Context, name string) {
	if group, err := a.IAM.GetGroup(ctx, &iam.GetGroupInput{GroupName: &name}); err == nil {
		for _, u := range group.Users {
			_, _ = a.IAM.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: &name, UserName: u.UserName})
		}
	}
	if inline, err := a.IAM.ListGroupPolicies(ctx, &iam.ListGroupPoliciesInput{GroupName: &name}); err == nil {
		for _, p := range inline.PolicyNames {
			_, _ = a.IAM.DeleteGroupPolicy(ctx, &iam.DeleteGroupPolicyInput{GroupName: &name, PolicyName: &p})
		}
	}
	if attached, err := a.IAM.ListAttachedGroupPolicies(ctx, &iam.ListAttachedGroupPoliciesInput{GroupName: &name}); err == nil {
		for _, p := range attached.AttachedPolicies {
			_, _ = a.IAM.DetachGroupPolicy(ctx, &iam.DetachGroupPolicyInput{GroupName: &name, PolicyArn: p.PolicyArn})
		}
	}
	_, _ = a.IAM.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: &name})
}
