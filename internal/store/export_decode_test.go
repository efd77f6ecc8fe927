package store

import (
	"reflect"
	"testing"
)

// Decoders reads records of a type with either decoder.
type Decoders[T any] struct {
	codec codec
	fast  *decoder
}

// NewDecoders fails the test for a type that the fast decoder does not read.
func NewDecoders[T any](t testing.TB) Decoders[T] {
	d := Decoders[T]{newCodec(), newDecoder(reflect.TypeFor[T]())}
	if d.fast == nil {
		t.Fatalf("%T is left to the general decoder", *new(T))
	}
	return d
}

// Encode is the body of a record as Put makes it.
func (d Decoders[T]) Encode(r *T) []byte {
	body, err := d.codec.enc.Marshal(r)
	if err != nil {
		panic(err)
	}
	return body
}

// Fast decodes with the fast decoder; false means that it leaves the body to the other.
func (d Decoders[T]) Fast(body []byte) (*T, bool) {
	r := new(T)
	ok := d.fast.decode(body, reflect.ValueOf(r).Elem(), false)
	return r, ok
}

// InPlace is Fast with a record that points into the body.
func (d Decoders[T]) InPlace(body []byte) (*T, bool) {
	r := new(T)
	ok := d.fast.decode(body, reflect.ValueOf(r).Elem(), true)
	return r, ok
}

// General decodes with the decoder that decides.
func (d Decoders[T]) General(body []byte) (*T, error) {
	r := new(T)
	return r, d.codec.dec.Unmarshal(body, r)
}
