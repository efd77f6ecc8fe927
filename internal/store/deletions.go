package store

import "iter"

// A transaction that creates a record compares that there is none. That does not
// show whether there was one since its snapshot, made and deleted by others: the new
// record would then get a sequence number below that of the deleted one, and every
// mirror would take it for an old record put back. So each deletion also writes one
// of a few keys, chosen by the record's key, and each creation compares that this one
// has not been written since its snapshot. An unlucky neighbour runs again, no more.
//
// Records below a parent that the transaction writes need it as little as a
// comparison of their own: nobody else deletes them in between.

// deletions is how many such keys there are: few, because each may take a place in a
// transaction.
const deletions = 16

// stripeSet is a set of those keys.
type stripeSet uint16

// add puts in the key for a record of this hashed key, whose bytes are even.
func (s *stripeSet) add(key string) { *s |= 1 << (key[len(key)-1] % deletions) }

// keys yields them as they are called in etcd.
func (s stripeSet) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range deletions {
			if s&(1<<i) != 0 && !yield(deletedPrefix+string("0123456789abcdef"[i])) {
				return
			}
		}
	}
}
