package store

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

const (
	maxTxnOps       = 128     // etcd's default, so that external clusters work as they come
	maxRequestBytes = 3 << 19 // likewise

	// A snapshot every so many entries keeps the log that a start replays short.
	snapshotEntries = 2000
	// Entries kept in memory for a follower that lags; values may be 64 KiB each.
	catchUpEntries = 500
)

// connect brings up the client, and with it the embedded member if there is one.
// Above the client nothing knows which of the two it is, except by s.embedded.
func (s *Store) connect(ctx context.Context) error {
	if len(s.cfg.Endpoints) > 0 {
		s.joiner.most = maxFlyingOutside
		return s.dial(ctx)
	}
	if err := s.startMember(ctx); err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	s.embedded = true
	s.client = v3client.New(s.etcd.Server)
	list, err := s.client.MemberList(ctx)
	if err != nil {
		return fmt.Errorf("%w: list members: %w", ErrUnavailable, err)
	}
	voters := slices.DeleteFunc(list.Members, func(m *etcdserverpb.Member) bool { return m.IsLearner })
	// Nobody outside this process can reach a member without listeners, so a sole
	// member's store has no other writer.
	s.free.Store(len(voters) == 1)
	return nil
}

func (s *Store) dial(ctx context.Context) error {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            s.cfg.Endpoints,
		TLS:                  s.cfg.TLS,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		Context:              s.life,
		Logger:               newZapLogger(s.log),
	})
	if err != nil {
		return fmt.Errorf("reach etcd: %w", err)
	}
	s.client = client
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := client.Get(ctx, rootKeyKey); err != nil {
		return fmt.Errorf("%w: reach etcd at %v: %w", ErrUnavailable, s.cfg.Endpoints, err)
	}
	return nil
}

// startMember starts a cluster of one, without a port. Its peer address is a
// placeholder that nothing listens on: etcd demands one in the member list.
func (s *Store) startMember(ctx context.Context) error {
	if fips140.Enforced() {
		// It would panic.
		return errors.New("etcd names its members by SHA-1, which GODEBUG=fips140=only forbids: FIPS mode is fips140=on")
	}
	if err := s.clearStillborn(); err != nil {
		return err
	}
	placeholder := url.URL{Scheme: "http", Host: "127.0.0.1:1"}

	c := embed.NewConfig()
	c.Name = s.node.id
	c.Dir = filepath.Join(s.cfg.Dir, etcdDirName)
	c.InitialClusterToken = s.node.token
	c.ListenPeerUrls, c.ListenClientUrls = nil, nil
	c.AdvertisePeerUrls = []url.URL{placeholder}
	c.AdvertiseClientUrls = nil
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.EnableGRPCGateway = false

	// A sole voter elects itself one to five ticks after the start. There is no network
	// to be patient with, and no follower that a heartbeat would wake.
	c.TickMs, c.ElectionMs = 10, 50

	c.QuotaBackendBytes = s.cfg.QuotaBytes
	c.MaxTxnOps = maxTxnOps
	c.MaxRequestBytes = maxRequestBytes
	c.SnapshotCount = snapshotEntries
	c.SnapshotCatchUpEntries = catchUpEntries
	c.MaxSnapFiles = 2
	c.MaxWalFiles = 0             // trimLog removes them
	c.BackendFreelistType = "map" // does not slow down with the number of free pages
	c.AutoCompactionRetention = "0"
	c.CompactionBatchLimit = compactionBatch
	c.CorruptCheckTime, c.DowngradeCheckTime = 0, 0
	c.WarningApplyDuration = time.Second
	c.WarningUnaryRequestDuration = 2 * time.Second
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZapLogger(s.log))

	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	select {
	case <-e.Server.ReadyNotify():
		s.etcd = e
		return nil
	case <-e.Server.StopNotify():
		e.Close()
		return errors.New("member stopped while starting")
	case <-ctx.Done():
		e.Close()
		return ctx.Err()
	}
}

// memberStopped is closed when the embedded member stops by itself, which it does when it
// can no longer write.
func (s *Store) memberStopped() <-chan struct{} {
	if s.etcd == nil {
		return nil
	}
	return s.etcd.Server.StopNotify()
}
