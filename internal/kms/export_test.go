package kms

import (
	"arca/internal/api"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/store"
)

// NewWithTables also gives the tables, for tests that damage them.
func NewWithTables(cfg Config) (*Service, *store.Table[Key], *store.Table[Alias]) {
	s := New(cfg)
	return s, s.keys, s.aliases
}

// Quotas are those of a service, to be made smaller.
type Quotas struct{ Keys, Aliases, Grants, OnDemandRotations int }

// Shrink changes quotas before a service is used.
func (s *Service) Shrink(q Quotas) {
	s.quotas.keys, s.quotas.aliases, s.quotas.grants, s.quotas.onDemandRotations = q.Keys, q.Aliases, q.Grants, q.OnDemandRotations
}

// KeyByID finds a key.
func (s *Service) KeyByID(v *store.Snap, id string) *Key {
	parsed, ok := parseID(id)
	if !ok {
		return nil
	}
	return s.find(v, parsed)
}

// OpenBlob opens a ciphertext as Decrypt does, with a key that has this material.
func OpenBlob(key *Key, material *envelope.Key, blob []byte, encCtx map[string]string) (envelope.Plaintext, error) {
	return material.Open(blobLabel, blob, blobAD(key, encCtx))
}

// SealBlob is the other way.
func SealBlob(key *Key, material *envelope.Key, plaintext []byte, encCtx map[string]string) ([]byte, error) {
	return material.Seal(blobLabel, plaintext, blobAD(key, encCtx))
}

// ParseID and InitialPolicy are what operations use.
func ParseID(s string) (envelope.KeyID, bool) { return parseID(s) }

// InitialPolicy is the policy of a key whose maker gives it none.
func InitialPolicy(account string) string { return initialPolicy(account) }

// Grants is the table of grants.
func (s *Service) Grants() *store.Table[Grant] { return s.grants }

// GenerateDataKey makes a data key as a service does for what an owner keeps under the
// key of this name, the default key when there is none yet.
func (s *Service) GenerateDataKey(tx *store.Tx, c *call.Call, owner Owner, keyID string, encCtx map[string]string) (plain *envelope.Key, wrapped []byte, usedKeyID string, err error) {
	key, err := s.Find(tx.Snap, owner, keyID)
	if err == nil && key == nil {
		key, err = s.DefaultKey(tx, c, owner)
	}
	if err != nil {
		return nil, nil, "", err
	}
	plain, wrapped, err = s.NewDataKey(c, key, encCtx)
	return plain, wrapped, IDText(key.ID), err
}

// OpenCiphertext opens a ciphertext with a key, as Decrypt does.
func (s *Service) OpenCiphertext(key *Key, blob []byte, encCtx map[string]string) (envelope.Plaintext, error) {
	plain, _, err := s.decrypt(key, blob, encCtx)
	return plain, err
}

// OpenToken is what a grant token names.
func (s *Service) OpenToken(token api.SensitiveString) (key envelope.KeyID, grant string, err error) {
	named, err := s.openTokens([]api.SensitiveString{token})
	if err != nil {
		return envelope.KeyID{}, "", err
	}
	return named[0].key, named[0].id, nil
}

// MaterialID is the name of the key's current version.
func MaterialID(key *Key) string { return materialID(key, key.current()) }
