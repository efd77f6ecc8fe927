//go:build !pkcs11

package rootkey

import (
	"context"
	"errors"

	"arca/internal/envelope"
)

// PKCS11BuiltIn says whether a root key can be kept in a device: whether the binary was
// built with the tag pkcs11.
const PKCS11BuiltIn = false

// errNotBuilt is what a binary without the build tag says.
var errNotBuilt = errors.New("this binary was built without PKCS#11: build with -tags pkcs11 (make build-pkcs11)")

// Check refuses: see errNotBuilt.
func (p *PKCS11) Check() error { return errNotBuilt }

// Create refuses.
func (p *PKCS11) Create(context.Context) (*envelope.Key, []byte, error) {
	return nil, nil, errNotBuilt
}

// Open refuses.
func (p *PKCS11) Open(context.Context, []byte) (*envelope.Key, error) { return nil, errNotBuilt }

// Renew refuses.
func (p *PKCS11) Renew(context.Context) (*envelope.Key, []byte, error) { return nil, nil, errNotBuilt }

// Adopt refuses.
func (p *PKCS11) Adopt(context.Context, []byte, []byte) error { return errNotBuilt }

// Destroy refuses.
func (p *PKCS11) Destroy(context.Context, []byte) error { return errNotBuilt }
