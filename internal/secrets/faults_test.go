package secrets_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/secrets"
)

// tried runs a call and keeps only whether it failed.
func tried[Out any](t testing.TB, b *bed, op *api.Operation, in any) error {
	t.Helper()
	_, err := do[Out](t, b, op, in)
	return err
}

// done is nil for errors that only say that the first try went through: operations
// without a token cannot tell a repeat from a second wish.
func done(err error, text string) error {
	if aerr, ok := errors.AsType[*api.Error](err); ok && strings.Contains(aerr.Message, text) {
		return nil
	}
	return err
}

// Each commit of each changing operation fails in every way it can. Afterwards the
// repeated call has the result of one call, and nothing is left half done.
func TestEveryCommit(t *testing.T) {
	value := func(t *testing.T, b *bed, want string) {
		t.Helper()
		if got := b.read(t, "s"); got != want {
			t.Errorf("value = %q, want %q", got, want)
		}
	}
	labels := func(t *testing.T, b *bed, want string) {
		t.Helper()
		if got := b.labels(t, "s"); got != want {
			t.Errorf("labels = %s, want %s", got, want)
		}
	}
	two := func(t *testing.T, b *bed) { b.create(t, "s"); b.put(t, "s", 2, "MINE") }
	for _, tc := range []struct {
		name   string
		setup  func(t *testing.T, b *bed)
		do     func(t *testing.T, b *bed) error
		verify func(t *testing.T, b *bed)
	}{
		{"CreateSecret", func(*testing.T, *bed) {},
			func(t *testing.T, b *bed) error {
				return tried[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(1), SecretString: sensitive("v"), Tags: tags("k", "v")})
			},
			func(t *testing.T, b *bed) { value(t, b, "v"); labels(t, b, "1:AWSCURRENT") }},
		{"CreateSecret without value", func(*testing.T, *bed) {},
			func(t *testing.T, b *bed) error {
				return tried[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(1)})
			},
			func(t *testing.T, b *bed) { labels(t, b, "") }},
		{"PutSecretValue", two,
			func(t *testing.T, b *bed) error {
				return tried[smapi.PutSecretValueOutput](t, b, smapi.OpPutSecretValue, putInput("s", 3))
			},
			func(t *testing.T, b *bed) { value(t, b, "value 3"); labels(t, b, "1:AWSPREVIOUS 2:MINE 3:AWSCURRENT") }},
		{"PutSecretValue fills", func(t *testing.T, b *bed) { b.create(t, "s"); b.announce(t, "s", 2) },
			func(t *testing.T, b *bed) error {
				return tried[smapi.PutSecretValueOutput](t, b, smapi.OpPutSecretValue, putInput("s", 2, "AWSPENDING"))
			},
			func(t *testing.T, b *bed) { labels(t, b, "1:AWSCURRENT 2:AWSPENDING") }},
		{"UpdateSecret", two,
			func(t *testing.T, b *bed) error {
				return tried[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "s", ClientRequestToken: token(3), SecretString: sensitive("v"), Description: new("d")})
			},
			func(t *testing.T, b *bed) { value(t, b, "v"); labels(t, b, "1:AWSPREVIOUS 2:MINE 3:AWSCURRENT") }},
		{"UpdateSecretVersionStage", two,
			func(t *testing.T, b *bed) error {
				return done(tried[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{
					SecretId: "s", VersionStage: "AWSCURRENT", RemoveFromVersionId: token(1), MoveToVersionId: token(2),
				}), "not found in version")
			},
			func(t *testing.T, b *bed) { value(t, b, "value 2"); labels(t, b, "1:AWSPREVIOUS 2:AWSCURRENT,MINE") }},
		{"DeleteSecret", two,
			func(t *testing.T, b *bed) error {
				return done(tried[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s"}), "marked for deletion")
			},
			func(t *testing.T, b *bed) {
				if b.describe(t, "s").DeletedDate == nil {
					t.Error("the secret is not scheduled")
				}
			}},
		{"DeleteSecret forced", func(t *testing.T, b *bed) { two(t, b); b.read(t, "s"); b.flush(t) },
			func(t *testing.T, b *bed) error {
				return tried[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s", ForceDeleteWithoutRecovery: new(true)})
			},
			func(t *testing.T, b *bed) {
				if b.exists(t, "s") {
					t.Error("the secret is still there")
				}
				b.create(t, "s")
			}},
		{"RestoreSecret", func(t *testing.T, b *bed) { two(t, b); b.schedule(t, "s") },
			func(t *testing.T, b *bed) error {
				return tried[smapi.RestoreSecretOutput](t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: "s"})
			},
			func(t *testing.T, b *bed) { value(t, b, "value of s") }},
		{"TagResource", two,
			func(t *testing.T, b *bed) error {
				return tried[smapi.TagResourceOutput](t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: tags("k", "v")})
			},
			func(t *testing.T, b *bed) {
				if n := len(b.describe(t, "s").Tags); n != 1 {
					t.Errorf("%d tags, want 1", n)
				}
			}},
		{"UntagResource", func(t *testing.T, b *bed) {
			b.create(t, "s", func(in *smapi.CreateSecretInput) { in.Tags = tags("k", "v") })
		},
			func(t *testing.T, b *bed) error {
				return tried[smapi.UntagResourceOutput](t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "s", TagKeys: []string{"k"}})
			},
			func(t *testing.T, b *bed) {
				if got := b.describe(t, "s").Tags; got == nil || len(got) != 0 {
					t.Errorf("tags = %v, want an empty list", got)
				}
			}},
		{"Step and FlushAccess", func(t *testing.T, b *bed) {
			b.create(t, "s")
			b.create(t, "gone")
			b.create(t, "gone-too")
			b.read(t, "s")
			b.schedule(t, "gone")
			b.schedule(t, "gone-too")
			b.now = b.now.Add(31 * oneDay)
		},
			func(t *testing.T, b *bed) error {
				err := secrets.NewExpiry(b.svc, b.dispatcher).Step(context.Background(), b.now)
				return errors.Join(err, b.svc.FlushAccess(context.Background()))
			},
			func(t *testing.T, b *bed) {
				if b.exists(t, "gone") || b.exists(t, "gone-too") || !b.exists(t, "s") {
					t.Error("not exactly the scheduled secrets are gone")
				}
				if b.describe(t, "s").LastAccessedDate == nil {
					t.Error("the day of access is lost")
				}
			}},
	} {
		t.Run(tc.name, func(t *testing.T) { everyCommit(t, tc.setup, tc.do, tc.verify) })
	}
}
