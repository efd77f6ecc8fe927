package sts_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/sts"
)

// TestTagsProperties: no session has two tags that look alike, none loses or changes
// what it inherits, and every transitive key is that of a tag.
func TestTagsProperties(t *testing.T) {
	key := rapid.SampledFrom([]string{"a", "A", "b", "B", "c", "aws:x", "Team", "team"})
	rapid.Check(t, func(t *rapid.T) {
		var asked []iam.Tag
		for _, k := range rapid.SliceOfN(key, 0, 4).Draw(t, "asked") {
			asked = append(asked, iam.Tag{Key: k, Value: "asked"})
		}
		caller := &call.Session{}
		seen := make(map[string]bool)
		for _, k := range rapid.SliceOfN(key, 0, 4).Draw(t, "caller's") {
			if folded := strings.ToLower(k); !seen[folded] {
				seen[folded] = true
				caller.Tags = append(caller.Tags, call.Tag{Key: k, Value: "inherited"})
				if rapid.Bool().Draw(t, "transitive") {
					caller.TransitiveTags = append(caller.TransitiveTags, k)
				}
			}
		}
		transitive := rapid.SliceOfN(key, 0, 3).Draw(t, "transitive keys")
		tags, keys, err := sts.Tags(asked, transitive, caller)
		if err != nil {
			return
		}
		values := make(map[string]string)
		for _, tag := range tags {
			folded := strings.ToLower(tag.Key)
			if _, double := values[folded]; double || strings.HasPrefix(folded, "aws:") && tag.Value == "asked" {
				t.Fatalf("tags %v", tags)
			}
			values[folded] = tag.Value
		}
		for _, k := range caller.TransitiveTags {
			if values[strings.ToLower(k)] != "inherited" || !slices.Contains(keys, k) {
				t.Fatalf("inherited tag %s: tags %v, transitive %v", k, tags, keys)
			}
		}
		for _, k := range keys {
			if !slices.ContainsFunc(tags, func(tag iam.Tag) bool { return tag.Key == k }) {
				t.Fatalf("transitive key %s is that of no tag: %v", k, tags)
			}
		}
	})
}

func FuzzParseRole(f *testing.F) {
	for _, s := range []string{
		"arn:aws:iam::123456789012:role/r", "arn:aws:iam::123456789012:role/a/b/r", "arn:aws:iam::123456789012:role/",
		"arn:aws:iam::123456789012:role//r", "arn:aws:iam::aws:role/r", "arn:aws:sts::123456789012:assumed-role/r/s", "r", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		account, name, err := sts.ParseRole(text)
		if err != nil {
			return
		}
		if !arn.ValidAccount(account) || name == "" || strings.Contains(name, "/") ||
			!strings.HasPrefix(text, "arn:aws:iam::"+account+":role/") || !strings.HasSuffix(text, "/"+name) {
			t.Fatalf("ParseRole(%q) = %q, %q", text, account, name)
		}
	})
}

func FuzzNestedTags(f *testing.F) {
	for _, s := range []string{
		`{"principal_tags":{"A":["1"],"B":"2"},"transitive_tag_keys":["A"]}`, `{}`, `null`, `[]`, `{"principal_tags":null}`,
		`{"principal_tags":{"A":[null]}}`, `{"transitive_tag_keys":[null]}`, `{"x":1}`, `{"principal_tags":{"A":[["1"]]}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return // a claim always is
		}
		tags, _, err := sts.NestedTags(json.RawMessage(text))
		if err != nil {
			return
		}
		if !slices.IsSortedFunc(tags, func(a, b iam.Tag) int { return strings.Compare(a.Key, b.Key) }) {
			t.Fatalf("NestedTags(%s) = %v, not in order", text, tags)
		}
	})
}
