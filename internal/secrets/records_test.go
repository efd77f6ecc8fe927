package secrets_test

import (
	"encoding/hex"
	"math"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/secrets"
)

// Records as they lie on disks. They must decode to the same values for ever, and a
// change in how they are written needs a new format number.
func TestStoredForm(t *testing.T) {
	deterministic, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		record any
		empty  any
		stored string
	}{
		{"secret", &secrets.Secret{
			UID: secrets.UID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, Partition: "aws", Account: "111111111111", Region: "eu-west-1",
			Name: "app/db", Suffix: "AbC123", Description: "d", KMSKeyID: "k", Tags: []secrets.Tag{{Key: "a", Value: "b"}},
			Created: 1_700_000_000_000, Changed: 1_700_000_000_001, Deleted: 1_700_000_000_002, DeleteAfter: 1_700_000_000_003,
			ResourcePolicy: "{}", CreateToken: "t",
			Versions: []secrets.Version{{ID: "v", Stages: []string{"AWSCURRENT"}, Created: 4, KMSKeyID: "k", Kind: secrets.BinaryValue, Size: 5}},
		}, new(secrets.Secret), "b001500102030405060708090a0b0c0d0e0f100263617773036c313131313131313131313131046965752d776573742d3105666170702f6462066641624331323307616408616b0981a20161610261620a1b0000018bcfe568000b1b0000018bcfe568010c1b0000018bcfe568020d1b0000018bcfe568030e627b7d0f81a601617602816a41575343555252454e54030404616b05020605106174"},
		{"small secret", &secrets.Secret{Partition: "aws", Account: "111111111111", Region: "eu-west-1", Name: "n", Suffix: "AbC123", Created: 1, Changed: 1},
			new(secrets.Secret), "a90150000000000000000000000000000000000263617773036c313131313131313131313131046965752d776573742d3105616e066641624331323309f60a010b01"},
		{"secret whose key was changed", &secrets.Secret{Partition: "aws", Account: "1", Region: "r", Name: "n", Suffix: "AbC123", Created: 1, Changed: 1,
			Versions: []secrets.Version{{ID: "v", Created: 4, KMSKeyID: "k", FormerKMSKeyIDs: []string{"j", ""}, Kind: secrets.StringValue, Size: 5}}},
			new(secrets.Secret), "aa015000000000000000000000000000000000026361777303613104617205616e066641624331323309f60a010b010f81a6016176030404616b050106050782616a60"},
		{"secret with its value", &secrets.Secret{Partition: "aws", Account: "1", Region: "r", Name: "n", Suffix: "AbC123", Created: 1, Changed: 1,
			Versions: []secrets.Version{{ID: "v", Created: 4, Kind: secrets.StringValue, Size: 5,
				Payload: secrets.Payload{DataKey: []byte{1}, Value: []byte{2}, FormerDataKeys: [][]byte{{3}}}}}},
			new(secrets.Secret), "aa015000000000000000000000000000000000026361777303613104617205616e066641624331323309f60a010b010f81a501617603040501060508a301410102410203814103"},
		{"value under two keys", &secrets.Payload{DataKey: []byte{1}, Value: []byte{2}, FormerDataKeys: [][]byte{{3}, {4}}}, new(secrets.Payload), "a3014101024102038241034104"},
		{"name", &secrets.SecretName{UID: secrets.UID{1}}, new(secrets.SecretName), "a1015001000000000000000000000000000000"},
		{"value", &secrets.Payload{DataKey: []byte{1}, Value: []byte{2}}, new(secrets.Payload), "a2014101024102"},
		{"page of days", &secrets.AccessPage{Account: "1", Region: "r", Page: 3, Days: secrets.DayRows{1, 2}},
			new(secrets.AccessPage), "a401613102617203030442" + "0102"},
		{"access of versions before pages", &secrets.LastAccess{UID: secrets.UID{1}, Account: "1", Region: "r", Day: 20_000, Versions: map[string]secrets.Day{"v": 20_000}},
			new(secrets.LastAccess), "a501500100000000000000000000000000000002613103617204194e2005a16176194e20"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := deterministic.Marshal(tc.record)
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(got) != tc.stored {
				t.Errorf("stored form = %x, want %s", got, tc.stored)
			}
			stored, err := hex.DecodeString(tc.stored)
			if err != nil {
				t.Fatal(err)
			}
			if err := cbor.Unmarshal(stored, tc.empty); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.record, tc.empty); diff != "" {
				t.Errorf("stored form decodes to (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretRoundTrip(t *testing.T) {
	for name, tags := range map[string][]secrets.Tag{"never tagged": nil, "no longer tagged": {}, "tagged": {{Key: "k", Value: "v"}}} {
		t.Run(name, func(t *testing.T) {
			in := secrets.Secret{
				UID: secrets.UID{1, 2}, Partition: "aws", Account: "111111111111", Region: "eu-west-1", Name: "a", Suffix: "AbC123",
				Tags: tags, Created: 1, Changed: 2, Deleted: 3, DeleteAfter: 4, ResourcePolicy: "{}",
				Versions:    []secrets.Version{{ID: "v", Stages: []string{"AWSCURRENT"}, Created: 5, Kind: secrets.BinaryValue, Size: 6}, {ID: "w", Created: 7}},
				CreateToken: "v",
			}
			data, err := cbor.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			var out secrets.Secret
			if err := cbor.Unmarshal(data, &out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(in, out); diff != "" {
				t.Errorf("round trip (-in +out):\n%s", diff)
			}
		})
	}
}

func TestInstantOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := secrets.Instant(rapid.Int64().Draw(t, "a")), secrets.Instant(rapid.Int64().Draw(t, "b"))
		if (a < b) != (secrets.OrderKey(a) < secrets.OrderKey(b)) {
			t.Errorf("order keys of %d and %d sort differently", a, b)
		}
	})
	for _, i := range []secrets.Instant{math.MinInt64, math.MaxInt64} {
		if n := len(secrets.OrderKey(i)); n != 8 {
			t.Errorf("order key of %d has %d bytes, want 8", i, n)
		}
	}
}

func TestInstantAndDay(t *testing.T) {
	at := time.Date(2018, 4, 17, 23, 59, 59, 713_999_999, time.FixedZone("", -3600))
	if got, want := secrets.InstantOf(at).Time(), time.Date(2018, 4, 18, 0, 59, 59, 713_000_000, time.UTC); !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("InstantOf(%v) = %v, want %v", at, got, want)
	}
	if got, want := secrets.DayOf(at), secrets.Day(17639); got != want {
		t.Errorf("DayOf(%v) = %d, want %d", at, got, want)
	}
}
