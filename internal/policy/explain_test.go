package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"arca/internal/policy"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// TestExplain compares explanations as people read them with testdata/explain: archives
// like those of TestDecisions, in which each "explain NAME" holds what Explain prints
// for "request NAME".
func TestExplain(t *testing.T) {
	files, err := filepath.Glob("testdata/explain/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/explain: %d files, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			policies := &txtar.Archive{}
			for _, f := range archive.Files {
				if !strings.HasPrefix(f.Name, "explain ") {
					policies.Files = append(policies.Files, f)
				}
			}
			got := make(map[string]string)
			for _, f := range policies.Files {
				name, ok := strings.CutPrefix(f.Name, "request ")
				if !ok {
					continue
				}
				c := parseCase(t, f.Name, string(f.Data))
				ps, err := c.policies(policies)
				if err != nil {
					t.Fatalf("%s: %v", f.Name, err)
				}
				checkExplanation(t, &c.req, ps)
				x := policy.Explain(&c.req, ps)
				got[name] = x.String()
			}
			for i, f := range archive.Files {
				name, ok := strings.CutPrefix(f.Name, "explain ")
				if !ok {
					continue
				}
				if *update {
					archive.Files[i].Data = []byte(got[name])
				} else if diff := cmp.Diff(string(f.Data), got[name]); diff != "" {
					t.Errorf("explanation of %s (-want +got):\n%s", name, diff)
				}
				delete(got, name)
			}
			if len(got) != 0 {
				t.Errorf("requests without an explanation: %v", got)
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestReason(t *testing.T) {
	const action = "secretsmanager:GetSecretValue"
	tests := []struct {
		layer    policy.Layer
		explicit bool
		action   string
		want     string
	}{
		{policy.IdentityLayer, false, action, "because no identity-based policy allows the secretsmanager:GetSecretValue action"},
		{policy.ResourceLayer, false, action, "because no resource-based policy allows the secretsmanager:GetSecretValue action"},
		{policy.BoundaryLayer, false, action, "because no permissions boundary allows the secretsmanager:GetSecretValue action"},
		{policy.SessionLayer, false, action, "because no session policy allows the secretsmanager:GetSecretValue action"},
		{policy.GuardrailLayer, false, action, "because no service control policy allows the secretsmanager:GetSecretValue action"},
		{policy.ResourceLayer, false, "sts:AssumeRole", "because no role trust policy allows the sts:AssumeRole action"},
		{policy.IdentityLayer, false, "sts:AssumeRole", "because no identity-based policy allows the sts:AssumeRole action"},
		{policy.IdentityLayer, true, action, "with an explicit deny in an identity-based policy"},
		{policy.ResourceLayer, true, action, "with an explicit deny in a resource-based policy"},
		{policy.BoundaryLayer, true, action, "with an explicit deny in a permissions boundary"},
		{policy.SessionLayer, true, action, "with an explicit deny in a session policy"},
		{policy.GuardrailLayer, true, action, "with an explicit deny in a service control policy"},
		{policy.ResourceLayer, true, "sts:AssumeRole", "with an explicit deny in the role trust policy"},
	}
	for _, tt := range tests {
		d := policy.Decision{Layer: tt.layer, Explicit: tt.explicit, Statement: -1}
		if got := d.Reason(tt.action); got != tt.want {
			t.Errorf("Reason of %v (explicit %v) = %q, want %q", tt.layer, tt.explicit, got, tt.want)
		}
	}
	if got := (policy.Decision{Allowed: true}).Reason(action); got != "" {
		t.Errorf("Reason of an Allow = %q", got)
	}
}

// Explanations are printed to terminals, and clients choose much of what is in them.
func TestExplainIsPrintable(t *testing.T) {
	const hostile = "a\x1b[2J\u009b2J\n\xff"
	ps := &policy.Policies{Identity: []policy.Source{mustIdentity(t, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::\u009b2J${aws:userid}"},
		{"Effect":"Allow","Action":"kms:*","Resource":"*"},
		{"Sid":"C","Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"a:\u009bK":"\u001b${aws:username}"}}}]}`)}}
	req := &policy.Request{
		Action: "s3:" + hostile, Resource: hostile + strings.Repeat("x", 2000), Account: account,
		Caller:  policy.Caller{Kind: policy.UserCaller, Account: account, ARN: hostile},
		Context: keys{"aws:userid", "a\x1b", "aws:username", "\x1b", "a:\u009bk", hostile},
	}
	x := policy.Explain(req, ps)
	for _, c := range x.String() {
		if c != '\n' && !unicode.IsPrint(c) || c == unicode.ReplacementChar {
			t.Fatalf("explanation holds %U: %q", c, x.String())
		}
	}
	if n := len(x.String()); n > 10_000 {
		t.Errorf("explanation has %d bytes", n)
	}
}
