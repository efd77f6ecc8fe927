package iam_test

import (
	"errors"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/store"
)

const (
	xPolicyARN  = "arn:aws:iam::123456789012:policy/x"
	providerARN = "arn:aws:iam::123456789012:oidc-provider/issuer.example"
)

// inputs is a request of every operation about the user, group, role or policy x.
func inputs() map[*api.Operation]any {
	x := "x"
	doc := trust(`{"AWS":"*"}`)
	return map[*api.Operation]any{
		iamapi.OpCreateUser:                    &iamapi.CreateUserInput{UserName: "x", Path: new("/p/")},
		iamapi.OpGetUser:                       &iamapi.GetUserInput{UserName: &x},
		iamapi.OpUpdateUser:                    &iamapi.UpdateUserInput{UserName: "x", NewUserName: new("y")},
		iamapi.OpDeleteUser:                    &iamapi.DeleteUserInput{UserName: "x"},
		iamapi.OpListUsers:                     &iamapi.ListUsersInput{},
		iamapi.OpTagUser:                       &iamapi.TagUserInput{UserName: "x", Tags: tags("k", "v")},
		iamapi.OpUntagUser:                     &iamapi.UntagUserInput{UserName: "x", TagKeys: []string{"k"}},
		iamapi.OpListUserTags:                  &iamapi.ListUserTagsInput{UserName: "x"},
		iamapi.OpPutUserPermissionsBoundary:    &iamapi.PutUserPermissionsBoundaryInput{UserName: "x", PermissionsBoundary: adminARN},
		iamapi.OpDeleteUserPermissionsBoundary: &iamapi.DeleteUserPermissionsBoundaryInput{UserName: "x"},
		iamapi.OpPutUserPolicy:                 &iamapi.PutUserPolicyInput{UserName: "x", PolicyName: "p", PolicyDocument: simplePolicy},
		iamapi.OpGetUserPolicy:                 &iamapi.GetUserPolicyInput{UserName: "x", PolicyName: "p"},
		iamapi.OpDeleteUserPolicy:              &iamapi.DeleteUserPolicyInput{UserName: "x", PolicyName: "p"},
		iamapi.OpListUserPolicies:              &iamapi.ListUserPoliciesInput{UserName: "x"},
		iamapi.OpAttachUserPolicy:              &iamapi.AttachUserPolicyInput{UserName: "x", PolicyArn: adminARN},
		iamapi.OpDetachUserPolicy:              &iamapi.DetachUserPolicyInput{UserName: "x", PolicyArn: adminARN},
		iamapi.OpListAttachedUserPolicies:      &iamapi.ListAttachedUserPoliciesInput{UserName: "x"},
		iamapi.OpListGroupsForUser:             &iamapi.ListGroupsForUserInput{UserName: "x"},
		iamapi.OpCreateAccessKey:               &iamapi.CreateAccessKeyInput{UserName: &x},
		iamapi.OpUpdateAccessKey:               status(&x, keyID, "Inactive"),
		iamapi.OpDeleteAccessKey:               &iamapi.DeleteAccessKeyInput{UserName: &x, AccessKeyId: keyID},
		iamapi.OpListAccessKeys:                &iamapi.ListAccessKeysInput{UserName: &x},
		iamapi.OpGetAccessKeyLastUsed:          &iamapi.GetAccessKeyLastUsedInput{AccessKeyId: keyID},

		iamapi.OpCreateGroup:               &iamapi.CreateGroupInput{GroupName: "x", Path: new("/p/")},
		iamapi.OpGetGroup:                  &iamapi.GetGroupInput{GroupName: "x"},
		iamapi.OpUpdateGroup:               &iamapi.UpdateGroupInput{GroupName: "x", NewGroupName: new("y")},
		iamapi.OpDeleteGroup:               &iamapi.DeleteGroupInput{GroupName: "x"},
		iamapi.OpListGroups:                &iamapi.ListGroupsInput{},
		iamapi.OpAddUserToGroup:            member("x", "x"),
		iamapi.OpRemoveUserFromGroup:       &iamapi.RemoveUserFromGroupInput{GroupName: "x", UserName: "x"},
		iamapi.OpPutGroupPolicy:            &iamapi.PutGroupPolicyInput{GroupName: "x", PolicyName: "p", PolicyDocument: simplePolicy},
		iamapi.OpGetGroupPolicy:            &iamapi.GetGroupPolicyInput{GroupName: "x", PolicyName: "p"},
		iamapi.OpDeleteGroupPolicy:         &iamapi.DeleteGroupPolicyInput{GroupName: "x", PolicyName: "p"},
		iamapi.OpListGroupPolicies:         &iamapi.ListGroupPoliciesInput{GroupName: "x"},
		iamapi.OpAttachGroupPolicy:         &iamapi.AttachGroupPolicyInput{GroupName: "x", PolicyArn: adminARN},
		iamapi.OpDetachGroupPolicy:         &iamapi.DetachGroupPolicyInput{GroupName: "x", PolicyArn: adminARN},
		iamapi.OpListAttachedGroupPolicies: &iamapi.ListAttachedGroupPoliciesInput{GroupName: "x"},

		iamapi.OpCreateRole:                    &iamapi.CreateRoleInput{RoleName: "x", Path: new("/p/"), AssumeRolePolicyDocument: doc},
		iamapi.OpGetRole:                       &iamapi.GetRoleInput{RoleName: "x"},
		iamapi.OpUpdateRole:                    &iamapi.UpdateRoleInput{RoleName: "x", Description: new("d")},
		iamapi.OpUpdateRoleDescription:         &iamapi.UpdateRoleDescriptionInput{RoleName: "x", Description: "d"},
		iamapi.OpUpdateAssumeRolePolicy:        &iamapi.UpdateAssumeRolePolicyInput{RoleName: "x", PolicyDocument: doc},
		iamapi.OpDeleteRole:                    &iamapi.DeleteRoleInput{RoleName: "x"},
		iamapi.OpListRoles:                     &iamapi.ListRolesInput{},
		iamapi.OpTagRole:                       &iamapi.TagRoleInput{RoleName: "x", Tags: tags("k", "v")},
		iamapi.OpUntagRole:                     &iamapi.UntagRoleInput{RoleName: "x", TagKeys: []string{"k"}},
		iamapi.OpListRoleTags:                  &iamapi.ListRoleTagsInput{RoleName: "x"},
		iamapi.OpPutRolePermissionsBoundary:    &iamapi.PutRolePermissionsBoundaryInput{RoleName: "x", PermissionsBoundary: adminARN},
		iamapi.OpDeleteRolePermissionsBoundary: &iamapi.DeleteRolePermissionsBoundaryInput{RoleName: "x"},
		iamapi.OpPutRolePolicy:                 &iamapi.PutRolePolicyInput{RoleName: "x", PolicyName: "p", PolicyDocument: simplePolicy},
		iamapi.OpGetRolePolicy:                 &iamapi.GetRolePolicyInput{RoleName: "x", PolicyName: "p"},
		iamapi.OpDeleteRolePolicy:              &iamapi.DeleteRolePolicyInput{RoleName: "x", PolicyName: "p"},
		iamapi.OpListRolePolicies:              &iamapi.ListRolePoliciesInput{RoleName: "x"},
		iamapi.OpAttachRolePolicy:              &iamapi.AttachRolePolicyInput{RoleName: "x", PolicyArn: adminARN},
		iamapi.OpDetachRolePolicy:              &iamapi.DetachRolePolicyInput{RoleName: "x", PolicyArn: adminARN},
		iamapi.OpListAttachedRolePolicies:      &iamapi.ListAttachedRolePoliciesInput{RoleName: "x"},
		iamapi.OpListInstanceProfilesForRole:   &iamapi.ListInstanceProfilesForRoleInput{RoleName: "x"},

		iamapi.OpCreatePolicy:            &iamapi.CreatePolicyInput{PolicyName: "x", PolicyDocument: simplePolicy},
		iamapi.OpGetPolicy:               &iamapi.GetPolicyInput{PolicyArn: xPolicyARN},
		iamapi.OpDeletePolicy:            &iamapi.DeletePolicyInput{PolicyArn: xPolicyARN},
		iamapi.OpListPolicies:            &iamapi.ListPoliciesInput{},
		iamapi.OpCreatePolicyVersion:     &iamapi.CreatePolicyVersionInput{PolicyArn: xPolicyARN, PolicyDocument: simplePolicy},
		iamapi.OpGetPolicyVersion:        &iamapi.GetPolicyVersionInput{PolicyArn: xPolicyARN, VersionId: "v1"},
		iamapi.OpDeletePolicyVersion:     &iamapi.DeletePolicyVersionInput{PolicyArn: xPolicyARN, VersionId: "v1"},
		iamapi.OpListPolicyVersions:      &iamapi.ListPolicyVersionsInput{PolicyArn: xPolicyARN},
		iamapi.OpSetDefaultPolicyVersion: &iamapi.SetDefaultPolicyVersionInput{PolicyArn: xPolicyARN, VersionId: "v1"},
		iamapi.OpTagPolicy:               &iamapi.TagPolicyInput{PolicyArn: xPolicyARN, Tags: tags("k", "v")},
		iamapi.OpUntagPolicy:             &iamapi.UntagPolicyInput{PolicyArn: xPolicyARN, TagKeys: []string{"k"}},
		iamapi.OpListPolicyTags:          &iamapi.ListPolicyTagsInput{PolicyArn: xPolicyARN},
		iamapi.OpListEntitiesForPolicy:   &iamapi.ListEntitiesForPolicyInput{PolicyArn: xPolicyARN},

		iamapi.OpCreateOpenIDConnectProvider:             &iamapi.CreateOpenIDConnectProviderInput{Url: "https://issuer.example"},
		iamapi.OpGetOpenIDConnectProvider:                &iamapi.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN},
		iamapi.OpListOpenIDConnectProviders:              &iamapi.ListOpenIDConnectProvidersInput{},
		iamapi.OpDeleteOpenIDConnectProvider:             &iamapi.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN},
		iamapi.OpUpdateOpenIDConnectProviderThumbprint:   &iamapi.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: providerARN, ThumbprintList: []string{}},
		iamapi.OpAddClientIDToOpenIDConnectProvider:      &iamapi.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN, ClientID: "c"},
		iamapi.OpRemoveClientIDFromOpenIDConnectProvider: &iamapi.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN, ClientID: "c"},
		iamapi.OpTagOpenIDConnectProvider:                &iamapi.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN, Tags: tags("k", "v")},
		iamapi.OpUntagOpenIDConnectProvider:              &iamapi.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN, TagKeys: []string{"k"}},
		iamapi.OpListOpenIDConnectProviderTags:           &iamapi.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: providerARN},
		iamapi.OpGetAccountAuthorizationDetails:          &iamapi.GetAccountAuthorizationDetailsInput{},
	}
}

// makeAll makes the user, group, role, policy and provider that inputs are about.
func makeAll(t *testing.T, h *house) {
	all := inputs()
	for _, op := range []*api.Operation{
		iamapi.OpCreateUser, iamapi.OpCreateGroup, iamapi.OpCreateRole, iamapi.OpCreatePolicy, iamapi.OpCreateOpenIDConnectProvider,
	} {
		h.run(t, op, all[op])
	}
}

// Every operation has an example, and every example an operation.
func TestInputs(t *testing.T) {
	all := inputs()
	for _, op := range served() {
		if all[op] == nil {
			t.Errorf("no request of %s", op.Name)
		}
		delete(all, op)
	}
	for op := range all {
		t.Errorf("%s is not served", op.Name)
	}
}

// Every operation asks about itself once before it tells whether what it is about is
// there, and answers a caller who is denied the same in both cases.
func TestEveryOperationAsks(t *testing.T) {
	h := newHouse(t)
	refusals := make(map[*api.Operation]string)
	for _, exists := range []bool{false, true} {
		if exists {
			makeAll(t, h)
		}
		h.refuse(func(*call.Check) bool { return true })
		for op, in := range inputs() {
			h.questions()
			_, err := h.call(op, in)
			got := shownError(err)
			if !strings.HasPrefix(got, denied+"iam:"+op.Name+" on resource: ") {
				t.Errorf("%s, there %v: error %s, want a denial", op.Name, exists, got)
			}
			if exists && got != refusals[op] {
				t.Errorf("%s: a denied caller learns whether it is there:\n %s\n %s", op.Name, refusals[op], got)
			}
			refusals[op] = got
			asked := h.questions()
			if len(asked) != 1 || asked[0].Action != "iam:"+op.Name || asked[0].Account != account {
				t.Errorf("%s, there %v: asked %+v, want one question about the operation", op.Name, exists, asked)
				continue
			}
			// What exists is asked about with its path.
			if path := "/p/x"; exists && strings.HasSuffix(asked[0].Shown, "er x") && !strings.HasSuffix(asked[0].Resource, path) {
				t.Errorf("%s: asked about %s, want …%s", op.Name, asked[0].Resource, path)
			}
		}
		h.refuse(nil)
	}
}

// A denied operation has changed nothing: it can be allowed, and do it, right after.
func TestDeniedChangesNothing(t *testing.T) {
	h := newHouse(t)
	makeAll(t, h)
	var before, after string
	dump := func() (all string) {
		h.view(t, func(v *store.Snap) { all = h.dump(v) })
		return all
	}
	before = dump()
	h.refuse(func(*call.Check) bool { return true })
	for op, in := range inputs() {
		if _, err := h.call(op, in); err == nil {
			t.Errorf("%s was allowed", op.Name)
		}
	}
	if after = dump(); before != after {
		t.Errorf("records before\n%s\nand after\n%s", before, after)
	}
}

// A store that does not answer is a service failure, of which the client learns
// nothing else.
func TestStoreGone(t *testing.T) {
	h := newHouse(t)
	makeAll(t, h)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	for op, in := range inputs() {
		_, err := h.call(op, in)
		if aerr, ok := errors.AsType[*api.Error](err); !ok || aerr.Code != iamapi.ServiceFailure || aerr.Message != "An error occurred on the server side." {
			t.Errorf("%s: error %v", op.Name, err)
		}
	}
}
