package audit

import (
	"fmt"
	"slices"

	"arca/internal/merkle"
)

// Checkpoint returns the newest checkpoint, whose Text is the signed note. It is false
// before the first one, and without a Signer.
func (l *Log) Checkpoint() (merkle.Checkpoint, bool) {
	if l.tree == nil {
		return merkle.Checkpoint{}, false
	}
	c := l.tree.published.Load()
	if c == nil {
		return merkle.Checkpoint{}, false
	}
	out := *c
	out.Text = slices.Clone(c.Text)
	return out, true
}

// Origin names the log that the lines belong to: the node and the generation. It is
// empty without a Signer. It does not change while the log is open.
func (l *Log) Origin() string {
	if l.tree == nil {
		return ""
	}
	return l.tree.origin
}

func (l *Log) origin() string { return l.Origin() }

// RootAt is the root that the tree had when the log had size lines, which its newest
// checkpoint must cover.
func (l *Log) RootAt(size uint64) (merkle.Hash, error) {
	c, ok := l.Checkpoint()
	if !ok || size > c.Size {
		return merkle.Hash{}, fmt.Errorf("root at %d: the newest checkpoint covers %d lines", size, c.Size)
	}
	return l.tree.tiles.RootAt(size, c.Size, c.Root)
}

// secureTree makes sure that the tree over the lines below size stays when the lines
// go. An error means that they must not.
func (l *Log) secureTree(size uint64) error {
	if l.tree == nil {
		return nil
	}
	if err := l.tree.broken.Load(); err != nil {
		return fmt.Errorf("the tree over the lines has ended: %w", *err)
	}
	if covered := l.tree.covered(); covered < size {
		return fmt.Errorf("checkpoints cover %d lines only", covered)
	}
	return l.tree.secure(size)
}

// checkTree reports that no checkpoints are signed any more.
func (l *Log) checkTree(report func(problem string)) {
	if l.tree == nil {
		return
	}
	if err := l.tree.broken.Load(); err != nil {
		report("audit log " + l.tree.origin + ": no checkpoints are signed: " + (*err).Error())
	}
}

// AcknowledgeBreaks ends the alarm about former logs, once Register.Acknowledge has
// been committed.
func (l *Log) AcknowledgeBreaks() {
	if l.tree == nil {
		return
	}
	n := int64(0)
	if l.tree.broken.Load() != nil {
		n = 1 // the next start begins a new log; that is still to come
	}
	l.tree.breaks.Store(n)
	l.metrics.breaks.Set(float64(n))
}
