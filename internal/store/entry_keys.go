package store

import (
	"encoding/binary"
	"iter"
	"slices"
)

// The index keys of an entry stand in its text one after the other, each behind the number
// of its index and its own length. The trees of the indexes have the place where a key
// stands in place of the key.
const indexKeyHead = 1 + 4

// appendIndexKeys appends what the indexes of the table list a record under.
func (t *table) appendIndexKeys(b []byte, rec any) []byte {
	if len(t.indexes) == 0 {
		return b
	}
	keys := make([]string, 0, 4)
	emit := func(key string) { keys = append(keys, key) }
	for i := range t.indexes {
		keys = keys[:0]
		t.indexes[i].keys(rec, emit)
		keys = distinct(keys)
		for _, key := range keys {
			b = append(b, byte(i))
			b = binary.LittleEndian.AppendUint32(b, uint32(len(key)))
			b = append(b, key...)
		}
	}
	return b
}

// distinct leaves out, in place, what came before.
func distinct(keys []string) []string {
	const few = 32 // for which a map is not worth it
	if len(keys) <= few {
		left := keys[:0]
		for _, key := range keys {
			if !slices.Contains(left, key) {
				left = append(left, key)
			}
		}
		return left
	}
	seen := make(map[string]bool, len(keys))
	return slices.DeleteFunc(keys, func(key string) bool {
		had := seen[key]
		seen[key] = true
		return had
	})
}

// indexKey is one key of an entry.
type indexKey struct {
	at    uint32 // where in the text it stands
	index int    // of table.indexes
	key   string
}

// indexKeyAt reads the key at a place and says where the next one is.
func (e *entry) indexKeyAt(at uint32) (k indexKey, next uint32) {
	head := e.text[at : at+indexKeyHead]
	from := at + indexKeyHead
	next = from + (uint32(head[1]) | uint32(head[2])<<8 | uint32(head[3])<<16 | uint32(head[4])<<24)
	return indexKey{at, int(head[0]), e.text[from:next]}, next
}

// indexKeys are all of them, by index.
func (e *entry) indexKeys() iter.Seq[indexKey] {
	return func(yield func(indexKey) bool) {
		for at := e.keysAt(); at < e.bodyAt; {
			k, next := e.indexKeyAt(at)
			if !yield(k) {
				return
			}
			at = next
		}
	}
}

// indexKeysBut are those that another entry does not have in the same place.
func (e *entry) indexKeysBut(o *entry) iter.Seq[indexKey] {
	return func(yield func(indexKey) bool) {
		theirs := o.keysAt()
		for k := range e.indexKeys() {
			for theirs < k.at && theirs < o.bodyAt {
				_, theirs = o.indexKeyAt(theirs)
			}
			if theirs == k.at && theirs < o.bodyAt {
				if their, _ := o.indexKeyAt(theirs); their == k {
					continue
				}
			}
			if !yield(k) {
				return
			}
		}
	}
}
