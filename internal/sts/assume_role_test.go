package sts_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/stsapi"
	"arca/internal/call"
	"arca/internal/iam"
)

func assumeInput(role string, change ...func(in *stsapi.AssumeRoleInput)) *stsapi.AssumeRoleInput {
	in := &stsapi.AssumeRoleInput{RoleArn: role, RoleSessionName: "deploy"}
	for _, fn := range change {
		fn(in)
	}
	return in
}

func tag(key, value string) stsapi.Tag { return stsapi.Tag{Key: key, Value: value} }

func roleARN(account, name string) string { return "arn:aws:iam::" + account + ":role/" + name }

func TestAssumeRole(t *testing.T) {
	b := newBed(t)
	alice := b.user(t, account, "alice", identity(allow(assumeAction, "*")))
	role := b.role(t, account, "deployer", trust(accountPrincipal(account), assumeAction, ""), identity(allow(probeAction, "*")),
		func(in *iamapi.CreateRoleInput) { in.Path = new("/team/") })
	if role != roleARN(account, "team/deployer") {
		t.Fatalf("role is %s", role)
	}
	before := b.now()
	out := must[stsapi.AssumeRoleOutput](t, b, alice, stsapi.OpAssumeRole, assumeInput(role))
	session := b.bearer(t, out.Credentials)

	wantARN := "arn:aws:sts::" + account + ":assumed-role/deployer/deploy"
	if out.AssumedRoleUser.Arn != wantARN || session.ARN != wantARN || session.Type != call.AssumedRole {
		t.Errorf("session is %s, for the key %s %s, want %s", out.AssumedRoleUser.Arn, session.Type, session.ARN, wantARN)
	}
	if out.PackedPolicySize != nil || out.SourceIdentity != nil {
		t.Errorf("answer has PackedPolicySize %v, SourceIdentity %v, want neither", out.PackedPolicySize, out.SourceIdentity)
	}
	if lasts := out.Credentials.Expiration.Sub(before); lasts < time.Hour-2*time.Second || lasts > time.Hour+time.Minute {
		t.Errorf("session lasts %v, want an hour", lasts)
	}
	if !strings.HasPrefix(out.Credentials.AccessKeyId, "ASIA") || len(out.Credentials.SecretAccessKey) != 40 {
		t.Errorf("credentials %q with a secret of %d characters", out.Credentials.AccessKeyId, len(out.Credentials.SecretAccessKey))
	}
	me := must[stsapi.GetCallerIdentityOutput](t, b, session, stsapi.OpGetCallerIdentity, &stsapi.GetCallerIdentityInput{})
	if *me.Arn != wantARN || *me.Account != account || *me.UserId != out.AssumedRoleUser.AssumedRoleId || !strings.HasSuffix(*me.UserId, ":deploy") {
		t.Errorf("GetCallerIdentity = %s %s %s", *me.UserId, *me.Account, *me.Arn)
	}
	if !b.mayProbe(t, session) || b.mayProbe(t, alice) {
		t.Errorf("session may probe: %v, user may: %v; want only the session", b.mayProbe(t, session), b.mayProbe(t, alice))
	}
	for _, l := range b.lines(t, "AssumeRole") {
		for _, secret := range []string{string(out.Credentials.SecretAccessKey), string(out.Credentials.SessionToken)} {
			if strings.Contains(l.raw, secret) {
				t.Error("the audit log has the session's secret")
			}
		}
	}
}

// TestAssumeRoleDecides holds who may assume what. Every row has a role of account
// named "r" with the trust policy of the row.
func TestAssumeRoleDecides(t *testing.T) {
	b := newBed(t)
	everything := identity(allow(`"*"`, "*"))
	callers := map[string]call.Principal{
		"poor":       b.user(t, account, "poor", ""),
		"rich":       b.user(t, account, "rich", everything),
		"other poor": b.user(t, otherAccount, "poor", ""),
		"other rich": b.user(t, otherAccount, "rich", everything),
		"forbidden": b.user(t, account, "forbidden", identity(
			allow(`"*"`, "*")+`,{"Effect":"Deny","Action":"sts:TagSession","Resource":"*"}`)),
		"root": root(account),
	}
	rootSession := must[stsapi.GetSessionTokenOutput](t, b, root(account), stsapi.OpGetSessionToken, &stsapi.GetSessionTokenInput{})
	callers["root's session"] = b.bearer(t, rootSession.Credentials)
	userSession := must[stsapi.GetSessionTokenOutput](t, b, callers["rich"], stsapi.OpGetSessionToken, &stsapi.GetSessionTokenInput{})
	callers["rich's session"] = b.bearer(t, userSession.Credentials)

	own, both := accountPrincipal(account), `{"AWS":["`+account+`","`+otherAccount+`"]}`
	byName := arnPrincipal("arn:aws:iam::" + account + ":user/poor")
	condition := func(operator, key, value string) string {
		return fmt.Sprintf(`{%q:{%q:%q}}`, operator, key, value)
	}
	const (
		ok       = ""
		noReason = "-"
		noTrust  = "because no role trust policy allows the %s action"
		noOwn    = "because no identity-based policy allows the %s action"
		denied   = "with an explicit deny in an identity-based policy"
		noRoot   = "Roles may not be assumed by root accounts."
	)
	type change = func(in *stsapi.AssumeRoleInput)
	externalID := func(id string) change { return func(in *stsapi.AssumeRoleInput) { in.ExternalId = &id } }
	sourceIdentity := func(id string) change { return func(in *stsapi.AssumeRoleInput) { in.SourceIdentity = &id } }
	tags := func(list ...stsapi.Tag) change { return func(in *stsapi.AssumeRoleInput) { in.Tags = list } }
	none := func(*stsapi.AssumeRoleInput) {}
	for _, tc := range []struct {
		name   string
		caller string
		trust  string
		change change
		action string // that is denied; AssumeRole if empty
		want   string // the reason
	}{
		{"account trusted, user may", "rich", trust(own, assumeAction, ""), none, "", ok},
		{"account trusted, user may not", "poor", trust(own, assumeAction, ""), none, "", noOwn},
		{"user trusted by name", "poor", trust(byName, assumeAction, ""), none, "", ok},
		{"another user trusted by name", "rich", trust(byName, assumeAction, ""), none, "", noTrust},
		{"session of the user", "rich's session", trust(own, assumeAction, ""), none, "", ok},
		{"everybody trusted, user may not", "poor", trust(`"*"`, assumeAction, ""), none, "", ok},
		{"another action trusted", "rich", trust(own, `"sts:TagSession"`, ""), none, "", noTrust},

		{"other account trusted, user may", "other rich", trust(both, assumeAction, ""), none, "", ok},
		{"other account trusted, user may not", "other poor", trust(both, assumeAction, ""), none, "", noReason},
		{"other account not trusted", "other rich", trust(own, assumeAction, ""), none, "", noReason},
		{"other account's user by name, who may not", "other poor",
			trust(arnPrincipal("arn:aws:iam::"+otherAccount+":user/poor"), assumeAction, ""), none, "", noReason},

		{"root", "root", trust(own, assumeAction, ""), none, "", noRoot},
		{"session of the root", "root's session", trust(own, assumeAction, ""), none, "", noRoot},

		{"external id", "other rich", trust(both, assumeAction, condition("StringEquals", "sts:ExternalId", "s3cret-id")), externalID("s3cret-id"), "", ok},
		{"wrong external id", "other rich", trust(both, assumeAction, condition("StringEquals", "sts:ExternalId", "s3cret-id")), externalID("guess"), "", noReason},
		{"no external id", "other rich", trust(both, assumeAction, condition("StringEquals", "sts:ExternalId", "s3cret-id")), none, "", noReason},
		{"session name", "rich", trust(own, assumeAction, condition("StringLike", "sts:RoleSessionName", "dep*")), none, "", ok},
		{"wrong session name", "rich", trust(own, assumeAction, condition("StringEquals", "sts:RoleSessionName", "${aws:username}")), none, "", noTrust},

		{"tags", "rich", trust(own, everySession, ""), tags(tag("Team", "a")), "", ok},
		{"tags not trusted", "rich", trust(own, assumeAction, ""), tags(tag("Team", "a")), "sts:TagSession", noTrust},
		{"tags denied", "forbidden", trust(own, everySession, ""), tags(tag("Team", "a")), "sts:TagSession", denied},
		{"tag of the right value", "rich", trust(own, everySession, condition("StringEquals", "aws:RequestTag/Team", "a")), tags(tag("team", "a")), "", ok},
		{"tag of another value", "rich", trust(own, everySession, condition("StringEquals", "aws:RequestTag/Team", "a")), tags(tag("Team", "b")), "", noTrust},
		{"tag keys", "rich", trust(own, everySession, condition("ForAllValues:StringEquals", "aws:TagKeys", "Team")), tags(tag("Team", "b")), "", ok},
		{"too many tag keys", "rich", trust(own, everySession, condition("ForAllValues:StringEquals", "aws:TagKeys", "Team")), tags(tag("Team", "b"), tag("Env", "c")), "", noTrust},
		{"tag of the role", "rich", trust(own, assumeAction, condition("StringEquals", "aws:ResourceTag/Kind", "test")), none, "", ok},

		{"source identity", "rich", trust(own, everySession, ""), sourceIdentity("me"), "", ok},
		{"source identity not trusted", "rich", trust(own, assumeAction, ""), sourceIdentity("me"), "sts:SetSourceIdentity", noTrust},
		{"wrong source identity", "rich", trust(own, everySession, condition("StringEquals", "sts:SourceIdentity", "you")), sourceIdentity("me"), "", noTrust},
	} {
		t.Run(tc.name, func(t *testing.T) {
			role := b.role(t, account, "r", tc.trust, "", func(in *iamapi.CreateRoleInput) {
				in.Tags = []iamapi.Tag{{Key: "Kind", Value: "test"}}
			})
			t.Cleanup(func() {
				must[iamapi.DeleteRoleOutput](t, b, root(account), iamapi.OpDeleteRole, &iamapi.DeleteRoleInput{RoleName: "r"})
			})
			caller := callers[tc.caller]
			_, err := b.call(caller, stsapi.OpAssumeRole, assumeInput(role, tc.change))
			action := tc.action
			if action == "" {
				action = "sts:AssumeRole"
			}
			want := "AccessDenied: User: " + caller.ARN + " is not authorized to perform: " + action + " on resource: " + role
			switch tc.want {
			case ok:
				want = ""
			case noReason:
			case noRoot:
				want = "AccessDenied: " + noRoot
			default:
				want += " " + strings.ReplaceAll(tc.want, "%s", action)
			}
			if got := told(err); got != want {
				t.Errorf("error\n %s, want\n %s", got, want)
			}
			all := b.lines(t, "AssumeRole")
			if want == "" {
				if caller.Account == account {
					return
				}
				// Recorded in both accounts, with an id in common.
				shared := regexp.MustCompile(`"sharedEventID":"[^"]+"`)
				own, theirs := all[len(all)-2].raw, all[len(all)-1].raw
				if id := shared.FindString(own); id == "" || id != shared.FindString(theirs) ||
					!strings.Contains(theirs, `"type":"AWSAccount"`) || !strings.Contains(theirs, `"recipientAccountId":"`+account+`"`) {
					t.Errorf("records in both accounts:\n%s\n%s", own, theirs)
				}
				return
			}
			last := all[len(all)-1]
			if caller.Account != account { // the account of the role has a record of its own
				if !strings.Contains(last.raw, `"recipientAccountId":"`+account+`"`) || strings.Contains(last.raw, `"reason"`) {
					t.Errorf("record for the account of the role: %s", last.raw)
				}
				last = all[len(all)-2]
			}
			if last.ErrorCode != "AccessDenied" || !strings.Contains(last.raw, `"reason"`) {
				t.Errorf("record of the denial: %s", last.raw)
			}
		})
	}
}

// TestNoSuchRole: whether a role exists cannot be told from the answer.
func TestNoSuchRole(t *testing.T) {
	b := newBed(t)
	b.role(t, account, "closed", trust(arnPrincipal("arn:aws:iam::"+account+":root"), assumeAction, `{"Bool":{"aws:SecureTransport":"true"}}`), "")
	for _, caller := range []call.Principal{
		b.user(t, account, "rich", identity(allow(`"*"`, "*"))),
		b.user(t, otherAccount, "rich", identity(allow(`"*"`, "*"))),
	} {
		var texts []string
		for _, name := range []string{"closed", "missing"} {
			_, err := b.call(caller, stsapi.OpAssumeRole, assumeInput(roleARN(account, name)))
			texts = append(texts, strings.ReplaceAll(told(err), name, "NAME"))
		}
		if texts[0] != texts[1] || !strings.HasPrefix(texts[0], "AccessDenied: ") {
			t.Errorf("a role that trusts nobody here and one that does not exist:\n %s\n %s", texts[0], texts[1])
		}
		// Names are found without case, but a role is what its ARN says.
		if _, err := b.call(caller, stsapi.OpAssumeRole, assumeInput(roleARN(account, "CLOSED"))); !strings.HasPrefix(told(err), "AccessDenied: ") {
			t.Errorf("a role named in other case: %v", err)
		}
	}
}

func TestAssumeRoleBadInput(t *testing.T) {
	b := newBed(t)
	alice := b.user(t, account, "alice", identity(allow(everySession, "*")))
	role := b.role(t, account, "r", trust(accountPrincipal(account), everySession, ""), "", func(in *iamapi.CreateRoleInput) {
		in.MaxSessionDuration = new(int32(7200))
	})
	foreign := *must[iamapi.CreatePolicyOutput](t, b, root(otherAccount), iamapi.OpCreatePolicy,
		&iamapi.CreatePolicyInput{PolicyName: "theirs", PolicyDocument: identity(allow(`"*"`, "*"))}).Policy.Arn
	type change = func(in *stsapi.AssumeRoleInput)
	arn := func(text string) change { return func(in *stsapi.AssumeRoleInput) { in.RoleArn = text } }
	policy := func(text string) change { return func(in *stsapi.AssumeRoleInput) { in.Policy = &text } }
	arns := func(list ...string) change {
		return func(in *stsapi.AssumeRoleInput) {
			for _, a := range list {
				in.PolicyArns = append(in.PolicyArns, stsapi.PolicyDescriptorType{Arn: &a})
			}
		}
	}
	lasting := func(seconds int32) change { return func(in *stsapi.AssumeRoleInput) { in.DurationSeconds = &seconds } }
	tags := func(transitive []string, list ...stsapi.Tag) change {
		return func(in *stsapi.AssumeRoleInput) { in.Tags, in.TransitiveTagKeys = list, transitive }
	}
	long := identity(allow(`"*"`, "*") + strings.Repeat(" ", 2048))
	managed := "arn:aws:iam::aws:policy/ReadOnlyAccess"
	for _, tc := range []struct {
		name   string
		change change
		want   string // beginning of the error
	}{
		{"good", func(*stsapi.AssumeRoleInput) {}, ""},
		{"no ARN", arn("just-a-role-name-of-some-length"), "ValidationError: just-a-role-name-of-some-length is invalid"},
		{"ARN of a user", arn("arn:aws:iam::" + account + ":user/alice"), "ValidationError: arn:aws:iam::" + account + ":user/alice is invalid"},
		{"ARN without account", arn("arn:aws:iam:::role/some-role"), "ValidationError: arn:aws:iam:::role/some-role is invalid"},
		{"ARN of a region", arn("arn:aws:iam:eu-west-1:" + account + ":role/r"), "ValidationError: arn:aws:iam:eu-west-1:" + account + ":role/r is invalid"},
		{"ARN of another partition", arn("arn:aws-cn:iam::" + account + ":role/r"), "ValidationError: arn:aws-cn:iam::" + account + ":role/r is invalid"},
		{"ARN of a path", arn("arn:aws:iam::" + account + ":role/a/"), "ValidationError: arn:aws:iam::" + account + ":role/a/ is invalid"},
		{"ARN of a session", arn("arn:aws:sts::" + account + ":assumed-role/r/x"), "ValidationError: arn:aws:sts::" + account + ":assumed-role/r/x is invalid"},
		{"session name", func(in *stsapi.AssumeRoleInput) { in.RoleSessionName = "Session1:2" },
			`ValidationError: 1 validation error detected: Value 'Session1:2' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},

		{"too short", lasting(899), "ValidationError: "},
		{"too long", lasting(43201), "ValidationError: "},
		{"as long as the role allows", lasting(7200), ""},
		{"longer", lasting(7201), "ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},

		{"session policy", policy(identity(allow(`"*"`, "*"))), ""},
		{"no JSON", policy("{"), "MalformedPolicyDocument: This policy contains invalid Json"},
		{"empty policy", policy(""), "ValidationError: "},
		{"policy with a principal", policy(trust(`"*"`, assumeAction, "")), "MalformedPolicyDocument: Policy document should not specify a principal."},
		{"longest policy", policy(long[:len(long)-len(identity(allow(`"*"`, "*")))-2] + "]}"), ""},
		{"long policy", policy(long), "ValidationError: 1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048"},
		{"managed policy", arns(managed), ""},
		{"the same one twice", arns(managed, managed), ""},
		{"managed policy that is not there", arns("arn:aws:iam::" + account + ":policy/nothing"), "InvalidParameterValue: Policy arn:aws:iam::" + account + ":policy/nothing was not found."},
		{"managed policy of another account", arns(foreign), "InvalidParameterValue: Policy " + foreign + " was not found."},
		{"no managed policy", arns(role), "ValidationError: " + role + " is invalid"},
		{"nothing for a managed policy", func(in *stsapi.AssumeRoleInput) { in.PolicyArns = make([]stsapi.PolicyDescriptorType, 1) }, "ValidationError: "},
		{"eleven managed policies", arns(strings.Fields(strings.Repeat(managed+" ", 11))...), "ValidationError: 1 validation error detected: Value at 'policyArns'"},

		{"tags", tags([]string{"b"}, tag("a", ""), tag("B", "x")), ""},
		{"tags that differ in case", tags(nil, tag("a", ""), tag("A", "x")), "InvalidParameterValue: Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{"tag of AWS", tags(nil, tag("Aws:x", "")), "InvalidParameterValue: Tag keys that begin with aws: are reserved for system use."},
		{"transitive tag that is not there", tags([]string{"b"}, tag("a", "")), "InvalidParameterValue: The specified transitive tag key must be included in the requested tags."},
		{"fifty-one tags", tags(nil, make([]stsapi.Tag, 51)...), "ValidationError: "},
		{"tag with odd characters", tags(nil, tag("a*", "")), "ValidationError: "},
		{"more than fits", tags(nil, largeTags(20)...), "PackedPolicyTooLarge: Packed policy consumes 125% of allotted space, please use smaller policy."},

		{"source identity", func(in *stsapi.AssumeRoleInput) { in.SourceIdentity = new("me") }, ""},
		{"reserved source identity", func(in *stsapi.AssumeRoleInput) { in.SourceIdentity = new("aws:me") }, "ValidationError: "},
		{"code of a device", func(in *stsapi.AssumeRoleInput) {
			in.SerialNumber, in.TokenCode = new("arn:aws:iam::"+account+":mfa/x"), new(api.SensitiveString("123456"))
		}, "AccessDenied: MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user."},
		{"contexts", func(in *stsapi.AssumeRoleInput) { in.ProvidedContexts = make([]stsapi.ProvidedContext, 1) }, "InvalidParameterValue: ProvidedContexts is not supported"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := b.call(alice, stsapi.OpAssumeRole, assumeInput(role, tc.change))
			if got := told(err); !strings.HasPrefix(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("error\n %s, want\n %s…", got, tc.want)
			}
		})
	}
}

// largeTags are n tags of 256 bytes.
func largeTags(n int) (tags []stsapi.Tag) {
	for i := range n {
		tags = append(tags, tag(fmt.Sprintf("key%03d", i), strings.Repeat("v", 250)))
	}
	return tags
}

// TestSessionPolicies: a session may do what its role may and its session policies
// allow, and no more.
func TestSessionPolicies(t *testing.T) {
	b := newBed(t)
	alice := b.user(t, account, "alice", identity(allow(assumeAction, "*")))
	mighty := b.role(t, account, "mighty", trust(accountPrincipal(account), assumeAction, ""), identity(allow(`"*"`, "*")))
	weak := b.role(t, account, "weak", trust(accountPrincipal(account), assumeAction, ""), "")
	managed := func(name, text string) string {
		return *must[iamapi.CreatePolicyOutput](t, b, root(account), iamapi.OpCreatePolicy,
			&iamapi.CreatePolicyInput{PolicyName: name, PolicyDocument: text}).Policy.Arn
	}
	may, mayNot := identity(allow(probeAction, "*")), identity(allow(`"sts:Nothing"`, "*"))
	mayARN, mayNotARN := managed("may", may), managed("may-not", mayNot)
	for _, tc := range []struct {
		name, role, policy string
		arns               []string
		want               bool
	}{
		{"none", mighty, "", nil, true},
		{"one that allows", mighty, may, nil, true},
		{"one that does not", mighty, mayNot, nil, false},
		{"a managed one that allows", mighty, "", []string{mayARN}, true},
		{"a managed one that does not", mighty, "", []string{mayNotARN}, false},
		{"one of several allows", mighty, mayNot, []string{mayNotARN, mayARN}, true},
		{"one that allows what the role may not", weak, may, []string{mayARN}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := assumeInput(tc.role)
			if tc.policy != "" {
				in.Policy = &tc.policy
			}
			for _, a := range tc.arns {
				in.PolicyArns = append(in.PolicyArns, stsapi.PolicyDescriptorType{Arn: &a})
			}
			out := must[stsapi.AssumeRoleOutput](t, b, alice, stsapi.OpAssumeRole, in)
			if got := b.mayProbe(t, b.bearer(t, out.Credentials)); got != tc.want {
				t.Errorf("session may probe: %v, want %v", got, tc.want)
			}
			if (out.PackedPolicySize != nil) != (tc.policy != "" || tc.arns != nil) {
				t.Errorf("PackedPolicySize = %v", out.PackedPolicySize)
			}
		})
	}
	// A managed policy counts as it is when the session is used, and denies once it is gone.
	session := b.assume(t, alice, assumeInput(mighty, func(in *stsapi.AssumeRoleInput) {
		in.PolicyArns = []stsapi.PolicyDescriptorType{{Arn: &mayARN}}
	}))
	must[iamapi.DeletePolicyOutput](t, b, root(account), iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: mayARN})
	if b.mayProbe(t, session) {
		t.Error("session may probe although its only session policy is gone")
	}
}

// TestRoleChaining: what a session hands on to the session it opens.
func TestRoleChaining(t *testing.T) {
	b := newBed(t)
	alice := b.user(t, account, "alice", identity(allow(everySession, "*")))
	open := trust(accountPrincipal(account), everySession, "")
	anything := identity(allow(`"*"`, "*"))
	long := func(in *iamapi.CreateRoleInput) { in.MaxSessionDuration = new(int32(43200)) }
	first := b.role(t, account, "first", open, anything, long)
	second := b.role(t, account, "second", open, anything, long)
	narrow := b.role(t, account, "narrow", trust(accountPrincipal(account), assumeAction, ""), anything)
	picky := b.role(t, account, "picky", trust(accountPrincipal(account), everySession,
		`{"StringEquals":{"aws:RequestTag/Team":"a","aws:PrincipalTag/Team":"a"},"ForAnyValue:StringEquals":{"sts:TransitiveTagKeys":"Team"}}`), anything)

	one := b.assume(t, alice, assumeInput(first, func(in *stsapi.AssumeRoleInput) {
		in.Tags = []stsapi.Tag{tag("Team", "a"), tag("Mood", "good")}
		in.TransitiveTagKeys = []string{"TEAM"}
		in.SourceIdentity = new("alice")
		in.DurationSeconds = new(int32(43200))
	}))
	if one.Session.Chained {
		t.Error("a user's session counts as chained")
	}
	ofToken := b.bearer(t, must[stsapi.GetSessionTokenOutput](t, b, alice, stsapi.OpGetSessionToken, &stsapi.GetSessionTokenInput{}).Credentials)
	if b.assume(t, ofToken, assumeInput(second)).Session.Chained {
		t.Error("a session that credentials of GetSessionToken opened counts as chained")
	}
	out := must[stsapi.AssumeRoleOutput](t, b, one, stsapi.OpAssumeRole, assumeInput(second, func(in *stsapi.AssumeRoleInput) {
		in.Tags = []stsapi.Tag{tag("Env", "prod")}
	}))
	two := b.bearer(t, out.Credentials)
	wantTags := []call.Tag{{Key: "Env", Value: "prod"}, {Key: "Team", Value: "a"}}
	if diff := cmp.Diff(wantTags, two.Session.Tags); diff != "" {
		t.Errorf("tags of the second session (-want +got):\n%s", diff)
	}
	if !two.Session.Chained || two.Session.SourceIdentity != "alice" || *out.SourceIdentity != "alice" || !cmp.Equal(two.Session.TransitiveTags, []string{"Team"}) {
		t.Errorf("second session: chained %v, source identity %q, transitive %q", two.Session.Chained, two.Session.SourceIdentity, two.Session.TransitiveTags)
	}
	third := b.assume(t, two, assumeInput(first, func(in *stsapi.AssumeRoleInput) { in.SourceIdentity = new("alice") }))
	if diff := cmp.Diff([]call.Tag{{Key: "Team", Value: "a"}}, third.Session.Tags); diff != "" {
		t.Errorf("tags of the third session (-want +got):\n%s", diff)
	}
	b.assume(t, one, assumeInput(picky))

	denied := func(caller call.Principal, action, role string) string {
		return "AccessDenied: User: " + caller.ARN + " is not authorized to perform: " + action + " on resource: " + role
	}
	conflict := "InvalidParameterValue: One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session."
	for _, tc := range []struct {
		name   string
		caller call.Principal
		role   string
		change func(in *stsapi.AssumeRoleInput)
		want   string // beginning
	}{
		{"longer than an hour", one, second, func(in *stsapi.AssumeRoleInput) { in.DurationSeconds = new(int32(3601)) },
			"ValidationError: The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."},
		{"longer than an hour with credentials of GetSessionToken", ofToken, second, func(in *stsapi.AssumeRoleInput) { in.DurationSeconds = new(int32(3601)) },
			"ValidationError: The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."},
		{"an inherited tag anew", one, second, func(in *stsapi.AssumeRoleInput) { in.Tags = []stsapi.Tag{tag("team", "b")} }, conflict},
		{"an inherited tag anew, two steps on", two, first, func(in *stsapi.AssumeRoleInput) { in.Tags = []stsapi.Tag{tag("Team", "a")} }, conflict},
		{"another source identity", one, second, func(in *stsapi.AssumeRoleInput) { in.SourceIdentity = new("bob") }, denied(one, "sts:SetSourceIdentity", second)},
		{"a role that does not trust tags", one, narrow, func(*stsapi.AssumeRoleInput) {}, denied(one, "sts:TagSession", narrow)},
		{"more tags than a session can have", one, second, func(in *stsapi.AssumeRoleInput) {
			for i := range 50 {
				in.Tags = append(in.Tags, tag(fmt.Sprint("k", i), "v"))
			}
		}, "InvalidParameterValue: The session would have 51 tags"},
		{"a role that wants a tag", alice, picky, func(*stsapi.AssumeRoleInput) {}, denied(alice, "sts:AssumeRole", picky)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := b.call(tc.caller, stsapi.OpAssumeRole, assumeInput(tc.role, tc.change))
			if got := told(err); !strings.HasPrefix(got, tc.want) {
				t.Errorf("error\n %s, want\n %s…", got, tc.want)
			}
		})
	}
}

// TestSessionEnds: credentials die with their time, their role and their token's
// integrity, on the next call.
func TestSessionEnds(t *testing.T) {
	b := newBed(t)
	alice := b.user(t, account, "alice", identity(allow(assumeAction, "*")))
	open := trust(accountPrincipal(account), assumeAction, "")
	role := b.role(t, account, "r", open, "")
	lookup := func(id, token string) error {
		_, err := b.iam.Lookup(t.Context(), id, token)
		return err
	}
	assume := func() (id, token string) {
		t.Helper()
		c := must[stsapi.AssumeRoleOutput](t, b, alice, stsapi.OpAssumeRole, assumeInput(role)).Credentials
		if err := lookup(c.AccessKeyId, string(c.SessionToken)); err != nil {
			t.Fatal(err)
		}
		return c.AccessKeyId, string(c.SessionToken)
	}
	id, token := assume()
	otherID, otherToken := assume()
	for name, pair := range map[string][2]string{
		"without token":        {id, ""},
		"with another token":   {id, otherToken},
		"with another id":      {otherID, token},
		"with a user's id":     {alice.AccessKeyID, token},
		"with a token cut off": {id, token[:len(token)-4]},
		"with a longer token":  {id, token + "AAAA"},
		"with a changed token": {id, token[:40] + flip(token[40]) + token[41:]},
		"with no token at all": {id, "token"},
	} {
		if err := lookup(pair[0], pair[1]); !errors.Is(err, iam.ErrNoCredential) {
			t.Errorf("session key %s: %v, want ErrNoCredential", name, err)
		}
	}
	b.advance(time.Hour - time.Minute)
	if err := lookup(id, token); err != nil {
		t.Errorf("a minute before its end: %v", err)
	}
	b.advance(2 * time.Minute)
	if err := lookup(id, token); !errors.Is(err, iam.ErrExpired) {
		t.Errorf("a minute after its end: %v, want ErrExpired", err)
	}
	id, token = assume()
	must[iamapi.DeleteRoleOutput](t, b, root(account), iamapi.OpDeleteRole, &iamapi.DeleteRoleInput{RoleName: "r"})
	if err := lookup(id, token); !errors.Is(err, iam.ErrNoCredential) {
		t.Errorf("session of a deleted role: %v, want ErrNoCredential", err)
	}
	b.role(t, account, "r", open, "")
	if err := lookup(id, token); !errors.Is(err, iam.ErrNoCredential) {
		t.Errorf("session of a role that was made anew: %v, want ErrNoCredential", err)
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// TestTrustFollowsTheBearer: a trusted user that was deleted and made anew is somebody
// else.
func TestTrustFollowsTheBearer(t *testing.T) {
	b := newBed(t)
	role := func(bob call.Principal) string {
		return b.role(t, account, "r", trust(arnPrincipal(bob.ARN), assumeAction, ""), "")
	}
	bob := b.user(t, account, "bob", "")
	arn := role(bob)
	b.assume(t, bob, assumeInput(arn))
	must[iamapi.DeleteAccessKeyOutput](t, b, root(account), iamapi.OpDeleteAccessKey,
		&iamapi.DeleteAccessKeyInput{UserName: new("bob"), AccessKeyId: bob.AccessKeyID})
	must[iamapi.DeleteUserOutput](t, b, root(account), iamapi.OpDeleteUser, &iamapi.DeleteUserInput{UserName: "bob"})
	namesake := b.user(t, account, "bob", identity(allow(`"*"`, "*")))
	if _, err := b.call(namesake, stsapi.OpAssumeRole, assumeInput(arn)); !strings.HasPrefix(told(err), "AccessDenied") {
		t.Errorf("a namesake of the trusted user: %v, want AccessDenied", err)
	}
	if _, err := b.call(bob, stsapi.OpAssumeRole, assumeInput(arn)); err == nil {
		t.Error("the user that is gone may still assume the role")
	}
}

// TestRecordedCodes: records call exceptions as their model does, which is not what the
// wire calls them.
func TestRecordedCodes(t *testing.T) {
	b := newBed(t)
	alice := b.user(t, account, "alice", identity(allow(everySession, "*")))
	role := b.role(t, account, "r", trust(accountPrincipal(account), assumeAction, ""), "")
	for _, tc := range []struct {
		change       func(in *stsapi.AssumeRoleInput)
		wire, record string
	}{
		{func(in *stsapi.AssumeRoleInput) { in.Policy = new("{") }, "MalformedPolicyDocument", "MalformedPolicyDocumentException"},
		{func(in *stsapi.AssumeRoleInput) { in.DurationSeconds = new(int32(43200)) }, "ValidationError", "ValidationError"},
		{func(in *stsapi.AssumeRoleInput) { in.SourceIdentity = new("me") }, "AccessDenied", "AccessDenied"},
	} {
		_, err := b.call(alice, stsapi.OpAssumeRole, assumeInput(role, tc.change))
		all := b.lines(t, "AssumeRole")
		if got := all[len(all)-1].ErrorCode; !strings.HasPrefix(told(err), tc.wire+": ") || got != tc.record {
			t.Errorf("%s is recorded as %s, want %s as %s", told(err), got, tc.wire, tc.record)
		}
	}
}
