package trail_test

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/audit"
	"arca/internal/trail"
)

// What an index remembers of the lines before makes no difference to it: each of its
// bytes is that of an index that remembers nothing.
func TestMemo(t *testing.T) {
	names := []string{
		"db", "db/password", "a name that is as long as the other one", "a name that is so long as the other one", "ünïcode \u202e\"\\",
		"arn:aws:secretsmanager:eu-central-1:111122223333:secret:db-AbCdEf", "arn:aws:secretsmanager:eu-central-1:111122223333:secret:db",
		"arn:aws:kms:eu-central-1:111122223333:key/1", "arn:aws:iam::111122223333:role/r", "arn:aws:lambda:eu-central-1:111122223333:function:f:1",
		string(bytes.Repeat([]byte("long"), 100)),
	}
	rapid.Check(t, func(t *rapid.T) {
		one := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
		users := rapid.IntRange(1, 30).Draw(t, "users")
		with, without := trail.NewBuilder(), trail.NewBuilder()
		for n := range rapid.IntRange(1, 200).Draw(t, "lines") {
			r := event(n)
			user := rapid.IntRange(0, users-1).Draw(t, "user")
			r.Identity.UserName = fmt.Sprintf("user-%d", user)
			r.Identity.ARN = "arn:aws:iam::111122223333:user/" + r.Identity.UserName
			r.Identity.AccessKeyID = one("key", "AKIA1", "AKIA2", "")
			r.Identity.Type = one("type", "IAMUser", "Root", "AssumedRole", "AWSService")
			if rapid.Bool().Draw(t, "nameless") {
				r.Identity.UserName = ""
			}
			r.RecipientAccountID, r.Region = one("account", "111122223333", "444455556666"), one("region", "eu-central-1", "us-east-1")
			r.EventSource = one("source", "secretsmanager.amazonaws.com", "kms.amazonaws.com", "iam.amazonaws.com", "sts.amazonaws.com", "lambda.amazonaws.com")
			r.EventName, r.ErrorCode = one("event", "GetSecretValue", "Decrypt", "CreateSecret"), one("error", "", "", "AccessDenied")
			r.ReadOnly = rapid.Bool().Draw(t, "readOnly")
			member := one("member", "secretId", "name", "userName", "roleName", "roleArn", "functionName", "policyArn")
			r.RequestParameters = fmt.Appendf(nil, "{%q:%q}", member, one("parameter", names...))
			for range rapid.IntRange(0, 3).Draw(t, "resources") {
				r.Resources = append(r.Resources, audit.Resource{AccountID: "1", Type: one("kind", "AWS::KMS::Key", "AWS::SecretsManager::Secret", "Other"), ARN: one("arn", names...)})
			}
			line := r.AppendLine(nil, "n1")
			with.Add(line)
			without.Forget()
			without.Add(line)
		}
		var got, want bytes.Buffer
		if err := with.Encode(&got); err != nil {
			t.Fatal(err)
		}
		if err := without.Encode(&want); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Error("the index is another one than without memory")
		}
	})
}

// slowText goes byte by byte.
func slowText(b []byte) (raw []byte, escaped, ok bool) {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			return b[1:i], escaped, true
		case '\\':
			escaped = true
			i++
		}
	}
	return nil, false, false
}

func FuzzText(f *testing.F) {
	for _, s := range []string{`"`, `""`, `"a"`, `"1234567"`, `"12345678"`, `"123456789","`, `"\"12345\\6789"x`, `"123456\"`, `"1234567\`, "\"\x00\x01\xa2\xdc\x21\x23\x5b\x5d\"", `"12!#[]89"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		b[0] = '"'
		raw, escaped, ok, end := trail.Text(b)
		wantRaw, wantEscaped, wantOK := slowText(b)
		if ok != wantOK || !bytes.Equal(raw, wantRaw) || ok && (escaped != wantEscaped || end != len(raw)+2) {
			t.Errorf("Text(%q) = %q, %v, %v, %d; want %q, %v, %v", b, raw, escaped, ok, end, wantRaw, wantEscaped, wantOK)
		}
	})
}
