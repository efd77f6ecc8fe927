package kms

import (
	"context"
	"errors"
	"strings"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/policy"
	"arca/internal/store"
)

// blobLabel is the envelope label of what clients get as a CiphertextBlob: plaintexts of
// Encrypt and data keys of GenerateDataKey alike.
const blobLabel = "kms-ciphertext"

// blobAD binds a ciphertext to the account and region of its key and to its encryption
// context; the envelope itself binds key id and version. The account and the region
// cannot run into each other, nor into the context: neither holds a slash or a zero.
func blobAD(key *Key, encCtx map[string]string) []byte {
	context := envelope.Context(encCtx)
	ad := make([]byte, 0, len(key.Account)+len(key.Region)+2+len(context))
	ad = append(append(ad, key.Account...), '/')
	ad = append(append(ad, key.Region...), 0)
	return append(ad, context...)
}

// encrypt makes a ciphertext for a client under the current version of a key.
func (s *Service) encrypt(key *Key, plaintext []byte, encCtx map[string]string) ([]byte, error) {
	current, err := s.open(key, key.current())
	if err != nil {
		return nil, err
	}
	return current.Seal(blobLabel, plaintext, blobAD(key, encCtx))
}

// errCiphertext is the answer to every ciphertext that does not open, whatever is wrong
// with it. AWS's message is empty, too.
func errCiphertext() error { return kmsapi.InvalidCiphertextException.Errorf("") }

// decrypt opens a ciphertext of a client with the key, which must be the one it names.
func (s *Service) decrypt(key *Key, blob []byte, encCtx map[string]string) (plain envelope.Plaintext, m *Material, err error) {
	id, version, err := envelope.Header(blob)
	if err != nil {
		return envelope.Plaintext{}, nil, errCiphertext()
	}
	if id != key.ID {
		return envelope.Plaintext{}, nil, kmsapi.IncorrectKeyException.Errorf("The key ID in the request does not identify a CMK that can perform this operation.")
	}
	if m = key.version(version); m == nil {
		return envelope.Plaintext{}, nil, errCiphertext()
	}
	k, err := s.open(key, m)
	if err != nil {
		return envelope.Plaintext{}, nil, err
	}
	plain, err = k.Open(blobLabel, blob, blobAD(key, encCtx))
	if errors.Is(err, envelope.ErrDecrypt) || errors.Is(err, envelope.ErrFormat) {
		return envelope.Plaintext{}, nil, errCiphertext()
	}
	return plain, m, err
}

// errDryRun is what a call is answered with that only asks whether it would succeed, if
// it would.
func errDryRun(dryRun *bool) error {
	if isTrue(dryRun) {
		return kmsapi.DryRunOperationException.Errorf("The request would have succeeded, but the DryRun option is set.")
	}
	return nil
}

// checkAlgorithm refuses algorithms of other kinds of keys.
func checkAlgorithm(algorithm *string) error {
	if a := orElse(algorithm, symmetricDefault); a != symmetricDefault {
		return kmsapi.InvalidKeyUsageException.Errorf("Algorithm %s is incompatible with key spec %s.", a, symmetricDefault)
	}
	return nil
}

// errRecipient refuses attested enclaves by name: there is nobody here to vouch for one.
func errRecipient(r *kmsapi.RecipientInfo) error {
	if r != nil {
		return kmsapi.ValidationException.Errorf("Recipient is not supported.")
	}
	return nil
}

// Encrypt encrypts up to 4,096 bytes under a key.
func (s *Service) Encrypt(ctx context.Context, c *call.Call, in *kmsapi.EncryptInput) (*kmsapi.EncryptOutput, error) {
	w := want{action: "Encrypt", keyID: in.KeyId, alias: true, foreign: true, crypto: true, encCtx: in.EncryptionContext}
	var out *kmsapi.EncryptOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		key, err := s.loadUsable(ctx, c, v, &w, in.GrantTokens)
		if err != nil {
			return err
		}
		if err := checkAlgorithm(in.EncryptionAlgorithm); err != nil {
			return err
		}
		if err := errDryRun(in.DryRun); err != nil {
			return err
		}
		blob, err := s.encrypt(key, in.Plaintext, in.EncryptionContext)
		if err != nil {
			return err
		}
		out = &kmsapi.EncryptOutput{CiphertextBlob: blob, KeyId: new(key.ARN()), EncryptionAlgorithm: new(symmetricDefault)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// loadUsable is load for operations that use the key.
func (s *Service) loadUsable(ctx context.Context, c *call.Call, v *store.Snap, w *want, tokens []api.SensitiveString) (*Key, error) {
	key, err := s.load(ctx, c, v, w)
	if err != nil {
		return nil, err
	}
	if _, err := s.openTokens(tokens); err != nil {
		return nil, err
	}
	return key, key.usable()
}

// byCiphertext is how AWS speaks of a key of another account that a ciphertext names.
const byCiphertext = "the resource associated with this ciphertext"

// loadSource finds the key that is to open a ciphertext: the one the request names or, if
// it names none, the one the ciphertext does.
func (s *Service) loadSource(ctx context.Context, c *call.Call, v *store.Snap, w *want, keyID *string, blob []byte, tokens []api.SensitiveString) (*Key, error) {
	if keyID != nil {
		w.keyID = *keyID
		return s.loadUsable(ctx, c, v, w, tokens)
	}
	w.shown = byCiphertext
	id, _, err := envelope.Header(blob)
	if err != nil {
		return nil, errCiphertext()
	}
	key := s.find(v, id)
	if key == nil || key.Region != c.Region {
		return nil, deniedForeign(c, w, arnOf(c.Caller.Account, c.Region, "key/"+IDText(id)))
	}
	if err := s.askFor(ctx, c, v, w, key, ""); err != nil {
		return nil, err
	}
	if _, err := s.openTokens(tokens); err != nil {
		return nil, err
	}
	return key, key.usable()
}

// checkBlob demands a ciphertext, but of a call that wants to know about its permission
// only. It reports whether there is one to open.
func checkBlob(blob []byte, keyID *string, dryRun *bool, modifiers []string) (open bool, err error) {
	if len(modifiers) > 0 && !isTrue(dryRun) {
		return false, kmsapi.ValidationException.Errorf("DryRunModifiers can be specified only with DryRun.")
	}
	if len(modifiers) > 0 {
		if keyID == nil && blob == nil {
			return false, kmsapi.ValidationException.Errorf("The key must be specified when IGNORE_CIPHERTEXT is.")
		}
		return false, nil
	}
	if blob == nil {
		return false, kmsapi.ValidationException.Errorf("1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint: Member must not be null")
	}
	return true, nil
}

// opDecrypt is the operation Decrypt: it opens what Encrypt, ReEncrypt or GenerateDataKey
// made.
func (s *Service) opDecrypt(ctx context.Context, c *call.Call, in *kmsapi.DecryptInput) (*kmsapi.DecryptOutput, error) {
	open, err := checkBlob(in.CiphertextBlob, in.KeyId, in.DryRun, in.DryRunModifiers)
	if err != nil {
		return nil, err
	}
	w := want{action: "Decrypt", alias: true, foreign: true, crypto: true, encCtx: in.EncryptionContext}
	var out *kmsapi.DecryptOutput
	err = s.store.View(ctx, func(v *store.Snap) error {
		key, err := s.loadSource(ctx, c, v, &w, in.KeyId, in.CiphertextBlob, in.GrantTokens)
		if err != nil {
			return err
		}
		if err := checkAlgorithm(in.EncryptionAlgorithm); err != nil {
			return err
		}
		if err := errRecipient(in.Recipient); err != nil {
			return err
		}
		if !open {
			return errDryRun(in.DryRun)
		}
		plain, m, err := s.decrypt(key, in.CiphertextBlob, in.EncryptionContext)
		if err != nil {
			return err
		}
		if err := errDryRun(in.DryRun); err != nil {
			plain.Wipe()
			return err
		}
		out = &kmsapi.DecryptOutput{
			KeyId: new(key.ARN()), Plaintext: plain.Bytes(), EncryptionAlgorithm: new(symmetricDefault),
			KeyMaterialId: new(materialID(key, m)),
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ReEncrypt decrypts and encrypts again under another key, version or context, without
// showing the plaintext to anybody.
func (s *Service) ReEncrypt(ctx context.Context, c *call.Call, in *kmsapi.ReEncryptInput) (*kmsapi.ReEncryptOutput, error) {
	open, err := checkBlob(in.CiphertextBlob, in.SourceKeyId, in.DryRun, in.DryRunModifiers)
	if err != nil {
		return nil, err
	}
	var out *kmsapi.ReEncryptOutput
	err = s.store.View(ctx, func(v *store.Snap) error {
		same := s.sameKey(v, c, in)
		w := want{action: "ReEncryptFrom", alias: true, foreign: true, crypto: true, encCtx: in.SourceEncryptionContext, keys: same}
		from, err := s.loadSource(ctx, c, v, &w, in.SourceKeyId, in.CiphertextBlob, in.GrantTokens)
		if err != nil {
			return err
		}
		w = want{action: "ReEncryptTo", keyID: in.DestinationKeyId, alias: true, foreign: true, crypto: true, encCtx: in.DestinationEncryptionContext, keys: same}
		to, err := s.loadUsable(ctx, c, v, &w, nil)
		if err != nil {
			return err
		}
		for _, algorithm := range []*string{in.SourceEncryptionAlgorithm, in.DestinationEncryptionAlgorithm} {
			if err := checkAlgorithm(algorithm); err != nil {
				return err
			}
		}
		if !open {
			return errDryRun(in.DryRun)
		}
		plain, m, err := s.decrypt(from, in.CiphertextBlob, in.SourceEncryptionContext)
		if err != nil {
			return err
		}
		defer plain.Wipe()
		if err := errDryRun(in.DryRun); err != nil {
			return err
		}
		blob, err := s.encrypt(to, plain.Bytes(), in.DestinationEncryptionContext)
		if err != nil {
			return err
		}
		out = &kmsapi.ReEncryptOutput{
			CiphertextBlob: blob, SourceKeyId: new(from.ARN()), KeyId: new(to.ARN()),
			SourceEncryptionAlgorithm: new(symmetricDefault), DestinationEncryptionAlgorithm: new(symmetricDefault),
			SourceKeyMaterialId: new(materialID(from, m)), DestinationKeyMaterialId: new(materialID(to, to.current())),
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// sameKey is the condition key that tells whether source and destination are one key. Of
// another account's key it goes by what the caller wrote alone: policies of his own would
// tell him else what aliases stand for there, and which keys there are.
func (s *Service) sameKey(v *store.Snap, c *call.Call, in *kmsapi.ReEncryptInput) []policy.ContextKey {
	name := func(keyID string) string {
		n, _ := s.resolve(v, callersOwn(c), keyID)
		if n.account != c.Caller.Account {
			return keyID
		}
		return n.arn
	}
	to := name(in.DestinationKeyId)
	same := in.SourceKeyId != nil && name(*in.SourceKeyId) == to
	if id, _, err := envelope.Header(in.CiphertextBlob); err == nil && in.SourceKeyId == nil {
		same = strings.HasSuffix(to, ":key/"+IDText(id))
	}
	return []policy.ContextKey{contextKey("kms:ReEncryptOnSameKey", flag(&same))}
}
