package kms

import (
	"context"
	"crypto/rand"

	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/store"
)

// dataKeyBytes is the length of the data key that a request wants.
func dataKeyBytes(spec *string, number *int32) (int, error) {
	switch {
	case (spec == nil) == (number == nil):
		return 0, kmsapi.ValidationException.Errorf("Please specify either number of bytes or key spec.")
	case number != nil:
		return int(*number), nil
	case *spec == "AES_128":
		return 16, nil
	}
	return 32, nil
}

// freshDataKey draws a data key and encrypts it. The plain key is the caller's to wipe.
func (s *Service) freshDataKey(key *Key, bytes int, encCtx map[string]string) (plain, blob []byte, err error) {
	plain = make([]byte, bytes)
	_, _ = rand.Read(plain) // never fails: crypto/rand ends the program instead
	blob, err = s.encrypt(key, plain, encCtx)
	return plain, blob, err
}

// opGenerateDataKey is the operation GenerateDataKey: a fresh key, plain and encrypted.
func (s *Service) opGenerateDataKey(ctx context.Context, c *call.Call, in *kmsapi.GenerateDataKeyInput) (*kmsapi.GenerateDataKeyOutput, error) {
	w := want{action: "GenerateDataKey", keyID: in.KeyId, alias: true, foreign: true, crypto: true, encCtx: in.EncryptionContext}
	var out *kmsapi.GenerateDataKeyOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		key, err := s.loadUsable(ctx, c, v, &w, in.GrantTokens)
		if err != nil {
			return err
		}
		n, err := dataKeyBytes(in.KeySpec, in.NumberOfBytes)
		if err != nil {
			return err
		}
		if err := errRecipient(in.Recipient); err != nil {
			return err
		}
		if err := errDryRun(in.DryRun); err != nil {
			return err
		}
		plain, blob, err := s.freshDataKey(key, n, in.EncryptionContext)
		if err != nil {
			return err
		}
		out = &kmsapi.GenerateDataKeyOutput{
			CiphertextBlob: blob, Plaintext: plain, KeyId: new(key.ARN()), KeyMaterialId: new(materialID(key, key.current())),
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GenerateDataKeyWithoutPlaintext makes a fresh key that is shown encrypted only.
func (s *Service) GenerateDataKeyWithoutPlaintext(ctx context.Context, c *call.Call, in *kmsapi.GenerateDataKeyWithoutPlaintextInput) (*kmsapi.GenerateDataKeyWithoutPlaintextOutput, error) {
	w := want{action: "GenerateDataKeyWithoutPlaintext", keyID: in.KeyId, alias: true, foreign: true, crypto: true, encCtx: in.EncryptionContext}
	var out *kmsapi.GenerateDataKeyWithoutPlaintextOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		key, err := s.loadUsable(ctx, c, v, &w, in.GrantTokens)
		if err != nil {
			return err
		}
		n, err := dataKeyBytes(in.KeySpec, in.NumberOfBytes)
		if err != nil {
			return err
		}
		if err := errDryRun(in.DryRun); err != nil {
			return err
		}
		plain, blob, err := s.freshDataKey(key, n, in.EncryptionContext)
		clear(plain)
		if err != nil {
			return err
		}
		out = &kmsapi.GenerateDataKeyWithoutPlaintextOutput{
			CiphertextBlob: blob, KeyId: new(key.ARN()), KeyMaterialId: new(materialID(key, key.current())),
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GenerateRandom returns random bytes.
func (s *Service) GenerateRandom(ctx context.Context, c *call.Call, in *kmsapi.GenerateRandomInput) (*kmsapi.GenerateRandomOutput, error) {
	if err := s.askAll(ctx, c, nil, "GenerateRandom"); err != nil {
		return nil, err
	}
	switch {
	case in.NumberOfBytes == nil:
		return nil, kmsapi.ValidationException.Errorf("NumberOfBytes is required.")
	case in.CustomKeyStoreId != nil:
		return nil, errKeyStore(*in.CustomKeyStoreId)
	case in.Recipient != nil:
		return nil, kmsapi.UnsupportedOperationException.Errorf("Recipient is not supported.")
	}
	out := make([]byte, *in.NumberOfBytes)
	_, _ = rand.Read(out)
	return &kmsapi.GenerateRandomOutput{Plaintext: out}, nil
}
