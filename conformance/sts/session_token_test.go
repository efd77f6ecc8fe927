package sts_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"arca/conformance/identity"
)

type ctx = context.Context

func TestGetSessionToken(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow("secretsmanager:ListSecrets", "*"))
	get := func(by *identity.Caller, in *sts.GetSessionTokenInput) *sts.GetSessionTokenOutput {
		t.Helper()
		out, err := by.STS.GetSessionToken(k.Ctx(), in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	wantLife(t, get(user.Caller, nil).Credentials, 12*time.Hour)
	wantLife(t, get(user.Caller, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(900)}).Credentials, 15*time.Minute)
	wantLife(t, get(user.Caller, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(129600)}).Credentials, 36*time.Hour)
	if !shared.AWS {
		wantLife(t, get(k.Caller, nil).Credentials, time.Hour) // a root's
	}
	session := as(user.Caller, &user.ARN, get(user.Caller, nil).Credentials)
	k.Must(session.SM.ListSecrets(k.Ctx(), nil))
	_, err := session.SM.GetRandomPassword(k.Ctx(), nil)
	identity.WantDenied(t, err, user.ARN, "secretsmanager:GetRandomPassword", "", identity.NoIdentity)

	// Neither it nor a role's session gets another one.
	_, err = session.STS.GetSessionToken(k.Ctx(), nil)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "Cannot call GetSessionToken with session credentials")
	assumer := k.User("assumer", identity.Allow(actAssume, "*"))
	role := k.Role("role", identity.Trust(k.Root()), identity.Allow("*", "*"))
	_, err = k.Assume(assumer.Caller, role, "session").STS.GetSessionToken(k.Ctx(), nil)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "Cannot call GetSessionToken with session credentials")

	for _, seconds := range []int32{899, 129601} {
		_, err = user.STS.GetSessionToken(k.Ctx(), &sts.GetSessionTokenInput{DurationSeconds: &seconds})
		identity.WantError(t, err, "ValidationError", http.StatusBadRequest, "")
	}
	_, err = user.STS.GetSessionToken(k.Ctx(), &sts.GetSessionTokenInput{SerialNumber: aws.String("arn:aws:iam::" + k.ID + ":mfa/none"), TokenCode: aws.String("123456")})
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")
}

// A session of a user may open a role's.
func TestAssumeRoleFromSessionToken(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow(actAssume, "*"))
	role := k.Role("role", identity.Trust(user.ARN))
	out, err := user.STS.GetSessionToken(k.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := assume(k, as(user.Caller, &user.ARN, out.Credentials), role.ARN)
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(got.AssumedRoleUser.Arn) != role.SessionARN("session") {
		t.Errorf("session %s", aws.ToString(got.AssumedRoleUser.Arn))
	}
}

func TestGetAccessKeyInfo(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow([]string{"sts:GetAccessKeyInfo", actAssume}, "*"))
	role := k.Role("role", identity.Trust(k.Root()))
	session, err := k.Assume(user.Caller, role, "session").Config.Credentials.Retrieve(k.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	info := func(by *identity.Caller, id string) (string, error) {
		out, err := by.STS.GetAccessKeyInfo(k.Ctx(), &sts.GetAccessKeyInfoInput{AccessKeyId: &id})
		if err != nil {
			return "", err
		}
		return aws.ToString(out.Account), nil
	}
	for _, id := range []string{user.Key, session.AccessKeyID} {
		if got, err := info(user.Caller, id); err != nil || got != k.ID {
			t.Errorf("GetAccessKeyInfo(%s) = %q, %v", id, got, err)
		}
	}
	stranger := k.User("stranger")
	_, err = info(stranger.Caller, user.Key)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, identity.DenialText(stranger.ARN, "sts:GetAccessKeyInfo", "*", identity.NoIdentity))
	_, err = info(user.Caller, "AKIAIOSFODNN7EXAMPLE")
	identity.WantError(t, err, "ValidationError", http.StatusBadRequest, "")
	_, err = info(user.Caller, "x")
	identity.WantError(t, err, "ValidationError", http.StatusBadRequest, "1 validation error detected: Value 'x' at 'accessKeyId' failed to satisfy constraint: Member must have length greater than or equal to 16")
	if shared.AWS {
		return
	}
	other := k.Other()
	if got, err := info(user.Caller, other.User("user").Key); err != nil || got != other.ID {
		t.Errorf("a key of another account: %q, %v", got, err)
	}
}
