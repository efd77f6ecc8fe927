package kms

import "arca/internal/store"

// NewWithTables also gives the tables, for tests that damage them.
func NewWithTables(st *store.Store) (*Service, *store.Table[Key], *store.Table[Alias]) {
	s := New(st)
	return s, s.keys, s.aliases
}
