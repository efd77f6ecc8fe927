//go:build !race

package policy_test

const poolsForget = false
