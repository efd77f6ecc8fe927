package iam_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"arca/internal/iam"
	"arca/internal/store"
	"arca/internal/storetest"
)

// Another implementation has sealed a secret access key and a session token in the store
// of storetest.Known (scripts/known-answers.py).
func TestKnownCredentials(t *testing.T) {
	raw, err := os.ReadFile("testdata/known.json")
	if err != nil {
		t.Fatal(err)
	}
	var known struct {
		Account       string
		AccessKeyID   string `json:"access_key_id"`
		Secret        string
		SealedSecret  string `json:"sealed_secret"`
		SessionKeyID  string `json:"session_key_id"`
		SessionSecret string `json:"session_secret"`
		SessionToken  string `json:"session_token"`
	}
	if err := json.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	var svc *iam.Service
	st := storetest.Known(t, nil, func(s *store.Store) { svc = iam.New(s, time.Now) })

	sealed, err := hex.DecodeString(known.SealedSecret)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := st.Unseal(iam.SealPurpose, sealed, iam.SecretAD(known.Account, known.AccessKeyID))
	if err != nil || string(secret.Bytes()) != known.Secret {
		t.Errorf("the secret access key opens as %q, %v, want %q", secret.Bytes(), err, known.Secret)
	}

	got, err := svc.OpenSession(known.SessionKeyID, known.SessionToken)
	if err != nil {
		t.Fatal(err)
	}
	want := &iam.Session{
		KeyID: known.SessionKeyID, Secret: known.SessionSecret, Account: known.Account, Issuer: "AROAKNOWNANSWEREXAMP", Name: "worker",
		Issued: 1767225600000, Expires: 253370764800000,
		Policies: []string{"{}"}, PolicyARNs: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
		Tags: []iam.Tag{{Key: "team", Value: "a"}}, Transitive: []string{"team"}, SourceIdentity: "alice",
		Federation: &iam.Federation{
			Provider: "arn:aws:iam::123456789012:oidc-provider/issuer.example",
			Claims:   []iam.Claim{{Key: "issuer.example:sub", Values: []string{"w"}}},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(iam.Session{})); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
}
