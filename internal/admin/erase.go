package admin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"arca/internal/api/arcaapi"
	"arca/internal/call"
	"arca/internal/rootkey"
	"arca/internal/store"
)

// erasure is what there is to know of the last erasure: what it has to get rid of, and
// how far it is. Each stage is done before the next is stored, and can be done again:
// a crash repeats one stage at most, and no stage takes away what a later one or the
// data needs.
type erasure struct {
	ID       string `cbor:"1,keyasint"` // 32 hexadecimal digits
	Stage    stage  `cbor:"2,keyasint"`
	Started  int64  `cbor:"3,keyasint"`           // milliseconds since the Unix epoch
	Finished int64  `cbor:"4,keyasint,omitempty"` // 0: under way
	// Handled: the operator sees to the former root key where the server cannot.
	Handled bool `cbor:"5,keyasint,omitempty"`
	// RootKey and Keys are the ids of what was in use at the start: the root key, and the
	// storage keys as id/version. Nothing of them is left at the end.
	RootKey string   `cbor:"6,keyasint"`
	Keys    []string `cbor:"7,keyasint"`
	// Problem is why the stage did not get to its end when it was last tried; "" for none.
	Problem  string `cbor:"8,keyasint,omitempty"`
	Attempts int    `cbor:"9,keyasint,omitempty"`
	// Account and Region are those of the call, and of the events.
	Account string `cbor:"10,keyasint"`
	Region  string `cbor:"11,keyasint"`
	// Remains says what is left although every stage is done; "" for nothing.
	Remains string `cbor:"12,keyasint,omitempty"`
}

const erasureFormat = 1

func erasureKey() store.Key { return store.Key{Scope: "erasure"} }

func (e *erasure) running() bool { return e.Finished == 0 }

// stage is how far an erasure is. The numbers are stored.
type stage uint8

const (
	stageStorageKey stage = 1 // a new storage key is made
	stageReseal     stage = 2 // records are sealed under it; package store does that
	stageRootKey    stage = 3 // a new root key is made, the former one destroyed
	stagePurge      stage = 4 // the files are rewritten
	stageVerify     stage = 5 // it is looked for what should be gone
	stageDone       stage = 6
)

// String is the stage as it is told and recorded.
func (s stage) String() string {
	switch s {
	case stageStorageKey:
		return "making a new storage key"
	case stageReseal:
		return "sealing records anew"
	case stageRootKey:
		return "exchanging the root key"
	case stagePurge:
		return "rewriting the files"
	case stageVerify:
		return "searching the files"
	case stageDone:
		return "done"
	}
	return fmt.Sprintf("stage %d", uint8(s))
}

// leftToOperator says what the operator has to see to because the server cannot destroy
// the root key in use, or one that was set aside; "" for nothing.
func leftToOperator(root *store.RootKeyState) string {
	var why []string
	if text := rootkey.CannotDestroy(root.Kind); text != "" {
		why = append(why, fmt.Sprintf("The root key in use is of kind %q: %s.", root.Kind, text))
	}
	for _, f := range root.Former {
		switch text := rootkey.CannotDestroy(f.Kind); {
		case f.Elsewhere:
			why = append(why, fmt.Sprintf("The former root key %s of kind %q was left in its place by a migration: destroy it there.", f.ID, f.Kind))
		case text != "" && f.Kind != root.Kind:
			why = append(why, fmt.Sprintf("The former root key %s is of kind %q: %s.", f.ID, f.Kind, text))
		}
	}
	return strings.Join(why, " ")
}

// StartErase begins to make what was deleted unrecoverable. The engine Eraser does the
// work; DescribeErase tells how far it is.
func (s *Service) StartErase(ctx context.Context, c *call.Call, in *arcaapi.StartEraseInput) (*arcaapi.StartEraseOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:StartErase", Resource: "*"}); err != nil {
		return nil, err
	}
	k := s.keys
	// Whoever means another server must not erase this one.
	if !strings.HasPrefix(k.store.DeploymentID(), in.DeploymentId) {
		return nil, arcaapi.InvalidParameterException.Errorf("This server's deployment is not %s.", in.DeploymentId)
	}
	root, err := k.store.RootKeyState(ctx)
	if err != nil {
		return nil, fmt.Errorf("read root key: %w", err)
	}
	handled := in.FormerRootKeyHandled != nil && *in.FormerRootKeyHandled
	if text := leftToOperator(&root); text != "" && !handled {
		return nil, arcaapi.InvalidRequestException.Errorf("%s To go on without, set FormerRootKeyHandled (--former-root-key-handled).", text)
	}
	if root.Kind == rootkey.KindPassphrase && k.cfg.RootKeyFile == "" {
		// Once begun it could neither end nor be given up.
		return nil, arcaapi.InvalidRequestException.Errorf("The root key comes from a passphrase of the environment, and this server cannot get a new one. Use root_key.passphrase_file, or move to another root key with \"arca root-key migrate\", and erase then.")
	}
	ring, err := k.store.Keyring(ctx)
	if err != nil {
		return nil, fmt.Errorf("read keyring: %w", err)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails: crypto/rand ends the program instead
	e := &erasure{
		ID: hex.EncodeToString(id), Stage: stageStorageKey, Started: c.Now.UnixMilli(), Handled: handled,
		RootKey: root.ID.String(), Keys: storageKeys(ring), Account: c.Caller.Account, Region: c.Region,
	}
	err = c.Update(ctx, k.store, func(tx *store.Tx) error {
		if old, ok := k.erasures.Get(tx.Snap, erasureKey()); ok && old.running() {
			return arcaapi.InvalidRequestException.Errorf("An erasure is under way (%s) since %s.", old.Stage, shownTime(old.Started).Format(time.RFC3339))
		}
		k.erasures.Put(tx, erasureKey(), e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &arcaapi.StartEraseOutput{Erasure: k.shownErasure(ctx, e)}, nil
}

// storageKeys names the storage keys of a keyring.
func storageKeys(ring []store.KeyState) []string {
	var names []string
	for i := range ring {
		if ring[i].Purpose == purposeStorage {
			names = append(names, keyName(&ring[i]))
		}
	}
	return names
}

func keyName(k *store.KeyState) string { return fmt.Sprintf("%s/%d", k.ID, k.Version) }

func shownTime(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// DescribeErase tells what an erasure would do, and how far the last one is.
func (s *Service) DescribeErase(ctx context.Context, c *call.Call, _ *arcaapi.DescribeEraseInput) (*arcaapi.DescribeEraseOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:DescribeErase", Resource: "*"}); err != nil {
		return nil, err
	}
	root, err := s.keys.store.RootKeyState(ctx)
	if err != nil {
		return nil, fmt.Errorf("read root key: %w", err)
	}
	id := s.keys.store.DeploymentID()
	out := &arcaapi.DescribeEraseOutput{DeploymentId: &id, RootKey: s.keys.shownRootKey(root)}
	if text := leftToOperator(&root); text != "" {
		out.CannotDestroy = &text
	}
	e, err := s.keys.erasure(ctx)
	if err != nil {
		return nil, err
	}
	if e != nil {
		out.Erasure = s.keys.shownErasure(ctx, e)
	}
	return out, nil
}

// erasure is the last one; nil if there was none.
func (k *Keys) erasure(ctx context.Context) (e *erasure, err error) {
	err = k.store.View(ctx, func(v *store.Snap) error {
		e = nil
		if got, ok := k.erasures.Get(v, erasureKey()); ok {
			e = got
		}
		return nil
	})
	return e, err
}

func (k *Keys) shownErasure(ctx context.Context, e *erasure) *arcaapi.Erasure {
	name, started := e.Stage.String(), shownTime(e.Started)
	out := &arcaapi.Erasure{EraseId: &e.ID, Stage: &name, StartedDate: &started}
	if e.Remains != "" {
		out.Remains = &e.Remains
	}
	if e.Finished != 0 {
		out.FinishedDate = new(shownTime(e.Finished))
		return out
	}
	if e.Problem != "" {
		out.Problem, out.Attempts = &e.Problem, new(int32(e.Attempts))
	}
	done, total := k.progress.of(e.Stage)
	if e.Stage == stageReseal {
		if ring, err := k.store.Keyring(ctx); err == nil { // else it is told without numbers
			done, total = resealed(ring)
		}
		if n := k.stuck.Load(); n > 0 {
			out.Problem = new(fmt.Sprintf("%d records do not open, and their key stays until they do: \"arca fsck\" names them", n))
		}
	}
	if total > 0 {
		out.Done, out.Total = &done, &total
	}
	return out
}

// progress is how far the process that does the work is within a stage.
type progress struct {
	mu          sync.Mutex
	stage       stage // guarded by mu
	done, total int64 // guarded by mu
}

func (p *progress) set(s stage, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage, p.done, p.total = s, done, total
}

func (p *progress) of(s stage) (done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stage != s {
		return 0, 0
	}
	return p.done, p.total
}
