package kms

import (
	"errors"

	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/paging"
)

// newPager opens the marker of a request. A page has usual entries when the caller
// names no number, and never more than most. parts are the members that narrow the list.
func (s *Service) newPager(c *call.Call, marker *string, limit *int32, usual, most int, parts ...string) (*paging.Pager, error) {
	if limit != nil {
		usual = min(int(*limit), most)
	}
	question := paging.QuestionOf(append([]string{c.Op.Service.Name, c.Op.Name, c.Caller.Account, c.Region}, parts...)...)
	p, err := paging.New(s.store, question, marker, usual)
	if errors.Is(err, paging.ErrToken) {
		// The text is ours: AWS's is not known.
		return nil, kmsapi.InvalidMarkerException.Errorf("The Marker value is invalid.")
	}
	return p, err
}
