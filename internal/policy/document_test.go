package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arca/internal/arn"
	"arca/internal/policy"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// A whole policy, with every element where the evaluation and its explanation expect
// it.
func TestDocument(t *testing.T) {
	text := `{
  "Id": "p1",
  "Version": "2012-10-17",
  "Statement": [{
    "Sid": "Read",
    "Effect": "Allow",
    "Principal": {"AWS": ["123456789012", "arn:aws:iam::123456789012:role/x/app"],
                  "Service": "lambda.amazonaws.com"},
    "Action": ["secretsmanager:Get*", "*"],
    "NotResource": "arn:aws:s3:::b/${aws:PrincipalTag/t, 'd'}?${*}",
    "Condition": {
      "ForAnyValue:StringLikeIfExists": {"aws:TagKeys": ["a*", 5]},
      "NotIpAddress": {"aws:SourceIp": "192.0.2.9/24", "aws:VpcSourceIp": []},
      "DateLessThan": {"aws:CurrentTime": "2026-01-31T10:20:30+01:00"},
      "NumericEquals": {"a:n": 1.50},
      "BinaryEquals": {"a:b": "QQ=="},
      "Null": {"a:c": true}
    }
  }]
}`
	got, err := policy.ParseResourcePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	at := func(line, column int) policy.Position { return policy.Position{Line: line, Column: column} }
	literal := func(s string) policy.Part { return policy.Part{Kind: policy.Literal, Text: s} }
	want := &policy.Document{
		Version: policy.Version2012,
		ID:      "p1",
		Statements: []policy.Statement{{
			Position: at(4, 17),
			Sid:      "Read",
			Effect:   policy.Allow,
			Principals: &policy.Principals{Position: at(7, 18), List: []policy.Principal{
				{Position: at(7, 27), Kind: policy.Account, Value: "123456789012", ARN: arn.ARN{Account: "123456789012"}},
				{Position: at(7, 43), Kind: policy.Role, Value: "arn:aws:iam::123456789012:role/x/app",
					ARN: arn.ARN{Partition: "aws", Service: "iam", Account: "123456789012", Resource: "role/x/app"}},
				{Position: at(8, 30), Kind: policy.Service, Value: "lambda.amazonaws.com"},
			}},
			Actions: policy.Actions{Position: at(9, 15), List: []policy.Action{
				{Position: at(9, 16), Service: "secretsmanager", Name: "Get*"},
				{Position: at(9, 39), Service: "*", Name: "*"},
			}},
			Resources: &policy.Resources{Position: at(10, 20), Not: true, List: []policy.Resource{{
				Position: at(10, 20),
				Pattern: policy.Pattern{
					Text: "arn:aws:s3:::b/${aws:PrincipalTag/t, 'd'}?${*}",
					Parts: []policy.Part{
						literal("arn:aws:s3:::b/"),
						{Kind: policy.Variable, Text: "aws:PrincipalTag/t", Default: "d", HasDefault: true},
						{Kind: policy.AnyOne},
						literal("*"),
					},
				},
			}}},
			Conditions: []policy.Condition{
				{
					Position: at(12, 42), Key: "aws:TagKeys",
					Operator: policy.Operator{Quantifier: policy.ForAnyValue, Name: "StringLike", Family: policy.StringFamily, IfExists: true},
					Values: []policy.Value{
						{Position: at(12, 58), Text: "a*", Pattern: policy.Pattern{Text: "a*", Parts: []policy.Part{literal("a"), {Kind: policy.AnyRun}}}},
						{Position: at(12, 64), Text: "5", Pattern: policy.Pattern{Text: "5", Parts: []policy.Part{literal("5")}}},
					},
				},
				{
					Position: at(13, 24), Key: "aws:SourceIp",
					Operator: policy.Operator{Name: "NotIpAddress", Family: policy.IPFamily, Negated: true},
					Values:   []policy.Value{{Position: at(13, 40), Text: "192.0.2.9/24", Prefix: netip.MustParsePrefix("192.0.2.0/24")}},
				},
				{
					Position: at(13, 56), Key: "aws:VpcSourceIp",
					Operator: policy.Operator{Name: "NotIpAddress", Family: policy.IPFamily, Negated: true},
				},
				{
					Position: at(14, 24), Key: "aws:CurrentTime",
					Operator: policy.Operator{Name: "DateLessThan", Family: policy.DateFamily},
					Values:   []policy.Value{{Position: at(14, 43), Text: "2026-01-31T10:20:30+01:00", Time: time.Date(2026, 1, 31, 9, 20, 30, 0, time.UTC)}},
				},
				{
					Position: at(15, 25), Key: "a:n",
					Operator: policy.Operator{Name: "NumericEquals", Family: policy.NumericFamily},
					Values:   []policy.Value{{Position: at(15, 32), Text: "1.50", Number: big.NewRat(3, 2)}},
				},
				{
					Position: at(16, 24), Key: "a:b",
					Operator: policy.Operator{Name: "BinaryEquals", Family: policy.BinaryFamily},
					Values:   []policy.Value{{Position: at(16, 31), Text: "QQ==", Bytes: []byte("A")}},
				},
				{
					Position: at(17, 16), Key: "a:c",
					Operator: policy.Operator{Name: "Null", Family: policy.NullFamily},
					Values:   []policy.Value{{Position: at(17, 23), Text: "true", Bool: true}},
				},
			},
		}},
	}
	strict := cmp.Options{
		cmpopts.EquateComparable(netip.Prefix{}),
		cmp.Comparer(func(a, b *big.Rat) bool { return (a == nil) == (b == nil) && (a == nil || a.Cmp(b) == 0) }),
	}
	if diff := cmp.Diff(want, got, strict); diff != "" {
		t.Errorf("ParseResourcePolicy (-want +got):\n%s", diff)
	}
	checkRoundTrip(t, policy.ParseResourcePolicy, got)
}

// In documents of the old version, ${…} is text.
func TestOldVersionHasNoVariables(t *testing.T) {
	doc, err := policy.ParseIdentityPolicy(`{"Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}*"}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.Part{{Kind: policy.Literal, Text: "arn:aws:s3:::b/${aws:username}"}, {Kind: policy.AnyRun}}
	if diff := cmp.Diff(want, doc.Statements[0].Resources.List[0].Pattern.Parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

// In operators that compare for equality, wildcards are text.
func TestEqualityHasNoWildcards(t *testing.T) {
	doc, err := policy.ParseIdentityPolicy(condition(`{"StringEquals":{"a:b":"x*${?}?"}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.Part{{Kind: policy.Literal, Text: "x*??"}}
	if diff := cmp.Diff(want, doc.Statements[0].Conditions[0].Values[0].Pattern.Parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

// Clients are told principals, services and everything else apart.
func TestErrorKinds(t *testing.T) {
	tests := []struct {
		name  string
		parse parseFunc
		text  string
		want  policy.ErrorKind
		iam   string
	}{
		{"not JSON", policy.ParseResourcePolicy, `{`, policy.NotJSON, "This policy contains invalid Json"},
		{"not a policy", policy.ParseResourcePolicy, `{}`, policy.BadGrammar, "Syntax errors in policy."},
		{"member twice", policy.ParseResourcePolicy, `{"Id":"a","Id":"a"}`, policy.BadGrammar, "Syntax errors in policy."},
		{"principal", policy.ParseResourcePolicy, principal(`{"AWS":"x"}`), policy.BadPrincipal, `Invalid principal in policy: "AWS":"x"`},
		{"provider", policy.ParseResourcePolicy, principal(`{"Federated":"x"}`), policy.BadPrincipal, "Federated principals must be valid domain names or SAML metadata ARNs"},
		{"principal without type", policy.ParseResourcePolicy, principal(`"x"`), policy.BadPrincipal, `Invalid principal in policy: "STAR":"x"`},
		{"version", policy.ParseIdentityPolicy, `{"Version":"2013-10-17"}`, policy.BadGrammar, "The policy must contain a valid version string"},
		{"same Sid", policy.ParseIdentityPolicy, `{"Statement":[{"Sid":"A","Effect":"Deny","Action":"*","Resource":"*"},{"Sid":"A","Effect":"Deny","Action":"*","Resource":"*"}]}`, policy.BadGrammar, "Statement IDs (SID) in a single policy must be unique."},
		{"other action in a trust policy", policy.ParseTrustPolicy, trustPolicy("Action", `["sts:AssumeRole","s3:Get*"]`), policy.BadGrammar, "AssumeRole policy may only specify STS AssumeRole actions."},
		{"any action in a trust policy", policy.ParseTrustPolicy, trustPolicy("Action", `"*"`), policy.BadGrammar, "AssumeRole policy may only specify STS AssumeRole actions."},
		{"resource in a trust policy", policy.ParseTrustPolicy, trustPolicy("Resource", `"*"`), policy.BadGrammar, "Has prohibited field Resource"},
		{"service", policy.ParseResourcePolicy, principal(`{"Service":"x"}`), policy.BadServiceName, `Invalid principal in policy: "SERVICE":"x"`},
		{"unwanted principal", policy.ParseIdentityPolicy, resourcePolicy(), policy.UnwantedPrincipal, "Policy document should not specify a principal."},
		{"operator", policy.ParseIdentityPolicy, condition(`{"stringEquals":{}}`), policy.BadGrammar, "Invalid Condition type : stringEquals"},
		{"vendor", policy.ParseIdentityPolicy, identityPolicy("Action", `"*:Get"`), policy.BadGrammar, "Vendor * is not valid"},
		{"colons", policy.ParseIdentityPolicy, identityPolicy("Action", `"a:b:c"`), policy.BadGrammar, "Actions/Condition can contain only one colon."},
		{"resource", policy.ParseIdentityPolicy, identityPolicy("Resource", `"b"`), policy.BadGrammar, `Resource b must be in ARN format or "*".`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.parse(tt.text)
			got, ok := errors.AsType[*policy.SyntaxError](err)
			if !ok || got.Kind != tt.want || got.Text != tt.iam {
				t.Errorf("parse %s: error = %+v, want kind %d, text %q", tt.text, got, tt.want, tt.iam)
			}
		})
	}
}

// Errors quote no more than a few words.
func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("é", 20_000)
	for _, text := range []string{
		fmt.Sprintf(`{%q:1}`, long),
		identityPolicy("Action", fmt.Sprintf("%q", long)),
		identityPolicy("Resource", fmt.Sprintf("%q", long)),
		identityPolicy("Resource", fmt.Sprintf("%q", "arn:aws:s3:::${"+long)),
		identityPolicy("Sid", fmt.Sprintf("%q", long)),
		condition(fmt.Sprintf(`{%q:{}}`, long)),
		condition(fmt.Sprintf(`{"Bool":{%q:true}}`, long)),
		condition(fmt.Sprintf(`{"Bool":{"a:b":%q}}`, long)),
	} {
		_, err := policy.ParseIdentityPolicy(text)
		syntax, ok := errors.AsType[*policy.SyntaxError](err)
		if !ok || len(syntax.Reason) > 300 || len(syntax.Text) > 300 || !strings.Contains(syntax.Reason, "…") {
			t.Errorf("parse %.60s…: error = %v", text, err)
		}
	}
}

// A corpus of policies as people write them.
func TestCorpus(t *testing.T) {
	parsers := map[string]parseFunc{
		"resource": policy.ParseResourcePolicy,
		"identity": policy.ParseIdentityPolicy,
		"trust":    policy.ParseTrustPolicy,
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %d policies, error %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			kind, _, _ := strings.Cut(name, "-")
			doc, err := parsers[kind](string(raw))
			if err != nil {
				t.Fatal(err)
			}
			checkRoundTrip(t, parsers[kind], doc)
			// White space and the order of elements mean nothing.
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				t.Fatal(err)
			}
			sorted, err := json.MarshalIndent(v, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parsers[kind](string(sorted)); err != nil {
				t.Errorf("with sorted elements: %v", err)
			}
			for _, other := range []string{"resource", "identity", "trust"} {
				if _, err := parsers[other](string(raw)); err == nil && other != kind {
					t.Errorf("is accepted as a policy of type %s", other)
				}
			}
		})
	}
}

// drawPolicy draws policy texts, most of them good, some of them nearly so.
func drawPolicy(t *rapid.T) string {
	str := rapid.SampledFrom([]string{"*", "a", "", "s3:*", "s3:Get?", "arn:aws:s3:::b", "arn:aws:s3:*", "arn:aws:iam::123456789012:root",
		"123456789012", "true", "5", "2026-01-01", "192.0.2.0/24", "QQ==", "${aws:x}", "${aws:x, 'y'}", "${", "lambda.amazonaws.com", "Read1", "é🔑\"\\"})
	scalar := rapid.Custom(func(t *rapid.T) any {
		if rapid.IntRange(0, 9).Draw(t, "other") == 0 {
			return rapid.SampledFrom([]any{true, 1.5, nil, []any{}, map[string]any{}}).Draw(t, "scalar")
		}
		return str.Draw(t, "string")
	})
	values := func(pick *rapid.Generator[any]) *rapid.Generator[any] {
		return rapid.Custom(func(t *rapid.T) any {
			if rapid.Bool().Draw(t, "list") {
				return rapid.SliceOfN(pick, 0, 3).Draw(t, "values")
			}
			return pick.Draw(t, "value")
		})
	}
	of := func(s ...string) *rapid.Generator[any] {
		return rapid.Custom(func(t *rapid.T) any {
			if rapid.IntRange(0, 19).Draw(t, "odd") == 0 {
				return scalar.Draw(t, "any")
			}
			return rapid.SampledFrom(s).Draw(t, "one")
		})
	}
	st := map[string]any{
		"Effect":   of("Allow", "Deny").Draw(t, "effect"),
		"Action":   values(of("*", "s3:Get*", "iam:PassRole")).Draw(t, "action"),
		"Resource": values(of("*", "arn:aws:s3:::b/${aws:x, 'y'}", "arn:aws:sqs:*")).Draw(t, "resource"),
	}
	if rapid.Bool().Draw(t, "withPrincipal") {
		st["Principal"] = map[string]any{
			"AWS":     values(of("*", "123456789012", "arn:aws:iam::123456789012:user/a")).Draw(t, "aws"),
			"Service": values(of("ec2.amazonaws.com")).Draw(t, "service"),
		}
	}
	if rapid.Bool().Draw(t, "withCondition") {
		op := rapid.SampledFrom([]string{"StringEquals", "ForAnyValue:StringLikeIfExists", "ArnLike", "Bool", "Null", "NumericLessThan", "DateEquals", "IpAddress", "BinaryEquals", "Nonsense"})
		key := rapid.SampledFrom([]string{"aws:x", "AWS:X", "s3:prefix", "nonsense"})
		st["Condition"] = rapid.MapOfN(op, rapid.MapOfN(key, values(scalar), 0, 2), 0, 3).Draw(t, "condition")
	}
	doc := map[string]any{"Statement": []any{st}}
	if v := rapid.SampledFrom([]string{"", "2012-10-17", "2008-10-17"}).Draw(t, "version"); v != "" {
		doc["Version"] = v
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { roundTrip(t, drawPolicy(t)) })
}

// roundTrip checks on any text that a parser gives an error of the promised type, or a
// document whose print is the same document. It tells how many parsers took it.
func roundTrip(t interface{ Fatalf(string, ...any) }, text string) (accepted int) {
	for _, parse := range []parseFunc{policy.ParseResourcePolicy, policy.ParseIdentityPolicy, policy.ParseTrustPolicy} {
		doc, err := parse(text)
		if err != nil {
			syntax, ok := errors.AsType[*policy.SyntaxError](err)
			if !ok || doc != nil || syntax.Position.Line < 1 || syntax.Position.Column < 1 || syntax.Text == "" {
				t.Fatalf("parse %s: document %v, error %#v", text, doc, err)
			}
			continue
		}
		accepted++
		again, err := parse(doc.String())
		if err != nil {
			t.Fatalf("parse %s, printed as %s: %v", text, doc, err)
		}
		if diff := cmp.Diff(doc, again, same); diff != "" {
			t.Fatalf("%s, printed as %s, means something else:\n%s", text, doc, diff)
		}
		if again.String() != doc.String() {
			t.Fatalf("%s prints as %s, then as %s", text, doc, again)
		}
	}
	return accepted
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(raw))
	}
	f.Add(resourcePolicy())
	f.Add(identityPolicy("Resource", `"arn:aws:s3:::b/${aws:x, '}'}${*}$"`))
	f.Add(trustPolicy("Principal", `{"Federated":"accounts.google.com"}`))
	f.Add(condition(`{"NumericEquals":{"a:b":[1,"2.5"]},"DateEquals":{"a:b":"2026"},"IpAddress":{"a:b":"::1"}}`))
	f.Fuzz(func(t *testing.T, text string) { roundTrip(t, text) })
}

func BenchmarkParse(b *testing.B) {
	raw, err := os.ReadFile("testdata/resource-shared-secret.json")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.ParseResourcePolicy(string(raw)); err != nil {
			b.Fatal(err)
		}
	}
}
