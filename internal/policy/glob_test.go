package policy_test

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"arca/internal/policy"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "anything: at/all", true},
		{"**", "", true},
		{"?", "", false},
		{"?", "a", true},
		{"?", "é", true},
		{"?", "🔑", true},
		{"??", "é", false},
		{"*??", "鍵", false},
		{"*?", "鍵", true},
		{"??*", "鍵a", true},
		{"a", "A", false},
		{"a*", "a", true},
		{"a*", "ba", false},
		{"*a", "ba", true},
		{"*a", "ab", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"a*b*c", "abbc", true},
		{"a*b*c", "acb", false},
		{"*ab*ab*", "ab", false},
		{"*ab*ab*", "abab", true},
		{"*ab?ab", "ababab", false},
		{"*ab?ab", "abab-ab", true},
		{"a?c*", "abcd", true},
		{"*-??????", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-a1B2c3", true},
		{"*-??????", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-a1B2c", false},
		{"*é?", "xéy", true},
	}
	for _, tt := range tests {
		if got := policy.Match(tt.pattern, tt.text, false); got != tt.want {
			t.Errorf("Match(%q, %q) = %v, want %v", tt.pattern, tt.text, got, tt.want)
		}
	}
}

func TestMatchARN(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/app/x"
	tests := []struct {
		pattern, text string
		want          bool
	}{
		{role, role, true},
		{"*", role, true},
		{"arn:aws:iam::123456789012:role/*", role, true},
		{"arn:aws:iam::*:role/app/?", role, true},
		{"arn:*:*:*:*:*", role, true},
		{"arn:aws:iam:*:role/*", role, false}, // five parts
		{"arn:aws:iam:*:*:role/*", role, true},
		{"arn:aws:iam::123*:role/*", "arn:aws:iam::1234:x:role/y", false}, // a wildcard for a colon
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b/a:b", true},
		{"arn:aws:s3?::b", "arn:aws:s3:::b", false},
		{"*:aws:iam::123456789012:role/*", role, true},
		{"arn:aws:iam::123456789012:ROLE/*", role, false},
		{"*", "no ARN", false},
		{"*", "arn:aws:s3:::", true},
		{"arn:aws:s3:::*", "arn:aws:s3::", false},
		{"arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:root2", false},
	}
	for _, tt := range tests {
		if got := policy.Match(tt.pattern, tt.text, true); got != tt.want {
			t.Errorf("Match(%q, %q) as ARNs = %v, want %v", tt.pattern, tt.text, got, tt.want)
		}
	}
}

// naiveMatch tries every length for every *.
func naiveMatch(p, s []rune) bool {
	switch {
	case len(p) == 0:
		return len(s) == 0
	case p[0] == '*':
		return naiveMatch(p[1:], s) || len(s) > 0 && naiveMatch(p, s[1:])
	case len(s) == 0:
		return false
	}
	return (p[0] == '?' || p[0] == s[0]) && naiveMatch(p[1:], s[1:])
}

func TestMatchAgreesWithNaive(t *testing.T) {
	letters := rapid.SampledFrom([]rune("aab:é鍵"))
	pattern := rapid.StringOfN(rapid.OneOf(letters, rapid.SampledFrom([]rune("**?"))), 0, 8, -1)
	text := rapid.StringOfN(letters, 0, 10, -1)
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		p, s := pattern.Draw(t, "pattern"), text.Draw(t, "text")
		want := naiveMatch([]rune(p), []rune(s))
		if got := policy.Match(p, s, false); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", p, s, got, want)
		}
		if want {
			matched++
		}
	})
	if matched == 0 {
		t.Error("no drawn pattern matched")
	}
}

// ARNs are compared part by part.
func TestMatchARNAgreesWithNaive(t *testing.T) {
	part := rapid.StringOfN(rapid.SampledFrom([]rune("ab*?")), 0, 3, -1)
	text := rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 0, 3, -1)
	rapid.Check(t, func(t *rapid.T) {
		p, s := []string{"arn"}, []string{"arn"}
		want := true
		for range 5 {
			a, b := part.Draw(t, "pattern"), text.Draw(t, "text")
			p, s = append(p, a), append(s, b)
			want = want && naiveMatch([]rune(a), []rune(b))
		}
		if got := policy.Match(strings.Join(p, ":"), strings.Join(s, ":"), true); got != want {
			t.Fatalf("Match(%q, %q) as ARNs = %v, want %v", p, s, got, want)
		}
	})
}

// A pattern that makes naive matchers try everything costs no more than the product of
// the lengths.
func TestHostilePatterns(t *testing.T) {
	text := strings.Repeat("a", 2048)
	patterns := []string{
		strings.Repeat("a*", 2000) + "b",
		strings.Repeat("*a", 2000) + "b",
		"*" + strings.Repeat("a", 1000) + "b*",
		"*" + strings.Repeat("?", 1000) + "b*",
		strings.Repeat("*a?", 600) + "*b",
	}
	start := time.Now()
	for _, p := range patterns {
		if policy.Match(p, text, false) {
			t.Errorf("Match(%.20q…) = true", p)
		}
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("hostile patterns took %v", d)
	}
}

func TestCompareNumbers(t *testing.T) {
	number := rapid.StringMatching(`[+-]?(0{0,2}[0-9]{1,3}(\.[0-9]{0,3})?|\.[0-9]{1,3})`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		x, ok := new(big.Rat).SetString(a)
		y, ok2 := new(big.Rat).SetString(b)
		got, ok3 := policy.CompareNumbers(a, b)
		if !ok || !ok2 || !ok3 {
			t.Fatalf("%s or %s is no number", a, b)
		}
		if want := x.Cmp(y); got != want {
			t.Fatalf("CompareNumbers(%s, %s) = %d, want %d", a, b, got, want)
		}
	})
}
