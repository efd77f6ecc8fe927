package kms

import (
	"encoding/hex"
	"slices"
	"strings"

	"arca/internal/arn"
	"arca/internal/envelope"
	"arca/internal/store"
)

// The records of this package are stored for good: a key number, once given out,
// keeps its meaning and is never reused.

// Millis is a moment in milliseconds since the Unix epoch. Zero means never.
type Millis = int64

// State is a key's state, with AWS's words.
type State string

// The states of a key.
const (
	Enabled         State = "Enabled"
	Disabled        State = "Disabled"
	PendingDeletion State = "PendingDeletion"
)

// Who manages a key: AWS those that nobody asked for, made when they are first used.
const (
	managerAWS      = "AWS"
	managerCustomer = "CUSTOMER"
)

// Key is the record of one KMS key. All keys are symmetric, for encryption, and of
// material made here. Material is append-only: a rotation adds a version, and old
// ciphertexts stay readable.
type Key struct {
	ID       envelope.KeyID `cbor:"1,keyasint"`
	Account  string         `cbor:"2,keyasint"`
	Region   string         `cbor:"3,keyasint"`
	Manager  string         `cbor:"4,keyasint"` // "AWS" or "CUSTOMER"
	Created  Millis         `cbor:"5,keyasint"`
	State    State          `cbor:"6,keyasint"`
	Material []Material     `cbor:"7,keyasint"` // in order of version; the last one encrypts

	Description string `cbor:"8,keyasint,omitempty"`
	// Policy is the key policy with principals by unique id; empty for keys of AWS's kind,
	// whose policy follows from what they are for.
	Policy string `cbor:"9,keyasint,omitempty"`
	Tags   []Tag  `cbor:"10,keyasint,omitempty"`
	// DeleteAfter is when a key that is pending deletion goes, WindowDays how long it was
	// given.
	DeleteAfter Millis `cbor:"11,keyasint,omitempty"`
	WindowDays  int32  `cbor:"12,keyasint,omitempty"`
	// RotationDays is the period of automatic rotation, 0 for none, and NextRotation when
	// the next one is due. Both stay as they are while the key is not enabled.
	RotationDays int32  `cbor:"13,keyasint,omitempty"`
	NextRotation Millis `cbor:"14,keyasint,omitempty"`
}

// Material is one version of a key's secret, sealed under the keyring.
type Material struct {
	Version uint32 `cbor:"1,keyasint"`
	Sealed  []byte `cbor:"2,keyasint"`
	Created Millis `cbor:"3,keyasint"`
	// Rotation is how it came: AUTOMATIC or ON_DEMAND; empty for the first.
	Rotation string `cbor:"4,keyasint,omitempty"`
}

// Tag is one key with its value.
type Tag struct {
	Key   string `cbor:"1,keyasint"`
	Value string `cbor:"2,keyasint"`
}

// Alias gives a key a name within its account and region. There, the name is where the
// record lives, so that of two which are made at once only one can be.
type Alias struct {
	Name  string         `cbor:"1,keyasint"` // "alias/…"
	KeyID envelope.KeyID `cbor:"2,keyasint"`
	// Format 1 has none of these.
	Account string `cbor:"3,keyasint,omitempty"`
	Region  string `cbor:"4,keyasint,omitempty"`
	Created Millis `cbor:"5,keyasint,omitempty"`
	Updated Millis `cbor:"6,keyasint,omitempty"`
}

// Grant lets a principal use a key for some operations. It is a child of its key.
type Grant struct {
	ID      string         `cbor:"1,keyasint"` // 64 hexadecimal digits
	KeyID   envelope.KeyID `cbor:"2,keyasint"`
	Account string         `cbor:"3,keyasint"` // of the key, as Region
	Region  string         `cbor:"4,keyasint"`
	Name    string         `cbor:"5,keyasint,omitempty"`
	// Grantee and Retiring are principals in the form in which policies are stored.
	Grantee    string   `cbor:"6,keyasint"`
	Retiring   string   `cbor:"7,keyasint,omitempty"`
	Operations []string `cbor:"8,keyasint"`
	// Subset and Equals limit the grant to encryption contexts that contain, or are, these
	// pairs. At most one of them is there.
	Subset  map[string]string `cbor:"9,keyasint,omitempty"`
	Equals  map[string]string `cbor:"10,keyasint,omitempty"`
	Created Millis            `cbor:"11,keyasint"`
	Issuer  string            `cbor:"12,keyasint"` // ARN of the root of the account that made it
}

const (
	keyFormat   = 2 // 1 had keys of AWS's kind only
	aliasFormat = 2 // 1 did not name account and region
	grantFormat = 1
)

// Names of indexes.
const (
	byID       = "id"       // key id
	byScope    = "scope"    // account and region, then key id
	byDue      = "due"      // when a key pending deletion goes, or one is rotated
	byName     = "name"     // account and region, then name
	byKey      = "key"      // key id, then name or grant id
	byGrantee  = "grantee"  // key id, stored principal, grant id
	byRetiring = "retiring" // region, stored principal, key id, grant id
)

// tables are the tables of package kms.
type tables struct {
	keys    *store.Table[Key]
	aliases *store.Table[Alias]
	grants  *store.Table[Grant]
}

func newTables(st *store.Store) tables {
	return tables{
		keys: store.NewTable(st, store.TableSpec[Key]{
			Name: "kms-key", Format: keyFormat,
			Indexes: []store.Index[Key]{
				{Name: byID, Keys: func(k *Key, emit func(string)) { emit(string(k.ID[:])) }},
				{Name: byScope, Keys: func(k *Key, emit func(string)) { emit(k.scope() + "\x00" + string(k.ID[:])) }},
				{Name: byDue, Keys: func(k *Key, emit func(string)) {
					if at := k.due(); at != 0 {
						emit(orderKey(at))
					}
				}},
			},
		}),
		aliases: store.NewTable(st, store.TableSpec[Alias]{
			Name: "kms-alias", Format: aliasFormat,
			// Upgrade writes those of AWS's services again.
			Quiet: func(a *Alias) bool { return a.Name == SecretsManagerAlias },
			Indexes: []store.Index[Alias]{
				{Name: byName, Keys: func(a *Alias, emit func(string)) { emit(a.scope() + "\x00" + a.Name) }},
				{Name: byKey, Keys: func(a *Alias, emit func(string)) { emit(string(a.KeyID[:]) + "\x00" + a.Name) }},
			},
		}),
		grants: store.NewTable(st, store.TableSpec[Grant]{
			Name: "kms-grant", Format: grantFormat, Child: true,
			Indexes: []store.Index[Grant]{
				{Name: byKey, Keys: func(g *Grant, emit func(string)) { emit(string(g.KeyID[:]) + "\x00" + g.ID) }},
				{Name: byGrantee, Keys: func(g *Grant, emit func(string)) {
					emit(granteeKey(g.KeyID, g.Grantee) + g.ID)
				}},
				{Name: byRetiring, Keys: func(g *Grant, emit func(string)) {
					if g.Retiring != "" {
						emit(retiringKey(g.Region, g.Retiring) + string(g.KeyID[:]) + g.ID)
					}
				}},
			},
		}),
	}
}

// granteeKey begins the index keys of the grants on a key to one principal.
func granteeKey(id envelope.KeyID, grantee string) string {
	return string(id[:]) + "\x00" + grantee + "\x00"
}

// retiringKey begins the index keys of the grants in a region that one principal may
// retire, whosever keys they are on.
func retiringKey(region, retiring string) string { return region + "\x00" + retiring + "\x00" }

// due is when something is to be done with the key by itself; 0 for never.
func (k *Key) due() Millis {
	switch k.State {
	case PendingDeletion:
		return k.DeleteAfter
	case Enabled:
		return k.nextRotation()
	}
	return 0
}

// nextRotation is when the key is rotated by itself as long as it is enabled; 0 for
// never. Keys of AWS's kind are rotated every year.
func (k *Key) nextRotation() Millis {
	if k.IsDefault() && len(k.Material) > 0 {
		return k.current().Created + days(defaultRotationDays)
	}
	return k.NextRotation
}

const defaultRotationDays = 365

// days is a number of days in milliseconds.
func days(n int32) Millis { return int64(n) * 24 * 60 * 60 * 1000 }

// orderKey sorts like the moments themselves when compared as a string.
func orderKey(at Millis) string {
	u := uint64(at) ^ 1<<63
	var b [8]byte
	for n := range b {
		b[n] = byte(u >> (56 - 8*n))
	}
	return string(b[:])
}

func scope(account, region string) string { return account + "/" + region }

func (k *Key) scope() string { return scope(k.Account, k.Region) }

func (a *Alias) scope() string { return scope(a.Account, a.Region) }

// keyKey is where the record of a key lives, aliasKey that of an alias, grantKey that of
// a grant.
func keyKey(k *Key) store.Key { return store.Key{Scope: k.scope(), Parent: IDText(k.ID)} }

func aliasKey(scope, name string) store.Key { return store.Key{Scope: scope, Parent: name} }

func grantKey(k *Key, id string) store.Key {
	return store.Key{Scope: k.scope(), Parent: IDText(k.ID), Child: id}
}

// IDText writes a key id as AWS does: a UUID.
func IDText(id envelope.KeyID) string {
	s := idText(id)
	return string(s[:])
}

func idText(id envelope.KeyID) (s [36]byte) {
	hex.Encode(s[:8], id[:4])
	hex.Encode(s[9:13], id[4:6])
	hex.Encode(s[14:18], id[6:8])
	hex.Encode(s[19:23], id[8:10])
	hex.Encode(s[24:], id[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return s
}

// parseID reads a key id as IDText writes it.
func parseID(s string) (id envelope.KeyID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' || strings.ToLower(s) != s {
		return id, false
	}
	raw, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		return id, false
	}
	return envelope.KeyID(raw), true
}

// arnOf is the ARN of a key ("key/…") or alias ("alias/…").
func arnOf(account, region, resource string) string {
	return "arn:" + partitionOf(region) + ":kms:" + region + ":" + account + ":" + resource
}

func partitionOf(region string) string {
	if p, ok := arn.PartitionOf(region); ok {
		return p
	}
	return arn.PartitionAWS
}

// ARN is arn:aws:kms:REGION:ACCOUNT:key/ID. It is on the path of every read of a secret,
// hence one allocation.
func (k *Key) ARN() string {
	var space [128]byte
	return string(k.appendARN(space[:0]))
}

// HasARN reports whether the key has this ARN, and allocates nothing.
func (k *Key) HasARN(arn string) bool {
	var space [128]byte
	return string(k.appendARN(space[:0])) == arn
}

func (k *Key) appendARN(dst []byte) []byte {
	id := idText(k.ID)
	dst = append(dst, "arn:"...)
	dst = append(dst, partitionOf(k.Region)...)
	dst = append(dst, ":kms:"...)
	dst = append(dst, k.Region...)
	dst = append(dst, ':')
	dst = append(dst, k.Account...)
	dst = append(dst, ":key/"...)
	return append(dst, id[:]...)
}

// ARN is arn:aws:kms:REGION:ACCOUNT:alias/NAME.
func (a *Alias) ARN() string { return arnOf(a.Account, a.Region, a.Name) }

// IsDefault reports whether the key is of AWS's kind: an account's own that secrets are
// sealed under when their owner names none.
func (k *Key) IsDefault() bool { return k.Manager == managerAWS }

// current is the material that encrypts.
func (k *Key) current() *Material { return &k.Material[len(k.Material)-1] }

// clone copies what may be changed without changing k. Sealed bytes never are.
func (k *Key) clone() *Key {
	c := *k
	c.Material = slices.Clone(k.Material)
	c.Tags = slices.Clone(k.Tags)
	return &c
}
