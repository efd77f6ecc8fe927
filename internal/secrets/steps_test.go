package secrets_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/secrets"
	"arca/internal/store"
	"arca/internal/storetest"
)

// What the tests of single operations do over and over.

// home is a bed whose store can be closed and opened again.
type home struct {
	*bed
	cfg store.Config
}

func newHome(t testing.TB, q secrets.Quotas) *home {
	h := &home{
		bed: &bed{now: bedStart},
		cfg: store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)},
	}
	h.open(t, q)
	return h
}

func (h *home) open(t testing.TB, q secrets.Quotas) {
	h.logDir = filepath.Join(t.TempDir(), "audit")
	h.config.Quotas = q
	h.store = storetest.Open(t, h.cfg, h.attach, h.verify)
	h.start(t)
}

// reopen is the life of a new process: nothing is left but what was stored.
func (h *home) reopen(t testing.TB, q secrets.Quotas) {
	t.Helper()
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h.open(t, q)
}

// newBedWith is newBed with quotas of the test's own.
func newBedWith(t testing.TB, q secrets.Quotas) *bed { return newHome(t, q).bed }

func sensitive(s string) *api.SensitiveString {
	v := api.SensitiveString(s)
	return &v
}

// createEmpty makes a secret without a value.
func (b *bed) createEmpty(t testing.TB, name string) *smapi.CreateSecretOutput {
	t.Helper()
	return b.create(t, name, func(in *smapi.CreateSecretInput) { in.SecretString = nil })
}

// put makes version n a second later.
func (b *bed) put(t testing.TB, id string, n int, stages ...string) *smapi.PutSecretValueOutput {
	t.Helper()
	b.now = b.now.Add(time.Second)
	return must[smapi.PutSecretValueOutput](t, b, smapi.OpPutSecretValue, putInput(id, n, stages...))
}

func putInput(id string, n int, stages ...string) *smapi.PutSecretValueInput {
	return &smapi.PutSecretValueInput{SecretId: id, ClientRequestToken: token(n), SecretString: sensitive("value " + itoa(n)), VersionStages: stages}
}

// read returns the current value.
func (b *bed) read(t testing.TB, id string) string {
	t.Helper()
	out := must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: id})
	return string(*out.SecretString)
}

func (b *bed) describe(t testing.TB, id string) *smapi.DescribeSecretOutput {
	t.Helper()
	return must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: id})
}

// labels shows the labels as "1:A,B 2:C", versions by the number of their token.
func (b *bed) labels(t testing.TB, id string) string {
	t.Helper()
	var parts []string
	for version, stages := range b.describe(t, id).VersionIdsToStages {
		stages = slices.Sorted(slices.Values(stages)) // an answer shares its memory with the record
		parts = append(parts, strings.TrimLeft(version[len(version)-12:], "0")+":"+strings.Join(stages, ","))
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// announce adds version n without a value, as a rotation does.
func (b *bed) announce(t testing.TB, name string, n int) {
	t.Helper()
	if err := b.svc.Announce(context.Background(), bedAccount+"/"+bedRegion, name, *token(n), b.now); err != nil {
		t.Fatal(err)
	}
}

// schedule deletes with the default window.
func (b *bed) schedule(t testing.TB, id string) *smapi.DeleteSecretOutput {
	t.Helper()
	return must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: id})
}

// check runs the package's own check of the whole store.
func (b *bed) check(t testing.TB) {
	t.Helper()
	err := b.store.View(context.Background(), func(v *store.Snap) error {
		b.svc.Check(context.Background(), v, func(problem string) { t.Errorf("check: %s", problem) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// asked returns the only question the authorizer was asked by fn.
func (b *bed) askedBy(t testing.TB, fn func()) call.Check {
	t.Helper()
	b.questions()
	fn()
	asked := b.questions()
	if len(asked) != 1 {
		t.Fatalf("%d questions were asked, want 1: %+v", len(asked), asked)
	}
	return asked[0]
}

// keysOf shows the condition keys of a question by name.
func keysOf(ck call.Check) map[string]string {
	m := make(map[string]string)
	for _, k := range ck.Keys {
		m[k.Name] = strings.Join(k.Values, ",")
	}
	return m
}

const arnOfBed = "arn:aws:secretsmanager:" + bedRegion + ":" + bedAccount + ":secret:"

// accessRevision is when an access record was last written. What the store tidies up
// meanwhile has revisions, too.
func (b *bed) accessRevision(t testing.TB) (rev int64) {
	t.Helper()
	err := b.store.View(context.Background(), func(v *store.Snap) error { rev = b.svc.AccessRevision(v); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return rev
}
