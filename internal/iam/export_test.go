package iam

import "arca/internal/store"

// NewWithKeys also gives the table of access keys, for tests that damage it.
func NewWithKeys(st *store.Store) (*Service, *store.Table[AccessKey]) {
	s := New(st)
	return s, s.keys
}
