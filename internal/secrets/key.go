package secrets

import (
	"errors"
	"strings"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/kms"
	"arca/internal/store"
)

// A secret keeps the name of its key as it was given, and an alias is followed whenever
// a version is made; a version keeps the ARN of the key that wraps its data key. For
// both, the empty name is the account's aws/secretsmanager.

// keyARN is the ARN of the key or alias ("key/…" or "alias/…") of an account.
func keyARN(c *call.Call, account, resource string) string {
	return "arn:" + c.Partition + ":kms:" + c.Region + ":" + account + ":" + resource
}

// namesDefault recognises the names that the account's aws/secretsmanager has whether or
// not it exists: none, its alias, and the alias's ARN.
func namesDefault(c *call.Call, owner kms.Owner, keyID string) bool {
	switch keyID {
	case "", kms.SecretsManagerAlias, keyARN(c, owner.Account, kms.SecretsManagerAlias):
		return true
	}
	return false
}

// chooseKey finds the key that a request names for a secret of the owner, and how the
// secret is to keep that name. The key is nil for an aws/secretsmanager that has not been
// used yet.
//
// What another account than the caller's has is not told: there, a key that does not
// exist is answered as one that is closed to him.
func (s *Service) chooseKey(c *call.Call, v *store.Snap, owner kms.Owner, keyID string) (name string, key *kms.Key, err error) {
	own := c.Caller.Account == owner.Account
	if namesDefault(c, owner, keyID) {
		if !own {
			return "", nil, errForeignDefault()
		}
		key, err = s.kms.Find(v, owner, "")
		return "", key, err
	}
	if !own && !strings.HasPrefix(keyID, arnPrefix) {
		// It would mean another key to each of the two accounts.
		return "", nil, errInvalidKey("the secret is in another account, so the key must be named by its ARN")
	}
	key, err = s.kms.Find(v, owner, keyID)
	account, _ := keyAccount(c, keyID)
	switch aerr, refused := errors.AsType[*api.Error](err); {
	case refused && (aerr.Code != kmsapi.NotFoundException || account == c.Caller.Account):
		return "", nil, errInvalidKey(aerr.Message)
	case err != nil && !refused:
		return "", nil, err
	case key == nil, key.IsDefault() && key.Account != c.Caller.Account:
		c.NoteDenial(call.Denial{Action: generateDataKey.action(), Resource: keyID, Reason: "because there is no such key for others"})
		return "", nil, errKeyDenied()
	case !key.IsDefault():
		return keyID, key, nil
	case !own:
		return "", nil, errForeignDefault()
	}
	return "", key, nil
}

// keyAccount is the account in which a KeyId of the caller names a key, and what it says
// of that key ("key/…", "alias/…") when it is an ARN of this region. What is no such ARN
// is a name in the caller's own account, or none at all.
func keyAccount(c *call.Call, keyID string) (account, resource string) {
	part := strings.SplitN(keyID, ":", 6) // arn:partition:kms:region:account:resource
	if len(part) == 6 && part[0] == "arn" && part[3] == c.Region {
		return part[4], part[5]
	}
	return c.Caller.Account, ""
}

// keyConditions adds the key a request asks for, as it was sent and by its ARN. A name is
// followed in the caller's own account only: with a policy of his own he could otherwise
// find out what names another account has, and for which keys.
func (s *Service) keyConditions(k *conditions, c *call.Call, v *store.Snap, account string, keyID *string) {
	if keyID == nil {
		return
	}
	k.text("secretsmanager:KmsKeyId", keyID)
	in, resource := keyAccount(c, *keyID)
	if in != c.Caller.Account {
		if strings.HasPrefix(resource, "key/") {
			k.text("secretsmanager:KmsKeyArn", keyID)
		}
		return
	}
	if in != account && resource == "" {
		return // no name for a secret of another account
	}
	if key, err := s.kms.Find(v, kms.Owner{Account: in, Region: c.Region}, *keyID); err == nil && key != nil {
		*k = append(*k, contextKey("secretsmanager:KmsKeyArn", key.ARN()))
	}
}

// newVersionKey is the key under which versions of a secret are made now, and its name
// as a version keeps it. An aws/secretsmanager that is not there is made: call it once
// in a transaction.
func (s *Service) newVersionKey(tx *store.Tx, c *call.Call, sec *Secret) (key *kms.Key, name string, err error) {
	if sec.KMSKeyID == "" {
		key, err = s.kms.DefaultKey(tx, c, sec.keyOwner())
		if errors.Is(err, kms.ErrForeign) {
			return nil, "", errForeignDefault()
		}
		return key, "", err
	}
	key, err = s.kms.Find(tx.Snap, sec.keyOwner(), sec.KMSKeyID)
	if err != nil {
		return nil, "", errEncrypt(err)
	}
	if key == nil || key.IsDefault() {
		// Not a name that chooseKey lets a secret have.
		return nil, "", errEncrypt(kms.ErrKey)
	}
	return key, key.ARN(), nil
}

// shownKey is how ListSecretVersionIds shows the key of a version.
func shownKey(name string) string {
	if name == "" {
		return defaultKeyName
	}
	return name
}

// checkOwnAccount refuses values under the default key to other accounts, whatever
// the policies say: that key serves its own account only.
func checkOwnAccount(c *call.Call, sec *Secret, keyID string) error {
	if keyID == "" && sec.Account != c.Caller.Account {
		return errForeignDefault()
	}
	return nil
}

func errForeignDefault() error {
	return smapi.InvalidRequestException.Errorf("You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key.")
}

// errInvalidKey refuses a KmsKeyId that names no key, with what KMS says to it.
func errInvalidKey(why string) error {
	return smapi.InvalidParameterException.Errorf("The operation failed because of an invalid KMS key: %s", why)
}

// errKeyDenied is all that AWS tells of a denial by KMS. Which permission is missing on
// which key stands in the audit record.
func errKeyDenied() error {
	return smapi.AccessDeniedException.Errorf("Access to KMS is not allowed")
}

func errEncrypt(cause error) error {
	return smapi.EncryptionFailure.Wrap(cause, "Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key is available, enabled, and not in an invalid state.")
}

func errDecrypt(cause error) error {
	return smapi.DecryptionFailure.Wrap(cause, "Secrets Manager can't decrypt the protected secret text using the provided KMS key.")
}
