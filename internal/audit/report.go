package audit

import (
	"errors"
	"time"

	"arca/internal/merkle"
)

// VerifyOptions say what to verify and what to trust.
type VerifyOptions struct {
	// Dir is a node's directory, a copy of one, or one that was kept of a lost log. A
	// log may be writing to it.
	Dir string
	// Keys are the verifier keys that are trusted. Without any, the one in the directory
	// is taken, and a warning says so.
	Keys []string
	// Checkpoints are signed checkpoints that were kept elsewhere.
	Checkpoints [][]byte
	// Head is what etcd knows about the node's log; nil when it cannot be asked.
	Head *Head
	// From and To restrict the work to lines From up to but not including To, and to those
	// around them that it takes to compare them with a checkpoint; To 0 means up to the end.
	From, To uint64
	// Progress, if not nil, is told how many bytes of lines are done. It is called from
	// one goroutine.
	Progress func(done, total int64)
}

// Range is lines From up to but not including To.
type Range struct{ From, To uint64 }

// VerifyReport is what came out. What it says about lines holds for what was in the
// files when they were read.
type VerifyReport struct {
	Origin string // of the log in the directory
	Key    string // the verifier key that signed the newest checkpoint
	// Size and Root are those of the newest checkpoint that the lines were found to
	// match; zero when none was.
	Size uint64
	Root merkle.Hash
	Time time.Time // of that checkpoint
	// Lines and Bytes were read and hashed.
	Lines uint64
	Bytes int64
	// Tail is how many lines follow that are newer than every checkpoint: written, but
	// not proven yet.
	Tail uint64
	// Pruned are the lines that retention removed, as its signed notes say.
	Pruned []Range
	// Checked are the checkpoints that the lines were found to match, by size.
	Checked []merkle.Checkpoint
	// Uncompared are the checkpoints of this log that could be compared neither with lines
	// nor with proven hash tiles: nothing is known of whether the log extends them.
	Uncompared []merkle.Checkpoint
	// HeadChecked says that the lines were found to match what VerifyOptions.Head knows of
	// this log.
	HeadChecked bool
	// Verified are the lines, of those asked for, that checkpoints were found to cover. It
	// is empty when there are none, and means nothing when there are Problems.
	Verified Range
	// Problems say what is wrong. None means that nothing was changed, removed, added or
	// reordered in what Checked covers.
	Problems []Problem
	// Warnings say what was not looked at or could not be.
	Warnings []string
}

// ProblemKind tells problems apart.
type ProblemKind string

// The kinds of problems.
const (
	LinesChanged  ProblemKind = "changed"
	LinesMissing  ProblemKind = "missing"
	LinesInserted ProblemKind = "inserted"
	LinesMoved    ProblemKind = "moved"
	// LinesCutOff: the log ends before what a checkpoint covers.
	LinesCutOff ProblemKind = "cut-off"
	// LinesUnexplained: somewhere among the lines is a change that cannot be told apart.
	LinesUnexplained ProblemKind = "unexplained"
	// Rewritten: a signed checkpoint is no earlier state of this log.
	Rewritten ProblemKind = "rewritten"
	// BadCheckpoint: a checkpoint is missing, unreadable or not signed by the key.
	BadCheckpoint ProblemKind = "checkpoint"
	// BadNote: lines are gone and no valid note says that retention removed them.
	BadNote ProblemKind = "note"
	// BadTile: a hash tile is not that of the lines, which are proven to be right.
	BadTile ProblemKind = "tile"
	// BadSegment: a segment does not end with a whole line, or cannot be read.
	BadSegment ProblemKind = "segment"
	// Break: an earlier log of this node ended because its files were not what had been
	// signed.
	Break ProblemKind = "break"
)

// Problem is one finding: what is the matter with lines Line up to and including To.
type Problem struct {
	Kind     ProblemKind
	Line, To uint64
	Text     string
}

// maxProblems bounds a report.
const maxProblems = 1000

// ErrNothingToVerify means that the directory holds no audit log.
var ErrNothingToVerify = errors.New("no audit log here")
