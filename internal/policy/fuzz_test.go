package policy_test

import (
	"strings"
	"testing"

	"arca/internal/policy"
)

// FuzzEvaluate decides and explains with any policy text in every place it fits, and
// checks what must hold whatever the text is.
func FuzzEvaluate(f *testing.F) {
	f.Add(resourcePolicy("Action", `"secretsmanager:*"`), "secretsmanager:GetSecretValue", secret, "a:b", "x")
	f.Add(identityPolicy("Resource", `"arn:aws:s3:::b/${a:b, '}'}${*}$?*"`), "s3:GetObject", "arn:aws:s3:::b/x*$yz", "a:b", "*")
	f.Add(trustPolicy("Principal", `{"AWS":["AROAEXAMPLEAPP000001:s1","123456789012"]}`), "sts:AssumeRole", "arn:aws:iam::123456789012:role/r", "sts:ExternalId", "")
	f.Add(resourcePolicy("Effect", `"Deny"`, "Principal", "", "NotPrincipal", `{"AWS":"123456789012"}`), "s3:Get", "*", "a:b", "c")
	for _, c := range []string{
		`{"StringLike":{"a:b":["*?${a:b}*","x"]}}`, `{"NumericLessThan":{"a:b":5}}`, `{"DateGreaterThan":{"a:b":"2026-01-01"}}`,
		`{"IpAddress":{"a:b":"192.0.2.0/24"}}`, `{"ArnLike":{"a:b":"arn:*:*:*:*:${a:b}"}}`, `{"ForAllValues:StringNotEqualsIgnoreCase":{"a:b":["x","Y"]}}`,
		`{"Null":{"a:b":"true"}}`, `{"BinaryEquals":{"a:b":"QQ=="}}`, `{"BoolIfExists":{"a:b":"false"}}`,
	} {
		f.Add(condition(c), "s3:GetObject", "arn:aws:s3:::b", "a:b", "192.0.2.1")
	}
	f.Fuzz(func(t *testing.T, text, action, resource, key, value string) {
		if len(text)+len(action)+len(resource)+len(value) > 8<<10 {
			return
		}
		context := contextKeys{{Name: key, Values: []string{value}}, {Name: "a:many", Values: []string{value, "x"}}}
		all := mustIdentity(t, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
		nothing := mustIdentity(t, `{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`)
		for kind, parse := range map[string]parseFunc{
			"resource": policy.ParseResourcePolicy, "identity": policy.ParseIdentityPolicy, "trust": policy.ParseTrustPolicy,
		} {
			doc, err := parse(text)
			if err != nil {
				continue
			}
			source := policy.Source{Name: kind, Policy: policy.Compile(doc)}
			source.Policy.ContextKeys()
			if kind != "identity" {
				same, err := policy.Rewrite(text, func(p policy.Principal) (string, bool) { return p.Value, false })
				if err != nil || same != text {
					t.Fatalf("Rewrite(%q) without a change = %q, %v", text, same, err)
				}
				spelled, err := policy.Rewrite(text, func(p policy.Principal) (string, bool) { return p.Value, true })
				if again, err2 := parse(spelled); err != nil || err2 != nil || again.String() != doc.String() {
					t.Fatalf("Rewrite(%q) with the same principals = %q, %v, %v", text, spelled, err, err2)
				}
			}
			for _, caller := range []policy.Caller{
				anna,
				{Kind: policy.RoleCaller, Account: account, UniqueID: "AROAEXAMPLEAPP000001", Session: "s1",
					ARN: "arn:aws:sts::123456789012:assumed-role/r/s1", RoleARN: "arn:aws:iam::123456789012:role/r"},
				{Kind: policy.RootCaller, Account: "999999999999", ARN: "arn:aws:iam::999999999999:root"},
				{},
			} {
				req := &policy.Request{Action: action, Resource: resource, Account: account, Caller: caller, Context: context, ResourceDecides: kind == "trust"}
				ps := &policy.Policies{Identity: []policy.Source{all}, Resource: source}
				if kind == "identity" {
					ps = &policy.Policies{Identity: []policy.Source{source}, HasBoundary: true, Boundary: all, HasSession: true, Session: []policy.Source{source, all}}
				}
				checkExplanation(t, req, ps)
				if kind != "identity" && caller.Kind == policy.Nobody && policy.Evaluate(req, ps).Allowed && !strings.Contains(text, "*") && !strings.Contains(text, `\`) {
					t.Fatalf("%q allows nobody", text)
				}
				ps.Identity = append(ps.Identity, nothing)
				if policy.Evaluate(req, ps).Allowed {
					t.Fatalf("%q allows in spite of a Deny", text)
				}
			}
		}
	})
}
