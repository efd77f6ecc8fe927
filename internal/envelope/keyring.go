package envelope

import (
	"errors"
	"fmt"
	"sync"
)

// ErrNoKey means that an envelope was sealed under a key that the ring does not hold:
// one that was retired, one of another installation, or one made by another node so
// recently that this one has not learned of it.
var ErrNoKey = errors.New("sealed under a key that is not in the keyring")

// Keyring holds keys of several ids and versions, opens with the one an envelope
// names and seals with the primary one. It may be used concurrently.
type Keyring struct {
	// mu is held for reading during Seal and Open, so that no key is wiped in use.
	mu      sync.RWMutex
	keys    map[keyName]*Key // guarded by mu
	primary *Key             // guarded by mu; nil or one of keys
}

type keyName struct {
	id      KeyID
	version uint32
}

// NewKeyring returns a ring whose primary key is the given one.
func NewKeyring(primary *Key) *Keyring {
	return &Keyring{
		keys:    map[keyName]*Key{{primary.id, primary.version}: primary},
		primary: primary,
	}
}

// Add takes a key over, for opening only. Adding the same key again changes nothing;
// another secret under an id and version that the ring holds is refused.
func (r *Keyring) Add(k *Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addLocked(k)
}

// AddPrimary takes a key over and seals with it from now on.
func (r *Keyring) AddPrimary(k *Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.addLocked(k); err != nil {
		return err
	}
	r.primary = r.keys[keyName{k.id, k.version}]
	return nil
}

func (r *Keyring) addLocked(k *Key) error {
	name := keyName{k.id, k.version}
	held, ok := r.keys[name]
	if !ok {
		r.keys[name] = k
		return nil
	}
	if held == k {
		return nil
	}
	a, b := held.Secret(), k.Secret()
	defer a.Wipe()
	defer b.Wipe()
	if !a.Equal(b) {
		return fmt.Errorf("keyring holds a different secret for %v", k)
	}
	return nil
}

// Primary returns id and version of the key that seals.
func (r *Keyring) Primary() (id KeyID, version uint32) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.primary == nil {
		return KeyID{}, 0
	}
	return r.primary.id, r.primary.version
}

// Has reports whether the ring can open envelopes of the given key.
func (r *Keyring) Has(id KeyID, version uint32) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.keys[keyName{id, version}]
	return ok
}

// Seal is Key.Seal under the primary key.
func (r *Keyring) Seal(label string, plaintext, ad []byte) ([]byte, error) {
	return r.AppendSeal(nil, label, plaintext, ad)
}

// AppendSeal is Key.AppendSeal under the primary key.
func (r *Keyring) AppendSeal(dst []byte, label string, plaintext, ad []byte) ([]byte, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.primary == nil {
		return nil, errWiped
	}
	return r.primary.AppendSeal(dst, label, plaintext, ad)
}

// Open is Key.Open under the key that the envelope names. The error wraps ErrFormat,
// ErrDecrypt or ErrNoKey.
func (r *Keyring) Open(label string, sealed, ad []byte) (Plaintext, error) {
	id, version, err := Header(sealed)
	if err != nil {
		return Plaintext{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.keys[keyName{id, version}]
	if !ok {
		return Plaintext{}, fmt.Errorf("%w: %s version %d", ErrNoKey, id, version)
	}
	return k.Open(label, sealed, ad)
}

// Remove wipes a key and forgets it; what is still sealed under it is lost to this
// ring. The primary key cannot be removed.
func (r *Keyring) Remove(id KeyID, version uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.keys[keyName{id, version}]
	if !ok {
		return nil
	}
	if k == r.primary {
		return fmt.Errorf("remove %v from keyring: it is the primary key", k)
	}
	delete(r.keys, keyName{id, version})
	k.Wipe()
	return nil
}

// Wipe wipes all keys. Afterwards the ring neither seals nor opens.
func (r *Keyring) Wipe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.keys {
		k.Wipe()
	}
	clear(r.keys)
	r.primary = nil
}
