package secrets

import (
	"arca/internal/api/smapi"
	"arca/internal/store"
)

// FilterKeeps compiles the filters and reports whether they keep the secret.
func FilterKeeps(filters []smapi.Filter, s *Secret) (bool, error) {
	f, err := compileFilters(filters)
	if err != nil {
		return false, err
	}
	var work int
	return f.keeps(s, &work), nil
}

// CutClasses returns all words of a text as filter "all" sees them.
func CutClasses(text string) []string {
	var words []string
	for word, rest := cutClasses(text); word != ""; word, rest = cutClasses(rest) {
		words = append(words, word)
	}
	return words
}

// DrawPassword applies the rules of a request without asking for permission.
func DrawPassword(in *smapi.GetRandomPasswordInput) (string, error) {
	rules, err := passwordRulesOf(in)
	if err != nil {
		return "", err
	}
	return string(rules.draw()), nil
}

// Query is a list question with bounds small enough for tests to reach.
type Query struct {
	Scope        string
	Filters      []smapi.Filter
	SortBy       string
	Descending   bool
	Planned      bool
	See          func(sec *Secret) (bool, error)
	Work, Gather int
}

// Page answers one page of a query and where the next begins.
func (s *Service) Page(v *store.Snap, q Query, after string, limit int) (page []*Secret, next string, err error) {
	sq, err := newSecretQuery(q.Scope, q.Filters)
	if err != nil {
		return nil, "", err
	}
	sq.sortBy, sq.descending, sq.planned = q.SortBy, q.Descending, q.Planned
	if q.Work > 0 {
		sq.work = q.Work
	}
	sq.gather, sq.see = q.Gather, q.See
	p := s.page(v, &sq, after, limit)
	return p.secrets, p.next, sq.err
}

// PutBare writes a secret's record and name, nothing below them.
func (s *Service) PutBare(tx *store.Tx, sec *Secret) {
	s.secrets.Put(tx, secretKey(sec), sec)
	s.names.Put(tx, nameRecordKey(sec.scope(), sec.Name), &SecretName{UID: sec.UID})
}

// DeleteBare removes what PutBare wrote.
func (s *Service) DeleteBare(tx *store.Tx, sec *Secret) {
	s.secrets.Delete(tx, secretKey(sec))
	s.names.Delete(tx, nameRecordKey(sec.scope(), sec.Name))
	if _, ok := s.access.Get(tx.Snap, accessKey(sec)); ok {
		s.access.Delete(tx, accessKey(sec))
	}
}

// PutAccess writes the day of last access of a secret.
func (s *Service) PutAccess(tx *store.Tx, sec *Secret, day Day) {
	s.access.Put(tx, accessKey(sec), &LastAccess{UID: sec.UID, Account: sec.Account, Region: sec.Region, Day: day})
}
