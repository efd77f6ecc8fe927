package api_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
)

func decryptInput() *kmsapi.DecryptInput {
	return &kmsapi.DecryptInput{
		KeyId:               ptr("arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"),
		CiphertextBlob:      []byte("sealed"),
		EncryptionAlgorithm: ptr("SYMMETRIC_DEFAULT"),
		EncryptionContext:   map[string]string{"SecretVersionId": "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE", "SecretARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf"},
	}
}

// What a read of a secret costs must not grow by the record of its key.
func TestAppendAuditParametersAllocations(t *testing.T) {
	in, buf := decryptInput(), make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf = api.AppendAuditParameters(buf[:0], kmsapi.OpDecrypt.Input, in) }); n > 0 {
		t.Errorf("AppendAuditParameters allocates %v times, want 0", n)
	}
}

// The keys of a map are in order, however many there are.
func TestAppendAuditParametersMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOfN(rapid.StringN(0, 8, -1), rapid.String(), 0, 20).Draw(t, "context")
		in := &kmsapi.DecryptInput{EncryptionContext: m}
		got := string(api.AppendAuditParameters(nil, kmsapi.OpDecrypt.Input, in))
		keys := make([]string, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		for i := range keys {
			for j := range i {
				if keys[i] < keys[j] {
					keys[i], keys[j] = keys[j], keys[i]
				}
			}
		}
		var want []byte
		for _, k := range keys {
			want = append(append(want, ','), api.AppendJSONString(nil, k)...)
			want = append(append(want, ':'), api.AppendJSONString(nil, m[k])...)
		}
		text := `"encryptionContext":{` + strings.TrimPrefix(string(want), ",") + `}`
		if !strings.Contains(got, text) {
			t.Errorf("AppendAuditParameters() = %s, want in it %s", got, text)
		}
	})
}

func BenchmarkAppendAuditParameters(b *testing.B) {
	in, buf := decryptInput(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = api.AppendAuditParameters(buf[:0], kmsapi.OpDecrypt.Input, in)
	}
}
