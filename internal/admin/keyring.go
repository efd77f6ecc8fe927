package admin

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/rootkey"
	"arca/internal/store"
)

// KeysConfig says where the keys and the data are, for what is told about them.
type KeysConfig struct {
	// StoreDir is the folder of the database of this process, which an erasure searches
	// in the end; "" for a cluster elsewhere.
	StoreDir string
	// RootKeyFile is where the root key or its passphrase lies; "" where that is no file.
	RootKeyFile string
	IAM         *iam.Service
}

// Keys is the orders about the keys of a store and how far they are carried out.
type Keys struct {
	cfg      KeysConfig
	store    *store.Store
	orders   *store.Table[order]
	erasures *store.Table[erasure]
	progress progress
	stuck    atomic.Int64
}

// NewKeys attaches the tables of orders to a store that is not open yet.
func NewKeys(st *store.Store, cfg KeysConfig) *Keys {
	return &Keys{
		cfg: cfg, store: st,
		orders:   store.NewTable(st, store.TableSpec[order]{Name: "key-order", Format: orderFormat}),
		erasures: store.NewTable(st, store.TableSpec[erasure]{Name: "erasure", Format: erasureFormat, Quiet: func(*erasure) bool { return true }}),
	}
}

// NoteStuck keeps how many records do not open, and so keep an old storage key, as the
// last step of store.Reseal has found. It reports whether that is news.
func (k *Keys) NoteStuck(records int64) bool { return k.stuck.Swap(records) != records }

// order is the last order of one kind. It commits before anything is done, together
// with the audit effect of its call: what a crash cuts off was at least ordered by
// somebody, and the record says by whom.
type order struct {
	At        int64  `cbor:"1,keyasint"` // milliseconds since the Unix epoch
	RequestID string `cbor:"2,keyasint"`
}

const orderFormat = 1

// The kinds of order.
const (
	orderRootKey = "root-key"
	orderStorage = "storage-key"
	// OrderMigration is given by the command that moves a stopped server.
	orderMigration = "migration"
)

// keyTimeout bounds what a key provider may take. Past it a rotation goes on or not as
// the commit was sent or not.
const keyTimeout = 25 * time.Second

// order commits an order, unless an erasure is under way, which exchanges the same
// keys in an order of its own.
func (k *Keys) order(ctx context.Context, c *call.Call, what string) error {
	return c.Update(ctx, k.store, func(tx *store.Tx) error {
		if e, ok := k.erasures.Get(tx.Snap, erasureKey()); ok && e.running() {
			return arcaapi.InvalidRequestException.Errorf("An erasure is under way (%s), which exchanges all keys. \"arca erase status\" shows how far it is.", e.Stage)
		}
		k.erasures.Guard(tx, erasureKey())
		k.orders.Put(tx, store.Key{Scope: what}, &order{At: c.Now.UnixMilli(), RequestID: c.RequestID})
		return nil
	})
}

// RecordMigration records that the root key of a stopped server is about to be replaced
// by one of another provider. It fails while an erasure is under way: the erasure would
// not find the root key that it has to get rid of.
func (k *Keys) RecordMigration(ctx context.Context, d *call.Dispatcher, now time.Time, from, to string) error {
	return d.ServiceUpdate(ctx, now, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
		if e, ok := k.erasures.Get(tx.Snap, erasureKey()); ok && e.running() {
			return fmt.Errorf("an erasure is under way (%s): start the server and let it come to its end first", e.Stage)
		}
		k.erasures.Guard(tx, erasureKey())
		k.orders.Put(tx, store.Key{Scope: orderMigration}, &order{At: now.UnixMilli()})
		details := api.AppendJSONString([]byte(`{"from":`), from)
		details = api.AppendJSONString(append(details, `,"to":`...), to)
		emit(call.ServiceEvent{
			Source: eventSource, Name: "MigrateRootKey", Account: k.cfg.IAM.ManagementAccount(tx.Snap), Region: homeRegion,
			Details: append(details, '}'),
		})
		return nil
	})
}

const (
	// eventSource is that of the events nobody called for.
	eventSource = "arca"
	// homeRegion is that of what is done without a request.
	homeRegion = "us-east-1"
)

// RotateRootKey exchanges the root key for a new one of the same kind. Unlike other
// operations it waits for another system, the one that keeps the root key: the caller
// is the operator, who wants to hear what came of it.
func (s *Service) RotateRootKey(ctx context.Context, c *call.Call, _ *arcaapi.RotateRootKeyInput) (*arcaapi.RotateRootKeyOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:RotateRootKey", Resource: "*"}); err != nil {
		return nil, err
	}
	if err := s.keys.order(ctx, c, orderRootKey); err != nil {
		return nil, err
	}
	// A caller that goes away must not leave a new key made and not taken into use.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTimeout)
	defer cancel()
	state, err := s.keys.store.RotateRootKey(ctx)
	if err != nil {
		return nil, arcaapi.RootKeyException.Wrap(err, fmt.Sprintf("The root key was not exchanged, or not to the end: %s.", err))
	}
	return &arcaapi.RotateRootKeyOutput{RootKey: s.keys.shownRootKey(state)}, nil
}

// RotateKeyring makes a new key for records. What is under the old one is sealed anew
// in the background, and then the old key is dropped.
func (s *Service) RotateKeyring(ctx context.Context, c *call.Call, _ *arcaapi.RotateKeyringInput) (*arcaapi.RotateKeyringOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:RotateKeyring", Resource: "*"}); err != nil {
		return nil, err
	}
	if err := s.keys.order(ctx, c, orderStorage); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTimeout)
	defer cancel()
	state, err := s.keys.store.RotateStorageKey(ctx)
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return nil, fmt.Errorf("rotate storage key: %w", err)
	case err != nil:
		return nil, arcaapi.InvalidRequestException.Wrap(err, fmt.Sprintf("The storage key was not exchanged: %s.", err))
	}
	shown := shownKey(&state)
	return &arcaapi.RotateKeyringOutput{Key: &shown}, nil
}

// DescribeKeyring tells which keys there are, and of how many records are still sealed
// under one that another has replaced.
func (s *Service) DescribeKeyring(ctx context.Context, c *call.Call, _ *arcaapi.DescribeKeyringInput) (*arcaapi.DescribeKeyringOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:DescribeKeyring", Resource: "*"}); err != nil {
		return nil, err
	}
	st := s.keys.store
	root, err := st.RootKeyState(ctx)
	if err != nil {
		return nil, fmt.Errorf("read root key: %w", err)
	}
	ring, err := st.Keyring(ctx)
	if err != nil {
		return nil, fmt.Errorf("read keyring: %w", err)
	}
	id := st.DeploymentID()
	out := &arcaapi.DescribeKeyringOutput{DeploymentId: &id, RootKey: s.keys.shownRootKey(root), Keys: []arcaapi.KeyringKey{}}
	for i := range ring {
		out.Keys = append(out.Keys, shownKey(&ring[i]))
	}
	if done, total := resealed(ring); done < total {
		out.Done, out.Total = &done, &total
	}
	return out, nil
}

// resealed counts the records under the storage key that is in use, and all.
func resealed(ring []store.KeyState) (done, total int64) {
	for i := range ring {
		if ring[i].Purpose != purposeStorage || ring[i].Records == nil {
			continue
		}
		total += *ring[i].Records
		if ring[i].Active {
			done += *ring[i].Records
		}
	}
	return done, total
}

// purposeStorage is the purpose of the keys that records are sealed under.
const purposeStorage = "storage"

func shownKey(k *store.KeyState) arcaapi.KeyringKey {
	id, version, state, created := k.ID.String(), int32(k.Version), "retired", k.Created
	if k.Active {
		state = "active"
	}
	return arcaapi.KeyringKey{
		Purpose: &k.Purpose, KeyId: &id, Version: &version, State: &state, CreatedDate: &created, Records: k.Records,
	}
}

func (k *Keys) shownRootKey(r store.RootKeyState) *arcaapi.RootKey {
	id := r.ID.String()
	out := &arcaapi.RootKey{Kind: &r.Kind, KeyId: &id, CreatedDate: &r.Created, Former: []arcaapi.FormerRootKey{}}
	for _, f := range r.Former {
		out.Former = append(out.Former, arcaapi.FormerRootKey{
			Kind: &f.Kind, KeyId: new(f.ID.String()), RetiredDate: &f.SetAside, Place: k.formerPlace(&f),
		})
	}
	return out
}

// formerPlace is where a former root key lies, nil when that is not known here.
func (k *Keys) formerPlace(f *store.FormerRootKey) *string {
	switch {
	case f.Elsewhere:
		return new("where it was before a migration")
	case k.cfg.RootKeyFile != "" && (f.Kind == rootkey.KindFile || f.Kind == rootkey.KindPassphrase):
		return new(rootkey.FormerFile(k.cfg.RootKeyFile, f.ID))
	}
	return nil
}
