//go:build race

package access_test

// raceDetector: with it, pools forget at random what they hold.
const raceDetector = true
