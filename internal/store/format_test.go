package store_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/store"
	"arca/internal/storetest"
)

// The bytes here are stored for good: if one of these tests fails, old data can no
// longer be found or opened.

func TestKeyHashing(t *testing.T) {
	var h shelf
	s := store.New(store.Config{})
	h.attach(s)
	secret := bytes.Repeat([]byte{7}, 32)
	s.HashWith(secret)

	// Spelt out once more, from the description in docs/design/storage.md.
	part := func(table string, level byte, above []byte, part string) []byte {
		m := hmac.New(sha256.New, secret)
		m.Write([]byte{byte(len(table))})
		m.Write([]byte(table))
		m.Write([]byte{level})
		m.Write(above)
		m.Write([]byte(part))
		return m.Sum(nil)[:16]
	}
	scope := part("things", 1, nil, "123456789012")
	parent := part("things", 2, scope, "uid")
	child := part("things", 3, parent, "v1")
	const (
		root      = "617263612f312f7468696e67732f" // arca/1/things/
		scopeHex  = "1c7b3a97ca1d29b3c439fd16f6efdbef"
		parentHex = "16e6f5f7f8fc18cba8a229df1b98e944"
		childHex  = "65df741e7f89c3c62c56e5ecae8f3085"
	)
	for _, tc := range []struct {
		name   string
		key    store.Key
		want   []byte
		golden string
	}{
		{"scope", at("123456789012"), scope, root + scopeHex},
		{"parent", at("123456789012", "uid"), append(bytes.Clone(scope), parent...), root + scopeHex + parentHex},
		{"child", at("123456789012", "uid", "v1"), bytes.Join([][]byte{scope, parent, child}, nil), root + scopeHex + parentHex + childHex},
	} {
		got := h.things.EtcdKey(tc.key)
		if want := "arca/1/things/" + string(tc.want); got != want {
			t.Errorf("%s: key %x, want %x", tc.name, got, want)
		}
		if hex.EncodeToString([]byte(got)) != tc.golden {
			t.Errorf("%s: key %x, golden %s", tc.name, got, tc.golden)
		}
	}

	keys := map[string]string{
		"things a":     h.things.EtcdKey(at("a")),
		"things a/a":   h.things.EtcdKey(at("a", "a")),
		"things a/a/a": h.things.EtcdKey(at("a", "a", "a")),
		"things b/a":   h.things.EtcdKey(at("b", "a")),
		"parts a/a":    h.parts.EtcdKey(at("a", "a")),
	}
	for a, x := range keys {
		for b, y := range keys {
			if a != b && x[len(x)-16:] == y[len(y)-16:] {
				t.Errorf("%s and %s end in the same hash", a, b)
			}
		}
	}
}

func TestRecordADIsFixed(t *testing.T) {
	const want = "00000003" + "646570" + "0000000c" + "617263612f312f782f6b6579" + "00000008" + "0000000000000102"
	if got := hex.EncodeToString(store.RecordAD([]byte("dep"), "arca/1/x/key", 0x102)); got != want {
		t.Errorf("RecordAD = %s, want %s", got, want)
	}
}

func TestPlaintextIsFixed(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	mustUpdate(t, s, func(tx *store.Tx) {
		h.things.Put(tx, at("a"), &thing{Name: "n", N: -1, Tags: []string{"x"}, Blob: []byte{1}})
	})
	key := h.things.EtcdKey(at("a"))
	value := get(t, s, key)
	seq, plain, err := s.Plain(key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	// [3, {1: "n", 2: -1, 3: ["x"], 4: h'01'}]
	const want = "8203" + "a4" + "01616e" + "0220" + "03816178" + "044101"
	if got := hex.EncodeToString(plain); got != want {
		t.Errorf("plaintext = %s, want %s", got, want)
	}
	if value[0] != 1 || seq == 0 || int(value[1]) != int(seq) || value[2] != 1 {
		t.Errorf("value begins with %x, want format 1, sequence %d, envelope format 1", value[:3], seq)
	}
}

// Sequences grow with every write to a key, also over deletions.
func TestSequencesGrow(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	last := map[store.Key]uint64{}
	rapid.Check(t, func(rt *rapid.T) {
		k := at("a", rapid.StringMatching("[ab]").Draw(rt, "key"))
		var got []store.Change
		remove := rapid.Bool().Draw(rt, "remove")
		c := mustUpdate(t, s, func(tx *store.Tx) {
			if remove {
				h.things.Delete(tx, k)
			} else {
				h.things.Put(tx, k, &thing{})
			}
			tx.SetEffect(func(ch []store.Change) []byte { got = ch; return nil })
		})
		s.ReleaseEffect(c.Effect)
		for _, ch := range got {
			if !remove && ch.Sequence <= last[k] {
				rt.Fatalf("sequence %d after %d", ch.Sequence, last[k])
			}
			last[k] = ch.Sequence
		}
	})
}

func FuzzSplitValue(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 5, 1, 2, 3})
	f.Add([]byte{1, 0x80, 0x00, 1})
	f.Add(append([]byte{1}, bytes.Repeat([]byte{0xff}, 12)...))
	f.Fuzz(func(t *testing.T, value []byte) {
		seq, sealed, err := store.SplitValue(value)
		if err != nil {
			return
		}
		again := append(appendUvarint([]byte{1}, seq), sealed...)
		if !bytes.Equal(again, value) {
			t.Errorf("SplitValue(%x) has a second spelling %x", value, again)
		}
	})
}

func appendUvarint(b []byte, v uint64) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func FuzzNodeFile(f *testing.F) {
	f.Add([]byte(`{"format":1,"nodeId":"00112233445566778899aabbccddeeff","clusterToken":"00112233445566778899aabbccddeeff"}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		id, err := store.ParseNodeFile(raw)
		if err == nil && len(id) != 32 {
			t.Errorf("ParseNodeFile(%q) = %q", raw, id)
		}
	})
}

// Whatever an etcd value is, opening it must end in an error, not in a panic.
func FuzzForeignValue(f *testing.F) {
	var h shelf
	s := storetest.New(f, h.attach)
	mustUpdate(f, s, func(tx *store.Tx) { h.things.Put(tx, at("a"), &thing{Name: "n"}) })
	key := h.things.EtcdKey(at("a"))
	f.Add([]byte{0x82, 3, 0xa1, 1, 0x61, 'x'})
	f.Add([]byte{0x82, 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xa0})
	f.Add([]byte{0x82, 3, 0xa1, 3, 0x9b, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff})
	f.Add([]byte{0x82, 3, 0xa2, 1, 0x60, 1, 0x60})
	f.Fuzz(func(t *testing.T, plain []byte) {
		if _, _, err := s.Plain(key, plain); err == nil {
			t.Errorf("a value that nobody sealed opens: %x", plain)
		}
		if err := h.things.DecodePlain(plain); err == nil && (len(plain) < 3 || plain[0] != 0x82) {
			t.Errorf("DecodePlain(%x) succeeded", plain)
		}
	})
}
