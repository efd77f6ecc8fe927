package secrets

import (
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/kms"
	"arca/internal/store"
)

// keyARN is the ARN of the key or alias ("key/…" or "alias/…") of an account.
func keyARN(c *call.Call, account, resource string) string {
	return "arn:" + c.Partition + ":kms:" + c.Region + ":" + account + ":" + resource
}

// checkDefaultKey accepts the names of the account's aws/secretsmanager key: none,
// the alias, the key id, and the ARNs of both. Customer keys are refused, since a
// secret sealed under another key than the one asked for would be a broken promise.
func (s *Service) checkDefaultKey(c *call.Call, v *store.Snap, account string, keyID *string) error {
	switch text(keyID) {
	case "", kms.SecretsManagerAlias, keyARN(c, account, kms.SecretsManagerAlias):
		return nil
	}
	if id, ok := s.kms.DefaultKeyID(v, account, c.Region); ok && (*keyID == id || *keyID == keyARN(c, account, "key/"+id)) {
		return nil
	}
	return smapi.InvalidParameterException.Errorf("KmsKeyId names a customer managed key. This server keeps secrets under %s only: use that, or leave KmsKeyId out.", kms.SecretsManagerAlias)
}

// keyConditions adds the key a request asks for, as it was sent and, when that key
// exists, by its ARN.
func (s *Service) keyConditions(k *conditions, c *call.Call, v *store.Snap, account string, keyID *string) {
	if keyID == nil {
		return
	}
	k.text("secretsmanager:KmsKeyId", keyID)
	if s.checkDefaultKey(c, v, account, keyID) != nil {
		return
	}
	if id, ok := s.kms.DefaultKeyID(v, account, c.Region); ok {
		*k = append(*k, contextKey("secretsmanager:KmsKeyArn", keyARN(c, account, "key/"+id)))
	}
}
