package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"arca/internal/envelope"
)

// A value in etcd is
//
//	0x01 ‖ uvarint(record sequence) ‖ envelope (format 1, label "store")
//
// whose plaintext is the CBOR array [record format, record]. The sequence stands
// outside because it is part of the additional data and must be known to open.
const (
	valueFormat = 0x01
	sealLabel   = "store"
)

var (
	errValueFormat  = errors.New("value is not of a known format")
	errRecordFormat = errors.New("record format is newer than this binary knows")
	errRecord       = errors.New("record is not well-formed")
)

// codec is how records become bytes. CBOR modes are immutable and safe for
// concurrent use; they are built once per store because house rules know no globals.
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newCodec() codec {
	enc := cbor.CoreDetEncOptions()
	// Seconds alone, the core default, would cut times that a record holds more exactly.
	enc.Time = cbor.TimeRFC3339NanoUTC
	em, err := enc.EncMode()
	if err != nil {
		panic(err)
	}
	dm, err := cbor.DecOptions{
		DupMapKey:   cbor.DupMapKeyEnforcedAPF,
		IndefLength: cbor.IndefLengthForbidden,
		// A field that this binary does not know would be lost by the next write.
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxArrayElements:  1 << 20,
		MaxMapPairs:       1 << 20,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return codec{enc: em, dec: dm}
}

// encode returns the plaintext of a record.
func (c codec) encode(format uint64, record any) ([]byte, error) {
	return c.enc.Marshal([2]any{format, record})
}

// split reads the format of a record and returns the rest, which may still be
// anything. A format above highest is an error of its own: the record is fine, the
// binary is too old.
func (c codec) split(plain []byte, highest uint64) (format uint64, body []byte, err error) {
	if len(plain) < 3 || plain[0] != 0x82 {
		return 0, nil, errRecord
	}
	body, err = c.dec.UnmarshalFirst(plain[1:], &format)
	if err != nil {
		return 0, nil, errRecord
	}
	if format > highest {
		return format, nil, fmt.Errorf("%w: %d, at most %d", errRecordFormat, format, highest)
	}
	return format, body, nil
}

// recordAD is the additional data that binds a sealed record to its place and time:
// deployment id, etcd key and sequence, each after its length in four bytes.
func recordAD(deployment []byte, etcdKey string, seq uint64) []byte {
	ad := make([]byte, 0, 12+len(deployment)+len(etcdKey)+8)
	ad = binary.BigEndian.AppendUint32(ad, uint32(len(deployment)))
	ad = append(ad, deployment...)
	ad = binary.BigEndian.AppendUint32(ad, uint32(len(etcdKey)))
	ad = append(ad, etcdKey...)
	ad = binary.BigEndian.AppendUint32(ad, 8)
	return binary.BigEndian.AppendUint64(ad, seq)
}

// sealer is a key or a ring of keys.
type sealer interface {
	AppendSeal(dst []byte, label string, plaintext, ad []byte) ([]byte, error)
}

// sealValue makes the etcd value of a record.
func sealValue(key sealer, deployment []byte, etcdKey string, seq uint64, plain []byte) ([]byte, error) {
	out := make([]byte, 1, 1+binary.MaxVarintLen64+envelope.Overhead+len(plain))
	out[0] = valueFormat
	out, err := key.AppendSeal(binary.AppendUvarint(out, seq), sealLabel, plain, recordAD(deployment, etcdKey, seq))
	if err != nil {
		return nil, fmt.Errorf("seal record: %w", err)
	}
	return out, nil
}

// splitValue reads the sequence of an etcd value without opening it. It is not
// authenticated until the envelope opens.
func splitValue(value []byte) (seq uint64, sealed []byte, err error) {
	if len(value) < 2 || value[0] != valueFormat {
		return 0, nil, errValueFormat
	}
	seq, n := binary.Uvarint(value[1:])
	if n <= 0 || (n > 1 && value[n] == 0) { // a last byte of zero is a second spelling
		return 0, nil, errValueFormat
	}
	return seq, value[1+n:], nil
}

// sealedUnder is the version of the storage key that a value names, 0 if it is none.
func sealedUnder(value []byte) uint32 {
	_, sealed, err := splitValue(value)
	if err != nil {
		return 0
	}
	_, version, err := envelope.Header(sealed)
	if err != nil {
		return 0
	}
	return version
}

func (s *Store) sealValue(etcdKey string, seq uint64, plain []byte) ([]byte, error) {
	return sealValue(s.ring.storage, s.deployment, etcdKey, seq, plain)
}

// openValue opens the etcd value of a record.
func (s *Store) openValue(etcdKey string, value []byte) (seq uint64, plain envelope.Plaintext, err error) {
	seq, sealed, err := splitValue(value)
	if err != nil {
		return 0, envelope.Plaintext{}, err
	}
	plain, err = s.ring.storage.Open(sealLabel, sealed, recordAD(s.deployment, etcdKey, seq))
	if err != nil {
		return seq, envelope.Plaintext{}, err
	}
	return seq, plain, nil
}
