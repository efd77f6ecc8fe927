package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The reference servers, as arguments of -serve. One with "-tls" behind its name serves
// HTTPS.
const (
	echoServer   = "echo"
	syncedServer = "synced"
	etcdServer   = "etcd"
	overTLS      = "-tls"
)

// serve runs one reference server until ctx ends. Its first line of output is its
// address.
func serve(ctx context.Context, kind string) error {
	dir, err := os.MkdirTemp("", "arca-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	base, encrypted := strings.CutSuffix(kind, overTLS)
	before, done := func(context.Context) error { return nil }, func() {}
	switch base {
	case echoServer:
	case syncedServer:
		before, done, err = syncedAppend(dir)
	case etcdServer:
		before, done, err = etcdTransactions(ctx, dir)
	default:
		err = fmt.Errorf("no reference server %q", kind)
	}
	if err != nil {
		return err
	}
	defer done()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: echo(before)}
	go func() { <-ctx.Done(); _ = s.Close() }()
	if encrypted {
		cert, err := ownCertificate()
		if err != nil {
			return err
		}
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		fmt.Println("listening on https://" + l.Addr().String())
		err = s.ServeTLS(l, "", "")
		if !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
	fmt.Println("listening on http://" + l.Addr().String())
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ownCertificate is of the kind that Arca makes for itself.
func ownCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// echo reads a request and answers as many bytes as its path says, as plainly as
// net/http allows.
func echo(before func(ctx context.Context) error) http.Handler {
	filler := []byte(strings.Repeat("x", maxAnswerBytes))
	bodies := sync.Pool{New: func() any { return new([inboxBytes]byte) }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := bodies.Get().(*[inboxBytes]byte)
		defer bodies.Put(buf)
		for {
			if _, err := r.Body.Read(buf[:]); err == io.EOF {
				break
			} else if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil || n < 0 || n > len(filler) {
			http.Error(w, "the path is no length", http.StatusBadRequest)
			return
		}
		if err := before(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = w.Write(filler[:n])
	})
}

// lineBytes is about the length of an audit line.
const lineBytes = 900

// syncedAppend appends a line per call to a file and returns when it is synced, together
// with the lines of those who came meanwhile: what a log without any tricks has to do.
func syncedAppend(dir string) (before func(context.Context) error, done func(), err error) {
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, nil, err
	}
	g := &groupCommit{f: f, wake: make(chan struct{}, 1), next: newGroup(nil)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); g.run(ctx) }()
	line := []byte(strings.Repeat("x", lineBytes) + "\n")
	return func(context.Context) error { return g.append(line) },
		func() { cancel(); <-ended; _ = f.Close() }, nil
}

// groupCommit appends to a file and syncs, for many callers at once.
type groupCommit struct {
	f    *os.File
	wake chan struct{}

	mu   sync.Mutex
	next *group // guarded by mu
}

// group is what one sync makes durable.
type group struct {
	buf  []byte
	done chan struct{} // closed when err is final
	err  error
}

func newGroup(buf []byte) *group { return &group{buf: buf[:0], done: make(chan struct{})} }

func (g *groupCommit) append(line []byte) error {
	g.mu.Lock()
	mine := g.next
	mine.buf = append(mine.buf, line...)
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
	<-mine.done
	return mine.err
}

func (g *groupCommit) run(ctx context.Context) {
	var spare []byte
	for {
		select {
		case <-g.wake:
		case <-ctx.Done():
			return
		}
		runtime.Gosched() // whoever is about to append does so first
		g.mu.Lock()
		now := g.next
		g.next = newGroup(spare)
		g.mu.Unlock()
		if _, now.err = g.f.Write(now.buf); now.err == nil {
			now.err = unix.Fdatasync(int(g.f.Fd()))
		}
		spare = now.buf
		close(now.done)
	}
}
