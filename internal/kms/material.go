package kms

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"

	"arca/internal/envelope"
)

const (
	sealPurpose = "kms" // keyring purpose of key material
	keyBytes    = 32
)

// newID draws the id of a key: a UUID of version 4, as key ids are.
func newID() envelope.KeyID {
	id := envelope.NewKeyID()
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// addMaterial gives a key, which is the caller's to change, a fresh version that
// encrypts from then on.
func (s *Service) addMaterial(key *Key, at Millis, rotation string) error {
	version := uint32(1)
	if len(key.Material) > 0 {
		version = key.current().Version + 1
	}
	var secret [keyBytes]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	defer clear(secret[:])
	sealed, err := s.store.Seal(sealPurpose, secret[:], materialAD(key, version))
	if err != nil {
		return fmt.Errorf("seal key material: %w", err)
	}
	key.Material = append(key.Material, Material{Version: version, Sealed: sealed, Created: at, Rotation: rotation})
	return nil
}

// open returns the key of one version, shared with others: it must not be wiped.
func (s *Service) open(key *Key, m *Material) (*envelope.Key, error) {
	if k := s.opened.get(key, m); k != nil {
		return k, nil
	}
	k, err := s.unseal(key, m)
	if err != nil {
		return nil, err
	}
	s.opened.put(key, m, k)
	return k, nil
}

// unseal opens the material of one version, for the caller alone.
func (s *Service) unseal(key *Key, m *Material) (*envelope.Key, error) {
	secret, err := s.store.Unseal(sealPurpose, m.Sealed, materialAD(key, m.Version))
	if err != nil {
		return nil, fmt.Errorf("open material of key %s: %w", IDText(key.ID), err)
	}
	defer secret.Wipe()
	return envelope.NewKey(key.ID, m.Version, secret.Bytes())
}

// version finds the material of one version; nil when the key does not have it.
func (k *Key) version(version uint32) *Material {
	for i := range k.Material {
		if k.Material[i].Version == version {
			return &k.Material[i]
		}
	}
	return nil
}

// maxOpened bounds the keys that are kept open, a few hundred bytes each.
const maxOpened = 4096

// opened keeps keys that were used, since opening one costs about a quarter of
// GetSecretValue, the edge apart. It gives nothing away that memory did not hold before:
// the keyring, which opens all of them, is there too. The sealed material is part of what
// finds a key, so a record that was replaced is opened anew.
type opened struct {
	mu   sync.RWMutex
	keys map[string]*envelope.Key // guarded by mu
}

func (o *opened) get(key *Key, m *Material) *envelope.Key {
	var space [256]byte
	at := appendOpenedKey(space[:0], key, m)
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.keys[string(at)]
}

func (o *opened) put(key *Key, m *Material, k *envelope.Key) {
	at := string(appendOpenedKey(nil, key, m))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keys == nil || len(o.keys) >= maxOpened {
		// Not wiped: some are in use. They are gone with the next collection.
		o.keys = make(map[string]*envelope.Key)
	}
	o.keys[at] = k
}

func appendOpenedKey(dst []byte, key *Key, m *Material) []byte {
	return append(appendMaterialAD(dst, key, m.Version), m.Sealed...)
}

// materialAD binds sealed material to its key and version, so that it cannot be
// moved to another record by whoever writes to etcd.
func materialAD(key *Key, version uint32) []byte { return appendMaterialAD(nil, key, version) }

func appendMaterialAD(ad []byte, key *Key, version uint32) []byte {
	ad = append(ad, key.Account...)
	ad = append(ad, '/')
	ad = append(ad, key.Region...)
	ad = append(ad, '/')
	ad = append(ad, key.ID[:]...)
	return binary.BigEndian.AppendUint32(ad, version)
}

// materialID names a version of a key in answers. It tells nothing of the secret.
func materialID(key *Key, m *Material) string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(append([]byte("kms key material\x00"), key.ID[:]...), m.Version))
	return hex.EncodeToString(sum[:])
}

// forget drops the versions of a key that is gone.
func (o *opened) forget(key *Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range key.Material {
		delete(o.keys, string(appendOpenedKey(nil, key, &key.Material[i])))
	}
}
