package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"arca/internal/app"
)

// set is one thing to measure: a server and the requests to send it, already signed
// and serialised.
type set struct {
	name string
	proc *process
	// next returns the bytes of the n-th request.
	next func(n int64) []byte
	// fill signs what the next round needs; nil when requests can be repeated.
	fill func(n int64) error
}

type result struct {
	name  string
	rates []float64
	times []time.Duration
	cpu   time.Duration // of the server, over all rounds
}

func (r *result) median() float64 {
	s := slices.Sorted(slices.Values(r.rates))
	return s[len(s)/2]
}

// spread is half the distance between the extremes, in percent of the median.
func (r *result) spread() float64 {
	return (slices.Max(r.rates) - slices.Min(r.rates)) / 2 / r.median() * 100
}

func (r *result) quantile(q float64) time.Duration {
	s := slices.Sorted(slices.Values(r.times))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// ratio is the median over rounds of the ratio within a round, so that a slow moment
// of the machine touches both sides.
func ratio(a, b *result) float64 {
	var all []float64
	for i := range min(len(a.rates), len(b.rates)) {
		all = append(all, a.rates[i]/b.rates[i])
	}
	slices.Sort(all)
	return all[len(all)/2]
}

const region = "us-east-1"

// request makes the bytes of one signed request.
func request(addr, operation string, in any) ([]byte, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "secretsmanager."+operation)
	sum := sha256.Sum256(body)
	creds := aws.Credentials{AccessKeyID: app.DevAccessKeyID, SecretAccessKey: app.DevSecretAccessKey}
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, req, hex.EncodeToString(sum[:]), "secretsmanager", region, time.Now()); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func token() string {
	return fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
}

// writeSecrets are many, so that no secret gathers more versions than an ordinary one.
const writeSecrets = 4000

// prepare fills the server and builds all sets.
func prepare(ctx context.Context, o options, server *process, refs map[string]*process) ([]*set, error) {
	arca := server.addr
	create := func(prefix string, count int) error {
		var reqs [][]byte
		for i := range count {
			r, err := request(arca, "CreateSecret", map[string]string{
				"Name": prefix + strconv.Itoa(i), "ClientRequestToken": token(), "SecretString": "a password of ordinary length",
			})
			if err != nil {
				return err
			}
			reqs = append(reqs, r)
		}
		_, err := drive(ctx, arca, o.connections, int64(count), 0, func(n int64) []byte { return reqs[n] })
		return err
	}
	if err := create("bench/read/", o.secrets); err != nil {
		return nil, fmt.Errorf("create secrets to read: %w", err)
	}
	if err := create("bench/write/", writeSecrets); err != nil {
		return nil, fmt.Errorf("create secrets to write: %w", err)
	}
	reads := func(name string, p *process) (*set, error) {
		var reqs [][]byte
		for i := range o.secrets {
			r, err := request(p.addr, "GetSecretValue", map[string]string{"SecretId": "bench/read/" + strconv.Itoa(i)})
			if err != nil {
				return nil, err
			}
			reqs = append(reqs, r)
		}
		return &set{name: name, proc: p, next: func(n int64) []byte { return reqs[n%int64(len(reqs))] }}, nil
	}
	var sets []*set
	type row struct {
		name string
		proc *process
	}
	for _, r := range []row{{"echo", refs["echo"]}, {"synced echo", refs["synced"]}, {"arca GetSecretValue", server}} {
		set, err := reads(r.name, r.proc)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	for _, r := range []row{{"etcd behind echo", refs["etcd"]}, {"arca PutSecretValue", server}} {
		sets = append(sets, writes(r.name, r.proc))
	}
	return sets, nil
}

// writes signs fresh requests before every round: each needs a token of its own.
func writes(name string, p *process) *set {
	var reqs [][]byte
	serial := 0
	s := &set{name: name, proc: p, next: func(n int64) []byte { return reqs[n%int64(len(reqs))] }}
	s.fill = func(n int64) error {
		reqs = reqs[:0]
		for range n {
			serial++
			r, err := request(p.addr, "PutSecretValue", map[string]string{
				"SecretId": "bench/write/" + strconv.Itoa(serial%writeSecrets), "ClientRequestToken": token(),
				"SecretString": "another password of ordinary length",
			})
			if err != nil {
				return err
			}
			reqs = append(reqs, r)
		}
		return nil
	}
	return s
}

// writesPerRound bounds how many writes are signed ahead; a round ends early when
// they are used up.
const writesPerRound = 12000

func measure(ctx context.Context, o options, sets []*set) ([]*result, error) {
	results := make([]*result, len(sets))
	for i, s := range sets {
		results[i] = &result{name: s.name}
	}
	for round := range o.rounds + 1 {
		for i, s := range sets {
			limit := int64(0)
			if s.fill != nil {
				limit = writesPerRound
				if err := s.fill(limit); err != nil {
					return nil, err
				}
			}
			before, err := s.proc.cpu()
			if err != nil {
				return nil, err
			}
			begin := time.Now()
			times, err := drive(ctx, s.proc.addr, o.connections, limit, o.length, s.next)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			took := time.Since(begin)
			if round == 0 {
				continue // warm-up
			}
			after, err := s.proc.cpu()
			if err != nil {
				return nil, err
			}
			results[i].cpu += after - before
			results[i].rates = append(results[i].rates, float64(len(times))/took.Seconds())
			results[i].times = append(results[i].times, times...)
		}
	}
	return results, nil
}

// drive sends requests over the connections, each waiting for its answer, until the
// count or the time is used up (0: unbounded). Every answer must be 200.
func drive(ctx context.Context, addr string, connections int, count int64, length time.Duration, next func(n int64) []byte) ([]time.Duration, error) {
	var n atomic.Int64
	n.Store(-1)
	deadline := time.Now().Add(length)
	all := make([][]time.Duration, connections)
	errs := make([]error, connections)
	var wg sync.WaitGroup
	for i := range connections {
		wg.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				errs[i] = err
				return
			}
			defer conn.Close()
			r := bufio.NewReaderSize(conn, 8<<10)
			for ctx.Err() == nil {
				k := n.Add(1)
				if count > 0 && k >= count || length > 0 && time.Now().After(deadline) {
					return
				}
				begin := time.Now()
				if _, err := conn.Write(next(k)); err != nil {
					errs[i] = err
					return
				}
				if err := readAnswer(r); err != nil {
					errs[i] = err
					return
				}
				all[i] = append(all[i], time.Since(begin))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(all...), ctx.Err()
}

// readAnswer reads one HTTP/1.1 answer with a Content-Length, with as little work as
// possible: the generator shares the cores with what it measures.
func readAnswer(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200"))
	failed := string(status)
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if len(line) > 16 && bytes.EqualFold(line[:15], []byte("content-length:")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[15:]))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("answer without Content-Length: %s", failed)
	}
	if !ok {
		body := make([]byte, min(length, 500))
		_, _ = io.ReadFull(r, body)
		return fmt.Errorf("%s %s", failed, body)
	}
	_, err = r.Discard(length)
	return err
}
