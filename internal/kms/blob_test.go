package kms_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/envelope"
	"arca/internal/kms"
)

var update = flag.Bool("update", false, "write testdata anew")

// The file holds a ciphertext that every later version must open: hexadecimal digits,
// the key's secret on one line and the ciphertext on the next. It is made once.
const blobFile = "testdata/blob1.txt"

func blobKey(t *testing.T, secret []byte) (*kms.Key, *envelope.Key) {
	t.Helper()
	id, ok := kms.ParseID("1234abcd-12ab-44cd-96ef-1234567890ab")
	if !ok {
		t.Fatal("no key id")
	}
	k, err := envelope.NewKey(id, 7, secret)
	if err != nil {
		t.Fatal(err)
	}
	return &kms.Key{ID: id, Account: account, Region: region}, k
}

func TestBlobFormat(t *testing.T) {
	if *update {
		secret := bytes.Repeat([]byte{0x5a}, 32)
		key, material := blobKey(t, secret)
		blob, err := kms.SealBlob(key, material, []byte("known answer"), ctx1)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(blobFile), 0o755); err != nil {
			t.Fatal(err)
		}
		text := hex.EncodeToString(secret) + "\n" + hex.EncodeToString(blob) + "\n"
		if err := os.WriteFile(blobFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(blobFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(text))
	secret, err := hex.DecodeString(lines[0])
	if err != nil {
		t.Fatal(err)
	}
	blob, err := hex.DecodeString(lines[1])
	if err != nil {
		t.Fatal(err)
	}
	key, material := blobKey(t, secret)
	plain, err := kms.OpenBlob(key, material, blob, ctx1)
	if err != nil || string(plain.Bytes()) != "known answer" {
		t.Errorf("an old ciphertext opens as %q, %v", plain.Bytes(), err)
	}
	for name, change := range map[string]func(k *kms.Key){
		"account": func(k *kms.Key) { k.Account = otherAccount },
		"region":  func(k *kms.Key) { k.Region = "eu-west-2" },
		// What one loses the other gains.
		"both": func(k *kms.Key) { k.Account, k.Region = account+"/eu", "west-1" },
	} {
		moved := *key
		change(&moved)
		if _, err := kms.OpenBlob(&moved, material, blob, ctx1); !errors.Is(err, envelope.ErrDecrypt) {
			t.Errorf("of another %s: error %v, want ErrDecrypt", name, err)
		}
	}
}

// Whatever bytes come as a ciphertext, the answer is an error for the client, never a
// plaintext and never an internal failure.
func FuzzDecrypt(f *testing.F) {
	h := newHouse(f)
	id, _ := h.key(f)
	h.run(f, kmsapi.OpRotateKeyOnDemand, &kmsapi.RotateKeyOnDemandInput{KeyId: id})
	blob := h.encrypt(f, id, "secret", ctx1)
	for _, b := range [][]byte{blob, blob[:len(blob)-1], append(bytes.Clone(blob), 1), blob[:40], {1}, bytes.Repeat([]byte{1}, 65)} {
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, named bool) {
		if len(b) == 0 || len(b) > 6144 {
			return
		}
		in := &kmsapi.DecryptInput{CiphertextBlob: b, EncryptionContext: ctx1}
		if named {
			in.KeyId = &id
		}
		out, err := h.call(kmsapi.OpDecrypt, in)
		if bytes.Equal(b, blob) {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		aerr, ok := errors.AsType[*api.Error](err)
		if !ok || out != nil {
			t.Fatalf("Decrypt = %v, %v", out, err)
		}
		switch aerr.Code {
		case kmsapi.InvalidCiphertextException, kmsapi.IncorrectKeyException, kmsapi.AccessDeniedException:
		default:
			t.Errorf("Decrypt: %v", err)
		}
	})
}

// Whatever comes as a KeyId, a marker or a grant token, nothing breaks.
func FuzzNames(f *testing.F) {
	h := newHouse(f)
	id, arn := h.key(f)
	for _, s := range []string{id, arn, "alias/a", keyARNs + "alias/a", "arn:", "arn:aws:kms:::key/", "%", strings.Repeat("a", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for op, in := range map[*api.Operation]any{
			kmsapi.OpDescribeKey: &kmsapi.DescribeKeyInput{KeyId: s},
			kmsapi.OpListKeys:    &kmsapi.ListKeysInput{Marker: &s},
			kmsapi.OpRetireGrant: &kmsapi.RetireGrantInput{GrantToken: new(api.SensitiveString(s))},
			kmsapi.OpCreateAlias: &kmsapi.CreateAliasInput{AliasName: s, TargetKeyId: s},
		} {
			_, err := h.call(op, in)
			if aerr, ok := errors.AsType[*api.Error](err); err != nil && (!ok || aerr.Code == kmsapi.KMSInternalException) {
				t.Errorf("%s(%q): %v", op.Name, s, err)
			}
		}
	})
}
