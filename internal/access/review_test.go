package access_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"arca/internal/access"
	"arca/internal/api/iamapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
	"arca/internal/call"
	"arca/internal/store"
)

// Whether two tag keys are the same is one rule. A long s is a small s for
// aws:PrincipalTag, so it must be one for the condition that guards the tag.
func TestTagKeyOfAnotherSpelling(t *testing.T) {
	b := newBed(t)
	admin := b.user(root, "admin",
		allow("iam:TagUser", "*", `{"Null":{"aws:RequestTag/status":"true"}}`),
		allow(all, "*", `{"StringEquals":{"aws:PrincipalTag/status":"trusted"}}`))
	arn := b.secret(root, "s", "")
	for _, key := range []string{"status", "STATUS", "ſtatus", "ſTATUS"} {
		tag := &iamapi.TagUserInput{UserName: "admin", Tags: []iamapi.Tag{{Key: key, Value: "trusted"}}}
		if got := b.refused(iamapi.OpTagUser, tag, admin); !strings.HasPrefix(got, "AccessDenied:") {
			t.Errorf("tag %s: %s", key, got)
		}
		if got := b.describe(admin, arn); got != noIdentity {
			t.Errorf("after tag %s: %s", key, got)
		}
	}
	both := &iamapi.TagUserInput{UserName: "admin", Tags: []iamapi.Tag{{Key: "status", Value: "a"}, {Key: "ſtatus", Value: "b"}}}
	if got := b.refused(iamapi.OpTagUser, both, root); !strings.HasPrefix(got, "InvalidInput:") {
		t.Errorf("one key in two spellings: %s", got)
	}
	// And the other way: a Deny on a resource's tag, in the spelling of the tag.
	for _, key := range []string{"GİZLİ", "Kelvin", "ẞ"} {
		arn := b.secret(root, "tagged/"+string(rune('a'+len(key))), "", smapi.Tag{Key: new(key), Value: new("yes")})
		user := b.user(root, "u"+string(rune('a'+len(key))), allow(all, "*"), refuse(all, "*", `{"StringEquals":{"aws:ResourceTag/`+key+`":"yes"}}`))
		if got := b.describe(user, arn); got != identityDeny {
			t.Errorf("Deny on the tag %s: %s", key, got)
		}
	}
}

// Somebody of another account, who writes his own policies, learns nothing of what is
// not shared with him: not that it exists, neither its full name nor its tags.
func TestNothingIsToldAcrossAccounts(t *testing.T) {
	const reason = "because no resource-based policy allows the secretsmanager:DescribeSecret action"
	for _, tell := range []bool{false, true} {
		b := newBed(t, func(c *access.Config) { c.TellClients = tell })
		arn := b.secret(root, "hidden", "", smapi.Tag{Key: new("project"), Value: new("merger")})
		partial := arn[:strings.LastIndexByte(arn, '-')]
		missing := strings.Replace(partial, "hidden", "nothere", 1)
		for name, policy := range map[string]string{
			"no policy": allow("iam:*", "*"),
			"allow":     allow(all, "*"),
			"tag value": refuse(all, "*", `{"StringLike":{"aws:ResourceTag/project":"m*"}}`),
			"tag there": refuse(all, "*", `{"Null":{"secretsmanager:ResourceTag/project":"false"}}`),
			"exists":    refuse(all, "*", `{"Null":{"secretsmanager:SecretPrimaryRegion":"false"}}`),
			"its ARN":   refuse(all, arn),
		} {
			spy := b.user(theirRoot, strings.ReplaceAll("spy "+name, " ", "-"), allow(all, "*"), policy)
			for _, id := range []string{partial, missing} {
				if got := b.describe(spy, id); got != reason {
					t.Errorf("%s, tell %v: %s is told %q", name, tell, id, got)
				}
			}
		}
		// The record has it all.
		b.describe(call.Principal{Type: call.IAMUser, Account: theirs, ARN: "arn:aws:iam::222222222222:user/none", ID: "AIDANONE", UniqueID: "AIDANONE"}, partial)
		if got := b.lastDenial(); got.Resource != arn || got.Reason == reason {
			t.Errorf("the record tells %+v", got)
		}
		// With whom it is shared, is told what is missing on his own side.
		b.attach(root, arn, to(aws(theirRoot.ARN), all))
		half := b.user(theirRoot, "half", allow("iam:*", "*"))
		if got := b.describe(half, partial); got != noIdentity {
			t.Errorf("shared and not allowed by himself: %q", got)
		}
	}
}

// Roles of another account are told apart by nothing, whatever the operator wants
// clients to know of their own policies.
func TestRolesOfAnotherAccountAreAlike(t *testing.T) {
	for _, tell := range []bool{false, true} {
		b := newBed(t, func(c *access.Config) { c.TellClients = tell })
		trusting := b.role(root, "trusting") // its own account only
		spy := b.user(theirRoot, "spy", allow("sts:*", "*"))
		var texts []string
		for _, arn := range []string{trusting, "arn:aws:iam::111111111111:role/nothere"} {
			var trust string
			b.view(func(v *store.Snap) {
				if r := b.iam.Role(v, ours, arn[strings.LastIndexByte(arn, '/')+1:]); r != nil {
					trust = r.Trust
				}
			})
			err := b.ask(newCall(stsapi.OpAssumeRole, spy), &call.Check{
				Action: "sts:AssumeRole", Resource: arn, Account: ours, ResourcePolicy: trust, ResourceDecides: true,
			})
			if err == nil {
				t.Fatalf("%s is allowed", arn)
			}
			texts = append(texts, strings.ReplaceAll(err.Error(), arn, "ROLE"))
		}
		if texts[0] != texts[1] {
			t.Errorf("tell %v: a role that exists is told from one that does not:\n%s\n%s", tell, texts[0], texts[1])
		}
	}
}

// The same for IAM's own entities: their tags do not decide for callers of other
// accounts.
func TestTagsOfAnotherAccountDecideNothing(t *testing.T) {
	b := newBed(t)
	must[iamapi.CreateUserOutput](b, iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: "alice", Tags: []iamapi.Tag{{Key: "team", Value: "red"}}}, root)
	managed := must[iamapi.CreatePolicyOutput](b, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{
		PolicyName: "p", PolicyDocument: allow("s3:*", "*"), Tags: []iamapi.Tag{{Key: "team", Value: "red"}},
	}, root)
	provider := must[iamapi.CreateOpenIDConnectProviderOutput](b, iamapi.OpCreateOpenIDConnectProvider, &iamapi.CreateOpenIDConnectProviderInput{
		Url: "https://issuer.example", Tags: []iamapi.Tag{{Key: "team", Value: "red"}},
	}, root)
	spy := b.user(theirRoot, "spy", allow("iam:*", "*"), refuse("iam:*", "*", `{"StringEquals":{"iam:ResourceTag/team":"red"}}`))
	for name, pair := range map[string][2]func(arn string) string{
		"policy": {func(arn string) string {
			return b.refused(iamapi.OpGetPolicy, &iamapi.GetPolicyInput{PolicyArn: arn}, spy)
		}},
		"provider": {func(arn string) string {
			return b.refused(iamapi.OpGetOpenIDConnectProvider, &iamapi.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}, spy)
		}},
		"user": {func(arn string) string {
			return b.refused(iamapi.OpSimulatePrincipalPolicy, &iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: arn, ActionNames: []string{"s3:GetObject"}}, spy)
		}},
	} {
		there := map[string]string{
			"policy": *managed.Policy.Arn, "provider": *provider.OpenIDConnectProviderArn, "user": "arn:aws:iam::111111111111:user/alice",
		}[name]
		other := there + "x"
		got, want := strings.ReplaceAll(pair[0](there), there, "IT"), strings.ReplaceAll(pair[0](other), other, "IT")
		if got != want {
			t.Errorf("%s: one with the tag is told from one that does not exist:\n%s\n%s", name, got, want)
		}
	}
}

// What a simulation compares is bounded, like everything that a real request can hold.
func TestSimulatedValuesAreBounded(t *testing.T) {
	b := newBed(t)
	long := strings.Repeat("a", 500_000)
	in := &iamapi.SimulateCustomPolicyInput{
		ActionNames:     []string{"s3:GetObject"},
		PolicyInputList: []string{allow("s3:*", "*", `{"StringLike":{"s3:prefix":"*`+strings.Repeat("a?", 10_000)+`b*"}}`)},
		ContextEntries:  []iamapi.ContextEntry{{ContextKeyName: new("s3:prefix"), ContextKeyType: new("string"), ContextKeyValues: []string{long}}},
	}
	begin := time.Now()
	if got := b.refused(iamapi.OpSimulateCustomPolicy, in, root); !strings.HasPrefix(got, "InvalidInput:") {
		t.Error(got)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A caller says about himself what he likes, but not at any length.
func TestUserAgentIsBounded(t *testing.T) {
	b := newBed(t)
	user := b.user(root, "u", allow(all, "*", `{"StringLike":{"aws:UserAgent":"*`+strings.Repeat("a?", 800)+`b*"}}`))
	c := newCall(smapi.OpListSecrets, user)
	c.UserAgent = strings.Repeat("a", 60_000)
	begin := time.Now()
	for range 10 {
		if err := b.ask(c, &call.Check{Action: "secretsmanager:ListSecrets", Resource: "*"}); err == nil {
			t.Fatal("allowed")
		}
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("ten decisions took %v", took)
	}
}

// Who asks for long who can do something stops asking when nobody waits any more.
func TestWhoCanStops(t *testing.T) {
	b := newBed(t)
	arn := b.secret(root, "s", "")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := newCall(smapi.OpListSecrets, root)
	if g, err := b.access.WhoCan(ctx, c, &access.Who{Action: "secretsmanager:GetSecretValue", Resource: arn, Most: 10}); err == nil {
		t.Errorf("WhoCan = %+v for a caller who is gone", g)
	}
}

// A policy with a thousand statements and a list of thousands of resources are each
// within their bounds. Both together are refused, or answered page by page.
func TestSimulationsAreBounded(t *testing.T) {
	b := newBed(t)
	one := `{"Effect":"Deny","Action":"*","Resource":"*"}`
	many := `{"Version":"2012-10-17","Statement":[` + strings.Repeat(one+",", 1200) + one + `]}`
	keys := strings.Builder{}
	for i := range 4000 {
		fmt.Fprintf(&keys, `"a:%d":"",`, i)
	}
	wide := allow("s3:*", "*", `{"StringEquals":{`+strings.TrimSuffix(keys.String(), ",")+`}}`)
	resources := make([]string, 9000)
	for i := range resources {
		resources[i] = "*"
	}
	actions := make([]string, 500)
	for i := range actions {
		actions[i] = "s3:GetObject"
	}
	for name, text := range map[string]string{"statements": many, "condition keys": wide} {
		in := &iamapi.SimulateCustomPolicyInput{ActionNames: actions[:1], PolicyInputList: []string{text}, ResourceArns: resources}
		if got := b.refused(iamapi.OpSimulateCustomPolicy, in, root); !strings.HasPrefix(got, "InvalidInput:") {
			t.Errorf("%s: %s", name, got)
		}
		in = &iamapi.SimulateCustomPolicyInput{ActionNames: actions, PolicyInputList: []string{text}, MaxItems: new(int32(1000))}
		begin := time.Now()
		out := must[iamapi.SimulateCustomPolicyOutput](b, iamapi.OpSimulateCustomPolicy, in, root)
		if n := len(out.EvaluationResults); n == 0 || n > 200 || !*out.IsTruncated {
			t.Errorf("%s: %d results on the first page", name, n)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s: a page took %v", name, took)
		}
	}
}
