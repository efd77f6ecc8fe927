package wire_test

import (
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/wire"
)

// BenchmarkGetSecretValue is the codec's share of the hot path.
func BenchmarkGetSecretValue(b *testing.B) {
	body := []byte(`{"SecretId": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db/main-a1B2c3", "VersionStage": "AWSCURRENT"}`)
	secret := api.SensitiveString(`{"username":"app","password":"correct horse battery staple","host":"db.internal","port":5432}`)
	arn, name := "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db/main-a1B2c3", "prod/db/main"
	version := "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
	created := time.UnixMilli(1523477145713)
	out := &smapi.GetSecretValueOutput{
		ARN: &arn, Name: &name, VersionId: &version, SecretString: &secret,
		VersionStages: []string{"AWSCURRENT"}, CreatedDate: &created,
	}
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.DecodeInput(smapi.OpGetSecretValue, body); err != nil {
			b.Fatal(err)
		}
		dst = wire.Reply{Op: smapi.OpGetSecretValue}.AppendOutput(dst[:0], out)
	}
}
