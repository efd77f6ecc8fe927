package secrets

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"arca/internal/store"
)

// The records of this package are stored for good: a key number, once given out,
// keeps its meaning and is never reused.

// UID is the identity of a secret: a hash of its name, and random bytes that tell it from
// another of that name, before it or after. The key of its record goes by the hash, which
// is what keeps names unique, and everything that belongs to the secret but its days of
// access hangs under that key; all goes with it. The UIDs of record formats 1 to 4 are
// random as a whole.
type UID [16]byte

// nameBytes are those of a UID that are the hash: enough that no two names of an account
// are taken for one.
const nameBytes = 12

// newUID draws the identity of a secret. UIDs stand in logs and files: the hash is one
// that does not tell who tries names which it is of.
func newUID(s *store.Store, scope, name string) (u UID) {
	copy(u[:nameBytes], nameHash(s, nameKey(scope, name)))
	_, _ = rand.Read(u[nameBytes:]) // never fails: crypto/rand ends the program instead
	return u
}

// nameHash is the hash of a name by its key in the index of names.
func nameHash(s *store.Store, key string) []byte {
	digest := s.Digest("secret name", key)
	return digest[:nameBytes]
}

// name is the part that names the secret's key, in hexadecimal.
func (u UID) name() string { return parentOf(u[:nameBytes]) }

// parentOf is the Parent part of the key that a hash names.
func parentOf(hash []byte) string {
	var b [2 * nameBytes]byte
	return string(hex.AppendEncode(b[:0], hash))
}

// String is the hexadecimal form.
func (u UID) String() string { return hex.EncodeToString(u[:]) }

// Instant is a moment to the millisecond, in milliseconds since the Unix epoch: what
// AWS shows of a time. Zero means never.
type Instant int64

// InstantOf cuts t to the millisecond.
func InstantOf(t time.Time) Instant { return Instant(t.UnixMilli()) }

// Time is the moment in UTC.
func (i Instant) Time() time.Time { return time.UnixMilli(int64(i)).UTC() }

// IsZero says whether there is no such moment.
func (i Instant) IsZero() bool { return i == 0 }

// pointer is the form of optional timestamps in answers: nil for never.
func (i Instant) pointer() *time.Time {
	if i == 0 {
		return nil
	}
	t := i.Time()
	return &t
}

// orderKey sorts like the moments themselves when compared as a string.
func (i Instant) orderKey() string {
	u := uint64(i) ^ 1<<63
	var b [8]byte
	for n := range b {
		b[n] = byte(u >> (56 - 8*n))
	}
	return string(b[:])
}

// instantOfKey reads an order key of eight bytes.
func instantOfKey(key string) Instant {
	var u uint64
	for n := range 8 {
		u = u<<8 | uint64(key[n])
	}
	return Instant(u ^ 1<<63)
}

// Day is a calendar day in UTC, counted from 1970-01-01. AWS keeps access dates to
// the day. Zero means never.
type Day int32

const dayMillis = 24 * 60 * 60 * 1000

// DayOf is the day that t falls on.
func DayOf(t time.Time) Day { return Day(t.UnixMilli() / dayMillis) }

// pointer is midnight of the day, or nil for never.
func (d Day) pointer() *time.Time { return Instant(int64(d) * dayMillis).pointer() }

// Secret is a secret without its values: what every operation but the reading of a
// value needs, in one record, so that it changes in one compare-and-swap.
type Secret struct {
	UID       UID    `cbor:"1,keyasint"`
	Partition string `cbor:"2,keyasint"`
	Account   string `cbor:"3,keyasint"`
	Region    string `cbor:"4,keyasint"`
	Name      string `cbor:"5,keyasint"`
	// Suffix is the six random characters after the name in the ARN.
	Suffix      string `cbor:"6,keyasint"`
	Description string `cbor:"7,keyasint,omitempty"`
	// KMSKeyID is the key for new versions under the name that it was given: its id, its
	// ARN, or an alias, which is followed when a version is made. Empty is the account's
	// aws/secretsmanager.
	KMSKeyID string `cbor:"8,keyasint,omitempty"`
	// Tags in order of insertion. nil (never tagged) and empty (no longer tagged) are
	// told apart, as DescribeSecret does.
	Tags    []Tag   `cbor:"9,keyasint"`
	Created Instant `cbor:"10,keyasint"`
	Changed Instant `cbor:"11,keyasint"`
	// Deleted is when DeleteSecret was called, DeleteAfter the end of the recovery
	// window. Both are zero unless the secret is scheduled for deletion.
	Deleted     Instant `cbor:"12,keyasint,omitempty"`
	DeleteAfter Instant `cbor:"13,keyasint,omitempty"`
	// ResourcePolicy is the attached policy, users and roles by unique id (in texts of old,
	// by ARN); empty means none.
	ResourcePolicy string `cbor:"14,keyasint,omitempty"`
	// Versions in order of creation, at most one holding any given label.
	Versions []Version `cbor:"15,keyasint,omitempty"`
	// CreateToken is the ClientRequestToken of the CreateSecret call, so that a repeat
	// of a call that made no version is recognised.
	CreateToken string `cbor:"16,keyasint,omitempty"`
	// NameKeyed says that the record's key goes by the hash of the name. Of formats 1 to 4,
	// it goes by the whole UID, and a SecretName reserves the name.
	NameKeyed bool `cbor:"17,keyasint,omitempty"`

	// Rotation is how the secret is rotated; nil until it has been set up. Formats 1 and 2
	// have none.
	Rotation *Rotation `cbor:"20,keyasint,omitempty"`

	// 21-29 are kept for rotation.
	// 30-39 are kept for replication: primary region, replicas and their state.
	// 40-49 are kept for managed secrets: owning service, type, external rotation.
}

// Tag is one key with its value.
type Tag struct {
	Key   string `cbor:"1,keyasint"`
	Value string `cbor:"2,keyasint"`
}

// ValueKind says which member of an answer a value belongs in.
type ValueKind uint8

const (
	// NoValue is the kind of a version that a rotation has announced but not filled.
	NoValue ValueKind = iota
	// StringValue is a value given as SecretString.
	StringValue
	// BinaryValue is a value given as SecretBinary.
	BinaryValue
)

// Version is what is known of a version without opening its value.
type Version struct {
	// ID is the ClientRequestToken of the call that made the version.
	ID string `cbor:"1,keyasint"`
	// Stages are its labels in the order in which they were attached. A version
	// without labels is deprecated: hidden from lists, open to pruning.
	Stages  []string `cbor:"2,keyasint,omitempty"`
	Created Instant  `cbor:"3,keyasint"`
	// KMSKeyID is the ARN of the key that wraps the data key; empty is aws/secretsmanager.
	KMSKeyID string    `cbor:"4,keyasint,omitempty"`
	Kind     ValueKind `cbor:"5,keyasint,omitempty"`
	// Size is the length of the value in bytes.
	Size int `cbor:"6,keyasint,omitempty"`
	// FormerKMSKeyIDs are further keys that wrap the same data key, named likewise: what a
	// change of the secret's key has left. Format 1 has none.
	FormerKMSKeyIDs []string `cbor:"7,keyasint,omitempty"`
	// Payload is the value, if it is kept here and not in a record of its own; see
	// keptInSecret. Formats 1 to 4 have none.
	Payload Payload `cbor:"8,keyasint,omitzero"`
}

// SecretName reserves the name of a secret that is not NameKeyed.
type SecretName struct {
	UID UID `cbor:"1,keyasint"`
}

// Payload is the value of a version, sealed under a data key of its own: part of the
// secret's record, or a record by itself.
type Payload struct {
	// DataKey is the data key, wrapped by the KMS key under the encryption context of
	// the version.
	DataKey []byte `cbor:"1,keyasint"`
	// Value is the envelope of the value, bound to the same context.
	Value []byte `cbor:"2,keyasint"`
	// FormerDataKeys is the same data key under the version's FormerKMSKeyIDs, in their
	// order. Format 1 has none.
	FormerDataKeys [][]byte `cbor:"3,keyasint,omitempty"`
}

// LastAccess holds the days on which a secret and its versions were last read: what is
// not stored yet, and a record of versions before AccessPage.
type LastAccess struct {
	UID      UID            `cbor:"1,keyasint"`
	Account  string         `cbor:"2,keyasint"`
	Region   string         `cbor:"3,keyasint"`
	Day      Day            `cbor:"4,keyasint"`
	Versions map[string]Day `cbor:"5,keyasint,omitempty"`
}

// scopeOf is the Scope part of store keys: one account in one region.
func scopeOf(account, region string) string { return account + "/" + region }

func (s *Secret) scope() string { return scopeOf(s.Account, s.Region) }

// parent is the Parent part of the key of the record, and of all that hang under it.
func (s *Secret) parent() string {
	if s.NameKeyed {
		return s.UID.name()
	}
	return s.UID.String()
}

// ARN is the full ARN, suffix included.
func (s *Secret) ARN() string {
	return secretARN(s.Partition, s.Region, s.Account, s.Name, s.Suffix)
}

// secretARN puts an ARN together. It is on the path of every read, hence one
// allocation.
func secretARN(partition, region, account, name, suffix string) string {
	var b strings.Builder
	b.Grow(len("arn::secretsmanager:::secret:-") + len(partition) + len(region) + len(account) + len(name) + len(suffix))
	b.WriteString("arn:")
	b.WriteString(partition)
	b.WriteString(":secretsmanager:")
	b.WriteString(region)
	b.WriteByte(':')
	b.WriteString(account)
	b.WriteString(":secret:")
	b.WriteString(name)
	b.WriteByte('-')
	b.WriteString(suffix)
	return b.String()
}

// scheduled says whether the secret is in its recovery window.
func (s *Secret) scheduled() bool { return !s.Deleted.IsZero() }

// version finds a version by its id; nil when there is none.
func (s *Secret) version(id string) *Version {
	for i := range s.Versions {
		if s.Versions[i].ID == id {
			return &s.Versions[i]
		}
	}
	return nil
}

// holder finds the version that carries a label; nil when none does.
func (s *Secret) holder(stage string) *Version { return holder(s.Versions, stage) }

// clone is a copy that may be changed: records in a snapshot are shared. Slices are
// copied as deep as operations change them.
func (s *Secret) clone() *Secret {
	c := *s
	if s.Tags != nil {
		c.Tags = append(make([]Tag, 0, len(s.Tags)+1), s.Tags...)
	}
	c.Versions = append(make([]Version, 0, len(s.Versions)+1), s.Versions...)
	for i := range c.Versions {
		// Capacity equal to length: an append to the labels of one copy cannot reach
		// the memory of the original.
		st := c.Versions[i].Stages
		c.Versions[i].Stages = st[:len(st):len(st)]
	}
	return &c
}
