package secrets_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/smapi"
	"arca/internal/secrets"
)

// step runs the expiry engine once at the bed's time.
func (b *bed) step(t testing.TB) {
	t.Helper()
	if err := secrets.NewExpiry(b.svc, b.dispatcher).Step(context.Background(), b.now); err != nil {
		t.Fatalf("Step: %v", err)
	}
}

func (b *bed) exists(t testing.TB, id string) bool {
	t.Helper()
	_, err := do[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: id})
	return err == nil
}

func TestExpiryOfSecrets(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "week")
	b.create(t, "month")
	b.create(t, "restored")
	b.create(t, "stays")
	b.put(t, "week", 2)
	b.read(t, "week")
	b.read(t, "stays")
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "week", RecoveryWindowInDays: new(int64(7))})
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "restored", RecoveryWindowInDays: new(int64(7))})
	b.schedule(t, "month")
	b.flush(t)
	b.step(t)
	must[smapi.RestoreSecretOutput](t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: "restored"})
	scheduled := b.now
	for _, tc := range []struct {
		after time.Duration
		want  []string
	}{
		{7*oneDay - time.Millisecond, []string{"week", "month", "restored", "stays"}},
		{7 * oneDay, []string{"month", "restored", "stays"}},
		{30*oneDay - time.Millisecond, []string{"month", "restored", "stays"}},
		{30 * oneDay, []string{"restored", "stays"}},
		{3000 * oneDay, []string{"restored", "stays"}},
	} {
		b.now = scheduled.Add(tc.after)
		b.step(t)
		var left []string
		for _, name := range []string{"week", "month", "restored", "stays"} {
			if b.exists(t, name) {
				left = append(left, name)
			}
		}
		if diff := cmp.Diff(tc.want, left); diff != "" {
			t.Errorf("secrets left after %v (-want +got):\n%s", tc.after, diff)
		}
		b.check(t)
	}
	b.create(t, "week") // the name is free
	if got := b.labels(t, "week"); got != "1:AWSCURRENT" {
		t.Errorf("labels of the new secret = %s", got)
	}
	events := strings.Join(b.auditEvents(t), "\n")
	if got := strings.Count(events, "EndSecretVersionDelete"); got != 3 {
		t.Errorf("%d events EndSecretVersionDelete, want one for each of three versions", got)
	}
}

// A quota made smaller leaves secrets with too many versions; the engine prunes them
// as they come of age, the oldest first.
func TestExpiryOfVersions(t *testing.T) {
	h := newHome(t, secrets.Quotas{})
	b := h.bed
	defer b.check(t)
	b.create(t, "s")
	b.put(t, "s", 2, "KEEP")
	for n := 3; n <= 8; n++ {
		b.put(t, "s", n)
		b.now = b.now.Add(time.Hour)
	}
	b.createEmpty(t, "other")
	h.reopen(t, secrets.Quotas{Versions: 4})
	b.now = b.now.Add(-time.Hour)
	versions := func() (n int) {
		for i := 1; i <= 8; i++ {
			if _, err := do[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(i)}); err == nil {
				n++
			}
		}
		return n
	}
	b.step(t)
	if got := versions(); got != 8 {
		t.Errorf("%d versions while all are young, want 8", got)
	}
	b.now = b.now.Add(18 * time.Hour) // the first ones are a day old when hours pass
	for range 12 {
		b.now = b.now.Add(time.Hour)
		b.step(t)
		b.check(t)
	}
	if got := versions(); got != 4 {
		t.Errorf("%d versions, want 4", got)
	}
	if got := b.labels(t, "s"); got != "2:KEEP 7:AWSPREVIOUS 8:AWSCURRENT" {
		t.Errorf("labels = %s", got)
	}
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(6)})
	events := strings.Join(b.auditEvents(t), "\n")
	for _, event := range []string{"StartSecretVersionDelete", "EndSecretVersionDelete"} {
		if got := strings.Count(events, event); got != 4 {
			t.Errorf("%d events %s, want one for each of four versions", got, event)
		}
	}
}

// More versions may go at once than one transaction can hold.
func TestExpiryOfManyVersions(t *testing.T) {
	h := newHome(t, secrets.Quotas{Versions: 300})
	b := h.bed
	defer b.check(t)
	b.create(t, "s")
	for n := 2; n <= 150; n++ {
		b.put(t, "s", n)
	}
	h.reopen(t, secrets.Quotas{Versions: 10})
	b.now = b.now.Add(2 * oneDay)
	for _, want := range []int{50, 10, 10} {
		b.step(t)
		out := must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: "s", IncludeDeprecated: new(true)})
		if got := len(out.Versions); got != want {
			t.Errorf("%d versions, want %d", got, want)
		}
	}
	if got := b.labels(t, "s"); got != "149:AWSPREVIOUS 150:AWSCURRENT" {
		t.Errorf("labels = %s", got)
	}
}

func TestExpiryOfManySecrets(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	for i := range 30 {
		b.createEmpty(t, "s"+itoa(i))
		b.schedule(t, "s"+itoa(i))
	}
	b.now = b.now.Add(31 * oneDay)
	b.step(t)
	for i := range 30 {
		if b.exists(t, "s"+itoa(i)) {
			t.Errorf("secret %d is still there", i)
		}
	}
	before := len(b.auditEvents(t))
	if got := strings.Count(strings.Join(b.auditEvents(t), "\n"), "EndSecretVersionDelete"); got != 30 {
		t.Errorf("%d events EndSecretVersionDelete, want one for each secret, also without versions", got)
	}
	b.step(t)
	if after := len(b.auditEvents(t)); after != before {
		t.Errorf("a step with nothing due wrote %d audit records", after-before)
	}
}
