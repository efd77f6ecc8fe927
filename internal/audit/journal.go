package audit

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	journalName    = "journal"
	journalNewName = "journal.new"    // while it is being made
	journalAside   = "journal.aside-" // and a time: one that did not fit its segment

	// journalBytes is the length of the file: a page for its head, and two halves. A half
	// holds any batch, and at full rate as much as a third of a second brings, in which the
	// other half's lines are synced in their segment.
	journalBytes = 16 << 20
	journalHalf  = journalBytes / 2

	journalMagic = "arca audit journal 1\n"

	// journalRoom is what must be free before a journal is made: it is never worth what
	// lines and data need.
	journalRoom = 16 * journalBytes

	defaultJournalAfter = 256
	// journalRetry is how many more syncs pass before a journal that could not be made is
	// tried again.
	journalRetry = 1 << 16
)

// journal is a file that batches are synced in before they are synced in their segment,
// many of them at once. It is written over and over and never changes its length, so
// that a sync costs the disk one write. In a file that grows it costs what the file system
// writes about the file as well, and takes up to three times as long.
//
// What is in it matters only after a crash of the machine, or when the disk has failed:
// then replay puts into the segment what that has lost.
type journal struct {
	f    *os.File
	path string
	id   journalID
	seq  uint64 // of the next entry
	pos  int64  // where it goes
	end  int64  // of the half that is being written
	// half is the first entry of that half, oldest that of the other one: the lines of those
	// before are synced in their segment.
	half, oldest uint64

	buf []byte // one entry, aligned as direct writes want it
	// looked is seq when damage looked into the file last.
	looked uint64
}

// journalID is in the journal's head and in each of its entries. Another one makes all
// entries void.
type journalID [16]byte

// entryHeadBytes precede the lines of a batch; zeros follow them, up to the end of a block.
//
//	id [16] · sequence 8 · oldest 8 · first line of the segment 8 · offset there 8 · bytes 4 · checksum 4
//
// Numbers are big-endian. The checksum is CRC-32C, over the head up to it and the lines.
const entryHeadBytes = 16 + 4*8 + 4 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// makeJournal makes a journal under its final name. It writes every byte: of a file with
// holes, or with blocks that were only reserved, syncs would cost what they are to save.
func makeJournal(dir string) (*journal, error) {
	if !roomFor(dir, journalRoom) {
		return nil, fmt.Errorf("less than %d MiB are free", journalRoom>>20)
	}
	tmp := filepath.Join(dir, journalNewName)
	err := writeZeros(tmp)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, journalName))
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, removeJournal(dir))
	}
	return openJournal(dir)
}

func writeZeros(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	zeros := make([]byte, 1<<20)
	for range journalBytes / len(zeros) {
		if _, err := f.Write(zeros); err != nil {
			return err
		}
	}
	return f.Sync()
}

// openJournal makes the journal that is there ready for writing, and what is in it void.
// If it cannot, it removes it.
func openJournal(dir string) (_ *journal, err error) {
	j := &journal{path: filepath.Join(dir, journalName)}
	if j.f, err = openDurable(j.path); err == nil {
		if err = isJournal(j.f); err == nil {
			err = j.void()
		}
		if err == nil {
			return j, nil
		}
		err = errors.Join(err, j.f.Close())
	}
	return nil, errors.Join(err, removeJournal(dir))
}

// isJournal returns nil if the file may be one by its kind and length.
func isJournal(f *os.File) error {
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != journalBytes) {
		err = fmt.Errorf("%w: it is no file of %d bytes", errNoJournal, journalBytes)
	}
	return err
}

// damage returns what others did to the file since it was opened, or nil. It looks into
// the file only if that was written to since.
func (j *journal) damage() error {
	if !leadsTo(j.path, j.f) {
		return errors.New("journal removed or replaced while in use")
	}
	err := isJournal(j.f)
	if err == nil && j.looked != j.seq {
		j.looked = j.seq
		head := alignedBytes(blockBytes)
		if _, err = j.f.ReadAt(head, 0); err == nil && !bytes.Equal(head, journalHead(j.id)) {
			err = errNoJournal
		}
	}
	if err != nil {
		return fmt.Errorf("journal damaged while in use: %w", err)
	}
	return nil
}

// void makes what has been written so far no entries any more.
func (j *journal) void() error {
	j.id = newJournalID()
	j.seq, j.half, j.oldest, j.looked = 0, 0, 0, 0
	j.pos, j.end = blockBytes, journalHalf
	head := alignedBytes(blockBytes)
	copy(head, journalHead(j.id))
	_, err := j.f.WriteAt(head, 0)
	return err
}

func newJournalID() (id journalID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// journalHead is the first block of the file.
func journalHead(id journalID) []byte {
	head := make([]byte, 0, blockBytes)
	head = append(append(head, journalMagic...), id[:]...)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	return head[:blockBytes]
}

// removeJournal leaves neither a journal nor what was to become one.
func removeJournal(dir string) error {
	for _, name := range []string{journalName, journalNewName} {
		if err := ignoreMissing(os.Remove(filepath.Join(dir, name))); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// room reports whether a batch still fits into the half that is being written.
func (j *journal) room(size int) bool { return j.pos+entryBytes(size) <= j.end }

// turn goes on in the other half, whose lines have to be synced in their segment.
func (j *journal) turn() {
	if j.end == journalHalf {
		j.pos, j.end = journalHalf, journalBytes
	} else {
		j.pos, j.end = blockBytes, journalHalf
	}
	j.half, j.oldest = j.seq, j.half
}

// entryBytes is what a batch takes in the file.
func entryBytes(size int) int64 {
	return (int64(size) + entryHeadBytes + blockBytes - 1) / blockBytes * blockBytes
}

// write makes a batch durable, which begins at offset in the segment that begins with
// line first. There must be room.
func (j *journal) write(first uint64, offset int64, lines []byte) error {
	n := entryBytes(len(lines))
	if int64(len(j.buf)) < n {
		j.buf = alignedBytes(int(n + n/2))
	}
	b := append(j.buf[:0], j.id[:]...)
	b = binary.BigEndian.AppendUint64(b, j.seq)
	b = binary.BigEndian.AppendUint64(b, j.oldest)
	b = binary.BigEndian.AppendUint64(b, first)
	b = binary.BigEndian.AppendUint64(b, uint64(offset))
	b = binary.BigEndian.AppendUint32(b, uint32(len(lines)))
	b = binary.BigEndian.AppendUint32(b, crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, lines))
	b = append(b, lines...)
	end := len(b)
	b = b[:n]
	clear(b[end:])
	if _, err := j.f.WriteAt(b, j.pos); err != nil {
		return err
	}
	j.seq++
	j.pos += n
	if cap(j.buf) > keepBufferBytes {
		j.buf = nil
	}
	return nil
}

// alignedBytes are n bytes that begin where a block of memory does. They are on the heap,
// where they stay.
//
//go:noinline
func alignedBytes(n int) []byte {
	b := make([]byte, n+blockBytes)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (blockBytes - 1)
	return b[skip : skip+n : skip+n]
}

// entry is a batch as it is found in a journal.
type entry struct {
	seq, oldest, first uint64
	offset             int64
	lines              []byte
}

// contents are the entries of a journal for one segment, in the order in which they were
// written.
type contents struct {
	entries []entry
	// gaps: parts of it could not be read, or are not what was written. So it is, too, when
	// the first write to a half was torn, which takes nothing along that is needed.
	gaps bool
}

var errNoJournal = errors.New("not a journal")

// readJournal returns what the journal has for the segment that begins with line first. The
// error wraps errNoJournal if it is none.
func readJournal(f *os.File, first uint64) (contents, error) {
	if err := isJournal(f); err != nil {
		return contents{}, err
	}
	data := alignedBytes(journalBytes)
	failed := false
	if _, err := f.ReadAt(data, 0); errors.Is(err, unix.EIO) {
		failed = true
		for at := 0; at < len(data); at += blockBytes {
			block := data[at : at+blockBytes]
			if _, err := f.ReadAt(block, int64(at)); err != nil {
				clear(block) // which is no entry
			}
		}
	} else if err != nil {
		return contents{}, err
	}
	c, err := parseJournal(data, first)
	c.gaps = c.gaps || failed
	return c, err
}

func parseJournal(data []byte, first uint64) (c contents, err error) {
	if len(data) != journalBytes || !bytes.HasPrefix(data, []byte(journalMagic)) {
		return c, fmt.Errorf("%w: another file", errNoJournal)
	}
	id := journalID(data[len(journalMagic):])
	if !bytes.Equal(data[:blockBytes], journalHead(id)) {
		return c, fmt.Errorf("%w: its head is damaged", errNoJournal)
	}
	for pos := blockBytes; pos < len(data); {
		end := journalHalf
		if pos >= journalHalf {
			end = journalBytes
		}
		e, ok := parseEntry(data[pos:end], id)
		if !ok {
			pos += blockBytes // of an entry that was partly written over, or never written
			continue
		}
		pos += int(entryBytes(len(e.lines)))
		c.entries = append(c.entries, e)
	}
	slices.SortFunc(c.entries, func(a, b entry) int { return cmp.Compare(a.seq, b.seq) })
	if len(c.entries) == 0 {
		return c, nil
	}
	// What is older than the newest says is left over from when its half was written before.
	newest := c.entries[len(c.entries)-1]
	c.entries = slices.DeleteFunc(c.entries, func(e entry) bool { return e.seq < newest.oldest })
	c.gaps = uint64(len(c.entries)) != newest.seq-newest.oldest+1
	c.entries = slices.DeleteFunc(c.entries, func(e entry) bool { return e.first != first })
	return c, nil
}

func parseEntry(b []byte, id journalID) (e entry, ok bool) {
	if len(b) < entryHeadBytes || journalID(b) != id {
		return e, false
	}
	e.seq = binary.BigEndian.Uint64(b[16:])
	e.oldest = binary.BigEndian.Uint64(b[24:])
	e.first = binary.BigEndian.Uint64(b[32:])
	e.offset = int64(binary.BigEndian.Uint64(b[40:]))
	size := binary.BigEndian.Uint32(b[48:])
	sum := binary.BigEndian.Uint32(b[52:])
	if e.oldest > e.seq || e.offset < 0 || size > maxBatchBytes || int(size) > len(b)-entryHeadBytes {
		return e, false
	}
	e.lines = b[entryHeadBytes:][:size]
	return e, crc32.Update(crc32.Checksum(b[:52], castagnoli), castagnoli, e.lines) == sum
}

// covered is how far the entries reach from an offset on without a hole.
func (c *contents) covered(offset int64) int64 {
	for _, e := range c.entries {
		if e.offset <= offset {
			offset = max(offset, e.offset+int64(len(e.lines)))
		}
	}
	return offset
}

// fit is how many of the entries a segment of that size may have had before a crash: it
// has their bytes, zeros in place of lost blocks, or ends earlier, with no hole between.
// Anything else was written by somebody who knows nothing of the journal, or belongs to
// another time.
func (c *contents) fit(segment io.ReaderAt, size int64) (n int, err error) {
	for _, e := range c.entries {
		if e.offset > size {
			break
		}
		there := make([]byte, len(e.lines))
		read, err := segment.ReadAt(there, e.offset)
		if err != nil && err != io.EOF {
			return 0, err
		}
		if !mayBecome(there[:read], e.lines) {
			break
		}
		size = max(size, e.offset+int64(len(e.lines)))
		n++
	}
	return n, nil
}

// mayBecome reports whether bytes are the beginning of others but for zeros.
func mayBecome(b, whole []byte) bool {
	for i, c := range b {
		if c != whole[i] && c != 0 {
			return false
		}
	}
	return true
}

// replay writes into the segment what the journal has of it. Lines that are there
// already are written again: they may be in memory only.
func (c *contents) replay(write func(p []byte, offset int64) error) error {
	for _, e := range c.entries {
		if err := write(e.lines, e.offset); err != nil {
			return fmt.Errorf("write lines of the journal: %w", err)
		}
	}
	return nil
}
