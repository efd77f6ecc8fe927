package rootkey

import (
	"fmt"

	"arca/internal/envelope"
)

// PKCS11Config says which token of which module holds the keys that wrap root keys.
type PKCS11Config struct {
	// Module is the path of the vendor's library.
	Module string
	// TokenLabel is the label of the token.
	TokenLabel string
	// KeyLabel is the label that the key objects get and must have.
	KeyLabel string
	// PIN is the user's PIN of the token, unless PINFile holds it.
	PIN envelope.Plaintext
	// PINFile is the path of a file with the PIN, one line, outside DataDir.
	PINFile string
	DataDir string
}

// PKCS11 has the root key wrapped by a key object of a hardware security module, or
// of anything else that PKCS #11 speaks to: AES-256, made in the module and never
// leaving it. The wrapped key is in the parameters; every root key has a key object of
// its own, whose id is that of the root key. It may be used concurrently; calls wait
// for each other, and no other part of the process may use the same module meanwhile.
//
// Trusted are the module and the device. The library runs in this process and sees its
// memory.
//
// It is compiled in with the build tag pkcs11, which needs cgo. Without, every call
// is refused.
type PKCS11 struct {
	cfg  PKCS11Config
	turn chan struct{} // full while the module is in use
}

var _ Provider = (*PKCS11)(nil)

// NewPKCS11 returns the root key under a token's key object. It loads nothing yet.
func NewPKCS11(cfg PKCS11Config) *PKCS11 {
	return &PKCS11{cfg: cfg, turn: make(chan struct{}, 1)}
}

type pkcs11Params struct {
	Format int `json:"format"`
	// ID is the id of the root key and the CKA_ID of the key object that wraps it.
	ID textID `json:"id"`
	// Token and Label are for people: where the key object was made.
	Token string `json:"token"`
	Label string `json:"label"`
	// Wrapped is nonce ‖ ciphertext ‖ tag of CKM_AES_GCM.
	Wrapped []byte `json:"wrapped"`
}

// Kind returns "pkcs11".
func (p *PKCS11) Kind() string { return KindPKCS11 }

// Wipe does nothing. A PIN of the environment stays: a running server needs it again
// to make a new root key, and it is in the environment of the process anyway.
func (p *PKCS11) Wipe() {}

const (
	gcmNonceBytes = 12
	gcmTagBytes   = 16
	// maxNonceBytes: a module that makes nonces itself may make longer ones.
	maxNonceBytes = 64
)

func decodePKCS11Params(params []byte) (v pkcs11Params, err error) {
	if err := decodeParams(params, maxParamsBytes, &v); err != nil {
		return v, err
	}
	if err := checkParamsFormat(v.Format); err != nil {
		return v, err
	}
	const least = gcmNonceBytes + keyBytes + gcmTagBytes
	if n := len(v.Wrapped); n < least || n > least-gcmNonceBytes+maxNonceBytes {
		return v, fmt.Errorf("read root key parameters: wrapped root key of %d bytes", n)
	}
	return v, nil
}
