package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
	"sync/atomic"
)

// Everything of ours in etcd lies below root; the number is the format of the key
// layout. The three reserved names are not tables.
const (
	arcaPrefix = "arca/"
	root       = "arca/1/"

	metaPrefix   = root + "meta/"
	effectPrefix = root + "effect/"
	leadPrefix   = root + "lead/"

	rootKeyKey = metaPrefix + "root"
	keyringKey = metaPrefix + "keyring"
	floorKey   = metaPrefix + "floor"
	nodePrefix = metaPrefix + "node/"
	// deletedPrefix and a digit name the keys that every deletion writes; see deletions.
	deletedPrefix = metaPrefix + "deleted/"

	hashBytes = 16
)

// Key addresses a record: a scope (an account, or account/region), then up to two
// further parts. The parts are hashed before they reach etcd; an absent part is the
// empty string, and Child needs Parent.
type Key struct{ Scope, Parent, Child string }

type hashed [hashBytes]byte

// hasher is an HMAC under the index key with memory to work in, so that a lookup
// need not allocate any.
type hasher struct {
	mac hash.Hash
	in  []byte
	sum [sha256.Size]byte
}

// hashPart is the hash of one part of a key. The table, the level and the hash of
// the parts above go in, so that equal parts elsewhere do not look equal to somebody
// who sees the keys. All but the last input have a fixed or announced length, so no
// two different inputs run together.
func (s *Store) hashPart(table string, level byte, above []byte, part string) (out hashed) {
	h := s.hashers.Get().(*hasher)
	h.in = append(h.in[:0], byte(len(table)))
	h.in = append(h.in, table...)
	h.in = append(h.in, level)
	h.in = append(h.in, above...)
	h.in = append(h.in, part...)
	h.mac.Reset()
	h.mac.Write(h.in)
	copy(out[:], h.mac.Sum(h.sum[:0]))
	s.hashers.Put(h)
	return out
}

// Digest is a hash of a text for one use, under the index key: the same as long as the
// deployment lives, backups included, and without that key nobody can find out by trying
// which text it is of. Other uses and the keys of records have other hashes. Use it after
// Open.
func (s *Store) Digest(use, text string) [hashBytes]byte { return s.hashPart(use, 0, nil, text) }

// maxScopes bounds the memory of the scope hashes kept per table.
const maxScopes = 8192

// scopeHashes remembers the hashes of scopes, which are few and part of every key.
type scopeHashes struct {
	m atomic.Pointer[sync.Map] // string to hashed
	n atomic.Int64
}

func (t *table) scopeHash(scope string) hashed {
	m := t.scopes.m.Load()
	if m != nil {
		if h, ok := m.Load(scope); ok {
			return h.(hashed)
		}
	}
	h := t.store.hashPart(t.name, 1, nil, scope)
	if m == nil || t.scopes.n.Add(1) > maxScopes {
		m = new(sync.Map)
		t.scopes.n.Store(1)
		t.scopes.m.Store(m)
	}
	m.Store(strings.Clone(scope), h)
	return h
}

// hashKey returns the etcd key without the table's prefix: one to three hashes.
func (t *table) hashKey(k Key) string {
	scope := t.scopeHash(k.Scope)
	if k.Parent == "" {
		if k.Child != "" {
			panic("store: key of table " + t.name + " has a child but no parent")
		}
		return string(scope[:])
	}
	var b [3 * hashBytes]byte
	copy(b[:], scope[:])
	parent := t.store.hashPart(t.name, 2, scope[:], k.Parent)
	copy(b[hashBytes:], parent[:])
	if k.Child == "" {
		return string(b[:2*hashBytes])
	}
	child := t.store.hashPart(t.name, 3, parent[:], k.Child)
	copy(b[2*hashBytes:], child[:])
	return string(b[:])
}

// splitKey finds the table part and the rest of an etcd key below root.
func splitKey[S string | []byte](key S) (table, rest S, ok bool) {
	if len(key) < len(root) || string(key[:len(root)]) != root {
		return table, rest, false
	}
	below := key[len(root):]
	for i := range len(below) {
		if below[i] == '/' {
			return below[:i], below[i+1:], true
		}
	}
	return below, rest, false
}

func validHashedLen(n int) bool {
	return n == hashBytes || n == 2*hashBytes || n == 3*hashBytes
}

// nextPrefix is the first key after all keys that begin with prefix.
func nextPrefix(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	panic("store: prefix of 0xff bytes only")
}

// childRange is the range of the keys below a two-part key, without that key itself.
func childRange(parentKey string) (from, to string) {
	return parentKey + "\x00", nextPrefix(parentKey)
}

func validTableName(name string) error {
	switch {
	case name == "" || len(name) > 40:
		return errors.New("a table name has 1 to 40 characters")
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fmt.Errorf("table name %q has characters other than a-z, 0-9 and -", name)
	case name == "meta" || name == "effect" || name == "lead":
		return fmt.Errorf("table name %q is reserved", name)
	}
	return nil
}

// effectKey is where the effect with a sequence number of a node lies.
func effectKey(prefix string, seq uint64) string {
	return prefix + string(binary.BigEndian.AppendUint64(nil, seq))
}
