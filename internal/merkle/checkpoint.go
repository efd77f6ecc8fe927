package merkle

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxCheckpointBytes bounds the text of a checkpoint: ours have 300 bytes, and others
// may add signatures.
const maxCheckpointBytes = 64 << 10

// timeLine begins the extension line that holds the time.
const timeLine = "time "

// Checkpoint is a statement of a log about itself: how many lines it has, and the root
// of the tree over them.
type Checkpoint struct {
	// Origin names the log: the name of its key and a generation, as in "name/1".
	Origin string
	Size   uint64
	Root   Hash
	// Time is when it was signed, according to the signer; zero if it does not say.
	Time time.Time
	// Text is the signed note, as it is kept and handed on.
	Text []byte
}

// Origin is the name of a generation of the log of a key.
func Origin(keyName string, generation uint32) string {
	return keyName + "/" + strconv.FormatUint(uint64(generation), 10)
}

// Generation is the generation that an origin of the log of a key names.
func Generation(keyName, origin string) (uint32, bool) {
	text, ok := strings.CutPrefix(origin, keyName+"/")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || Origin(keyName, uint32(n)) != origin {
		return 0, false
	}
	return uint32(n), true
}

// Sign returns the checkpoint with its text.
func (c Checkpoint) Sign(signer note.Signer) (Checkpoint, error) {
	if _, ok := Generation(signer.Name(), c.Origin); !ok {
		return Checkpoint{}, fmt.Errorf("sign checkpoint: the key %s is not that of %q", signer.Name(), c.Origin)
	}
	c.Time = c.Time.UTC().Truncate(time.Second)
	text := fmt.Sprintf("%s\n%d\n%s\n%s%s\n", c.Origin, c.Size, c.Root, timeLine, c.Time.Format(time.RFC3339))
	var err error
	if c.Text, err = note.Sign(&note.Note{Text: text}, signer); err != nil {
		return Checkpoint{}, fmt.Errorf("sign checkpoint: %w", err)
	}
	return c, nil
}

// OpenCheckpoint reads a checkpoint that one of the keys has signed. Signatures of
// others are passed over.
func OpenCheckpoint(text []byte, keys ...note.Verifier) (Checkpoint, error) {
	if len(text) > maxCheckpointBytes {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d bytes", len(text))
	}
	n, err := note.Open(text, verifiers(keys))
	if err != nil {
		if _, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
			return Checkpoint{}, errors.New("checkpoint: not signed by a key that is known")
		}
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	for _, sig := range n.Sigs {
		if _, ok := Generation(sig.Name, c.Origin); ok {
			c.Text = append([]byte(nil), text...)
			return c, nil
		}
	}
	return Checkpoint{}, fmt.Errorf("checkpoint: the key %s is not that of %q", n.Sigs[0].Name, c.Origin)
}

// UnverifiedCheckpoint reads a checkpoint without looking at its signatures. It says
// what somebody wrote, and is for messages only, or for finding the key to ask for.
func UnverifiedCheckpoint(text []byte) (Checkpoint, error) {
	if len(text) > maxCheckpointBytes {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d bytes", len(text))
	}
	_, err := note.Open(text, verifiers(nil))
	unverified, ok := errors.AsType[*note.UnverifiedNoteError](err)
	if !ok {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	c, err := parseCheckpoint(unverified.Note.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	c.Text = append([]byte(nil), text...)
	return c, nil
}

func parseCheckpoint(text string) (c Checkpoint, err error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 {
		return c, fmt.Errorf("checkpoint: %d lines", len(lines))
	}
	for _, line := range lines {
		if line == "" {
			return c, errors.New("checkpoint: empty line")
		}
	}
	c.Origin = lines[0]
	if c.Size, err = parseSize(lines[1]); err != nil {
		return c, fmt.Errorf("checkpoint: %w", err)
	}
	if c.Root, err = parseHash(lines[2]); err != nil {
		return c, fmt.Errorf("checkpoint: %w", err)
	}
	for _, line := range lines[3:] {
		if text, ok := strings.CutPrefix(line, timeLine); ok {
			if c.Time, err = time.Parse(time.RFC3339, text); err != nil {
				return c, errors.New("checkpoint: the time is not one")
			}
			break
		}
	}
	return c, nil
}

// parseSize reads a number as checkpoints and proofs write it: decimal, without
// leading zeros.
func parseSize(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > MaxSize || strconv.FormatUint(n, 10) != text {
		return 0, errors.New("not the size of a tree")
	}
	return n, nil
}

func parseHash(text string) (Hash, error) {
	h, err := tlog.ParseHash(text)
	// There is one way to write a hash, and no second text that means the same.
	if err != nil || h.String() != text {
		return Hash{}, errors.New("not a hash")
	}
	return h, nil
}

// verifiers is the note.Verifiers of a list, in which one key may stand twice.
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
