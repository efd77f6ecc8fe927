//go:build race

package policy_test

// With the race detector, pools forget at random what they hold.
const poolsForget = true
