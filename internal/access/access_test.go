package access_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/access"
	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/store"
)

const (
	noIdentity  = "because no identity-based policy allows the secretsmanager:DescribeSecret action"
	noResource  = "because no resource-based policy allows the secretsmanager:DescribeSecret action"
	noBoundary  = "because no permissions boundary allows the secretsmanager:DescribeSecret action"
	noSession   = "because no session policy allows the secretsmanager:DescribeSecret action"
	noGuardrail = "because no service control policy allows the secretsmanager:DescribeSecret action"

	identityDeny  = "with an explicit deny in an identity-based policy"
	resourceDeny  = "with an explicit deny in a resource-based policy"
	boundaryDeny  = "with an explicit deny in a permissions boundary"
	sessionDeny   = "with an explicit deny in a session policy"
	guardrailDeny = "with an explicit deny in a service control policy"
)

// Every kind of caller under every kind of policy, in its own account and in another.
func TestLayers(t *testing.T) {
	b := newBed(t)
	plain := b.secret(root, "plain", "")
	theirPlain := b.secret(theirRoot, "plain", "")

	reader := b.user(root, "reader", allow(all, "*"))
	nobody := b.user(root, "nobody")
	torn := b.user(root, "torn", allow(all, "*"), refuse("secretsmanager:Describe*", "*"))
	member := b.user(root, "member")
	must[iamapi.CreateGroupOutput](b, iamapi.OpCreateGroup, &iamapi.CreateGroupInput{GroupName: "ops"}, root)
	must[iamapi.PutGroupPolicyOutput](b, iamapi.OpPutGroupPolicy, &iamapi.PutGroupPolicyInput{GroupName: "ops", PolicyName: "p", PolicyDocument: allow(all, "*")}, root)
	must[iamapi.AddUserToGroupOutput](b, iamapi.OpAddUserToGroup, &iamapi.AddUserToGroupInput{GroupName: "ops", UserName: "member"}, root)
	attached := b.user(root, "attached")
	must[iamapi.AttachUserPolicyOutput](b, iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "attached", PolicyArn: b.managed(root, "reads", allow(all, "*"))}, root)

	narrow := b.managed(root, "narrow", allow("iam:*", "*"))
	bounded := b.user(root, "bounded", allow(all, "*"))
	must[iamapi.PutUserPermissionsBoundaryOutput](b, iamapi.OpPutUserPermissionsBoundary, &iamapi.PutUserPermissionsBoundaryInput{UserName: "bounded", PermissionsBoundary: narrow}, root)
	forbidden := b.user(root, "forbidden", allow(all, "*"))
	must[iamapi.PutUserPermissionsBoundaryOutput](b, iamapi.OpPutUserPermissionsBoundary, &iamapi.PutUserPermissionsBoundaryInput{
		UserName: "forbidden", PermissionsBoundary: b.managed(root, "forbids", refuse("*", "*")),
	}, root)

	b.role(root, "deploy", allow(all, "*"))
	role := b.assumed(root, "deploy")
	limited := func(policy string) call.Principal {
		return b.assumed(root, "deploy", func(s *iam.Session) { s.Policies = []string{policy} })
	}
	limitedByARN := b.assumed(root, "deploy", func(s *iam.Session) { s.PolicyARNs = []string{narrow} })
	goneARN := b.assumed(root, "deploy", func(s *iam.Session) {
		s.Policies = []string{allow("*", "*")}
		s.PolicyARNs = []string{"arn:aws:iam::" + ours + ":policy/never"}
	})
	userSession := b.session(reader, &iam.Session{})
	rootSession := b.session(root, &iam.Session{})

	// Secrets that let one of them in.
	open := b.secret(root, "open", to(aws(nobody.ARN), all))
	shared := b.secret(root, "shared", to(aws(theirs), all))
	toUser := b.user(theirRoot, "guest")
	sharedUser := b.secret(root, "shared-user", to(aws(toUser.ARN), all))
	guest := b.user(theirRoot, "guest2", allow(all, "*"))
	closed := b.secret(root, "closed", notTo(aws(reader.ARN), "secretsmanager:DescribeSecret"))

	for _, tt := range []struct {
		name   string
		caller call.Principal
		secret string
		want   string
	}{
		{"root", root, plain, "allowed"},
		{"root with a session", rootSession, plain, "allowed"},
		{"root of another account", theirRoot, plain, noResource},
		{"root elsewhere", root, theirPlain, noResource},
		{"user with a policy", reader, plain, "allowed"},
		{"its session", userSession, plain, "allowed"},
		{"user with none", nobody, plain, noIdentity},
		{"user with a Deny", torn, plain, identityDeny},
		{"user of a group", member, plain, "allowed"},
		{"user with a managed policy", attached, plain, "allowed"},
		{"boundary does not allow", bounded, plain, noBoundary},
		{"boundary denies", forbidden, plain, boundaryDeny},
		{"role", role, plain, "allowed"},
		{"session policy allows", limited(allow("secretsmanager:Describe*", "*")), plain, "allowed"},
		{"session policy does not allow", limited(allow("iam:*", "*")), plain, noSession},
		{"session policy denies", limited(refuse("*", "*")), plain, sessionDeny},
		{"managed session policy does not allow", limitedByARN, plain, noSession},
		{"managed session policy is gone", goneARN, plain, noSession},
		{"session policy does not parse", limited("{"), plain, noSession},
		{"let in by the secret", nobody, open, "allowed"},
		{"denied by the secret", reader, closed, resourceDeny},
		{"not denied by the secret", attached, closed, "allowed"},
		{"account let in, its root", theirRoot, shared, "allowed"},
		{"account let in, user without a policy", toUser, shared, noIdentity},
		{"account let in, user with a policy", guest, shared, "allowed"},
		{"user let in, without a policy of its own", toUser, sharedUser, noIdentity},
		{"another user let in", guest, sharedUser, noResource},
		{"user with a policy, nobody let in", guest, plain, noResource},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := *b
			b.t = t
			if got := b.describe(tt.caller, tt.secret); got != tt.want {
				t.Errorf("%s on %s: %s, want %s", tt.caller.ARN, tt.secret, got, tt.want)
			}
		})
	}
	guarded := func(text, want string) {
		t.Helper()
		b.guardrail(ours, text)
		for _, caller := range []call.Principal{root, rootSession, reader, role} {
			if got := b.describe(caller, plain); got != want {
				t.Errorf("under a guardrail %s: %s, want %s", caller.ARN, got, want)
			}
		}
		if got := b.describe(theirRoot, theirPlain); got != "allowed" {
			t.Errorf("a guardrail limits another account: %s", got)
		}
		// It limits principals, not what others do to their secrets.
		if got := b.describe(theirRoot, shared); got != "allowed" {
			t.Errorf("a guardrail limits a caller of another account: %s", got)
		}
	}
	guarded(allow("iam:*", "*"), noGuardrail)
	guarded(refuse("secretsmanager:Describe*", "*"), guardrailDeny)
	guarded("{", noGuardrail)
	guarded("", "allowed")
}

// guardrail sets that of an account, whatever its text.
func (b *bed) guardrail(account, text string) {
	b.t.Helper()
	_, err := b.store.Update(context.Background(), func(tx *store.Tx) error { return b.iam.PutGuardrail(tx, account, text) })
	if err != nil {
		b.t.Fatal(err)
	}
}

// What is changed holds for the next call.
func TestEffectiveOnTheNextCall(t *testing.T) {
	b := newBed(t)
	arn := b.secret(root, "s", "")
	user := b.user(root, "u")
	want := func(want string) {
		t.Helper()
		if got := b.describe(user, arn); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	want(noIdentity)
	b.put(root, "u", "p", allow(all, "*"))
	want("allowed")
	b.put(root, "u", "p", refuse(all, "*"))
	want(identityDeny)
	must[iamapi.DeleteUserPolicyOutput](b, iamapi.OpDeleteUserPolicy, &iamapi.DeleteUserPolicyInput{UserName: "u", PolicyName: "p"}, root)
	want(noIdentity)

	managed := b.managed(root, "m", allow(all, "*"))
	must[iamapi.AttachUserPolicyOutput](b, iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "u", PolicyArn: managed}, root)
	want("allowed")
	must[iamapi.CreatePolicyVersionOutput](b, iamapi.OpCreatePolicyVersion, &iamapi.CreatePolicyVersionInput{
		PolicyArn: managed, PolicyDocument: allow("iam:*", "*"), SetAsDefault: new(true),
	}, root)
	want(noIdentity)
	must[iamapi.SetDefaultPolicyVersionOutput](b, iamapi.OpSetDefaultPolicyVersion, &iamapi.SetDefaultPolicyVersionInput{PolicyArn: managed, VersionId: "v1"}, root)
	want("allowed")
	must[iamapi.DetachUserPolicyOutput](b, iamapi.OpDetachUserPolicy, &iamapi.DetachUserPolicyInput{UserName: "u", PolicyArn: managed}, root)
	want(noIdentity)

	b.attach(root, arn, to(aws(user.ARN), all))
	want("allowed")
	// Whoever comes after under the same name is somebody else.
	must[iamapi.DeleteUserOutput](b, iamapi.OpDeleteUser, &iamapi.DeleteUserInput{UserName: "u"}, root)
	want(noIdentity) // the credentials of the old one, had they survived
	user = b.user(root, "u")
	want(noIdentity)
}

// Two principals with the same secret: each is held to its own.
func TestTwoPrincipals(t *testing.T) {
	b := newBed(t)
	mine, yours := b.secret(root, "MyApp/db", ""), b.secret(root, "YourApp/db", "")
	me := b.user(root, "me", allow("secretsmanager:DescribeSecret", "arn:aws:secretsmanager:*:*:secret:MyApp/*"))
	you := b.user(root, "you", allow("secretsmanager:DescribeSecret", "arn:aws:secretsmanager:*:*:secret:${aws:username}App/*"), allow("secretsmanager:DescribeSecret", yours))
	for _, tt := range []struct {
		caller call.Principal
		secret string
		want   string
	}{
		{me, mine, "allowed"}, {me, yours, noIdentity}, {you, yours, "allowed"}, {you, mine, noIdentity},
	} {
		if got := b.describe(tt.caller, tt.secret); got != tt.want {
			t.Errorf("%s on %s: %s, want %s", tt.caller.UserName, tt.secret, got, tt.want)
		}
	}
}

func TestAuditTellsWhy(t *testing.T) {
	for _, tell := range []bool{false, true} {
		b := newBed(t, func(c *access.Config) { c.TellClients = tell })
		arn := b.secret(root, "s", "")
		user := b.user(root, "u", allow(all, "*"), refuse("secretsmanager:DescribeSecret", "*"))
		text := b.describe(user, arn)
		want := denial{"secretsmanager:DescribeSecret", arn, identityDeny, "inline policy b of user u", "Only"}
		if diff := cmp.Diff(want, b.lastDenial()); diff != "" {
			t.Errorf("explicit (-want +got):\n%s", diff)
		}
		told := identityDeny
		if tell {
			told += " (inline policy b of user u, statement Only)"
		}
		if text != told {
			t.Errorf("the client is told %q, want %q", text, told)
		}
		b.put(root, "u", "b", allow("iam:*", "*"))
		b.put(root, "u", "a", allow("iam:*", "*"))
		b.describe(user, arn)
		want = denial{Action: "secretsmanager:DescribeSecret", Resource: arn, Reason: noIdentity}
		if diff := cmp.Diff(want, b.lastDenial()); diff != "" {
			t.Errorf("implicit (-want +got):\n%s", diff)
		}
	}
}

// The words of a denial, by service and resource.
func TestDenialTexts(t *testing.T) {
	b := newBed(t)
	user := b.user(root, "u")
	role := b.role(root, "r")
	const frame = "User: arn:aws:iam::111111111111:user/u is not authorized to perform: "
	for name, tt := range map[string]struct {
		op   *api.Operation
		ck   call.Check
		want string
	}{
		"no resource": {smapi.OpListSecrets, call.Check{Action: "secretsmanager:ListSecrets", Resource: "*"},
			"AccessDeniedException: " + frame + "secretsmanager:ListSecrets because no identity-based policy allows the secretsmanager:ListSecrets action"},
		"shown": {smapi.OpGetSecretValue, call.Check{Action: "secretsmanager:GetSecretValue", Resource: "arn:aws:secretsmanager:r:111111111111:secret:x-??????", Shown: "x"},
			"AccessDeniedException: " + frame + "secretsmanager:GetSecretValue on resource: x because no identity-based policy allows the secretsmanager:GetSecretValue action"},
		"IAM": {iamapi.OpGetUser, call.Check{Action: "iam:GetUser", Resource: "arn:aws:iam::111111111111:user/x"},
			"AccessDenied: " + frame + "iam:GetUser on resource: arn:aws:iam::111111111111:user/x because no identity-based policy allows the iam:GetUser action"},
		"IAM without resource": {iamapi.OpSimulateCustomPolicy, call.Check{Action: "iam:SimulateCustomPolicy", Resource: "*"},
			"AccessDenied: " + frame + "iam:SimulateCustomPolicy on resource: * because no identity-based policy allows the iam:SimulateCustomPolicy action"},
		"role without trust": {stsapi.OpAssumeRole, call.Check{Action: "sts:AssumeRole", Resource: role, ResourceDecides: true},
			"AccessDenied: " + frame + "sts:AssumeRole on resource: " + role + " because no role trust policy allows the sts:AssumeRole action"},
		"role of another account": {stsapi.OpAssumeRole, call.Check{Action: "sts:AssumeRole", Resource: "arn:aws:iam::222222222222:role/r", Account: theirs, ResourceDecides: true},
			"AccessDenied: " + frame + "sts:AssumeRole on resource: arn:aws:iam::222222222222:role/r"},
		"trust policy that does not parse": {stsapi.OpAssumeRole, call.Check{Action: "sts:AssumeRole", Resource: role, ResourcePolicy: "{", ResourceDecides: true},
			"AccessDenied: " + frame + "sts:AssumeRole on resource: " + role + " with an explicit deny in the role trust policy"},
	} {
		err := b.ask(newCall(tt.op, user), &tt.ck)
		aerr, ok := err.(*api.Error) //nolint:errorlint // Authorize promises this very type
		if !ok || aerr.Code.Name+": "+aerr.Message != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	// Those who have no ARN are not told who they were taken for.
	web := call.Principal{Type: call.WebIdentityUser, Account: ours, Provider: "arn:aws:iam::111111111111:oidc-provider/x.example"}
	for _, p := range []call.Principal{web, {Type: call.Anonymous}} {
		err := b.ask(newCall(stsapi.OpAssumeRoleWithWebIdentity, p), &call.Check{Action: "sts:AssumeRoleWithWebIdentity", Resource: role, Account: ours, ResourceDecides: true})
		if err == nil || !strings.HasSuffix(err.Error(), "Not authorized to perform sts:AssumeRoleWithWebIdentity") {
			t.Errorf("%s: %v", p.Type, err)
		}
	}
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Federated":"` + web.Provider + `"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"x.example:sub":"alice"}}}}`
	for sub, ok := range map[string]bool{"alice": true, "mallory": false} {
		ck := &call.Check{Action: "sts:AssumeRoleWithWebIdentity", Resource: role, Account: ours, ResourcePolicy: trust, ResourceDecides: true}
		ck.Keys = append(ck.Keys, key("x.example:sub", sub))
		if err := b.ask(newCall(stsapi.OpAssumeRoleWithWebIdentity, web), ck); (err == nil) != ok {
			t.Errorf("token of %s: %v", sub, err)
		}
	}
}

// A policy that hangs on a resource and cannot be understood may hold any Deny.
func TestUnreadableResourcePolicy(t *testing.T) {
	b := newBed(t)
	for _, p := range []call.Principal{root, b.user(root, "u", allow("*", "*"))} {
		err := b.ask(newCall(smapi.OpGetSecretValue, p), &call.Check{Action: "secretsmanager:GetSecretValue", Resource: "arn:aws:secretsmanager:r:111111111111:secret:x-abcdef", ResourcePolicy: "{"})
		if err == nil || !strings.HasSuffix(err.Error(), resourceDeny) {
			t.Errorf("%s: %v", p.ARN, err)
		}
		// Somebody must be able to mend it.
		err = b.ask(newCall(smapi.OpDeleteResourcePolicy, p), &call.Check{Action: "secretsmanager:DeleteResourcePolicy", Resource: "arn:aws:secretsmanager:r:111111111111:secret:x-abcdef", ResourcePolicy: "{"})
		if (err == nil) != (p.Type == call.Root) {
			t.Errorf("%s deletes it: %v", p.ARN, err)
		}
	}
	// The owner's root can take it away.
	for p, allowed := range map[*call.Principal]bool{&root: true, &theirRoot: false, new(b.user(root, "v", allow("*", "*"))): false} {
		ck := &call.Check{Action: "secretsmanager:DeleteResourcePolicy", Resource: "arn:aws:secretsmanager:r:111111111111:secret:x-abcdef", Account: ours, ResourcePolicy: "{"}
		if err := b.ask(newCall(smapi.OpDeleteResourcePolicy, *p), ck); (err == nil) != allowed {
			t.Errorf("DeleteResourcePolicy by %s: %v", p.ARN, err)
		}
	}
}

// Whoever is not there may nothing, not even what a resource lets everybody do.
func TestGone(t *testing.T) {
	b := newBed(t)
	open := to(`"*"`, all)
	for _, p := range []call.Principal{
		{Type: call.IAMUser, Account: ours, UniqueID: "AIDANOBODY", ARN: "arn:aws:iam::111111111111:user/x"},
		{Type: call.AssumedRole, Account: ours, UniqueID: "AROANOBODY", ARN: "arn", Session: &call.Session{}},
		{Type: call.AssumedRole, Account: ours, UniqueID: "AROANOBODY", ARN: "arn"},
		iam.RootPrincipal("333333333333", "k"),
		{Type: "Something"},
	} {
		ck := &call.Check{Action: "secretsmanager:GetSecretValue", Resource: "arn:aws:secretsmanager:r:111111111111:secret:x-abcdef", Account: ours, ResourcePolicy: open}
		if err := b.ask(newCall(smapi.OpGetSecretValue, p), ck); err == nil || !strings.Contains(err.Error(), "because no identity-based policy") {
			t.Errorf("%s %s: %v", p.Type, p.ARN, err)
		}
	}
}

// What GetSessionToken hands out is good for everything its owner may but IAM.
func TestSessionTokensAndIAM(t *testing.T) {
	b := newBed(t)
	user := b.user(root, "u", allow("*", "*"))
	b.role(root, "deploy", allow("*", "*"))
	arn := b.secret(root, "s", "")
	for _, tt := range []struct {
		caller call.Principal
		iam    string
	}{
		{b.session(root, &iam.Session{}), "because credentials of GetSessionToken may not, without MFA"},
		{b.session(user, &iam.Session{}), "because credentials of GetSessionToken may not, without MFA"},
		{b.assumed(root, "deploy"), "allowed"}, {user, "allowed"}, {root, "allowed"},
	} {
		if got := b.describe(tt.caller, arn); got != "allowed" {
			t.Errorf("DescribeSecret by %s: %s", tt.caller.ARN, got)
		}
		if got := b.reason(iamapi.OpGetUser, &iamapi.GetUserInput{UserName: new("u")}, tt.caller, "user u"); got != tt.iam {
			t.Errorf("GetUser by %s: %s, want %s", tt.caller.ARN, got, tt.iam)
		}
	}
	if got := b.lastDenial().Reason; got != "because credentials of GetSessionToken may not, without MFA" {
		t.Errorf("the record tells %q", got)
	}
}
