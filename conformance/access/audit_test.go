package access_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"arca/conformance/identity"
	"arca/conformance/target"
	"arca/internal/oidctest"
)

// record is a line of the audit log as far as access is concerned.
type record struct {
	EventName         string
	ErrorCode         string
	ErrorMessage      string
	RequestParameters map[string]any
	ResponseElements  map[string]any
	UserIdentity      struct {
		Type, Arn, UserName, AccessKeyId, PrincipalId, AccountId, IdentityProvider string
		SessionContext                                                             struct {
			SessionIssuer struct{ Type, PrincipalId, Arn, AccountId, UserName string }
		}
	}
	Arca struct {
		Denied *denial
	}
}

type denial struct{ Action, Resource, Reason, Policy, Statement string }

// recordsOf are the lines of a server's audit log about calls of somebody, given by
// ARN, or by principal id if there is none.
func recordsOf(t *testing.T, server *target.Server, arn string) (list []record) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(server.Home, "data", "audit", "*", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no audit log below %s: %v", server.Home, err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if !strings.HasSuffix(line, "\n") || !strings.Contains(line, arn) {
				continue // what has no end yet is not acknowledged either
			}
			var d record
			if err := json.Unmarshal([]byte(line), &d); err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			if d.UserIdentity.Arn == arn || d.UserIdentity.Arn == "" && d.UserIdentity.PrincipalId == arn {
				list = append(list, d)
			}
		}
	}
	return list
}

// Every denial stands in the audit log with what it rests on, which the client is not
// told.
func TestDenialsInAuditLog(t *testing.T) {
	k := identity.New(t, shared)
	server := k.OwnServer()
	_, arn := k.Secret(k.Caller, "s", "v")
	user := k.User("user")
	role := k.Role("role", identity.Trust(k.Root()), identity.Allow(actAll, "*"))
	assumer := k.User("assumer", identity.Allow("sts:AssumeRole", "*"))
	session := k.Assume(assumer.Caller, role, "session")
	last := func(who *identity.Caller, code string) record {
		t.Helper()
		list := recordsOf(t, server, who.ARN)
		if len(list) == 0 || list[len(list)-1].Arca.Denied == nil {
			t.Fatalf("%d records of %s, the last without a denial", len(list), who.ARN)
		}
		d := list[len(list)-1]
		if d.ErrorCode != code {
			t.Errorf("errorCode = %q, want %q", d.ErrorCode, code)
		}
		return d
	}
	check := func(d record, event string, want denial) {
		t.Helper()
		if d.EventName != event || d.ErrorMessage != identity.DenialText(d.UserIdentity.Arn, want.Action, want.Resource, strings.TrimSuffix(want.Reason, want.Action+" action")) {
			t.Errorf("%s: %s", d.EventName, d.ErrorMessage)
		}
		if diff := cmp.Diff(want, *d.Arca.Denied); diff != "" {
			t.Errorf("denied (-want +got):\n%s", diff)
		}
	}
	const code = "AccessDeniedException"

	cannotRead(k, user.Caller, arn, identity.NoIdentity)
	d := last(user.Caller, code)
	check(d, "GetSecretValue", denial{Action: actGet, Resource: arn, Reason: identity.NoIdentity + actGet + " action"})
	if u := d.UserIdentity; u.Type != "IAMUser" || u.UserName != user.Name || u.PrincipalId != user.ID || u.AccessKeyId != user.Key || u.AccountId != k.ID {
		t.Errorf("userIdentity = %+v", u)
	}

	inline := user.Allow(identity.Policy(
		identity.Statement{Effect: "Allow", Action: actAll, Resource: "*"},
		identity.Statement{Sid: "NotThis", Effect: "Deny", Action: actGet, Resource: arn}))
	cannotRead(k, user.Caller, arn, identity.ByIdentity)
	check(last(user.Caller, code), "GetSecretValue", denial{
		Action: actGet, Resource: arn, Reason: identity.ByIdentity, Policy: "inline policy " + inline + " of user " + user.Name, Statement: "NotThis"})

	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Policy(
		identity.Statement{Effect: "Deny", Principal: identity.Principals(role.ARN), Action: actGet, Resource: "*"})))
	cannotRead(k, session, arn, identity.ByResource)
	d = last(session, code)
	check(d, "GetSecretValue", denial{Action: actGet, Resource: arn, Reason: identity.ByResource, Policy: "resource policy", Statement: "1"})
	if u := d.UserIdentity; u.Type != "AssumedRole" || u.PrincipalId != role.ID+":session" || u.SessionContext.SessionIssuer.Arn != role.ARN ||
		u.SessionContext.SessionIssuer.PrincipalId != role.ID || u.SessionContext.SessionIssuer.UserName != role.Name {
		t.Errorf("userIdentity = %+v", u)
	}

	_, err := user.IAM.ListUsers(k.Ctx(), nil)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")
	if d := last(user.Caller, "AccessDenied"); d.EventName != "ListUsers" || d.Arca.Denied.Action != "iam:ListUsers" {
		t.Errorf("record of ListUsers: %+v", d)
	}
}

// Who gets temporary credentials, by what, stands in the log: their id, and nothing
// that opens anything.
func TestCredentialsInAuditLog(t *testing.T) {
	k := identity.New(t, shared)
	server := k.OwnServer()
	user := k.User("user", identity.Allow("sts:AssumeRole", "*"))
	role := k.Role("role", identity.Trust(k.Root()))
	var secrets []string
	check := func(by, event, keyID string, more func(record)) {
		t.Helper()
		list := recordsOf(t, server, by)
		if len(list) == 0 || list[len(list)-1].EventName != event {
			t.Fatalf("%d records of %s, the last not of %s", len(list), by, event)
		}
		r := list[len(list)-1]
		c, _ := r.ResponseElements["credentials"].(map[string]any)
		if c["accessKeyId"] != keyID || r.ErrorCode != "" {
			t.Errorf("%s: responseElements = %v, want the key id %s", event, r.ResponseElements, keyID)
		}
		if more != nil {
			more(r)
		}
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if strings.Contains(string(raw), s) {
				t.Errorf("%s: the record holds a secret: %s", event, raw)
			}
		}
	}

	session, err := user.STS.GetSessionToken(k.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, *session.Credentials.SecretAccessKey, *session.Credentials.SessionToken)
	check(user.ARN, "GetSessionToken", *session.Credentials.AccessKeyId, nil)

	assumed, err := user.STS.AssumeRole(k.Ctx(), &sts.AssumeRoleInput{RoleArn: &role.ARN, RoleSessionName: aws.String("session")})
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, *assumed.Credentials.SecretAccessKey, *assumed.Credentials.SessionToken)
	check(user.ARN, "AssumeRole", *assumed.Credentials.AccessKeyId, func(r record) {
		who, _ := r.ResponseElements["assumedRoleUser"].(map[string]any)
		if who["arn"] != role.SessionARN("session") || who["assumedRoleId"] != role.ID+":session" || r.RequestParameters["roleArn"] != role.ARN {
			t.Errorf("AssumeRole: %v, %v", r.RequestParameters, r.ResponseElements)
		}
	})

	issuer := oidctest.New(t)
	provider, err := k.IAM.CreateOpenIDConnectProvider(k.Ctx(), &iam.CreateOpenIDConnectProviderInput{
		Url: &issuer.URL, ClientIDList: []string{oidctest.Audience}, ThumbprintList: []string{issuer.Authority.Thumbprint()}})
	if err != nil {
		t.Fatal(err)
	}
	web := k.Role("web", identity.Policy(identity.Statement{
		Effect: "Allow", Principal: map[string]any{"Federated": *provider.OpenIDConnectProviderArn}, Action: "sts:AssumeRoleWithWebIdentity"}))
	token := issuer.Token(t, nil)
	by := *provider.OpenIDConnectProviderArn + ":" + oidctest.Audience + ":" + oidctest.Subject
	exchange := func(role string) (*sts.AssumeRoleWithWebIdentityOutput, error) {
		return k.STS.AssumeRoleWithWebIdentity(k.Ctx(), &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("session"), WebIdentityToken: &token})
	}
	got, err := exchange(web.ARN)
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, *got.Credentials.SecretAccessKey, *got.Credentials.SessionToken, token)
	check(by, "AssumeRoleWithWebIdentity", *got.Credentials.AccessKeyId, func(r record) {
		if u := r.UserIdentity; u.Type != "WebIdentityUser" || u.UserName != oidctest.Subject || u.IdentityProvider != *provider.OpenIDConnectProviderArn {
			t.Errorf("userIdentity = %+v", u)
		}
	})
	// A denied exchange says what was missing, to the log and not to the bearer.
	_, err = exchange(role.ARN)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	list := recordsOf(t, server, by)
	last := list[len(list)-1]
	if last.Arca.Denied == nil || last.Arca.Denied.Resource != role.ARN || last.Arca.Denied.Reason == "" || last.ErrorCode != "AccessDenied" {
		t.Errorf("record = %+v", last)
	}

	key, err := k.IAM.CreateAccessKey(k.Ctx(), &iam.CreateAccessKeyInput{UserName: &user.Name})
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, *key.AccessKey.SecretAccessKey)
	files, err := filepath.Glob(filepath.Join(server.Home, "data", "audit", "*", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("audit log: %q, %v", files, err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if strings.Contains(string(raw), s) {
				t.Errorf("the audit log holds a secret that begins with %s", s[:4])
			}
		}
	}
}
