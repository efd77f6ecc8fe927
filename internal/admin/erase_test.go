package admin_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"arca/internal/admin"
	"arca/internal/api/arcaapi"
	"arca/internal/backup"
	"arca/internal/rootkey"
	"arca/internal/store"
	"arca/internal/storetest"
)

func (b *bed) startErase(t *testing.T) {
	t.Helper()
	must[arcaapi.StartEraseOutput](t, b, arcaapi.OpStartErase, &arcaapi.StartEraseInput{DeploymentId: b.store.DeploymentID()[:8]}, root)
}

func (b *bed) describeErase(t *testing.T) *arcaapi.DescribeEraseOutput {
	t.Helper()
	return must[arcaapi.DescribeEraseOutput](t, b, arcaapi.OpDescribeErase, &arcaapi.DescribeEraseInput{}, root)
}

// erase steps the engines until the erasure is at its end, and between two stages does
// what it is given.
func (b *bed) erase(t *testing.T, between func(stage string)) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		e := b.describeErase(t).Erasure
		if e.FinishedDate != nil {
			return
		}
		if *e.Stage != last && between != nil {
			between(*e.Stage)
		}
		last = *e.Stage
		if time.Now().After(deadline) {
			t.Fatalf("the erasure is still %s", last)
		}
		if _, err := b.store.Reseal(t.Context(), b.Now()); err != nil {
			t.Fatal(err)
		}
		b.eraser.AtOnce()
		if _, err := b.eraser.Step(t.Context(), b.Now()); err != nil {
			t.Fatalf("%s: %v", last, err)
		}
	}
}

// ids are the id of the root key, and id and version of the storage keys.
func (b *bed) ids(t *testing.T) (ids [][]byte) {
	t.Helper()
	ring := b.keyring(t)
	decode := func(text string) []byte {
		id, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	ids = append(ids, decode(*ring.RootKey.KeyId))
	for _, k := range ring.Keys {
		if *k.Purpose == "storage" {
			ids = append(ids, binary.BigEndian.AppendUint32(decode(*k.KeyId), uint32(*k.Version)))
		}
	}
	return ids
}

func (b *bed) files(t *testing.T, ids [][]byte) []string {
	t.Helper()
	found, err := admin.Search(t.Context(), filepath.Join(b.dir, "store"), ids)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestErase(t *testing.T) {
	b := newFileBed(t)
	for _, name := range []string{"a", "b", "c"} {
		b.account(t, name)
		b.guard(t, name, everything)
	}
	// One former root key is there already.
	must[arcaapi.RotateRootKeyOutput](t, b, arcaapi.OpRotateRootKey, &arcaapi.RotateRootKeyInput{}, root)
	before := b.describeErase(t)
	if before.Erasure != nil || before.CannotDestroy != nil || *before.DeploymentId != b.store.DeploymentID() || len(before.RootKey.Former) != 1 {
		t.Errorf("before any erasure: %+v", before)
	}
	ids := b.ids(t)
	if len(b.files(t, ids)) == 0 {
		t.Fatal("the keys are not found before they are erased: the search would find nothing at all")
	}
	b.startErase(t)
	stages := []string{}
	b.erase(t, func(stage string) { stages = append(stages, stage) })
	if want := []string{
		"making a new storage key", "sealing records anew", "exchanging the root key", "rewriting the files", "searching the files",
	}; !slices.Equal(stages, want) {
		t.Errorf("stages %q, want %q", stages, want)
	}
	after := b.describeErase(t)
	e := after.Erasure
	if *e.Stage != "done" || e.Problem != nil || e.Remains != nil || e.FinishedDate.Before(*e.StartedDate) {
		t.Errorf("at the end: %+v", e)
	}
	if *after.RootKey.KeyId == *before.RootKey.KeyId || len(after.RootKey.Former) != 0 {
		t.Errorf("root key %s, %d former", *after.RootKey.KeyId, len(after.RootKey.Former))
	}
	if n := retired(b.keyring(t)); n != 0 {
		t.Errorf("%d storage keys are retired", n)
	}
	if found := b.files(t, ids); len(found) > 0 {
		t.Errorf("the old keys are still named in %q", found)
	}
	if left, err := filepath.Glob(b.keyFile() + ".*"); err != nil || len(left) > 0 {
		t.Errorf("beside the root key lie %q, %v", left, err)
	}
	log := readAll(t, b.logDir())
	for part, n := range map[string]int{
		`"eventName":"StartErase"`: 1, `"eventName":"ContinueErase"`: 4, `"eventName":"FinishErase"`: 1,
	} {
		if got := strings.Count(log, part); got != n {
			t.Errorf("the log has %s %d times, want %d", part, got, n)
		}
	}
	b.reopen(t)
	accounts := must[arcaapi.ListAccountsOutput](t, b, arcaapi.OpListAccounts, &arcaapi.ListAccountsInput{}, root)
	if len(accounts.Accounts) != 4 {
		t.Errorf("%d accounts, want 4", len(accounts.Accounts))
	}
	// It can be done again.
	b.startErase(t)
	b.erase(t, nil)
}

// A server that ends between any two stages goes on afterwards.
func TestEraseGoesOn(t *testing.T) {
	b := newFileBed(t)
	b.account(t, "kept")
	ids := b.ids(t)
	b.startErase(t)
	b.erase(t, func(string) { b.reopen(t) })
	if found := b.files(t, ids); len(found) > 0 {
		t.Errorf("the old keys are still named in %q", found)
	}
}

func TestEraseRefused(t *testing.T) {
	b := newFileBed(t)
	start := func(in *arcaapi.StartEraseInput) string { return b.refused(t, arcaapi.OpStartErase, in, root) }
	if got := start(&arcaapi.StartEraseInput{DeploymentId: "00000000"}); got != "InvalidParameterException: This server's deployment is not 00000000." {
		t.Errorf("of another deployment: %s", got)
	}
	b.startErase(t)
	const under = "InvalidRequestException: An erasure is under way (making a new storage key)"
	if got := start(&arcaapi.StartEraseInput{DeploymentId: b.store.DeploymentID()}); !strings.HasPrefix(got, under) {
		t.Errorf("a second one: %s", got)
	}
	if got := b.refused(t, arcaapi.OpRotateRootKey, &arcaapi.RotateRootKeyInput{}, root); !strings.HasPrefix(got, under) {
		t.Errorf("RotateRootKey beside it: %s", got)
	}
	if got := b.refused(t, arcaapi.OpRotateKeyring, &arcaapi.RotateKeyringInput{}, root); !strings.HasPrefix(got, under) {
		t.Errorf("RotateKeyring beside it: %s", got)
	}
	if err := b.keys.RecordMigration(t.Context(), b.d, b.Now(), "file", "kms"); err == nil || !strings.Contains(err.Error(), "an erasure is under way") {
		t.Errorf("a migration beside it: %v", err)
	}
}

// A root key that the server cannot destroy is the operator's to see to, who says so
// before anything is done.
func TestEraseWithoutDestroying(t *testing.T) {
	b := newBed(t, false)
	text := b.describeErase(t).CannotDestroy
	if text == nil || !strings.Contains(*text, `The root key in use is of kind "test"`) {
		t.Fatalf("CannotDestroy = %v", text)
	}
	got := b.refused(t, arcaapi.OpStartErase, &arcaapi.StartEraseInput{DeploymentId: b.store.DeploymentID()}, root)
	if !strings.HasPrefix(got, "InvalidRequestException: "+*text) || !strings.Contains(got, "--former-root-key-handled") {
		t.Errorf("refused with %s", got)
	}
	if e := b.describeErase(t).Erasure; e != nil {
		t.Errorf("after a refusal there is an erasure, %s", *e.Stage)
	}
	must[arcaapi.StartEraseOutput](t, b, arcaapi.OpStartErase, &arcaapi.StartEraseInput{
		DeploymentId: b.store.DeploymentID(), FormerRootKeyHandled: new(true),
	}, root)
	b.erase(t, nil)
	if former := b.keyring(t).RootKey.Former; len(former) != 0 {
		t.Errorf("%d former root keys are left", len(former))
	}
}

// That the operator sees to one former root key does not mean that the server forgets
// another one, which it could not destroy at the first attempt.
func TestEraseForgetsNothingItCouldDestroy(t *testing.T) {
	b := newFileBed(t)
	must[arcaapi.RotateRootKeyOutput](t, b, arcaapi.OpRotateRootKey, &arcaapi.RotateRootKeyInput{}, root)
	former := *b.keyring(t).RootKey.Former[0].Place
	if err := errors.Join(os.Rename(former, former+".away"), os.Mkdir(former, 0o700)); err != nil {
		t.Fatal(err)
	}
	must[arcaapi.StartEraseOutput](t, b, arcaapi.OpStartErase, &arcaapi.StartEraseInput{
		DeploymentId: b.store.DeploymentID(), FormerRootKeyHandled: new(true),
	}, root)
	var problem error
	for range 200 {
		if _, err := b.store.Reseal(t.Context(), b.Now()); err != nil {
			t.Fatal(err)
		}
		if _, problem = b.eraser.Step(t.Context(), b.Now()); problem != nil {
			break
		}
	}
	if problem == nil || !strings.Contains(problem.Error(), "destroy former root keys") {
		t.Fatalf("a former root key that cannot be destroyed: %v", problem)
	}
	if left := b.keyring(t).RootKey.Former; len(left) != 1 {
		t.Errorf("%d former root keys are left, want the one that is in the way", len(left))
	}
	if err := errors.Join(os.Remove(former), os.Rename(former+".away", former)); err != nil {
		t.Fatal(err)
	}
	b.erase(t, nil)
	if _, err := os.Stat(former); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the former root key: %v", err)
	}
}

// An erasure that can come to no end is not begun.
func TestEraseUnderAPassphraseOfTheEnvironment(t *testing.T) {
	b := &bed{dir: t.TempDir(), rootKey: storetest.NewRootKeyOfKind("passphrase"), noFile: true}
	b.open(t, false)
	got := b.refused(t, arcaapi.OpStartErase, &arcaapi.StartEraseInput{
		DeploymentId: b.store.DeploymentID(), FormerRootKeyHandled: new(true),
	}, root)
	if !strings.HasPrefix(got, "InvalidRequestException: The root key comes from a passphrase of the environment") {
		t.Errorf("refused with %s", got)
	}
}

// A backup that was made while an erasure was under way has it in it. Restored, it must
// not go on there: it would destroy the root key that the backup opens with.
func TestEraseDoesNotGoOnAfterARestore(t *testing.T) {
	b := newFileBed(t)
	b.startErase(t)
	raw := b.backup(t, nil, "")
	other := &bed{dir: b.dir + "-restored", rootKey: rootkey.NewFile(b.keyFile(), "")}
	t.Cleanup(func() { _ = os.RemoveAll(other.dir) })
	s := store.New(store.Config{Dir: filepath.Join(other.dir, "store"), RootKey: other.rootKey, Logger: storetest.Logger(t)})
	other.attach(s, false)
	if _, err := backup.Restore(t.Context(), s, bytes.NewReader(raw), backup.Unlock{RootKey: other.rootKey}, func(backup.Stage, int64) {}); err != nil {
		t.Fatal(err)
	}
	other.open(t, false)
	before := other.describeErase(t)
	for range 10 {
		if _, err := other.eraser.Step(t.Context(), other.Now()); err != nil {
			t.Fatal(err)
		}
	}
	after := other.describeErase(t)
	if before.Erasure == nil || after.Erasure != nil || *after.RootKey.KeyId != *before.RootKey.KeyId {
		t.Errorf("before %+v, after %+v, root key %s", before.Erasure, after.Erasure, *after.RootKey.KeyId)
	}
	if log := readAll(t, other.logDir()); strings.Count(log, `"eventName":"AbandonErase"`) != 1 {
		t.Error("the log does not tell of it")
	}
	other.startErase(t)
}

// What keeps a stage from its end is told, and tried again.
func TestEraseProblem(t *testing.T) {
	b := newFileBed(t)
	next := b.keyFile() + ".next"
	if err := os.Mkdir(next, 0o700); err != nil {
		t.Fatal(err)
	}
	b.startErase(t)
	var problem error
	for range 200 {
		if _, err := b.store.Reseal(t.Context(), b.Now()); err != nil {
			t.Fatal(err)
		}
		if _, problem = b.eraser.Step(t.Context(), b.Now()); problem != nil {
			break
		}
	}
	if problem == nil || !strings.Contains(problem.Error(), "is not a regular file") {
		t.Fatalf("a root key that cannot be made: %v", problem)
	}
	e := b.describeErase(t).Erasure
	if e.Problem == nil || *e.Attempts != 1 || *e.Stage != "exchanging the root key" || !strings.Contains(*e.Problem, "is not a regular file") {
		t.Errorf("told is %+v", e)
	}
	// Not at once: it waits for its time.
	if _, err := b.eraser.Step(t.Context(), b.Now()); err != nil {
		t.Errorf("the next step did not wait: %v", err)
	}
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	b.erase(t, nil)
	if e := b.describeErase(t).Erasure; e.Problem != nil {
		t.Errorf("at the end there is still the problem %s", *e.Problem)
	}
}

// keysScenario does something with the keys of a store that holds some records, all of
// which must open afterwards: the checks see to that.
func keysScenario(do func(t *testing.T, b *bed) error, verify func(t *testing.T, b *bed)) storetest.Scenario[*bed] {
	return storetest.Scenario[*bed]{
		Attach: func(s *store.Store) *bed { b := &bed{}; b.attach(s, false); return b },
		Setup: func(t *testing.T, b *bed) {
			b.serve(t)
			b.account(t, "tenant")
			b.guard(t, "tenant", everything)
		},
		Do:     do,
		Verify: verify,
		Check:  func(b *bed, v *store.Snap, report func(string)) { b.check(v, report) },
	}
}

func TestRotationsEveryCommit(t *testing.T) {
	storetest.EveryCommit(t, keysScenario(func(t *testing.T, b *bed) error {
		if _, err := b.call(arcaapi.OpRotateKeyring, &arcaapi.RotateKeyringInput{}, root); err != nil {
			return err
		}
		_, err := b.call(arcaapi.OpRotateRootKey, &arcaapi.RotateRootKeyInput{}, root)
		return err
	}, func(t *testing.T, b *bed) {
		ring := b.keyring(t)
		if len(ring.RootKey.Former) == 0 || retired(ring) == 0 {
			t.Errorf("%d former root keys, %d retired storage keys", len(ring.RootKey.Former), retired(ring))
		}
	}))
}

// An erasure comes to the stage that rewrites the files, which package store tests with
// faults of its own, whichever commit fails.
func TestEraseEveryCommit(t *testing.T) {
	var before *arcaapi.DescribeKeyringOutput
	sc := keysScenario(func(t *testing.T, b *bed) error {
		out, err := b.call(arcaapi.OpDescribeErase, &arcaapi.DescribeEraseInput{}, root)
		if err != nil {
			return err
		}
		if out.(*arcaapi.DescribeEraseOutput).Erasure == nil {
			if _, err := b.call(arcaapi.OpStartErase, &arcaapi.StartEraseInput{
				DeploymentId: b.store.DeploymentID(), FormerRootKeyHandled: new(true),
			}, root); err != nil && !strings.Contains(err.Error(), "An erasure is under way") {
				return err // one whose start nobody was told of may show a moment later
			}
		}
		for *b.describeErase(t).Erasure.Stage != "rewriting the files" {
			if _, err := b.store.Reseal(t.Context(), b.Now()); err != nil {
				return err
			}
			b.eraser.AtOnce()
			if _, err := b.eraser.Step(t.Context(), b.Now()); err != nil {
				return err
			}
		}
		return nil
	}, func(t *testing.T, b *bed) {
		after := b.keyring(t)
		if *after.RootKey.KeyId == *before.RootKey.KeyId || len(after.RootKey.Former) != 0 || retired(after) != 0 {
			t.Errorf("root key %s, %d former, %d retired storage keys", *after.RootKey.KeyId, len(after.RootKey.Former), retired(after))
		}
		for _, k := range after.Keys {
			if *k.Purpose == "storage" && *k.Version == 1 {
				t.Error("the first storage key is still in the keyring")
			}
		}
	})
	setup := sc.Setup
	sc.Setup = func(t *testing.T, b *bed) {
		setup(t, b)
		before = b.keyring(t)
	}
	storetest.EveryCommit(t, sc)
}
