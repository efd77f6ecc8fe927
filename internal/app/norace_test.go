//go:build !race

package app_test

// raceEnabled says whether the race detector is on.
const raceEnabled = false
