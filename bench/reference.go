package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"log/slog"

	"arca/internal/audit"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// serve runs one reference server until ctx ends. Its first line of output is its
// address.
func serve(ctx context.Context, kind string) error {
	dir, err := os.MkdirTemp("", "arca-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var before func(ctx context.Context) error
	switch kind {
	case "echo":
		before = func(context.Context) error { return nil }
	case "synced":
		var done func()
		if before, done, err = syncedAppend(dir); err != nil {
			return err
		}
		defer done()
	case "etcd":
		var done func()
		if before, done, err = etcdTransaction(dir); err != nil {
			return err
		}
		defer done()
	default:
		return fmt.Errorf("no reference server %q", kind)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening on http://" + l.Addr().String())
	s := &http.Server{Handler: echo(before)}
	go func() { <-ctx.Done(); _ = s.Close() }()
	if err := s.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// answer has the members and about the size of a GetSecretValue answer.
type answer struct {
	ARN, Name, VersionId, SecretString string
	VersionStages                      []string
	CreatedDate                        float64
}

// echo reads a JSON body and answers JSON, as plainly as net/http allows.
func echo(before func(ctx context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var in struct{ SecretId string }
		if err := json.Unmarshal(body, &in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := before(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out, err := json.Marshal(answer{
			ARN:  "arn:aws:secretsmanager:us-east-1:000000000000:secret:" + in.SecretId + "-AbCdEf",
			Name: in.SecretId, VersionId: "6f7c2b1e-0d55-4c8f-9c07-1f2f3f4f5f6f", SecretString: "a password of ordinary length",
			VersionStages: []string{"AWSCURRENT"}, CreatedDate: 1523477145.713,
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.Header().Set("Content-Length", strconv.Itoa(len(out)))
		_, _ = w.Write(out)
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
	line := make([]byte, lineBytes)
	for i := range line {
		line[i] = 'x'
	}
	return func(ctx context.Context) error { return l.Append(ctx, line) },
		func() { cancel(); <-ended; _ = l.Close() }, nil
}

// etcdTransaction issues, per call, one transaction of the shape PutSecretValue has:
// the secret's record, the sealed value, the audit effect.
func etcdTransaction(dir string) (before func(context.Context) error, done func(), err error) {
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(dir, "etcd")
	cfg.ListenClientUrls, cfg.ListenPeerUrls = nil, nil
	cfg.LogLevel, cfg.LogOutputs = "error", []string{os.DevNull}
	cfg.QuotaBackendBytes = 8 << 30
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("start etcd: %w", err)
	}
	<-e.Server.ReadyNotify()
	c := v3client.New(e.Server)
	record, value, effect := make([]byte, 500), make([]byte, 250), make([]byte, 1000)
	var n atomic.Int64
	return func(ctx context.Context) error {
			i := strconv.FormatInt(n.Add(1), 10)
			_, err := c.Txn(ctx).
				If(clientv3.Compare(clientv3.CreateRevision("effect/"+i), "=", 0)).
				Then(clientv3.OpPut("record/"+i, string(record)), clientv3.OpPut("value/"+i, string(value)), clientv3.OpPut("effect/"+i, string(effect))).
				Commit()
			return err
		}, func() {
			_ = c.Close()
			e.Close()
		}, nil
}
