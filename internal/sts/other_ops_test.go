package sts_test

import (
	"strings"
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/stsapi"
	"arca/internal/call"
)

// TestGetCallerIdentity: everybody is told who he is, also who may nothing.
func TestGetCallerIdentity(t *testing.T) {
	b := newBed(t)
	bob := b.user(t, account, "bob", identity(`{"Effect":"Deny","Action":"*","Resource":"*"}`))
	for _, tc := range []struct {
		caller   call.Principal
		id, arn  string
		idPrefix string
	}{
		{caller: root(account), id: account, arn: "arn:aws:iam::" + account + ":root"},
		{caller: root(otherAccount), id: otherAccount, arn: "arn:aws:iam::" + otherAccount + ":root"},
		{caller: bob, idPrefix: "AIDA", arn: "arn:aws:iam::" + account + ":user/bob"},
	} {
		got := must[stsapi.GetCallerIdentityOutput](t, b, tc.caller, stsapi.OpGetCallerIdentity, &stsapi.GetCallerIdentityInput{})
		if *got.Arn != tc.arn || *got.Account != tc.caller.Account || tc.id != "" && *got.UserId != tc.id || !strings.HasPrefix(*got.UserId, tc.idPrefix) {
			t.Errorf("GetCallerIdentity = %s %s %s, want %s %s", *got.UserId, *got.Account, *got.Arn, tc.id+tc.idPrefix, tc.arn)
		}
	}
}

func TestGetSessionToken(t *testing.T) {
	b := newBed(t)
	bob := b.user(t, account, "bob", identity(allow(probeAction, "*")+`,{"Effect":"Deny","Action":"sts:GetSessionToken","Resource":"*"}`))
	lasts := func(caller call.Principal, asked *int32) time.Duration {
		t.Helper()
		before := b.now()
		out := must[stsapi.GetSessionTokenOutput](t, b, caller, stsapi.OpGetSessionToken, &stsapi.GetSessionTokenInput{DurationSeconds: asked})
		got := b.bearer(t, out.Credentials)
		if got.ARN != caller.ARN || got.Type != caller.Type || got.UniqueID != caller.UniqueID || got.Session == nil {
			t.Errorf("credentials speak for %s %s", got.Type, got.ARN)
		}
		return out.Credentials.Expiration.Sub(before).Round(time.Minute)
	}
	for _, tc := range []struct {
		name   string
		caller call.Principal
		asked  *int32
		want   time.Duration
	}{
		{"user, usually", bob, nil, 12 * time.Hour},
		{"user, longest", bob, new(int32(129600)), 36 * time.Hour},
		{"user, shortest", bob, new(int32(900)), 15 * time.Minute},
		{"root, usually", root(account), nil, time.Hour},
		{"root, shorter", root(account), new(int32(1800)), 30 * time.Minute},
		{"root, who asks for more", root(account), new(int32(129600)), time.Hour},
	} {
		if got := lasts(tc.caller, tc.asked); got != tc.want {
			t.Errorf("%s: lasts %v, want %v", tc.name, got, tc.want)
		}
	}
	session := b.bearer(t, must[stsapi.GetSessionTokenOutput](t, b, bob, stsapi.OpGetSessionToken, &stsapi.GetSessionTokenInput{}).Credentials)
	role := b.role(t, account, "r", trust(arnPrincipal(bob.ARN), assumeAction, ""), identity(allow(probeAction, "*")))
	assumed := b.assume(t, session, assumeInput(role))
	for _, caller := range []call.Principal{session, assumed} {
		refused(t, b, caller, stsapi.OpGetSessionToken, &stsapi.GetSessionTokenInput{},
			"AccessDenied: Cannot call GetSessionToken with session credentials")
	}
	refused(t, b, bob, stsapi.OpGetSessionToken, &stsapi.GetSessionTokenInput{SerialNumber: new("GAHT12345678"), TokenCode: new(api.SensitiveString("123456"))},
		"AccessDenied: MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.")
	if !b.mayProbe(t, bob) || b.mayProbe(t, session) || !b.mayProbe(t, assumed) {
		t.Error("GetAccessKeyInfo is for users and roles, not for credentials of GetSessionToken")
	}
	// The user gone, its session is gone.
	out := must[stsapi.GetSessionTokenOutput](t, b, bob, stsapi.OpGetSessionToken, &stsapi.GetSessionTokenInput{})
	must[iamapi.DeleteAccessKeyOutput](t, b, root(account), iamapi.OpDeleteAccessKey,
		&iamapi.DeleteAccessKeyInput{UserName: new("bob"), AccessKeyId: bob.AccessKeyID})
	must[iamapi.DeleteUserPolicyOutput](t, b, root(account), iamapi.OpDeleteUserPolicy, &iamapi.DeleteUserPolicyInput{UserName: "bob", PolicyName: "p"})
	must[iamapi.DeleteUserOutput](t, b, root(account), iamapi.OpDeleteUser, &iamapi.DeleteUserInput{UserName: "bob"})
	b.user(t, account, "bob", "")
	if _, err := b.iam.Lookup(t.Context(), out.Credentials.AccessKeyId, string(out.Credentials.SessionToken)); err == nil {
		t.Error("the session of a user that is gone still signs, for its namesake")
	}
}

func TestGetAccessKeyInfo(t *testing.T) {
	b := newBed(t)
	may, mayNot := b.user(t, account, "may", identity(allow(probeAction, "*"))), b.user(t, account, "may-not", "")
	session := must[stsapi.GetSessionTokenOutput](t, b, root(otherAccount), stsapi.OpGetSessionToken, &stsapi.GetSessionTokenInput{}).Credentials
	for id, want := range map[string]string{
		may.AccessKeyID:       account,
		rootKey(otherAccount): otherAccount,
		session.AccessKeyId:   otherAccount,
	} {
		got := must[stsapi.GetAccessKeyInfoOutput](t, b, may, stsapi.OpGetAccessKeyInfo, &stsapi.GetAccessKeyInfoInput{AccessKeyId: id})
		if *got.Account != want {
			t.Errorf("GetAccessKeyInfo(%s) = %s, want %s", id, *got.Account, want)
		}
	}
	for _, id := range []string{"AKIAIOSFODNN7EXAMPLE", "ASIAAAAAAAAAAAAAAAAA", "ASIA1111111111111111", "ASIAZZZZZZZZZZZZZZZZ"} {
		refused(t, b, may, stsapi.OpGetAccessKeyInfo, &stsapi.GetAccessKeyInfoInput{AccessKeyId: id},
			"ValidationError: The access key with id "+id+" cannot be found.")
	}
	for _, id := range []string{may.AccessKeyID, "AKIAIOSFODNN7EXAMPLE"} {
		refused(t, b, mayNot, stsapi.OpGetAccessKeyInfo, &stsapi.GetAccessKeyInfoInput{AccessKeyId: id},
			"AccessDenied: User: "+mayNot.ARN+" is not authorized to perform: sts:GetAccessKeyInfo on resource: * because no identity-based policy allows the sts:GetAccessKeyInfo action")
	}
}
