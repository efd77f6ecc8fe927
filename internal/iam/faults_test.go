package iam_test

import (
	"fmt"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/store"
)

// Each commit of each changing operation on users and groups fails in every way it
// can. Afterwards the repeated call has the result of one call, and nothing is left
// half done. A repeat may find that the first try went through after all: that is the
// code it is settled by.
func TestEveryCommitOfUsersAndGroups(t *testing.T) {
	user := func(t *testing.T, h *house) { h.createUser(t, "x") }
	both := func(t *testing.T, h *house) { user(t, h); h.createGroup(t, "x") }
	policy := func(t *testing.T, h *house) { both(t, h); h.createPolicy(t, "x") }
	then := func(setup func(t *testing.T, h *house), op *api.Operation, in any) func(t *testing.T, h *house) {
		return func(t *testing.T, h *house) { setup(t, h); h.run(t, op, in) }
	}
	attachUser := &iamapi.AttachUserPolicyInput{UserName: "x", PolicyArn: xPolicyARN}
	attachGroup := &iamapi.AttachGroupPolicyInput{GroupName: "x", PolicyArn: xPolicyARN}
	bound := &iamapi.PutUserPermissionsBoundaryInput{UserName: "x", PermissionsBoundary: xPolicyARN}
	all := inputs()
	const taken, gone = "EntityAlreadyExists", "NoSuchEntity"
	for _, tc := range []struct {
		op      *api.Operation
		in      any
		setup   func(t *testing.T, h *house)
		settled string
		want    []string // what is in the records then
		not     []string
	}{
		{iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: "y", PermissionsBoundary: new(xPolicyARN), Tags: tags("k", "v")}, policy, taken, []string{"Name:y", "Boundaries:1"}, nil},
		{iamapi.OpUpdateUser, all[iamapi.OpUpdateUser], user, gone, []string{"Name:y"}, []string{"Name:x"}},
		{iamapi.OpDeleteUser, all[iamapi.OpDeleteUser], then(policy, iamapi.OpPutUserPermissionsBoundary, bound), gone, []string{"group {"}, []string{"user {", "Boundaries:1"}},
		{iamapi.OpTagUser, all[iamapi.OpTagUser], user, "", []string{"{Key:k Value:v}"}, nil},
		{iamapi.OpUntagUser, all[iamapi.OpUntagUser], then(user, iamapi.OpTagUser, all[iamapi.OpTagUser]), "", nil, []string{"{Key:k"}},
		{iamapi.OpPutUserPermissionsBoundary, bound, policy, "", []string{"Boundary:" + xPolicyARN, "Boundaries:1"}, nil},
		{iamapi.OpDeleteUserPermissionsBoundary, all[iamapi.OpDeleteUserPermissionsBoundary], then(policy, iamapi.OpPutUserPermissionsBoundary, bound), "", []string{"Boundaries:0"}, []string{"Boundary:arn"}},
		{iamapi.OpPutUserPolicy, all[iamapi.OpPutUserPolicy], user, "", []string{"Inline:[{Name:p"}, nil},
		{iamapi.OpDeleteUserPolicy, all[iamapi.OpDeleteUserPolicy], then(user, iamapi.OpPutUserPolicy, all[iamapi.OpPutUserPolicy]), gone, nil, []string{"Name:p "}},
		{iamapi.OpAttachUserPolicy, attachUser, policy, "", []string{"Attached:[" + xPolicyARN, "Attachments:1"}, nil},
		{iamapi.OpDetachUserPolicy, &iamapi.DetachUserPolicyInput{UserName: "x", PolicyArn: xPolicyARN}, then(policy, iamapi.OpAttachUserPolicy, attachUser), gone, []string{"Attachments:0"}, []string{"Attached:[arn"}},
		{iamapi.OpCreateAccessKey, all[iamapi.OpCreateAccessKey], user, "", []string{"Keys:[AKIA"}, nil},
		{iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{}, user, "LimitExceeded", []string{"key {ID:AKIA"}, nil},
		{iamapi.OpUpdateAccessKey, status(nil, keyID, "Inactive"), user, "", []string{"Active:false"}, nil},
		{iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{AccessKeyId: keyID}, func(t *testing.T, h *house) {
			h.svc.NoteUse(keyID, "iam", "us-east-1", start)
			h.flush(t)
		}, gone, nil, []string{keyID}},
		{iamapi.OpCreateGroup, all[iamapi.OpCreateGroup], user, taken, []string{"group {", "Path:/p/"}, nil},
		{iamapi.OpUpdateGroup, all[iamapi.OpUpdateGroup], both, gone, []string{"Name:y"}, nil},
		{iamapi.OpDeleteGroup, all[iamapi.OpDeleteGroup], both, gone, []string{"user {"}, []string{"group {"}},
		{iamapi.OpAddUserToGroup, all[iamapi.OpAddUserToGroup], both, "", []string{"Members:1", "Groups:[AGPA"}, nil},
		{iamapi.OpRemoveUserFromGroup, all[iamapi.OpRemoveUserFromGroup], then(both, iamapi.OpAddUserToGroup, member("x", "x")), "", []string{"Members:0", "Groups:[]"}, nil},
		{iamapi.OpPutGroupPolicy, all[iamapi.OpPutGroupPolicy], both, "", []string{"Inline:[{Name:p"}, nil},
		{iamapi.OpDeleteGroupPolicy, all[iamapi.OpDeleteGroupPolicy], then(both, iamapi.OpPutGroupPolicy, all[iamapi.OpPutGroupPolicy]), gone, nil, []string{"Name:p "}},
		{iamapi.OpAttachGroupPolicy, attachGroup, policy, "", []string{"Attached:[" + xPolicyARN, "Attachments:1"}, nil},
		{iamapi.OpDetachGroupPolicy, &iamapi.DetachGroupPolicyInput{GroupName: "x", PolicyArn: xPolicyARN}, then(policy, iamapi.OpAttachGroupPolicy, attachGroup), gone, []string{"Attachments:0"}, []string{"Attached:[arn"}},
	} {
		t.Run(tc.op.Name, func(t *testing.T) {
			everyHouseCommit(t, tc.setup, func(t *testing.T, h *house) error {
				_, err := h.call(tc.op, tc.in)
				if tc.settled != "" && strings.HasPrefix(shownError(err), tc.settled+": ") {
					return nil
				}
				return err
			}, func(t *testing.T, h *house) { h.holds(t, tc.want, tc.not) })
		})
	}
}

// holds looks for pieces of text in the dump of all records.
func (h *house) holds(t *testing.T, want, not []string) {
	t.Helper()
	var all string
	h.view(t, func(v *store.Snap) { all = h.dump(v) })
	for _, w := range want {
		if !strings.Contains(all, w) {
			t.Errorf("no %q in the records\n%s", w, all)
		}
	}
	for _, n := range not {
		if strings.Contains(all, n) {
			t.Errorf("%q in the records\n%s", n, all)
		}
	}
}

// Flushing uses converges, whatever becomes of its commit.
func TestEveryCommitOfUses(t *testing.T) {
	everyHouseCommit(t, func(t *testing.T, h *house) { h.createUser(t, "x"); h.createKey(t, "x") },
		func(t *testing.T, h *house) error {
			h.svc.NoteUse(keyID, "iam", "us-east-1", start)
			return h.svc.FlushUses(t.Context())
		},
		func(t *testing.T, h *house) {
			h.holds(t, []string{fmt.Sprintf("use {ID:%s Account:%s At:%d Service:iam Region:us-east-1}", keyID, account, start.UnixMilli())}, nil)
		})
}
