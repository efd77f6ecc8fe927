package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/store"
	"arca/internal/storetest"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// knownRecord is a record that another implementation has sealed in the store of
// storetest.Known (scripts/known-answers.py).
type knownRecord struct {
	Name, Table string
	Parts       []string
	Sequence    uint64
	Plaintext   hexBytes
	EtcdKey     hexBytes `json:"etcd_key"`
	EtcdValue   hexBytes `json:"etcd_value"`
	SHA256      hexBytes
}

func knownRecords(t *testing.T) []knownRecord {
	t.Helper()
	raw, err := os.ReadFile("testdata/known.json")
	if err != nil {
		t.Fatal(err)
	}
	var known struct{ Records []knownRecord }
	if err := json.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	if len(known.Records) == 0 {
		t.Fatal("testdata/known.json is empty")
	}
	return known.Records
}

// A store of the first release opens: root record, keyring with an old and a new storage
// key, floor, names of records, and records under either key.
func TestKnownStore(t *testing.T) {
	records := knownRecords(t)
	values := make(map[string][]byte)
	for _, r := range records {
		values[string(r.EtcdKey)] = r.EtcdValue
		if sum := sha256.Sum256(r.EtcdValue); !bytes.Equal(sum[:], r.SHA256) {
			t.Errorf("%s: hash %x, want %x", r.Name, sum, r.SHA256)
		}
	}
	var h shelf
	s := storetest.Known(t, values, h.attach)
	for _, r := range records {
		t.Run(r.Name, func(t *testing.T) {
			table := h.things
			if r.Table == "parts" {
				table = h.parts
			}
			key := at(r.Parts[0], r.Parts[1:]...)
			if got := table.EtcdKey(key); got != string(r.EtcdKey) {
				t.Errorf("it is looked for at %x, want %x", got, r.EtcdKey)
			}
			seq, plain, err := s.Plain(string(r.EtcdKey), r.EtcdValue)
			if err != nil || seq != r.Sequence || !bytes.Equal(plain, r.Plaintext) {
				t.Errorf("Plain = %d, %x, %v, want %d, %x", seq, plain, err, r.Sequence, r.Plaintext)
			}
		})
	}
	view(t, s, func(v *store.Snap) {
		for _, tc := range []struct {
			table *store.Table[thing]
			at    store.Key
			want  *thing
		}{
			{h.things, at("123456789012/eu-west-1"), &thing{Name: "old", N: 7}},
			{h.things, at("123456789012/eu-west-1", "8a2f"), &thing{Name: "new", Tags: []string{"x", "y"}}},
			{h.parts, at("123456789012/eu-west-1", "8a2f", "v1"), &thing{Name: "part", Blob: []byte{0, 0xff}}},
		} {
			got, ok := tc.table.Get(v, tc.at)
			if diff := cmp.Diff(tc.want, got); !ok || diff != "" {
				t.Errorf("Get(%v): %v, diff (-want +got):\n%s", tc.at, ok, diff)
			}
		}
	})

	// What is written now is under the new key.
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a"), &thing{Name: "written now"}) })
	value := get(t, s, h.things.EtcdKey(at("a")))
	_, sealed, err := store.SplitValue([]byte(value))
	if err != nil {
		t.Fatal(err)
	}
	_, newest, err := store.SplitValue(records[1].EtcdValue)
	if err != nil {
		t.Fatal(err)
	}
	const nameBytes = 1 + 16 + 4 // format, key id, key version
	if !bytes.Equal(sealed[:nameBytes], newest[:nameBytes]) {
		t.Errorf("sealed under %x, want %x", sealed[:nameBytes], newest[:nameBytes])
	}
}
