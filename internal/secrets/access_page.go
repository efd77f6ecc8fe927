package secrets

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"slices"
	"sort"
	"strings"

	"arca/internal/store"
)

// Days of access are kept in pages, each for the secrets of a scope whose UIDs begin
// alike: a record costs etcd's index, a start and the mirror several times what the days
// of one secret take.

// pageBits is how many bits of a UID tell its page. They are of the hash of the name, or
// random, so that secrets are spread evenly: at 500,000 in a scope, some 30 share a page of
// 1 to 2 KB.
const pageBits = 14

// AccessPage holds the days on which the secrets of a page and their versions were last
// read. It is a record apart because it changes without the secrets changing.
type AccessPage struct {
	Account string  `cbor:"1,keyasint"`
	Region  string  `cbor:"2,keyasint"`
	Page    uint16  `cbor:"3,keyasint"`
	Days    DayRows `cbor:"4,keyasint"`
}

// pageOf is the page of a secret.
func pageOf(uid UID) uint16 { return binary.BigEndian.Uint16(uid[:]) >> (16 - pageBits) }

// pageKey is where a page of a scope lives.
func pageKey(scope string, page uint16) store.Key {
	var b [4]byte
	return store.Key{Scope: scope, Parent: string(hex.AppendEncode(b[:0], []byte{byte(page >> 8), byte(page)}))}
}

// DayRows are rows of 28 bytes, sorted: the UID of a secret, the mark of one of its
// versions (8 bytes), the day on which that was last read (4 bytes); numbers with the
// highest byte first. A row with the mark 0 says when the secret was last read by a version
// that is gone, where that is later than all others.
type DayRows []byte

const (
	markAt   = len(UID{})
	dayAt    = markAt + 8
	rowBytes = dayAt + 4
)

// markOf is what rows know a version by: the beginning of a hash of its id, never 0. Two
// ids that have one mark, for which somebody would have to try billions, share a day.
func markOf(versionID string) uint64 {
	var room [64]byte
	sum := sha256.Sum256(append(room[:0], versionID...))
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

func (r DayRows) len() int         { return len(r) / rowBytes }
func (r DayRows) row(i int) []byte { return r[i*rowBytes : (i+1)*rowBytes] }
func (r DayRows) uid(i int) UID    { return UID(r.row(i)[:markAt]) }
func (r DayRows) mark(i int) uint64 {
	return binary.BigEndian.Uint64(r.row(i)[markAt:])
}
func (r DayRows) day(i int) Day { return Day(binary.BigEndian.Uint32(r.row(i)[dayAt:])) }

// span is where the rows of a secret stand, or would stand.
func (r DayRows) span(uid UID) (from, till int) {
	from = sort.Search(r.len(), func(i int) bool { return bytes.Compare(r.row(i)[:markAt], uid[:]) >= 0 })
	for till = from; till < r.len() && r.uid(till) == uid; till++ {
	}
	return from, till
}

// of are the rows of a secret.
func (r DayRows) of(uid UID) DayRows {
	from, till := r.span(uid)
	return r[from*rowBytes : till*rowBytes]
}

// with is a copy in which a secret has these rows and no others.
func (r DayRows) with(uid UID, rows DayRows) DayRows {
	from, till := r.span(uid)
	out := make(DayRows, 0, len(r)+len(rows))
	return append(append(append(out, r[:from*rowBytes]...), rows...), r[till*rowBytes:]...)
}

// last is the latest day of all rows, 0 without any.
func (r DayRows) last() (day Day) {
	for i := range r.len() {
		day = max(day, r.day(i))
	}
	return day
}

// dayOf is the day of a version, of rows of one secret; 0 when it was never read.
func (r DayRows) dayOf(versionID string) Day {
	if len(r) == 0 {
		return 0
	}
	mark := markOf(versionID)
	for i := range r.len() {
		if r.mark(i) == mark {
			return r.day(i)
		}
	}
	return 0
}

// secrets are those that have rows, in order, and when they were last read.
func (r DayRows) secrets() iter.Seq2[UID, Day] {
	return func(yield func(UID, Day) bool) {
		for c := r.cursor(); c.more && yield(c.uid, c.day); c.next() {
		}
	}
}

// dayCursor stands at one secret after the other.
type dayCursor struct {
	rows DayRows // behind it
	more bool    // it stands at a secret:
	uid  UID
	day  Day // when that was last read
}

func (r DayRows) cursor() *dayCursor {
	c := &dayCursor{rows: r}
	c.next()
	return c
}

func (c *dayCursor) next() {
	if c.more = c.rows.len() > 0; !c.more {
		return
	}
	n := 1
	for c.uid, c.day = c.rows.uid(0), c.rows.day(0); n < c.rows.len() && c.rows.uid(n) == c.uid; n++ {
		c.day = max(c.day, c.rows.day(n))
	}
	c.rows = c.rows[n*rowBytes:]
}

// valid says whether the rows are whole, in order and without two of a kind.
func (r DayRows) valid() bool {
	if len(r)%rowBytes != 0 {
		return false
	}
	for i := range r.len() {
		if r.day(i) <= 0 || i > 0 && bytes.Compare(r.row(i - 1)[:dayAt], r.row(i)[:dayAt]) >= 0 {
			return false
		}
	}
	return true
}

// joined are the rows of a secret: what is stored, what else is known, for the versions
// that there are.
func (r DayRows) joined(sec *Secret, more *LastAccess) DayRows {
	type dated struct {
		mark uint64
		day  Day
	}
	rows := make([]dated, 0, len(sec.Versions)+1)
	last, shown := max(r.last(), more.Day), Day(0)
	for i := range sec.Versions {
		id := sec.Versions[i].ID
		if day := max(r.dayOf(id), more.Versions[id]); day > 0 {
			rows = append(rows, dated{markOf(id), day})
			shown = max(shown, day)
		}
	}
	if last > shown {
		rows = append(rows, dated{0, last})
	}
	slices.SortFunc(rows, func(a, b dated) int { return cmp.Or(cmp.Compare(a.mark, b.mark), cmp.Compare(b.day, a.day)) })
	rows = slices.CompactFunc(rows, func(a, b dated) bool { return a.mark == b.mark })
	out := make(DayRows, 0, len(rows)*rowBytes)
	for _, d := range rows {
		out = append(out, sec.UID[:]...)
		out = binary.BigEndian.AppendUint64(out, d.mark)
		out = binary.BigEndian.AppendUint32(out, uint32(d.day))
	}
	return out
}

// changedDays are the secrets of a page whose day of last access is another than before,
// in order, and the day: 0 for those that have none any more. Either may be nil.
func changedDays(before, after *AccessPage) iter.Seq2[UID, Day] {
	return func(yield func(UID, Day) bool) {
		was, is := before.cursor(), after.cursor()
		for was.more || is.more {
			var c int
			switch {
			case !is.more:
				c = -1
			case !was.more:
				c = 1
			default:
				c = bytes.Compare(was.uid[:], is.uid[:])
			}
			switch {
			case c < 0 && !yield(was.uid, 0),
				c > 0 && !yield(is.uid, is.day),
				c == 0 && was.day != is.day && !yield(is.uid, is.day):
				return
			}
			if c <= 0 {
				was.next()
			}
			if c >= 0 {
				is.next()
			}
		}
	}
}

func (p *AccessPage) cursor() *dayCursor {
	if p == nil {
		return new(dayCursor)
	}
	return p.Days.cursor()
}

// accessChanged is told by the store of every change of a page.
func (s *Service) accessChanged(rev int64, before, after *AccessPage) {
	p := after
	if p == nil {
		p = before
	}
	scope := scopeOf(p.Account, p.Region)
	// Not the page's own texts, which are part of something larger.
	account, region, _ := strings.Cut(scope, "/")
	for uid, day := range changedDays(before, after) {
		s.catalog.accessChanged(rev, scope, uid, day)
		s.reads.note(readOf{uid, account, region, rev})
	}
}

// storedDays are the rows of a secret in a snapshot.
func (s *Service) storedDays(v *store.Snap, sec *Secret) DayRows {
	p, ok := s.access.Peek(v, pageKey(sec.scope(), pageOf(sec.UID)))
	if !ok {
		return nil
	}
	return p.Days.of(sec.UID)
}

// maxPagedBytes bounds what one transaction writes of pages.
const maxPagedBytes = 256 << 10

// pageWriter changes pages within a transaction, which sees those of before: each is
// written once, at the end.
type pageWriter struct {
	s  *Service
	tx *store.Tx
	// pages are those looked at, changed ones those to be written.
	pages   map[store.Key]*AccessPage
	changed map[store.Key]bool
	bytes   int // of the changed ones
	others  int // records that the transaction writes or guards besides
}

func (s *Service) pageWriter(tx *store.Tx) *pageWriter {
	return &pageWriter{s: s, tx: tx, pages: make(map[store.Key]*AccessPage), changed: make(map[store.Key]bool)}
}

// full reports whether there may be no room for another secret, with two records besides.
func (w *pageWriter) full() bool {
	return len(w.changed)+w.others+3 > store.MaxWrites || w.bytes > maxPagedBytes
}

// page is a page as the transaction has left it so far.
func (w *pageWriter) page(sec *Secret) (store.Key, *AccessPage) {
	n := pageOf(sec.UID)
	key := pageKey(sec.scope(), n)
	p := w.pages[key]
	if p == nil {
		p = &AccessPage{Account: sec.Account, Region: sec.Region, Page: n}
		if stored, ok := w.s.access.Get(w.tx.Snap, key); ok {
			p.Days = stored.Days
		}
		w.pages[key] = p
	}
	return key, p
}

// set replaces the rows of a secret, and reports whether that changes anything.
func (w *pageWriter) set(sec *Secret, rows func(stored DayRows) DayRows) bool {
	key, p := w.page(sec)
	stored := p.Days.of(sec.UID)
	fresh := rows(stored)
	if bytes.Equal(stored, fresh) {
		return false
	}
	if !w.changed[key] {
		w.changed[key] = true
		w.bytes += len(p.Days)
	}
	w.bytes += len(fresh) - len(stored)
	p.Days = p.Days.with(sec.UID, fresh)
	return true
}

// join adds to the days of a secret what else is known, and reports whether anything was new.
func (w *pageWriter) join(sec *Secret, more *LastAccess) bool {
	return w.set(sec, func(stored DayRows) DayRows { return stored.joined(sec, more) })
}

// forget removes the days of a secret that is being deleted, and sees to it that none are
// added meanwhile.
func (w *pageWriter) forget(sec *Secret) {
	if !w.set(sec, func(DayRows) DayRows { return nil }) {
		key, _ := w.page(sec)
		w.s.access.Guard(w.tx, key)
	}
}

// end writes the pages that were changed, and removes those that are empty.
func (w *pageWriter) end() {
	for key := range w.changed {
		if p := w.pages[key]; len(p.Days) > 0 {
			w.s.access.Put(w.tx, key, p)
		} else {
			w.s.access.Delete(w.tx, key)
		}
	}
}
