package secrets_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/call"
	"arca/internal/secrets"
)

const invalidName = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"

func caller(account, region string) *call.Call {
	return &call.Call{Caller: call.Principal{Type: call.Root, Account: account}, Partition: "aws", Region: region}
}

func TestParseIdentifier(t *testing.T) {
	const (
		me    = "111111111111"
		other = "222222222222"
		here  = "eu-west-1"
	)
	arn := func(account, rest string) string {
		return "arn:aws:secretsmanager:" + here + ":" + account + ":secret:" + rest
	}
	for _, tc := range []struct {
		name, raw string
		want      secrets.Identifier
	}{
		{"name", "app/db", secrets.Identifier{Account: me, Region: here, Name: "app/db", WouldBeARN: arn(me, "app/db-??????")}},
		{"name like a full ARN's end", "db-a1b2c3", secrets.Identifier{Account: me, Region: here, Name: "db-a1b2c3", WouldBeARN: arn(me, "db-a1b2c3-??????")}},
		{"full ARN", arn(me, "app/db-AbC123"), secrets.Identifier{Account: me, Region: here, Name: "app/db", Suffix: "AbC123", WouldBeARN: arn(me, "app/db-AbC123")}},
		{"partial ARN", arn(me, "app/db"), secrets.Identifier{Account: me, Region: here, Name: "app/db", WouldBeARN: arn(me, "app/db-??????")}},
		{"partial ARN read as full", arn(me, "my-Name-a1b2c3"), secrets.Identifier{Account: me, Region: here, Name: "my-Name", Suffix: "a1b2c3", WouldBeARN: arn(me, "my-Name-a1b2c3")}},
		{"partial ARN, four characters", arn(me, "my-a1b2"), secrets.Identifier{Account: me, Region: here, Name: "my-a1b2", WouldBeARN: arn(me, "my-a1b2-??????")}},
		{"partial ARN, hyphen at the end", arn(me, "my-a1b2c3-"), secrets.Identifier{Account: me, Region: here, Name: "my-a1b2c3-", WouldBeARN: arn(me, "my-a1b2c3--??????")}},
		{"full ARN of such a name", arn(me, "my-a1b2c3-XyZ987"), secrets.Identifier{Account: me, Region: here, Name: "my-a1b2c3", Suffix: "XyZ987", WouldBeARN: arn(me, "my-a1b2c3-XyZ987")}},
		{"suffix without name", arn(me, "-a1b2c3"), secrets.Identifier{Account: me, Region: here, Name: "-a1b2c3", WouldBeARN: arn(me, "-a1b2c3-??????")}},
		{"other account", arn(other, "x-AbC123"), secrets.Identifier{Account: other, Region: here, Name: "x", Suffix: "AbC123", WouldBeARN: arn(other, "x-AbC123")}},
		{"other region", "arn:aws:secretsmanager:us-east-1:" + other + ":secret:x-AbC123",
			secrets.Identifier{Account: other, Region: here, Foreign: true, WouldBeARN: "arn:aws:secretsmanager:us-east-1:" + other + ":secret:x-AbC123"}},
		{"other partition", "arn:aws-cn:secretsmanager:" + here + ":" + me + ":secret:x",
			secrets.Identifier{Account: me, Region: here, Foreign: true, WouldBeARN: "arn:aws-cn:secretsmanager:" + here + ":" + me + ":secret:x"}},
		{"other service", "arn:aws:s3:::bucket", secrets.Identifier{Account: me, Region: here, Foreign: true, WouldBeARN: "arn:aws:s3:::bucket"}},
		{"not a secret", "arn:aws:secretsmanager:" + here + ":" + me + ":thing:x",
			secrets.Identifier{Account: me, Region: here, Foreign: true, WouldBeARN: "arn:aws:secretsmanager:" + here + ":" + me + ":thing:x"}},
		{"short account", "arn:aws:secretsmanager:" + here + ":123:secret:x",
			secrets.Identifier{Account: me, Region: here, Foreign: true, WouldBeARN: "arn:aws:secretsmanager:" + here + ":123:secret:x"}},
		{"nothing but the scheme", "arn:", secrets.Identifier{Account: me, Region: here, Foreign: true, WouldBeARN: "arn:"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := secrets.ParseIdentifier(caller(me, here), tc.raw)
			if err != nil {
				t.Fatalf("ParseIdentifier(%q): %v", tc.raw, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("ParseIdentifier(%q) (-want +got):\n%s", tc.raw, diff)
			}
		})
	}
}

func TestBadNames(t *testing.T) {
	// The first four are recorded on AWS.
	for _, raw := range []string{"Inv Name", " Inv Name", " Inv*Name? ", ` Inv *?!]Name\-`, "a:b", "arn", "ARN:aws", "naïve", "a\x00b", "a\nb"} {
		_, err := secrets.ParseIdentifier(caller("111111111111", "eu-west-1"), raw)
		if raw == "arn" {
			if err != nil {
				t.Errorf("ParseIdentifier(%q) = %v, want none: it is a name", raw, err)
			}
			continue
		}
		aerr, ok := errors.AsType[*api.Error](err)
		if !ok || aerr.Code.Name != "ValidationException" || aerr.Message != invalidName {
			t.Errorf("ParseIdentifier(%q) = %v, want ValidationException: %s", raw, err, invalidName)
		}
	}
}

// Whatever a client sends, the parts are those of the region asked, and what names
// a secret can be put together again.
func FuzzParseIdentifier(f *testing.F) {
	for _, seed := range []string{
		"app/db", "arn:aws:secretsmanager:eu-west-1:111111111111:secret:a-AbC123", "arn:aws:secretsmanager:eu-west-1:222222222222:secret:a",
		"arn:aws:secretsmanager:eu-west-1:111111111111:secret:", "arn:aws:secretsmanager:eu-west-1:111111111111:secret:a:b", "arn:::::::", "arn:", "",
		"arn:aws:secretsmanager:us-east-1:111111111111:secret:a-AbC123", "-a1b2c3", "a\xffb",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		id, err := secrets.ParseIdentifier(caller("111111111111", "eu-west-1"), raw)
		if err != nil {
			return
		}
		if id.Region != "eu-west-1" || len(id.Account) != 12 {
			t.Errorf("ParseIdentifier(%q) = %+v, want region and account", raw, id)
		}
		if !strings.HasPrefix(raw, "arn:") && (id.Name != raw || id.Foreign || id.Account != "111111111111") {
			t.Errorf("ParseIdentifier(%q) = %+v, want the name in the caller's account", raw, id)
		}
		if strings.HasPrefix(raw, "arn:") && !id.Foreign && id.WouldBeARN != raw && id.WouldBeARN != raw+"-??????" {
			t.Errorf("ParseIdentifier(%q) stands for %q", raw, id.WouldBeARN)
		}
	})
}

func TestNewSuffix(t *testing.T) {
	form := regexp.MustCompile(`^[A-Za-z0-9]{6}$`)
	seen := make(map[rune]bool)
	for range 1000 {
		s := secrets.NewSuffix()
		if !form.MatchString(s) {
			t.Fatalf("NewSuffix() = %q, want six letters or digits", s)
		}
		for _, r := range s {
			seen[r] = true
		}
	}
	// 6,000 draws miss one of 62 characters about once in 10^40 runs.
	if len(seen) != 62 {
		t.Errorf("1,000 suffixes use %d characters, want 62", len(seen))
	}
}
