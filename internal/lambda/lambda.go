// Package lambda keeps functions for the rotation of secrets and serves the part of
// AWS Lambda's API that people use for them.
//
// Promised: the code that is handed to a runner is the code that was uploaded, whole,
// as its SHA-256 says; a function acts as a role only while that role exists, is the
// very one it was given, and trusts lambda.amazonaws.com; whoever gave it that role was
// allowed to pass it. Who may invoke a function is decided by policies: the caller's and
// the function's own. Functions have no versions but $LATEST.
//
// It trusts the store for its sealing, call for identities and decisions, and iam for
// roles and for who the principals of a policy are. It does not trust code: it never
// looks into an archive further than its directory, and runs nothing. That is for the
// runners, which the server gives it, or not. What a function answers and prints is
// handed to whoever invoked it and written down nowhere.
package lambda

import (
	"log/slog"

	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// Principal is the service that functions act for when they assume their role.
const Principal = "lambda.amazonaws.com"

// Config is what a Service needs.
type Config struct {
	Store *store.Store
	// IAM knows the roles of functions and the principals of their policies.
	IAM    *iam.Service
	Logger *slog.Logger
	// Runner returns what runs functions of a kind. Its error, whose text clients read,
	// says that this server runs none, and how to change that. nil runs none.
	Runner func(k Kind) (Runner, error)
	// BuiltIn reports whether there is a built-in function of that name. nil has none.
	BuiltIn func(name string) bool
}

// Service keeps functions. It is safe for concurrent use.
type Service struct {
	store *store.Store
	iam   *iam.Service
	log   *slog.Logger
	cfg   Config
	tables
	quotas   quotas
	policies policy.Cache
}

// New attaches the tables of package lambda to a store that is not open yet.
func New(cfg Config) *Service {
	return &Service{
		store: cfg.Store, iam: cfg.IAM, log: cfg.Logger, cfg: cfg, tables: newTables(cfg.Store), quotas: newQuotas(),
	}
}

// quotas limit what there may be of an account in a region. Those that count other
// records may be exceeded a little by calls at the same time.
type quotas struct {
	functions int
	codeBytes int64 // of all archives
	tags      int   // of one function
}

// Sizes of one function. Archives are small here: etcd holds them.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const (
	maxZipBytes      = 10 << 20 // AWS: 50 MB
	maxUnzippedBytes = 250 << 20
	maxZipEntries    = 20_000
	maxPolicyBytes   = 20 << 10
	maxEnvBytes      = 4 << 10
	maxNameChars     = 64
	maxTimeout       = 900
	maxMemory        = 10240
	defaultTimeout   = 3
	defaultMemory    = 128
)

func newQuotas() quotas { return quotas{functions: 1000, codeBytes: 512 << 20, tags: 50} }
