package policy_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"arca/internal/policy"
)

// broadTarget is the secret that the policies of these tests are attached to.
var broadTarget = policy.Target{
	Resource: "arn:aws:secretsmanager:eu-west-1:111122223333:secret:mine-AbCdEf",
	Actions: []string{
		"secretsmanager:DeleteSecret", "secretsmanager:DescribeSecret", "secretsmanager:GetResourcePolicy",
		"secretsmanager:GetSecretValue", "secretsmanager:PutResourcePolicy", "secretsmanager:PutSecretValue",
	},
}

func mustResourcePolicy(t testing.TB, text string) *policy.Document {
	t.Helper()
	doc, err := policy.ParseResourcePolicy(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return doc
}

// allowed asks the evaluator about a way in that was found, for a caller whose own
// account lets him do everything.
func allowed(t testing.TB, doc *policy.Document, b *policy.Broad) bool {
	t.Helper()
	everything, err := policy.ParseIdentityPolicy(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Evaluate(b.Request, &policy.Policies{
		Resource: policy.Source{Policy: policy.Compile(doc)},
		Identity: []policy.Source{{Policy: policy.Compile(everything)}},
	}).Allowed
}

func TestFindBroadAccess(t *testing.T) {
	wrap := map[string]func(members string) string{
		"allow.txtar": func(members string) string {
			if !strings.Contains(members, `"Principal"`) {
				members = `"Principal": "*", ` + members
			}
			return `{"Statement": {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*", ` + members + `}}`
		},
		"deny.txtar": func(members string) string {
			for _, m := range []string{`"Principal": "*"`, `"Action": "secretsmanager:*"`, `"Resource": "*"`} {
				name := strings.Trim(m[:strings.Index(m, ":")], `"`)
				if !strings.Contains(members, `"`+name+`"`) && !strings.Contains(members, `"Not`+name+`"`) {
					members += ", " + m
				}
			}
			return `{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}, {"Effect": "Deny", ` + members + `}]}`
		},
	}
	for name, whole := range wrap {
		archive, err := txtar.ParseFile(filepath.Join("testdata", "broad", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range archive.Files {
			t.Run(file.Name, func(t *testing.T) {
				text := strings.TrimSpace(string(file.Data))
				if !strings.HasPrefix(text, "{") {
					text = whole(text)
				}
				doc := mustResourcePolicy(t, text)
				verdict, _, _ := strings.Cut(file.Name, ":")
				for _, target := range []policy.Target{broadTarget, {Actions: broadTarget.Actions}} {
					if target.Resource == "" && strings.Contains(file.Name, "resource") {
						continue // what is narrow for one resource may be broad for others
					}
					start := time.Now()
					b, broad := policy.FindBroadAccess(doc, target)
					if took := time.Since(start); took > time.Second {
						t.Errorf("took %v", took)
					}
					if want := verdict == "broad"; broad != want || broad != (b != nil) {
						t.Errorf("FindBroadAccess(%s) = %v, %v, want %v", text, b, broad, want)
					}
					if b == nil {
						continue
					}
					if b.Request != nil && !allowed(t, doc, b) {
						t.Errorf("%v: the policy does not allow it", b)
					}
					unproven := strings.Contains(file.Name, "nobody can tell") || strings.Contains(file.Name, "resource that variables tell")
					if (b.Request == nil) != unproven {
						t.Errorf("%v: without a request: %v, want %v", b, b.Request == nil, unproven)
					}
				}
			})
		}
	}
}

func TestBroadExplainsItself(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{`{"Statement": {"Sid": "Open", "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/ci"}, "Bool": {"aws:SecureTransport": "true"}}}}`,
			`statement 1 (Open) lets in callers whom the policy does not name, such as arn:aws:sts::999999999999:assumed-role/stranger/stranger who asks for secretsmanager:DeleteSecret with aws:principalarn ["arn:aws:iam::999999999999:role/ci"], aws:securetransport ["true"]`},
		{`{"Statement": [{"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "*", "Resource": "*"}, {"Effect": "Allow", "Principal": "*", "Action": "secretsmanager:Get*", "Resource": "*"}]}`,
			`statement 2 lets in callers whom the policy does not name, such as service stranger.amazonaws.com who asks for secretsmanager:GetResourcePolicy`},
		{`{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": {"NumericEquals": {"a:b": "1"}, "StringEquals": {"a:b": "2"}}}}`,
			`statement 1 may let in callers whom the policy does not name: it cannot be ruled out`},
	} {
		b, _ := policy.FindBroadAccess(mustResourcePolicy(t, tc.text), broadTarget)
		if b == nil || b.Error() != tc.want {
			t.Errorf("%s:\n %v, want\n %s", tc.text, b, tc.want)
		}
	}
}

// Policies that are made to take long are called broad before they do.
func TestFindBroadAccessBounded(t *testing.T) {
	long := func(n int, format string) string {
		var list []string
		for i := range n {
			list = append(list, strings.ReplaceAll(format, "#", fmt.Sprint(i)))
		}
		return strings.Join(list, ",")
	}
	allow := `{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"`
	deny := `{"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*", "Condition": `
	for name, tc := range map[string]struct {
		text string
		want bool
	}{
		"many patterns at once":  {`{"Statement": ` + allow + `, "Condition": {"StringLike": {"t:t": [` + long(300, `"*a#b?c*d#*"`) + `]}, "StringNotLike": {"t:t": [` + long(300, `"*?#*b*c#*"`) + `]}}}}`, true},
		"wildcards that double":  {`{"Statement": ` + allow + `, "Condition": {"StringLike": {"t:t": "*a` + strings.Repeat("?", 40) + `*b` + strings.Repeat("?", 40) + `"}, "StringNotLike": {"t:t": ["*b` + strings.Repeat("?", 40) + `", "*a*"]}}}}`, true},
		"many denies of one key": {`{"Statement": [` + allow + `},` + long(100, deny+`{"StringEquals": {"aws:PrincipalTag/a": "#"}, "StringNotEquals": {"aws:PrincipalTag/b": "#"}}}`) + `]}`, true},
		"many denies, one tight": {`{"Statement": [` + allow + `},` + long(100, deny+`{"StringEquals": {"aws:PrincipalTag/a#": "1", "aws:PrincipalTag/b#": "1"}}}`) + `,` + deny + `{"StringNotEquals": {"aws:PrincipalAccount": "123456789012"}}}]}`, false},
		"many fixed principals":  {`{"Statement": ` + allow + `, "Condition": {"ArnLike": {"aws:PrincipalArn": [` + long(300, `"arn:aws:iam::123456789012:role/role-#-*"`) + `]}}}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			doc := mustResourcePolicy(t, tc.text)
			start := time.Now()
			_, got := policy.FindBroadAccess(doc, broadTarget)
			if got != tc.want {
				t.Errorf("broad = %v, want %v", got, tc.want)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// drawBroad draws a resource policy whose conditions are about few keys, so that they
// often meet. Only fixed principals are named when fixed is set.
func drawBroad(t *rapid.T, fixed bool) []string {
	principals := []string{`"Principal":{"AWS":"123456789012"}`, `"Principal":{"AWS":["arn:aws:iam::123456789012:role/a","arn:aws:iam::210987654321:user/b"]}`, `"Principal":{"Service":"lambda.amazonaws.com"}`}
	open := append([]string{`"Principal":"*"`, `"Principal":"*"`, `"Principal":{"AWS":"*"}`}, principals...)
	var statements []string
	for range rapid.IntRange(1, 5).Draw(t, "statements") {
		effect := rapid.SampledFrom([]string{"Allow", "Deny"}).Draw(t, "effect")
		who := open
		if fixed && effect == "Allow" {
			who = principals
		}
		if effect == "Deny" {
			who = append(who, `"NotPrincipal":{"AWS":"123456789012"}`)
		}
		statements = append(statements, fmt.Sprintf(`{"Effect":%q,%s,"Action":%s,"Resource":%s,"Condition":{%s}}`, effect,
			rapid.SampledFrom(who).Draw(t, "principal"),
			rapid.SampledFrom([]string{`"*"`, `"secretsmanager:Get*"`, `["secretsmanager:GetSecretValue","secretsmanager:PutSecretValue"]`}).Draw(t, "action"),
			rapid.SampledFrom([]string{`"*"`, `"*"`, `"arn:aws:secretsmanager:*:*:secret:mine-*"`, `"arn:aws:secretsmanager:*:*:secret:other-*"`}).Draw(t, "resource"),
			drawConditions(t)))
	}
	return statements
}

func drawConditions(t *rapid.T) string {
	keys := map[string][]string{
		"aws:PrincipalAccount":  {"123456789012", "*", "12345678901?", "999999999999", "${aws:ResourceAccount}"},
		"aws:PrincipalArn":      {"arn:aws:iam::123456789012:role/a", "arn:aws:iam::123456789012:*", "arn:aws:iam::*:role/a", "arn:aws:iam::*:*"},
		"aws:SourceVpce":        {"vpce-1", "vpce-*", "*1"},
		"aws:PrincipalTag/team": {"a", "b", "a*", "*b", "?", "${aws:username}"},
		"aws:username":          {"a", "b"},
	}
	operators := []string{"StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringLikeIfExists", "StringNotLikeIfExists", "ForAnyValue:StringLike", "ForAllValues:StringNotLike", "ForAnyValue:StringNotLike", "StringEqualsIgnoreCase"}
	byOperator := make(map[string]map[string]string)
	put := func(operator, key, value string) {
		if byOperator[operator] == nil {
			byOperator[operator] = make(map[string]string)
		}
		byOperator[operator][key] = value
	}
	for range rapid.IntRange(0, 3).Draw(t, "conditions") {
		switch rapid.IntRange(0, 6).Draw(t, "sort") {
		case 0:
			put(rapid.SampledFrom([]string{"IpAddress", "NotIpAddress"}).Draw(t, "operator"), "aws:SourceIp",
				rapid.SampledFrom([]string{`"10.0.0.0/8"`, `"0.0.0.0/0"`, `["10.0.0.0/8","11.0.0.0/8"]`, `"10.1.0.0/16"`, `"::/0"`}).Draw(t, "range"))
		case 1:
			put(rapid.SampledFrom([]string{"NumericLessThan", "NumericGreaterThanEquals", "NumericNotEquals"}).Draw(t, "operator"), "aws:MultiFactorAuthAge",
				rapid.SampledFrom([]string{`"1"`, `"2"`, `"2.5"`}).Draw(t, "number"))
		case 2:
			put("Null", rapid.SampledFrom([]string{"aws:SourceVpce", "aws:PrincipalTag/team"}).Draw(t, "key"), rapid.SampledFrom([]string{`"true"`, `"false"`}).Draw(t, "null"))
		default:
			key := rapid.SampledFrom([]string{"aws:PrincipalAccount", "aws:PrincipalArn", "aws:SourceVpce", "aws:PrincipalTag/team", "aws:username"}).Draw(t, "key")
			values := rapid.SliceOfN(rapid.SampledFrom(keys[key]), 1, 2).Draw(t, "values")
			put(rapid.SampledFrom(operators).Draw(t, "operator"), key, `["`+strings.Join(values, `","`)+`"]`)
		}
	}
	var all []string
	for operator, conditions := range byOperator {
		var list []string
		for key, value := range conditions {
			list = append(list, fmt.Sprintf("%q:%s", key, value))
		}
		all = append(all, fmt.Sprintf("%q:{%s}", operator, strings.Join(list, ",")))
	}
	return strings.Join(all, ",")
}

func whole(statements []string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

// A request that is found is allowed, and comes from nobody whom the policy names.
func TestBroadRequestIsAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, err := policy.ParseResourcePolicy(whole(drawBroad(t, false)))
		if err != nil {
			t.Fatal(err)
		}
		b, broad := policy.FindBroadAccess(doc, broadTarget)
		if broad != (b != nil) {
			t.Fatalf("FindBroadAccess = %v, %v", b, broad)
		}
		if b == nil || b.Request == nil {
			return
		}
		everything, err := policy.ParseIdentityPolicy(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
		if err != nil {
			t.Fatal(err)
		}
		if d := policy.Evaluate(b.Request, &policy.Policies{
			Resource: policy.Source{Policy: policy.Compile(doc)}, Identity: []policy.Source{{Policy: policy.Compile(everything)}},
		}); !d.Allowed {
			t.Fatalf("%v: the policy does not allow it", b)
		}
		for _, k := range b.Keys {
			for _, v := range k.Values {
				switch strings.ToLower(k.Name) {
				case "aws:principalaccount", "aws:sourcevpce":
					if v == "123456789012" || v == "111122223333" || v == "vpce-1" {
						t.Fatalf("%v: the policy names %s", b, v)
					}
				case "aws:principalarn":
					if strings.Contains(v, "::123456789012:") {
						t.Fatalf("%v: the policy names %s", b, v)
					}
				}
			}
		}
	})
}

// Another Deny makes no policy broad, another Allow none narrow.
func TestBroadIsMonotonic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		statements := drawBroad(t, false)
		more := append(statements[:len(statements):len(statements)], drawBroad(t, false)[0])
		before, err := policy.ParseResourcePolicy(whole(statements))
		if err != nil {
			t.Fatal(err)
		}
		after, err := policy.ParseResourcePolicy(whole(more))
		if err != nil {
			t.Fatal(err)
		}
		_, was := policy.FindBroadAccess(before, broadTarget)
		b, is := policy.FindBroadAccess(after, broadTarget)
		if after.Statements[len(more)-1].Effect == policy.Deny && is && !was {
			t.Fatalf("a further Deny made it broad: %v\n%s", b, whole(more))
		}
	})
}

// A policy that allows only those it names is never broad.
func TestFixedPrincipalsAreNarrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, err := policy.ParseResourcePolicy(whole(drawBroad(t, true)))
		if err != nil {
			t.Fatal(err)
		}
		if b, broad := policy.FindBroadAccess(doc, broadTarget); broad {
			t.Fatalf("%v", b)
		}
	})
}

// What is called narrow lets in no stranger of a few thousand.
func TestNarrowLetsNobodyIn(t *testing.T) {
	everything, err := policy.ParseIdentityPolicy(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
	if err != nil {
		t.Fatal(err)
	}
	identity := []policy.Source{{Policy: policy.Compile(everything)}}
	rapid.Check(t, func(t *rapid.T) {
		doc, err := policy.ParseResourcePolicy(whole(drawBroad(t, false)))
		if err != nil {
			t.Fatal(err)
		}
		if _, broad := policy.FindBroadAccess(doc, broadTarget); broad {
			return
		}
		resource := policy.Source{Policy: policy.Compile(doc)}
		for range 20 {
			const account = "777777777777"
			role := "arn:aws:iam::" + account + ":role/" + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "role")
			keys := contextKeys{
				{Name: "aws:principalaccount", Values: []string{account}}, {Name: "aws:principalarn", Values: []string{role}},
				{Name: "aws:resourceaccount", Values: []string{"111122223333"}}, {Name: "aws:principalisawsservice", Values: []string{"false"}},
			}
			for _, k := range []policy.ContextKey{
				{Name: "aws:sourcevpce", Values: []string{"vpce-2", "vpce-11", "x"}},
				{Name: "aws:principaltag/team", Values: []string{"a", "b", "ab", "c"}},
				{Name: "aws:username", Values: []string{"a", "b", "c"}},
				{Name: "aws:multifactorauthage", Values: []string{"0", "1", "2", "2.2", "2.5", "3"}},
				{Name: "aws:sourceip", Values: []string{"12.0.0.1", "2001:db8::1"}},
			} {
				if n := rapid.IntRange(0, len(k.Values)).Draw(t, k.Name); n < len(k.Values) {
					keys = append(keys, policy.ContextKey{Name: k.Name, Values: k.Values[n : n+1]})
				}
			}
			req := &policy.Request{
				Action: rapid.SampledFrom(broadTarget.Actions).Draw(t, "action"), Resource: broadTarget.Resource, Account: "111122223333",
				Caller:  policy.Caller{Kind: policy.RoleCaller, Account: account, ARN: "arn:aws:sts::" + account + ":assumed-role/a/s", RoleARN: role, UniqueID: "AROAX", Session: "s"},
				Context: keys,
			}
			if policy.Evaluate(req, &policy.Policies{Resource: resource, Identity: identity}).Allowed {
				t.Fatalf("the policy lets in %v", keys)
			}
		}
	})
}

func FuzzFindBroadAccess(f *testing.F) {
	for _, name := range []string{"allow.txtar", "deny.txtar"} {
		archive, err := txtar.ParseFile(filepath.Join("testdata", "broad", name))
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			f.Add(string(file.Data))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.HasPrefix(text, "{") {
			text = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"},{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*",` + text + `}]}`
		}
		doc, err := policy.ParseResourcePolicy(text)
		if err != nil {
			return
		}
		if b, _ := policy.FindBroadAccess(doc, broadTarget); b != nil && b.Request != nil && !allowed(t, doc, b) {
			t.Errorf("%v: the policy does not allow it", b)
		}
	})
}

func BenchmarkFindBroadAccess(b *testing.B) {
	doc := mustResourcePolicy(b, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"a"}}},{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}}]}`)
	for b.Loop() {
		if _, broad := policy.FindBroadAccess(doc, broadTarget); broad {
			b.Fatal("broad")
		}
	}
}
