package policy_test

import (
	"strings"
	"testing"

	"arca/internal/policy"
)

func TestRewrite(t *testing.T) {
	ids := map[string]string{
		"arn:aws:iam::123456789012:user/anna":                "AIDAEXAMPLEANNA00001",
		"arn:aws:iam::123456789012:role/app":                 "AROAEXAMPLEAPP000001",
		"arn:aws:sts::123456789012:assumed-role/app/build-1": "AROAEXAMPLEAPP000001:build-1",
		"123456789012": "arn:aws:iam::123456789012:root",
	}
	toID := func(p policy.Principal) (string, bool) { id, ok := ids[p.Value]; return id, ok }
	tests := []struct{ name, text, want string }{
		{"one", `{"Statement":{"Principal":{"AWS":"arn:aws:iam::123456789012:user/anna"}}}`,
			`{"Statement":{"Principal":{"AWS":"AIDAEXAMPLEANNA00001"}}}`},
		{"every other byte stays", "{ \"Statement\" :\n[ {\"Sid\":\"\\u0041\", \"Principal\":{\"AWS\" : [ \"123456789012\" ,\t\"arn:aws:iam::123456789012:role/app\"] } } ]\n}\n",
			"{ \"Statement\" :\n[ {\"Sid\":\"\\u0041\", \"Principal\":{\"AWS\" : [ \"arn:aws:iam::123456789012:root\" ,\t\"AROAEXAMPLEAPP000001\"] } } ]\n}\n"},
		{"escaped", `{"Statement":{"Principal":{"AWS":"arn:aws:iam::123456789012:user\/ann\u0061"}}}`,
			`{"Statement":{"Principal":{"AWS":"AIDAEXAMPLEANNA00001"}}}`},
		{"not principal, session", `{"Statement":[{"NotPrincipal":{"AWS":["arn:aws:sts::123456789012:assumed-role/app/build-1","123456789012"]}}]}`,
			`{"Statement":[{"NotPrincipal":{"AWS":["AROAEXAMPLEAPP000001:build-1","arn:aws:iam::123456789012:root"]}}]}`},
		{"left alone", `{"Statement":[{"Principal":"*"},{"Principal":{"AWS":"*"}},{"Principal":{"Service":"lambda.amazonaws.com"}},{"Resource":"123456789012"}]}`,
			`{"Statement":[{"Principal":"*"},{"Principal":{"AWS":"*"}},{"Principal":{"Service":"lambda.amazonaws.com"}},{"Resource":"123456789012"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := policy.Rewrite(tt.text, toID)
			if err != nil || got != tt.want {
				t.Errorf("Rewrite(%s) = %s, %v, want %s", tt.text, got, err, tt.want)
			}
		})
	}
	for _, text := range []string{`{`, `[]`, `{"Statement":{"Principal":{"AWS":"x"}}}`, `{"Statement":{"Principal":{"AWS":5}}}`} {
		if got, err := policy.Rewrite(text, toID); err == nil || got != "" {
			t.Errorf("Rewrite(%s) = %q, %v, want an error", text, got, err)
		}
	}
}

// What is put in is escaped.
func TestRewriteEscapes(t *testing.T) {
	got, err := policy.Rewrite(`{"Statement":{"Principal":{"AWS":"*"}}}`, func(policy.Principal) (string, bool) { return `"},"é<` + "\n", true })
	if want := `{"Statement":{"Principal":{"AWS":"\"},\"é<\n"}}}`; err != nil || got != want {
		t.Errorf("Rewrite = %s, %v, want %s", got, err, want)
	}
}

// There and back again gives the text that was there.
func TestRewriteIsReversible(t *testing.T) {
	const text = `{"Version":"2012-10-17",  "Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::123456789012:role/a","arn:aws:iam::123456789012:role/b"]},"Action":"*","Resource":"*"}]}`
	forth, err := policy.Rewrite(text, func(p policy.Principal) (string, bool) {
		return "AROA0000000000000000" + strings.ToUpper(p.ARN.Resource[len("role/"):]), p.Kind == policy.Role
	})
	if err != nil || forth == text {
		t.Fatalf("Rewrite = %s, %v", forth, err)
	}
	if _, err := policy.ParseResourcePolicy(forth); err != nil {
		t.Fatal(err)
	}
	back, err := policy.Rewrite(forth, func(p policy.Principal) (string, bool) {
		return "arn:aws:iam::123456789012:role/" + strings.ToLower(p.Value[len("AROA0000000000000000"):]), p.Kind == policy.UniqueID
	})
	if err != nil || back != text {
		t.Errorf("Rewrite back = %s, %v, want %s", back, err, text)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int{
		"":                          0,
		" \t\r\n":                   0,
		`{"a": 1}`:                  7,
		"{\n  \"é\": \"🔑\"\n}":      9,
		identityPolicy() + "      ": len(strings.Join(strings.Fields(identityPolicy()), "")),
	} {
		if got := policy.Size(text); got != want {
			t.Errorf("Size(%q) = %d, want %d", text, got, want)
		}
	}
}
