// Package kms keeps KMS keys, encrypts under them and serves the operations of KMS on
// them.
//
// Promised: what was encrypted under a key opens with that key and the same encryption
// context alone, after any number of rotations, until the key is deleted; then it never
// opens again. What a ciphertext or a wrapped data key is, is told by its label: the one
// is never taken for the other.
//
// It trusts the store for its sealing, call for identities and decisions, and iam for
// who the principals of a policy are. Key material is sealed once more, under the
// keyring's "kms" key, and opened when it is first used. Somebody who controls the
// store's data can delete keys, and with them what they encrypted, and nothing more.
//
// Other services use keys through Use, which decides as KMS does for a call that it gets
// from another service on behalf of a caller, and then through methods that do not
// decide. One rule these hold to by themselves: an account's own key of AWS's kind
// serves callers of that account only.
package kms

import (
	"errors"
	"log/slog"

	"arca/internal/iam"
	"arca/internal/store"
)

// ErrKey says that the key a ciphertext names does not exist or does not open it.
var ErrKey = errors.New("key does not open this ciphertext")

// ErrForeign says that the caller is of another account than the default key, whose
// policy lets its own account in and nobody else (kms:CallerAccount).
var ErrForeign = errors.New("the default key serves callers of its own account only")

// SecretsManagerAlias is the alias of the key that secrets are sealed under when
// their owner names none. AWS makes it on first use, and so do we.
const SecretsManagerAlias = "alias/aws/secretsmanager"

// Config is what a Service needs.
type Config struct {
	Store *store.Store
	// IAM knows the principals that key policies and grants name.
	IAM    *iam.Service
	Logger *slog.Logger
}

// Service keeps keys. It is safe for concurrent use.
type Service struct {
	store *store.Store
	iam   *iam.Service
	log   *slog.Logger
	tables
	quotas   quotas
	opened   opened
	defaults defaultPolicies
}

// New attaches the tables of package kms to a store that is not open yet.
func New(cfg Config) *Service {
	return &Service{
		store: cfg.Store, iam: cfg.IAM, log: cfg.Logger, tables: newTables(cfg.Store), quotas: newQuotas(),
	}
}

// quotas limit what there may be: keys of an account in a region, all else of one key.
// Those that count other records may be exceeded a little by calls at the same time.
type quotas struct {
	keys, aliases, grants, tags, onDemandRotations, policyBytes int
}

// newQuotas are AWS's published quotas.
// https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html
func newQuotas() quotas {
	return quotas{
		keys: 100_000, aliases: 50, grants: 50_000, tags: 50, onDemandRotations: 25, policyBytes: 32 << 10,
	}
}
