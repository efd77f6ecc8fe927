package server_test

import (
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
	storetest.New(t, func(s *store.Store) { users = iam.New(s) })
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
