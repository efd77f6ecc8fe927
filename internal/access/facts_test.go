package access_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/iamapi"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// What each kind of caller's requests have of the global condition keys.
func TestContextKeys(t *testing.T) {
	b := newBed(t)
	user := b.user(root, "Alice")
	must[iamapi.TagUserOutput](b, iamapi.OpTagUser, &iamapi.TagUserInput{UserName: "Alice", Tags: []iamapi.Tag{{Key: "Team", Value: "blue"}}}, root)
	roleARN := b.role(root, "deploy")
	must[iamapi.TagRoleOutput](b, iamapi.OpTagRole, &iamapi.TagRoleInput{RoleName: "deploy", Tags: []iamapi.Tag{
		{Key: "team", Value: "red"}, {Key: "env", Value: "prod"},
	}}, root)
	provider := "arn:aws:iam::111111111111:oidc-provider/issuer.example/path"
	role := b.assumed(root, "deploy", func(s *iam.Session) {
		s.Tags = []iam.Tag{{Key: "TEAM", Value: "green"}}
		s.SourceIdentity = "bob"
		s.Federation = &iam.Federation{Provider: provider, Claims: []iam.Claim{
			{Key: "issuer.example/path:sub", Values: []string{"system:serviceaccount:a:b"}},
			{Key: "issuer.example/path:aud", Values: []string{"x", "y"}},
		}}
	})
	userSession := b.session(user, &iam.Session{})
	issued := func(p call.Principal) string { return p.Session.Issued.Format(time.RFC3339) }
	web := call.Principal{Type: call.WebIdentityUser, Account: ours, ID: "x", Provider: provider}
	service := call.Principal{Type: call.AWSService, ID: "lambda.amazonaws.com"}

	const absent = "(absent)"
	callers := []call.Principal{root, user, userSession, role, web, service, {Type: call.Anonymous}}
	for _, tt := range []struct {
		key  string
		want []string // by caller, as above
	}{
		{"aws:PrincipalArn", []string{root.ARN, user.ARN, user.ARN, roleARN, absent, absent, absent}},
		{"aws:PrincipalAccount", []string{ours, ours, ours, ours, absent, absent, absent}},
		{"aws:PrincipalOrgID", []string{"o-arca", "o-arca", "o-arca", "o-arca", absent, absent, absent}},
		{"aws:PrincipalType", []string{"Account", "User", "User", "AssumedRole", absent, absent, "Anonymous"}},
		{"aws:userid", []string{ours, user.UniqueID, user.UniqueID, role.UniqueID + ":work", absent, absent, absent}},
		{"aws:username", []string{absent, "Alice", "Alice", absent, absent, absent, absent}},
		{"aws:PrincipalIsAWSService", []string{"false", "false", "false", "false", absent, "true", absent}},
		{"aws:PrincipalServiceName", []string{absent, absent, absent, absent, absent, "lambda.amazonaws.com", absent}},
		{"aws:PrincipalTag/team", []string{absent, "blue", "blue", "green", absent, absent, absent}},
		{"aws:PrincipalTag/ENV", []string{absent, absent, absent, "prod", absent, absent, absent}},
		{"aws:TokenIssueTime", []string{absent, absent, issued(userSession), issued(role), absent, absent, absent}},
		{"aws:MultiFactorAuthPresent", []string{absent, absent, "false", "false", absent, absent, absent}},
		{"aws:MultiFactorAuthAge", []string{absent, absent, absent, absent, absent, absent, absent}},
		{"aws:SourceIdentity", []string{absent, absent, absent, "bob", absent, absent, absent}},
		{"aws:FederatedProvider", []string{absent, absent, absent, provider, provider, absent, absent}},
		{"issuer.example/path:sub", []string{absent, absent, absent, "system:serviceaccount:a:b", absent, absent, absent}},
		{"Issuer.Example/Path:AUD", []string{absent, absent, absent, "x,y", absent, absent, absent}},
		{"aws:SourceIp", same("192.0.2.10")},
		{"aws:UserAgent", same("test/1")},
		{"aws:SecureTransport", same("true")},
		{"aws:CurrentTime", same("2026-05-04T03:02:01Z")},
		{"aws:EpochTime", same("1777863721")},
		{"aws:RequestedRegion", same(region)},
		{"aws:ResourceAccount", same(theirs)},
		{"aws:ResourceOrgID", same("o-arca")},
		{"aws:ViaAWSService", same("false")},
		{"aws:CalledVia", same(absent)},
		{"aws:SourceVpc", same(absent)},
		{"aws:AssumedRoot", same(absent)},
		{"secretsmanager:VersionStage", same("AWSCURRENT,x")},
		{"secretsmanager:versionstage", same("AWSCURRENT,x")},
		{"aws:resourcetag/K", same("kelvin")}, // the sign for kelvin is another spelling of k
		{"secretsmanager:VersionId", same(absent)},
		{"other", same(absent)},
	} {
		for i, p := range callers {
			ck := &call.Check{Action: "secretsmanager:GetSecretValue", Resource: "*", Account: theirs,
				Keys: []policy.ContextKey{key("secretsmanager:VersionStage", "AWSCURRENT", "x"), key("aws:ResourceTag/\u212a", "kelvin")}}
			var got []string
			var ok bool
			b.view(func(v *store.Snap) {
				got, ok = b.access.ContextValue(v, newCall(smapi.OpGetSecretValue, p), ck, strings.ToLower(tt.key))
			})
			shown := strings.Join(got, ",")
			if !ok {
				shown = absent
			}
			if diff := cmp.Diff(tt.want[i], shown); diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", tt.key, p.Type, diff)
			}
		}
	}
}

func same(value string) []string {
	return []string{value, value, value, value, value, value, value}
}

// What an operation says about a request comes before what is known of its caller.
func TestKeysOfTheOperationComeFirst(t *testing.T) {
	b := newBed(t)
	ck := &call.Check{Action: "a:B", Resource: "*", Keys: []policy.ContextKey{key("AWS:SourceIP", "198.51.100.1"), key("aws:userid")}}
	for k, want := range map[string]string{"aws:sourceip": "198.51.100.1", "aws:userid": ""} {
		var got []string
		var ok bool
		b.view(func(v *store.Snap) { got, ok = b.access.ContextValue(v, newCall(smapi.OpListSecrets, root), ck, k) })
		if !ok || strings.Join(got, ",") != want {
			t.Errorf("%s = %q, %v, want %q", k, got, ok, want)
		}
	}
}

// Without TLS a request says so; a server without an organization has no such keys.
func TestContextKeysOfOthers(t *testing.T) {
	b := newBed(t)
	c := newCall(smapi.OpListSecrets, root)
	c.Secure, c.SourceIP, c.UserAgent = false, "", ""
	for k, want := range map[string]string{"aws:securetransport": "false", "aws:sourceip": "-", "aws:useragent": "-", "aws:resourceaccount": ours} {
		var got []string
		var ok bool
		b.view(func(v *store.Snap) {
			got, ok = b.access.ContextValue(v, c, &call.Check{Action: "a:B", Resource: "*"}, k)
		})
		if shown := strings.Join(got, ","); ok != (want != "-") || ok && shown != want {
			t.Errorf("%s = %q, %v, want %q", k, shown, ok, want)
		}
	}
}

// A session begun before a moment is revoked by a Deny, one begun later is not.
func TestRevokedSessions(t *testing.T) {
	b := newBed(t)
	arn := b.secret(root, "s", "")
	b.role(root, "deploy", allow(all, "*"))
	old := b.assumed(root, "deploy")
	revoke := func(at time.Time) {
		must[iamapi.PutRolePolicyOutput](b, iamapi.OpPutRolePolicy, &iamapi.PutRolePolicyInput{
			RoleName: "deploy", PolicyName: "revoke",
			PolicyDocument: refuse("*", "*", `{"DateLessThan":{"aws:TokenIssueTime":"`+at.UTC().Format(time.RFC3339)+`"}}`),
		}, root)
	}
	revoke(time.Now().Add(-time.Hour))
	if got := b.describe(old, arn); got != "allowed" {
		t.Errorf("before: %s", got)
	}
	revoke(time.Now().Add(time.Minute))
	if got := b.describe(old, arn); got != identityDeny {
		t.Errorf("after: %s", got)
	}
}

// Who asks about a role, not about a session, means one that would begin now: a policy
// that revokes older ones does not speak of it.
func TestRevokedSessionsExplained(t *testing.T) {
	b := newBed(t)
	b.role(root, "deploy", allow("secretsmanager:*", "*"), refuse("*", "*", `{"DateLessThan":{"aws:TokenIssueTime":"2025-01-01T00:00:00Z"}}`))
	for _, tc := range []struct {
		name string
		keys []policy.ContextKey
		want bool
	}{
		{name: "begins now", want: true},
		{name: "older", keys: []policy.ContextKey{{Name: "aws:TokenIssueTime", Values: []string{"2024-12-31T23:59:59Z"}}}},
	} {
		a, err := b.explain("role/deploy", "secretsmanager:ListSecrets", "*", tc.keys...)
		if err != nil || a.Decision.Allowed != tc.want {
			t.Errorf("%s: explain = %+v, %v, want allowed %t", tc.name, a, err, tc.want)
		}
	}
}
