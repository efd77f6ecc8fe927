package backup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// File is a backup on its way to disk. Until it is whole it is called path.partial, so
// that nothing under the final name is ever less than a backup; a command that is cut
// off takes up there again. It is locked against a second command.
type File struct {
	path   string
	f      *os.File
	header *Header
	next   uint32
	cursor string
	done   bool
	size   int64
	// unsynced is how much was written since the last sync.
	unsynced int64
}

// ErrExists means that there is a file under the final name already.
var ErrExists = errors.New("the file exists already")

const (
	partialSuffix = ".partial"
	// syncBytes bounds what a power cut loses of a backup under way.
	syncBytes = 64 << 20
)

// PartialPath is what the file at path is called until it is whole.
func PartialPath(path string) string { return path + partialSuffix }

// OpenFile opens or makes the unfinished file and finds out how far it got: up to the
// last frame that is whole. What follows that is cut off with the next Append. The
// error wraps ErrExists when path itself is there.
func OpenFile(path string) (_ *File, err error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%w: %s", ErrExists, path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for backup: %w", err)
	}
	w := &File{path: path}
	w.f, err = os.OpenFile(PartialPath(path), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create backup: %w", err)
	}
	defer func() {
		if err != nil {
			_ = w.f.Close()
		}
	}()
	if err := unix.Flock(int(w.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("%s is being written by another command", PartialPath(path))
	}
	if err := w.f.Chmod(0o600); err != nil {
		return nil, fmt.Errorf("create backup: %w", err)
	}
	if err := w.recover(); err != nil {
		return nil, err
	}
	return w, nil
}

// recover reads what is there. Whatever is not a beginning of a backup is overwritten;
// only a disk that cannot be read is an error.
func (w *File) recover() error {
	info, err := w.f.Stat()
	if err != nil {
		return fmt.Errorf("read %s: %w", PartialPath(w.path), err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", PartialPath(w.path))
	}
	r := bufio.NewReaderSize(w.f, 1<<16)
	h, err := readHeader(r)
	if err != nil {
		return unreadable(err)
	}
	fr := frames{r: r}
	w.header, w.size = h, int64(len(h.Bytes()))
	for !w.done {
		f, err := fr.read()
		if err != nil {
			return unreadable(err)
		}
		w.next, w.cursor, w.done = f.Index+1, f.Cursor, f.Last
		w.size = int64(len(h.Bytes())) + fr.size
	}
	return nil
}

// unreadable keeps the errors that are not about what the file holds.
func unreadable(err error) error {
	for _, expected := range []error{ErrNotBackup, ErrNewer, ErrDamaged, ErrIncomplete} {
		if errors.Is(err, expected) {
			return nil
		}
	}
	return err
}

// Header is that of the backup which was begun, nil if there is none.
func (w *File) Header() *Header { return w.header }

// Cursor is where the backup goes on; "" when nothing but the header is there, or
// when it is whole.
func (w *File) Cursor() string { return w.cursor }

// Whole reports whether the last frame is there.
func (w *File) Whole() bool { return w.done }

// Size is the number of bytes written.
func (w *File) Size() int64 { return w.size }

// Start throws away what is there and begins with a header.
func (w *File) Start(h *Header) error {
	if err := w.f.Truncate(0); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	w.header, w.next, w.cursor, w.done, w.size = h, 0, "", false, 0
	return w.write(h.Bytes())
}

// Append adds the next frame. A crash leaves it whole, torn or missing, which OpenFile
// tells apart.
func (w *File) Append(raw []byte) error {
	f, err := ParseFrame(raw)
	if err != nil {
		return err
	}
	if f.Index != w.next || w.done || w.header == nil {
		return fmt.Errorf("%w: frame %d stands where frame %d belongs", ErrDamaged, f.Index, w.next)
	}
	if err := w.write(raw); err != nil {
		return err
	}
	w.next, w.cursor, w.done = f.Index+1, f.Cursor, f.Last
	return nil
}

func (w *File) write(raw []byte) error {
	if err := w.f.Truncate(w.size); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if _, err := w.f.WriteAt(raw, w.size); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	w.size += int64(len(raw))
	if w.unsynced += int64(len(raw)); w.unsynced >= syncBytes {
		return w.sync()
	}
	return nil
}

func (w *File) sync() error {
	w.unsynced = 0
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// Finish gives the whole file its name. When it returns nil, the file survives a power
// cut. It replaces nothing.
func (w *File) Finish() error {
	if !w.done {
		return fmt.Errorf("%w: its last frame is missing", ErrIncomplete)
	}
	if err := w.f.Truncate(w.size); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if err := w.sync(); err != nil {
		return err
	}
	if _, err := os.Lstat(w.path); err == nil {
		return fmt.Errorf("%w: %s", ErrExists, w.path)
	}
	if err := os.Rename(PartialPath(w.path), w.path); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	d, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// Close leaves what is there for the next command.
func (w *File) Close() error {
	err := w.f.Sync()
	if w.size == 0 {
		err = os.Remove(PartialPath(w.path)) // nothing was begun
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return errors.Join(err, w.f.Close())
}

// Stream writes a backup to where it cannot be taken up again, such as standard output.
type Stream struct {
	w    io.Writer
	next uint32
	done bool
	size int64
}

// NewStream returns a stream to w.
func NewStream(w io.Writer) *Stream { return &Stream{w: w} }

// Start writes the header.
func (s *Stream) Start(h *Header) error {
	if s.size > 0 {
		return errors.New("a stream cannot begin again")
	}
	return s.write(h.Bytes())
}

// Append writes the next frame.
func (s *Stream) Append(raw []byte) error {
	f, err := ParseFrame(raw)
	if err != nil {
		return err
	}
	if f.Index != s.next || s.done {
		return fmt.Errorf("%w: frame %d stands where frame %d belongs", ErrDamaged, f.Index, s.next)
	}
	s.next, s.done = f.Index+1, f.Last
	return s.write(raw)
}

// Finish reports whether the last frame was written.
func (s *Stream) Finish() error {
	if !s.done {
		return fmt.Errorf("%w: its last frame is missing", ErrIncomplete)
	}
	return nil
}

// Size is the number of bytes written.
func (s *Stream) Size() int64 { return s.size }

func (s *Stream) write(raw []byte) error {
	n, err := s.w.Write(raw)
	s.size += int64(n)
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}
