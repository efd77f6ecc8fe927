package access_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"arca/internal/api/iamapi"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// bigPolicy is close to the 6144 characters that a managed policy may have. Its last
// statement is the one that allows.
func bigPolicy(n int) string {
	var b strings.Builder
	b.WriteString(`{"Version":"2012-10-17","Statement":[`)
	for i := 0; b.Len() < 5700; i++ {
		fmt.Fprintf(&b, `{"Effect":"Allow","Action":["secretsmanager:Put*","secretsmanager:TagResource"],"Resource":"arn:aws:secretsmanager:*:*:secret:team%d/app%d/*"},`, n, i)
	}
	fmt.Fprintf(&b, `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:team%d/*","Condition":{"StringEquals":{"aws:PrincipalAccount":"111111111111"}}}]}`, n)
	return b.String()
}

// benchUser has n big managed policies.
func benchUser(b *bed, n int) call.Principal {
	name := fmt.Sprintf("u%d", n)
	user := b.user(root, name)
	for i := range n {
		arn := b.managed(root, fmt.Sprintf("big%d-%d", n, i), bigPolicy(i))
		must[iamapi.AttachUserPolicyOutput](b, iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: name, PolicyArn: arn}, root)
	}
	return user
}

func benchCheck() *call.Check {
	return &call.Check{
		Action: "secretsmanager:GetSecretValue", Resource: "arn:aws:secretsmanager:eu-west-1:111111111111:secret:team0/db-abcdef",
		Account: ours,
		Keys: []policy.ContextKey{
			key("secretsmanager:SecretId", "team0/db"), key("secretsmanager:SecretPrimaryRegion", region),
			key("aws:ResourceTag/team", "blue"), key("secretsmanager:ResourceTag/team", "blue"),
		},
	}
}

// BenchmarkAuthorize is the whole decision, beside what package policy takes of it.
func BenchmarkAuthorize(b *testing.B) {
	bed := newBed(b)
	for _, n := range []int{1, 10} {
		user := benchUser(bed, n)
		c, ck := newCall(smapi.OpGetSecretValue, user), benchCheck()
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bed.access.Authorize(context.Background(), c, ck); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("policies=%d/evaluate", n), func(b *testing.B) {
			b.ReportAllocs()
			bed.view(func(v *store.Snap) {
				req, ps := bed.access.Gather(v, c, ck)
				for b.Loop() {
					if d := policy.Evaluate(req, ps); !d.Allowed {
						b.Fatal("denied")
					}
				}
			})
		})
	}
	root := newCall(smapi.OpGetSecretValue, root)
	b.Run("root", func(b *testing.B) {
		b.ReportAllocs()
		ck := benchCheck()
		for b.Loop() {
			if err := bed.access.Authorize(context.Background(), root, ck); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// On a snapshot that the operation has at hand, deciding allocates nothing.
func TestAuthorizeAllocatesNothing(t *testing.T) {
	b := newBed(t)
	c, ck := newCall(smapi.OpGetSecretValue, benchUser(b, 3)), benchCheck()
	b.view(func(v *store.Snap) {
		ck.Snap = v
		n := testing.AllocsPerRun(200, func() {
			if err := b.access.Authorize(context.Background(), c, ck); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 && !raceDetector {
			t.Errorf("%v allocations per decision", n)
		}
	})
}
