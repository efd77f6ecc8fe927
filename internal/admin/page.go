package admin

import (
	"errors"

	"arca/internal/api/arcaapi"
	"arca/internal/paging"
)

// question is what a list of this package is asked: which list, and what narrows it.
func question(list string, parts ...string) paging.Question {
	return paging.QuestionOf(append([]string{"arca", list}, parts...)...)
}

// sealPage makes the NextToken for a position; nil when there is no next page.
func (s *Service) sealPage(next string, q paging.Question) (*string, error) {
	if next == "" {
		return nil, nil
	}
	token, err := paging.Seal(s.store, q, next)
	if err != nil {
		return nil, err
	}
	return &token, nil
}

// openPage returns the position to go on after; "" is the beginning.
func (s *Service) openPage(token *string, q paging.Question) (string, error) {
	if token == nil {
		return "", nil
	}
	position, err := paging.Open(s.store, q, *token)
	if errors.Is(err, paging.ErrToken) {
		return "", arcaapi.InvalidParameterException.Errorf("The NextToken value is invalid.")
	}
	return position, err
}
