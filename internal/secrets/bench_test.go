package secrets_test

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"testing"

	"arca/internal/api/iamapi"
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

// BenchmarkRead is a read by an ordinary caller: a user with ten managed policies, of
// which one allows, and a secret under a customer key, without any audit record.
// cpu-ns/op is the processor time of the whole process, which a busy machine does not
// stretch as it does the time by the clock.
func BenchmarkRead(b *testing.B) {
	bed := newHouse(b, func(c *secrets.Config) { c.OmitKeyEvents = true })
	bed.create(b, "hot/service-001/password", underKey(bed.key(b, "").arn), func(in *smapi.CreateSecretInput) {
		in.Tags = tags("team", "payments", "stage", "production")
	})
	u := bed.user(b, bedAccount, "u", allow(`"Action":"sts:GetCallerIdentity","Resource":"*"`))
	for i := range 10 {
		made := must[iamapi.CreatePolicyOutput](b, bed, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{
			PolicyName: fmt.Sprint("policy-", i), PolicyDocument: ordinaryPolicy(i),
		}, root(bedAccount))
		must[iamapi.AttachUserPolicyOutput](b, bed, iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "u", PolicyArn: *made.Policy.Arn}, root(bedAccount))
	}
	d := call.New(call.Config{Store: bed.store, Log: bed.log, Authorize: bed.decide.Authorize, Logger: slog.New(slog.DiscardHandler)})
	bed.svc.Register(d)
	in := &smapi.GetSecretValueInput{SecretId: "hot/service-001/password"}
	c := &call.Call{Op: smapi.OpGetSecretValue, Now: bed.now, Partition: "aws", Region: bedRegion}
	u(c)
	// Once through the dispatcher, after which the call can ask the authorizer.
	if _, err := d.Do(context.Background(), c, in); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		if _, err := bed.svc.GetSecretValue(context.Background(), c, in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// ordinaryPolicy is one of the ten of an ordinary user, most of which are about something
// else.
func ordinaryPolicy(i int) string {
	switch i {
	case 3:
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"secretsmanager:DeleteSecret","Resource":"*",
			"Condition":{"StringNotEquals":{"aws:PrincipalTag/team":"operations"}}}]}`
	case 7:
		return `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"secretsmanager:*","Resource":"arn:aws:secretsmanager:*:*:secret:hot/*"},
			{"Effect":"Allow","Action":"secretsmanager:BatchGetSecretValue","Resource":"*"},
			{"Effect":"Allow","Action":["kms:Decrypt","kms:GenerateDataKey"],"Resource":"*",
			 "Condition":{"StringLike":{"kms:ViaService":"secretsmanager.*.amazonaws.com"}}}]}`
	}
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Sid":"Secrets","Effect":"Allow","Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret"],
		 "Resource":"arn:aws:secretsmanager:*:*:secret:team-%[1]d/*"},
		{"Sid":"Buckets","Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":["arn:aws:s3:::bucket-%[1]d","arn:aws:s3:::bucket-%[1]d/*"],
		 "Condition":{"Bool":{"aws:SecureTransport":"true"}}}]}`, i)
}

// processorTime is what the process has used of the processors, in nanoseconds.
func processorTime(b *testing.B) int64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
