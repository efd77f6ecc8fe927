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

// service is one of Arca's services, by its name in the scope of signatures.
type service string

const (
	secretsManager = service("secretsmanager")
	kms            = service("kms")
)

// signed makes one signed request.
func (s service) signed(addr, operation string, in any) (*http.Request, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	target := string(s)
	if s == kms {
		target = "TrentService"
	}
	req.Header.Set("X-Amz-Target", target+"."+operation)
	sum := sha256.Sum256(body)
	creds := aws.Credentials{AccessKeyID: app.DevAccessKeyID, SecretAccessKey: app.DevSecretAccessKey}
	err = v4.NewSigner().SignHTTP(context.Background(), creds, req, hex.EncodeToString(sum[:]), string(s), region, time.Now())
	return req, err
}

// request makes the bytes of one signed request.
func (s service) request(addr, operation string, in any) ([]byte, error) {
	req, err := s.signed(addr, operation, in)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// call makes a request that is not measured and reads its answer.
func (s service) call(addr, operation string, in, out any) error {
	req, err := s.signed(addr, operation, in)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", operation, resp.Status, body)
	}
	return json.Unmarshal(body, out)
}

func token() string {
	return fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
}

// writeSecrets are many, so that no secret gathers more versions than an ordinary one.
const writeSecrets = 4000

// prepare fills the server and builds all sets.
func prepare(ctx context.Context, o options, server *process, refs map[string]*process) ([]*set, error) {
	if err := create(ctx, o, server, "bench/read/", o.secrets); err != nil {
		return nil, fmt.Errorf("create secrets to read: %w", err)
	}
	if err := create(ctx, o, server, "bench/write/", writeSecrets); err != nil {
		return nil, fmt.Errorf("create secrets to write: %w", err)
	}
	generate, decrypt, err := keyUses(server, o.secrets)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	var sets []*set
	type row struct {
		name string
		proc *process
	}
	rows := []row{{"echo", refs["echo"]}, {"synced echo", refs["synced"]}, {"arca GetSecretValue", server}}
	if p := refs["no tree"]; p != nil {
		if err := create(ctx, o, p, "bench/read/", o.secrets); err != nil {
			return nil, fmt.Errorf("create secrets to read without the tree: %w", err)
		}
		rows = append(rows, row{withoutTree, p})
	}
	for _, r := range rows {
		set, err := reads(o, r.name, r.proc)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	sets = append(sets, generate, decrypt)
	for _, r := range []row{{"etcd behind echo", refs["etcd"]}, {"arca PutSecretValue", server}} {
		sets = append(sets, writes(r.name, r.proc))
	}
	return sets, nil
}

// create makes secrets that are read or written.
func create(ctx context.Context, o options, p *process, prefix string, count int) error {
	var reqs [][]byte
	for i := range count {
		r, err := secretsManager.request(p.addr, "CreateSecret", map[string]string{
			"Name": prefix + strconv.Itoa(i), "ClientRequestToken": token(), "SecretString": "a password of ordinary length",
		})
		if err != nil {
			return err
		}
		reqs = append(reqs, r)
	}
	_, err := drive(ctx, p.addr, o.connections, int64(count), 0, func(n int64) []byte { return reqs[n] })
	return err
}

// reads reads those secrets in turns.
func reads(o options, name string, p *process) (*set, error) {
	var reqs [][]byte
	for i := range o.secrets {
		r, err := secretsManager.request(p.addr, "GetSecretValue", map[string]string{"SecretId": "bench/read/" + strconv.Itoa(i)})
		if err != nil {
			return nil, err
		}
		reqs = append(reqs, r)
	}
	return repeated(name, p, reqs), nil
}

// repeated sends the same requests over and over.
func repeated(name string, p *process, reqs [][]byte) *set {
	return &set{name: name, proc: p, next: func(n int64) []byte { return reqs[n%int64(len(reqs))] }}
}

// keyUses makes a KMS key and returns what clients do with one: they have a data key made,
// and opened again, each of them bound to an encryption context.
func keyUses(p *process, count int) (generate, decrypt *set, err error) {
	var key struct{ KeyMetadata struct{ KeyId string } }
	if err := kms.call(p.addr, "CreateKey", struct{}{}, &key); err != nil {
		return nil, nil, err
	}
	var generates, decrypts [][]byte
	for i := range count {
		encCtx := map[string]string{"object": "bench/" + strconv.Itoa(i)}
		in := map[string]any{"KeyId": key.KeyMetadata.KeyId, "KeySpec": "AES_256", "EncryptionContext": encCtx}
		var made struct{ CiphertextBlob []byte }
		if err := kms.call(p.addr, "GenerateDataKey", in, &made); err != nil {
			return nil, nil, err
		}
		r, err := kms.request(p.addr, "GenerateDataKey", in)
		if err != nil {
			return nil, nil, err
		}
		generates = append(generates, r)
		if r, err = kms.request(p.addr, "Decrypt", map[string]any{"CiphertextBlob": made.CiphertextBlob, "EncryptionContext": encCtx}); err != nil {
			return nil, nil, err
		}
		decrypts = append(decrypts, r)
	}
	return repeated("arca GenerateDataKey", p, generates), repeated("arca Decrypt", p, decrypts), nil
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
			r, err := secretsManager.request(p.addr, "PutSecretValue", map[string]string{
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
