package admin

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"arca/internal/api"
	"arca/internal/call"
	"arca/internal/rootkey"
	"arca/internal/store"
)

// Eraser carries an erasure out. Its steps can be done twice, so that two processes
// that run it at once waste work but do no harm: it needs no fence.
type Eraser struct {
	k   *Keys
	d   *call.Dispatcher
	log *slog.Logger

	// retry and pause delay the next attempt after a problem. Step alone uses them.
	retry time.Time
	pause time.Duration
}

// NewEraser makes the engine. The dispatcher records what it does.
func NewEraser(k *Keys, d *call.Dispatcher, log *slog.Logger) *Eraser {
	return &Eraser{k: k, d: d, log: log}
}

const (
	firstRetry = time.Second
	lastRetry  = time.Minute
	// maxProblemBytes bounds what is kept of an error.
	maxProblemBytes = 1000
)

// Step does the next stage of an erasure that is under way, whole, and reports whether
// the one after it can follow at once. It waits neither for records to be sealed anew,
// for which it is called again, nor, after a problem, for the time of the next attempt.
// now is what is recorded; a development clock may have moved it, so attempts are spaced
// by real time.
func (r *Eraser) Step(ctx context.Context, now time.Time) (more bool, err error) {
	e, err := r.k.erasure(ctx)
	if err != nil {
		return false, fmt.Errorf("look for an erasure: %w", err)
	}
	if e == nil || !e.running() || time.Now().Before(r.retry) {
		return false, nil
	}
	if restored, err := r.restored(ctx, now, e); err != nil || restored {
		return false, err
	}
	next, remains, err := r.do(ctx, e)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		r.pause = min(max(2*r.pause, firstRetry), lastRetry)
		r.retry = time.Now().Add(r.pause)
		return false, errors.Join(fmt.Errorf("erasure, %s: %w", e.Stage, err), r.note(ctx, e, err))
	}
	r.pause = 0
	if next == e.Stage {
		return false, nil
	}
	return next != stageDone, r.advance(ctx, now, e, next, remains)
}

// restored reports whether the erasure is of the store that a backup was made of: a
// restored one has storage keys of its own. There is nothing to erase here then, and
// the root key is not to be touched: the backup opens with it. The erasure is given up.
func (r *Eraser) restored(ctx context.Context, now time.Time, e *erasure) (bool, error) {
	ring, err := r.k.store.Keyring(ctx)
	if err != nil {
		return false, fmt.Errorf("read keyring: %w", err)
	}
	i := slices.IndexFunc(ring, activeStorage)
	if i < 0 || slices.ContainsFunc(e.Keys, func(name string) bool {
		id, _, _ := strings.Cut(name, "/") // which a rotation leaves as it is
		return id == ring[i].ID.String()
	}) {
		return false, nil
	}
	r.log.Warn("an erasure was under way when this data was backed up; it is given up, because the data was restored", "erasure", e.ID)
	err = r.d.ServiceUpdate(ctx, now, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
		if current, ok := r.k.erasures.Get(tx.Snap, erasureKey()); !ok || current.ID != e.ID {
			return nil
		}
		r.k.erasures.Delete(tx, erasureKey())
		details := api.AppendJSONString([]byte(`{"eraseId":`), e.ID)
		emit(call.ServiceEvent{Source: eventSource, Name: "AbandonErase", Account: e.Account, Region: e.Region, Details: append(details, '}')})
		return nil
	})
	return err == nil, err
}

// do does a stage and returns the one that follows, or the same one when it has to be
// waited for. remains says what the stage could not reach.
func (r *Eraser) do(ctx context.Context, e *erasure) (next stage, remains string, err error) {
	st := r.k.store
	switch e.Stage {
	case stageStorageKey:
		ring, err := st.Keyring(ctx)
		if err != nil {
			return 0, "", fmt.Errorf("read keyring: %w", err)
		}
		// One that is new already is the work of an attempt that was cut off.
		if i := slices.IndexFunc(ring, activeStorage); i >= 0 && slices.Contains(e.Keys, keyName(&ring[i])) {
			if _, err := st.RotateStorageKey(ctx); err != nil {
				return 0, "", fmt.Errorf("rotate storage key: %w", err)
			}
		}
		return stageReseal, "", nil
	case stageReseal:
		left, err := r.oldKeys(ctx, e)
		if err != nil || len(left) > 0 {
			return stageReseal, "", err
		}
		return stageRootKey, "", nil
	case stageRootKey:
		return stagePurge, "", r.exchangeRoot(ctx, e)
	case stagePurge:
		err := st.Purge(ctx, func(_ string, done, total int64) { r.k.progress.set(stagePurge, done, total) })
		if errors.Is(err, store.ErrLogRemains) {
			return stageVerify, err.Error(), nil
		}
		return stageVerify, "", err
	case stageVerify:
		return stageDone, "", r.verify(ctx, e)
	}
	return 0, "", fmt.Errorf("%s is not known to this version", e.Stage)
}

func activeStorage(k store.KeyState) bool {
	return k.Purpose == purposeStorage && k.Active
}

// oldKeys are those of the storage keys in use at the start that the keyring still has.
func (r *Eraser) oldKeys(ctx context.Context, e *erasure) ([]string, error) {
	ring, err := r.k.store.Keyring(ctx)
	if err != nil {
		return nil, fmt.Errorf("read keyring: %w", err)
	}
	return slices.DeleteFunc(storageKeys(ring), func(name string) bool { return !slices.Contains(e.Keys, name) }), nil
}

// exchangeRoot makes a new root key and destroys all former ones. The new one is in use
// before that, so that whatever is destroyed opens nothing of ours any more.
func (r *Eraser) exchangeRoot(ctx context.Context, e *erasure) error {
	st := r.k.store
	root, err := st.RootKeyState(ctx)
	if err != nil {
		return fmt.Errorf("read root key: %w", err)
	}
	if root.ID.String() == e.RootKey {
		if _, err := st.RotateRootKey(ctx); err != nil {
			return fmt.Errorf("rotate root key: %w", err)
		}
	}
	err = st.DestroyFormerRootKeys(ctx)
	if err != nil && e.Handled {
		left, lerr := st.RootKeyState(ctx)
		if lerr != nil {
			return fmt.Errorf("read root key: %w", lerr)
		}
		// What the server could destroy and did not is not what the operator sees to.
		if !slices.ContainsFunc(left.Former, destroyable) {
			r.log.Info("a former root key is left to the operator", "reason", err.Error())
			err = st.ForgetFormerRootKeys(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("destroy former root keys: %w", err)
	}
	return nil
}

// destroyable reports whether the server itself can destroy a former root key.
func destroyable(f store.FormerRootKey) bool {
	return !f.Elsewhere && rootkey.CannotDestroy(f.Kind) == ""
}

// verify looks for what should be gone: in the keyring, among the root keys and in the
// files.
func (r *Eraser) verify(ctx context.Context, e *erasure) error {
	left, err := r.oldKeys(ctx, e)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("the keyring still has the storage keys %s", strings.Join(left, ", "))
	}
	root, err := r.k.store.RootKeyState(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("read root key: %w", err)
	case root.ID.String() == e.RootKey:
		return errors.New("the root key is still the former one")
	case len(root.Former) > 0:
		return fmt.Errorf("%d former root keys are left", len(root.Former))
	}
	if r.k.cfg.StoreDir == "" {
		return nil
	}
	headers, err := e.headers()
	if err != nil {
		return err
	}
	found, err := search(ctx, r.k.cfg.StoreDir, headers, func(done, total int64) { r.k.progress.set(stageVerify, done, total) })
	if err != nil {
		return fmt.Errorf("search the files: %w", err)
	}
	if len(found) > 0 {
		return &residueError{found}
	}
	return nil
}

// headers are what everything sealed under one of the keys has in the clear: the id of
// the key and its version. A newer key may have the same id.
func (e *erasure) headers() (all [][]byte, err error) {
	for _, name := range append([]string{e.RootKey}, e.Keys...) {
		text, version, _ := strings.Cut(name, "/")
		id, err := hex.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", name, err)
		}
		if version != "" {
			n, err := strconv.ParseUint(version, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("read key %s: %w", name, err)
			}
			id = binary.BigEndian.AppendUint32(id, uint32(n))
		}
		all = append(all, id)
	}
	return all, nil
}

// residueError says that files still hold what is sealed under an old key.
type residueError struct{ files []string }

func (e *residueError) Error() string {
	return fmt.Sprintf("something sealed under a former key is still in %s; the files are rewritten once more", strings.Join(e.files, ", "))
}

// note keeps the problem where DescribeErase finds it. It is no change of anything that
// is recorded.
func (r *Eraser) note(ctx context.Context, e *erasure, problem error) error {
	text := problem.Error()
	if len(text) > maxProblemBytes {
		text = strings.ToValidUTF8(text[:maxProblemBytes], "")
	}
	_, err := r.k.store.Update(ctx, func(tx *store.Tx) error {
		now, ok := r.k.erasures.Get(tx.Snap, erasureKey())
		if !ok || now.ID != e.ID || now.Stage != e.Stage {
			return nil
		}
		changed := *now
		changed.Problem, changed.Attempts = text, now.Attempts+1
		if _, again := errors.AsType[*residueError](problem); again {
			changed.Stage = stagePurge
		}
		r.k.erasures.Put(tx, erasureKey(), &changed)
		return nil
	})
	return err
}

// advance stores that a stage is done.
func (r *Eraser) advance(ctx context.Context, now time.Time, e *erasure, next stage, remains string) error {
	return r.d.ServiceUpdate(ctx, now, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
		current, ok := r.k.erasures.Get(tx.Snap, erasureKey())
		if !ok || current.ID != e.ID || current.Stage != e.Stage {
			return nil // another process was faster
		}
		changed := *current
		changed.Stage, changed.Problem, changed.Attempts = next, "", 0
		if remains != "" {
			changed.Remains = remains
		}
		name := "ContinueErase"
		if next == stageDone {
			name, changed.Finished = "FinishErase", now.UnixMilli()
		}
		r.k.erasures.Put(tx, erasureKey(), &changed)
		details := api.AppendJSONString([]byte(`{"eraseId":`), e.ID)
		details = api.AppendJSONString(append(details, `,"done":`...), e.Stage.String())
		emit(call.ServiceEvent{
			Source: eventSource, Name: name, Account: e.Account, Region: e.Region, Details: append(details, '}'),
		})
		return nil
	})
}
