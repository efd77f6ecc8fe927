package iam

import (
	"errors"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/paging"
)

// pageSize is how many entries a page has when the caller names no number.
const pageSize = 100

// newPager opens the marker of a request. parts are the members that narrow the list.
// Positions are never longer than a name with a few words: markers are at most 320
// characters.
func (s *Service) newPager(c *call.Call, marker *string, maxItems *int32, parts ...string) (*paging.Pager, error) {
	limit := pageSize
	if maxItems != nil {
		limit = int(*maxItems)
	}
	question := paging.QuestionOf(append([]string{c.Op.Service.Name, c.Op.Name, c.Caller.Account}, parts...)...)
	p, err := paging.New(s.store, question, marker, limit)
	if errors.Is(err, paging.ErrToken) {
		return nil, errMarker()
	}
	return p, err
}

// errMarker has a text of ours: AWS's is not known.
func errMarker() error { return iamapi.ValidationError.Errorf("The Marker value is invalid.") }

// inlineBytes is how much the inline policies of one bearer bring along.
func inlineBytes(ps *Policies) (n int) {
	for i := range ps.Inline {
		n += len(ps.Inline[i].Text)
	}
	return n
}
