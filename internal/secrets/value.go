package secrets

import (
	"bytes"
	"context"
	"fmt"
	"slices"

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

// seal gives a version its value, under a fresh data key that key wraps.
func (s *Service) seal(ctx context.Context, tx *store.Tx, c *call.Call, sec *Secret, ver *Version, val value, key *kms.Key) error {
	encCtx := encryptionContext(sec.ARN(), ver.ID)
	if err := s.useKey(ctx, c, tx.Snap, key, generateDataKey, encCtx); err != nil {
		return errUse(err, errEncrypt)
	}
	plain, wrapped, err := s.kms.NewDataKey(c, key, encCtx)
	if err != nil {
		return errEncrypt(err)
	}
	defer plain.Wipe()
	sealed, err := plain.Seal(valueLabel, val.bytes.Bytes(), envelope.Context(encCtx))
	if err != nil {
		return fmt.Errorf("seal value: %w", err)
	}
	ver.Payload = Payload{DataKey: wrapped, Value: sealed}
	return nil
}

// open reads the value of a version for the caller of c, who must be allowed to use its
// key. arn is that of the secret. The result is the operation's to wipe.
func (s *Service) open(ctx context.Context, c *call.Call, v *store.Snap, sec *Secret, arn string, ver *Version) (envelope.Plaintext, error) {
	p, err := s.payload(ctx, v, sec, ver)
	if err != nil {
		return envelope.Plaintext{}, fmt.Errorf("load value of version %s of secret %s: %w", ver.ID, sec.UID, err)
	}
	encCtx := encryptionContext(arn, ver.ID)
	bound := envelope.BindContext(encCtx)
	key, err := s.unwrap(ctx, c, v, sec, ver, p, encCtx, bound)
	if err != nil {
		return envelope.Plaintext{}, err
	}
	defer key.Wipe()
	plain, err := openValue(key, p.Value, bound)
	if err != nil {
		return envelope.Plaintext{}, errDecrypt(err)
	}
	return plain, nil
}

// payload returns the sealed value of a version that has one. It is shared and must not be
// modified.
func (s *Service) payload(ctx context.Context, v *store.Snap, sec *Secret, ver *Version) (*Payload, error) {
	if ver.Payload.Value != nil {
		return &ver.Payload, nil
	}
	return s.payloads.Load(ctx, v, valueKey(sec, ver.ID))
}

// keptInSecret says whether the value of a version is part of the secret's record: those
// that are read, if they are of ordinary size. Each record costs etcd and the mirror more
// than such a value has bytes, and the start reads them one by one. At most three versions
// carry AWS's labels, so a change of anything else writes little for their sake.
func (ver *Version) keptInSecret() bool {
	p := &ver.Payload
	bytes := len(p.DataKey) + len(p.Value)
	for _, wrapped := range p.FormerDataKeys {
		bytes += len(wrapped)
	}
	return bytes <= inlineValueBytes && slices.ContainsFunc(ver.Stages, func(stage string) bool {
		return stage == stageCurrent || stage == stagePrevious || stage == stagePending
	})
}

// put writes the record of a secret, a clone, and gives values that are not to be part of
// it records of their own. Every change of a secret is written by it.
func (s *Service) put(tx *store.Tx, sec *Secret) {
	for i := range sec.Versions {
		ver := &sec.Versions[i]
		if ver.Payload.Value != nil && !ver.keptInSecret() {
			s.payloads.Put(tx, valueKey(sec, ver.ID), &Payload{ver.Payload.DataKey, ver.Payload.Value, ver.Payload.FormerDataKeys})
			ver.Payload = Payload{}
		}
	}
	s.secrets.Put(tx, secretKey(sec), sec)
}

// openValue opens a value with its data key. That goes by the name of the KMS key that
// wraps it now; the value says by which it went when it was sealed.
func openValue(key *envelope.Key, sealed []byte, bound envelope.Binding) (envelope.Plaintext, error) {
	id, version, err := envelope.Header(sealed)
	if err != nil {
		return envelope.Plaintext{}, err
	}
	if id != key.ID() || version != key.Version() {
		secret := key.Secret()
		defer secret.Wipe()
		if key, err = envelope.NewKey(id, version, secret.Bytes()); err != nil {
			return envelope.Plaintext{}, err
		}
		defer key.Wipe()
	}
	return key.OpenBound(valueLabel, sealed, bound)
}

// holds says whether a version has exactly this value: what makes a repeated
// ClientRequestToken a repeat and not a clash.
func (s *Service) holds(ctx context.Context, c *call.Call, v *store.Snap, sec *Secret, ver *Version, val value) (bool, error) {
	if ver.Kind != val.kind || ver.Kind == NoValue || ver.Size != val.bytes.Len() {
		return false, nil
	}
	have, err := s.open(ctx, c, v, sec, sec.ARN(), ver)
	if err != nil {
		return false, err
	}
	defer have.Wipe()
	return have.Equal(val.bytes), nil
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
