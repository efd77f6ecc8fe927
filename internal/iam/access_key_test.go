package iam_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/iam"
)

// signs reports which secret an access key signs with; "" when it may not.
func (h *house) signs(t testing.TB, id string) string {
	t.Helper()
	cred, err := h.svc.Lookup(context.Background(), id, "")
	if errors.Is(err, iam.ErrNoCredential) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	secret, err := cred.Secret()
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Wipe()
	return string(secret.Bytes())
}

func status(user *string, id, status string) *iamapi.UpdateAccessKeyInput {
	return &iamapi.UpdateAccessKeyInput{UserName: user, AccessKeyId: id, Status: status}
}

// The secret of an access key is in the answer that made it, and nowhere else.
func TestAccessKeys(t *testing.T) {
	h := newHouse(t)
	h.createUser(t, "alice")
	alice := new("alice")
	one := h.createKey(t, "Alice")
	if one.UserName != "alice" || one.Status != "Active" || !one.CreateDate.Equal(h.now) || len(one.SecretAccessKey) != 40 {
		t.Errorf("created %v", one)
	}
	if got := h.signs(t, one.AccessKeyId); got == "" || got != string(one.SecretAccessKey) {
		t.Error("the key does not sign with the secret of the answer")
	}
	two := h.createKey(t, "alice")
	h.refused(t, "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2", iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{UserName: alice})

	h.run(t, iamapi.OpUpdateAccessKey, status(alice, one.AccessKeyId, "Inactive"))
	if h.signs(t, one.AccessKeyId) != "" || h.signs(t, two.AccessKeyId) == "" {
		t.Error("not exactly the inactive key is refused")
	}
	list := func() string {
		t.Helper()
		var got []string
		in := &iamapi.ListAccessKeysInput{UserName: alice, MaxItems: new(int32(1))}
		for {
			out := must[iamapi.ListAccessKeysOutput](t, h, iamapi.OpListAccessKeys, in)
			for _, k := range out.AccessKeyMetadata {
				got = append(got, *k.UserName, *k.AccessKeyId, *k.Status)
			}
			if in.Marker = out.Marker; in.Marker == nil {
				return fmt.Sprint(got)
			}
		}
	}
	if got, want := list(), fmt.Sprint([]string{"alice", one.AccessKeyId, "Inactive", "alice", two.AccessKeyId, "Active"}); got != want {
		t.Errorf("keys %s, want %s", got, want)
	}
	h.run(t, iamapi.OpUpdateAccessKey, status(alice, one.AccessKeyId, "Active"))
	if h.signs(t, one.AccessKeyId) != string(one.SecretAccessKey) {
		t.Error("a key that was switched off and on signs otherwise")
	}

	// A user's keys are found under its name only, and by itself without one.
	h.createUser(t, "bob")
	missing := "NoSuchEntity: The Access Key with id " + one.AccessKeyId + " cannot be found."
	h.refused(t, missing, iamapi.OpUpdateAccessKey, status(new("bob"), one.AccessKeyId, "Inactive"))
	h.refused(t, missing, iamapi.OpUpdateAccessKey, status(nil, one.AccessKeyId, "Inactive"))
	h.refused(t, missing, iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{UserName: new("bob"), AccessKeyId: one.AccessKeyId})
	h.refused(t, missing, iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{AccessKeyId: one.AccessKeyId}, otherRoot())
	h.refused(t, missing, iamapi.OpGetAccessKeyLastUsed, &iamapi.GetAccessKeyLastUsedInput{AccessKeyId: one.AccessKeyId}, otherRoot())
	itself := h.asUser(t, "alice")
	h.run(t, iamapi.OpUpdateAccessKey, status(nil, two.AccessKeyId, "Inactive"), itself)
	h.run(t, iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{AccessKeyId: two.AccessKeyId}, itself)
	if h.signs(t, two.AccessKeyId) != "" {
		t.Error("a deleted key signs")
	}
	h.refused(t, "NoSuchEntity: The Access Key with id "+two.AccessKeyId+" cannot be found.", iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{UserName: alice, AccessKeyId: two.AccessKeyId})
	h.refused(t, "InvalidInput: Status must be either Active or Inactive.", iamapi.OpUpdateAccessKey, status(alice, one.AccessKeyId, "Expired"))
	own := must[iamapi.CreateAccessKeyOutput](t, h, iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{}, itself).AccessKey
	if own.UserName != "alice" {
		t.Errorf("alice made a key of %q", own.UserName)
	}

	for _, tc := range []struct {
		op *api.Operation
		in any
	}{
		{iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{UserName: new("carol")}},
		{iamapi.OpUpdateAccessKey, status(new("carol"), one.AccessKeyId, "Active")},
		{iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{UserName: new("carol"), AccessKeyId: one.AccessKeyId}},
		{iamapi.OpListAccessKeys, &iamapi.ListAccessKeysInput{UserName: new("carol")}},
	} {
		h.refused(t, noUser("carol"), tc.op, tc.in)
	}
	for _, tc := range []struct {
		op *api.Operation
		in any
	}{
		{iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{}},
		{iamapi.OpUpdateAccessKey, status(nil, one.AccessKeyId, "Active")},
		{iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{AccessKeyId: one.AccessKeyId}},
		{iamapi.OpListAccessKeys, &iamapi.ListAccessKeysInput{}},
	} {
		h.refused(t, "ValidationError: Must specify userName when calling with non-User credentials", tc.op, tc.in, asRole())
	}

	log := h.audited(t) + h.logged.String()
	for _, k := range []*iamapi.AccessKey{one, two, own} {
		if strings.Contains(log, string(k.SecretAccessKey)) {
			t.Error("a secret access key is in the audit log or in the log")
		}
		if !strings.Contains(log, k.AccessKeyId) {
			t.Errorf("access key %s is not in the audit log", k.AccessKeyId)
		}
	}
	for _, k := range []*iamapi.AccessKey{one, two, own} {
		if text := fmt.Sprintf("%v %+v %#v", k, *k, k.SecretAccessKey); strings.Contains(text, string(k.SecretAccessKey)) {
			t.Error("a printed access key shows its secret")
		}
	}
}

// A root has two keys of its own, and may delete the one it signs with.
func TestRootAccessKeys(t *testing.T) {
	h := newHouse(t)
	h.createUser(t, "alice")
	h.createKey(t, "alice")
	h.questions()
	second := must[iamapi.CreateAccessKeyOutput](t, h, iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{}).AccessKey
	checkQuestions(t, h.questions(), []call.Check{
		{Action: "iam:CreateAccessKey", Resource: "arn:aws:iam::123456789012:root", Account: account},
	})
	if h.signs(t, second.AccessKeyId) != string(second.SecretAccessKey) || second.UserName != "" {
		t.Errorf("second root key of %q", second.UserName)
	}
	h.refused(t, "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2", iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{})
	keys := must[iamapi.ListAccessKeysOutput](t, h, iamapi.OpListAccessKeys, &iamapi.ListAccessKeysInput{}).AccessKeyMetadata
	if len(keys) != 2 || keys[0].UserName != nil {
		t.Errorf("root keys %+v", keys)
	}
	h.run(t, iamapi.OpUpdateAccessKey, status(nil, second.AccessKeyId, "Inactive"))
	h.run(t, iamapi.OpUpdateAccessKey, status(nil, second.AccessKeyId, "Active"))
	h.run(t, iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{AccessKeyId: keyID})
	if h.signs(t, keyID) != "" || h.signs(t, second.AccessKeyId) == "" {
		t.Error("not exactly the deleted key is gone")
	}
	// The other account has its own.
	if keys := must[iamapi.ListAccessKeysOutput](t, h, iamapi.OpListAccessKeys, &iamapi.ListAccessKeysInput{}, otherRoot()).AccessKeyMetadata; len(keys) != 1 || *keys[0].AccessKeyId != otherKeyID {
		t.Errorf("the other root's keys %+v", keys)
	}
}

// However many ask at once, nobody gets more keys than the quota has.
func TestAccessKeysAtOnce(t *testing.T) {
	for _, user := range []*string{nil, new("alice")} {
		h := newHouse(t)
		h.createUser(t, "alice")
		errs := make(chan error, 6)
		for range cap(errs) {
			go func() {
				_, err := h.call(iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{UserName: user})
				errs <- err
			}()
		}
		for range cap(errs) {
			if err := settled(<-errs, iamapi.LimitExceeded); err != nil {
				t.Error(err)
			}
		}
		if n := len(must[iamapi.ListAccessKeysOutput](t, h, iamapi.OpListAccessKeys, &iamapi.ListAccessKeysInput{UserName: user}).AccessKeyMetadata); n != 2 {
			t.Errorf("%d keys", n)
		}
	}
}

// lastUsed is what GetAccessKeyLastUsed tells.
func (h *house) lastUsed(t testing.TB, id string) *iamapi.GetAccessKeyLastUsedOutput {
	t.Helper()
	return must[iamapi.GetAccessKeyLastUsedOutput](t, h, iamapi.OpGetAccessKeyLastUsed, &iamapi.GetAccessKeyLastUsedInput{AccessKeyId: id})
}

func (h *house) flush(t testing.TB) {
	t.Helper()
	if err := h.svc.FlushUses(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestLastUsed(t *testing.T) {
	h := newHouse(t)
	h.createUser(t, "alice", func(in *iamapi.CreateUserInput) { in.Tags = tags("k", "v") })
	key := h.createKey(t, "alice")
	never := &iamapi.GetAccessKeyLastUsedOutput{UserName: new("alice"), AccessKeyLastUsed: &iamapi.AccessKeyLastUsed{ServiceName: "N/A", Region: "N/A"}}
	h.questions()
	if diff := cmp.Diff(never, h.lastUsed(t, key.AccessKeyId)); diff != "" {
		t.Errorf("never used (-want +got):\n%s", diff)
	}
	checkQuestions(t, h.questions(), []call.Check{
		{Action: "iam:GetAccessKeyLastUsed", Resource: "arn:aws:iam::123456789012:user/alice", Shown: "access key " + key.AccessKeyId, Account: account},
	}, []string{"aws:ResourceTag/k=v", "iam:ResourceTag/k=v"})

	want := func(at time.Time, service, region string) {
		t.Helper()
		h.flush(t)
		want := &iamapi.GetAccessKeyLastUsedOutput{UserName: new("alice"), AccessKeyLastUsed: &iamapi.AccessKeyLastUsed{LastUsedDate: &at, ServiceName: service, Region: region}}
		if diff := cmp.Diff(want, h.lastUsed(t, key.AccessKeyId)); diff != "" {
			t.Errorf("last used (-want +got):\n%s", diff)
		}
	}
	h.svc.NoteUse(key.AccessKeyId, "iam", "us-east-1", start)
	h.svc.NoteUse(key.AccessKeyId, "sts", "us-east-1", start.Add(time.Second))
	want(start, "iam", "us-east-1")
	h.svc.NoteUse(key.AccessKeyId, "kms", "eu-west-1", start.Add(14*time.Minute))
	want(start, "iam", "us-east-1")
	h.svc.NoteUse(key.AccessKeyId, "secretsmanager", "eu-west-1", start.Add(15*time.Minute))
	want(start.Add(15*time.Minute), "secretsmanager", "eu-west-1")

	// Roots have keys, too. Of what does not exist nothing is kept.
	h.svc.NoteUse(keyID, "iam", "us-east-1", start)
	h.svc.NoteUse("AKIAMADEUPMADEUPMADE", "iam", "us-east-1", start)
	h.flush(t)
	if out := h.lastUsed(t, keyID); out.UserName != nil || !out.AccessKeyLastUsed.LastUsedDate.Equal(start) {
		t.Errorf("root key %+v", out)
	}

	// A use noted before its key is deleted and stored after it leaves nothing behind.
	h.svc.NoteUse(key.AccessKeyId, "sts", "us-east-1", start.Add(time.Hour))
	h.run(t, iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{UserName: new("alice"), AccessKeyId: key.AccessKeyId})
	h.flush(t)
	h.refused(t, "NoSuchEntity: The Access Key with id "+key.AccessKeyId+" cannot be found.", iamapi.OpGetAccessKeyLastUsed, &iamapi.GetAccessKeyLastUsedInput{AccessKeyId: key.AccessKeyId})
}
