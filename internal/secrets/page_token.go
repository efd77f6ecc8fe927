package secrets

import (
	"errors"
	"strconv"

	"arca/internal/api/smapi"
	"arca/internal/paging"
	"arca/internal/store"
)

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
func sealPageToken(st *store.Store, q paging.Question, next string) (*string, error) {
	if next == "" {
		return nil, nil
	}
	token, err := paging.Seal(st, q, next)
	if err != nil {
		return nil, err
	}
	return &token, nil
}

// openPageToken returns the position a request wants to go on after; "" is the
// beginning.
func openPageToken(st *store.Store, q paging.Question, token *string) (string, error) {
	if token == nil {
		return "", nil
	}
	position, err := paging.Open(st, q, *token)
	if errors.Is(err, paging.ErrToken) {
		return "", errPageToken()
	}
	return position, err
}

// errPageToken has a text of ours: AWS's is not known.
func errPageToken() error {
	return smapi.InvalidNextTokenException.Errorf("The NextToken value is invalid.")
}
