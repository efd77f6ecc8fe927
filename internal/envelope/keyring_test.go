package envelope_test

import (
	"errors"
	"sync"
	"testing"

	"arca/internal/envelope"
)

func TestKeyring(t *testing.T) {
	id := envelope.NewKeyID()
	v1, v2 := envelope.GenerateKey(id, 1), envelope.GenerateKey(id, 2)
	other := testKey(t)
	ring := envelope.NewKeyring(v1)

	old, err := ring.Seal("l", []byte("old"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.AddPrimary(v2); err != nil {
		t.Fatal(err)
	}
	young, err := ring.Seal("l", []byte("young"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, v, _ := envelope.Header(young); v != 2 {
		t.Errorf("sealed under version %d, want 2", v)
	}
	if gotID, v := ring.Primary(); gotID != id || v != 2 {
		t.Errorf("Primary = %v, %d", gotID, v)
	}
	foreign, err := other.Seal("l", []byte("foreign"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Open("l", foreign, nil); !errors.Is(err, envelope.ErrNoKey) {
		t.Errorf("Open with an unknown key: error = %v, want ErrNoKey", err)
	}
	if err := ring.Add(other); err != nil {
		t.Fatal(err)
	}
	for sealed, want := range map[*[]byte]string{&old: "old", &young: "young", &foreign: "foreign"} {
		got, err := ring.Open("l", *sealed, nil)
		if err != nil || string(got.Bytes()) != want {
			t.Errorf("Open = %q, %v, want %q", got.Bytes(), err, want)
		}
	}
	if _, v := ring.Primary(); v != 2 {
		t.Errorf("Add made version %d primary", v)
	}

	if err := ring.Remove(id, 2); err == nil {
		t.Error("the primary key can be removed")
	}
	if err := ring.Remove(id, 1); err != nil {
		t.Fatal(err)
	}
	if ring.Has(id, 1) || !ring.Has(id, 2) {
		t.Errorf("after Remove of version 1: Has(1) = %t, Has(2) = %t", ring.Has(id, 1), ring.Has(id, 2))
	}
	if _, err := ring.Open("l", old, nil); !errors.Is(err, envelope.ErrNoKey) {
		t.Errorf("Open with a removed key: error = %v, want ErrNoKey", err)
	}
	if v1.Secret().Len() != 0 {
		t.Error("the removed key was not wiped")
	}

	ring.Wipe()
	if _, err := ring.Seal("l", nil, nil); err == nil {
		t.Error("Seal works after Wipe")
	}
	if _, err := ring.Open("l", young, nil); err == nil {
		t.Error("Open works after Wipe")
	}
}

func TestKeyringSameName(t *testing.T) {
	k := testKey(t)
	ring := envelope.NewKeyring(k)
	secret := k.Secret()
	same, err := envelope.NewKey(k.ID(), k.Version(), secret.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Add(same); err != nil {
		t.Errorf("Add of the same key: %v", err)
	}
	if err := ring.Add(k); err != nil {
		t.Errorf("Add of the key it holds: %v", err)
	}
	if err := ring.Add(envelope.GenerateKey(k.ID(), k.Version())); err == nil {
		t.Error("Add replaces a key by another of the same name")
	}
}

// A key may be retired while it is in use: each Open then either works or says that
// the key is gone.
func TestKeyringConcurrentRemove(t *testing.T) {
	id := envelope.NewKeyID()
	ring := envelope.NewKeyring(envelope.GenerateKey(id, 1))
	sealed, err := ring.Seal("l", []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.AddPrimary(envelope.GenerateKey(id, 2)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if _, err := ring.Open("l", sealed, nil); err != nil && !errors.Is(err, envelope.ErrNoKey) {
					t.Errorf("Open = %v", err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		if err := ring.Remove(id, 1); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
}
