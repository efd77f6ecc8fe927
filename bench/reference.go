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
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"arca/internal/audit"
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

// syncedAppend appends a line per call and returns when it is synced, through the
// same group commit that the audit log uses: that is the physical limit, not a
// comparison of two group commits.
func syncedAppend(dir string) (before func(context.Context) error, done func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	l, err := audit.Open(audit.Config{Dir: filepath.Join(dir, "log"), Node: "bench", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = l.Run(ctx) }()
	line := []byte(strings.Repeat("x", lineBytes))
	return func(ctx context.Context) error { return l.Append(ctx, line) },
		func() { cancel(); <-ended; _ = l.Close() }, nil
}
