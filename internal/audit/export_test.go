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
