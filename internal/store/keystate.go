package store

import (
	"time"

	"arca/internal/envelope"
)

// RootKeyState is what the store knows of its root keys.
type RootKeyState struct {
	Kind string
	ID   envelope.KeyID
	// KEK and KEKVersion name the key encryption key that the root key wraps. Its
	// version grows by one with every change of the root key.
	KEK        envelope.KeyID
	KEKVersion uint32
	// Created is since when the root key is the one in use.
	Created time.Time
	// Former are the root keys that were in use before, oldest first, and have not been
	// destroyed or forgotten.
	Former []FormerRootKey
}

// FormerRootKey is a root key that was set aside: backups and copies made while it
// was in use need it.
type FormerRootKey struct {
	Kind     string
	ID       envelope.KeyID
	SetAside time.Time
	// Elsewhere says that it belongs to a provider that was configured before a
	// migration. Arca left it where it was and cannot reach it.
	Elsewhere bool
}

// KeyState is one key of the keyring.
type KeyState struct {
	Purpose string
	ID      envelope.KeyID
	Version uint32
	Created time.Time
	// Active keys seal; the others only open what they sealed.
	Active bool
	// Records is how many records are sealed under it, of those that are held in
	// memory; nil where that is not known, which is for all purposes but storage.
	Records *int64
}

// ResealProgress is how far the work is that follows the rotation of a storage key.
type ResealProgress struct {
	// Total counts the records of the store, Done those that are sealed under the
	// active storage key.
	Done, Total int64
	// Resealed is how many this step sealed anew.
	Resealed int64
	// Stuck counts values that do not open, or are not what is held in memory. Their
	// keys stay until somebody has looked; Check tells which they are.
	Stuck int64
	// Dropped counts the keys that this step took out of the keyring.
	Dropped int
	// More says that there is work left: the next step may follow at once.
	More bool
}
