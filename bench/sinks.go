package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"

	"arca/internal/app"
)

// sinks measures reads of a server whose audit log is followed by receivers that hang,
// refuse and never read, beside one that nobody follows, in turns.
func sinks(ctx context.Context, o options) (err error) {
	fmt.Printf("%d cores, %s; %d connections, %d rounds of %v each with and without sinks that hang and refuse\n\n",
		runtime.NumCPU(), runtime.Version(), o.connections, o.rounds, o.length)
	dir, err := os.MkdirTemp("", "arca-sinks-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bad, err := badReceivers(ctx, dir)
	if err != nil {
		return err
	}
	return inTurns(ctx, o, []contender{
		{arcaName, func() (*process, error) { return startServer(ctx, o.arca, filepath.Join(dir, "a"), bad+withoutTLS) }},
		{withoutSinks, func() (*process, error) { return startServer(ctx, o.arca, filepath.Join(dir, "b"), withoutTLS) }},
	})
}

// withoutSinks is the row of the server that nobody follows.
const withoutSinks = "without sinks"

// badReceivers returns the settings of sinks none of which ever takes a line: one posts
// to a server that never answers, one to a server that refuses everything, and one sends
// to a connection that nobody reads.
func badReceivers(ctx context.Context, dir string) (settings string, err error) {
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="), 0o600); err != nil {
		return "", err
	}
	serve := func(h http.Handler) (string, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		srv := &http.Server{Handler: h}
		go func() { _ = srv.Serve(l) }()
		context.AfterFunc(ctx, func() { _ = srv.Close() })
		return l.Addr().String(), nil
	}
	hangs, err := serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	if err != nil {
		return "", err
	}
	refuses, err := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	if err != nil {
		return "", err
	}
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and its buffers fill up
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { _ = deaf.Close() })
	for name, addr := range map[string]string{"hangs": hangs, "refuses": refuses} {
		settings += fmt.Sprintf("[[audit.sink]]\nname = %q\nkind = \"https\"\nurl = \"http://%s/\"\nsecret_files = [%q]\n", name, addr, secret)
	}
	return settings + fmt.Sprintf("[[audit.sink]]\nname = \"deaf\"\nkind = \"syslog\"\naddress = \"tcp://%s\"\n", deaf.Addr()), nil
}

// withoutTLS are settings of a server that serves plain HTTP.
const withoutTLS = "[tls]\noff = true\n"

// startServer starts a production server, with the credentials of the development server.
func startServer(ctx context.Context, arca, dir, settings string) (*process, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "arca.toml")
	text := fmt.Sprintf("data_dir = %q\nlisten = \"127.0.0.1:0\"\naccount = \"000000000000\"\n%s\n", filepath.Join(dir, "data"), settings)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return start(ctx, "env", "ARCA_ROOT_ACCESS_KEY_ID="+app.DevAccessKeyID, "ARCA_ROOT_SECRET_ACCESS_KEY="+app.DevSecretAccessKey,
		arca, "server", "--config", path)
}
