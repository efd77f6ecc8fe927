package merkle

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	proofHeader = "c2sp.org/tlog-proof@v1"
	extraLine   = "extra "
	indexLine   = "index "
	oldLine     = "old "

	// maxProofBytes bounds the text of a proof, which may carry a line of a megabyte.
	maxProofBytes = 4 << 20
	// maxHashes is more than a tree of MaxSize needs for any proof.
	maxHashes = 100
)

// Proof says that a line is in a log: it leads from the line's hash to the root in a
// signed checkpoint. Its text is C2SP's tlog-proof.
type Proof struct {
	// Index is the number of the line, from 0.
	Index uint64
	// Hashes are the siblings on the way up, from the leaf's on.
	Hashes []Hash
	// Checkpoint is the signed checkpoint.
	Checkpoint []byte
	// Extra is carried along and proves nothing. Here it is the line itself, or nothing.
	Extra []byte
}

// Prove makes the proof that the log of a checkpoint holds its line of a number. The
// error wraps ErrTiles when tiles that it needs are missing or damaged.
func (t *Tiles) Prove(c Checkpoint, index uint64) (*Proof, error) {
	if index >= c.Size || c.Size > MaxSize {
		return nil, fmt.Errorf("prove line %d: the checkpoint covers lines below %d", index, c.Size)
	}
	hashes, err := tlog.ProveRecord(int64(c.Size), int64(index), t.Reader(c.Size, c.Root))
	if err != nil {
		return nil, fmt.Errorf("prove line %d: %w", index, err)
	}
	return &Proof{Index: index, Hashes: hashes, Checkpoint: c.Text}, nil
}

// Check reports whether the proof, and the signature of one of the keys, show that line
// is in the log, and returns the checkpoint they show it for. line is given without its
// newline.
func (p *Proof) Check(line []byte, keys ...note.Verifier) (Checkpoint, error) {
	c, err := OpenCheckpoint(p.Checkpoint, keys...)
	if err != nil {
		return Checkpoint{}, err
	}
	if p.Index >= c.Size {
		return Checkpoint{}, fmt.Errorf("proof of line %d: the checkpoint covers lines below %d", p.Index, c.Size)
	}
	if err := tlog.CheckRecord(p.Hashes, int64(c.Size), c.Root, int64(p.Index), LeafHash(line)); err != nil {
		return Checkpoint{}, fmt.Errorf("proof of line %d: the line is not the one in the log", p.Index)
	}
	return c, nil
}

// CheckProof reads the text of a proof and checks it for a line and a verifier key. A
// nil line means the one that the proof carries.
func CheckProof(proof, line []byte, vkey string) (*Proof, Checkpoint, error) {
	key, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, Checkpoint{}, fmt.Errorf("verifier key: %w", err)
	}
	p, err := ParseProof(proof)
	if err != nil {
		return nil, Checkpoint{}, err
	}
	if line == nil {
		if line = p.Extra; line == nil {
			return nil, Checkpoint{}, errors.New("the proof carries no line")
		}
	}
	c, err := p.Check(line, key)
	return p, c, err
}

// Marshal is the text of the proof.
func (p *Proof) Marshal() []byte {
	var b bytes.Buffer
	b.WriteString(proofHeader + "\n")
	if len(p.Extra) > 0 {
		b.WriteString(extraLine + base64.StdEncoding.EncodeToString(p.Extra) + "\n")
	}
	fmt.Fprintf(&b, "%s%d\n", indexLine, p.Index)
	writeHashes(&b, p.Hashes, p.Checkpoint)
	return b.Bytes()
}

// ParseProof reads the text of a proof. It checks nothing.
func ParseProof(text []byte) (*Proof, error) {
	header, rest, _ := cutLine(text)
	if len(text) > maxProofBytes || header != proofHeader {
		return nil, errors.New("not a proof of a line: it does not begin with " + proofHeader)
	}
	p := new(Proof)
	line, after, _ := cutLine(rest)
	if extra, ok := strings.CutPrefix(line, extraLine); ok {
		var err error
		p.Extra, err = base64.StdEncoding.Strict().DecodeString(extra)
		if err != nil || len(p.Extra) == 0 {
			return nil, errors.New("proof: the extra data is not base64")
		}
		line, after, _ = cutLine(after)
	}
	index, ok := strings.CutPrefix(line, indexLine)
	var err error
	if p.Index, err = parseSize(index); !ok || err != nil {
		return nil, errors.New("proof: no index")
	}
	if p.Hashes, p.Checkpoint, err = readHashes(after); err != nil {
		return nil, err
	}
	return p, nil
}

// Consistency says that a log has only grown since an earlier checkpoint: it leads from
// the root of then to the one in a later checkpoint. Its text is what C2SP's
// tlog-witness has logs send.
type Consistency struct {
	// OldSize is the size in the earlier checkpoint.
	OldSize    uint64
	Hashes     []Hash
	Checkpoint []byte // the later one
}

// Extends makes the proof that the log of the later checkpoint begins with that of the
// earlier one. The error wraps ErrTiles when tiles that it needs are missing or
// damaged.
func (t *Tiles) Extends(later, earlier Checkpoint) (*Consistency, error) {
	if earlier.Size > later.Size || later.Size > MaxSize {
		return nil, fmt.Errorf("prove growth: from %d lines to %d", earlier.Size, later.Size)
	}
	c := &Consistency{OldSize: earlier.Size, Checkpoint: later.Text}
	if earlier.Size == 0 || earlier.Size == later.Size {
		return c, nil
	}
	var err error
	c.Hashes, err = tlog.ProveTree(int64(later.Size), int64(earlier.Size), t.Reader(later.Size, later.Root))
	if err != nil {
		return nil, fmt.Errorf("prove growth from %d lines to %d: %w", earlier.Size, later.Size, err)
	}
	return c, nil
}

// Check reports whether the proof shows that the log of its checkpoint, which one of
// the keys must have signed, begins with that of the earlier one, and returns the later
// checkpoint. The caller has opened the earlier one.
func (p *Consistency) Check(earlier Checkpoint, keys ...note.Verifier) (Checkpoint, error) {
	c, err := OpenCheckpoint(p.Checkpoint, keys...)
	if err != nil {
		return Checkpoint{}, err
	}
	grew := false
	switch {
	case c.Origin != earlier.Origin:
		return Checkpoint{}, fmt.Errorf("the checkpoints are of two logs: %q and %q", earlier.Origin, c.Origin)
	case earlier.Size != p.OldSize || earlier.Size > c.Size:
		return Checkpoint{}, fmt.Errorf("the proof leads from %d lines to %d, the checkpoint has %d", p.OldSize, c.Size, earlier.Size)
	case earlier.Size == 0:
		grew = earlier.Root == EmptyRoot() && len(p.Hashes) == 0
	case earlier.Size == c.Size:
		grew = earlier.Root == c.Root && len(p.Hashes) == 0
	default:
		grew = tlog.CheckTree(p.Hashes, int64(c.Size), c.Root, int64(earlier.Size), earlier.Root) == nil
	}
	if !grew {
		return Checkpoint{}, fmt.Errorf("the log of %d lines does not begin with the %d lines of the earlier checkpoint", c.Size, earlier.Size)
	}
	return c, nil
}

// Marshal is the text of the proof.
func (p *Consistency) Marshal() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%d\n", oldLine, p.OldSize)
	writeHashes(&b, p.Hashes, p.Checkpoint)
	return b.Bytes()
}

// ParseConsistency reads the text of a proof. It checks nothing.
func ParseConsistency(text []byte) (*Consistency, error) {
	if len(text) > maxProofBytes {
		return nil, fmt.Errorf("proof of %d bytes", len(text))
	}
	line, rest, _ := cutLine(text)
	old, ok := strings.CutPrefix(line, oldLine)
	p := new(Consistency)
	var err error
	if p.OldSize, err = parseSize(old); !ok || err != nil {
		return nil, errors.New("not a proof of growth: it does not begin with the old size")
	}
	if p.Hashes, p.Checkpoint, err = readHashes(rest); err != nil {
		return nil, err
	}
	return p, nil
}

// writeHashes ends a proof: hashes, an empty line, the checkpoint.
func writeHashes(b *bytes.Buffer, hashes []Hash, checkpoint []byte) {
	for _, h := range hashes {
		b.WriteString(h.String() + "\n")
	}
	b.WriteByte('\n')
	b.Write(checkpoint)
}

func readHashes(text []byte) (hashes []Hash, checkpoint []byte, err error) {
	for {
		line, rest, ok := cutLine(text)
		if !ok {
			return nil, nil, errors.New("proof: it ends before the checkpoint")
		}
		text = rest
		if line == "" {
			break
		}
		h, err := parseHash(line)
		if err != nil || len(hashes) == maxHashes {
			return nil, nil, errors.New("proof: line " + strconv.Itoa(len(hashes)+1) + " of its hashes is not one")
		}
		hashes = append(hashes, h)
	}
	if len(text) == 0 || len(text) > maxCheckpointBytes {
		return nil, nil, fmt.Errorf("proof: checkpoint of %d bytes", len(text))
	}
	return hashes, bytes.Clone(text), nil
}

func cutLine(text []byte) (line string, rest []byte, ok bool) {
	before, rest, ok := bytes.Cut(text, []byte("\n"))
	return string(before), rest, ok
}
