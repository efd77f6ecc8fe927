package secrets_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/smapi"
	"arca/internal/audit"
)

// ownerLine is what these tests look at of a record.
type ownerLine struct {
	EventName          string
	RecipientAccountID string
	SharedEventID      string
	ErrorCode          string
	UserIdentity       struct{ Type, ARN, AccountID string }
	Arca               struct{ Decoy bool }
}

// since returns the records after a number of them.
func (b *bed) since(t *testing.T, from uint64) (all []ownerLine) {
	t.Helper()
	err := audit.Scan(context.Background(), b.logDir, from, func(_ uint64, line []byte) error {
		var l ownerLine
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		all = append(all, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Whoever asks for the value of a secret with the tag of a decoy is marked in the log,
// whether he gets it or not; other operations and other tags are not.
func TestDecoy(t *testing.T) {
	b := newBed(t)
	tagged := func(key, value string) func(*smapi.CreateSecretInput) {
		return func(in *smapi.CreateSecretInput) { in.Tags = tags(key, value) }
	}
	b.create(t, "decoy", tagged("arca:decoy", "true"))
	b.create(t, "false", tagged("arca:decoy", "false"))
	b.create(t, "other", tagged("decoy", "true"))
	b.create(t, "plain")
	for _, tc := range []struct {
		name string
		do   func()
		want []bool // of the records that the call leaves
	}{
		{"read", func() { b.read(t, "decoy") }, []bool{true}},
		{"a version that is not there", func() {
			_, _ = b.call(smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "decoy", VersionStage: new("NONE")})
		}, []bool{true}},
		{"denied", func() {
			b.denies(t, "GetSecretValue")
			_, _ = b.call(smapi.OpGetSecretValue, get("decoy"))
			b.refuse(nil)
		}, []bool{true}},
		{"batch", func() {
			must[smapi.BatchGetSecretValueOutput](t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{SecretIdList: []string{"plain", "decoy"}})
		}, []bool{false, false, true}},
		{"described", func() { b.describe(t, "decoy") }, []bool{false}},
		{"marked as none", func() { b.read(t, "false") }, []bool{false}},
		{"another tag", func() { b.read(t, "other") }, []bool{false}},
		{"no tag", func() { b.read(t, "plain") }, []bool{false}},
	} {
		from := b.log.Size()
		tc.do()
		var got []bool
		for _, l := range b.since(t, from) {
			got = append(got, l.Arca.Decoy)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: decoy in the records (-want +got):\n%s", tc.name, diff)
		}
	}
}

// The account of a secret learns who of another account asked for it, also when he was
// denied; of what does not exist there is nobody to tell.
func TestOtherAccountIsTold(t *testing.T) {
	b := newHouse(t)
	b.create(t, "s")
	id := b.arn(t, "s")
	must[smapi.TagResourceOutput](t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: tags("arca:decoy", "true")})
	ann := b.user(t, otherAccount, "ann", allow(`"Action":"secretsmanager:*","Resource":"*"`))
	for _, tc := range []struct {
		name     string
		id       string
		accounts []string
		shared   bool
	}{
		{"exists, denied", id, []string{otherAccount, bedAccount}, false},
		{"exists not", id[:len(id)-12] + "none-AbCdEf", []string{otherAccount}, false},
	} {
		from := b.log.Size()
		if got := b.code(t, smapi.OpGetSecretValue, get(tc.id), ann); got != "AccessDeniedException" {
			t.Errorf("%s: code %q", tc.name, got)
		}
		var got []string
		for i, l := range b.since(t, from) {
			got = append(got, l.RecipientAccountID)
			if i == 0 && (l.SharedEventID != "") != tc.shared {
				t.Errorf("%s: sharedEventID = %q in the record of the caller's account", tc.name, l.SharedEventID)
			}
			if i == 1 && (l.UserIdentity.Type != "AWSAccount" || l.UserIdentity.ARN != "" || l.UserIdentity.AccountID != otherAccount || !l.Arca.Decoy || l.ErrorCode == "") {
				t.Errorf("%s: record of the owner's account %+v", tc.name, l)
			}
		}
		if diff := cmp.Diff(tc.accounts, got); diff != "" {
			t.Errorf("%s: recipients (-want +got):\n%s", tc.name, diff)
		}
	}
	b.putPolicy(t, "s", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+otherAccount+`:user/ann"},"Action":"secretsmanager:*","Resource":"*"}}`)
	from := b.log.Size()
	must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: id}, ann)
	lines := b.since(t, from)
	if len(lines) != 2 || lines[0].SharedEventID == "" || lines[0].SharedEventID != lines[1].SharedEventID {
		t.Errorf("records of an allowed call: %+v", lines)
	}
}
