//lint:file-ignore SA1019 PackedPolicySize is what this server answers with: clients of today read it

package sts_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"arca/conformance/identity"
)

func TestAssumeRole(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow(actAssume, "*"))
	role := k.Role("role", identity.Trust(k.Root()))
	out, err := assume(k, user.Caller, role.ARN)
	if err != nil {
		t.Fatal(err)
	}
	if got := *out.AssumedRoleUser; aws.ToString(got.Arn) != role.SessionARN("session") || aws.ToString(got.AssumedRoleId) != role.ID+":session" {
		t.Errorf("AssumedRoleUser = %s %s", aws.ToString(got.Arn), aws.ToString(got.AssumedRoleId))
	}
	if !regexp.MustCompile(`^AROA[A-Z2-7]{17}$`).MatchString(role.ID) {
		t.Errorf("role id %s", role.ID)
	}
	c := out.Credentials
	if !regexp.MustCompile(`^ASIA[A-Z2-7]{16}$`).MatchString(aws.ToString(c.AccessKeyId)) || len(aws.ToString(c.SecretAccessKey)) != 40 {
		t.Errorf("key %s, secret of %d characters", aws.ToString(c.AccessKeyId), len(aws.ToString(c.SecretAccessKey)))
	}
	wantLife(t, c, time.Hour)
	if out.PackedPolicySize != nil || out.SourceIdentity != nil {
		t.Errorf("PackedPolicySize = %v, SourceIdentity = %v", out.PackedPolicySize, out.SourceIdentity)
	}
}

// wantLife checks when credentials end.
func wantLife(t *testing.T, c *types.Credentials, want time.Duration) {
	t.Helper()
	if got := time.Until(aws.ToTime(c.Expiration)); got < want-time.Minute || got > want+time.Minute {
		t.Errorf("the credentials end in %v, want %v", got, want)
	}
}

// Within an account it is the trust policy that decides, and with it the caller's own
// policies where it names the account and not the caller.
func TestTrust(t *testing.T) {
	k := identity.New(t, shared)
	able, unable := k.User("able", identity.Allow(actAssume, "*")), k.User("unable")
	forbidden := k.User("forbidden", identity.Deny(actAssume, "*"))
	account := k.Role("account", identity.Trust(k.Root()))
	direct := k.Role("direct", identity.Trust(unable.ARN, forbidden.ARN))
	_, err := assume(k, able.Caller, account.ARN)
	k.Must(nil, err)
	_, err = assume(k, unable.Caller, account.ARN)
	identity.WantDeniedQuery(t, err, unable.ARN, actAssume, account.ARN, identity.NoIdentity)
	_, err = assume(k, unable.Caller, direct.ARN)
	k.Must(nil, err)
	_, err = assume(k, able.Caller, direct.ARN)
	identity.WantDeniedQuery(t, err, able.ARN, actAssume, direct.ARN, "because no role trust policy allows the ")
	_, err = assume(k, forbidden.Caller, direct.ARN)
	identity.WantDeniedQuery(t, err, forbidden.ARN, actAssume, direct.ARN, identity.ByIdentity)

	// A Deny in the trust policy.
	text := identity.Policy(
		identity.Statement{Effect: "Allow", Principal: identity.Principals(k.Root()), Action: actAssume},
		identity.Statement{Effect: "Deny", Principal: identity.Principals(able.ARN), Action: actAssume})
	k.Must(k.IAM.UpdateAssumeRolePolicy(k.Ctx(), &iam.UpdateAssumeRolePolicyInput{RoleName: &account.Name, PolicyDocument: &text}))
	k.Settle()
	_, err = assume(k, able.Caller, account.ARN)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")

	// A role that does not exist is denied like any other.
	none := "arn:aws:iam::" + k.ID + ":role/" + k.Prefix + "none"
	for _, who := range []*identity.User{able, unable} {
		_, err = assume(k, who.Caller, none)
		identity.WantDeniedQuery(t, err, who.ARN, actAssume, none, "because no role trust policy allows the ")
	}
	if shared.AWS {
		return
	}
	_, err = assume(k, k.Caller, account.ARN)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "Roles may not be assumed by root accounts.")
}

func TestAssumeRoleOfAnotherAccount(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("a second account")
	other := k.Other()
	able, unable := k.User("able", identity.Allow(actAssume, "*")), k.User("unable")
	role := other.Role("role", identity.Trust(k.Root()))
	closed := other.Role("closed", identity.Trust(other.Root()))
	direct := other.Role("direct", identity.Trust(unable.ARN))
	out, err := assume(k, able.Caller, role.ARN)
	if err != nil {
		t.Fatal(err)
	}
	session := as(able.Caller, out.AssumedRoleUser.Arn, out.Credentials)
	if got := ask(k, session); got.account != other.ID || got.arn != role.SessionARN("session") {
		t.Errorf("session = %+v", got)
	}
	// Both sides are needed, and which is missing is not told: nor is whether the role is
	// there.
	for _, tc := range []struct {
		who  *identity.User
		role string
	}{{unable, role.ARN}, {able, closed.ARN}, {unable, direct.ARN}, {able, role.ARN + "x"}} {
		_, err = assume(k, tc.who.Caller, tc.role)
		identity.WantDeniedQuery(t, err, tc.who.ARN, actAssume, tc.role, "")
	}
	// A user of the same name elsewhere is another.
	theirs := other.User("able", identity.Allow(actAssume, "*"))
	only := other.Role("only", identity.Trust(able.ARN))
	_, err = assume(k, theirs.Caller, only.ARN)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")
	_, err = assume(k, able.Caller, only.ARN)
	k.Must(nil, err)
}

func TestExternalID(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow(actAssume, "*"))
	role := k.Role("role", identity.Policy(identity.Statement{
		Effect: "Allow", Principal: identity.Principals(k.Root()), Action: actAssume, Condition: identity.If("StringEquals", "sts:ExternalId", "Unique:1/2")}))
	_, err := assume(k, user.Caller, role.ARN, externalID("Unique:1/2"))
	k.Must(nil, err)
	for _, change := range []func(*sts.AssumeRoleInput){externalID("unique:1/2"), externalID("other"), func(*sts.AssumeRoleInput) {}} {
		_, err = assume(k, user.Caller, role.ARN, change)
		identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")
	}
	_, err = assume(k, user.Caller, role.ARN, externalID("x"))
	identity.WantError(t, err, "ValidationError", http.StatusBadRequest,
		"1 validation error detected: Value 'x' at 'externalId' failed to satisfy constraint: Member must have length greater than or equal to 2")
}

// The keys of the request can be asked for in a trust policy.
func TestTrustConditions(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow("sts:*", "*"))
	for _, tc := range []struct {
		name      string
		condition identity.Conditions
		right     []func(*sts.AssumeRoleInput)
		wrong     []func(*sts.AssumeRoleInput)
	}{
		{"session name", identity.If("StringEquals", "sts:RoleSessionName", "${aws:username}"), changes(named(user.Name)), changes(named("other"))},
		{"tag", identity.If("StringEquals", "aws:RequestTag/team", "red"), changes(tags("team", "red")), changes(tags("team", "blue"))},
		{"tag keys", identity.If("ForAllValues:StringEquals", "aws:TagKeys", "team"), changes(tags("team", "x")), changes(tags("team", "x", "other", "y"))},
		{"source identity", identity.If("StringLike", "sts:SourceIdentity", "ann*"), changes(sourceIdentity("ann@example.com")), changes(sourceIdentity("bob"))},
		{"transitive tags", identity.If("ForAnyValue:StringEquals", "sts:TransitiveTagKeys", "team"), changes(tags("team", "x"), transitive("team")), changes(tags("team", "x"))},
		{"user", identity.If("StringEquals", "aws:username", user.Name), nil, nil},
		{"time", identity.If("DateLessThan", "aws:CurrentTime", "2000-01-01T00:00:00Z"), nil, changes(named("late"))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			role := k.Role("if-"+strings.ReplaceAll(tc.name, " ", "-"), identity.Policy(identity.Statement{
				Effect: "Allow", Principal: identity.Principals(k.Root()), Action: []string{actAssume, actTag, actName}, Condition: tc.condition}))
			if tc.right != nil || tc.wrong == nil {
				if _, err := assume(k, user.Caller, role.ARN, tc.right...); err != nil {
					t.Error(err)
				}
			}
			if tc.wrong != nil {
				_, err := assume(k, user.Caller, role.ARN, tc.wrong...)
				identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")
			}
		})
	}
}

func changes(list ...func(*sts.AssumeRoleInput)) []func(*sts.AssumeRoleInput) { return list }

// Tags and a source identity need permissions of their own, on both sides.
func TestTagSessionPermission(t *testing.T) {
	k := identity.New(t, shared)
	plain, full := k.User("plain", identity.Allow(actAssume, "*")), k.User("full", identity.Allow("sts:*", "*"))
	open := k.Role("open", identity.Trust(k.Root()))
	narrow := k.Role("narrow", identity.Policy(identity.Statement{Effect: "Allow", Principal: identity.Principals(k.Root()), Action: actAssume}))
	for _, tc := range []struct {
		who    *identity.User
		role   *identity.Role
		change func(*sts.AssumeRoleInput)
		action string
		why    string
	}{
		{plain, open, tags("a", "b"), actTag, identity.NoIdentity},
		{plain, open, sourceIdentity("ann"), actName, identity.NoIdentity},
		{full, narrow, tags("a", "b"), actTag, "because no role trust policy allows the "},
		{full, narrow, sourceIdentity("ann"), actName, "because no role trust policy allows the "},
	} {
		_, err := assume(k, tc.who.Caller, tc.role.ARN, tc.change)
		identity.WantDeniedQuery(t, err, tc.who.ARN, tc.action, tc.role.ARN, tc.why)
	}
	out, err := assume(k, full.Caller, open.ARN, tags("a", "b"), sourceIdentity("ann"))
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.SourceIdentity) != "ann" || aws.ToInt32(out.PackedPolicySize) < 1 || aws.ToInt32(out.PackedPolicySize) > 100 {
		t.Errorf("SourceIdentity = %q, PackedPolicySize = %v", aws.ToString(out.SourceIdentity), out.PackedPolicySize)
	}
}

func TestDuration(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow(actAssume, "*"))
	role := k.Role("role", identity.Trust(k.Root()))
	long := k.Prefix + "long"
	made, err := k.IAM.CreateRole(k.Ctx(), &iam.CreateRoleInput{RoleName: &long, AssumeRolePolicyDocument: aws.String(identity.Trust(k.Root())), MaxSessionDuration: aws.Int32(43200)})
	if err != nil {
		t.Fatal(err)
	}
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &long}) })
	k.Settle()
	longARN := aws.ToString(made.Role.Arn)
	life := func(arn string, seconds int32) {
		t.Helper()
		out, err := assume(k, user.Caller, arn, duration(seconds))
		if err != nil {
			t.Fatal(err)
		}
		wantLife(t, out.Credentials, time.Duration(seconds)*time.Second)
	}
	life(role.ARN, 900)
	life(role.ARN, 3600)
	life(longARN, 43200)
	const invalid, form = "ValidationError", "1 validation error detected: Value '%s' at 'durationSeconds' failed to satisfy constraint: Member must have value "
	_, err = assume(k, user.Caller, role.ARN, duration(3601))
	identity.WantError(t, err, invalid, 400, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	_, err = assume(k, user.Caller, role.ARN, duration(899))
	identity.WantError(t, err, invalid, 400, strings.Replace(form, "%s", "899", 1)+"greater than or equal to 900")
	_, err = assume(k, user.Caller, longARN, duration(43201))
	identity.WantError(t, err, invalid, 400, strings.Replace(form, "%s", "43201", 1)+"less than or equal to 43200")
}

// A role's session may open another role's, for an hour at most.
func TestChaining(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow("sts:*", "*"))
	first := k.Role("first", identity.Trust(user.ARN), identity.Allow("sts:*", "*"))
	second := k.Role("second", identity.Trust(first.ARN), identity.Allow("sts:*", "*"))
	third := k.Role("third", identity.Trust(k.Root()))
	long := int32(7200)
	k.Must(k.IAM.UpdateRole(k.Ctx(), &iam.UpdateRoleInput{RoleName: &second.Name, MaxSessionDuration: &long}))
	k.Settle()
	open := func(by *identity.Caller, role *identity.Role, change ...func(*sts.AssumeRoleInput)) *identity.Caller {
		t.Helper()
		out, err := assume(k, by, role.ARN, change...)
		if err != nil {
			t.Fatal(err)
		}
		return as(by, out.AssumedRoleUser.Arn, out.Credentials)
	}
	_, err := assume(k, user.Caller, second.ARN)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")
	one := open(user.Caller, first, tags("team", "red", "stage", "test"), transitive("team"), sourceIdentity("ann"))
	two := open(one, second, duration(3600))
	_, err = assume(k, one, second.ARN, duration(3601))
	identity.WantError(t, err, "ValidationError", 400, "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")

	// A transitive tag and the source identity go on, and cannot be set anew.
	k.Must(k.IAM.UpdateAssumeRolePolicy(k.Ctx(), &iam.UpdateAssumeRolePolicyInput{RoleName: &third.Name, PolicyDocument: aws.String(identity.Policy(identity.Statement{
		Effect: "Allow", Principal: identity.Principals(k.Root()), Action: []string{actAssume, actTag, actName},
		Condition: identity.Conditions{"StringEquals": {"aws:PrincipalTag/team": "red", "aws:RequestTag/team": "red", "aws:SourceIdentity": "ann"}, "Null": {"aws:PrincipalTag/stage": "true"}}}))}))
	k.Settle()
	open(two, third)
	_, err = assume(k, one, third.ARN) // has a tag that does not go on
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")
	_, err = assume(k, one, second.ARN, tags("Team", "blue"))
	identity.WantError(t, err, "InvalidParameterValue", 400, "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
	_, err = assume(k, one, second.ARN, sourceIdentity("bob"))
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")
}

func TestAssumeRoleErrors(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow("sts:*", "*"))
	role := k.Role("role", identity.Trust(k.Root()))
	const invalid, value = "ValidationError", "InvalidParameterValue"
	const detected = "1 validation error detected: Value "
	for _, tc := range []struct {
		name, role string
		change     func(*sts.AssumeRoleInput)
		code, text string
	}{
		{"no ARN", strings.Repeat("x", 20), nil, invalid, strings.Repeat("x", 20) + " is invalid"},
		{"ARN of a user", user.ARN, nil, invalid, ""},
		{"ARN of another service", "arn:aws:s3:::bucket/of/things", nil, invalid, ""},
		{"session name", role.ARN, named("Session1:2"), invalid,
			detected + `'Session1:2' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		{"short session name", role.ARN, named("x"), invalid, detected + "'x' at 'roleSessionName' failed to satisfy constraint: Member must have length greater than or equal to 2"},
		{"long session name", role.ARN, named(strings.Repeat("x", 65)), invalid,
			detected + "'" + strings.Repeat("x", 65) + "' at 'roleSessionName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"transitive tag without a tag", role.ARN, transitive("team"), value, "The specified transitive tag key must be included in the requested tags."},
		{"tag twice", role.ARN, tags("team", "a", "Team", "b"), value, "Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{"reserved tag", role.ARN, tags("aws:team", "a"), value, ""},
		{"policy that is no JSON", role.ARN, sessionPolicy("{"), "MalformedPolicyDocument", ""},
		{"policy with a principal", role.ARN, sessionPolicy(identity.Share("s3:*", k.ID)), "MalformedPolicyDocument", ""},
		{"policy too long", role.ARN, sessionPolicy(identity.Allow("s3:"+strings.Repeat("x", 2048), "*")), invalid, ""},
		{"policy that does not exist", role.ARN, policyARNs("arn:aws:iam::" + k.ID + ":policy/" + k.Prefix + "none"), "", ""},
		{"device", role.ARN, func(in *sts.AssumeRoleInput) {
			in.SerialNumber, in.TokenCode = aws.String("arn:aws:iam::"+k.ID+":mfa/none"), aws.String("123456")
		}, "AccessDenied", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			change := changes()
			if tc.change != nil {
				change = append(change, tc.change)
			}
			_, err := assume(k, user.Caller, tc.role, change...)
			if tc.code == "" {
				if err == nil {
					t.Error("the call is not refused")
				}
				return
			}
			status := http.StatusBadRequest
			if tc.code == "AccessDenied" {
				status = http.StatusForbidden
			}
			identity.WantError(t, err, tc.code, status, tc.text)
		})
	}
}

func policyARNs(arns ...string) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) {
		for _, a := range arns {
			in.PolicyArns = append(in.PolicyArns, types.PolicyDescriptorType{Arn: &a})
		}
	}
}

// Many policies and tags do not fit into a session.
func TestPackedPolicyTooLarge(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow("sts:*", "*"))
	role := k.Role("role", identity.Trust(k.Root()))
	var pairs []string
	for i := range 50 {
		pairs = append(pairs, "key-"+string(rune('a'+i%26))+string(rune('a'+i/26))+identity.RandomHex(20), identity.RandomHex(100))
	}
	_, err := assume(k, user.Caller, role.ARN, tags(pairs...))
	identity.WantError(t, err, "PackedPolicyTooLarge", http.StatusBadRequest, "")
	_, err = assume(k, user.Caller, role.ARN, tags(append(pairs, "one", "more")...))
	if err == nil {
		t.Error("51 tags are taken")
	}
}

// A role's last use can be seen.
func TestRoleLastUsed(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("minutes until it is seen")
	user := k.User("user", identity.Allow(actAssume, "*"))
	role := k.Role("role", identity.Trust(k.Root()), identity.Allow("secretsmanager:*", "*"))
	session := k.Assume(user.Caller, role, "session")
	k.Must(session.SM.ListSecrets(k.Ctx(), nil))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, err := k.IAM.GetRole(k.Ctx(), &iam.GetRoleInput{RoleName: &role.Name})
		if err != nil {
			t.Fatal(err)
		}
		if used := out.Role.RoleLastUsed; used != nil && used.LastUsedDate != nil {
			if aws.ToString(used.Region) != k.Config.Region || time.Since(*used.LastUsedDate) > time.Hour {
				t.Errorf("RoleLastUsed = %v %s", used.LastUsedDate, aws.ToString(used.Region))
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the use of the role is not seen")
		}
	}
}
