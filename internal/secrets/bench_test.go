package secrets_test

import (
	"context"
	"log/slog"
	"testing"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/secrets"
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

// BenchmarkGetSecretValueDecided adds the server's own decisions, about the secret and
// about its key, for a user with a policy.
func BenchmarkGetSecretValueDecided(b *testing.B) {
	bed := newHouse(b, func(c *secrets.Config) { c.OmitKeyEvents = true })
	bed.create(b, "default")
	bed.create(b, "customer", underKey(bed.key(b, "").arn))
	u := bed.user(b, bedAccount, "u", allow(`"Action":["secretsmanager:GetSecretValue","kms:Decrypt"],"Resource":"*"`))
	d := call.New(call.Config{Store: bed.store, Log: bed.log, Authorize: bed.decide.Authorize, Logger: slog.New(slog.DiscardHandler)})
	bed.svc.Register(d)
	for _, id := range []string{"default", "customer"} {
		b.Run(id, func(b *testing.B) {
			in := &smapi.GetSecretValueInput{SecretId: id}
			c := &call.Call{Op: smapi.OpGetSecretValue, Now: bed.now, Partition: "aws", Region: bedRegion}
			u(c)
			if _, err := d.Do(context.Background(), c, in); err != nil {
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
