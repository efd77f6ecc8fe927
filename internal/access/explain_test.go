package access_test

import (
	"errors"
	"strings"
	"testing"

	"arca/internal/access"
	"arca/internal/api/iamapi"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

func TestParseName(t *testing.T) {
	for text, account := range map[string]string{
		"root": ours, "222222222222": theirs, "user/a": ours, "user/path/a": ours, "role/a": ours,
		"arn:aws:iam::222222222222:root": theirs, "arn:aws:iam::222222222222:user/p/a": theirs,
		"arn:aws:iam::222222222222:role/a": theirs, "arn:aws:sts::222222222222:assumed-role/a/s": theirs,
	} {
		n, err := access.ParseName(text, ours)
		if err != nil || n.Account != account {
			t.Errorf("ParseName(%q) = account %s, %v, want %s", text, n.Account, err, account)
		}
	}
	for _, text := range badNames {
		if n, err := access.ParseName(text, ours); !errors.Is(err, access.ErrName) {
			t.Errorf("ParseName(%q) = %+v, %v, want ErrName", text, n, err)
		}
	}
}

var badNames = []string{
	"", "alice", "user/", "user", "role/", "group/a", "root/x", "*", "arn:", "arn:aws:iam::222222222222:group/a",
	"arn:aws:iam::22:user/a", "arn:aws:s3:::bucket", "arn:aws:sts::222222222222:assumed-role/a", "assumed-role/a/s",
	"arn:aws:sts::222222222222:user/a", "arn:aws:iam::222222222222:assumed-role/a/s", "arn:aws:iam::222222222222:root/x",
	"22222222222", "2222222222222",
}

func FuzzParseName(f *testing.F) {
	for _, s := range append(badNames, "root", "user/a", "arn:aws:iam::222222222222:role/x/a", "arn:aws:sts::222222222222:assumed-role/a/s") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := access.ParseName(s, ours)
		if err == nil && len(n.Account) != 12 {
			t.Errorf("ParseName(%q) has account %q", s, n.Account)
		}
	})
}

func (b *bed) explain(principal, action, resource string, keys ...policy.ContextKey) (*access.Answer, error) {
	n, err := access.ParseName(principal, ours)
	if err != nil {
		b.t.Fatal(err)
	}
	q := &access.Question{Principal: n, Action: action, Resource: resource, Keys: keys}
	return b.access.Explain(b.t.Context(), newCall(smapi.OpListSecrets, root), q)
}

// What is explained is what is decided, for whoever asks about what.
func TestExplainAgrees(t *testing.T) {
	b := newBed(t)
	blue := smapi.Tag{Key: new("team"), Value: new("blue")}
	byTag := `{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}`
	tagged := b.user(root, "tagged", allow(all, "*", byTag))
	must[iamapi.TagUserOutput](b, iamapi.OpTagUser, &iamapi.TagUserInput{UserName: "tagged", Tags: []iamapi.Tag{{Key: "team", Value: "blue"}}}, root)
	reader := b.user(root, "reader", allow(all, "*"), refuse("secretsmanager:DescribeSecret", "*", `{"StringEquals":{"aws:ResourceTag/team":"blue"}}`))
	b.role(root, "deploy", allow("secretsmanager:Describe*", "*"))
	deploy := b.assumed(root, "deploy")
	guest := b.user(theirRoot, "guest", allow(all, "*"))
	secrets := map[string]string{
		"plain": b.secret(root, "plain", ""), "blue": b.secret(root, "blue", "", blue),
		"shared": b.secret(root, "shared", to(aws(theirs), all), blue), "closed": b.secret(root, "closed", notTo(aws(reader.ARN), "*")),
	}
	for _, p := range []call.Principal{root, theirRoot, tagged, reader, deploy, guest} {
		for name, arn := range secrets {
			decided := b.describe(p, arn)
			ask := []string{arn}
			if p.Account == ours {
				ask = append(ask, name)
			}
			for _, resource := range ask {
				a, err := b.explain(p.ARN, "secretsmanager:DescribeSecret", resource)
				if err != nil {
					t.Fatal(err)
				}
				explained := "allowed"
				if !a.Decision.Allowed {
					explained = a.Decision.Reason("secretsmanager:DescribeSecret")
				}
				if explained != decided || a.Request.Resource != arn || a.Principal != p.ARN {
					t.Errorf("%s on %s: explained %s of %s on %s, decided %s", p.ARN, name, explained, a.Principal, a.Request.Resource, decided)
				}
				decides := 0
				for i := range a.Considered {
					if a.Decides(&a.Considered[i]) {
						decides++
					}
				}
				if want := min(a.Decision.Statement+1, 1); decides != want {
					t.Errorf("%s on %s: %d statements decide, want %d", p.ARN, name, decides, want)
				}
			}
		}
	}
}

func TestExplain(t *testing.T) {
	b := newBed(t)
	b.secret(root, "MyApp/db", "")
	b.user(root, "alice", allow("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:*:*:secret:MyApp/*", `{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`))
	roleARN := b.role(root, "deploy")
	bob := b.user(root, "boB")
	must[iamapi.CreateRoleOutput](b, iamapi.OpCreateRole, &iamapi.CreateRoleInput{
		RoleName:                 "trusting",
		AssumeRolePolicyDocument: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + bob.ARN + `"},"Action":"sts:AssumeRole"}}`,
	}, root)
	for name, tt := range map[string]struct {
		principal, action, resource string
		keys                        []policy.ContextKey
		want                        []string // in reason and statements
		as                          string
	}{
		"without an address": {"user/alice", "secretsmanager:GetSecretValue", "MyApp/db", nil,
			[]string{"denied because no identity-based policy allows the secretsmanager:GetSecretValue action", "the request has no aws:SourceIp"}, "arn:aws:iam::111111111111:user/alice"},
		"with one": {"user/alice", "secretsmanager:GetSecretValue", "MyApp/db", []policy.ContextKey{key("AWS:SourceIp", "10.1.2.3")},
			[]string{`allowed by statement 1 "Only" of the identity-based policy "inline policy a of user alice"`}, "arn:aws:iam::111111111111:user/alice"},
		"secret that is not there": {"user/alice", "secretsmanager:GetSecretValue", "MyApp/no", []policy.ContextKey{key("aws:SourceIp", "10.1.2.3")},
			[]string{"allowed by"}, "arn:aws:iam::111111111111:user/alice"},
		"another action": {"user/alice", "secretsmanager:PutSecretValue", "MyApp/db", nil,
			[]string{"denied because no", "action secretsmanager:PutSecretValue is not among secretsmanager:GetSecretValue"}, "arn:aws:iam::111111111111:user/alice"},
		"role as a whole": {"role/deploy", "secretsmanager:ListSecrets", "*", nil,
			[]string{"denied because no identity-based policy allows the secretsmanager:ListSecrets action"}, roleARN},
		"role to be assumed": {"user/alice", "sts:AssumeRole", "role/deploy", nil,
			[]string{"because no identity-based policy allows the sts:AssumeRole action", "it names the account"}, "arn:aws:iam::111111111111:user/alice"},
		"root": {"root", "secretsmanager:DeleteSecret", "MyApp/db", nil,
			[]string{"allowed, since the root of an account needs no identity-based policy"}, root.ARN},
		"role that trusts another": {"user/alice", "sts:AssumeRole", "role/trusting", nil,
			[]string{"because no role trust policy allows the sts:AssumeRole action", "user/alice is not among arn:aws:iam::111111111111:user/boB"}, "arn:aws:iam::111111111111:user/alice"},
		"role that is not there": {"user/alice", "sts:AssumeRole", "role/none", nil,
			[]string{"because no role trust policy allows the sts:AssumeRole action"}, "arn:aws:iam::111111111111:user/alice"},
		"role for the root": {"root", "sts:AssumeRole", "role/deploy", nil,
			[]string{"denied because the root of an account may assume no role"}, root.ARN},
		"in other letters": {"user/alice", "ARCA:createAccount", "*", nil,
			[]string{"denied because only the root of the management account may"}, "arn:aws:iam::111111111111:user/alice"},
		"the server's own operations": {"222222222222", "arca:CreateAccount", "*", nil,
			[]string{"denied because only the root of the management account may"}, theirRoot.ARN},
	} {
		a, err := b.explain(tt.principal, tt.action, tt.resource, tt.keys...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := a.Reason()
		for _, c := range a.Considered {
			text += "\n" + c.Why
		}
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s\nwant %q in it", name, text, want)
			}
		}
		if a.Principal != tt.as {
			t.Errorf("%s: principal %s, want %s", name, a.Principal, tt.as)
		}
	}
	for _, principal := range []string{
		"user/carol", "role/bob", "333333333333", "arn:aws:iam::111111111111:user/path/alice", "arn:aws:iam::333333333333:user/alice",
		"arn:aws:sts::111111111111:assumed-role/Deploy/x",
	} {
		if _, err := b.explain(principal, "a:B", "*"); !errors.Is(err, access.ErrNoPrincipal) {
			t.Errorf("%s: %v, want ErrNoPrincipal", principal, err)
		}
	}
}

func (b *bed) whoCan(w *access.Who) *access.Grants {
	b.t.Helper()
	g, err := b.access.WhoCan(b.t.Context(), newCall(smapi.OpListSecrets, root), w)
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// short is a grant as the tests write it.
func short(g access.Grant) string {
	s := strings.TrimPrefix(g.Principal, "arn:aws:iam::")
	if g.Conditional {
		s += " " + g.Reason
	}
	return s
}

func TestWhoCan(t *testing.T) {
	b := newBed(t)
	b.user(root, "always", allow(all, "*"))
	b.user(root, "never", allow("iam:*", "*"))
	b.user(root, "near", allow(all, "*", `{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","192.0.2.0/24"]},"StringEquals":{"aws:PrincipalAccount":"111111111111"}}`))
	b.user(root, "plain", allow(all, "*"), refuse("*", "*", `{"Bool":{"aws:SecureTransport":"false"}}`))
	b.user(root, "tagged", allow(all, "*", `{"StringEquals":{"aws:ResourceTag/team":"blue"}}`))
	b.user(root, "other", allow(all, "*", `{"StringEquals":{"aws:ResourceTag/team":"red","aws:UserAgent":"x"}}`))
	b.user(root, "own", allow(all, "arn:aws:secretsmanager:*:*:secret:${aws:username}*"))
	b.role(root, "deploy", allow(all, "*"))
	b.role(root, "bySession", allow(all, "*", `{"StringEquals":{"aws:PrincipalTag/team":"blue"}}`))
	guest := b.user(theirRoot, "guest", allow(all, "*"))
	b.user(theirRoot, "stranger")
	arn := b.secret(root, "ownDB", "", smapi.Tag{Key: new("team"), Value: new("blue")})
	who := func(everywhere bool) []string {
		var list []string
		for _, g := range b.whoCan(&access.Who{Action: "secretsmanager:GetSecretValue", Resource: "ownDB", Everywhere: everywhere, Most: 100}).List {
			list = append(list, short(g))
		}
		return list
	}
	same := func(name string, got []string, want ...string) {
		t.Helper()
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	own := []string{
		"111111111111:root", "111111111111:user/always",
		"111111111111:user/near if IpAddress aws:SourceIp 10.0.0.0/8, 192.0.2.0/24",
		"111111111111:user/own",
		"111111111111:user/plain unless Bool aws:SecureTransport false",
		"111111111111:user/tagged",
		"111111111111:role/bySession if StringEquals aws:PrincipalTag/team blue",
		"111111111111:role/deploy",
	}
	same("no resource policy", who(false), own...)
	same("no resource policy, everywhere", who(true), own...)

	b.attach(root, arn, to(`{"AWS":["`+theirs+`","`+guest.ARN+`"],"Service":"lambda.amazonaws.com"}`, all))
	const decide = "; the policies of its own account decide as well"
	named := []string{
		`222222222222:root allowed by statement 1 "Only" of the resource-based policy "resource policy"` + decide,
		`222222222222:user/guest allowed by statement 1 "Only" of the resource-based policy "resource policy"` + decide,
		"lambda.amazonaws.com",
	}
	same("shared", who(false), append(named, own...)...)
	same("shared, everywhere", who(true), append(append([]string{"lambda.amazonaws.com"}, own...), "222222222222:root", "222222222222:user/guest")...)

	b.attach(root, arn, to(`"*"`, all, `{"StringEquals":{"aws:PrincipalOrgID":"o-arca"}}`))
	b.guardrail(theirs, allow("iam:*", "*"))
	got := who(false)
	same("open", got[:1], "* if StringEquals aws:PrincipalOrgID o-arca"+decide)
	everyone := []string{"111111111111:root", "111111111111:user/always", "111111111111:user/near", "111111111111:user/never", "111111111111:user/other", "111111111111:user/own"}
	same("open, everywhere", who(true)[1:7], everyone...)
	for _, g := range who(true) {
		if strings.HasPrefix(g, theirs) {
			t.Errorf("%s may in spite of its guardrail", g)
		}
	}
}

// Page by page it is the same list.
func TestWhoCanPages(t *testing.T) {
	b := newBed(t)
	for _, name := range []string{"a", "B", "c", "d"} {
		b.user(root, name, allow(all, "*"))
	}
	b.user(root, "none")
	b.role(root, "a", allow(all, "*"))
	arn := b.secret(root, "s", to(`{"AWS":"`+theirs+`","Service":"x.amazonaws.com"}`, all))
	w := access.Who{Action: "secretsmanager:GetSecretValue", Resource: arn, Everywhere: true, Most: 100}
	whole := b.whoCan(&w)
	if whole.Next != "" || len(whole.List) != 8 {
		t.Fatalf("whole: %d grants, next %q", len(whole.List), whole.Next)
	}
	for most := 1; most < 4; most++ {
		var list []access.Grant
		w.Most, w.After = most, ""
		for pages := 0; ; pages++ {
			g := b.whoCan(&w)
			if list = append(list, g.List...); g.Next == "" || pages > 20 {
				break
			}
			w.After = g.Next
		}
		if len(list) != len(whole.List) {
			t.Errorf("by %d: %d grants", most, len(list))
			continue
		}
		for i := range list {
			if list[i] != whole.List[i] {
				t.Errorf("by %d: %v, want %v", most, list[i], whole.List[i])
			}
		}
	}
}

// Who is listed without a condition may, whatever the request; who is not listed never
// may.
func TestWhoCanIsTrue(t *testing.T) {
	b := newBed(t)
	conditions := []string{
		`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, `{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`,
		`{"StringLike":{"aws:PrincipalArn":"*user*"}}`, `{"Null":{"secretsmanager:VersionId":"true"}}`,
		`{"ForAllValues:StringEquals":{"secretsmanager:VersionStage":"AWSCURRENT"}}`,
		`{"StringEqualsIfExists":{"secretsmanager:VersionStage":"AWSCURRENT"},"Bool":{"aws:SecureTransport":"true"}}`,
		`{"StringNotEquals":{"aws:ResourceTag/team":"blue"}}`, `{"DateGreaterThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}`,
	}
	var users []call.Principal
	for i, one := range conditions {
		users = append(users, b.user(root, "a"+string(rune('a'+i)), allow(all, "*", one)))
		for j, two := range conditions {
			users = append(users, b.user(root, "u"+string(rune('a'+i))+string(rune('a'+j)), allow(all, "*", one), refuse("secretsmanager:GetSecretValue", "*", two)))
		}
	}
	arn := b.secret(root, "s", "", smapi.Tag{Key: new("team"), Value: new("blue")})
	listed := make(map[string]access.Grant)
	for _, g := range b.whoCan(&access.Who{Action: "secretsmanager:GetSecretValue", Resource: arn, Most: 1000}).List {
		listed[g.Principal] = g
	}
	for _, u := range users {
		g, ok := listed[u.ARN]
		allowed, denied := 0, 0
		for variant := range 16 {
			c := newCall(smapi.OpGetSecretValue, u)
			var ck call.Check
			b.view(func(v *store.Snap) { ck, _ = b.sm.Resource(v, c, arn) })
			ck.Action = "secretsmanager:GetSecretValue"
			if variant&1 != 0 {
				c.SourceIP = "10.1.1.1"
			}
			if variant&2 != 0 {
				ck.Keys = append(ck.Keys, key("secretsmanager:VersionStage", "AWSPREVIOUS"), key("secretsmanager:VersionId", "x"))
			}
			if variant&4 != 0 {
				c.Secure = false
			}
			if variant&8 != 0 {
				c.Now = c.Now.AddDate(10, 0, 0)
			}
			if b.ask(c, &ck) == nil {
				allowed++
			} else {
				denied++
			}
		}
		switch {
		case ok && !g.Conditional && denied > 0:
			t.Errorf("%s is listed and denied %d times", u.UserName, denied)
		case !ok && allowed > 0:
			t.Errorf("%s is not listed and allowed %d times", u.UserName, allowed)
		}
	}
}
