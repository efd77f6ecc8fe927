package admin

import (
	"encoding/base64"
	"fmt"
	"strings"

	"arca/internal/api/arcaapi"
)

// A page token is the position after which a list goes on, sealed for the question it
// was given for, so that clients can neither read nor make one.

// pageTokenPurpose names the key in the store's keyring.
const pageTokenPurpose = "page-token"

func pageAD(question []string) []byte { return []byte("arca\x00" + strings.Join(question, "\x00")) }

// sealPage makes the NextToken for a position; nil when there is no next page.
func (s *Service) sealPage(next string, question ...string) (*string, error) {
	if next == "" {
		return nil, nil
	}
	sealed, err := s.store.Seal(pageTokenPurpose, []byte(next), pageAD(question))
	if err != nil {
		return nil, fmt.Errorf("seal page token: %w", err)
	}
	return new(base64.RawURLEncoding.EncodeToString(sealed)), nil
}

// openPage returns the position to go on after; "" is the beginning.
func (s *Service) openPage(question string, token *string, more ...string) (string, error) {
	if token == nil {
		return "", nil
	}
	bad := arcaapi.InvalidParameterException.Errorf("The NextToken value is invalid.")
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(*token)
	if err != nil {
		return "", bad
	}
	position, err := s.store.Unseal(pageTokenPurpose, sealed, pageAD(append([]string{question}, more...)))
	if err != nil || position.Len() == 0 {
		return "", bad
	}
	return string(position.Bytes()), nil
}
