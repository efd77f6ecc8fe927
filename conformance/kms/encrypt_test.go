package kms_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"arca/conformance/identity"
)

// What SOPS does with every data key of a file: Encrypt with the key's ARN and a
// context, Decrypt with the ciphertext and the context alone.
func TestSOPS(t *testing.T) {
	k := newKit(t)
	id, arn := k.key()
	alias := k.alias("sops", id)
	encCtx := map[string]string{"Environment": "prod", "Role": "web-server"}
	dataKey := bytes.Repeat([]byte{7}, 32)
	for _, name := range []string{arn, k.arn(alias), alias, id} {
		sealed, err := k.Encrypt(k.Ctx(), &kms.EncryptInput{KeyId: &name, Plaintext: dataKey, EncryptionContext: encCtx})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(sealed.KeyId) != arn || sealed.EncryptionAlgorithm != types.EncryptionAlgorithmSpecSymmetricDefault {
			t.Errorf("Encrypt: key %s, %s", aws.ToString(sealed.KeyId), sealed.EncryptionAlgorithm)
		}
		opened, err := k.Decrypt(k.Ctx(), &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: encCtx})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(opened.Plaintext, dataKey) || aws.ToString(opened.KeyId) != arn {
			t.Errorf("Decrypt: key %s, the same data key: %v", aws.ToString(opened.KeyId), bytes.Equal(opened.Plaintext, dataKey))
		}
		// Rotation of the file's key keeps old files readable.
		k.Must(k.RotateKeyOnDemand(k.Ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id}))
		k.Settle()
		k.Must(k.Decrypt(k.Ctx(), &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: encCtx, KeyId: &name}))
	}
}

func TestDecryptRefused(t *testing.T) {
	k := newKit(t)
	id, arn := k.key()
	other, _ := k.key()
	encCtx := map[string]string{"a": "b"}
	blob := k.encrypt(id, "x", encCtx)
	damaged := bytes.Clone(blob)
	damaged[len(damaged)-1] ^= 1
	decrypt := func(in kms.DecryptInput) error {
		_, err := k.Decrypt(k.Ctx(), &in)
		return err
	}
	for name, err := range map[string]error{
		"wrong context": decrypt(kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"a": "c"}}),
		"no context":    decrypt(kms.DecryptInput{CiphertextBlob: blob}),
		"damaged":       decrypt(kms.DecryptInput{CiphertextBlob: damaged, EncryptionContext: encCtx}),
		"cut":           decrypt(kms.DecryptInput{CiphertextBlob: blob[:len(blob)-1], EncryptionContext: encCtx}),
		"rubbish":       decrypt(kms.DecryptInput{CiphertextBlob: []byte("rubbish"), EncryptionContext: encCtx}),
	} {
		wantCode(t, name, err, "InvalidCiphertextException")
	}
	identity.WantError(t, decrypt(kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: encCtx, KeyId: &other}), "IncorrectKeyException", http.StatusBadRequest,
		"The key ID in the request does not identify a CMK that can perform this operation.")
	identity.WantError(t, decrypt(kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: encCtx, DryRun: aws.Bool(true)}), "DryRunOperationException", http.StatusBadRequest,
		"The request would have succeeded, but the DryRun option is set.")

	k.Must(k.DisableKey(k.Ctx(), &kms.DisableKeyInput{KeyId: &id}))
	k.Settle()
	identity.WantError(t, decrypt(kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: encCtx}), "DisabledException", http.StatusBadRequest, arn+" is disabled.")
	k.Must(k.EnableKey(k.Ctx(), &kms.EnableKeyInput{KeyId: &id}))
	k.Settle()
	k.Must(nil, decrypt(kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: encCtx}))
}

func TestEncryptRefused(t *testing.T) {
	k := newKit(t)
	id, _ := k.key()
	for _, tt := range []struct{ name, keyID, code, text string }{
		{"no such key", missing, "NotFoundException", "Key '" + k.arn("key/"+missing) + "' does not exist"},
		{"no such key, by its ARN", k.arn("key/" + missing), "NotFoundException", "Key '" + k.arn("key/"+missing) + "' does not exist"},
		{"no such alias", "alias/" + k.Prefix + "none", "NotFoundException", "Alias " + k.arn("alias/"+k.Prefix+"none") + " is not found."},
		{"malformed", "none", "NotFoundException", "Invalid keyId 'none'"},
		{"another region", "arn:aws:kms:ap-south-1:" + k.ID + ":key/" + id, "NotFoundException", "Invalid arn ap-south-1"},
	} {
		_, err := k.Encrypt(k.Ctx(), &kms.EncryptInput{KeyId: &tt.keyID, Plaintext: []byte("x")})
		identity.WantError(t, err, tt.code, http.StatusBadRequest, tt.text)
	}
	_, err := k.Encrypt(k.Ctx(), &kms.EncryptInput{KeyId: &id, Plaintext: make([]byte, 4097)})
	identity.WantError(t, err, "ValidationException", http.StatusBadRequest,
		"1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096")
	_, err = k.GenerateRandom(k.Ctx(), &kms.GenerateRandomInput{})
	identity.WantError(t, err, "ValidationException", http.StatusBadRequest, "NumberOfBytes is required.")
}

// Data keys, plain and encrypted, and moved to another key.
func TestDataKeys(t *testing.T) {
	k := newKit(t)
	id, arn := k.key()
	other, otherARN := k.key()
	encCtx := map[string]string{"purpose": "test"}
	made, err := k.GenerateDataKey(k.Ctx(), &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: types.DataKeySpecAes256, EncryptionContext: encCtx})
	if err != nil {
		t.Fatal(err)
	}
	moved, err := k.ReEncrypt(k.Ctx(), &kms.ReEncryptInput{CiphertextBlob: made.CiphertextBlob, SourceEncryptionContext: encCtx, DestinationKeyId: &other})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(moved.SourceKeyId) != arn || aws.ToString(moved.KeyId) != otherARN {
		t.Errorf("ReEncrypt from %s to %s", aws.ToString(moved.SourceKeyId), aws.ToString(moved.KeyId))
	}
	opened, err := k.Decrypt(k.Ctx(), &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob})
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Plaintext) != 32 || !bytes.Equal(opened.Plaintext, made.Plaintext) {
		t.Error("another data key comes back")
	}
	hidden, err := k.GenerateDataKeyWithoutPlaintext(k.Ctx(), &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &id, NumberOfBytes: aws.Int32(64)})
	if err != nil {
		t.Fatal(err)
	}
	if opened, err = k.Decrypt(k.Ctx(), &kms.DecryptInput{CiphertextBlob: hidden.CiphertextBlob}); err != nil || len(opened.Plaintext) != 64 {
		t.Errorf("Decrypt = %d bytes, %v", len(opened.Plaintext), err)
	}
	random, err := k.GenerateRandom(k.Ctx(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(24)})
	if err != nil || len(random.Plaintext) != 24 {
		t.Errorf("GenerateRandom: %v", err)
	}
}
