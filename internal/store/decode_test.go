package store_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"arca/internal/store"
)

type (
	label  string
	number int16
	mixed  struct {
		ID      [16]byte         `cbor:"1,keyasint"`
		Name    string           `cbor:"2,keyasint"`
		Place   label            `cbor:"3,keyasint,omitempty"`
		Tags    []pair           `cbor:"4,keyasint"`
		Labels  []string         `cbor:"5,keyasint,omitempty"`
		Key     []byte           `cbor:"6,keyasint"`
		Keys    [][]byte         `cbor:"7,keyasint,omitempty"`
		Days    map[string]int32 `cbor:"8,keyasint,omitempty"`
		On      bool             `cbor:"10,keyasint,omitempty"`
		N       number           `cbor:"11,keyasint"`
		U       uint8            `cbor:"12,keyasint"`
		Big     uint64           `cbor:"300,keyasint"`
		Inner   *inner           `cbor:"23,keyasint,omitempty"`
		Direct  inner            `cbor:"24,keyasint"`
		Names   []label          `cbor:"25,keyasint"`
		Counts  []int64          `cbor:"26,keyasint"`
		ByPlace map[label]string `cbor:"27,keyasint"`
		//lint:ignore U1000 a field that records do not have, for the decoder to pass over
		hidden int
	}
	pair struct {
		Key   string `cbor:"1,keyasint"`
		Value string `cbor:"2,keyasint"`
	}
	inner struct {
		At    int64    `cbor:"1,keyasint,omitempty"`
		Text  string   `cbor:"2,keyasint"`
		Texts []string `cbor:"3,keyasint"`
	}
)

// randomMixed has texts that come again and texts that do not, and everything absent,
// empty or there.
func randomMixed(r *rand.Rand) *mixed {
	text := func() string {
		switch r.IntN(4) {
		case 0:
			return ""
		case 1:
			return fmt.Sprint("often-", r.IntN(5))
		case 2:
			return strings.Repeat("ä", r.IntN(200))
		}
		return fmt.Sprint("once-", r.Uint64())
	}
	blob := func() []byte {
		if r.IntN(4) == 0 {
			return nil
		}
		b := make([]byte, r.IntN(300))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	whole := func() int64 { return int64(r.Uint64()) >> r.IntN(64) }
	texts := func() []string {
		if r.IntN(3) == 0 {
			return nil
		}
		out := make([]string, r.IntN(3))
		for i := range out {
			out[i] = text()
		}
		return out
	}
	in := func() inner { return inner{At: whole(), Text: text(), Texts: texts()} }
	m := &mixed{
		Name: text(), Place: label(text()), Labels: texts(), Key: blob(), On: r.IntN(2) == 0,
		N: number(whole()), U: uint8(whole()), Big: uint64(whole()), Direct: in(),
	}
	copy(m.ID[:], blob())
	if r.IntN(2) == 0 {
		m.Inner = new(in())
	}
	if r.IntN(3) > 0 {
		m.Tags = []pair{}
		m.Names = []label{}
		m.Days = map[string]int32{}
		m.ByPlace = map[label]string{}
		m.Counts = []int64{}
		for range r.IntN(4) {
			m.Tags = append(m.Tags, pair{text(), text()})
			m.Names = append(m.Names, label(text()))
			m.Keys = append(m.Keys, blob())
			m.Days[text()] = int32(whole())
			m.ByPlace[label(text())] = text()
			m.Counts = append(m.Counts, whole())
		}
	}
	return m
}

// What the fast decoder reads is what the general one reads, and what it does not read
// is never a record as the encoder makes it.
func TestDecoderIsTheGeneralOne(t *testing.T) {
	dec := store.NewDecoders[mixed](t)
	r := rand.New(rand.NewPCG(7, 7))
	for n := range 3000 {
		want := randomMixed(r)
		body := dec.Encode(want)
		fast, ok := dec.Fast(body)
		if !ok {
			t.Fatalf("record %d was left to the general decoder: %x", n, body)
		}
		slow, err := dec.General(body)
		if err != nil || !reflect.DeepEqual(fast, slow) {
			t.Fatalf("decode(%x) = %+v, want %+v, %v", body, fast, slow, err)
		}
		if inPlace, ok := dec.InPlace(body); !ok || !reflect.DeepEqual(inPlace, slow) {
			t.Fatalf("in place %x is %+v, want %+v", body, inPlace, slow)
		}
		for range 5 { // the same with something wrong
			bad := append([]byte(nil), body...)
			switch r.IntN(3) {
			case 0:
				bad = bad[:r.IntN(len(bad))]
			case 1:
				bad = append(bad, byte(r.Uint32()))
			default:
				bad[r.IntN(len(bad))] = byte(r.Uint32())
			}
			checkDecoders(t, dec, bad)
		}
	}
}

func checkDecoders(t *testing.T, dec store.Decoders[mixed], body []byte) {
	t.Helper()
	fast, ok := dec.Fast(body)
	if inPlace, too := dec.InPlace(body); too != ok || ok && !reflect.DeepEqual(inPlace, fast) {
		t.Fatalf("in place %x is %+v, %v, otherwise %+v, %v", body, inPlace, too, fast, ok)
	}
	if !ok {
		return
	}
	slow, err := dec.General(body)
	if err != nil || !reflect.DeepEqual(fast, slow) {
		t.Fatalf("decode(%x) = %+v, want %+v, %v", body, fast, slow, err)
	}
}

func FuzzDecoder(f *testing.F) {
	dec := store.NewDecoders[mixed](f)
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		f.Add(dec.Encode(randomMixed(r)))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkDecoders(t, dec, body) })
}

// Records that were decoded one after another do not share what is theirs alone.
func TestSharedTextsStayWhatTheyWere(t *testing.T) {
	dec := store.NewDecoders[mixed](t)
	var all []*mixed
	var want []string
	for i := range 1000 {
		m := &mixed{Name: fmt.Sprint("n-", i%7), Labels: []string{fmt.Sprint("l-", i%5), "x"}, Direct: inner{Text: fmt.Sprint("d-", i)}}
		got, ok := dec.Fast(dec.Encode(m))
		if !ok {
			t.Fatal("left to the general decoder")
		}
		all = append(all, got)
		want = append(want, fmt.Sprint(m.Name, m.Labels, m.Direct.Text))
	}
	for i, m := range all {
		if got := fmt.Sprint(m.Name, m.Labels, m.Direct.Text); got != want[i] {
			t.Fatalf("record %d reads %s, want %s", i, got, want[i])
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	dec := store.NewDecoders[mixed](b)
	bodies := make([][]byte, 512)
	for i := range bodies {
		bodies[i] = dec.Encode(&mixed{
			Name: fmt.Sprint("team/service/", i), Place: "eu-west-1", Tags: []pair{{"team", "a"}, {"stage", "prod"}, {"cost", fmt.Sprint(i)}},
			Labels: []string{"CURRENT"}, Key: make([]byte, 100), Direct: inner{At: 1 << 40, Text: fmt.Sprint("what it is for ", i), Texts: []string{"PREVIOUS"}},
		})
	}
	var i int
	b.Run("fast", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dec.Fast(bodies[i%512])
			i++
		}
	})
	b.Run("in place", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dec.InPlace(bodies[i%512])
			i++
		}
	})
	b.Run("general", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := dec.General(bodies[i%512]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
}
