package secrets_test

import (
	"testing"
	"time"

	"arca/internal/api/smapi"
	"arca/internal/secrets"
	"arca/internal/store"
)

// TestMissed: the record keeps the end of the first window whose rotation has not
// succeeded, until one does.
func TestMissed(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	survey := secrets.NewSurvey(b.svc)
	record := func() (rot secrets.Rotation) {
		t.Helper()
		if err := b.store.View(t.Context(), func(v *store.Snap) error {
			survey.Walk(v, "", func(_ string, sec *secrets.Secret) bool { rot = *sec.Rotation; return true })
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return rot
	}
	expect := func(when string, want secrets.Instant) {
		t.Helper()
		if got := record().Missed; got != want {
			t.Errorf("%s: missed %v, want %v", when, got.Time(), want.Time())
		}
	}
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(10)))
	x.run(t)
	expect("rotated by hand", 0)

	first := record().Next
	b.now = first.Time().Add(-time.Hour)
	x.fail[secrets.StepSet] = 1
	x.run(t)
	expect("failed within its window", first)
	second := record().Next
	if second <= first {
		t.Fatalf("the window after %v is %v", first.Time(), second.Time())
	}
	b.now = b.now.Add(time.Hour)
	x.run(t)
	expect("succeeded at the second try", 0)

	first = record().Next
	b.now = first.Time().Add(-time.Hour)
	x.fail[secrets.StepSet] = 2
	x.run(t)
	b.now = record().Next.Time().Add(-time.Hour)
	x.run(t)
	expect("failed in two windows", first)
	must[smapi.CancelRotateSecretOutput](t, b, smapi.OpCancelRotateSecret, &smapi.CancelRotateSecretInput{SecretId: "s"})
	expect("switched off", 0)
}

// TestSurvey: what is changed, read or gone is told once, and places can be gone back to.
func TestSurvey(t *testing.T) {
	b := newBed(t)
	survey := secrets.NewSurvey(b.svc)
	changes := func() (names []string, gone int, all bool) {
		t.Helper()
		if err := b.store.View(t.Context(), func(v *store.Snap) error {
			changed, uids, every := survey.Changed(v, 100)
			for _, sec := range changed {
				names = append(names, sec.Name)
			}
			gone, all = len(uids), every
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return names, gone, all
	}
	b.create(t, "a")
	b.create(t, "b")
	if names, gone, _ := changes(); len(names) != 2 || gone != 0 {
		t.Errorf("after two were created: %q, %d gone", names, gone)
	}
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "b"})
	if err := b.svc.FlushAccess(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names, gone, _ := changes(); len(names) != 1 || names[0] != "b" || gone != 0 {
		t.Errorf("after b was read: %q, %d gone", names, gone)
	}
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "b", ForceDeleteWithoutRecovery: new(true)})
	if names, gone, all := changes(); len(names) != 0 || gone != 1 || all {
		t.Errorf("after b was deleted: %q, %d gone, all %v", names, gone, all)
	}
	b.create(t, "c")
	if err := b.store.View(t.Context(), func(v *store.Snap) error {
		var names []string
		place := secrets.PlaceOf(bedAccount)
		for range 3 {
			survey.Walk(v, place, func(at string, sec *secrets.Secret) bool {
				names = append(names, sec.Name)
				stop := at != place
				place = at
				return !stop
			})
		}
		if len(names) != 4 || names[0] != "a" || names[1] != "a" || names[2] != "c" || names[3] != "c" {
			t.Errorf("walked %q", names)
		}
		survey.Walk(v, "", func(_ string, sec *secrets.Secret) bool {
			if got, ok := survey.Secret(v, sec.Account, sec.Region, sec.UID); !ok || got != sec {
				t.Errorf("Secret(%s) = %v, %v", sec.Name, got, ok)
			}
			if read, key := survey.LastRead(v, sec), survey.KeyARN(v, sec); !read.IsZero() || key != "" {
				t.Errorf("%s was read on %v and is under %q", sec.Name, read, key)
			}
			return true
		})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
