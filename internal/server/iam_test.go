package server_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/server"
	"arca/internal/store"
	"arca/internal/storetest"
)

// TestFromIAM verifies against credentials in a real store, before and after their
// secret is replaced.
func TestFromIAM(t *testing.T) {
	var users *iam.Service
	storetest.New(t, func(s *store.Store) { users = iam.New(s, time.Now) })
	e := newEdge(t, func(c *server.Config) {
		c.Verify = server.NewSignatures(server.FromIAM(users), []string{region}, time.Now)
	})
	ensure := func(secret string) {
		t.Helper()
		err := users.EnsureRoot(t.Context(), time.Now(), account, "", keyID, envelope.NewPlaintext([]byte(secret)))
		if err != nil {
			t.Fatal(err)
		}
	}
	send := func(secret, token string) answer {
		t.Helper()
		r := request(t, here, body)
		creds := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret, SessionToken: token}
		sign(t, r, body, creds, "secretsmanager", region, time.Now())
		return read(t, direct(e, r))
	}
	if got := send("first", ""); got.status != 400 {
		t.Errorf("answer before there is a key = %+v", got)
	}
	ensure("first")
	for range 2 { // the second time with a key derived before
		if got := send("first", ""); got.status != 200 {
			t.Errorf("answer = %+v", got)
		}
	}
	if got := send("first", "token"); got.status != 400 {
		t.Errorf("answer to a long-term key with a session token = %+v", got)
	}
	ensure("second")
	if got := send("first", ""); got.status != 400 {
		t.Errorf("answer to the replaced secret = %+v", got)
	}
	if got := send("second", ""); got.status != 200 {
		t.Errorf("answer to the new secret = %+v", got)
	}
	if c := e.calls[0].Caller; c.Type != call.Root || c.Account != account || c.AccessKeyID != keyID {
		t.Errorf("caller = %+v", c)
	}
}

// TestSessions verifies temporary credentials: two of one account, so that nothing
// derived for one is used for the other, with and without their tokens.
func TestSessions(t *testing.T) {
	var users *iam.Service
	var late atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	storetest.New(t, func(s *store.Store) { users = iam.New(s, now) })
	e := newEdge(t, func(c *server.Config) {
		c.Verify = server.NewSignatures(server.FromIAM(users), []string{region}, time.Now)
	})
	if err := users.EnsureRoot(t.Context(), time.Now(), account, "", keyID, envelope.NewPlaintext([]byte(secret))); err != nil {
		t.Fatal(err)
	}
	session := func() aws.Credentials {
		t.Helper()
		s := &iam.Session{Account: account, Issuer: account}
		token, err := users.NewSession(s, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return aws.Credentials{AccessKeyID: s.KeyID, SecretAccessKey: s.Secret, SessionToken: token}
	}
	send := func(creds aws.Credentials) answer {
		t.Helper()
		r := request(t, here, body)
		sign(t, r, body, creds, "secretsmanager", region, time.Now())
		return read(t, direct(e, r))
	}
	one, two := session(), session()
	for _, creds := range []aws.Credentials{one, two, one} {
		if got := send(creds); got.status != 200 {
			t.Fatalf("answer to a session = %+v", got)
		}
	}
	if c := e.calls[0].Caller; c.Type != call.Root || c.Account != account || c.AccessKeyID != one.AccessKeyID || c.Session == nil {
		t.Errorf("caller = %+v", c)
	}
	for _, tt := range []struct {
		name  string
		creds aws.Credentials
		want  string
	}{
		{"no token", aws.Credentials{AccessKeyID: one.AccessKeyID, SecretAccessKey: one.SecretAccessKey}, "UnrecognizedClientException"},
		{"token of another session", aws.Credentials{AccessKeyID: one.AccessKeyID, SecretAccessKey: one.SecretAccessKey, SessionToken: two.SessionToken}, "UnrecognizedClientException"},
		{"secret of another session", aws.Credentials{AccessKeyID: one.AccessKeyID, SecretAccessKey: two.SecretAccessKey, SessionToken: one.SessionToken}, "InvalidSignatureException"},
		{"key of another session", aws.Credentials{AccessKeyID: two.AccessKeyID, SecretAccessKey: one.SecretAccessKey, SessionToken: one.SessionToken}, "UnrecognizedClientException"},
		{"long-term key with a token", aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret, SessionToken: one.SessionToken}, "UnrecognizedClientException"},
	} {
		if got := send(tt.creds); got.status != 400 || !strings.Contains(got.body, tt.want) {
			t.Errorf("%s: answer = %+v, want %s", tt.name, got, tt.want)
		}
	}
	late.Store(int64(time.Hour))
	if got := send(one); got.status != 400 || !strings.Contains(got.body, "ExpiredTokenException") {
		t.Errorf("answer to an expired session = %+v", got)
	}
}
