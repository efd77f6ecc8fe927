package iam_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"arca/internal/iam"
	"arca/internal/store"
)

// Whatever is noted, from however many goroutines and for however many keys, what is
// stored is the first use of each quarter of an hour, and memory stays bounded.
func TestManyUses(t *testing.T) {
	h := newHouse(t)
	h.createUser(t, "x")
	key := h.createKey(t, "x").AccessKeyId
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range iam.MaxUses {
				h.svc.NoteUse(fmt.Sprintf("AKIANOBODY%d%d", g, i%(iam.MaxUses/3)), "iam", "us-east-1", start)
				h.svc.NoteUse(key, "iam", "us-east-1", start)
			}
		})
	}
	all.Wait()
	if n := h.svc.Uses(); n > iam.MaxUses {
		t.Errorf("%d uses are remembered, more than %d", n, iam.MaxUses)
	}
	// What exists is not crowded out by what does not: once flushed, the rest makes room.
	h.flush(t)
	h.svc.NoteUse(key, "sts", "us-east-1", start.Add(time.Hour))
	h.flush(t)
	if got := h.lastUsed(t, key).AccessKeyLastUsed.ServiceName; got != "sts" {
		t.Errorf("last used for %s", got)
	}
	if n := h.svc.UnstoredUses(); n != 0 {
		t.Errorf("%d uses are not stored", n)
	}
}

// Two nodes that see the same key used store it once, and a clock that was set back
// does not end the story.
func TestUsesOfTwoNodes(t *testing.T) {
	h := newHouse(t)
	h.svc.NoteUse(keyID, "iam", "us-east-1", start)
	h.flush(t)
	stored := h.usesRevision(t)
	h.svc.ForgetUses() // another node knows nothing of it
	h.svc.NoteUse(keyID, "kms", "us-east-1", start.Add(time.Minute))
	h.flush(t)
	if h.usesRevision(t) != stored {
		t.Error("a use of a minute later was stored as well")
	}
	if got := h.lastUsed(t, keyID).AccessKeyLastUsed.ServiceName; got != "iam" {
		t.Errorf("last used for %s", got)
	}
	h.svc.NoteUse(keyID, "sts", "us-east-1", start.Add(-time.Hour))
	h.flush(t)
	if got := h.lastUsed(t, keyID).AccessKeyLastUsed; got.ServiceName != "sts" || !got.LastUsedDate.Equal(start.Add(-time.Hour)) {
		t.Errorf("last used %+v", got)
	}
}

// usesRevision changes with every change of a last use.
func (h *house) usesRevision(t testing.TB) (n int64) {
	h.view(t, func(v *store.Snap) { n = h.tables.Uses.Revision(v) })
	return n
}
