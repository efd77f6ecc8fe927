package secretsmanager_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"arca/conformance/target"
)

// advance moves the clock of a development server, as a user does.
func advance(t *testing.T, s *target.Server, by string) {
	t.Helper()
	cmd := exec.Command(s.Binary, "dev", "clock", "advance", by, "--endpoint", s.URL)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("arca dev clock advance %s: %v\n%s", by, err, out)
	}
}

// own starts a server whose clock this test alone moves.
func own(t *testing.T) (*kit, *target.Server) {
	t.Helper()
	if shared.Server == nil {
		t.Skip("needs a server of its own, whose clock it can move")
	}
	t.Parallel()
	s := shared.Server.Start(t)
	return &kit{Client: s.Client(), t: t, prefix: "clock/"}, s
}

// soon repeats a check until it holds.
func soon(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !check(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// At the end of the recovery window a secret is gone, and its name is free.
func TestClockRecoveryWindow(t *testing.T) {
	k, server := own(t)
	name, _ := k.secret("goes", "old")
	stays, _ := k.secret("stays", "v")
	restored, _ := k.secret("restored", "v")
	k.must(k.delete(name, 7, nil))
	k.must(k.delete(stays, 30, nil))
	k.must(k.delete(restored, 7, nil))
	describe := func(id string) error {
		_, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &id})
		return err
	}

	advance(t, server, "6d23h")
	time.Sleep(2 * time.Second) // two steps of the engine, which must do nothing
	k.must(nil, describe(name))
	k.must(k.RestoreSecret(k.ctx(), &secretsmanager.RestoreSecretInput{SecretId: &restored}))

	advance(t, server, "2h")
	soon(t, "the end of the secret", func() bool {
		_, gone := errors.AsType[*types.ResourceNotFoundException](describe(name))
		return gone
	})
	k.must(nil, describe(stays))
	if got := k.value(restored, ""); got != "v" {
		t.Errorf("value of the restored secret = %q, want v", got)
	}
	if got := k.list(secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)}); strings.Join(got, " ") != "stays restored" {
		t.Errorf("list = %v, want stays and restored", got)
	}
	k.create(&secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("new")})
	if got := k.value(name, ""); got != "new" {
		t.Errorf("value = %q, want new", got)
	}
}

// Stored dates follow the moved clock; signatures do not.
func TestClockDates(t *testing.T) {
	k, server := own(t)
	advance(t, server, "400d")
	name, _ := k.secret("s", "v")
	out, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	if off := time.Until(*out.CreatedDate) - 400*day; off < -5*time.Minute || off > 5*time.Minute {
		t.Errorf("CreatedDate = %v, want 400 days from now", out.CreatedDate)
	}
}

// A version without labels goes when it is a day old and more than a hundred are
// there; labelled ones never do.
func TestClockPruning(t *testing.T) {
	k, server := own(t)
	name := k.empty("s")
	kept := k.put(name, "kept", "keep")
	for range 99 {
		k.put(name, "v")
	}
	_, err := k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String("v")})
	wantError[*types.LimitExceededException](t, err, "") // none is old enough to go
	advance(t, server, "25h")
	for range 30 {
		soon(t, "room for another version", func() bool {
			_, err := k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String("v")})
			return err == nil
		})
	}
	if n := k.countVersions(name); n > 101 {
		t.Errorf("the secret has %d versions, want about 100", n)
	}
	out, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &name, VersionId: &kept})
	if err != nil || aws.ToString(out.SecretString) != "kept" {
		t.Errorf("the labelled version: %v", err)
	}
}

func (k *kit) countVersions(id string) (n int) {
	k.t.Helper()
	pages := secretsmanager.NewListSecretVersionIdsPaginator(k, &secretsmanager.ListSecretVersionIdsInput{SecretId: &id, IncludeDeprecated: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(k.ctx())
		if err != nil {
			k.t.Fatal(err)
		}
		n += len(page.Versions)
	}
	return n
}
