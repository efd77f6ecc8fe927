package secrets

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// CreateSecret makes a secret, with its first version when a value is given. A
// repeat with the same token and value is answered as the first call was.
func (s *Service) CreateSecret(ctx context.Context, c *call.Call, in *smapi.CreateSecretInput) (*smapi.CreateSecretOutput, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	// Drawn here, not in the closure: that one may run again.
	fresh := Secret{
		Partition: c.Partition, Account: c.Caller.Account, Region: c.Region,
		Name: in.Name, Suffix: newSuffix(), Description: text(in.Description),
		Created: InstantOf(c.Now), Changed: InstantOf(c.Now), CreateToken: text(in.ClientRequestToken),
		NameKeyed: true,
	}
	fresh.UID = newUID(s.store, fresh.scope(), fresh.Name)

	var out *smapi.CreateSecretOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		if err := s.authorizeCreate(ctx, c, tx.Snap, &fresh, in); err != nil {
			return err
		}
		token, err := checkToken(in.ClientRequestToken)
		if err != nil {
			return err
		}
		if err := checkCreate(in); err != nil {
			return err
		}
		val, err := s.requestValue(in.SecretString, in.SecretBinary)
		if err != nil {
			return err
		}
		defer val.wipe()
		sec := fresh.clone()
		if err := s.addTags(sec, in.Tags); err != nil {
			return err
		}
		if err := s.setFirstKey(ctx, tx, c, sec, in.KmsKeyId); err != nil {
			return err
		}
		if old := s.byName(tx.Snap, sec.scope(), sec.Name); old != nil {
			out, err = s.createdBefore(ctx, c, tx.Snap, old, token, val)
			return err
		}
		out = createOutput(sec, token, val.kind != NoValue)
		return s.create(ctx, tx, c, sec, token, val)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// create writes a secret whose name is free.
func (s *Service) create(ctx context.Context, tx *store.Tx, c *call.Call, sec *Secret, token string, val value) error {
	if s.secrets.Count(sec.scope()) >= s.quotas.Secrets {
		return smapi.LimitExceededException.Errorf("You can't have more than %d secrets in a Region.", s.quotas.Secrets)
	}
	_, named := s.names.Get(tx.Snap, nameRecordKey(sec.scope(), sec.Name))
	if _, ok := s.secrets.Get(tx.Snap, secretKey(sec)); ok || named {
		// Damaged data. Better refuse than overwrite what may still be mended.
		return fmt.Errorf("name of new secret %s is taken by a secret that is not there", sec.UID)
	}
	if val.kind != NoValue {
		key, keyName, err := s.newVersionKey(tx, c, sec)
		if err != nil {
			return err
		}
		if err := s.addVersion(ctx, tx, c, sec, token, val, nil, key, keyName); err != nil {
			return err
		}
	}
	// Its key goes by the name, and is written only where none is: of two calls that create
	// one name, the later runs again and finds the earlier's secret.
	s.put(tx, sec)
	return nil
}

// authorizeCreate asks for CreateSecret and for the permissions that members of the
// request imply. The secret does not exist, so its tags are those it would have, for
// all these questions.
func (s *Service) authorizeCreate(ctx context.Context, c *call.Call, v *store.Snap, fresh *Secret, in *smapi.CreateSecretInput) error {
	var tags, regions conditions
	tags.requestTags(in.Tags)
	for _, t := range in.Tags {
		if t.Key != nil {
			tags = appendTagKeys(tags, []Tag{{Key: *t.Key, Value: text(t.Value)}})
		}
	}
	regions.regions(in.AddReplicaRegions)
	regions.flag("secretsmanager:ForceOverwriteReplicaSecret", in.ForceOverwriteReplicaSecret)
	keys := conditions{contextKey("secretsmanager:Name", in.Name)}
	keys.text("secretsmanager:Description", in.Description)
	s.keyConditions(&keys, c, v, fresh.Account, in.KmsKeyId)
	keys.text("secretsmanager:Type", in.Type)

	ck := call.Check{Action: "secretsmanager:CreateSecret", Resource: fresh.ARN(), Shown: in.Name, Account: fresh.Account, Snap: v}
	ck.Keys = slices.Concat(keys, regions, tags)
	if err := c.Authorize(ctx, &ck); err != nil {
		return err
	}
	ck.Shown = ""
	if len(in.Tags) > 0 {
		ck.Action, ck.Keys = "secretsmanager:TagResource", tags
		if err := c.Authorize(ctx, &ck); err != nil {
			return err
		}
	}
	if len(in.AddReplicaRegions) > 0 {
		ck.Action, ck.Keys = "secretsmanager:ReplicateSecretToRegions", slices.Concat(regions, tags)
		return c.Authorize(ctx, &ck)
	}
	return nil
}

// checkCreate refuses by name what cannot be honoured.
func checkCreate(in *smapi.CreateSecretInput) error {
	if text(in.Type) != "" {
		return errUnsupported("Type")
	}
	if len(in.AddReplicaRegions) > 0 {
		return errUnsupported("AddReplicaRegions")
	}
	return nil
}

// setFirstKey gives a new secret the key that the request names, which the caller must be
// allowed to use. With aws/secretsmanager there is nothing to find out before a value
// comes.
func (s *Service) setFirstKey(ctx context.Context, tx *store.Tx, c *call.Call, sec *Secret, keyID *string) error {
	name, key, err := s.chooseKey(c, tx.Snap, sec.keyOwner(), text(keyID))
	if err != nil || name == "" {
		return err
	}
	sec.KMSKeyID = name
	return s.probeKey(ctx, c, tx.Snap, sec, key)
}

// createdBefore answers when the name is taken: as the first call was answered if
// this is its repeat, with an error otherwise. That a call made no version can only
// be told by the token kept with the secret.
func (s *Service) createdBefore(ctx context.Context, c *call.Call, v *store.Snap, old *Secret, token string, val value) (*smapi.CreateSecretOutput, error) {
	if old.scheduled() {
		return nil, smapi.InvalidRequestException.Errorf("You can't create this secret because a secret with this name is already scheduled for deletion.")
	}
	again, err := s.repeat(ctx, c, v, old, token, val, false)
	if err != nil {
		return nil, err
	}
	if again || old.CreateToken == token && val.kind == NoValue {
		return createOutput(old, token, again), nil
	}
	return nil, smapi.ResourceExistsException.Errorf("The operation failed because the secret %s already exists.", old.Name)
}

func createOutput(sec *Secret, token string, hasVersion bool) *smapi.CreateSecretOutput {
	out := &smapi.CreateSecretOutput{ARN: new(sec.ARN()), Name: &sec.Name}
	if hasVersion {
		out.VersionId = &token
	}
	return out
}

// newSuffix draws the six characters that end an ARN. They are new for every
// creation, so that a policy on an ARN does not apply to a later namesake.
func newSuffix() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	// Bytes beyond the last multiple of the alphabet's length are drawn again: every
	// character is as likely as any other.
	const limit = 256 - 256%len(alphabet)
	out := make([]byte, 0, suffixLength)
	var random [4 * suffixLength]byte
	for {
		_, _ = rand.Read(random[:])
		for _, b := range random {
			if int(b) >= limit {
				continue
			}
			out = append(out, alphabet[int(b)%len(alphabet)])
			if len(out) == suffixLength {
				return string(out)
			}
		}
	}
}
