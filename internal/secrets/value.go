package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/kms"
	"arca/internal/store"
)

// valueLabel separates secret values from whatever else is sealed under a data key.
const valueLabel = "secret-value"

// value is the SecretString or SecretBinary of a request. Its kind is NoValue when
// the request has neither.
type value struct {
	kind  ValueKind
	bytes envelope.Plaintext
}

// requestValue takes the value out of a request and holds it to the quota, which
// counts bytes where the published constraint on SecretString counts characters.
func (s *Service) requestValue(text *api.SensitiveString, binary api.SensitiveBytes) (value, error) {
	switch {
	case text != nil && binary != nil:
		return value{}, smapi.InvalidParameterException.Errorf("You can't specify both SecretString and SecretBinary.")
	case text != nil:
		if len(*text) > s.quotas.ValueBytes {
			return value{}, errTooLong("secretString", s.quotas.ValueBytes)
		}
		return value{kind: StringValue, bytes: envelope.NewPlaintext([]byte(*text))}, nil
	case binary != nil:
		if len(binary) > s.quotas.ValueBytes {
			return value{}, errTooLong("secretBinary", s.quotas.ValueBytes)
		}
		return value{kind: BinaryValue, bytes: envelope.NewPlaintext(bytes.Clone(binary))}, nil
	}
	return value{kind: NoValue}, nil
}

func (v *value) wipe() { v.bytes.Wipe() }

// errTooLong has the form of a broken constraint, which is what a limit in the
// service's model is.
func errTooLong(member string, limit int) error {
	return smapi.ValidationException.Errorf("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", member, limit)
}

// encryptionContext binds a data key and a value to one version of one secret: the
// two pairs that AWS uses, so that key policies can name them.
func encryptionContext(arn, versionID string) map[string]string {
	return map[string]string{"SecretARN": arn, "SecretVersionId": versionID}
}

// keyOwner is whose keys encrypt the values of a secret: its own account's, whoever
// calls.
func (s *Secret) keyOwner() kms.Owner { return kms.Owner{Account: s.Account, Region: s.Region} }

// seal writes the value of a version under a fresh data key.
func (s *Service) seal(tx *store.Tx, c *call.Call, sec *Secret, versionID string, val value) error {
	encCtx := encryptionContext(sec.ARN(), versionID)
	key, wrapped, _, err := s.kms.GenerateDataKey(tx, c, sec.keyOwner(), sec.KMSKeyID, encCtx)
	if err != nil {
		return smapi.EncryptionFailure.Wrap(err, "Secrets Manager can't encrypt the protected secret text using the provided KMS key.")
	}
	defer key.Wipe()
	sealed, err := key.Seal(valueLabel, val.bytes.Bytes(), envelope.Context(encCtx))
	if err != nil {
		return fmt.Errorf("seal value: %w", err)
	}
	s.payloads.Put(tx, valueKey(sec, versionID), &Payload{DataKey: wrapped, Value: sealed})
	return nil
}

// open reads the value of a version for the caller of c. The result is the
// operation's to wipe.
func (s *Service) open(ctx context.Context, c *call.Call, v *store.Snap, sec *Secret, versionID string) (envelope.Plaintext, error) {
	p, err := s.payloads.Load(ctx, v, valueKey(sec, versionID))
	if err != nil {
		return envelope.Plaintext{}, fmt.Errorf("load value of version %s of secret %s: %w", versionID, sec.UID, err)
	}
	encCtx := encryptionContext(sec.ARN(), versionID)
	key, err := s.kms.Decrypt(v, c, sec.keyOwner(), p.DataKey, encCtx)
	if errors.Is(err, kms.ErrKey) || errors.Is(err, kms.ErrForeign) {
		return envelope.Plaintext{}, errDecrypt(err)
	}
	if err != nil {
		return envelope.Plaintext{}, fmt.Errorf("unwrap data key of secret %s: %w", sec.UID, err)
	}
	defer key.Wipe()
	plain, err := key.Open(valueLabel, p.Value, envelope.Context(encCtx))
	if err != nil {
		return envelope.Plaintext{}, errDecrypt(err)
	}
	return plain, nil
}

func errDecrypt(cause error) error {
	return smapi.DecryptionFailure.Wrap(cause, "Secrets Manager can't decrypt the protected secret text using the provided KMS key.")
}

// holds says whether a version has exactly this value: what makes a repeated
// ClientRequestToken a repeat and not a clash.
func (s *Service) holds(ctx context.Context, c *call.Call, v *store.Snap, sec *Secret, ver *Version, val value) (bool, error) {
	if ver.Kind != val.kind || ver.Kind == NoValue || ver.Size != val.bytes.Len() {
		return false, nil
	}
	have, err := s.open(ctx, c, v, sec, ver.ID)
	if err != nil {
		return false, err
	}
	defer have.Wipe()
	return have.Equal(val.bytes), nil
}

// checkOwnAccount refuses values under the default key to other accounts, whatever
// the policies say: that key serves its own account only.
func checkOwnAccount(c *call.Call, sec *Secret, keyID string) error {
	if keyID == "" && sec.Account != c.Caller.Account {
		return smapi.InvalidRequestException.Errorf("You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key.")
	}
	return nil
}

// checkToken demands the ClientRequestToken of a call that makes a version. SDKs
// fill it in; it becomes the version's id.
func checkToken(token *string) (string, error) {
	if token == nil {
		return "", smapi.InvalidRequestException.Errorf("You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	}
	return *token, nil
}

func errTokenInUse(token string, sec *Secret) error {
	return smapi.ResourceExistsException.Errorf("You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", token, sec.ARN())
}
