// Package store keeps every record of Arca: sealed in etcd, decoded in memory.
//
// Promised: a nil error from Update means that all writes of the transaction are
// durable, on a majority where there is one, and that every later View, on any node,
// sees them. An error from Update means that nothing was changed, unless it wraps
// ErrUnknown. A View is one consistent state of everything.
//
// Trusted: the root key, the memory of this process, and etcd to order transactions
// and to keep what it acknowledged. Who controls etcd or the disk cannot read
// anything: keys are hashed, values sealed, and each value is bound to its
// installation, its key and a sequence number. He can delete, and he can put back an
// older state of a record. A running process notices the latter and keeps what it
// had (see Check); one that starts afterwards cannot notice by itself, for which the
// audit log carries key, sequence and hash of every change. docs/design/storage.md
// tells formats, crashes and threats in full.
//
// Not done here: authorisation, audit lines, sealing of secret values under their
// own keys. Nothing else in Arca talks to etcd.
package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"arca/internal/envelope"
)

var (
	// ErrNotFound means that the snapshot holds no such record.
	ErrNotFound = errors.New("record not found")
	// ErrConflict means that others changed the same records during every attempt.
	// Nothing was changed. The caller may try again later.
	ErrConflict = errors.New("transaction conflict")
	// ErrUnavailable means that etcd did not answer in time or refused to. Nothing was
	// changed, unless the error also wraps ErrUnknown. The caller may try again later.
	ErrUnavailable = errors.New("store unavailable")
	// ErrUnknown means that a commit was sent and that nobody could be asked what
	// became of it. It always comes with ErrUnavailable. The caller may repeat the
	// request only if repeating it is harmless, as with a client request token.
	ErrUnknown = errors.New("outcome of the commit is unknown")
	// ErrNotLeader means that the leadership a transaction was fenced with has ended.
	// Nothing was changed. The caller stops acting as leader.
	ErrNotLeader = errors.New("leadership lost")
	// ErrClosed means that the store is not open.
	ErrClosed = errors.New("store is not open")
)

const (
	defaultQuotaBytes = 8 << 30
	defaultCacheBytes = 32 << 20
)

// RootKey wraps and unwraps the key encryption key (KEK) of a store. Its
// implementations are in package rootkey.
type RootKey interface {
	// Kind names the provider, e.g. "file" or "passphrase". It is stored in the clear.
	Kind() string
	// Create makes the root key. It is called only for an empty store, and a second
	// time if the process died before the store was written; it may then return what
	// it made the first time. params is stored in the clear beside the wrapped KEK and
	// given back to Open.
	Create(ctx context.Context) (key *envelope.Key, params []byte, err error)
	// Open returns the existing root key, or an error that says what to do. It also
	// finds one that Renew made and that was not adopted yet.
	Open(ctx context.Context, params []byte) (*envelope.Key, error)
	// Renew makes a new root key beside the one in use, durable before it returns. One
	// that was never used, because the process died, is replaced by the next Renew.
	Renew(ctx context.Context) (key *envelope.Key, params []byte, err error)
	// Adopt says that the store is sealed under the key of params now: it becomes the
	// usual one, and the key of former, if not nil, is set aside, where it stays for
	// older backups. It is idempotent, and called again when the store is opened.
	Adopt(ctx context.Context, params, former []byte) error
	// Destroy makes a root key that is no longer in use unrecoverable, or returns an
	// error that says what the operator has to do instead. It is idempotent.
	Destroy(ctx context.Context, params []byte) error
}

// Config says where the data is and how it is opened.
type Config struct {
	// Dir is the data directory: it holds the embedded member and this node's
	// identity. With Endpoints it holds the identity only and may be empty; the node
	// then gets a new identity with every start.
	Dir string
	// Endpoints are the client URLs of an external etcd cluster that nothing but Arca
	// uses. Empty means an embedded member.
	Endpoints []string
	// TLS is used for endpoints with the scheme https; nil means the system's
	// certificate authorities and no client certificate.
	TLS *tls.Config
	// RootKey opens the keyring. Required.
	RootKey RootKey
	// Logger receives what etcd warns of and what the store finds wrong. nil discards.
	Logger *slog.Logger
	// QuotaBytes is the space quota of the embedded member; 0 means 8 GiB.
	QuotaBytes int64
	// CacheBytes bounds the memory for records that are read on demand (see
	// TableSpec.InlineLimit); 0 means 32 MiB.
	CacheBytes int64
	// Now dates new keys; nil means time.Now.
	Now func() time.Time
	// CommitFault is for tests: it is asked before the n-th commit of this store,
	// counted from 1, what shall go wrong with it. It may be called concurrently.
	CommitFault func(n int) Fault
}

// Store is etcd and its in-memory mirror. All methods may be called concurrently
// once Open has returned.
type Store struct {
	cfg    Config
	log    *slog.Logger
	tables []*table
	byName map[string]*table

	node     node
	etcd     *embed.Etcd // nil with Endpoints
	client   *clientv3.Client
	embedded bool

	codec        codec
	ring         *keyring
	hashers      sync.Pool // of *hasher
	floor        uint64    // added to snapshot revisions in record sequences
	deployment   []byte
	deploymentID string

	mirror  *mirror
	cache   *cache
	reads   readIndex
	joiner  joiner
	effects effects
	space   space
	// resealing is the work that follows a rotation of the storage key.
	resealing resealer
	session   leaseSession
	turns     [stripes]chan struct{} // of one each: who may retry a conflicting Update
	seed      maphash.Seed           // which record waits in which queue

	// free says that no process but this one can have committed anything, so that the
	// mirror needs no confirmation before a read.
	free    atomic.Bool
	commits atomic.Int64
	metrics *Metrics

	// transmit sends a prepared transaction; tests hold one up on its way.
	transmit func(ctx context.Context, p *prepared) (*clientv3.TxnResponse, error)

	// life ends with Close. Commits run under it and not under the caller's context: a
	// caller that goes away must not leave a commit whose outcome nobody asks for.
	life   context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	opened bool // guarded by mu
	closed bool // guarded by mu
}

// New makes a store that is not open yet. Tables are attached with NewTable before
// Open.
func New(cfg Config) *Store {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.QuotaBytes == 0 {
		cfg.QuotaBytes = defaultQuotaBytes
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = defaultCacheBytes
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{cfg: cfg, log: cfg.Logger, codec: newCodec(), seed: maphash.MakeSeed(), byName: make(map[string]*table)}
	for i := range s.turns {
		s.turns[i] = make(chan struct{}, 1)
	}
	s.transmit = s.transmitTxn
	s.metrics = newMetrics(s)
	s.life, s.cancel = context.WithCancel(context.Background())
	return s
}

// Open starts or reaches etcd, creates or opens the keyring and loads the mirror.
// Afterwards View and Update work; Run must be started soon for everything that
// other nodes write and for housekeeping. An error leaves nothing running.
func (s *Store) Open(ctx context.Context) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened || s.closed {
		return errors.New("open store: it was opened before")
	}
	if s.cfg.RootKey == nil {
		return errors.New("open store: no root key configured")
	}
	if s.cfg.Dir == "" && len(s.cfg.Endpoints) == 0 {
		return errors.New("open store: neither a data directory nor etcd endpoints configured")
	}
	s.opened = true
	defer func() {
		if err != nil {
			err = errors.Join(err, s.releaseLocked())
		}
	}()

	if err := s.node.open(s.cfg.Dir); err != nil {
		return err
	}
	m := newMirror(s.tables, s.log)
	var filling sync.WaitGroup // while etcd starts
	defer filling.Wait()
	if f := s.readMemberFile(ctx); f != nil {
		filling.Go(func() { f.fill(s, m) })
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	if err := s.openKeyring(ctx); err != nil {
		return err
	}
	if err := s.node.settle(s.deploymentID); err != nil {
		return err
	}
	if err := s.node.noteKeys(s.keysInUse()); err != nil {
		return err
	}
	filling.Wait()
	s.mirror = m
	s.cache = newCache(s.cfg.CacheBytes)
	if err := s.startLife(ctx); err != nil {
		return err
	}
	if err := s.catchUp(ctx); err != nil {
		return fmt.Errorf("load records: %w", err)
	}
	return nil
}

// Close ends everything that Open started. It is idempotent. Run should have
// returned before; commits under way end with an error that wraps ErrUnknown.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.releaseLocked()
}

func (s *Store) releaseLocked() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.session.close(s.log)
	s.cancel()
	var errs []error
	if s.client != nil {
		if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("close etcd client: %w", err))
		}
	}
	if s.etcd != nil {
		s.etcd.Close()
	}
	if s.ring != nil {
		// Whoever changes the keyring, or learns of a change, uses the KEK; without etcd it
		// comes to its end.
		s.ring.change.Lock()
		s.ring.wipe()
		s.ring.change.Unlock()
	}
	if err := s.node.close(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// NodeID is this member's random name. It is the same after a restart.
func (s *Store) NodeID() string { return s.node.id }

// DeploymentID identifies the data: all nodes of an installation share it, and no
// record of one installation opens in another.
func (s *Store) DeploymentID() string { return s.deploymentID }

// Seal seals under the current key of a purpose: "kms", "iam", "session-token",
// "page-token" or "audit". ad binds the ciphertext to its place.
func (s *Store) Seal(purpose string, plaintext, ad []byte) ([]byte, error) {
	ring, err := s.ring.of(purpose)
	if err != nil {
		return nil, err
	}
	return ring.Seal(purpose, plaintext, ad)
}

// Unseal opens what Seal made for the same purpose and ad.
func (s *Store) Unseal(purpose string, sealed, ad []byte) (envelope.Plaintext, error) {
	ring, err := s.ring.of(purpose)
	if err != nil {
		return envelope.Plaintext{}, err
	}
	return ring.Open(purpose, sealed, ad)
}

var _ io.Closer = (*Store)(nil)
