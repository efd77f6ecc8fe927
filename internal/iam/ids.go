package iam

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"

	"arca/internal/envelope"
)

// idEncoding is the alphabet of AWS's unique ids and access key ids.
var idEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// Prefixes of unique ids.
const (
	userIDPrefix   = "AIDA"
	groupIDPrefix  = "AGPA"
	roleIDPrefix   = "AROA"
	policyIDPrefix = "ANPA"
)

// newUniqueID draws the unique id of a user, group, role or policy: 21 characters,
// as AWS's have. None is ever given out again.
func newUniqueID(prefix string) string {
	var raw [11]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
	return prefix + idEncoding.EncodeToString(raw[:])[:17]
}

// NewAccessKey draws an access key id and secret of AWS's form.
func NewAccessKey() (id string, secret envelope.Plaintext) {
	var raw [10]byte
	_, _ = rand.Read(raw[:])
	return "AKIA" + idEncoding.EncodeToString(raw[:]), envelope.NewPlaintext([]byte(newSecret()))
}

// newSecret draws a secret access key: 40 characters of base64.
func newSecret() string {
	var key [30]byte
	_, _ = rand.Read(key[:])
	defer clear(key[:])
	return base64.StdEncoding.EncodeToString(key[:])
}
