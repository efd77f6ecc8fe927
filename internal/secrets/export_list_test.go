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
	Look, Few    int // 0: as ever
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
	if q.Look > 0 {
		sq.look = q.Look
	}
	if q.Few > 0 {
		sq.few = q.Few
	}
	sq.gather, sq.see = q.Gather, q.See
	p := s.page(v, &sq, after, limit)
	return p.secrets, p.next, sq.err
}

// PutBare writes a secret's record and name, nothing below them.
func (s *Service) PutBare(tx *store.Tx, sec *Secret) {
	s.put(tx, sec)
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

// CatalogReady reports whether lists ask the catalogue.
func (s *Service) CatalogReady() bool { return s.catalog.answers() }

// FillCatalogAround is FillCatalog with something happening after the snapshot was taken
// and nothing was read from it yet.
func (s *Service) FillCatalogAround(v *store.Snap, fn func()) {
	s.catalog.begin()
	fn()
	s.fillFrom(v, func() bool { return true })
	s.catalog.end()
}

// CatalogSize counts what the catalogue has of a scope: secrets, and texts of tags.
func (s *Service) CatalogSize(scope string) (count, texts int) {
	s.catalog.mu.RLock()
	defer s.catalog.mu.RUnlock()
	sh := s.catalog.shelves[scope]
	if sh == nil || sh.names.numbers.Len() != sh.count {
		return 0, 0
	}
	return sh.count, sh.tagKeys.numbers.Len() + sh.tagValues.numbers.Len()
}

// DropCatalog empties the catalogue, which is then to be filled again.
func (s *Service) DropCatalog() {
	s.catalog.mu.Lock()
	defer s.catalog.mu.Unlock()
	s.catalog.dropLocked()
}

// ForgetRecent makes the catalogue forget which secrets have changed lately.
func (s *Service) ForgetRecent() {
	s.catalog.mu.Lock()
	defer s.catalog.mu.Unlock()
	s.catalog.recent.forget(s.catalog.observed)
}

// MarksFind reports whether the catalogue takes a secret for one that a value of a filter
// that seeks words may find.
func MarksFind(key, value string, s *Secret) bool {
	part, _ := newFilterPart(key, []string{value})
	sought, has := part.plain[0].words.marks(), marksOf(s)
	return len(part.plain[0].words.words) > 0 && has.has(&sought)
}

// NumberList is a numberList with what it holds.
type NumberList struct{ l numberList }

func (l *NumberList) Add(n uint32)    { l.l.add(n) }
func (l *NumberList) Remove(n uint32) { l.l.remove(n) }
func (l *NumberList) Count() int      { return l.l.count }
func (l *NumberList) All(length int) (all []uint32) {
	s := make(numberSet, length)
	s.addAll(posting{many: &l.l})
	s.each(func(n uint32) { all = append(all, n) })
	return all
}

// PutRecord writes a secret's record alone.
func (s *Service) PutRecord(tx *store.Tx, sec *Secret) { s.put(tx, sec) }
