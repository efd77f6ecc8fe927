package iam_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/iam"
	"arca/internal/store"
)

// step is one call of a scenario.
type step struct {
	op *api.Operation
	in any
	// again is what a repeat is told when the first try went through; nil for
	// operations that succeed a second time.
	again *api.Code
}

// steps makes calls in turn until one fails. Repeated from the start, as a client
// would that got an error, they go on where they were.
func steps(list ...step) func(t *testing.T, h *house) error {
	return func(_ *testing.T, h *house) error {
		for _, s := range list {
			if _, err := h.call(s.op, s.in); err != nil && settled(err, s.again) != nil {
				return fmt.Errorf("%s: %w", s.op.Name, err)
			}
		}
		return nil
	}
}

// Each commit of each changing operation fails in every way it can. Afterwards the
// repeated calls have the result of one call each, and the check of the whole store
// finds nothing half done.
func TestEveryCommitOfRolesPoliciesProviders(t *testing.T) {
	arn, other := ownPolicyARN("p"), ownPolicyARN("other")
	counts := func(t *testing.T, h *house, arn string, attachments, boundaries int32) {
		t.Helper()
		if got := h.getPolicy(t, arn); *got.AttachmentCount != attachments || *got.PermissionsBoundaryUsageCount != boundaries {
			t.Errorf("counts of %s = %d, %d; want %d, %d", arn, *got.AttachmentCount, *got.PermissionsBoundaryUsageCount, attachments, boundaries)
		}
	}
	missing := func(t *testing.T, h *house, op *api.Operation, in any) {
		t.Helper()
		if _, err := h.call(op, in); err == nil || settled(err, iamapi.NoSuchEntity) != nil {
			t.Errorf("%s: error %v, want NoSuchEntity", op.Name, err)
		}
	}

	t.Run("role made", func(t *testing.T) {
		everyHouseCommit(t, func(t *testing.T, h *house) { h.createPolicy(t, "other") },
			steps(
				step{iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{PolicyName: "p", PolicyDocument: simplePolicy}, iamapi.EntityAlreadyExists},
				step{iamapi.OpCreateRole, &iamapi.CreateRoleInput{RoleName: "app", AssumeRolePolicyDocument: ownTrust, PermissionsBoundary: &arn}, iamapi.EntityAlreadyExists},
				step{iamapi.OpUpdateRole, &iamapi.UpdateRoleInput{RoleName: "app", MaxSessionDuration: new(int32(7200))}, nil},
				step{iamapi.OpUpdateRoleDescription, &iamapi.UpdateRoleDescriptionInput{RoleName: "app", Description: "d"}, nil},
				step{iamapi.OpUpdateAssumeRolePolicy, &iamapi.UpdateAssumeRolePolicyInput{RoleName: "app", PolicyDocument: trust(`"*"`)}, nil},
				step{iamapi.OpTagRole, &iamapi.TagRoleInput{RoleName: "app", Tags: tags("k", "v", "l", "w")}, nil},
				step{iamapi.OpPutRolePolicy, &iamapi.PutRolePolicyInput{RoleName: "app", PolicyName: "in", PolicyDocument: simplePolicy}, nil},
				step{iamapi.OpAttachRolePolicy, &iamapi.AttachRolePolicyInput{RoleName: "app", PolicyArn: arn}, nil},
				step{iamapi.OpPutRolePermissionsBoundary, &iamapi.PutRolePermissionsBoundaryInput{RoleName: "app", PermissionsBoundary: other}, nil},
			),
			func(t *testing.T, h *house) {
				got := h.getRole(t, "app")
				if *got.MaxSessionDuration != 7200 || unescaped(t, *got.AssumeRolePolicyDocument) != trust(`"*"`) || cmp.Diff(tags("k", "v", "l", "w"), got.Tags) != "" {
					t.Errorf("role %+v", got)
				}
				h.run(t, iamapi.OpGetRolePolicy, &iamapi.GetRolePolicyInput{RoleName: "app", PolicyName: "in"})
				counts(t, h, arn, 1, 0)
				counts(t, h, other, 0, 1)
			})
	})

	t.Run("role unmade", func(t *testing.T) {
		everyHouseCommit(t, func(t *testing.T, h *house) {
			h.createPolicy(t, "p")
			h.createPolicy(t, "other")
			h.createRole(t, "app", func(in *iamapi.CreateRoleInput) { in.Tags, in.PermissionsBoundary = tags("k", "v"), &arn })
			h.run(t, iamapi.OpAttachRolePolicy, &iamapi.AttachRolePolicyInput{RoleName: "app", PolicyArn: arn})
			h.run(t, iamapi.OpPutRolePolicy, &iamapi.PutRolePolicyInput{RoleName: "app", PolicyName: "in", PolicyDocument: simplePolicy})
			h.createRole(t, "bounded", func(in *iamapi.CreateRoleInput) { in.PermissionsBoundary = &other })
			h.svc.NoteUse(h.getRole(t, "app").RoleId, "sts", "eu-west-1", h.now)
			h.flush(t)
		},
			steps(
				step{iamapi.OpUntagRole, &iamapi.UntagRoleInput{RoleName: "app", TagKeys: []string{"k"}}, iamapi.NoSuchEntity},
				step{iamapi.OpDeleteRolePolicy, &iamapi.DeleteRolePolicyInput{RoleName: "app", PolicyName: "in"}, iamapi.NoSuchEntity},
				step{iamapi.OpDetachRolePolicy, &iamapi.DetachRolePolicyInput{RoleName: "app", PolicyArn: arn}, iamapi.NoSuchEntity},
				step{iamapi.OpDeleteRolePermissionsBoundary, &iamapi.DeleteRolePermissionsBoundaryInput{RoleName: "app"}, iamapi.NoSuchEntity},
				step{iamapi.OpDeleteRole, &iamapi.DeleteRoleInput{RoleName: "app"}, iamapi.NoSuchEntity},
				step{iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: arn}, iamapi.NoSuchEntity},
				step{iamapi.OpDeleteRole, &iamapi.DeleteRoleInput{RoleName: "bounded"}, iamapi.NoSuchEntity},
			),
			func(t *testing.T, h *house) {
				missing(t, h, iamapi.OpGetRole, &iamapi.GetRoleInput{RoleName: "app"})
				missing(t, h, iamapi.OpGetPolicy, &iamapi.GetPolicyInput{PolicyArn: arn})
				counts(t, h, other, 0, 0)
				h.createRole(t, "APP")
				h.createPolicy(t, "P")
			})
	})

	t.Run("versions", func(t *testing.T) {
		everyHouseCommit(t, func(t *testing.T, h *house) { h.createPolicy(t, "p") },
			steps(
				// A repeat is a further version: the request has nothing to know it by.
				step{iamapi.OpCreatePolicyVersion, &iamapi.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: denyPolicy}, nil},
				step{iamapi.OpSetDefaultPolicyVersion, &iamapi.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: "v2"}, nil},
				step{iamapi.OpDeletePolicyVersion, &iamapi.DeletePolicyVersionInput{PolicyArn: arn, VersionId: "v1"}, iamapi.NoSuchEntity},
				step{iamapi.OpTagPolicy, &iamapi.TagPolicyInput{PolicyArn: arn, Tags: tags("a", "b", "c", "d")}, nil},
				step{iamapi.OpUntagPolicy, &iamapi.UntagPolicyInput{PolicyArn: arn, TagKeys: []string{"a"}}, nil},
			),
			func(t *testing.T, h *house) {
				if got := h.inForce(t, arn); got != denyPolicy {
					t.Errorf("in force: %s", got)
				}
				missing(t, h, iamapi.OpGetPolicyVersion, &iamapi.GetPolicyVersionInput{PolicyArn: arn, VersionId: "v1"})
				if diff := cmp.Diff(tags("c", "d"), h.getPolicy(t, arn).Tags); diff != "" {
					t.Errorf("tags (-want +got):\n%s", diff)
				}
			})
	})

	t.Run("provider", func(t *testing.T) {
		everyHouseCommit(t, func(t *testing.T, h *house) { h.createProvider(t, "https://second.example") },
			steps(
				step{iamapi.OpCreateOpenIDConnectProvider, &iamapi.CreateOpenIDConnectProviderInput{Url: issuer, ClientIDList: []string{"one"}}, iamapi.EntityAlreadyExists},
				step{iamapi.OpAddClientIDToOpenIDConnectProvider, &iamapi.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: issuerARN, ClientID: "two"}, nil},
				step{iamapi.OpRemoveClientIDFromOpenIDConnectProvider, &iamapi.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: issuerARN, ClientID: "one"}, nil},
				step{iamapi.OpUpdateOpenIDConnectProviderThumbprint, &iamapi.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: issuerARN, ThumbprintList: []string{thumb}}, nil},
				step{iamapi.OpTagOpenIDConnectProvider, &iamapi.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: issuerARN, Tags: tags("a", "b", "c", "d")}, nil},
				step{iamapi.OpUntagOpenIDConnectProvider, &iamapi.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: issuerARN, TagKeys: []string{"a"}}, nil},
				step{iamapi.OpDeleteOpenIDConnectProvider, &iamapi.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: strings.Replace(issuerARN, "token.issuer.example/group/project", "second.example", 1)}, nil},
			),
			func(t *testing.T, h *house) {
				got := h.getProvider(t, issuerARN)
				if cmp.Diff([]string{"two"}, got.ClientIDList) != "" || len(got.ThumbprintList) != 1 || cmp.Diff(tags("c", "d"), got.Tags) != "" {
					t.Errorf("provider %+v", got)
				}
				n := 0
				h.view(t, func(v *store.Snap) { h.svc.Providers(v, account, func(*iam.Provider) bool { n++; return true }) })
				if n != 1 {
					t.Errorf("%d providers", n)
				}
			})
	})
}
