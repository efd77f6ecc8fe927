package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"arca/internal/merkle"
)

const (
	prunedDir = "pruned"
	// pruneHeader begins the note. The second line of a checkpoint is a number, that of
	// this note is not, so neither can be taken for the other.
	pruneHeader = "arca audit lines removed v1"
	// maxPruneBytes bounds a note; ours have less than 4 KiB.
	maxPruneBytes = 64 << 10
)

// PruneReason says why retention removed lines.
type PruneReason string

// The reasons.
const (
	PrunedByAge  PruneReason = "age"
	PrunedBySize PruneReason = "size"
)

// PruneNote is the log's signed statement that retention removed lines, with what
// takes their place in the tree: whoever has the note and the lines that follow can
// compute every later root.
type PruneNote struct {
	Origin string
	// From and Next: lines from From up to but not including Next were removed. All
	// lines before From were removed earlier.
	From, Next uint64
	Time       time.Time
	Reason     PruneReason
	// Edge holds the roots of the complete subtrees that the first Next lines are made
	// of, from left to right.
	Edge []merkle.Hash
	Text []byte // the signed note
}

// Sign returns the note with its text.
func (p PruneNote) Sign(signer note.Signer) (PruneNote, error) {
	if _, ok := merkle.Generation(signer.Name(), p.Origin); !ok {
		return p, fmt.Errorf("sign prune note: the key %s is not that of %q", signer.Name(), p.Origin)
	}
	p.Time = p.Time.UTC().Truncate(time.Second)
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%d %d\ntime %s\nreason %s\n", pruneHeader, p.Origin, p.From, p.Next, p.Time.Format(time.RFC3339), p.Reason)
	for _, h := range p.Edge {
		b.WriteString(h.String() + "\n")
	}
	var err error
	if p.Text, err = note.Sign(&note.Note{Text: b.String()}, signer); err != nil {
		return p, fmt.Errorf("sign prune note: %w", err)
	}
	if _, err := parsePruneNote(b.String()); err != nil {
		return p, err
	}
	return p, nil
}

// OpenPruneNote reads a note that one of the keys has signed.
func OpenPruneNote(text []byte, keys ...note.Verifier) (PruneNote, error) {
	if len(text) > maxPruneBytes {
		return PruneNote{}, fmt.Errorf("prune note of %d bytes", len(text))
	}
	n, err := note.Open(text, verifiers(keys))
	if _, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
		return PruneNote{}, errors.New("prune note: not signed by a key that is known")
	} else if err != nil {
		return PruneNote{}, fmt.Errorf("prune note: %w", err)
	}
	p, err := parsePruneNote(n.Text)
	if err != nil {
		return PruneNote{}, err
	}
	for _, sig := range n.Sigs {
		if _, ok := merkle.Generation(sig.Name, p.Origin); ok {
			p.Text = append([]byte(nil), text...)
			return p, nil
		}
	}
	return PruneNote{}, fmt.Errorf("prune note: the key %s is not that of %q", n.Sigs[0].Name, p.Origin)
}

func parsePruneNote(text string) (p PruneNote, err error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 6 || lines[0] != pruneHeader {
		return p, errors.New("not a prune note")
	}
	p.Origin = lines[1]
	from, next, _ := strings.Cut(lines[2], " ")
	if p.From, err = parseLineNumber(from); err == nil {
		p.Next, err = parseLineNumber(next)
	}
	if err != nil || p.From >= p.Next {
		return p, fmt.Errorf("prune note: %q is no range of lines", lines[2])
	}
	at, _ := strings.CutPrefix(lines[3], "time ")
	if p.Time, err = time.Parse(time.RFC3339, at); err != nil {
		return p, errors.New("prune note: no time")
	}
	reason, _ := strings.CutPrefix(lines[4], "reason ")
	if p.Reason = PruneReason(reason); p.Reason != PrunedByAge && p.Reason != PrunedBySize {
		return p, errors.New("prune note: no reason")
	}
	if len(lines)-5 != bits.OnesCount64(p.Next) {
		return p, fmt.Errorf("prune note: %d hashes for %d lines", len(lines)-5, p.Next)
	}
	for _, line := range lines[5:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != merkle.HashSize || base64.StdEncoding.EncodeToString(h) != line {
			return p, errors.New("prune note: not a hash")
		}
		p.Edge = append(p.Edge, merkle.Hash(h))
	}
	return p, nil
}

func parseLineNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > merkle.MaxSize || strconv.FormatUint(n, 10) != text {
		return 0, errors.New("not the number of a line")
	}
	return n, nil
}

func prunePath(dir string, next uint64) string {
	return filepath.Join(dir, prunedDir, fmt.Sprintf("%0*d", segmentDigits, next))
}

// verifiers is the note.Verifiers of a list in which one key may stand twice.
type verifiers []note.Verifier

// Verifier implements note.Verifiers.
func (v verifiers) Verifier(name string, hash uint32) (note.Verifier, error) {
	for _, k := range v {
		if k.Name() == name && k.KeyHash() == hash {
			return k, nil
		}
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}
