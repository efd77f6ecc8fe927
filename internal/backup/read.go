package backup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"arca/internal/envelope"
	"arca/internal/store"
)

// Reader reads a backup from its beginning. It is for one goroutine.
type Reader struct {
	header *Header
	frames frames
	codec  codec

	at     position
	table  string // of the last record
	last   string // its key
	totals Totals
}

// NewReader reads the header. The error wraps ErrNotBackup, ErrNewer, ErrDamaged or
// ErrIncomplete, or is r's.
func NewReader(r io.Reader) (*Reader, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	h, err := readHeader(br)
	if err != nil {
		return nil, err
	}
	return &Reader{header: h, frames: frames{r: br}, codec: newCodec()}, nil
}

// Header is what the backup says of itself. It is not authenticated before Next has
// returned without an error, given the key.
func (r *Reader) Header() *Header { return r.header }

// Contents are the records of a frame.
type Contents struct {
	// Keys and Ceiling are in the first frame. The caller wipes the keys.
	Keys    []store.ExportKey
	Ceiling uint64
	Records []store.ExportRecord
	// Totals are of the whole backup, and set with the last frame.
	Totals *Totals
}

// Wipe overwrites what was read.
func (c *Contents) Wipe() {
	store.WipeKeys(c.Keys)
	for _, r := range c.Records {
		clear(r.Plain)
	}
}

// Next returns the contents of the next frame, and io.EOF after the last one if the
// file ends there. The error wraps ErrDamaged or ErrIncomplete, or is the reader's.
func (r *Reader) Next(key *envelope.Key) (*Contents, error) {
	f, err := r.frames.read()
	if err != nil {
		return nil, err
	}
	plain, err := key.Open(keyLabel, f.sealed, frameAD(f))
	if err != nil {
		return nil, fmt.Errorf("%w: frame %d does not open", ErrDamaged, f.Index)
	}
	defer plain.Wipe()
	var c content
	if err := r.codec.dec.Unmarshal(plain.Bytes(), &c); err != nil {
		return nil, fmt.Errorf("%w: frame %d is not well-formed: %w", ErrDamaged, f.Index, err)
	}
	out, err := r.accept(f, &c)
	if err != nil {
		c.wipe()
		return nil, fmt.Errorf("%w: frame %d: %w", ErrDamaged, f.Index, err)
	}
	return out, nil
}

// accept checks that a frame goes on where the one before it ended. Frames are sealed
// one by one: this is what makes them one state.
func (r *Reader) accept(f *Frame, c *content) (*Contents, error) {
	switch {
	case !c.From.equal(r.at):
		return nil, errors.New("it does not begin where the one before ended")
	case (c.Keyring != nil) != (f.Index == 0):
		return nil, errors.New("the keyring is not in the first frame")
	case (c.Totals != nil) != f.Last:
		return nil, errors.New("the totals are not in the last frame")
	case f.Last && !c.Next.equal(position{}), !f.Last && c.Next.Table == "":
		return nil, errors.New("it does not say where it ends")
	}
	out := &Contents{Totals: c.Totals}
	for _, t := range c.Tables {
		for i := range t.Records {
			p := &t.Records[i]
			if !r.ascends(t.Name, string(p.Key)) {
				return nil, errors.New("its records are not in order")
			}
			r.table, r.last = t.Name, string(p.Key)
			r.totals.add(p.Key, p.Plain)
			out.Records = append(out.Records, store.ExportRecord{Table: t.Name, Key: string(p.Key), Sequence: p.Sequence, Plain: p.Plain})
		}
	}
	if c.Keyring != nil {
		out.Ceiling = c.Keyring.Ceiling
		for _, k := range c.Keyring.Keys {
			if len(k.ID) != len(envelope.KeyID{}) {
				return nil, errors.New("a key has no id")
			}
			out.Keys = append(out.Keys, store.ExportKey{
				Purpose: k.Purpose, ID: envelope.KeyID(k.ID), Version: k.Version, Created: k.Created, State: k.State,
				Secret: envelope.NewPlaintext(k.Secret),
			})
		}
	}
	r.totals.Frames++
	if c.Totals != nil && *c.Totals != r.totals {
		return nil, fmt.Errorf("it says that there are %d records in %d frames, but there are %d in %d",
			c.Totals.Records, c.Totals.Frames, r.totals.Records, r.totals.Frames)
	}
	r.at = c.Next
	return out, nil
}

// ascends reports whether a record comes after the last one and not before the place
// where the frame begins.
func (r *Reader) ascends(table, key string) bool {
	if c := strings.Compare(table, r.table); c != 0 {
		return c > 0
	}
	return key > r.last
}

// Summary is what can be told of a backup as a whole.
type Summary struct {
	Header *Header
	// Totals are known only when the backup was opened; Frames always.
	Totals
	// FileBytes is the size of the whole file.
	FileBytes int64
}

// Inspect reads a backup without its key: that it is whole, as far as checksums can
// tell, and nothing of what it holds.
func Inspect(src io.Reader, report func(bytes int64)) (*Summary, error) {
	r, err := NewReader(src)
	if err != nil {
		return nil, err
	}
	for {
		_, err := r.frames.read()
		if err == io.EOF {
			return r.summary(), nil
		}
		if err != nil {
			return nil, err
		}
		report(r.fileBytes())
	}
}

// Verify reads a whole backup, of which key is the key, and shows every record to fn,
// which may be nil and must not keep it. report is told how many bytes of the file have
// been read.
func (r *Reader) Verify(key *envelope.Key, fn func(c *Contents) error, report func(bytes int64)) (*Summary, error) {
	for {
		c, err := r.Next(key)
		if err == io.EOF {
			return r.summary(), nil
		}
		if err != nil {
			return nil, err
		}
		if fn != nil {
			err = fn(c)
		}
		c.Wipe()
		if err != nil {
			return nil, err
		}
		report(r.fileBytes())
	}
}

func (r *Reader) fileBytes() int64 { return int64(len(r.header.Bytes())) + r.frames.size }

func (r *Reader) summary() *Summary {
	t := r.totals
	t.Frames = r.frames.next
	return &Summary{Header: r.header, Totals: t, FileBytes: r.fileBytes()}
}
