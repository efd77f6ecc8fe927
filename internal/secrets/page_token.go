package secrets

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"

	"arca/internal/api/smapi"
	"arca/internal/store"
)

// A page token holds the position after which a list goes on, sealed for clients
// to carry: they can neither read it (it names a secret) nor make one. It opens
// only for the question it was given for, which is its additional data.

// pageTokenPurpose names the key in the store's keyring.
const pageTokenPurpose = "page-token"

// pageQuestion identifies what is being listed: operation, scope, filters, order.
type pageQuestion [sha256.Size]byte

// questionOf digests the parts of a question. Each part goes in with its length,
// so that no two questions run together.
func questionOf(parts ...string) pageQuestion {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		_, _ = h.Write(n[:]) // a hash accepts everything
		_, _ = h.Write([]byte(p))
	}
	return pageQuestion(h.Sum(nil))
}

// appendFilterParts adds filters to the parts of a question, counted, so that a
// value cannot pass for a key.
func appendFilterParts(parts []string, filters []smapi.Filter) []string {
	parts = append(parts, strconv.Itoa(len(filters)))
	for _, f := range filters {
		key := ""
		if f.Key != nil {
			key = *f.Key
		}
		parts = append(parts, key, strconv.Itoa(len(f.Values)))
		parts = append(parts, f.Values...)
	}
	return parts
}

// sealPageToken makes the NextToken for a position, or nil when there is no next page.
func sealPageToken(st *store.Store, q pageQuestion, next string) (*string, error) {
	if next == "" {
		return nil, nil
	}
	sealed, err := st.Seal(pageTokenPurpose, []byte(next), q[:])
	if err != nil {
		return nil, fmt.Errorf("seal page token: %w", err)
	}
	token := base64.RawURLEncoding.EncodeToString(sealed)
	return &token, nil
}

// openPageToken returns the position a request wants to go on after; "" is the
// beginning. A token of another question, another deployment or nobody's making is
// told as one error: which of them it is helps only whoever forges.
func openPageToken(st *store.Store, q pageQuestion, token *string) (string, error) {
	if token == nil {
		return "", nil
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(*token)
	if err != nil {
		return "", errPageToken()
	}
	position, err := st.Unseal(pageTokenPurpose, sealed, q[:])
	if err != nil || position.Len() == 0 {
		return "", errPageToken()
	}
	return string(position.Bytes()), nil
}

// errPageToken has a text of ours: AWS's is not known.
func errPageToken() error {
	return smapi.InvalidNextTokenException.Errorf("The NextToken value is invalid.")
}
