package policy_test

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"

	"arca/internal/policy"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// same compares documents by what they mean.
var same = cmp.Options{
	cmpopts.IgnoreTypes(policy.Position{}),
	cmpopts.EquateComparable(netip.Prefix{}),
	cmp.Comparer(func(a, b *big.Rat) bool { return (a == nil) == (b == nil) && (a == nil || a.Cmp(b) == 0) }),
}

type parseFunc func(text string) (*policy.Document, error)

// Shorthand for the tables. A statement starts from one that every grammar accepts;
// elements of the same name are replaced, those whose value is "" left out.
func resourcePolicy(elements ...string) string {
	return statement(append([]string{"Effect", `"Allow"`, "Principal", `"*"`, "Action", `"s3:*"`, "Resource", `"*"`}, elements...)...)
}

func identityPolicy(elements ...string) string {
	return statement(append([]string{"Effect", `"Allow"`, "Action", `"s3:*"`, "Resource", `"*"`}, elements...)...)
}

func trustPolicy(elements ...string) string {
	return statement(append([]string{"Effect", `"Allow"`, "Principal", `"*"`, "Action", `"sts:AssumeRole"`}, elements...)...)
}

func statement(elements ...string) string {
	values := make(map[string]string)
	var names []string
	for i := 0; i < len(elements); i += 2 {
		if _, ok := values[elements[i]]; !ok {
			names = append(names, elements[i])
		}
		values[elements[i]] = elements[i+1]
	}
	var members []string
	for _, n := range names {
		if values[n] != "" {
			members = append(members, fmt.Sprintf("%q: %s", n, values[n]))
		}
	}
	return `{"Version": "2012-10-17", "Statement": {` + strings.Join(members, ", ") + `}}`
}

func principal(value string) string { return resourcePolicy("Principal", value) }

func condition(value string) string { return identityPolicy("Condition", value) }

func TestParse(t *testing.T) {
	resource, identity, trust := policy.ParseResourcePolicy, policy.ParseIdentityPolicy, policy.ParseTrustPolicy
	const (
		ok      = ""
		account = "arn:aws:iam::123456789012:"
	)
	tests := []struct {
		name  string
		parse parseFunc
		text  string
		want  string // part of the reason; "" if the policy is good
	}{
		// The document.
		{"least resource policy", resource, resourcePolicy(), ok},
		{"least identity policy", identity, identityPolicy(), ok},
		{"least trust policy", trust, trustPolicy(), ok},
		{"no version", identity, `{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`, ok},
		{"old version", identity, `{"Version":"2008-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`, ok},
		{"version last", identity, `{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}],"Version":"2012-10-17"}`, ok},
		{"unknown version", identity, `{"Version":"2012-10-18","Statement":[]}`, "Version is neither"},
		{"version of the wrong type", identity, `{"Version":20121017,"Statement":[]}`, "Version is neither"},
		{"id", resource, `{"Id":"some id","Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}`, ok},
		{"id in an identity policy", identity, `{"Id":"some id","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`, "no Id"},
		{"id of the wrong type", resource, `{"Id":1,"Statement":[]}`, "Id is a number"},
		{"not JSON", resource, `{"Statement":`, "ends"},
		{"a list", resource, `[]`, "is a list, not an object"},
		{"a string", resource, `"*"`, "is a string"},
		{"no statement", resource, `{"Version":"2012-10-17"}`, "no Statement"},
		{"empty list of statements", resource, `{"Statement":[]}`, "Statement is empty"},
		{"statement of the wrong type", resource, `{"Statement":"x"}`, "Statement is a string"},
		{"statement in a list of the wrong type", resource, `{"Statement":[null]}`, "is null"},
		{"empty statement", resource, `{"Statement":{}}`, "no Effect"},
		{"unknown element", resource, `{"Comment":"x","Statement":[]}`, `no policy element "Comment"`},
		{"element in lower case", resource, `{"statement":[]}`, `no policy element "statement"`},
		{"two statements elements", resource, `{"Statement":[],"Statement":[]}`, "given twice"},

		// Elements of a statement.
		{"all elements", resource, resourcePolicy("Sid", `"A b"`, "Condition", `{"Bool":{"aws:SecureTransport":true}}`), ok},
		{"sid", identity, identityPolicy("Sid", `"Abc1"`), ok},
		{"empty sid", identity, identityPolicy("Sid", `""`), ok},
		{"sid with a space", identity, identityPolicy("Sid", `"A b"`), "letters and digits"},
		{"sid of the wrong type", identity, identityPolicy("Sid", `1`), "Sid is a number"},
		{"sid twice", identity, `{"Statement":[{"Sid":"A","Effect":"Deny","Action":"*","Resource":"*"},{"Sid":"A","Effect":"Deny","Action":"*","Resource":"*"}]}`, "two statements"},
		{"no effect", identity, identityPolicy("Effect", ""), "no Effect"},
		{"effect in lower case", identity, identityPolicy("Effect", `"deny"`), "Effect is neither"},
		{"effect as a list", identity, identityPolicy("Effect", `["Deny"]`), "Effect is neither"},
		{"unknown element of a statement", identity, identityPolicy("Comment", `"x"`), `no statement element "Comment"`},
		{"element of a statement in lower case", identity, identityPolicy("action", `"*"`), `no statement element "action"`},

		// Principal.
		{"no principal", resource, resourcePolicy("Principal", ""), "neither Principal"},
		{"no principal in a trust policy", trust, trustPolicy("Principal", ""), "neither Principal"},
		{"principal in an identity policy", identity, identityPolicy("Principal", `"*"`), "has no Principal"},
		{"not principal in an identity policy", identity, identityPolicy("NotPrincipal", `"*"`), "has no NotPrincipal"},
		{"principal and not principal", resource, resourcePolicy("Effect", `"Deny"`, "NotPrincipal", `"*"`), "both Principal and NotPrincipal"},
		{"not principal denies", resource, resourcePolicy("Effect", `"Deny"`, "Principal", "", "NotPrincipal", `{"AWS":"123456789012"}`), ok},
		{"not principal allows", resource, resourcePolicy("Principal", "", "NotPrincipal", `{"AWS":"123456789012"}`), "NotPrincipal stands"},
		{"not principal in a trust policy", trust, trustPolicy("Effect", `"Deny"`, "Principal", "", "NotPrincipal", `"*"`), "has no NotPrincipal"},
		{"everyone", resource, principal(`"*"`), ok},
		{"anybody of AWS", resource, principal(`{"AWS":"*"}`), ok},
		{"account id", resource, principal(`{"AWS":"123456789012"}`), ok},
		{"account id without its type", resource, principal(`"123456789012"`), "without its type"},
		{"account id as a number", resource, principal(`{"AWS":123456789012}`), "is a number"},
		{"account id too short", resource, principal(`{"AWS":"12345678901"}`), "is not an account"},
		{"root", resource, principal(`{"AWS":"` + account + `root"}`), ok},
		{"root of China", resource, principal(`{"AWS":"arn:aws-cn:iam::123456789012:root"}`), ok},
		{"below root", resource, principal(`{"AWS":"` + account + `root/x"}`), "is not the ARN"},
		{"user with path", resource, principal(`{"AWS":"` + account + `user/division/Anna"}`), ok},
		{"user without name", resource, principal(`{"AWS":"` + account + `user/"}`), "is not the ARN"},
		{"every user", resource, principal(`{"AWS":"` + account + `user/*"}`), "is not an account"},
		{"every account", resource, principal(`{"AWS":"arn:aws:iam::*:root"}`), "is not an account"},
		{"role", resource, principal(`{"AWS":["` + account + `role/app","` + account + `role/p/app"]}`), ok},
		{"group", resource, principal(`{"AWS":"` + account + `group/all"}`), "is not the ARN"},
		{"session", resource, principal(`{"AWS":"arn:aws:sts::123456789012:assumed-role/app/build-1"}`), ok},
		{"session without name", resource, principal(`{"AWS":"arn:aws:sts::123456789012:assumed-role/app"}`), "is not the ARN"},
		{"session with a short name", resource, principal(`{"AWS":"arn:aws:sts::123456789012:assumed-role/app/x"}`), "is not the ARN"},
		{"session with a long name", resource, principal(`{"AWS":"arn:aws:sts::123456789012:assumed-role/app/` + strings.Repeat("x", 65) + `"}`), "is not the ARN"},
		{"session with a name of other characters", resource, principal(`{"AWS":"arn:aws:sts::123456789012:assumed-role/app/a:b"}`), "is not the ARN"},
		{"session below a path", resource, principal(`{"AWS":"arn:aws:sts::123456789012:assumed-role/p/app/s1"}`), "is not the ARN"},
		{"session of a role by unique id", resource, principal(`{"AWS":"AROAQ3EGP2JCEXAMPLE1:build+1=a,b.c@d-e_f"}`), ok},
		{"session of a role by unique id without name", resource, principal(`{"AWS":"AROAQ3EGP2JCEXAMPLE1:"}`), "is not an account"},
		{"session of a user by unique id", resource, principal(`{"AWS":"AIDAQ3EGP2JCEXAMPLE1:build-1"}`), "is not an account"},
		{"federated user", resource, principal(`{"AWS":"arn:aws:sts::123456789012:federated-user/bob"}`), ok},
		{"federated user below a path", resource, principal(`{"AWS":"arn:aws:sts::123456789012:federated-user/a/b"}`), "is not the ARN"},
		{"unique id", resource, principal(`{"AWS":"AROAQ3EGP2JCEXAMPLE1"}`), ok},
		{"unique id in lower case", resource, principal(`{"AWS":"AROAq3EGP2JCEXAMPLE1"}`), "is not an account"},
		{"another ARN", resource, principal(`{"AWS":"arn:aws:s3:::bucket"}`), "is not an account"},
		{"ARN with a region", resource, principal(`{"AWS":"arn:aws:iam:us-east-1:123456789012:root"}`), "is not an account"},
		{"service", resource, principal(`{"Service":"lambda.amazonaws.com"}`), ok},
		{"services", resource, principal(`{"Service":["logs.eu-west-1.amazonaws.com","ec2.amazonaws.com.cn"]}`), ok},
		{"service without domain", resource, principal(`{"Service":"lambda"}`), "name of a service"},
		{"service of somebody else", resource, principal(`{"Service":"lambda.amazonaws.com.example.org"}`), "name of a service"},
		{"service with an empty label", resource, principal(`{"Service":".amazonaws.com"}`), "name of a service"},
		{"every service", resource, principal(`{"Service":"*"}`), "name of a service"},
		{"OIDC provider", trust, trustPolicy("Principal", `{"Federated":"`+account+`oidc-provider/oidc.example.org/id/1"}`), ok},
		{"OIDC provider whose URL ends in a slash", trust, trustPolicy("Principal", `{"Federated":"`+account+`oidc-provider/oidc.example.org/"}`), ok},
		{"OIDC provider with two slashes", trust, trustPolicy("Principal", `{"Federated":"`+account+`oidc-provider/oidc.example.org//"}`), "identity provider"},
		{"SAML provider with a slash", trust, trustPolicy("Principal", `{"Federated":"`+account+`saml-provider/corp/"}`), "identity provider"},
		{"SAML provider", trust, trustPolicy("Principal", `{"Federated":"`+account+`saml-provider/corp"}`), ok},
		{"known provider", trust, trustPolicy("Principal", `{"Federated":"accounts.google.com"}`), ok},
		{"provider that is a role", trust, trustPolicy("Principal", `{"Federated":"`+account+`role/x"}`), "identity provider"},
		{"every provider", trust, trustPolicy("Principal", `{"Federated":"*"}`), "identity provider"},
		{"canonical user", resource, principal(`{"CanonicalUser":"` + strings.Repeat("0a", 32) + `"}`), ok},
		{"canonical user too short", resource, principal(`{"CanonicalUser":"0a"}`), "canonical user"},
		{"several types", resource, principal(`{"Service":"ec2.amazonaws.com","AWS":["*","123456789012"]}`), ok},
		{"unknown type", resource, principal(`{"aws":"*"}`), `no type of principal "aws"`},
		{"type twice", resource, principal(`{"AWS":"*","AWS":"*"}`), "given twice"},
		{"no type", resource, principal(`{}`), "is empty"},
		{"empty list of principals", resource, principal(`{"AWS":[]}`), "is empty"},
		{"list of principals", resource, principal(`["*"]`), "is a list"},
		{"nested list of principals", resource, principal(`{"AWS":[["*"]]}`), "is a list"},

		// Action.
		{"any action", identity, identityPolicy("Action", `"*"`), ok},
		{"any action of any service", identity, identityPolicy("Action", `"*:*"`), ok},
		{"wildcards", identity, identityPolicy("Action", `["s3:Get*","s3:?etObject","S3:*Tag*"]`), ok},
		{"not action", identity, identityPolicy("Action", "", "NotAction", `"iam:*"`), ok},
		{"action and not action", identity, identityPolicy("NotAction", `"iam:*"`), "both Action and NotAction"},
		{"no action", identity, identityPolicy("Action", ""), "neither Action"},
		{"empty list of actions", identity, identityPolicy("Action", `[]`), "is empty"},
		{"action without service", identity, identityPolicy("Action", `"GetObject"`), "service:name"},
		{"action without name", identity, identityPolicy("Action", `"s3:"`), "service:name"},
		{"two colons", identity, identityPolicy("Action", `"s3:Get:Object"`), "more than one colon"},
		{"wildcard in the service", identity, identityPolicy("Action", `"s*:GetObject"`), "the service of action"},
		{"every service, one name", identity, identityPolicy("Action", `"*:GetObject"`), "the service of action"},
		{"space in the action", identity, identityPolicy("Action", `"s3: GetObject"`), "the name in action"},
		{"variable in the action", identity, identityPolicy("Action", `"s3:${x}"`), "the name in action"},
		{"endless action", identity, identityPolicy("Action", `"s3:`+strings.Repeat("a", 300)+`"`), "the name in action"},
		{"action of the wrong type", identity, identityPolicy("Action", `{"s3":"*"}`), "is an object"},
		{"action in a list of the wrong type", identity, identityPolicy("Action", `["s3:*",true]`), "is a Boolean"},

		// Resource.
		{"no resource", identity, identityPolicy("Resource", ""), "neither Resource"},
		{"resource in a trust policy", trust, trustPolicy("Resource", `"*"`), "has no Resource"},
		{"not resource", identity, identityPolicy("Resource", "", "NotResource", `"arn:aws:s3:::b/*"`), ok},
		{"resource and not resource", identity, identityPolicy("NotResource", `"*"`), "both Resource and NotResource"},
		{"empty list of resources", identity, identityPolicy("Resource", `[]`), "is empty"},
		{"ARN", identity, identityPolicy("Resource", `"arn:aws:secretsmanager:eu-west-1:123456789012:secret:App/db-??????"`), ok},
		{"wildcards in every part but the service", identity, identityPolicy("Resource", `"arn:*:s3:*-west-?:*:*"`), ok},
		{"shortened by a wildcard", identity, identityPolicy("Resource", `["arn:aws:sqs:*","arn:aws:sqs:eu-*","arn:aws:sqs:*:*"]`), ok},
		{"shortened without a wildcard", identity, identityPolicy("Resource", `"arn:aws:sqs:eu-west-1"`), "six parts"},
		{"no service", identity, identityPolicy("Resource", `"arn:*"`), "is not an ARN"},
		{"wildcard for the service", identity, identityPolicy("Resource", `"arn:aws:*:*:*:*"`), "does not name a service"},
		{"name", identity, identityPolicy("Resource", `"bucket/*"`), "is not an ARN"},
		{"empty resource", identity, identityPolicy("Resource", `""`), "is not an ARN"},
		{"other scheme", identity, identityPolicy("Resource", `"urn:aws:s3:::b"`), "is not an ARN"},
		{"unknown partition", identity, identityPolicy("Resource", `"arn:azure:s3:::b"`), "partition"},
		{"nothing named", identity, identityPolicy("Resource", `"arn:aws:s3:::"`), "names nothing"},
		{"space in the region", identity, identityPolicy("Resource", `"arn:aws:s3: ::b"`), "region or account"},
		{"letters of the world", identity, identityPolicy("Resource", `"arn:aws:s3:::b/été/鍵"`), ok},
		{"line end", identity, identityPolicy("Resource", `"arn:aws:s3:::b\n"`), "control character"},
		{"variable", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${aws:username}/*"`), ok},
		{"variable with default", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${aws:PrincipalTag/Team Name, 'no } team'}"`), ok},
		{"variables for characters", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${*}${?}${$}"`), ok},
		{"dollar alone", identity, identityPolicy("Resource", `"arn:aws:s3:::b/$1$"`), ok},
		{"variable for the account", identity, identityPolicy("Resource", `"arn:aws:s3::${aws:PrincipalAccount}:b"`), "region or account"},
		{"variable for all", identity, identityPolicy("Resource", `"${aws:ResourceArn}"`), "is not an ARN"},
		{"open variable", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${aws:username"`), "closing brace"},
		{"open default", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${aws:username, 'x}"`), "quotation mark"},
		{"default without quotation marks", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${aws:username, x}"`), "quotation marks"},
		{"default and more", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${aws:username, 'x' y}"`), "quotation marks"},
		{"empty variable", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${}"`), "is empty"},
		{"space in a variable", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${ aws:username }"`), "space at its edge"},
		{"variable without prefix", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${username}"`), "not a condition key"},
		{"nested variable", identity, identityPolicy("Resource", `"arn:aws:s3:::b/${aws:${aws:x}}"`), "not a condition key"},
		{"open variable before there were any", identity, `{"Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::b/${x"}}`, ok},
		{"open variable, version last", identity, `{"Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::b/${x"},"Version":"2012-10-17"}`, "closing brace"},

		// Condition.
		{"no conditions", identity, condition(`{}`), ok},
		{"no keys", identity, condition(`{"StringEquals":{}}`), ok},
		{"no values", identity, condition(`{"StringEquals":{"aws:username":[]}}`), ok},
		{"one value", identity, condition(`{"StringEquals":{"aws:username":"anna"}}`), ok},
		{"values of all types", identity, condition(`{"StringEquals":{"aws:username":["anna",1,-2.5e3,true,""]}}`), ok},
		{"condition as a list", identity, condition(`[]`), "Condition is a list"},
		{"keys as a list", identity, condition(`{"Bool":[]}`), "are a list"},
		{"value null", identity, condition(`{"StringEquals":{"aws:username":null}}`), "is null"},
		{"value as an object", identity, condition(`{"StringEquals":{"aws:username":{}}}`), "is an object"},
		{"nested list of values", identity, condition(`{"StringEquals":{"aws:username":[["a"]]}}`), "is a list"},
		{"unknown operator", identity, condition(`{"StringMatches":{"aws:username":"a"}}`), "no condition operator"},
		{"operator in other case", identity, condition(`{"stringEquals":{"aws:username":"a"}}`), "no condition operator"},
		{"quantifier in other case", identity, condition(`{"forAnyValue:StringEquals":{"aws:username":"a"}}`), "no condition operator"},
		{"quantifier alone", identity, condition(`{"ForAnyValue":{"aws:username":"a"}}`), "no condition operator"},
		{"two quantifiers", identity, condition(`{"ForAnyValue:ForAllValues:StringLike":{"aws:username":"a"}}`), "no condition operator"},
		{"IfExists alone", identity, condition(`{"IfExists":{"aws:username":"a"}}`), "no condition operator"},
		{"IfExists twice", identity, condition(`{"BoolIfExistsIfExists":{"aws:username":"a"}}`), "no condition operator"},
		{"Null if it exists", identity, condition(`{"NullIfExists":{"aws:username":"true"}}`), "no condition operator"},
		{"operator twice", identity, condition(`{"Bool":{"a:b":"true"},"Bool":{"a:c":"true"}}`), "given twice"},
		{"key without prefix", identity, condition(`{"Bool":{"SecureTransport":"true"}}`), "prefix:name"},
		{"key without name", identity, condition(`{"Bool":{"aws:":"true"}}`), "prefix:name"},
		{"key with a wildcard prefix", identity, condition(`{"Bool":{"*:SecureTransport":"true"}}`), "prefix:name"},
		{"key of a provider", identity, condition(`{"StringEquals":{"oidc.example.org/id/1:sub":"x"}}`), ok},
		{"key with a tag", identity, condition(`{"StringEquals":{"aws:RequestTag/Cost Center: A":"x"}}`), ok},
		{"endless key", identity, condition(`{"StringEquals":{"aws:` + strings.Repeat("a", 2000) + `":"x"}}`), "prefix:name"},
		{"key twice in different case", identity, condition(`{"Bool":{"aws:SecureTransport":"true","AWS:securetransport":"false"}}`), "different case"},
		{"key under two operators", identity, condition(`{"StringLike":{"a:b":"x*"},"StringNotLike":{"a:b":"xy*"}}`), ok},
		{"open variable in a string", identity, condition(`{"StringEquals":{"a:b":"${aws:username"}}`), "closing brace"},
		{"variable in a number", identity, condition(`{"NumericEquals":{"a:b":"${aws:x}"}}`), "needs a number"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := tt.parse(tt.text)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("parse %s: %v", tt.text, err)
				}
				checkRoundTrip(t, tt.parse, doc)
				return
			}
			syntax, ok := errors.AsType[*policy.SyntaxError](err)
			if !ok || !strings.Contains(syntax.Reason, tt.want) {
				t.Fatalf("parse %s: error = %v, want one with %q", tt.text, err, tt.want)
			}
			if syntax.Position.Line < 1 || syntax.Position.Column < 1 || syntax.Text == "" {
				t.Errorf("parse %s: error without place or text: %+v", tt.text, syntax)
			}
		})
	}
}

// checkRoundTrip checks that what a document prints means the same.
func checkRoundTrip(t *testing.T, parse parseFunc, doc *policy.Document) {
	t.Helper()
	again, err := parse(doc.String())
	if err != nil {
		t.Fatalf("parse printed policy %s: %v", doc, err)
	}
	if diff := cmp.Diff(doc, again, same); diff != "" {
		t.Errorf("printed policy %s means something else:\n%s", doc, diff)
	}
}

func TestValues(t *testing.T) {
	tests := []struct {
		operator string
		good     []string
		bad      []string
	}{
		{"Numeric", []string{"0", "-1", "+1", "2.50", ".5", "5.", "007", strings.Repeat("9", 64)},
			[]string{"", "-", ".", "1e3", "0x10", "1_000", "1.2.3", "1/2", "one", " 1", "1-", "Inf", strings.Repeat("9", 65)}},
		{"Date", []string{"2026", "2026-01", "2026-01-31", "2026-01-31T10:20Z", "2026-01-31T10:20:30Z", "2026-01-31T10:20:30.5+01:00", "1767225600", "0", "26"},
			[]string{"", "2026-13", "2026-02-30", "2026-1-1", "2026-01-31T10:20", "2026-01-31T5:20:30Z", "2026-01-31T10:20:30,5Z", "2026-01-31 10:20:30Z", "2026-01-31T10:20:30+0100", "tomorrow", "2026*", "99999999999999999999"}},
		{"Bool", []string{"true", "false", "True", "FALSE"}, []string{"", "yes", "1", "true "}},
		{"Null", []string{"true", "false"}, []string{"", "null", "0"}},
		{"Binary", []string{"", "QmluYXJ5", "QQ=="}, []string{"QQ", "QR==", "Q Q==", "*"}},
		{"IpAddress", []string{"192.0.2.1", "192.0.2.1/24", "0.0.0.0/0", "2001:db8::/32", "::1", "2001:DB8:1234:5678::/64"},
			[]string{"", "192.0.2", "192.0.2.1/33", "192.0.2.0/", "192.0.2.*", "192.0.02.1", "fe80::1%eth0", "example.org", "2001:db8::/129"}},
		{"Arn", []string{"arn:aws:s3:::b", "arn:aws:iam::123456789012:role/*", "*", "arn:*:*:*:*:*", "*:aws:s3:::b", "a*:aws:s3:::b", "${aws:SourceArn}", "arn:aws:sns:eu-west-1:${aws:PrincipalAccount}:t"},
			[]string{"", "cluster", "arn:aws:s3", "arn:aws:s3*", "urn:aws:s3:::b", "*:*", "?"}},
		{"String", []string{"", "*", "${*}", "anything at all", "$", "{}"}, []string{"${", "${}", "${a}"}},
	}
	operators := map[string][]string{
		"Numeric":   {"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"},
		"Date":      {"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"},
		"Bool":      {"Bool"},
		"Null":      {"Null"},
		"Binary":    {"BinaryEquals"},
		"IpAddress": {"IpAddress", "NotIpAddress"},
		"Arn":       {"ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike"},
		"String":    {"StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike"},
	}
	for _, tt := range tests {
		for _, name := range operators[tt.operator] {
			for _, prefix := range []string{"", "ForAllValues:", "ForAnyValue:"} {
				for _, suffix := range []string{"", "IfExists"} {
					op := prefix + name + suffix
					if name == "Null" && suffix != "" {
						continue
					}
					for _, v := range tt.good {
						doc, err := policy.ParseIdentityPolicy(condition(fmt.Sprintf(`{%q:{"a:b":%q}}`, op, v)))
						if err != nil {
							t.Errorf("%s with %q: %v", op, v, err)
							continue
						}
						if got := doc.Statements[0].Conditions[0].Operator.String(); got != op {
							t.Errorf("Operator(%s).String() = %s", op, got)
						}
						checkRoundTrip(t, policy.ParseIdentityPolicy, doc)
					}
					for _, v := range tt.bad {
						if _, err := policy.ParseIdentityPolicy(condition(fmt.Sprintf(`{%q:{"a:b":[%q]}}`, op, v))); err == nil {
							t.Errorf("%s with %q is accepted", op, v)
						}
					}
				}
			}
		}
	}
}
