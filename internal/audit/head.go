package audit

import (
	"errors"
	"time"

	"arca/internal/merkle"
)

// ErrLaterHead means that a later state of a log is known than the one that was to be
// kept: another process signs for this node, or the files were put back to an older
// state.
var ErrLaterHead = errors.New("a later state of this audit log is known already")

// Head is what is known of a node's log outside its files. It is kept in etcd, so that
// files which were put back, cut or removed do not pass for the whole log.
type Head struct {
	Node string
	// Key is the verifier key of the node.
	Key string
	// Generation counts the logs of the node from 1. The next one begins when the files
	// have lost what a checkpoint says was in them.
	Generation uint32
	// Origin names the log of this generation.
	Origin string
	// Size, Root, Checkpoint and Time are those of the newest checkpoint. No checkpoint
	// leaves the node before it stands here. All are zero before the first one.
	Size       uint64
	Root       merkle.Hash
	Checkpoint []byte
	Time       time.Time
	// Former are the logs of earlier generations, oldest first.
	Former []FormerLog
}

// FormerLog is a log that ended because its files were no longer what had been signed.
type FormerLog struct {
	Origin string
	// Size and Root are what was known of it last.
	Size uint64
	Root merkle.Hash
	Why  string
	When time.Time
	// Dir is the directory below the node's where what was left of it is.
	Dir string
	// Acknowledged is when somebody said that he knows; zero until then.
	Acknowledged time.Time
}

// maxFormer bounds the former logs that are remembered.
const maxFormer = 200

// follows returns nil if a log that is at h may have been at old before. A log never
// shrinks, and never has two roots at one size.
func (h *Head) follows(old *Head) error {
	switch {
	case h.Generation > old.Generation, h.Generation == old.Generation && h.Size > old.Size:
		return nil
	case h.Generation == old.Generation && h.Size == old.Size && (h.Root == old.Root || old.Checkpoint == nil):
		return nil
	}
	return ErrLaterHead
}

// merge takes over what others have written about former logs: the acknowledgements.
func (h *Head) merge(old []FormerLog) {
	for _, f := range old {
		known := false
		for i := range h.Former {
			if h.Former[i].Origin == f.Origin {
				known = true
				if !f.Acknowledged.IsZero() {
					h.Former[i].Acknowledged = f.Acknowledged
				}
			}
		}
		if !known {
			h.Former = append([]FormerLog{f}, h.Former...)
		}
	}
	if n := len(h.Former); n > maxFormer {
		h.Former = h.Former[n-maxFormer:]
	}
}
