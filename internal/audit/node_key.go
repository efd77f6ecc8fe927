package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// NodeKey signs the checkpoints of one node's log. It is a note.Signer. Printing it
// shows the public half.
type NodeKey struct {
	private  ed25519.PrivateKey
	verifier note.Verifier
	vkey     string
}

// NewNodeKey is the key with a name and a secret seed of ed25519.SeedSize bytes.
func NewNodeKey(name string, seed []byte) (*NodeKey, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("audit key %s: seed of %d bytes", name, len(seed))
	}
	k := &NodeKey{private: ed25519.NewKeyFromSeed(seed)}
	var err error
	if k.vkey, err = note.NewEd25519VerifierKey(name, k.private.Public().(ed25519.PublicKey)); err != nil {
		return nil, fmt.Errorf("audit key %s: %w", name, err)
	}
	if k.verifier, err = note.NewVerifier(k.vkey); err != nil {
		return nil, fmt.Errorf("audit key %s: %w", name, err)
	}
	return k, nil
}

// newSeed draws the secret of a new key.
func newSeed() []byte {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails
	return seed
}

// Name implements note.Signer.
func (k *NodeKey) Name() string { return k.verifier.Name() }

// KeyHash implements note.Signer.
func (k *NodeKey) KeyHash() uint32 { return k.verifier.KeyHash() }

// Sign implements note.Signer.
func (k *NodeKey) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(k.private, msg), nil }

// Verifier checks what the key has signed.
func (k *NodeKey) Verifier() note.Verifier { return k.verifier }

// VerifierKey is the text of the public half, as note.NewVerifier takes it. It is what
// an auditor is given.
func (k *NodeKey) VerifierKey() string { return k.vkey }

// String is VerifierKey.
func (k *NodeKey) String() string { return k.vkey }

// GoString is VerifierKey.
func (k *NodeKey) GoString() string { return k.vkey }
