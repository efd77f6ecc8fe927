package admin

import (
	"context"
	"time"
)

// Raise is what a call does after its commit.
func (k *Clock) Raise(to time.Duration) { k.raise(to) }

// AtOnce lets the next Step not wait after a problem.
func (r *Eraser) AtOnce() { r.retry = time.Time{} }

// Search is what the last stage of an erasure does with the files.
func Search(ctx context.Context, dir string, what [][]byte) ([]string, error) {
	return search(ctx, dir, what, func(int64, int64) {})
}

// SearchBlock is how much it looks at at once.
const SearchBlock = searchBlock
