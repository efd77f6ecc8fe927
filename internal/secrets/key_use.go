package secrets

import (
	"context"
	"errors"
	"iter"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/kms"
	"arca/internal/store"
)

const (
	// viaService is what kms:ViaService begins with for calls that this service makes.
	viaService = "secretsmanager"
	// validation stands for the version in the encryption context of calls that only find
	// out whether the caller may use a key.
	validation = "RequestToValidateKeyAccess"
)

// keyUse is one of the things that are done with a key. They are decided as KMS decides
// about the calls that AWS's service makes, and recorded as such.
type keyUse int

const (
	generateDataKey keyUse = iota // for a new version
	decrypt                       // the data key of a version
	encrypt                       // the data key of a version, under another key
)

func (u keyUse) action() string {
	switch u {
	case generateDataKey:
		return "kms:GenerateDataKey"
	case decrypt:
		return "kms:Decrypt"
	}
	return "kms:Encrypt"
}

// request is the call to KMS as its record shows it.
func (u keyUse) request(keyARN string, encCtx map[string]string) (op *api.Operation, in any) {
	switch u {
	case generateDataKey:
		return kmsapi.OpGenerateDataKey, &kmsapi.GenerateDataKeyInput{KeyId: keyARN, KeySpec: new("AES_256"), EncryptionContext: encCtx}
	case decrypt:
		return kmsapi.OpDecrypt, &kmsapi.DecryptInput{EncryptionAlgorithm: new("SYMMETRIC_DEFAULT"), EncryptionContext: encCtx}
	}
	return kmsapi.OpEncrypt, &kmsapi.EncryptInput{KeyId: keyARN, EncryptionAlgorithm: new("SYMMETRIC_DEFAULT"), EncryptionContext: encCtx}
}

// useKey asks whether the caller may use a key so for what encCtx names, and whether the
// key is in a state to be used. The error is that of KMS; a denial is noted for the audit
// record of c.
func (s *Service) useKey(ctx context.Context, c *call.Call, v *store.Snap, key *kms.Key, use keyUse, encCtx map[string]string) error {
	if !s.recordsUse(key) {
		// The path of most reads.
		return s.kms.Use(ctx, c, v, key, use.action(), viaService, encCtx)
	}
	denied, err := s.tryKey(ctx, c, v, key, use, encCtx)
	if denied != nil {
		c.NoteDenial(*denied)
	}
	return err
}

// tryKey is useKey for what goes on without: a denial is returned, not noted.
func (s *Service) tryKey(ctx context.Context, c *call.Call, v *store.Snap, key *kms.Key, use keyUse, encCtx map[string]string) (*call.Denial, error) {
	arn := key.ARN()
	op, in := use.request(arn, encCtx)
	fwd := c.Forward(smapi.Service.EventSource, op, in)
	err := s.kms.UseNamed(ctx, fwd, v, key, arn, use.action(), viaService, encCtx)
	if s.recordsUse(key) && (err == nil || ofClient(err)) {
		fwd.NoteResource(key.Account, "AWS::KMS::Key", arn)
		_ = fwd.Done(nil, err) // the error is what was given
	}
	return fwd.Denied(), err
}

// recordsUse reports whether the uses of a key get audit records of their own.
func (s *Service) recordsUse(key *kms.Key) bool { return !s.omitKeyEvents && !key.IsDefault() }

// ofClient reports whether an error is an answer, and not a failure to find one.
func ofClient(err error) bool {
	_, ok := errors.AsType[*api.Error](err)
	return ok
}

// errUse turns an error of useKey into the service's: a denial into its own, and the
// state of the key into what failed.
func errUse(err error, failed func(cause error) error) error {
	aerr, ok := errors.AsType[*api.Error](err)
	switch {
	case !ok:
		return err
	case aerr.Code == smapi.AccessDeniedException:
		return errKeyDenied()
	}
	return failed(err)
}

// probeKey finds out whether the caller may use a key for a secret that is about to get
// it, as AWS does.
func (s *Service) probeKey(ctx context.Context, c *call.Call, v *store.Snap, sec *Secret, key *kms.Key) error {
	encCtx := encryptionContext(sec.ARN(), validation)
	for _, use := range []keyUse{generateDataKey, decrypt} {
		if err := s.useKey(ctx, c, v, key, use, encCtx); err != nil {
			return errUse(err, errEncrypt)
		}
	}
	return nil
}

// wrappings are the keys of a version, the newest first, and the data key under each.
func wrappings(ver *Version, p *Payload) iter.Seq2[string, []byte] {
	return func(yield func(name string, wrapped []byte) bool) {
		if !yield(ver.KMSKeyID, p.DataKey) {
			return
		}
		for i := range min(len(ver.FormerKMSKeyIDs), len(p.FormerDataKeys)) {
			if !yield(ver.FormerKMSKeyIDs[i], p.FormerDataKeys[i]) {
				return
			}
		}
	}
}

// unwrap opens the data key of a version, with the first of its keys that the caller may
// use and that can be used. When none can, the error is about the newest. bound is encCtx,
// made ready.
func (s *Service) unwrap(ctx context.Context, c *call.Call, v *store.Snap, sec *Secret, ver *Version, p *Payload, encCtx map[string]string, bound envelope.Binding) (*envelope.Key, error) {
	var newest error
	for name, wrapped := range wrappings(ver, p) {
		plain, err := s.unwrapWith(ctx, c, v, sec, name, wrapped, encCtx, bound)
		if err == nil || !ofClient(err) {
			return plain, err
		}
		if newest == nil {
			newest = err
		}
	}
	return nil, newest
}

// unwrapWith opens a data key that is wrapped by the key of this name.
func (s *Service) unwrapWith(ctx context.Context, c *call.Call, v *store.Snap, sec *Secret, name string, wrapped []byte, encCtx map[string]string, bound envelope.Binding) (*envelope.Key, error) {
	key, err := s.wrapper(v, sec, name, wrapped)
	if err != nil {
		return nil, errDecrypt(err)
	}
	if err := s.useKey(ctx, c, v, key, decrypt, encCtx); err != nil {
		return nil, errUse(err, errDecrypt)
	}
	plain, err := s.kms.Unwrap(c, key, wrapped, bound)
	if errors.Is(err, kms.ErrKey) || errors.Is(err, kms.ErrForeign) {
		return nil, errDecrypt(err)
	}
	return plain, err
}

// wrapper finds the key that wraps a data key. It must be the one that the version
// names, for it is the one that was decided about and is shown; the error is kms.ErrKey.
func (s *Service) wrapper(v *store.Snap, sec *Secret, name string, wrapped []byte) (*kms.Key, error) {
	key, err := s.kms.KeyOf(v, wrapped)
	if err != nil {
		return nil, err
	}
	if name == "" && (!key.IsDefault() || key.Account != sec.Account || key.Region != sec.Region) || name != "" && !key.HasARN(name) {
		return nil, kms.ErrKey
	}
	return key, nil
}
