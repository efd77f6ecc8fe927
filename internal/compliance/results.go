package compliance

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"arca/internal/secrets"
	"arca/internal/store"
)

// Result is what one rule says of one secret.
type Result struct {
	Rule       Rule
	State      State
	Annotation string // says why; at most 256 bytes
	SecretARN  string
	SecretName string
	Account    string
	Region     string
}

// Query selects results. Empty members select everything.
type Query struct {
	Account string
	Region  string
	Rule    Rule
	State   State
	// After is the Next of the page before.
	After string
	// Max is the most results of a page; 0 means 100, and no page has more than 1000.
	Max int
}

// Page is a part of the results, ordered by account, region, name and rule.
type Page struct {
	Results []Result
	// Next leads to the next page; "" when this is the last one. A page that is empty, or
	// not full, may have a next one: the work of a page is bounded.
	Next string
}

const (
	defaultResults = 100
	maxResults     = 1000
	// pageSecrets is how many secrets a page looks at: ten or twenty milliseconds.
	pageSecrets = 5000
)

// ErrPlace is the error for a Query.After that no page has given.
var ErrPlace = errors.New("not a place that a page of results has ended at")

// Results looks at secrets as a snapshot shows them at the given time. It works things
// out anew, and so does not depend on Step. Whoever serves it authorises first.
func (s *Service) Results(v *store.Snap, now time.Time, q Query) (Page, error) {
	place, rule, err := parsePlace(q.After)
	if err != nil {
		return Page{}, err
	}
	if q.Account != "" {
		place = max(place, secrets.PlaceOf(q.Account))
	}
	limit := q.Max
	if limit <= 0 {
		limit = defaultResults
	}
	limit = min(limit, maxResults)
	var page Page
	looked := 0
	at := secrets.InstantOf(now)
	s.cfg.Survey.Walk(v, place, func(here string, sec *secrets.Secret) bool {
		if q.Account != "" && sec.Account != q.Account {
			return false // accounts follow each other
		}
		if looked == pageSecrets {
			page.Next = placeText(here, 0)
			return false
		}
		looked++
		if q.Region != "" && sec.Region != q.Region {
			return true
		}
		from := 0
		if here == place {
			from = rule
		}
		stopped, ok := s.addResults(v, &page, sec, at, &q, from, limit)
		if !ok {
			page.Next = placeText(here, stopped)
		}
		return ok
	})
	return page, nil
}

// addResults adds what the rules from the given one on say of a secret. When the page is
// full it returns the first rule that did not fit.
func (s *Service) addResults(v *store.Snap, page *Page, sec *secrets.Secret, now secrets.Instant, q *Query, from, limit int) (rule int, ok bool) {
	f := s.facts(v, sec)
	verdicts := s.rules.judge(&f, now)
	for i, r := range Rules() {
		if i < from || q.Rule != "" && q.Rule != r || q.State != 0 && q.State != verdicts[i].state {
			continue
		}
		if len(page.Results) == limit {
			return i, false
		}
		page.Results = append(page.Results, Result{
			Rule: r, State: verdicts[i].state, Annotation: s.rules.annotation(verdicts[i], &f),
			SecretARN: sec.ARN(), SecretName: sec.Name, Account: sec.Account, Region: sec.Region,
		})
	}
	return 0, true
}

// placeText is the place of a secret and the rule to go on with for it.
func placeText(place string, rule int) string { return strconv.Itoa(rule) + " " + place }

func parsePlace(text string) (place string, rule int, err error) {
	if text == "" {
		return "", 0, nil
	}
	digits, place, ok := strings.Cut(text, " ")
	rule, err = strconv.Atoi(digits)
	if !ok || err != nil || rule < 0 || rule >= ruleCount {
		return "", 0, ErrPlace
	}
	return place, rule, nil
}

// facts gathers what the rules ask.
func (s *Service) facts(v *store.Snap, sec *secrets.Secret) facts {
	f := facts{
		created: sec.Created, deleted: !sec.Deleted.IsZero(), rotation: sec.Rotation,
		keyARN: s.cfg.Survey.KeyARN(v, sec),
	}
	if read := s.cfg.Survey.LastRead(v, sec); !read.IsZero() {
		f.lastRead = secrets.InstantOf(read)
	}
	return f
}
