package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// listing is one kind of list, asked for in the same way of every server.
type listing struct {
	name string
	kind listKind
	// in is the request without MaxResults and NextToken.
	in map[string]any
	// page is how many secrets one page holds.
	page int
	// batch asks BatchGetSecretValue instead of ListSecrets.
	batch bool
}

type listKind int

const (
	// aPage is measured at its beginning and in the middle of the list.
	aPage listKind = iota
	// firstPage is measured at its beginning: in the smallest size there is no other.
	firstPage
	// whole is measured until the answer without a NextToken.
	whole
)

func filters(pairs ...string) []any {
	var all []any
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, map[string]any{"Key": pairs[i], "Values": []string{pairs[i+1]}})
	}
	return all
}

func listed(sortBy, order string, pairs ...string) map[string]any {
	in := map[string]any{"SortBy": sortBy, "SortOrder": order}
	if len(pairs) > 0 {
		in["Filters"] = filters(pairs...)
	}
	return in
}

// listings are the lists. Filters match all or a third of the secrets, 1 % of them, ten
// however many there are, or none.
func listings() []listing {
	var rows []listing
	add := func(kind listKind, page int, name string, in map[string]any) {
		rows = append(rows, listing{name: name, kind: kind, in: in, page: page})
	}
	const name, created, changed, accessed = "name", "created-date", "last-changed-date", "last-accessed-date"
	for _, by := range []string{name, created, changed, accessed} {
		for _, order := range []string{"asc", "desc"} {
			add(aPage, 100, "all, by "+by+" "+order, listed(by, order))
		}
	}
	for _, by := range []string{name, created, changed, accessed} {
		add(aPage, 100, "tag-value of 1/3, by "+by, listed(by, "desc", "tag-value", "production"))
	}
	add(aPage, 100, "tag-key of all, by created-date", listed(created, "desc", "tag-key", "environment"))
	add(aPage, 100, "description of all, by created-date", listed(created, "desc", "description", "password"))
	add(aPage, 100, "`all` of 1/3, by created-date", listed(created, "desc", "all", "production"))
	add(aPage, 100, "not a tag-key of 1 %, by created-date", listed(created, "desc", "tag-key", "!audited"))
	add(firstPage, 100, "name prefix of 10 %, by name", listed(name, "asc", "name", "team-1"))
	add(firstPage, 100, "name prefix of 10 %, by created-date", listed(created, "desc", "name", "team-1"))
	for _, by := range []string{name, created, changed, accessed} {
		add(aPage, 5, "name prefix of 1 %, by "+by, listed(by, "desc", "name", "team-17/"))
		add(aPage, 5, "tag-value of 1 %, by "+by, listed(by, "desc", "tag-value", "person-17"))
	}
	add(aPage, 5, "tag-key of 1 %, by created-date", listed(created, "asc", "tag-key", "audited"))
	add(aPage, 5, "description of 1 %, by created-date", listed(created, "desc", "description", "database-17"))
	add(aPage, 5, "`all` of 1 %, by name", listed(name, "asc", "all", "person-17"))
	for _, by := range []string{name, created, changed, accessed} {
		add(whole, 100, "tag-key of ten, by "+by, listed(by, "desc", "tag-key", pilotTag))
	}
	add(whole, 100, "tag-value of ten, by created-date", listed(created, "asc", "tag-value", pilotValue))
	add(whole, 100, "name prefix of ten, by last-changed-date", listed(changed, "desc", "name", "team-17/service-000"))
	add(whole, 100, "description of ten, by created-date", listed(created, "desc", "description", "of team 17 uses", "name", "team-17/service-000"))
	add(whole, 100, "`all` of ten, by created-date", listed(created, "desc", "all", pilotValue))
	for _, key := range []string{"name", "tag-key", "tag-value", "description", "all", "primary-region", "owning-service"} {
		add(whole, 100, nothing+key+", by created-date", listed(created, "desc", key, "zzz-nothing"))
	}
	add(whole, 100, nothing+"tag-key, by last-accessed-date", listed(accessed, "asc", "tag-key", "zzz-nothing"))
	add(whole, 100, nothing+"tag-value of 1/3 and another tag-key", listed(name, "asc", "tag-value", "production", "tag-key", "zzz-nothing"))
	rows = append(rows,
		listing{name: "BatchGetSecretValue, tag-value of 1/3", kind: firstPage, page: 20, batch: true, in: map[string]any{"Filters": filters("tag-value", "production")}},
		listing{name: "BatchGetSecretValue, tag-value of 1 %", kind: firstPage, page: 5, batch: true, in: map[string]any{"Filters": filters("tag-value", "person-17")}},
		listing{name: nothing + "tag-key, BatchGetSecretValue", kind: whole, page: 20, batch: true, in: map[string]any{"Filters": filters("tag-key", "zzz-nothing")}},
	)
	return rows
}

// nothing begins the names of rows whose filter matches no secret.
const nothing = "nothing: "

// The tag that ten secrets have, however many there are.
const pilotTag, pilotValue = "pilot", "canary"

// pilots are those ten, spread over all orders.
func pilots(size int) []int {
	var all []int
	for k := range 10 {
		all = append(all, (size/11*k+37*k+size/23)%size)
	}
	return all
}

// lister asks one server for lists over one connection.
type lister struct {
	proc *process
	who  caller
	conn net.Conn
	in   inbox
}

func newLister(s *scaleServer) (*lister, error) {
	conn, err := net.Dial("tcp", s.at.api)
	return &lister{proc: s.proc, who: s.caller(), conn: conn}, err
}

func (l *lister) ask(request []byte) ([]byte, error) {
	if err := l.conn.SetDeadline(time.Now().Add(answerPatience)); err != nil {
		return nil, err
	}
	r, err := exchange(l.conn, &l.in, request)
	if err == nil && !r.ok {
		err = fmt.Errorf("answer %s %s", r.status, r.body[:min(len(r.body), 500)])
	}
	return r.body, err
}

// chain is the requests that one list, or one page of a list, takes: a page that comes
// short is followed up until it is full.
type chain struct {
	operation string
	bodies    []map[string]any
	found     int
}

type listAnswer struct {
	SecretList   []struct{ Name string }
	SecretValues []struct{ Name string }
	NextToken    string
}

func (l *lister) list(operation string, in map[string]any, page int, token string) (out listAnswer, body map[string]any, err error) {
	body = map[string]any{"MaxResults": page}
	for k, v := range in {
		body[k] = v
	}
	if token != "" {
		body["NextToken"] = token
	}
	request, err := l.who.request(secretsManager, operation, body)
	if err != nil {
		return out, nil, err
	}
	raw, err := l.ask(request)
	if err != nil {
		return out, nil, err
	}
	return out, body, json.Unmarshal(raw, &out)
}

func (r listing) operation() string {
	if r.batch {
		return "BatchGetSecretValue"
	}
	return "ListSecrets"
}

// follow returns the chain from a position on, and where it ends.
func (l *lister) follow(r listing, token string) (c chain, next string, err error) {
	c.operation, next = r.operation(), token
	for {
		wanted := r.page
		if r.kind != whole {
			wanted -= c.found
		}
		out, body, err := l.list(c.operation, r.in, wanted, next)
		if err != nil {
			return c, "", err
		}
		c.bodies = append(c.bodies, body)
		c.found += len(out.SecretList) + len(out.SecretValues)
		next = out.NextToken
		if next == "" || r.kind != whole && c.found >= r.page {
			return c, next, nil
		}
	}
}

// deepest is how many pages are passed at most to come to the middle of a list.
const deepest = 300

// middle returns a position about half-way through the list, of which it passes as many
// secrets.
func (l *lister) middle(r listing, half int) (token string, err error) {
	passed := 0
	for range deepest {
		step := min(100, half-passed)
		if step < 1 {
			break
		}
		out, _, err := l.list(r.operation(), r.in, step, token)
		if err != nil {
			return "", err
		}
		passed += len(out.SecretList)
		token = out.NextToken
		if token == "" {
			return "", errors.New("the list ended before its middle")
		}
	}
	return token, nil
}

// listResult is how long a list takes on two servers.
type listResult struct {
	name string
	// times are how long each list took on the smaller server and on the larger, cpus the
	// processor time that it took there, which a busy machine changes less.
	times, cpus [2][]time.Duration
	// found and pages are the secrets and requests of one list, of either server.
	found, pages [2]int
}

func (r *listResult) ratio() float64 {
	return float64(quantile(r.times[1], 0.5)) / float64(quantile(r.times[0], 0.5))
}

func (r *listResult) ratioOfCPU() float64 {
	return float64(quantile(r.cpus[1], 0.5)) / float64(quantile(r.cpus[0], 0.5))
}

// The bounds of how often one list is asked for in a round.
const (
	mostLists   = 20
	longLists   = 600 * time.Millisecond
	fewestLists = 2
)

// measureLists measures all lists on both servers in turns.
func measureLists(ctx context.Context, o options, servers [2]*scaleServer) (all []*listResult, err error) {
	var listers [2]*lister
	for i, s := range servers {
		if listers[i], err = newLister(s); err != nil {
			return nil, err
		}
		defer listers[i].conn.Close()
	}
	for _, row := range listings() {
		rs, err := measureList(ctx, o, row, servers, listers)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", row.name, err)
		}
		all = append(all, rs...)
		for _, r := range rs {
			fmt.Println(r)
		}
	}
	return all, nil
}

func measureList(ctx context.Context, o options, row listing, servers [2]*scaleServer, listers [2]*lister) (all []*listResult, err error) {
	places := []string{""}
	if row.kind == aPage {
		places = []string{"", ", from the middle"}
	}
	for k, place := range places {
		r := &listResult{name: row.name + place}
		var chains [2]chain
		for i, l := range listers {
			token := ""
			if k > 0 {
				half := servers[i].home.size / 2
				if row.page < 100 {
					half = servers[i].home.size / 200 // of 1 %
				} else if row.in["Filters"] != nil {
					half = servers[i].home.size / 6
				}
				if token, err = l.middle(row, half); err != nil {
					return nil, err
				}
			}
			if chains[i], _, err = l.follow(row, token); err != nil {
				return nil, err
			}
			r.found[i], r.pages[i] = chains[i].found, len(chains[i].bodies)
		}
		for round := range o.rounds {
			if err := r.measure(ctx, listers, chains, round); err != nil {
				return nil, err
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// measure asks both servers for the list in turns.
func (r *listResult) measure(ctx context.Context, listers [2]*lister, chains [2]chain, round int) error {
	var requests [2][][]byte
	for i, l := range listers {
		for _, body := range chains[i].bodies {
			request, err := l.who.request(secretsManager, chains[i].operation, body)
			if err != nil {
				return err
			}
			requests[i] = append(requests[i], request)
		}
	}
	began := time.Now()
	for n := 0; n < mostLists && (n < fewestLists || time.Since(began) < longLists); n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		for turn := range 2 {
			i := (round + turn) % 2
			took, cpu, err := listers[i].askAll(requests[i])
			if err != nil {
				return err
			}
			r.times[i], r.cpus[i] = append(r.times[i], took), append(r.cpus[i], cpu)
		}
	}
	return nil
}

// askAll sends the requests of one list.
func (l *lister) askAll(requests [][]byte) (took, cpu time.Duration, err error) {
	before, err := l.proc.running()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	for _, request := range requests {
		if _, err := l.ask(request); err != nil {
			return 0, 0, err
		}
	}
	took = time.Since(begin)
	after, err := l.proc.running()
	return took, after - before, err
}
