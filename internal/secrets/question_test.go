package secrets_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/secrets"
)

// What a policy may ask about a secret is worked out key by key. It is what a search
// through the list of all its keys, without case, finds.
func TestQuestionLookup(t *testing.T) {
	names := []string{"team", "Team", "TEAM", "a/b", "ſ", "s", "S", "K", "k", "İ", "é", "/", "\xff", "AllowRotationLambdaArn"}
	keys := []string{
		"secretsmanager:secretid", "ſecretsmanager:secretid", "secretsmanager:secretprimaryregion", "secretsmanager:resource/allowrotationlambdaarn",
		"secretsmanager:resource/", "aws:resourcetag/", "aws:resourcetag", "", "/", "aws:securetransport", "kms:viaservice", "secretsmanager:versionid",
	}
	for _, name := range names {
		for _, prefix := range []string{"aws:resourcetag/", "aws:ReſourceTag/", "secretsmanager:resourcetag/", "secretsmanager:resource/", "aws:requesttag/", "aws:resourcetag//"} {
			keys = append(keys, prefix+name, strings.ToLower(prefix+name))
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		var sec *secrets.Secret
		if rapid.Bool().Draw(rt, "exists") {
			sec = &secrets.Secret{Region: bedRegion}
			for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 6).Draw(rt, "tags") {
				sec.Tags = append(sec.Tags, secrets.Tag{Key: name, Value: rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "value")})
			}
			if rapid.Bool().Draw(rt, "rotates") {
				sec.Rotation = &secrets.Rotation{LambdaARN: "arn:aws:lambda:eu-west-1:123456789012:function:f"}
			}
		}
		lookup, list := secrets.Questions("some/id", sec)
		for _, key := range keys {
			var want []string
			found := false
			for _, k := range list {
				if strings.EqualFold(k.Name, key) {
					want, found = append(want, k.Values...), true
				}
			}
			if got, ok := lookup(key); ok != found || !slices.Equal(got, want) {
				rt.Errorf("%q: %q, %v, want %q, %v", key, got, ok, want, found)
			}
		}
	})
}
