package secrets_test

import (
	"context"
	"testing"

	"arca/internal/api/smapi"
	"arca/internal/call"
)

// BenchmarkGetSecretValue is the operation alone, without the audit log's disk:
// lookup, decision, decryption.
func BenchmarkGetSecretValue(b *testing.B) {
	bed := newBed(b)
	arn := *bed.create(b, "app/database/main", func(in *smapi.CreateSecretInput) { in.Tags = tags("team", "x", "stage", "prod") }).ARN
	for name, id := range map[string]string{"name": "app/database/main", "ARN": arn} {
		b.Run(name, func(b *testing.B) {
			in := &smapi.GetSecretValueInput{SecretId: id}
			c := &call.Call{Op: smapi.OpGetSecretValue, Now: bed.now, Partition: "aws", Region: bedRegion}
			fromAccount(bedAccount)(c)
			// Once through the dispatcher, after which the call can ask the authorizer.
			if _, err := bed.dispatcher.Do(context.Background(), c, in); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bed.svc.GetSecretValue(context.Background(), c, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
