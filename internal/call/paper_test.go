package call_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"arca/internal/api/kmsapi"
	"arca/internal/api/smapi"
	"arca/internal/call"
)

// serveReadWithKey makes the dispatcher serve a read as that of a secret under a customer
// key is: with a call of the key of its own.
func (b *bed) serveReadWithKey() {
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		if err := allowed(ctx, c); err != nil {
			return err
		}
		fwd := c.Forward(forwarder, kmsapi.OpDecrypt, &kmsapi.DecryptInput{EncryptionContext: map[string]string{
			"SecretARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:" + c.RequestID, "SecretVersionId": "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE",
		}})
		if err := fwd.Authorize(ctx, &call.Check{Action: "kms:Decrypt", Resource: "*"}); err != nil {
			return err
		}
		fwd.NoteResource(account, "AWS::KMS::Key", "arn:aws:kms:eu-west-1:123456789012:key/"+c.RequestID)
		fwd.Done(nil, nil)
		return nil
	})
}

// Calls take turns with what their lines are written on. Each line is still the one of
// its call, whole, whatever the calls before it were.
func TestLinesOfConcurrentCalls(t *testing.T) {
	const callers, calls = 16, 40
	b := newBed(t)
	b.serveReadWithKey()
	var wg sync.WaitGroup
	for w := range callers {
		wg.Go(func() {
			for i := range calls {
				name := fmt.Sprintf("secret-%d-%d-%s", w, i, strings.Repeat("x", (w*calls+i)%700))
				c := newCall(smapi.OpGetSecretValue)
				c.RequestID = fmt.Sprintf("request-%d-%d", w, i)
				if _, err := b.d.Do(t.Context(), c, &smapi.GetSecretValueInput{SecretId: name}); err != nil {
					t.Errorf("Do() = %v", err)
				}
			}
		})
	}
	wg.Wait()
	found := map[string]int{}
	lines := b.lines(t)
	for i, l := range lines {
		var w, n int
		if _, err := fmt.Sscanf(l.RequestID, "request-%d-%d", &w, &n); err != nil {
			t.Fatalf("line %s: %v", l.raw, err)
		}
		switch l.EventName {
		case "GetSecretValue":
			want := fmt.Sprintf("secret-%d-%d-%s", w, n, strings.Repeat("x", (w*calls+n)%700))
			if l.RequestParameters["secretId"] != want {
				t.Errorf("line of %s has %v, want secretId %s", l.RequestID, l.RequestParameters, want)
			}
			if i+1 == len(lines) || lines[i+1].RequestID != l.RequestID || lines[i+1].EventName != "Decrypt" {
				t.Errorf("the line of %s is not followed by that of its key", l.RequestID)
			}
		case "Decrypt":
			context, _ := l.RequestParameters["encryptionContext"].(map[string]any)
			if arn, _ := context["SecretARN"].(string); !strings.HasSuffix(arn, ":"+l.RequestID) || !strings.Contains(l.raw, "key/"+l.RequestID+`"`) {
				t.Errorf("line of %s is %s", l.RequestID, l.raw)
			}
		}
		found[l.RequestID+l.EventName]++
	}
	if len(found) != 2*callers*calls {
		t.Errorf("%d different lines, want %d", len(found), 2*callers*calls)
	}
}

// BenchmarkDo is what a read costs from the dispatcher on: two lines and their sync.
func BenchmarkDo(b *testing.B) {
	bed := newBed(b)
	bed.serveReadWithKey()
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		in := &smapi.GetSecretValueInput{SecretId: "prod/db"}
		for pb.Next() {
			if _, err := bed.d.Do(context.Background(), newCall(smapi.OpGetSecretValue), in); err != nil {
				b.Error(err)
			}
		}
	})
}
