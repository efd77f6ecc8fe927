package secrets_test

import (
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"testing"
	"time"

	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/secrets"
	"arca/internal/store"
	"arca/internal/storetest"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func readKnown(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Another implementation has sealed this value (scripts/known-answers.py): from the root
// key of storetest.Known down to the value, every key is opened on the way.
func TestKnownValue(t *testing.T) {
	var under struct {
		Account, Region string
		Version         uint32
		Material        hexBytes
	}
	readKnown(t, "../kms/testdata/known.json", &under)
	var known struct {
		ARN              string
		VersionID        string `json:"version_id"`
		Plaintext, Value hexBytes
		WrappedDataKey   hexBytes `json:"wrapped_data_key"`
	}
	readKnown(t, "testdata/known.json", &known)

	var keys *kms.Service
	storetest.Known(t, nil, func(s *store.Store) {
		keys = kms.New(kms.Config{Store: s, IAM: iam.New(s, time.Now), Logger: slog.New(slog.DiscardHandler)})
	})
	id, _, err := envelope.Header(known.WrappedDataKey)
	if err != nil {
		t.Fatal(err)
	}
	key := &kms.Key{
		ID: id, Account: under.Account, Region: under.Region, State: kms.Enabled,
		Material: []kms.Material{{Version: under.Version, Sealed: under.Material}},
	}
	encCtx := secrets.EncryptionContext(known.ARN, known.VersionID)
	caller := &call.Call{Caller: call.Principal{Account: under.Account}}
	dataKey, err := keys.Unwrap(caller, key, known.WrappedDataKey, envelope.BindContext(encCtx))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := secrets.OpenValue(dataKey, known.Value, encCtx)
	if err != nil || string(plain.Bytes()) != string(known.Plaintext) {
		t.Errorf("the value opens as %q, %v, want %q", plain.Bytes(), err, known.Plaintext)
	}
}
