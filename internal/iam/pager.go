package iam

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"arca/internal/api/iamapi"
	"arca/internal/call"
)

// A marker is the position after which a list goes on, sealed for clients to carry:
// they can neither read it nor make one. It opens only for the question it was given
// for, which is its additional data: operation, account and what narrows the list.

// markerPurpose names the key in the store's keyring.
const markerPurpose = "page-token"

// pageSize is how many entries a page has when the caller names no number.
const pageSize = 100

// pager cuts one page out of a list. Positions are strings that ascend along the
// list; a position is never longer than a name with a few words, since markers are
// at most 320 characters.
type pager struct {
	s        *Service
	question [sha256.Size]byte
	after    string // "" is the beginning
	limit    int

	n         int
	last      string
	truncated bool
}

// newPager opens the marker of a request. parts are the members that narrow the list.
func (s *Service) newPager(c *call.Call, marker *string, maxItems *int32, parts ...string) (*pager, error) {
	p := &pager{s: s, limit: pageSize}
	if maxItems != nil {
		p.limit = int(*maxItems)
	}
	h := sha256.New()
	var n [8]byte
	// Each part goes in with its length, so that no two questions run together.
	for _, part := range append([]string{c.Op.Service.Name, c.Op.Name, c.Caller.Account}, parts...) {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		_, _ = h.Write(n[:]) // a hash accepts everything
		_, _ = h.Write([]byte(part))
	}
	h.Sum(p.question[:0])
	if marker == nil {
		return p, nil
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(*marker)
	if err != nil {
		return nil, errMarker()
	}
	// A marker of another question, another deployment or nobody's making is told as
	// one error: which of them it is helps only whoever forges.
	position, err := s.store.Unseal(markerPurpose, sealed, p.question[:])
	if err != nil || position.Len() == 0 {
		return nil, errMarker()
	}
	p.after = string(position.Bytes())
	return p, nil
}

// errMarker has a text of ours: AWS's is not known.
func errMarker() error { return iamapi.ValidationError.Errorf("The Marker value is invalid.") }

// begin starts the page anew: the function of a view or update may run again.
func (p *pager) begin() { p.n, p.last, p.truncated = 0, "", false }

// offer shows the pager the next entry of the list. take says that it belongs to the
// page, more that the following one is of interest.
func (p *pager) offer(position string) (take, more bool) {
	switch {
	case position <= p.after:
		return false, true
	case p.n == p.limit:
		p.truncated = true
		return false, false
	}
	p.n++
	p.last = position
	return true, true
}

// end is what the answer says about further pages.
func (p *pager) end() (truncated *bool, marker *string, err error) {
	if !p.truncated {
		return new(false), nil, nil
	}
	sealed, err := p.s.store.Seal(markerPurpose, []byte(p.last), p.question[:])
	if err != nil {
		return nil, nil, fmt.Errorf("seal marker: %w", err)
	}
	return new(true), new(base64.RawURLEncoding.EncodeToString(sealed)), nil
}

// pageOf cuts a page out of a list that one record holds. What is added or removed
// between two pages may move entries from one to the other.
func pageOf[T any](p *pager, list []T) (page []T) {
	for i := range list {
		take, more := p.offer(fmt.Sprintf("%06d", i))
		if take {
			page = append(page, list[i])
		}
		if !more {
			break
		}
	}
	return page
}
