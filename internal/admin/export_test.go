package admin

import "time"

// Raise is what a call does after its commit.
func (k *Clock) Raise(to time.Duration) { k.raise(to) }
