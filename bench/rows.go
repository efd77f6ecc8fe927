package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// Who is measured.
const (
	arcaName   = "arca"
	echoName   = "echo"
	syncedName = "synced echo"
	etcdName   = "etcd behind echo"
	motoName   = "moto"
)

// What is measured.
const (
	getRow       = "GetSecretValue"
	getOneRow    = "GetSecretValue, 1 connection"
	getTLSRow    = "GetSecretValue, TLS"
	getTLS1Row   = "GetSecretValue, TLS, 1 connection"
	getRootRow   = "GetSecretValue, root, default key"
	batchRow     = "BatchGetSecretValue, 20"
	describeRow  = "DescribeSecret"
	listPlainRow = "ListSecrets"
	listNameRow  = "ListSecrets, name prefix"
	listTagRow   = "ListSecrets, tag filter"
	listAllRow   = "ListSecrets, all filter"
	putRow       = "PutSecretValue"
	createRow    = "CreateSecret"
	assumeRow    = "AssumeRole"
	decryptRow   = "KMS Decrypt"
	dataKeyRow   = "KMS GenerateDataKey"
)

// row is one thing that clients do, and who is asked to do it.
type row struct {
	name string
	one  bool // one connection instead of many
	tls  bool
	// yardsticks are the reference servers beside it; they answer as many bytes.
	yardsticks []string
	moto       bool
	// kv says which of a key-value peer's requests do the same: "read", "write" or "".
	kv string
	// build makes what is sent to a server that speaks AWS's protocols.
	build func(w *world) (*requests, error)
	check func(body []byte) error
}

func plain(build func(w *world) *requests) func(*world) (*requests, error) {
	return func(w *world) (*requests, error) { return build(w), nil }
}

func rows() []row {
	get := plain(func(w *world) *requests { return w.getSecretValue(w.user, readPrefix) })
	list := func(filters ...any) func(*world) (*requests, error) {
		return plain(func(w *world) *requests { return w.listSecrets(filters...) })
	}
	reads, synced := []string{echoName, syncedName}, []string{syncedName}
	return []row{
		{name: getRow, yardsticks: reads, moto: true, kv: kvRead, build: get},
		{name: getOneRow, one: true, yardsticks: reads, moto: true, kv: kvRead, build: get},
		{name: getTLSRow, tls: true, yardsticks: reads, build: get},
		{name: getTLS1Row, tls: true, one: true, yardsticks: reads, build: get},
		{name: getRootRow, yardsticks: synced, build: plain(func(w *world) *requests { return w.getSecretValue(w.root, rootPrefix) })},
		{name: batchRow, yardsticks: synced, moto: true, build: plain((*world).batchGet), check: countOf(`"SecretString"`, batchSize)},
		{name: describeRow, yardsticks: synced, moto: true, build: plain((*world).describeSecret)},
		{name: listPlainRow, yardsticks: synced, moto: true, build: list(), check: countOf(`"ARN"`, listPage)},
		{name: listNameRow, yardsticks: synced, build: list(filter("name", readPrefix)), check: countOf(`"`+readPrefix, listPage)},
		{name: listTagRow, yardsticks: synced, build: list(filter("tag-value", "team-3")), check: countOf(`"team-3"`, listPage)},
		{name: listAllRow, yardsticks: synced, build: list(filter("all", "database")), check: countOf(`"ARN"`, listPage)},
		{name: putRow, yardsticks: []string{etcdName}, moto: true, kv: kvWrite, build: plain((*world).putSecretValue)},
		{name: createRow, yardsticks: []string{etcdName}, moto: true, build: plain((*world).createSecret)},
		{name: assumeRow, yardsticks: synced, moto: true, build: plain((*world).assumeRole)},
		{name: decryptRow, yardsticks: synced, moto: true, build: (*world).decrypt},
		{name: dataKeyRow, yardsticks: synced, moto: true, build: plain((*world).generateDataKey)},
	}
}

// countOf checks that an answer has as many of something as were asked for.
func countOf(text string, want int) func(body []byte) error {
	return func(body []byte) error {
		if got := bytes.Count(body, []byte(text)); got != want {
			return fmt.Errorf("answer with %d of %s instead of %d", got, text, want)
		}
		return nil
	}
}

// choice says which series to measure.
type choice struct{ rows, contenders *regexp.Regexp }

func newChoice(o options) (c choice, err error) {
	if c.rows, err = regexp.Compile(o.only); err != nil {
		return c, err
	}
	c.contenders, err = regexp.Compile(o.beside)
	return c, err
}

func (c choice) row(name string) bool { return c.rows.MatchString(name) }

func (c choice) contender(name string) bool {
	return name == arcaName || c.contenders.MatchString(name)
}

// cast are the servers of a run, started when a row needs them.
type cast struct {
	o     options
	dir   string
	procs map[string]*process
	w     map[string]*world
	peers []*peer
}

func (c *cast) stop() error {
	for _, p := range c.procs {
		p.stop()
	}
	for _, p := range c.peers {
		p.proc.stop()
	}
	return os.RemoveAll(c.dir)
}

func (c *cast) reference(ctx context.Context, kind string) (*process, error) {
	if p := c.procs[kind]; p != nil {
		return p, nil
	}
	p, err := startReference(ctx, kind)
	if err == nil {
		c.procs[kind] = p
	}
	return p, err
}

// world starts and fills Arca, as a fresh install has it, with or without TLS.
func (c *cast) world(ctx context.Context, tls bool) (*world, error) {
	name, settings, writes := arcaName, withoutTLS, writeSecrets
	if tls {
		name, settings, writes = arcaName+overTLS, "", 0
	}
	if w := c.w[name]; w != nil {
		return w, nil
	}
	p, err := startServer(ctx, c.o.arca, filepath.Join(c.dir, name), settings)
	if err != nil {
		return nil, err
	}
	c.procs[name] = p
	w, err := newWorld(ctx, c.o, p, c.o.secrets, writes)
	if err != nil {
		return nil, fmt.Errorf("set arca up: %w", err)
	}
	c.w[name] = w
	if !tls {
		if err := w.fill(ctx, c.o, w.root, rootPrefix, "", w.reads); err != nil {
			return nil, fmt.Errorf("create secrets of root: %w", err)
		}
	}
	return w, nil
}

// series makes everything that is measured, row by row.
func (c *cast) series(ctx context.Context, ch choice) ([][]*series, error) {
	var all [][]*series
	for _, r := range rows() {
		if !ch.row(r.name) {
			continue
		}
		list, err := c.rowSeries(ctx, ch, &r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		all = append(all, list)
	}
	return all, nil
}

func (c *cast) rowSeries(ctx context.Context, ch choice, r *row) ([]*series, error) {
	w, err := c.world(ctx, r.tls)
	if err != nil {
		return nil, err
	}
	connections := c.o.connections
	if r.one {
		connections = 1
	}
	newSeries := func(contender string, p *process, reqs *requests) *series {
		return &series{row: r.name, contender: contender, proc: p, connections: connections, requests: reqs}
	}
	reqs, err := r.build(w)
	if err != nil {
		return nil, err
	}
	arca := newSeries(arcaName, w.proc, reqs)
	arca.check = r.check
	list := []*series{arca}
	sent, length, err := probe(arca)
	if err != nil {
		return nil, err
	}
	for _, name := range r.yardsticks {
		if !ch.contender(name) {
			continue
		}
		kind := map[string]string{echoName: echoServer, syncedName: syncedServer, etcdName: etcdServer}[name]
		if r.tls {
			kind += overTLS
		}
		p, err := c.reference(ctx, kind)
		if err != nil {
			return nil, err
		}
		list = append(list, newSeries(name, p, echoed(sent, length)))
	}
	for _, p := range c.peers {
		if !ch.contender(p.name) || p.name == motoName && !r.moto {
			continue
		}
		reqs, err := p.requests(ctx, c.o, r)
		if err != nil {
			fmt.Printf("%s: %s: not measured: %v\n", r.name, p.name, err)
		}
		if reqs == nil {
			continue
		}
		s := newSeries(p.name, p.proc, reqs)
		s.optional = true
		if p.name == motoName {
			s.check, s.forgiving = r.check, true
		}
		list = append(list, s)
	}
	return list, nil
}

// probe sends one request, looks at its answer closely, and returns what was sent and how
// long the answer is, for the yardsticks.
func probe(s *series) (sent []byte, length int, err error) {
	if err := s.requests.ready(1); err != nil {
		return nil, 0, err
	}
	r := s.requests.at(0)
	l := &load{
		addr: s.proc.addr, tls: s.proc.tls, connections: 1, count: 1,
		next: func(int64) []byte { return r.bytes },
		check: func(_ int64, body []byte) error {
			length = len(body)
			return s.inspect(r, body)
		},
	}
	_, err = l.run(context.Background())
	return r.bytes, length, err
}

// echoed is a request to an echo that costs it as much to read and to answer.
func echoed(sent []byte, length int) *requests {
	_, rest, _ := bytes.Cut(sent, []byte(" / "))
	path := []byte("POST /" + strconv.Itoa(length) + " ")
	raw := append(path, rest...)
	return &requests{sign: func(int) ([]request, error) { return []request{{bytes: raw}}, nil }}
}

// awaitHTTP waits until something speaks at the address.
func awaitHTTP(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			if err = errors.Join(err, conn.Close()); err == nil {
				return nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", addr, errors.Join(err, ctx.Err()))
		}
	}
}
