package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/policy"
)

// oneCondition is a policy with one condition on the key t:t.
func oneCondition(t *rapid.T, operator string, values ...string) *policy.Document {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = fmt.Sprintf("%q", v)
	}
	doc, err := policy.ParseResourcePolicy(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{"` +
		operator + `":{"t:t":[` + strings.Join(list, ",") + `]}}}}`)
	if err != nil {
		t.Skip("not a policy")
	}
	return doc
}

// met asks the evaluator about the condition.
func met(doc *policy.Document, value string) bool {
	return policy.Evaluate(&policy.Request{
		Action: "a:b", Resource: "*", Account: "111111111111", Caller: policy.Caller{Kind: policy.ServiceCaller, Service: "x.amazonaws.com"},
		Context: contextKeys{{Name: "t:t", Values: []string{value}}},
	}, &policy.Policies{Resource: policy.Source{Policy: policy.Compile(doc)}}).Allowed
}

// The search understands patterns exactly as decisions do: otherwise it could overlook
// a way in.
func TestBroadLanguages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := func(name, of string, most int) string {
			return rapid.StringOfN(rapid.RuneFrom([]rune(of)), 0, most, -1).Draw(t, name)
		}
		var doc *policy.Document
		var value string
		switch operator := rapid.SampledFrom([]string{"StringLike", "StringEquals", "StringEqualsIgnoreCase", "ArnLike", "Bool"}).Draw(t, "operator"); operator {
		case "ArnLike":
			arn := func(name, of string) string {
				parts := make([]string, 6)
				for i := range parts {
					parts[i] = word(name, of, 3)
				}
				if rapid.Bool().Draw(t, name+" begins with arn") {
					parts[0] = "arn"
				}
				if rapid.Bool().Draw(t, name+" has more colons") {
					parts[5] += ":" + word(name, of, 2)
				}
				return strings.Join(parts, ":")
			}
			doc, value = oneCondition(t, operator, arn("pattern", "arn*?"), rapid.SampledFrom([]string{"*", "arn:a:a:a:a:a"}).Draw(t, "other")), arn("value", "arn")
			if rapid.Bool().Draw(t, "other only") {
				doc = oneCondition(t, operator, arn("pattern", "arn*?"))
			}
		case "Bool":
			doc, value = oneCondition(t, operator, rapid.SampledFrom([]string{"true", "false", "TRUE"}).Draw(t, "bool")), rapid.SampledFrom([]string{"true", "True", "false", "x"}).Draw(t, "value")
		default:
			doc, value = oneCondition(t, operator, word("pattern", "aAkKſé*?:", 6), word("second", "aé*", 3)), word("value", "aAkKſÉé:", 6)
		}
		if got, want := policy.BroadHolds(doc, value), met(doc, value); got != want {
			t.Fatalf("%s\n%q is in its language: %v, the condition is met: %v", doc, value, got, want)
		}
	})
}

// What spell finds is right, and where it finds that there is nothing, no short text is.
func TestSpell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patterns := func(name string, least int) []string {
			return rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab*?")), 0, 4, -1), least, 3).Draw(t, name)
		}
		in, out := [][]string{patterns("first", 1), patterns("second", 1)}, patterns("without", 0)
		like := func(list []string, s string) bool {
			return len(list) > 0 && met(oneCondition(t, "StringLike", list...), s)
		}
		right := func(s string) bool { return like(in[0], s) && like(in[1], s) && !like(out, s) }
		text, found, none := policy.Spell(in, out)
		switch {
		case found == none:
			t.Fatalf("found %v, none %v", found, none)
		case found && !right(text):
			t.Fatalf("%q is not in %q without %q", text, in, out)
		case none:
			for _, s := range []string{"", "a", "b", "c", "ab", "ba", "cc", "abc", "aab", "bcb", "acbc", "abab", "cccc", "caab", "abcab"} {
				if right(s) {
					t.Fatalf("%q is in %q without %q, and was not found", s, in, out)
				}
			}
		}
	})
}

// For every value there is a candidate that the same conditions are met by.
func TestBroadCandidates(t *testing.T) {
	address := rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.IntRange(0, 3).Draw(t, "version") == 0 {
			return netip.AddrFrom16([16]byte{0x20, byte(rapid.IntRange(0, 3).Draw(t, "byte")), 15: byte(rapid.IntRange(0, 255).Draw(t, "last"))})
		}
		return netip.AddrFrom4([4]byte{byte(rapid.IntRange(0, 3).Draw(t, "first") * 64), 0, 0, byte(rapid.IntRange(0, 255).Draw(t, "last"))})
	})
	number := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"-2", "-1.5", "0", "0.1", "0.11", "1", "2", "2.000001"}).Draw(t, "number")
	})
	date := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5Z", "2020-01-01T00:00:01Z", "2021", "0", "-70000000000", "99999999999999"}).Draw(t, "date")
	})
	rapid.Check(t, func(t *rapid.T) {
		var operators, values []string
		var value string
		switch rapid.IntRange(0, 2).Draw(t, "family") {
		case 0:
			operators = []string{"IpAddress"}
			for range rapid.IntRange(1, 6).Draw(t, "ranges") {
				a := address.Draw(t, "address")
				p, err := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, p.String())
			}
			value = address.Draw(t, "value").String()
		case 1:
			operators = []string{"NumericEquals", "NumericLessThan", "NumericGreaterThanEquals"}
			values, value = rapid.SliceOfN(number, 1, 5).Draw(t, "numbers"), number.Draw(t, "value")
		default:
			operators = []string{"DateEquals", "DateLessThan", "DateGreaterThanEquals"}
			values, value = rapid.SliceOfN(date, 1, 5).Draw(t, "dates"), date.Draw(t, "value")
		}
		sort := func(v string) (s string) {
			for _, operator := range operators {
				for _, of := range values {
					s += fmt.Sprint(met(oneCondition(t, operator, of), v), " ")
				}
			}
			return s
		}
		want := sort(value)
		candidates := policy.BroadCandidates(oneCondition(t, operators[0], values...))
		for _, c := range candidates {
			if sort(c) == want {
				return
			}
		}
		t.Fatalf("%v of %q: no candidate of %q is like %q", operators, values, candidates, value)
	})
}
