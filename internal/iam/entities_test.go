package iam_test

import (
	"testing"

	"arca/internal/api"
	"arca/internal/api/iamapi"
)

// aboutRole has for each operation on a role the input that names it.
func aboutRole(name string) map[*api.Operation]any {
	return map[*api.Operation]any{
		iamapi.OpGetRole:                       &iamapi.GetRoleInput{RoleName: name},
		iamapi.OpUpdateRole:                    &iamapi.UpdateRoleInput{RoleName: name},
		iamapi.OpUpdateRoleDescription:         &iamapi.UpdateRoleDescriptionInput{RoleName: name, Description: "d"},
		iamapi.OpUpdateAssumeRolePolicy:        &iamapi.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: ownTrust},
		iamapi.OpDeleteRole:                    &iamapi.DeleteRoleInput{RoleName: name},
		iamapi.OpTagRole:                       &iamapi.TagRoleInput{RoleName: name, Tags: tags("a", "b")},
		iamapi.OpUntagRole:                     &iamapi.UntagRoleInput{RoleName: name, TagKeys: []string{"a"}},
		iamapi.OpListRoleTags:                  &iamapi.ListRoleTagsInput{RoleName: name},
		iamapi.OpPutRolePermissionsBoundary:    &iamapi.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: adminARN},
		iamapi.OpDeleteRolePermissionsBoundary: &iamapi.DeleteRolePermissionsBoundaryInput{RoleName: name},
		iamapi.OpPutRolePolicy:                 &iamapi.PutRolePolicyInput{RoleName: name, PolicyName: "p", PolicyDocument: simplePolicy},
		iamapi.OpGetRolePolicy:                 &iamapi.GetRolePolicyInput{RoleName: name, PolicyName: "p"},
		iamapi.OpDeleteRolePolicy:              &iamapi.DeleteRolePolicyInput{RoleName: name, PolicyName: "p"},
		iamapi.OpListRolePolicies:              &iamapi.ListRolePoliciesInput{RoleName: name},
		iamapi.OpAttachRolePolicy:              &iamapi.AttachRolePolicyInput{RoleName: name, PolicyArn: adminARN},
		iamapi.OpDetachRolePolicy:              &iamapi.DetachRolePolicyInput{RoleName: name, PolicyArn: adminARN},
		iamapi.OpListAttachedRolePolicies:      &iamapi.ListAttachedRolePoliciesInput{RoleName: name},
		iamapi.OpListInstanceProfilesForRole:   &iamapi.ListInstanceProfilesForRoleInput{RoleName: name},
	}
}

// aboutPolicy has for each operation on a managed policy the input that names it.
func aboutPolicy(arn string) map[*api.Operation]any {
	return map[*api.Operation]any{
		iamapi.OpGetPolicy:               &iamapi.GetPolicyInput{PolicyArn: arn},
		iamapi.OpDeletePolicy:            &iamapi.DeletePolicyInput{PolicyArn: arn},
		iamapi.OpCreatePolicyVersion:     &iamapi.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: denyPolicy, SetAsDefault: new(true)},
		iamapi.OpGetPolicyVersion:        &iamapi.GetPolicyVersionInput{PolicyArn: arn, VersionId: "v1"},
		iamapi.OpDeletePolicyVersion:     &iamapi.DeletePolicyVersionInput{PolicyArn: arn, VersionId: "v2"},
		iamapi.OpListPolicyVersions:      &iamapi.ListPolicyVersionsInput{PolicyArn: arn},
		iamapi.OpSetDefaultPolicyVersion: &iamapi.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: "v2"},
		iamapi.OpTagPolicy:               &iamapi.TagPolicyInput{PolicyArn: arn, Tags: tags("a", "b")},
		iamapi.OpUntagPolicy:             &iamapi.UntagPolicyInput{PolicyArn: arn, TagKeys: []string{"a"}},
		iamapi.OpListPolicyTags:          &iamapi.ListPolicyTagsInput{PolicyArn: arn},
		iamapi.OpListEntitiesForPolicy:   &iamapi.ListEntitiesForPolicyInput{PolicyArn: arn},
	}
}

// aboutProvider has for each operation on a provider the input that names it.
func aboutProvider(arn string) map[*api.Operation]any {
	return map[*api.Operation]any{
		iamapi.OpGetOpenIDConnectProvider:                &iamapi.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn},
		iamapi.OpDeleteOpenIDConnectProvider:             &iamapi.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn},
		iamapi.OpUpdateOpenIDConnectProviderThumbprint:   &iamapi.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{thumb}},
		iamapi.OpAddClientIDToOpenIDConnectProvider:      &iamapi.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: "x"},
		iamapi.OpRemoveClientIDFromOpenIDConnectProvider: &iamapi.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: "x"},
		iamapi.OpTagOpenIDConnectProvider:                &iamapi.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: tags("a", "b")},
		iamapi.OpUntagOpenIDConnectProvider:              &iamapi.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"a"}},
		iamapi.OpListOpenIDConnectProviderTags:           &iamapi.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn},
	}
}

// aboutNothing has the operations that make or list.
func aboutNothing() map[*api.Operation]any {
	return map[*api.Operation]any{
		iamapi.OpCreateRole:                     &iamapi.CreateRoleInput{RoleName: "app", AssumeRolePolicyDocument: ownTrust},
		iamapi.OpListRoles:                      &iamapi.ListRolesInput{},
		iamapi.OpCreatePolicy:                   &iamapi.CreatePolicyInput{PolicyName: "p", PolicyDocument: simplePolicy},
		iamapi.OpListPolicies:                   &iamapi.ListPoliciesInput{},
		iamapi.OpCreateOpenIDConnectProvider:    &iamapi.CreateOpenIDConnectProviderInput{Url: issuer},
		iamapi.OpListOpenIDConnectProviders:     &iamapi.ListOpenIDConnectProvidersInput{},
		iamapi.OpGetAccountAuthorizationDetails: &iamapi.GetAccountAuthorizationDetailsInput{},
	}
}

// What operations without a role or policy of their own are about.
func TestResourcesOfQuestions(t *testing.T) {
	h := newHouse(t)
	for op, want := range map[*api.Operation]string{
		iamapi.OpListRoles:                      "arn:aws:iam::" + account + ":role/",
		iamapi.OpListPolicies:                   "arn:aws:iam::" + account + ":policy/",
		iamapi.OpListOpenIDConnectProviders:     "arn:aws:iam::" + account + ":oidc-provider/*",
		iamapi.OpGetAccountAuthorizationDetails: "*",
		iamapi.OpCreateRole:                     "arn:aws:iam::" + account + ":role/app",
		iamapi.OpCreatePolicy:                   ownPolicyARN("p"),
		iamapi.OpCreateOpenIDConnectProvider:    issuerARN,
	} {
		h.questions()
		h.run(t, op, aboutNothing()[op])
		if asked := h.questions(); len(asked) != 1 || asked[0].Resource != want {
			t.Errorf("%s: asked %+v, want one question about %s", op.Name, asked, want)
		}
	}
}

func TestNoSuchRolePolicyOrProvider(t *testing.T) {
	h := newHouse(t)
	for op, in := range aboutRole("nobody") {
		h.refused(t, noRole, op, in)
	}
	for op, in := range aboutPolicy(ownPolicyARN("none")) {
		h.refused(t, "NoSuchEntity: Policy "+ownPolicyARN("none")+" was not found.", op, in)
	}
	for op, in := range aboutProvider(issuerARN) {
		if op != iamapi.OpDeleteOpenIDConnectProvider {
			h.refused(t, "NoSuchEntity: OpenIDConnect Provider not found for arn "+issuerARN, op, in)
		}
	}
	// What another account has is as if it were not there.
	h.createRole(t, "app")
	for op, in := range aboutRole("app") {
		h.refused(t, "NoSuchEntity: The role with name app cannot be found.", op, in, otherRoot())
	}
}
