package rootkey_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/envelope"
	"arca/internal/rootkey"
)

type knownRootKeys struct {
	File             string
	FileID           string `json:"file_id"`
	FileSecret       string `json:"file_secret"`
	Passphrase       string
	PassphraseParams string `json:"passphrase_params"`
	PassphraseSecret string `json:"passphrase_secret"`
}

func readKnown(t *testing.T) (known knownRootKeys) {
	t.Helper()
	raw, err := os.ReadFile("testdata/known.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	return known
}

// Another implementation has written these root keys (scripts/known-answers.py). That of
// the passphrase is of the function that FIPS 140-3 approves; one of Argon2id stands in
// testdata/passphrase.json.
func TestKnownRootKeys(t *testing.T) {
	known := readKnown(t)
	path := filepath.Join(t.TempDir(), "root.key")
	if err := os.WriteFile(path, []byte(known.File), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		root   rootkey.Provider
		params string
		want   string
	}{
		{"file", rootkey.NewFile(path, ""), `{"format":1,"id":"` + known.FileID + `"}`, known.FileSecret},
		{"passphrase", phrase(known.Passphrase), known.PassphraseParams, known.PassphraseSecret},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := tt.root.Open(t.Context(), []byte(tt.params))
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if secret := key.Secret(); !bytes.Equal(secret.Bytes(), want) {
				t.Errorf("Open = %x, want %x", secret.Bytes(), want)
			}
		})
	}
}

// The check of a passphrase holds nothing. One with contents could be made to open under
// many passphrases, so that whoever writes beside the data would try them all at one start.
func TestCheckHoldsNothing(t *testing.T) {
	known := readKnown(t)
	bound, _, ok := strings.Cut(known.PassphraseParams, `,"check":"`)
	if !ok {
		t.Fatalf("parameters without a check: %s", known.PassphraseParams)
	}
	bound += "}"
	var id struct{ ID string }
	if err := json.Unmarshal([]byte(bound), &id); err != nil {
		t.Fatal(err)
	}
	keyID, err := envelope.ParseKeyID(id.ID)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := hex.DecodeString(known.PassphraseSecret)
	if err != nil {
		t.Fatal(err)
	}
	key, err := envelope.NewKey(keyID, 1, secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, contents string }{{"nothing", ""}, {"something", "x"}} {
		check, err := key.Seal("root key passphrase", []byte(tt.contents), []byte(bound))
		if err != nil {
			t.Fatal(err)
		}
		params := strings.TrimSuffix(bound, "}") + `,"check":"` + base64.StdEncoding.EncodeToString(check) + `"}`
		_, err = phrase(known.Passphrase).Open(t.Context(), []byte(params))
		if tt.contents == "" && err != nil || tt.contents != "" && !errors.Is(err, rootkey.ErrWrongPassphrase) {
			t.Errorf("a check that holds %s: %v", tt.name, err)
		}
	}
}
