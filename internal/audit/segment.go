package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	cutInfix = ".cut-" // between a segment's name and the offset where it was cut
	lockName = "lock"

	fileMode = 0o600
	dirMode  = 0o700
)

// segment is the file that is being written.
type segment struct {
	f     *os.File
	path  string
	first uint64 // number of the first line, which is the file's name
	lines uint64 // lines known to be on disk
	size  int64  // bytes known to be on disk, here or in the journal; the next write goes here
	// tail repeats the end of those bytes, back to the start of the last block.
	tail []byte
	// synced are the bytes known to be on disk here, and syncedTail is their end, as tail
	// is. A write that follows rewrites that block, so when its sync fails, the block is
	// in danger although it was acknowledged. So is what was acknowledged since, which
	// the journal has.
	synced     int64
	syncedTail []byte
}

// blockBytes is at least the unit in which file systems and disks rewrite data.
const blockBytes = 4096

func (s *segment) next() uint64 { return s.first + s.lines }

// advance records that p is on disk at the end of the segment.
func (s *segment) advance(p []byte, lines uint64) {
	s.size += int64(len(p))
	s.lines += lines
	keep := int(s.size % blockBytes)
	if keep <= len(p) {
		s.tail = append(s.tail[:0], p[len(p)-keep:]...)
		return
	}
	// The block was not full before either, so its beginning is in the old tail.
	s.tail = append(s.tail, p...)
}

// settle records that all of the segment has been synced.
func (s *segment) settle() {
	s.synced = s.size
	s.syncedTail = append(s.syncedTail[:0], s.tail...)
}

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, SegmentName(first, false))
}

// createSegment makes the segment that begins with line first. After it returns, an
// empty file of that name survives a crash. An empty one that an earlier attempt
// left is taken over; one that holds anything is not.
func createSegment(dir string, first uint64) (*segment, error) {
	path := segmentPath(dir, first)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return nil, err
	}
	s := &segment{f: f, path: path, first: first}
	info, err := f.Stat()
	if err == nil && info.Size() != 0 {
		err = fmt.Errorf("segment %s already holds %d bytes", filepath.Base(path), info.Size())
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err == nil {
		return s, nil
	}
	if info != nil && info.Size() == 0 {
		// Left there, it would be the newest one, while the lines go on in another.
		err = errors.Join(err, os.Remove(path))
	}
	return nil, errors.Join(err, f.Close())
}

// recoverNewest opens the newest segment for writing, or makes the first one, and makes
// ready or removes the journal.
//
// A batch is only acknowledged when all of it is on disk, so what a crash damaged
// belongs to the last batch, and cutting from the first line on that a crash damaged
// loses nothing that anybody was told about. Whole lines of that batch stay: they
// record calls that happened, although their answers never left.
func (l *Log) recoverNewest() (err error) {
	if l.w.seg, err = l.openNewest(); err != nil {
		return err
	}
	// All lines are synced in the segment now.
	if err := l.oldJournal(); err != nil {
		err = errors.Join(err, l.w.seg.f.Close())
		l.w.seg = nil
		return err
	}
	return nil
}

func (l *Log) openNewest() (*segment, error) {
	dir := l.cfg.Dir
	segs, err := Segments(dir)
	if err != nil {
		return nil, err
	}
	if len(segs) == 0 {
		return createSegment(dir, 0)
	}
	newest := segs[len(segs)-1]
	if newest.Compressed {
		// Only closed segments are compressed: the one that followed is gone, as in a
		// copy that was made before it had lines.
		lines, err := newest.count()
		if err != nil {
			return nil, err
		}
		return createSegment(dir, newest.First+lines)
	}
	first, path := newest.First, newest.Path
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	s := &segment{f: f, path: path, first: first}
	if err := s.recover(l); err != nil {
		return nil, errors.Join(fmt.Errorf("recover segment %s: %w", filepath.Base(path), err), f.Close())
	}
	return s, nil
}

func (s *segment) recover(l *Log) error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	gaps, err := s.recoverJournal(l, info.Size())
	if err != nil {
		return err
	}
	if info, err = s.f.Stat(); err != nil {
		return err
	}
	end := info.Size()
	damaged := int64(maxBatchBytes)
	if gaps {
		damaged += journalBytes
	}
	if err := s.count(end, end-damaged); err != nil {
		return err
	}
	if s.size < end {
		torn := end - s.size
		if err := s.keepCut(end); err != nil {
			return fmt.Errorf("keep what is cut off: %w", err)
		}
		if err := s.f.Truncate(s.size); err != nil {
			return err
		}
		l.cfg.Logger.Warn("audit log: cut off an unfinished write",
			"segment", filepath.Base(s.path), "line", s.next(), "offset", s.size, "bytes", torn)
	}
	// The lines that stay may be in the page cache only: the last process may have
	// died between write and sync. From here on they count as being on disk.
	if err := syncFile(s.f); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(s.path)); err != nil {
		return err
	}
	s.tail = make([]byte, s.size%blockBytes)
	_, err = s.f.ReadAt(s.tail, s.size-int64(len(s.tail)))
	s.settle()
	return err
}

// count sets lines and size to the part of the file that no crash damaged. Lines are
// examined only from an offset on: where the last batch can be, and what a journal would
// have had that is damaged itself. Damage further up, or of another kind
// than a crash leaves, was done by a disk or by somebody: the lines that follow were
// acknowledged, and stay with the numbers they have. Check reports it.
func (s *segment) count(end, examine int64) error {
	r := newLineReader(io.NewSectionReader(s.f, 0, end))
	for {
		line, size, err := r.next()
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
		if s.size >= examine && lostBlocks(line) {
			return nil
		}
		s.size += size
		s.lines++
	}
}

// lostBlocks reports whether a line holds blocks that never reached the disk: they
// read as zeros, which AppendLine writes nowhere.
func lostBlocks(line []byte) bool { return bytes.IndexByte(line, 0) >= 0 }

// keepCut copies what recovery is about to cut into a file of its own, unless it is
// just one line without an end. Sound lines may follow a damaged one, and if it was
// not the crash that damaged it, somebody will want to see them. When it returns, the
// file survives a crash.
func (s *segment) keepCut(end int64) (err error) {
	cut := io.NewSectionReader(s.f, s.size, end-s.size)
	if _, _, err := newLineReader(cut).next(); err == io.ErrUnexpectedEOF {
		return nil
	}
	name := fmt.Sprintf("%s%s%d", s.path, cutInfix, s.size)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, io.NewSectionReader(s.f, s.size, end-s.size)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// lineReader splits a segment into lines in bounded memory.
type lineReader struct {
	r    *bufio.Reader
	long []byte // a line that does not fit the reader's buffer
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 256<<10)}
}

// next returns the next line without its newline, valid until the following call,
// and the bytes it takes in the file. Of a line beyond MaxLineBytes it returns the
// beginning, which is longer than MaxLineBytes too. At the end it returns io.EOF, or
// io.ErrUnexpectedEOF when the last line has no newline.
func (lr *lineReader) next() (line []byte, size int64, err error) {
	lr.long = lr.long[:0]
	for {
		part, err := lr.r.ReadSlice('\n')
		size += int64(len(part))
		switch {
		case err == nil && len(lr.long) == 0:
			return part[:len(part)-1], size, nil
		case err == nil:
			if len(lr.long) <= MaxLineBytes {
				lr.long = append(lr.long, part[:len(part)-1]...)
			}
			return lr.long, size, nil
		case err == bufio.ErrBufferFull:
			if len(lr.long) <= MaxLineBytes {
				lr.long = append(lr.long, part...)
			}
		case err == io.EOF && size > 0:
			return nil, size, io.ErrUnexpectedEOF
		default:
			return nil, size, err
		}
	}
}

// makeDir makes dir and makes sure that a crash does not unmake it.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, dirMode); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// leadsTo reports whether path still names the open file.
func leadsTo(path string, f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(open, named)
}

// lockDir takes the lock that keeps a second process out of dir. The kernel lets go
// of it when the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another process is writing to it")
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
