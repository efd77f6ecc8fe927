package audit

import (
	"time"

	dto "github.com/prometheus/client_model/go"
)

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

// The journal's measures.
const (
	JournalBytes = journalBytes
	JournalHalf  = journalHalf
	BlockBytes   = blockBytes
)

// Journaling reports whether batches are synced in the journal.
func (l *Log) Journaling() bool {
	var m dto.Metric
	return l.metrics.journal.Write(&m) == nil && m.GetGauge().GetValue() == 1
}

// JournalLines returns the lines of each entry that a journal has for the segment that
// begins with line first.
func JournalLines(data []byte, first uint64) (lines []string, err error) {
	c, err := parseJournal(data, first)
	for _, e := range c.entries {
		lines = append(lines, string(e.lines))
	}
	return lines, err
}
