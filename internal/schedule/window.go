package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"time"
)

// Window is the time in which one scheduled rotation may begin: from Start, and before
// End. Both are whole hours UTC.
type Window struct {
	Start, End time.Time
}

// Contains says whether t lies in the window.
func (w Window) Contains(t time.Time) bool {
	return !t.Before(w.Start) && t.Before(w.End)
}

// Base returns the moment from which the schedule goes on when the secret was rotated
// at the given one. A rotation within w counts as if it had begun when w opened: else a
// schedule in hours with a long window would come later each time. One outside of w, by
// hand or late, counts from when it was.
func (w Window) Base(rotated time.Time) time.Time {
	if w.Contains(rotated) {
		return w.Start
	}
	return rotated
}

// Date returns the last second of the window, which is what NextRotationDate shows:
// the date on or before which the secret is rotated.
func (w Window) Date() time.Time { return w.End.Add(-time.Second) }

// StartAt returns the moment within the window at which the rotation begins. Secrets
// fall due together, thousands at midnight, and are spread over the window by a digest
// of their seeds, which should identify them. The moment is the same whoever asks, and
// the same in each window of a length: moving it would make the gaps between rotations
// uneven, and the shortest of them next to nothing.
//
// The last quarter of the window is left free, for the rotation itself and its retries.
func (w Window) StartAt(seed []byte) time.Time {
	free := max(0, w.End.Sub(w.Start)) / 4 * 3
	digest := sha256.Sum256(seed)
	offset, _ := bits.Mul64(binary.BigEndian.Uint64(digest[:]), uint64(free/time.Second))
	return w.Start.Add(time.Duration(offset) * time.Second)
}
