// Package paging cuts lists into pages and seals the place where a list goes on.
//
// A token holds that place for clients to carry. They can neither read it (it may name
// what they may not know) nor make one, and it opens only for the question it was
// given for: that is its additional data. The package trusts the store for its sealing.
package paging

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"arca/internal/store"
)

// purpose names the key in the store's keyring.
const purpose = "page-token"

// ErrToken is the error for a token of another question, another deployment or
// nobody's making. Which of them it is helps only whoever forges.
var ErrToken = errors.New("page token is not one for this question")

// Question identifies what is being listed: operation, account, filters, order.
type Question [sha256.Size]byte

// QuestionOf digests the parts of a question. Each part goes in with its length, so
// that no two questions run together.
func QuestionOf(parts ...string) Question {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		_, _ = h.Write(n[:]) // a hash accepts everything
		_, _ = h.Write([]byte(p))
	}
	return Question(h.Sum(nil))
}

// Seal makes the token for a position, which is not empty.
func Seal(st *store.Store, q Question, position string) (string, error) {
	sealed, err := st.Seal(purpose, []byte(position), q[:])
	if err != nil {
		return "", fmt.Errorf("seal page token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Open returns the position that a token holds, or ErrToken.
func Open(st *store.Store, q Question, token string) (string, error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return "", ErrToken
	}
	position, err := st.Unseal(purpose, sealed, q[:])
	if err != nil || position.Len() == 0 {
		return "", ErrToken
	}
	defer position.Wipe()
	return string(position.Bytes()), nil
}

// maxWeight is how many bytes make a page full, whatever number of entries was asked
// for: a thousand entries can bring along a gigabyte.
const maxWeight = 2 << 20

// Pager cuts one page out of a list. Positions are strings that ascend along the list.
type Pager struct {
	store    *store.Store
	question Question
	after    string // "" is the beginning
	limit    int

	n      int
	weight int
	last   string
	more   bool
}

// New returns the pager of a request for at most limit entries, or ErrToken. Without a
// token the list starts at its beginning.
func New(st *store.Store, q Question, token *string, limit int) (*Pager, error) {
	p := &Pager{store: st, question: q, limit: limit}
	if token == nil {
		return p, nil
	}
	var err error
	p.after, err = Open(st, q, *token)
	return p, err
}

// After is the position that the page stands after, from where a list may be walked;
// "" is the beginning.
func (p *Pager) After() string { return p.after }

// Begin starts the page anew: the function of a view or update may run again.
func (p *Pager) Begin() { p.n, p.weight, p.last, p.more = 0, 0, "", false }

// Offer shows the pager the next entry of the list. take says that it belongs to the
// page, more that the following one is of interest.
func (p *Pager) Offer(position string) (take, more bool) {
	switch {
	case position <= p.after:
		return false, true
	case p.n == p.limit || p.weight >= maxWeight:
		p.more = true
		return false, false
	}
	p.n++
	p.last = position
	return true, true
}

// Weigh notes how many bytes the entry last taken brings along.
func (p *Pager) Weigh(bytes int) { p.weight += bytes }

// End is what the answer says about further pages: the token is nil when there is none.
func (p *Pager) End() (truncated *bool, token *string, err error) {
	if !p.more {
		return new(false), nil, nil
	}
	t, err := Seal(p.store, p.question, p.last)
	if err != nil {
		return nil, nil, err
	}
	return new(true), &t, nil
}

// Page cuts a page out of a list that one record holds. What is added or removed
// between two pages may move entries from one to the other.
func Page[T any](p *Pager, list []T) []T {
	page := []T{}
	for i := range list {
		take, more := p.Offer(fmt.Sprintf("%06d", i))
		if take {
			page = append(page, list[i])
		}
		if !more {
			break
		}
	}
	return page
}
