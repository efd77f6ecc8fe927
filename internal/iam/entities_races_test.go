package iam_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"arca/internal/api"
	"arca/internal/api/iamapi"
)

// A policy is attached and deleted, a role is deleted and made, by many at once. Every
// answer is one that some order of the calls explains; in the end no attachment leads
// nowhere and all counts agree, which the check of the store looks at when the test
// ends.
func TestAttachWhileDeletedAndMade(t *testing.T) {
	h := newHouse(t)
	arn := ownPolicyARN("p")
	var succeeded sync.Map
	try := func(op *api.Operation, in any, expected ...*api.Code) {
		_, err := h.call(op, in)
		if err == nil {
			succeeded.Store(op.Name, true)
			return
		}
		if aerr, ok := errors.AsType[*api.Error](err); !ok || !slices.Contains(expected, aerr.Code) {
			t.Errorf("%s: %v", op.Name, err)
		}
	}
	step := func() {
		name := []string{"app", "APP", "other"}[rand.IntN(3)]
		switch rand.IntN(10) {
		case 0, 1:
			try(iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{PolicyName: "p", PolicyDocument: simplePolicy}, iamapi.EntityAlreadyExists)
		case 2, 3:
			try(iamapi.OpCreateRole, &iamapi.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: ownTrust}, iamapi.EntityAlreadyExists)
		case 4:
			try(iamapi.OpAttachRolePolicy, &iamapi.AttachRolePolicyInput{RoleName: name, PolicyArn: arn}, iamapi.NoSuchEntity)
		case 5:
			try(iamapi.OpDetachRolePolicy, &iamapi.DetachRolePolicyInput{RoleName: name, PolicyArn: arn}, iamapi.NoSuchEntity)
		case 6:
			try(iamapi.OpPutRolePermissionsBoundary, &iamapi.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: arn}, iamapi.NoSuchEntity)
		case 7:
			try(iamapi.OpDeleteRolePermissionsBoundary, &iamapi.DeleteRolePermissionsBoundaryInput{RoleName: name}, iamapi.NoSuchEntity)
		case 8:
			try(iamapi.OpDeleteRole, &iamapi.DeleteRoleInput{RoleName: name}, iamapi.NoSuchEntity, iamapi.DeleteConflict)
		case 9:
			try(iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: arn}, iamapi.NoSuchEntity, iamapi.DeleteConflict)
		}
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 100 {
				step()
			}
		})
	}
	callers.Wait()
	for _, op := range []*api.Operation{iamapi.OpCreatePolicy, iamapi.OpCreateRole, iamapi.OpAttachRolePolicy, iamapi.OpDeleteRole, iamapi.OpDeletePolicy} {
		if _, ok := succeeded.Load(op.Name); !ok {
			t.Errorf("%s never succeeded", op.Name)
		}
	}
}

// Of those who make the same at once, one succeeds.
func TestMadeAtOnce(t *testing.T) {
	h := newHouse(t)
	for op, in := range map[*api.Operation]any{
		iamapi.OpCreateRole:                  &iamapi.CreateRoleInput{RoleName: "app", AssumeRolePolicyDocument: ownTrust},
		iamapi.OpCreatePolicy:                &iamapi.CreatePolicyInput{PolicyName: "p", PolicyDocument: simplePolicy},
		iamapi.OpCreateOpenIDConnectProvider: &iamapi.CreateOpenIDConnectProviderInput{Url: issuer},
	} {
		errs := make([]error, 8)
		var callers sync.WaitGroup
		for i := range errs {
			callers.Go(func() { _, errs[i] = h.call(op, in) })
		}
		callers.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
			} else if settled(err, iamapi.EntityAlreadyExists) != nil {
				t.Errorf("%s: %v", op.Name, err)
			}
		}
		if made != 1 {
			t.Errorf("%s succeeded %d times", op.Name, made)
		}
	}
}

// Versions that are made at once have ids of their own, and there are never more than
// there may be.
func TestVersionsAtOnce(t *testing.T) {
	h := newHouse(t)
	arn := h.createPolicy(t, "p")
	ids := make([]string, 8)
	var callers sync.WaitGroup
	for i := range ids {
		callers.Go(func() {
			out, err := h.call(iamapi.OpCreatePolicyVersion, &iamapi.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: simplePolicy})
			if err == nil {
				ids[i] = *out.(*iamapi.CreatePolicyVersionOutput).PolicyVersion.VersionId
			} else if settled(err, iamapi.LimitExceeded) != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" })
	slices.Sort(ids)
	if !slices.Equal(ids, []string{"v2", "v3", "v4", "v5"}) {
		t.Errorf("made %q", ids)
	}
}
