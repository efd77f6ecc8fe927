package admin

import (
	"context"
	"errors"

	"golang.org/x/mod/sumdb/note"

	"arca/internal/api/arcaapi"
	"arca/internal/audit"
	"arca/internal/call"
	"arca/internal/merkle"
	"arca/internal/store"
	"arca/internal/trail"
)

// ProveAuditEvent makes the proof that an event is in the log: for the newest checkpoint,
// or for one that the caller has kept.
func (s *Service) ProveAuditEvent(ctx context.Context, c *call.Call, in *arcaapi.ProveAuditEventInput) (*arcaapi.ProveAuditEventOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:ProveAuditEvent", Resource: "*"}); err != nil {
		return nil, err
	}
	var keys []string
	err := s.store.View(ctx, func(v *store.Snap) error {
		keys = s.audit.Register.VerifierKeys(v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	e, err := s.audit.Trail.Find(ctx, in.EventId)
	if errors.Is(err, trail.ErrNotFound) {
		return nil, arcaapi.NotFoundException.Errorf("There is no event %s in the audit log.", in.EventId)
	}
	if err != nil {
		return nil, err
	}
	cp, err := s.checkpointFor(&e, in.Checkpoint, keys)
	if err != nil {
		return nil, err
	}
	proof, err := s.prover.Prove(ctx, e.Dir, e.Line, cp)
	switch {
	case errors.Is(err, audit.ErrNotCovered) && in.Checkpoint != nil:
		return nil, arcaapi.InvalidParameterException.Errorf("The checkpoint covers the first %d lines, and the event is on line %d.", cp.Size, e.Line)
	case errors.Is(err, audit.ErrNotCovered):
		return nil, errTooNew()
	case errors.Is(err, audit.ErrNoLine):
		return nil, arcaapi.NotFoundException.Wrap(err, "The event is not in the files of the audit log any more.")
	case err != nil && ctx.Err() == nil:
		return nil, arcaapi.InvalidRequestException.Wrap(err, "The event cannot be proven, because the files of the log are not those of the checkpoint. Run arca audit verify.")
	case err != nil:
		return nil, err
	}
	return &arcaapi.ProveAuditEventOutput{
		Node: &e.Node, Line: new(int64(e.Line)), Record: new(string(proof.Extra)), Proof: new(string(proof.Marshal())),
		VerifierKey: keyOf(cp.Text, keys),
	}, nil
}

func errTooNew() error {
	return arcaapi.NotCoveredException.Errorf("The event is newer than the newest checkpoint. Try again in a second.")
}

// checkpointFor is the checkpoint that an event is proven for: the caller's, or the newest
// of its log.
func (s *Service) checkpointFor(e *trail.Event, given *string, keys []string) (merkle.Checkpoint, error) {
	if given != nil {
		cp, err := merkle.OpenCheckpoint([]byte(*given), verifiers(keys)...)
		if err != nil {
			return cp, arcaapi.InvalidParameterException.Errorf("The Checkpoint is not one of this server: %s.", err)
		}
		origin, err := s.originOf(e.Dir, keys)
		if err != nil {
			return cp, err
		}
		if cp.Origin != origin {
			return cp, arcaapi.InvalidParameterException.Errorf("The Checkpoint is of the log %s, and the event is in %s.", cp.Origin, origin)
		}
		return cp, nil
	}
	if e.Dir != s.audit.Dir {
		// A log that nobody writes to any more: its files have its last checkpoint.
		return lastCheckpoint(e.Dir, keys)
	}
	cp, ok := s.audit.Log.Checkpoint()
	if !ok {
		return cp, errTooNew()
	}
	return cp, nil
}

// originOf is the name of the log whose files are in a directory.
func (s *Service) originOf(dir string, keys []string) (string, error) {
	if dir == s.audit.Dir {
		return s.audit.Log.Origin(), nil
	}
	cp, err := lastCheckpoint(dir, keys)
	return cp.Origin, err
}

// lastCheckpoint is the newest one in the files of a log that nobody writes to.
func lastCheckpoint(dir string, keys []string) (merkle.Checkpoint, error) {
	cp, err := audit.ReadCheckpoint(dir, keys...)
	if err != nil {
		return cp, arcaapi.InvalidRequestException.Wrap(err, "The event cannot be proven, because its log has no checkpoint that a node of this server has signed.")
	}
	return cp, nil
}

// verifiers are keys as they are needed to open what they have signed.
func verifiers(keys []string) (known []note.Verifier) {
	for _, key := range keys {
		if v, err := note.NewVerifier(key); err == nil { // Register.Check reports others
			known = append(known, v)
		}
	}
	return known
}

// keyOf is the key that has signed a checkpoint.
func keyOf(text []byte, keys []string) *string {
	for i := range keys {
		if _, err := merkle.OpenCheckpoint(text, verifiers(keys[i:i+1])...); err == nil {
			return &keys[i]
		}
	}
	return nil
}
