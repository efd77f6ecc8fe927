package policy_test

import (
	"fmt"
	"slices"
	"testing"

	"arca/internal/policy"
)

// meets evaluates one condition under both effects. It fails when the two differ and
// the case does not say so.
func meets(t *testing.T, operator, values string, context policy.Context) (allow, deny bool) {
	t.Helper()
	text := `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"a:yes","Resource":"*","Condition":{%[1]q:{"a:Key":%[2]s}}},
		{"Effect":"Deny","Action":"a:no","Resource":"*","Condition":{%[1]q:{"a:Key":%[2]s}}}]}`
	ps := &policy.Policies{Identity: []policy.Source{mustIdentity(t, fmt.Sprintf(text, operator, values))}}
	req := policy.Request{Action: "a:yes", Resource: "*", Account: account, Caller: anna, Context: context}
	allow = policy.Evaluate(&req, ps).Allowed
	checkExplanation(t, &req, ps)
	req.Action = "a:no"
	deny = policy.Evaluate(&req, ps).Explicit
	checkExplanation(t, &req, ps)
	return allow, deny
}

// has is a Context with values for a:Key; absent has none.
func has(values ...string) policy.Context { return contextKeys{{Name: "A:KEY", Values: values}} }

func absent() policy.Context { return contextKeys{{Name: "a:Other", Values: []string{"x"}}} }

func TestConditions(t *testing.T) {
	tests := []struct {
		operator, values string
		context          policy.Context
		want             bool
	}{
		// Strings.
		{"StringEquals", `"a"`, has("a"), true},
		{"StringEquals", `"a"`, has("A"), false},
		{"StringEquals", `["a","b"]`, has("b"), true},
		{"StringEquals", `["a","b"]`, has("c"), false},
		{"StringEquals", `"a*"`, has("ab"), false},
		{"StringEquals", `"a*"`, has("a*"), true},
		{"StringEquals", `""`, has(""), true},
		{"StringEquals", `5`, has("5"), true},
		{"StringEquals", `true`, has("true"), true},
		{"StringNotEquals", `["a","b"]`, has("b"), false},
		{"StringNotEquals", `["a","b"]`, has("c"), true},
		{"StringEqualsIgnoreCase", `"Straße"`, has("STRAßE"), true},
		{"StringEqualsIgnoreCase", `"a"`, has("b"), false},
		{"StringNotEqualsIgnoreCase", `"a"`, has("A"), false},
		{"StringNotEqualsIgnoreCase", `"a"`, has("b"), true},
		{"StringLike", `"a*"`, has("ab"), true},
		{"StringLike", `"a?"`, has("aé"), true},
		{"StringLike", `"a?"`, has("a"), false},
		{"StringLike", `["x","*b*"]`, has("abc"), true},
		{"StringLike", `"*"`, has(""), true},
		{"StringLike", `"A*"`, has("ab"), false},
		{"StringNotLike", `["a*","b*"]`, has("bc"), false},
		{"StringNotLike", `["a*","b*"]`, has("c"), true},

		// Numbers.
		{"NumericEquals", `5`, has("5.0"), true},
		{"NumericEquals", `"007"`, has("+7"), true},
		{"NumericEquals", `["1","2.50"]`, has("2.5"), true},
		{"NumericEquals", `5`, has("50"), false},
		{"NumericEquals", `0`, has("-0"), true},
		{"NumericEquals", `5`, has("five"), false},
		{"NumericEquals", `100`, has("1e2"), false},
		{"NumericNotEquals", `5`, has("6"), true},
		{"NumericNotEquals", `5`, has("5.00"), false},
		{"NumericNotEquals", `5`, has("five"), true},
		{"NumericLessThan", `10`, has("9.99"), true},
		{"NumericLessThan", `10`, has("10"), false},
		{"NumericLessThan", `-1`, has("-1.5"), true},
		{"NumericLessThan", `1`, has("-2"), true},
		{"NumericLessThanEquals", `10`, has("10.0"), true},
		{"NumericLessThanEquals", `10`, has("10.1"), false},
		{"NumericGreaterThan", `10`, has("9"), false},
		{"NumericGreaterThan", `10`, has("11"), true},
		{"NumericGreaterThan", `-10`, has("-9"), true},
		{"NumericGreaterThanEquals", `10`, has("10"), true},
		{"NumericGreaterThanEquals", `[100,10]`, has("50"), true},

		// Dates.
		{"DateEquals", `"2026-01-31T10:20:30Z"`, has("2026-01-31T11:20:30+01:00"), true},
		{"DateEquals", `"2026-01-31T10:20Z"`, has("1769854800"), true},
		{"DateEquals", `"2026-01-31"`, has("2026-01-31T00:00:01Z"), false},
		{"DateNotEquals", `"2026-01-31"`, has("2026-01-31T00:00:01Z"), true},
		{"DateNotEquals", `"2026-01-31"`, has("tomorrow"), true},
		{"DateLessThan", `"2026"`, has("2025-12-31T23:59:59Z"), true},
		{"DateLessThan", `"2026"`, has("2026-01-01T00:00:00Z"), false},
		{"DateLessThan", `"2026"`, has("yesterday"), false},
		{"DateLessThanEquals", `"2026-01"`, has("2026-01-01T00:00:00Z"), true},
		{"DateGreaterThan", `"2026-01-31T10:20:30Z"`, has("2026-01-31T10:20:30.001Z"), true},
		{"DateGreaterThan", `1769854800`, has("1769854801"), true},
		{"DateGreaterThanEquals", `"2026-01-31"`, has("2026-01-30T23:59:59Z"), false},

		// Truth values.
		{"Bool", `true`, has("true"), true},
		{"Bool", `"True"`, has("TRUE"), true},
		{"Bool", `"true"`, has("false"), false},
		{"Bool", `["true","false"]`, has("false"), true},
		{"Bool", `"true"`, has("1"), false},
		{"Bool", `"false"`, has("no"), false},

		// Bytes.
		{"BinaryEquals", `"QmluYXJ5"`, has("QmluYXJ5"), true},
		{"BinaryEquals", `"QmluYXJ5"`, has("qmluYXJ5"), false},
		{"BinaryEquals", `["QQ==","Qg=="]`, has("Qg=="), true},

		// Addresses.
		{"IpAddress", `"192.0.2.0/24"`, has("192.0.2.255"), true},
		{"IpAddress", `"192.0.2.0/24"`, has("192.0.3.0"), false},
		{"IpAddress", `"192.0.2.7"`, has("192.0.2.7"), true},
		{"IpAddress", `["10.0.0.0/8","2001:db8::/32"]`, has("2001:DB8::1"), true},
		{"IpAddress", `"192.0.2.0/24"`, has("::ffff:192.0.2.1"), true},
		{"IpAddress", `"::ffff:192.0.2.0/120"`, has("192.0.2.1"), true},
		{"IpAddress", `"0.0.0.0/0"`, has("2001:db8::1"), false},
		{"IpAddress", `"::/0"`, has("192.0.2.1"), false},
		{"IpAddress", `"0.0.0.0/0"`, has("client"), false},
		{"IpAddress", `"fe80::/10"`, has("fe80::1%eth0"), false},
		{"NotIpAddress", `["192.0.2.0/24","198.51.100.0/24"]`, has("198.51.100.1"), false},
		{"NotIpAddress", `["192.0.2.0/24","198.51.100.0/24"]`, has("203.0.113.1"), true},
		{"NotIpAddress", `"192.0.2.0/24"`, has("client"), true},

		// ARNs.
		{"ArnEquals", `"arn:aws:sns:*:123456789012:t*"`, has("arn:aws:sns:eu-west-1:123456789012:topic"), true},
		{"ArnLike", `"arn:aws:sns:*:123456789012:t*"`, has("arn:aws:sns:eu-west-1:123456789012:topic"), true},
		{"ArnLike", `"arn:aws:sns:*:123456789012:t*"`, has("arn:aws:sns:eu-west-1:999999999999:topic"), false},
		{"ArnLike", `"arn:aws:sns:*:*:*"`, has("topic"), false},
		{"ArnLike", `"*"`, has("arn:aws:sns:eu-west-1:123456789012:topic"), true},
		{"ArnNotEquals", `"arn:aws:sns:*:*:*"`, has("arn:aws:sqs:eu-west-1:123456789012:q"), true},
		{"ArnNotLike", `"arn:aws:sns:*:*:*"`, has("arn:aws:sns:eu-west-1:123456789012:topic"), false},
		{"ArnNotLike", `"arn:aws:sns:*:*:*"`, has("topic"), true},

		// Null.
		{"Null", `"true"`, has("a"), false},
		{"Null", `"true"`, absent(), true},
		{"Null", `"true"`, has(), true},
		{"Null", `"false"`, has("a"), true},
		{"Null", `"false"`, has(""), true},
		{"Null", `"false"`, absent(), false},
		{"Null", `["true","false"]`, absent(), true},
		{"Null", `["true","false"]`, has("a"), true},
		{"ForAllValues:Null", `"false"`, has("a", "b"), true},

		// A key that is not there.
		{"StringEquals", `"a"`, absent(), false},
		{"StringLike", `"*"`, absent(), false},
		{"NumericLessThan", `5`, absent(), false},
		{"DateGreaterThan", `"2026"`, absent(), false},
		{"Bool", `"false"`, absent(), false},
		{"BinaryEquals", `"QQ=="`, absent(), false},
		{"IpAddress", `"0.0.0.0/0"`, absent(), false},
		{"ArnLike", `"*"`, absent(), false},
		{"StringNotEquals", `"a"`, absent(), true},
		{"StringNotLike", `"*"`, absent(), true},
		{"NumericNotEquals", `5`, absent(), true},
		{"DateNotEquals", `"2026"`, absent(), true},
		{"NotIpAddress", `"0.0.0.0/0"`, absent(), true},
		{"ArnNotLike", `"*"`, absent(), true},
		{"StringEquals", `"a"`, has(), false},
		{"StringNotEquals", `"a"`, has(), true},
		{"StringEquals", `"a"`, nil, false},

		// IfExists.
		{"StringEqualsIfExists", `"a"`, has("a"), true},
		{"StringEqualsIfExists", `"a"`, has("b"), false},
		{"StringEqualsIfExists", `"a"`, absent(), true},
		{"StringNotEqualsIfExists", `"a"`, absent(), true},
		{"BoolIfExists", `"true"`, absent(), true},
		{"BoolIfExists", `"true"`, has("false"), false},
		{"ForAnyValue:StringLikeIfExists", `"a*"`, absent(), true},
		{"ForAnyValue:StringLikeIfExists", `"a*"`, has("b"), false},

		// Keys with several values.
		{"ForAllValues:StringEquals", `["a","b"]`, has("a", "b"), true},
		{"ForAllValues:StringEquals", `["a","b"]`, has("a"), true},
		{"ForAllValues:StringEquals", `["a","b"]`, has("a", "c"), false},
		{"ForAllValues:StringEquals", `["a","b"]`, absent(), true},
		{"ForAllValues:StringEquals", `["a","b"]`, has(), true},
		{"ForAllValues:StringEquals", `"a"`, has(""), false},
		{"ForAllValues:StringNotEquals", `["a","b"]`, has("c", "d"), true},
		{"ForAllValues:StringNotEquals", `["a","b"]`, has("c", "a"), false},
		{"ForAnyValue:StringEquals", `["a","b"]`, has("c", "b"), true},
		{"ForAnyValue:StringEquals", `["a","b"]`, has("c", "d"), false},
		{"ForAnyValue:StringEquals", `["a","b"]`, absent(), false},
		{"ForAnyValue:StringEquals", `["a","b"]`, has(), false},
		{"ForAnyValue:StringNotEquals", `["a","b"]`, has("a", "c"), true},
		{"ForAnyValue:StringNotEquals", `["a","b"]`, has("a", "b"), false},
		{"ForAnyValue:StringNotEquals", `["a","b"]`, absent(), false},
		{"ForAnyValue:IpAddress", `"192.0.2.0/24"`, has("10.0.0.1", "192.0.2.1"), true},

		// A condition without values.
		{"StringEquals", `[]`, has("a"), false},
		{"StringNotEquals", `[]`, has("a"), true},
		{"DateLessThan", `[]`, has("2026"), false},
		{"Null", `[]`, has("a"), false},
		{"ForAllValues:StringEquals", `[]`, has("a"), false},
		{"ForAllValues:StringEquals", `[]`, absent(), true},
		{"ForAnyValue:StringEquals", `[]`, has("a"), false},
		{"StringEqualsIfExists", `[]`, absent(), true},
	}
	for _, tt := range tests {
		allow, deny := meets(t, tt.operator, tt.values, tt.context)
		if allow != tt.want || deny != tt.want {
			t.Errorf("%s %s with %v: met = %v for an Allow, %v for a Deny, want %v", tt.operator, tt.values, tt.context, allow, deny, tt.want)
		}
	}
}

// An operator without a quantifier that meets several values errs on the safe side.
func TestSeveralValuesWithoutQuantifier(t *testing.T) {
	tests := []struct {
		operator, values string
		context          policy.Context
		allow, deny      bool
	}{
		{"StringEquals", `"a"`, has("a", "b"), false, true},
		{"StringEquals", `"a"`, has("a", "a"), true, true},
		{"StringEquals", `"a"`, has("b", "c"), false, false},
		{"StringEquals", `["a","b"]`, has("a", "b"), true, true},
		{"StringNotEquals", `"a"`, has("a", "b"), false, true},
		{"StringNotEquals", `"a"`, has("b", "c"), true, true},
		{"Bool", `"true"`, has("true", "false"), false, true},
	}
	for _, tt := range tests {
		allow, deny := meets(t, tt.operator, tt.values, tt.context)
		if allow != tt.allow || deny != tt.deny {
			t.Errorf("%s %s with %v: met = %v for an Allow, %v for a Deny, want %v, %v",
				tt.operator, tt.values, tt.context, allow, deny, tt.allow, tt.deny)
		}
	}
}

// All conditions of a statement must be met.
func TestConditionsAreJoined(t *testing.T) {
	ps := &policy.Policies{Identity: []policy.Source{mustIdentity(t, condition(
		`{"StringEquals":{"a:x":"1","a:y":"2"},"Bool":{"a:z":"true"}}`))}}
	for _, tt := range []struct {
		x, y, z string
		want    bool
	}{{"1", "2", "true", true}, {"0", "2", "true", false}, {"1", "0", "true", false}, {"1", "2", "false", false}} {
		req := policy.Request{Action: "s3:GetObject", Resource: "*", Account: account, Caller: anna, Context: keys{"a:x", tt.x, "a:y", tt.y, "a:z", tt.z}}
		if got := policy.Evaluate(&req, ps).Allowed; got != tt.want {
			t.Errorf("with %+v: allowed = %v", tt, got)
		}
	}
}

// A value that is not text must not become a wildcard.
func TestVariablesAreLiteralBytes(t *testing.T) {
	ps := &policy.Policies{Identity: []policy.Source{mustIdentity(t, identityPolicy("Resource", `"arn:aws:s3:::b/${aws:userid}"`))}}
	for _, value := range []string{"\xfe", "\xff", "a\xfe", "*", "?"} {
		req := policy.Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/a", Account: account, Caller: anna, Context: keys{"aws:userid", value}}
		if policy.Evaluate(&req, ps).Allowed {
			t.Errorf("value %q of a variable is a wildcard", value)
		}
	}
}

func TestContextKeys(t *testing.T) {
	s := mustIdentity(t, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::b/${aws:username}/${aws:PrincipalTag/x, 'y'}"],
		 "Condition":{"StringEquals":{"aws:ResourceTag/t":["${AWS:USERNAME}","${aws:userid}"]},"Bool":{"aws:SecureTransport":"true"}}},
		{"Effect":"Deny","Action":"s3:*","NotResource":"*","Condition":{"Null":{"AWS:securetransport":"true"}}}]}`)
	want := []string{"aws:PrincipalTag/x", "aws:ResourceTag/t", "aws:SecureTransport", "aws:userid", "aws:username"}
	if got := s.Policy.ContextKeys(); !slices.Equal(got, want) {
		t.Errorf("ContextKeys() = %v, want %v", got, want)
	}
	if got := mustIdentity(t, identityPolicy()).Policy.ContextKeys(); len(got) != 0 {
		t.Errorf("ContextKeys() = %v, want none", got)
	}
}

// Only a pattern for all actions matches what is no action.
func TestActionWithoutService(t *testing.T) {
	for actions, want := range map[string]bool{`"*"`: true, `"s3:*"`: false, `["iam:*","secretsmanager:Get*"]`: false} {
		ps := &policy.Policies{Identity: []policy.Source{mustIdentity(t, identityPolicy("Action", actions))}}
		for _, action := range []string{"", "s3", "Get"} {
			req := &policy.Request{Action: action, Resource: "*", Account: account, Caller: anna}
			if got := policy.Evaluate(req, ps).Allowed; got != want {
				t.Errorf("%s allows %q = %v, want %v", actions, action, got, want)
			}
			checkExplanation(t, req, ps)
		}
	}
}
