package audit

import "time"

// Timings, for tests that wait for what they bound.
const (
	InspectEvery  = inspectEvery
	RepairEvery   = repairEvery
	MaxBatchBytes = maxBatchBytes
	IDGeneration  = idGeneration
)

// ClockSlack is how much further back than asked Contains looks.
const ClockSlack time.Duration = clockSlack

// Of the tree.
const (
	PublishEvery = publishEvery
	MaxQueued    = maxQueued
)

// AppendString and IsSimple are what fuzz tests hold against the obvious way.
func AppendString(dst []byte, s string) []byte { return appendString(dst, s, maxTextBytes) }
func IsSimple(b []byte) bool                   { return isSimple(b) }

// AppendChecked is what an object goes through that is not simple.
func AppendChecked(dst, b []byte) ([]byte, bool) {
	if !isObject(b) {
		return dst, false
	}
	return appendVisible(dst, b), true
}
