package server_test

import (
	"context"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/server"
)

// answerTo is a client that reads nothing.
type answerTo struct {
	header http.Header
	status int
	bytes  int
}

func (w *answerTo) Header() http.Header { return w.header }
func (w *answerTo) WriteHeader(n int)   { w.status = n }
func (w *answerTo) Write(b []byte) (int, error) {
	w.bytes += len(b)
	return len(b), nil
}

// sent is a body that arrives at once.
type sent struct {
	text string
	at   int
}

func (s *sent) Read(b []byte) (int, error) {
	n := copy(b, s.text[s.at:])
	if s.at += n; s.at == len(s.text) {
		return n, io.EOF
	}
	return n, nil
}
func (*sent) Close() error { return nil }

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEdge is what a request costs around its operation, net/http apart.
func BenchmarkEdge(b *testing.B) {
	const body = `{"SecretId":"prod/db/main-000001"}`
	secretValue := api.SensitiveString(`{"username":"app","password":"correct horse battery staple","host":"db.internal","port":5432}`)
	arn, name := "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db/main-a1B2c3", "prod/db/main"
	version, created := "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", time.UnixMilli(1523477145713)
	out := &smapi.GetSecretValueOutput{
		ARN: &arn, Name: &name, VersionId: &version, SecretString: &secretValue,
		VersionStages: []string{"AWSCURRENT"}, CreatedDate: &created,
	}
	cred := &server.Credential{
		Principal:   call.Principal{Type: call.Root, Account: account, ID: account, AccessKeyID: keyID},
		Fingerprint: []byte(secret),
		Secret:      func(use func([]byte)) error { use([]byte(secret)); return nil },
	}
	e := newEdge(b, func(c *server.Config) {
		c.Do = func(context.Context, *call.Call, any) (any, error) { return out, nil }
		c.Verify = server.NewSignatures(func(context.Context, string, string) (*server.Credential, error) { return cred, nil },
			[]string{region}, time.Now)
	})
	r := request(b, here, body)
	r.Header.Set("User-Agent", "aws-sdk-go-v2/1.30.3 os/linux lang/go#1.26 md/GOOS#linux api/secretsmanager#1.32.4")
	r.Header.Set("Amz-Sdk-Invocation-Id", "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d")
	r.Header.Set("Amz-Sdk-Request", "attempt=1; max=3")
	r.Header.Set("Accept-Encoding", "identity")
	sign(b, r, body, credentials(), "secretsmanager", region, time.Now())
	r.RemoteAddr = "127.0.0.1:40000"
	w, in := &answerTo{header: http.Header{}}, &sent{text: body}
	b.ReportAllocs()
	start := processorTime()
	for b.Loop() {
		clear(w.header)
		in.at = 0
		r.Body = in
		e.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			b.Fatal(w.status)
		}
	}
	b.ReportMetric(float64((processorTime()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
}
