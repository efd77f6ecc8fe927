package policy_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"arca/internal/policy"
)

// A policy is written by one tenant and evaluated on processors that all share. Long
// values of a request that nearly match a long pattern, again and again, were what cost
// more than a second each.
func TestHostilePatternsAreCheap(t *testing.T) {
	const most = 250 * time.Millisecond // hundreds of times what a decision of this size takes
	for name, tt := range map[string]struct{ pattern, value string }{
		"text that nearly fits everywhere": {"*" + strings.Repeat("a", 10_000) + "b*", strings.Repeat("a", 60_000)},
		"many runs":                        {strings.Repeat("*a", 10_000) + "*b", strings.Repeat("a", 60_000)},
		"many runs of one and more":        {strings.Repeat("*a?", 7000) + "b", strings.Repeat("a", 60_000)},
		"single characters, short value":   {"*" + strings.Repeat("a?", 500) + "b*", strings.Repeat("a", 2000)},
		"longer than the value":            {"*" + strings.Repeat("?", 10_000) + "*", strings.Repeat("a", 9999)},
	} {
		compiled := mustCompile(t, identityPolicy("Condition", fmt.Sprintf(`{"StringLike":{"aws:UserAgent":%q}}`, tt.pattern)))
		req := &policy.Request{
			Action: "s3:GetObject", Resource: "arn:aws:s3:::b/o", Account: "111111111111",
			Caller:  policy.Caller{Kind: policy.UserCaller, Account: "111111111111"},
			Context: foldedContext{"aws:UserAgent": {tt.value}},
		}
		ps := &policy.Policies{Identity: []policy.Source{{Policy: compiled}}}
		begin := time.Now()
		policy.Evaluate(req, ps)
		if took := time.Since(begin); took > most {
			t.Errorf("%s: one decision took %v", name, took)
		}
	}
}

// Text is searched for in another way where it is long: the answer must be the same.
func TestLongTextIsFound(t *testing.T) {
	long := strings.Repeat("é€a", 200)
	for _, tt := range []struct {
		pattern, value string
		want           bool
	}{
		{"*" + long + "x*", strings.Repeat("é€a", 300) + "x", true},
		{"*" + long + "x*", strings.Repeat("é€a", 300) + "y", false},
		{"*" + long + "*" + long + "*", strings.Repeat("é€a", 400), true},
		{"*" + long + "*" + long + "*", strings.Repeat("é€a", 399), false},
		{"*" + long + "*", "\x80\xa9" + long, true}, // no text, which a pattern may still pass over
		{"*" + long + "*", long[1:], false},
	} {
		if got := policy.Match(tt.pattern, tt.value, false); got != tt.want {
			t.Errorf("Match(%.20q…, %.20q…) = %v", tt.pattern, tt.value, got)
		}
	}
}

// foldedContext finds keys as policy.Context promises.
type foldedContext map[string][]string

func (m foldedContext) Lookup(dst []string, key string) ([]string, bool) {
	for name, values := range m {
		if strings.EqualFold(name, key) {
			return append(dst, values...), true
		}
	}
	return dst, false
}

// Tag keys are letters of any script, and there are some that lower case turns into
// others, or into text of another length. A Deny on such a tag has to find it.
func TestKeysOfEveryScript(t *testing.T) {
	for _, tag := range []string{"GİZLİ", "GRÖSSE", "ẞ", "K", "Å", "Σας", "ſtatus", "Dž"} {
		compiled := mustCompile(t, identityPolicy(
			"Effect", `"Deny"`,
			"Condition", fmt.Sprintf(`{"StringEquals":{"aws:ResourceTag/%s":"yes"},"StringLike":{"aws:PrincipalArn":"${aws:ResourceTag/%s}*"}}`, tag, tag)))
		req := &policy.Request{
			Action: "s3:GetObject", Resource: "arn:aws:s3:::b/o", Account: "111111111111",
			Caller:  policy.Caller{Kind: policy.RootCaller, Account: "111111111111"},
			Context: foldedContext{"aws:ResourceTag/" + tag: {"yes"}, "aws:PrincipalArn": {"yes!"}},
		}
		if d := policy.Evaluate(req, &policy.Policies{Identity: []policy.Source{{Policy: compiled}}}); !d.Explicit {
			t.Errorf("a Deny on the tag %s does not match a resource that has it", tag)
		}
	}
}

// The bound of the cache is one of memory, also for policies that are written to take
// as much of it as they can.
func TestCacheWeighsWhatItKeeps(t *testing.T) {
	list := func(n int, one string) string { return "[" + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + "]" }
	for name, text := range map[string]string{
		"numbers":   identityPolicy("Condition", `{"NumericEquals":{"a:b":`+list(3000, "1")+`}}`),
		"patterns":  identityPolicy("Condition", `{"StringLike":{"a:b":`+list(1500, `"*"`)+`}}`),
		"wildcards": identityPolicy("Condition", `{"StringLike":{"a:b":"`+strings.Repeat("*", 6000)+`"}}`),
		"actions":   identityPolicy("Action", list(1000, `"a:*"`)),
		"resources": identityPolicy("Resource", list(1500, `"*"`)),
	} {
		const n = 20
		c := policy.NewCache(n, 1<<30)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range n {
			if _, err := c.Identity(text + strings.Repeat(" ", i)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		_, weight := c.Size()
		if grown := int(after.HeapAlloc) - int(before.HeapAlloc); grown > weight*3/2 {
			t.Errorf("%s: %d texts of %d bytes take %d bytes and count for %d", name, n, len(text), grown, weight)
		}
	}
}

func mustCompile(t *testing.T, text string) *policy.Compiled {
	t.Helper()
	doc, err := policy.ParseIdentityPolicy(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return policy.Compile(doc)
}

// White space between values is free up to a point; inside of them it is as good a
// pattern as any.
func TestSizeOfWhiteSpace(t *testing.T) {
	for text, want := range map[string]int{
		" { \t\n\r } ":               2,
		`{"a b": " c "}`:             13,
		`{"a\" b" : 1}`:              11,
		"{\"\u00a0\u3000\"\u00a0}":   7,
		`{"a\\" : " "}`:              11,
		strings.Repeat(" ", 100_000): 0,
	} {
		if got := policy.Size(text); got != want {
			t.Errorf("Size(%.30q) = %d, want %d", text, got, want)
		}
	}
	spaces := identityPolicy("Condition", `{"StringLike":{"aws:UserAgent":"`+strings.Repeat("* ", 10_000)+`"}}`)
	if policy.Within(spaces, 10_000) {
		t.Error("a long pattern of white space counts for nothing")
	}
	if padded := identityPolicy() + strings.Repeat("\n", 60_000); policy.Within(padded, 2048) {
		t.Error("white space without end is within a quota of 2048 characters")
	}
}
