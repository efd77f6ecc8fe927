package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"arca/internal/policy"
)

// keys is a Context from pairs of key and value; a key given again has several values.
type keys []string

func (k keys) Lookup(dst []string, key string) ([]string, bool) {
	ok := false
	for i := 0; i < len(k); i += 2 {
		if k[i] == key {
			dst, ok = append(dst, k[i+1]), true
		}
	}
	return dst, ok
}

func mustIdentity(t testing.TB, text string) policy.Source {
	t.Helper()
	doc, err := policy.ParseIdentityPolicy(text)
	if err != nil {
		t.Fatalf("ParseIdentityPolicy(%s): %v", text, err)
	}
	return policy.Source{Name: "p", Policy: policy.Compile(doc)}
}

func mustResource(t testing.TB, text string) policy.Source {
	t.Helper()
	doc, err := policy.ParseResourcePolicy(text)
	if err != nil {
		t.Fatalf("ParseResourcePolicy(%s): %v", text, err)
	}
	return policy.Source{Name: "resource policy", Policy: policy.Compile(doc)}
}

const (
	account = "123456789012"
	secret  = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:MyApp/db-a1B2c3"
)

var anna = policy.Caller{
	Kind: policy.UserCaller, Account: account, UniqueID: "AIDAEXAMPLEANNA00001",
	ARN: "arn:aws:iam::123456789012:user/anna",
}

// typical is a user who reads a secret: one policy of the application, one that keeps
// strangers out, a resource policy.
func typical(t testing.TB) (*policy.Request, *policy.Policies) {
	req := &policy.Request{
		Action: "secretsmanager:GetSecretValue", Resource: secret, Account: account, Caller: anna,
		Context: keys{
			"aws:sourceip", "192.0.2.77", "aws:securetransport", "true", "aws:username", "anna",
			"aws:principaltag/team", "MyApp", "aws:resourcetag/team", "MyApp",
			"aws:currenttime", "2026-10-21T10:00:00Z", "secretsmanager:versionstage", "AWSCURRENT",
		},
	}
	return req, &policy.Policies{
		Resource: mustResource(t, `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:role/app"},"Action":"secretsmanager:GetSecretValue","Resource":"*"},
			{"Effect":"Deny","Principal":"*","Action":"secretsmanager:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`),
		Identity: []policy.Source{
			mustIdentity(t, `{"Version":"2012-10-17","Statement":[
				{"Effect":"Allow","Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret"],
				 "Resource":"arn:aws:secretsmanager:*:123456789012:secret:${aws:PrincipalTag/team}/*",
				 "Condition":{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}},
				{"Effect":"Allow","Action":"secretsmanager:ListSecrets","Resource":"*"}]}`),
			mustIdentity(t, `{"Version":"2012-10-17","Statement":[
				{"Effect":"Deny","Action":"*","Resource":"*","Condition":{
					"NotIpAddress":{"aws:SourceIp":["192.0.2.0/24","203.0.113.0/24"]},
					"Bool":{"aws:ViaAWSService":"false"}}}]}`),
		},
	}
}

// large are ten policies of 6 KB. Each has statements of many services; one in six
// concerns the request.
func large(t testing.TB) (*policy.Request, *policy.Policies) {
	req, ps := typical(t)
	ps.Identity = nil
	services := []string{"s3", "kms", "ec2", "dynamodb", "sqs", "secretsmanager"}
	for n := range 10 {
		var b strings.Builder
		b.WriteString(`{"Version":"2012-10-17","Statement":[`)
		for i := 0; ; i++ {
			s := services[i%len(services)]
			statement := fmt.Sprintf(`{"Sid":"S%dx%d","Effect":%q,"Action":["%s:Get*","%s:Describe*","%s:List*"],"Resource":["arn:aws:%s:*:123456789012:secret:Team%dx%d/*"],"Condition":{"StringEquals":{"aws:ResourceTag/team":["t%d","u%d"]}}}`,
				n, i, []string{"Allow", "Deny"}[i%2], s, s, s, s, n, i, n, i)
			if b.Len()+len(statement) > 6000 {
				break
			}
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(statement)
		}
		b.WriteString(`]}`)
		ps.Identity = append(ps.Identity, mustIdentity(t, b.String()))
	}
	return req, ps
}

// crowded are ten policies of 6 KB, of which every statement is about the action and
// the beginning of the resource: the worst that the index can meet.
func crowded(t testing.TB) (*policy.Request, *policy.Policies) {
	req, ps := typical(t)
	ps.Identity = nil
	for n := range 10 {
		var b strings.Builder
		b.WriteString(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"secretsmanager:Get*","Resource":[`)
		for i := 0; b.Len() < 5800; i++ {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"arn:aws:secretsmanager:eu-west-1:123456789012:secret:Other%dx%d/*"`, n, i)
		}
		b.WriteString(`]}]}`)
		ps.Identity = append(ps.Identity, mustIdentity(t, b.String()))
	}
	return req, ps
}

func TestTypicalDecisionDoesNotAllocate(t *testing.T) {
	for name, build := range map[string]func(testing.TB) (*policy.Request, *policy.Policies){
		"typical": typical, "large": large, "crowded": crowded,
	} {
		req, ps := build(t)
		if got := policy.Evaluate(req, ps).Allowed; got != (name == "typical") {
			t.Errorf("%s: allowed = %v", name, got)
		}
		if n := testing.AllocsPerRun(1000, func() { policy.Evaluate(req, ps) }); n != 0 && !poolsForget {
			t.Errorf("%s: %v allocations per decision", name, n)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	for _, bm := range []struct {
		name  string
		build func(testing.TB) (*policy.Request, *policy.Policies)
	}{{"Typical", typical}, {"TenPolicies", large}, {"TenPoliciesWorst", crowded}} {
		b.Run(bm.name, func(b *testing.B) {
			req, ps := bm.build(b)
			b.ReportAllocs()
			for b.Loop() {
				policy.Evaluate(req, ps)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	_, ps := large(b)
	doc := ps.Identity[0].Policy.Document()
	b.ReportAllocs()
	for b.Loop() {
		policy.Compile(doc)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	_, ps := large(b)
	text := ps.Identity[0].Policy.Document().String()
	var c policy.Cache
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Identity(text); err != nil {
			b.Fatal(err)
		}
	}
}
