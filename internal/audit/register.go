package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"arca/internal/envelope"
	"arca/internal/merkle"
	"arca/internal/store"
)

const (
	registerFormat = 1
	registerScope  = "audit"
	byNode         = "node"
	// sealPurpose is the key of the keyring under which signing keys are sealed.
	sealPurpose = "audit"
)

// Register is what etcd keeps of the logs of all nodes: their signing keys, sealed
// twice, and their heads. Records of nodes that are gone stay: with them their old logs
// can be verified. Its methods may be called concurrently.
type Register struct {
	store *store.Store
	table *store.Table[nodeLog]
}

// nodeLog is the record of one node. The numbers keep their meaning for good.
type nodeLog struct {
	Node string `cbor:"1,keyasint"`
	Key  string `cbor:"2,keyasint"`
	// Seed is the secret of the key, sealed under the keyring.
	Seed       []byte      `cbor:"3,keyasint"`
	Generation uint32      `cbor:"4,keyasint"`
	Size       uint64      `cbor:"5,keyasint,omitempty"`
	Root       []byte      `cbor:"6,keyasint,omitempty"`
	Checkpoint []byte      `cbor:"7,keyasint,omitempty"`
	Time       int64       `cbor:"8,keyasint,omitempty"` // milliseconds since the Unix epoch, as all times here
	Former     []formerLog `cbor:"9,keyasint,omitempty"`
}

type formerLog struct {
	Generation   uint32 `cbor:"1,keyasint"`
	Size         uint64 `cbor:"2,keyasint"`
	Root         []byte `cbor:"3,keyasint"`
	Why          string `cbor:"4,keyasint"`
	When         int64  `cbor:"5,keyasint"`
	Dir          string `cbor:"6,keyasint,omitempty"`
	Acknowledged int64  `cbor:"7,keyasint,omitempty"`
}

// NewRegister attaches the register's table to a store that is not open yet.
func NewRegister(st *store.Store) *Register {
	return &Register{store: st, table: store.NewTable(st, store.TableSpec[nodeLog]{
		Name: "audit-log", Format: registerFormat,
		// Heads are written without a call, and say themselves what they are worth.
		Quiet:   func(*nodeLog) bool { return true },
		Indexes: []store.Index[nodeLog]{{Name: byNode, Keys: func(r *nodeLog, emit func(string)) { emit(r.Node) }}},
	})}
}

func registerKey(node string) store.Key { return store.Key{Scope: registerScope, Parent: node} }

// keyName is the name of a node's key, which the origins of its logs begin with.
func (r *Register) keyName(node string) string {
	return "arca/" + r.store.DeploymentID() + "/" + node
}

// seedAD binds a sealed seed to its node and to the public half.
func (r *Register) seedAD(node, vkey string) []byte {
	return envelope.Context(map[string]string{
		"use": "audit key", "deployment": r.store.DeploymentID(), "node": node, "key": vkey,
	})
}

// Node returns this node's key, which is made when it is first asked for, and what is
// known of its log.
func (r *Register) Node(ctx context.Context) (*NodeKey, *Head, error) {
	node := r.store.NodeID()
	rec, err := r.find(ctx, node)
	if err != nil {
		return nil, nil, err
	}
	if rec == nil {
		if rec, err = r.create(ctx, node); err != nil {
			return nil, nil, err
		}
	}
	seed, err := r.store.Unseal(sealPurpose, rec.Seed, r.seedAD(node, rec.Key))
	if err != nil {
		return nil, nil, fmt.Errorf("open the audit key of node %s: %w", node, err)
	}
	defer seed.Wipe()
	key, err := NewNodeKey(r.keyName(node), seed.Bytes())
	if err != nil {
		return nil, nil, err
	}
	if key.VerifierKey() != rec.Key {
		return nil, nil, fmt.Errorf("the audit key of node %s is not the one of its record", node)
	}
	head := rec.head()
	return key, &head, nil
}

func (r *Register) find(ctx context.Context, node string) (rec *nodeLog, err error) {
	err = r.store.View(ctx, func(v *store.Snap) error {
		rec, _ = r.table.Get(v, registerKey(node))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what is known of the audit log: %w", err)
	}
	return rec, nil
}

// create makes and stores the node's key. Of two that are made at once one is kept.
func (r *Register) create(ctx context.Context, node string) (*nodeLog, error) {
	seed := newSeed()
	defer clear(seed)
	key, err := NewNodeKey(r.keyName(node), seed)
	if err != nil {
		return nil, err
	}
	rec := &nodeLog{Node: node, Key: key.VerifierKey(), Generation: 1}
	if rec.Seed, err = r.store.Seal(sealPurpose, seed, r.seedAD(node, rec.Key)); err != nil {
		return nil, fmt.Errorf("seal the audit key: %w", err)
	}
	stored := rec
	_, err = r.store.Update(ctx, func(tx *store.Tx) error {
		if old, found := r.table.Get(tx.Snap, registerKey(node)); found {
			stored = old
			return nil
		}
		stored = rec
		r.table.Put(tx, registerKey(node), rec)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store the audit key: %w", err)
	}
	return stored, nil
}

// Keep stores a later state of this node's log. The error wraps ErrLaterHead when the
// state is not later than what is stored; nothing that belongs to it may then leave
// this process.
func (r *Register) Keep(ctx context.Context, h Head) error {
	_, err := r.store.Update(ctx, func(tx *store.Tx) error {
		old, found := r.table.Get(tx.Snap, registerKey(h.Node))
		if !found || old.Key != h.Key {
			return fmt.Errorf("no audit key of node %s is stored", h.Node)
		}
		was := old.head()
		if err := h.follows(&was); err != nil {
			return err
		}
		next := h
		next.Former = slices.Clone(h.Former)
		next.merge(was.Former)
		r.table.Put(tx, registerKey(h.Node), newNodeLog(next, old.Seed))
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep the head of the audit log: %w", err)
	}
	return nil
}

// Acknowledge notes that somebody knows of the former logs of a node. It returns how
// many of them nobody had acknowledged, and whether there is such a node.
func (r *Register) Acknowledge(tx *store.Tx, node string, now time.Time) (n int, found bool) {
	old, found := r.table.Get(tx.Snap, registerKey(node))
	if !found {
		return 0, false
	}
	rec := *old
	rec.Former = slices.Clone(old.Former)
	for i := range rec.Former {
		if rec.Former[i].Acknowledged == 0 {
			rec.Former[i].Acknowledged = now.UnixMilli()
			n++
		}
	}
	if n > 0 {
		r.table.Put(tx, registerKey(node), &rec)
	}
	return n, true
}

// Heads are the logs of all nodes that there ever were, by name of the node.
func (r *Register) Heads(v *store.Snap) (heads []Head) {
	r.table.Ascend(v, byNode, "", func(_ string, rec *nodeLog) bool {
		heads = append(heads, rec.head())
		return true
	})
	return heads
}

// VerifierKeys are the keys that verify the logs of all nodes.
func (r *Register) VerifierKeys(v *store.Snap) (keys []string) {
	for _, h := range r.Heads(v) {
		keys = append(keys, h.Key)
	}
	return keys
}

// Check reports logs that broke and that nobody has acknowledged, and records that
// contradict themselves.
func (r *Register) Check(v *store.Snap, report func(problem string)) {
	for _, h := range r.Heads(v) {
		for _, f := range h.Former {
			if f.Acknowledged.IsZero() {
				report(fmt.Sprintf("audit log %s ended on %s with %d lines known: %s", f.Origin, f.When.UTC().Format(time.RFC3339), f.Size, f.Why))
			}
		}
		if h.Checkpoint == nil {
			continue
		}
		key, err := note.NewVerifier(h.Key)
		if err != nil {
			report(fmt.Sprintf("audit log of node %s: its verifier key: %v", h.Node, err))
			continue
		}
		c, err := merkle.OpenCheckpoint(h.Checkpoint, key)
		if err == nil && (c.Origin != h.Origin || c.Size != h.Size || c.Root != h.Root) {
			err = errors.New("it is not the one of the stored size and root")
		}
		if err != nil {
			report(fmt.Sprintf("audit log of node %s: its stored checkpoint: %v", h.Node, err))
		}
	}
}

func (n *nodeLog) head() Head {
	h := Head{
		Node: n.Node, Key: n.Key, Generation: n.Generation, Size: n.Size,
		Checkpoint: slices.Clone(n.Checkpoint), Time: fromMillis(n.Time),
	}
	copy(h.Root[:], n.Root)
	name := keyNameOf(n.Key)
	h.Origin = merkle.Origin(name, n.Generation)
	for _, f := range n.Former {
		former := FormerLog{
			Origin: merkle.Origin(name, f.Generation), Size: f.Size, Why: f.Why, Dir: f.Dir,
			When: fromMillis(f.When), Acknowledged: fromMillis(f.Acknowledged),
		}
		copy(former.Root[:], f.Root)
		h.Former = append(h.Former, former)
	}
	return h
}

func newNodeLog(h Head, seed []byte) *nodeLog {
	n := &nodeLog{
		Node: h.Node, Key: h.Key, Seed: seed, Generation: h.Generation, Size: h.Size,
		Checkpoint: h.Checkpoint, Time: toMillis(h.Time),
	}
	if h.Checkpoint != nil {
		n.Root = h.Root[:]
	}
	name := keyNameOf(h.Key)
	for _, f := range h.Former {
		generation, _ := merkle.Generation(name, f.Origin)
		n.Former = append(n.Former, formerLog{
			Generation: generation, Size: f.Size, Root: f.Root[:], Why: f.Why, Dir: f.Dir,
			When: toMillis(f.When), Acknowledged: toMillis(f.Acknowledged),
		})
	}
	return n
}

// keyNameOf is the name in a verifier key, or "" if it is none.
func keyNameOf(vkey string) string {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return ""
	}
	return v.Name()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
