package secrets

import (
	"sync"

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
	s.daysOf(tx).forget(sec)
}

// PutAccess writes the day of last access of a secret, with EndAccess.
func (s *Service) PutAccess(tx *store.Tx, sec *Secret, day Day) {
	s.daysOf(tx).set(sec, func(DayRows) DayRows { return DayRows(nil).joined(sec, &LastAccess{Day: day}) })
}

// writers are those of transactions that are being made.
var writers sync.Map

func (s *Service) daysOf(tx *store.Tx) *pageWriter {
	w, _ := writers.LoadOrStore(tx, s.pageWriter(tx))
	return w.(*pageWriter)
}

// EndAccess writes what PutAccess and DeleteBare have changed in a transaction.
func EndAccess(tx *store.Tx) {
	if w, ok := writers.LoadAndDelete(tx); ok {
		w.(*pageWriter).end()
	}
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

// CatalogSize counts what the catalogue has of a scope: secrets, texts of tags, and words,
// each as often as there are texts that it may be in.
func (s *Service) CatalogSize(scope string) (count, texts, words int) {
	s.catalog.mu.RLock()
	defer s.catalog.mu.RUnlock()
	sh := s.catalog.shelves[scope]
	if sh == nil || sh.names.len() != sh.count {
		return 0, 0, 0
	}
	for _, w := range sh.words {
		words += w.len()
	}
	return sh.count, sh.tagKeys.numbers.Len() + sh.tagValues.numbers.Len(), words + sh.tagKeys.words.len() + sh.tagValues.words.len()
}

func (w *wordIndex) len() int { return w.many.numbers.Len() + w.few.len() }

func (p packed) len() (n int) {
	p.ascend("", func([]byte, []byte) bool {
		n++
		return true
	})
	return n
}

// MentionedWords counts the words that the catalogue has of secrets, as CatalogSize does.
func MentionedWords(all []*Secret) int {
	words := map[mention]bool{}
	for _, sec := range all {
		for _, m := range mentionsOf(sec) {
			if m.as < wordKinds {
				words[m] = true
				continue
			}
			eachWord(m.text, cutClasses, func(word string) { words[mention{word, m.as}] = true })
		}
	}
	return len(words)
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

// Candidates returns the numbers of the secrets among some that the catalogue leaves for
// filters, if it may do so much work.
func Candidates(filters []smapi.Filter, work int, all []*Secret) ([]uint32, error) {
	q, err := newSecretQuery("", filters)
	if err != nil {
		return nil, err
	}
	q.work, q.planned = work, true
	s := &Service{catalog: catalog{ready: true, shelves: map[string]*shelf{"": newShelf()}}}
	for _, sec := range all {
		s.catalog.shelves[""].put(sec, nil, nil, 0)
	}
	return numbersOf(s.candidates(nil, &q, byCreated).set), nil
}

func numbersOf(s numberSet) (all []uint32) {
	s.each(func(n uint32) { all = append(all, n) })
	return all
}

// WordIndex is a wordIndex with what it holds.
type WordIndex struct{ w wordIndex }

func NewWordIndex() *WordIndex { return &WordIndex{newWordIndex()} }

func (w *WordIndex) Add(word string, n uint32)    { w.w.add(word, n) }
func (w *WordIndex) Remove(word string, n uint32) { w.w.remove(word, n) }
func (w *WordIndex) Len() int                     { return w.w.len() }

// Find returns the numbers of the words with a prefix, found in pieces of so much work.
func (w *WordIndex) Find(prefix string, length, most int, between func()) []uint32 {
	s := make(numberSet, length)
	for j := (joined{next: prefix, more: true}); j.more; {
		j = w.w.join(s, prefix, j.next, most)
		between()
	}
	return numbersOf(s)
}

// Room returns how many leaves there are, and how much memory they have and use.
func (w *WordIndex) Room() (leaves, has, uses int) {
	w.w.few.leaves.Scan(func(_ string, l *leaf) bool {
		leaves, has, uses = leaves+1, has+cap(l.data), uses+len(l.data)
		return true
	})
	return leaves, has, uses
}

// NumberList is a numberList with what it holds.
type NumberList struct{ l numberList }

func (l *NumberList) Add(n uint32)    { l.l.add(n) }
func (l *NumberList) Remove(n uint32) { l.l.remove(n) }
func (l *NumberList) Count() int      { return l.l.count }
func (l *NumberList) Room() int       { return 4*len(l.l.list) + 8*len(l.l.bits) }
func (l *NumberList) All(length int) []uint32 {
	s := make(numberSet, length)
	s.addAll(posting{many: &l.l})
	return numbersOf(s)
}

// PutRecord writes a secret's record alone.
func (s *Service) PutRecord(tx *store.Tx, sec *Secret) { s.put(tx, sec) }
