package admin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arca/internal/api/arcaapi"
	"arca/internal/rootkey"
	"arca/internal/storetest"
)

// newFileBed has a root key in a file, as servers do.
func newFileBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{dir: t.TempDir()}
	b.rootKey = rootkey.NewFile(b.keyFile(), filepath.Join(b.dir, "store"))
	b.open(t, false)
	return b
}

// reopen closes the store as a stop does and opens it again.
func (b *bed) reopen(t *testing.T) {
	t.Helper()
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	b.open(t, false)
}

// reseal does the background work of a rotated storage key to its end.
func (b *bed) reseal(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		p, err := b.store.Reseal(t.Context(), b.Now())
		if err != nil {
			t.Fatal(err)
		}
		if ring := b.keyring(t); !p.More && retired(ring) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("records are not sealed anew: %+v", p)
		}
	}
}

func (b *bed) keyring(t *testing.T) *arcaapi.DescribeKeyringOutput {
	t.Helper()
	return must[arcaapi.DescribeKeyringOutput](t, b, arcaapi.OpDescribeKeyring, &arcaapi.DescribeKeyringInput{}, root)
}

// retired counts the storage keys that seal no more.
func retired(ring *arcaapi.DescribeKeyringOutput) (n int) {
	for _, k := range ring.Keys {
		if *k.Purpose == "storage" && *k.State == "retired" {
			n++
		}
	}
	return n
}

func TestDescribeKeyring(t *testing.T) {
	b := newFileBed(t)
	got := b.keyring(t)
	if *got.DeploymentId != b.store.DeploymentID() {
		t.Errorf("deployment %s, want %s", *got.DeploymentId, b.store.DeploymentID())
	}
	if *got.RootKey.Kind != "file" || len(*got.RootKey.KeyId) != 32 || len(got.RootKey.Former) != 0 {
		t.Errorf("root key %s %s with %d former ones", *got.RootKey.Kind, *got.RootKey.KeyId, len(got.RootKey.Former))
	}
	purposes := map[string]bool{}
	for _, k := range got.Keys {
		purposes[*k.Purpose] = true
		if *k.State != "active" || *k.Version != 1 || len(*k.KeyId) != 32 || time.Since(*k.CreatedDate) > time.Minute {
			t.Errorf("key %s: %s, version %d, created %v", *k.Purpose, *k.State, *k.Version, *k.CreatedDate)
		}
		if (k.Records != nil) != (*k.Purpose == "storage") {
			t.Errorf("key %s tells of records: %v", *k.Purpose, k.Records != nil)
		}
	}
	for _, p := range []string{"storage", "index", "kms", "iam", "session-token", "page-token"} {
		if !purposes[p] {
			t.Errorf("there is no key for %s", p)
		}
	}
	if got.Total != nil {
		t.Errorf("%d of %d records are sealed anew, though there is nothing to do", *got.Done, *got.Total)
	}
}

func TestRotateKeyring(t *testing.T) {
	b := newFileBed(t)
	for _, name := range []string{"a", "b", "c"} {
		b.account(t, name)
	}
	out := must[arcaapi.RotateKeyringOutput](t, b, arcaapi.OpRotateKeyring, &arcaapi.RotateKeyringInput{}, root)
	if *out.Key.Purpose != "storage" || *out.Key.Version != 2 || *out.Key.State != "active" {
		t.Errorf("RotateKeyring = %s key, version %d, %s", *out.Key.Purpose, *out.Key.Version, *out.Key.State)
	}
	if got := b.keyring(t); retired(got) != 1 || got.Total == nil || *got.Done >= *got.Total {
		t.Errorf("%d keys are retired, progress %v of %v", retired(got), got.Done, got.Total)
	}
	b.reseal(t)
	if got := b.keyring(t); got.Total != nil {
		t.Errorf("done, and yet %d of %d", *got.Done, *got.Total)
	}
	// What was written before is there, also after a restart.
	b.reopen(t)
	accounts := must[arcaapi.ListAccountsOutput](t, b, arcaapi.OpListAccounts, &arcaapi.ListAccountsInput{}, root)
	if len(accounts.Accounts) != 4 {
		t.Errorf("%d accounts, want 4", len(accounts.Accounts))
	}
}

func TestRotateRootKey(t *testing.T) {
	b := newFileBed(t)
	b.account(t, "kept")
	before := b.keyring(t).RootKey
	first, err := os.ReadFile(b.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	out := must[arcaapi.RotateRootKeyOutput](t, b, arcaapi.OpRotateRootKey, &arcaapi.RotateRootKeyInput{}, root)
	if *out.RootKey.KeyId == *before.KeyId || len(out.RootKey.Former) != 1 {
		t.Fatalf("root key %s after %s, %d former", *out.RootKey.KeyId, *before.KeyId, len(out.RootKey.Former))
	}
	former := out.RootKey.Former[0]
	if *former.KeyId != *before.KeyId || *former.Kind != "file" || time.Since(*former.RetiredDate) > time.Minute {
		t.Errorf("former root key %s %s of %v", *former.Kind, *former.KeyId, *former.RetiredDate)
	}
	// It lies where it is said to, and is what it was.
	kept, err := os.ReadFile(*former.Place)
	if err != nil || string(kept) != string(first) {
		t.Errorf("the former root key in %s: %v", *former.Place, err)
	}
	if now, err := os.ReadFile(b.keyFile()); err != nil || string(now) == string(first) {
		t.Errorf("the root key is the former one still: %v", err)
	}
	b.reopen(t)
	if got := b.keyring(t).RootKey; *got.KeyId != *out.RootKey.KeyId || len(got.Former) != 1 {
		t.Errorf("after a restart %s with %d former ones", *got.KeyId, len(got.Former))
	}
	must[arcaapi.GetClockOutput](t, b, arcaapi.OpGetClock, &arcaapi.GetClockInput{}, root)
}

// What keeps the operator from a new root key, he is told.
func TestRotateRootKeyRefused(t *testing.T) {
	b := newFileBed(t)
	if err := os.Mkdir(b.keyFile()+".next", 0o700); err != nil {
		t.Fatal(err)
	}
	before := b.keyring(t).RootKey
	got := b.refused(t, arcaapi.OpRotateRootKey, &arcaapi.RotateRootKeyInput{}, root)
	if !strings.HasPrefix(got, "RootKeyException: The root key was not exchanged") || !strings.Contains(got, "root.key.next is not a regular file") {
		t.Errorf("refused with %s", got)
	}
	if after := b.keyring(t).RootKey; *after.KeyId != *before.KeyId || len(after.Former) != 0 {
		t.Errorf("root key %s with %d former ones after a refusal, before %s", *after.KeyId, len(after.Former), *before.KeyId)
	}
}

// Whoever ordered a change of keys stands in the audit log, with the others who tried.
func TestKeyOrdersAreRecorded(t *testing.T) {
	b := newFileBed(t)
	tenant := b.account(t, "tenant")
	b.refused(t, arcaapi.OpRotateRootKey, &arcaapi.RotateRootKeyInput{}, tenant)
	must[arcaapi.RotateRootKeyOutput](t, b, arcaapi.OpRotateRootKey, &arcaapi.RotateRootKeyInput{}, root)
	must[arcaapi.RotateKeyringOutput](t, b, arcaapi.OpRotateKeyring, &arcaapi.RotateKeyringInput{}, root)
	if err := b.keys.RecordMigration(t.Context(), b.d, b.Now(), "file", "passphrase"); err != nil {
		t.Fatal(err)
	}
	log := readAll(t, b.logDir())
	for _, want := range []struct {
		part string
		n    int
	}{
		{`"eventName":"RotateRootKey"`, 2}, {`"eventName":"RotateKeyring"`, 1},
		{`"eventName":"MigrateRootKey"`, 1}, {`{"from":"file","to":"passphrase"}`, 1},
	} {
		if got := strings.Count(log, want.part); got != want.n {
			t.Errorf("the log has %s %d times, want %d", want.part, got, want.n)
		}
	}
}

// The bed's own root key is of a kind that nobody knows here.
func TestStoreTestRootKey(t *testing.T) {
	b := newBed(t, false)
	out := must[arcaapi.RotateRootKeyOutput](t, b, arcaapi.OpRotateRootKey, &arcaapi.RotateRootKeyInput{}, root)
	if out.RootKey.Former[0].Place != nil {
		t.Errorf("the former root key lies in %s", *out.RootKey.Former[0].Place)
	}
	if want := storetest.NewRootKey().Kind(); *out.RootKey.Kind != want {
		t.Errorf("kind %s, want %s", *out.RootKey.Kind, want)
	}
}
