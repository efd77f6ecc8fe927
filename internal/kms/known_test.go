package kms_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"arca/internal/api"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/store"
	"arca/internal/storetest"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Another implementation has sealed all this in the store of storetest.Known
// (scripts/known-answers.py).
func TestKnownKey(t *testing.T) {
	raw, err := os.ReadFile("testdata/known.json")
	if err != nil {
		t.Fatal(err)
	}
	var known struct {
		Account, Region string
		KeyID           string `json:"key_id"`
		Version         uint32
		Material        hexBytes
		MaterialID      string `json:"material_id"`
		Context         map[string]string
		Plaintext, Blob hexBytes
		DataKey         hexBytes `json:"data_key"`
		WrappedDataKey  hexBytes `json:"wrapped_data_key"`
		GrantID         string   `json:"grant_id"`
		GrantToken      string   `json:"grant_token"`
	}
	if err := json.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	var svc *kms.Service
	storetest.Known(t, nil, func(s *store.Store) {
		svc = kms.New(kms.Config{Store: s, IAM: iam.New(s, start.UTC), Logger: discard()})
	})
	id, ok := kms.ParseID(known.KeyID)
	if !ok {
		t.Fatalf("key id %q", known.KeyID)
	}
	key := &kms.Key{
		ID: id, Account: known.Account, Region: known.Region, State: kms.Enabled,
		Material: []kms.Material{{Version: known.Version, Sealed: known.Material}},
	}

	plain, err := svc.OpenCiphertext(key, known.Blob, known.Context)
	if err != nil || !bytes.Equal(plain.Bytes(), known.Plaintext) {
		t.Errorf("the ciphertext opens as %q, %v, want %q", plain.Bytes(), err, known.Plaintext)
	}
	dataKey, err := svc.Unwrap(from(known.Account, known.Region), key, known.WrappedDataKey, envelope.BindContext(known.Context))
	if err != nil {
		t.Fatal(err)
	}
	if secret := dataKey.Secret(); !bytes.Equal(secret.Bytes(), known.DataKey) || dataKey.ID() != id || dataKey.Version() != known.Version {
		t.Errorf("Unwrap = %v with %x, want %x", dataKey, secret.Bytes(), known.DataKey)
	}
	if got := kms.MaterialID(key); got != known.MaterialID {
		t.Errorf("material id %s, want %s", got, known.MaterialID)
	}
	gotKey, gotGrant, err := svc.OpenToken(api.SensitiveString(known.GrantToken))
	if err != nil || gotKey != id || gotGrant != known.GrantID {
		t.Errorf("the grant token names %v, %s, %v, want %v, %s", gotKey, gotGrant, err, id, known.GrantID)
	}
}
