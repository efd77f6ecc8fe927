//go:build !pkcs11

package rootkey_test

import (
	"testing"

	"arca/internal/rootkey"
)

// A binary without PKCS#11 says so, and how to build one that has it.
func TestPKCS11NotBuilt(t *testing.T) {
	r := rootkey.NewPKCS11(rootkey.PKCS11Config{Module: "m", TokenLabel: "t", KeyLabel: "k"})
	_, openErr := r.Open(t.Context(), nil)
	_, _, createErr := r.Create(t.Context())
	_, _, renewErr := r.Renew(t.Context())
	for name, err := range map[string]error{
		"Check": r.Check(), "Open": openErr, "Create": createErr, "Renew": renewErr,
		"Adopt": r.Adopt(t.Context(), nil, nil), "Destroy": r.Destroy(t.Context(), nil),
	} {
		t.Run(name, func(t *testing.T) { refusal(t, err, nil, "built without PKCS#11", "-tags pkcs11") })
	}
}
