package admin

import (
	"context"
	"time"

	"arca/internal/api/arcaapi"
	"arca/internal/audit"
	"arca/internal/call"
	"arca/internal/store"
	"arca/internal/trail"
)

// AuditLog is the log that this node writes, and what is known of it and of others.
type AuditLog struct {
	// Node is this node's name, Dir the directory of its log.
	Node, Dir string
	Log       *audit.Log
	// Register is what is kept of the logs of all nodes outside their files.
	Register *audit.Register
	// Trail searches the logs of all nodes.
	Trail *trail.Trail
}

// DescribeAuditLog tells where this node's log is and what is kept of the logs of all
// nodes outside their files, the newest checkpoints among it.
func (s *Service) DescribeAuditLog(ctx context.Context, c *call.Call, _ *arcaapi.DescribeAuditLogInput) (*arcaapi.DescribeAuditLogOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:DescribeAuditLog", Resource: "*"}); err != nil {
		return nil, err
	}
	var heads []audit.Head
	err := s.store.View(ctx, func(v *store.Snap) error {
		heads = s.audit.Register.Heads(v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &arcaapi.DescribeAuditLogOutput{
		Node: &s.audit.Node, Directory: &s.audit.Dir, Size: new(int64(s.audit.Log.Size())),
		Heads: make([]arcaapi.AuditHead, 0, len(heads)),
	}
	for i := range heads {
		h := &heads[i]
		if h.Node == s.audit.Node {
			// No checkpoint is given away before it is kept here.
			out.Checkpoint, out.VerifierKey = new(string(h.Checkpoint)), &h.Key
		}
		out.Heads = append(out.Heads, shownHead(h))
	}
	return out, nil
}

func shownHead(h *audit.Head) arcaapi.AuditHead {
	out := arcaapi.AuditHead{
		Node: &h.Node, Origin: &h.Origin, VerifierKey: &h.Key, Size: new(int64(h.Size)), RootHash: h.Root[:],
		Checkpoint: new(string(h.Checkpoint)), CheckpointDate: date(h.Time),
		Former: make([]arcaapi.FormerAuditLog, 0, len(h.Former)),
	}
	for i := range h.Former {
		f := &h.Former[i]
		out.Former = append(out.Former, arcaapi.FormerAuditLog{
			Origin: &f.Origin, Size: new(int64(f.Size)), RootHash: f.Root[:], Reason: &f.Why, EndedDate: date(f.When),
			Directory: &f.Dir, AcknowledgedDate: date(f.Acknowledged),
		})
	}
	return out
}

// date is a time that may be none.
func date(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// AcknowledgeAuditBreak notes that somebody knows that logs of a node ended before their
// time. What is known of them is kept.
func (s *Service) AcknowledgeAuditBreak(ctx context.Context, c *call.Call, in *arcaapi.AcknowledgeAuditBreakInput) (*arcaapi.AcknowledgeAuditBreakOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:AcknowledgeAuditBreak", Resource: "*"}); err != nil {
		return nil, err
	}
	n := 0
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		var found bool
		if n, found = s.audit.Register.Acknowledge(tx, in.Node, c.Now); !found {
			return arcaapi.NotFoundException.Errorf("There is no node %s.", in.Node)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if in.Node == s.audit.Node {
		s.audit.Log.AcknowledgeBreaks()
	}
	return &arcaapi.AcknowledgeAuditBreakOutput{Acknowledged: new(int32(n))}, nil
}
