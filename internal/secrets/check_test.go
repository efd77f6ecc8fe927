package secrets_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/api/smapi"
	"arca/internal/secrets"
	"arca/internal/store"
	"arca/internal/storetest"
)

// newBrokenBed is newBed for tests that break the store on purpose: it is not checked
// at the end.
func newBrokenBed(t testing.TB) *bed {
	b := &bed{now: bedStart, logDir: filepath.Join(t.TempDir(), "audit")}
	b.store = storetest.New(t, b.attach)
	b.start(t)
	return b
}

func (b *bed) spoil(t testing.TB, name string, how func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret)) {
	t.Helper()
	if err := b.svc.Spoil(context.Background(), bedAccount+"/"+bedRegion, name, how); err != nil {
		t.Fatal(err)
	}
}

// asFormat4 leaves a secret as former versions of Arca did.
func (b *bed) asFormat4(t testing.TB, name string) {
	t.Helper()
	b.spoil(t, name, func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
		if err := w.AsFormat4(context.Background(), tx, sec); err != nil {
			t.Error(err)
		}
	})
}

func (b *bed) problems(t testing.TB) (found []string) {
	t.Helper()
	err := b.store.View(context.Background(), func(v *store.Snap) error {
		b.svc.Check(context.Background(), v, func(problem string) { found = append(found, problem) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestCheckFinds(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name    string
		spoil   func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret)
		want    []string
		format4 bool
	}{
		{"label twice", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.Versions[0].Stages = []string{"AWSCURRENT"}
			w.Secret(tx, sec)
		}, []string{"label AWSCURRENT is held twice"}, false},
		{"nothing current", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.Versions[1].Stages = nil
			w.Secret(tx, sec)
		}, []string{"none is AWSCURRENT"}, false},
		{"version twice", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.Versions[0].ID = sec.Versions[1].ID
			w.Secret(tx, sec)
		}, []string{"is there twice"}, false},
		{"unreadable policy", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.ResourcePolicy = `{"Statement":`
			w.Secret(tx, sec)
		}, []string{"its policy cannot be read"}, false},
		{"half scheduled", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.Deleted = 1
			w.Secret(tx, sec)
		}, []string{"half scheduled"}, false},
		{"wrong size", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.Versions[0].Size++
			w.Secret(tx, sec)
		}, []string{"bytes, not"}, false},
		{"name leads elsewhere", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			w.Name(tx, sec, sec.Name, secrets.UID{1})
		}, []string{"its name does not lead to it"}, true},
		{"key that is not of the name", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.Name = "other"
			w.Secret(tx, sec)
		}, []string{"its name does not lead to it"}, false},
		{"name of nothing", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			w.Name(tx, sec, "loose", secrets.UID{1})
		}, []string{"2 names for 1 secrets"}, true},
		{"value of another version", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			_ = w.CopyValue(ctx, tx, sec, *token(1), *token(2))
		}, []string{"value of version " + *token(2) + ": key does not open this ciphertext"}, true},
		{"value of another version in the record", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.Versions[1].Payload = sec.Versions[0].Payload
			w.Secret(tx, sec)
		}, []string{"value of version " + *token(2) + ": key does not open this ciphertext"}, false},
		{"value in the record gone", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.Versions[1].Payload = secrets.Payload{}
			w.Secret(tx, sec)
		}, []string{"value of version " + *token(2), "-1 values"}, false},
		{"value gone", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			w.DropValue(tx, sec, *token(2))
		}, []string{"value of version " + *token(2), "-1 values"}, true},
		{"value of nothing", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			_ = w.CopyValue(ctx, tx, sec, *token(1), *token(3))
		}, []string{"+1 values"}, true},
		{"days out of order", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			w.Days(tx, sec, func(p *secrets.AccessPage) { p.Days = append(p.Days, p.Days...) })
		}, []string{"are not in order"}, false},
		{"days on another page", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			w.Days(tx, sec, func(p *secrets.AccessPage) { p.Page++ })
		}, []string{"where nobody looks for them"}, false},
		{"former days of nobody", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.UID[15]++
			w.AsFormerAccess(tx, sec, 20_000, nil)
		}, []string{"days of access of secret"}, false},
		{"secret gone", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			w.DropSecret(tx, sec)
		}, []string{"days of access", "name of secret", "+2 values"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBrokenBed(t)
			b.create(t, "s")
			b.put(t, "s", 2)
			b.read(t, "s")
			b.flush(t)
			if tc.format4 {
				b.asFormat4(t, "s")
			}
			if found := b.problems(t); len(found) > 0 {
				t.Fatalf("problems before: %v", found)
			}
			b.spoil(t, "s", tc.spoil)
			found := strings.Join(b.problems(t), "\n")
			for _, want := range tc.want {
				if !strings.Contains(found, want) {
					t.Errorf("problems = %q, want one with %q", found, want)
				}
			}
		})
	}
}

// AWS's text is unknown; this one is made after its documentation of the code.
const noDecryption = "DecryptionFailure: Secrets Manager can't decrypt the protected secret text using the provided KMS key."

// A value that somebody with access to the database puts in another's place does not
// open.
func TestMovedValueDoesNotOpen(t *testing.T) {
	b := newBrokenBed(t)
	b.create(t, "s")
	b.put(t, "s", 2)
	b.asFormat4(t, "s")
	b.spoil(t, "s", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
		_ = w.CopyValue(context.Background(), tx, sec, *token(1), *token(2))
	})
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s"},
		noDecryption)
	// A repeat has to open the value to compare it.
	refused(t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(2), SecretString: sensitive("value 2")}, noDecryption)
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 2), noDecryption)
	refused(t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "s", ClientRequestToken: token(2), SecretString: sensitive("value 2")}, noDecryption)
	b.spoil(t, "s", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) { w.DropValue(tx, sec, *token(2)) })
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s"}, "InternalServiceError: An error occurred on the server side.")
}

// A name that leads to no secret is not given to a new one: the old one may still be
// mended.
func TestNameOfMissingSecret(t *testing.T) {
	b := newBrokenBed(t)
	b.create(t, "s")
	b.asFormat4(t, "s")
	b.spoil(t, "s", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) { w.DropSecret(tx, sec) })
	refused(t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(1)}, "InternalServiceError: An error occurred on the server side.")
}
