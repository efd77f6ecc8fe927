package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// transactions issues, per call, one transaction of the shape that PutSecretValue has in
// internal/store: the secret's record written anew, the value that is no longer the one
// before, from the second version on, the audit effect; compared are the record's revision and that the effect is a new one. Effects are
// removed and revisions compacted later, in the batches of the store. Nothing is
// sealed, decoded or held in memory.
type transactions struct {
	etcd   *embed.Etcd
	client *clientv3.Client

	records []atomic.Int64 // their revisions
	values  atomic.Int64

	mu      sync.Mutex
	next    uint64          // guarded by mu; number of the next effect
	settled map[uint64]bool // guarded by mu
	low     uint64          // guarded by mu; every effect below is settled
	removed uint64          // of the loop: every effect below is removed
}

// Sizes of keys and values as the store's database has them after PutSecretValue for a
// secret of the benchmark that has a few versions, and the store's figures for what
// follows a commit. The effect is what the call's audit lines are.
const (
	recordKeyBytes, recordBytes = 46, 1240
	valueKeyBytes, valueBytes   = 68, 309
	effectKeyBytes, effectBytes = 38, 2640

	removePause      = 100 * time.Millisecond
	compactEvery     = time.Second
	compactRevisions = 10_000
	compactTail      = 1000
	snapshotEntries  = 2000
	catchUpEntries   = 500
)

func etcdTransactions(ctx context.Context, dir string) (before func(context.Context) error, done func(), err error) {
	t := &transactions{records: make([]atomic.Int64, writeSecrets), settled: make(map[uint64]bool)}
	if err := t.start(filepath.Join(dir, "etcd")); err != nil {
		return nil, nil, fmt.Errorf("start etcd: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context) error{t.remove, t.compact} {
		loops.Go(func() {
			if err := loop(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "bench: etcd:", err)
			}
		})
	}
	return t.commit, func() {
		cancel()
		loops.Wait()
		_ = t.client.Close()
		t.etcd.Close()
	}, nil
}

// start starts a member with the settings of the store's.
func (t *transactions) start(dir string) (err error) {
	c := embed.NewConfig()
	c.Dir = dir
	placeholder := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	c.ListenPeerUrls, c.ListenClientUrls = nil, nil
	c.AdvertisePeerUrls, c.AdvertiseClientUrls = []url.URL{placeholder}, nil
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.LogLevel, c.LogOutputs = "error", []string{os.DevNull}
	c.TickMs, c.ElectionMs = 10, 50
	c.QuotaBackendBytes = 8 << 30
	c.SnapshotCount, c.SnapshotCatchUpEntries = snapshotEntries, catchUpEntries
	c.MaxSnapFiles, c.MaxWalFiles = 2, 2
	c.BackendFreelistType = "map"
	c.AutoCompactionRetention = "0"
	if t.etcd, err = embed.StartEtcd(c); err != nil {
		return err
	}
	<-t.etcd.Server.ReadyNotify()
	t.client = v3client.New(t.etcd.Server)
	return nil
}

// padded is a key of that length that begins as it is told.
func padded(prefix string, n uint64, length int) string {
	key := binary.BigEndian.AppendUint64([]byte(prefix), n)
	return string(key) + strings.Repeat("k", length-len(key))
}

func effectKey(n uint64) string { return padded("arca/1/effect/", n, effectKeyBytes) }

func (t *transactions) commit(ctx context.Context) error {
	t.mu.Lock()
	effect := t.next
	t.next++
	t.mu.Unlock()
	defer t.settle(effect)
	i := t.values.Add(1)
	at := &t.records[i%int64(len(t.records))]
	record := padded("arca/1/secret/", uint64(i%int64(len(t.records))), recordKeyBytes)
	writes := []clientv3.Op{
		clientv3.OpPut(record, string(make([]byte, recordBytes))),
		clientv3.OpPut(effectKey(effect), string(make([]byte, effectBytes))),
	}
	if at.Load() != 0 {
		writes = append(writes, clientv3.OpPut(padded("arca/1/value/", uint64(i), valueKeyBytes), string(make([]byte, valueBytes))))
	}
	resp, err := t.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(effectKey(effect)), "=", 0), clientv3.Compare(clientv3.ModRevision(record), "=", at.Load())).
		Then(writes...).Commit()
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return errors.New("conflict over record " + strconv.FormatInt(i, 10))
	}
	at.Store(resp.Header.Revision)
	return nil
}

func (t *transactions) settle(n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settled[n] = true
	for t.settled[t.low] {
		delete(t.settled, t.low)
		t.low++
	}
}

// remove removes settled effects in one range every time.
func (t *transactions) remove(ctx context.Context) error {
	for {
		select {
		case <-time.After(removePause):
		case <-ctx.Done():
			return nil
		}
		t.mu.Lock()
		to := t.low
		t.mu.Unlock()
		if to == t.removed {
			continue
		}
		if _, err := t.client.Txn(ctx).Then(clientv3.OpDelete(effectKey(t.removed), clientv3.WithRange(effectKey(to)))).Commit(); err != nil {
			return fmt.Errorf("remove effects: %w", err)
		}
		t.removed = to
	}
}

func (t *transactions) compact(ctx context.Context) error {
	last := int64(0)
	for {
		select {
		case <-time.After(compactEvery):
		case <-ctx.Done():
			return nil
		}
		got, err := t.client.Get(ctx, "arca/1/none")
		if err != nil {
			return fmt.Errorf("read the revision: %w", err)
		}
		rev := got.Header.Revision
		if rev-last < compactRevisions {
			continue
		}
		if _, err := t.client.Compact(ctx, rev-compactTail); err != nil {
			return fmt.Errorf("compact: %w", err)
		}
		last = rev
	}
}
