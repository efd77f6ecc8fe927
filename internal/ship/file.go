package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"arca/internal/audit"
)

// stdoutOutput writes lines to a stream that cannot be asked what became of them.
type stdoutOutput struct{ w io.Writer }

// newStdoutOutput writes to the stream under another number: when the reader of a
// process's own standard output goes away, the next write ends the process.
func newStdoutOutput(w io.Writer) (*stdoutOutput, error) {
	f, ok := w.(*os.File)
	if !ok {
		return &stdoutOutput{w: w}, nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate the standard output: %w", err)
	}
	return &stdoutOutput{w: os.NewFile(uintptr(fd), f.Name())}, nil
}

func (o *stdoutOutput) send(_ context.Context, b *batch) error {
	_, err := o.w.Write(b.buf)
	return err
}

func (o *stdoutOutput) settle(context.Context) error { return nil }
func (o *stdoutOutput) doubt() time.Duration         { return 0 }
func (o *stdoutOutput) close()                       {}
func (o *stdoutOutput) String() string               { return "stdout" }

// fileOutput appends lines to a file that others rotate, by renaming or by cutting.
type fileOutput struct {
	path string
	f    *os.File
	// dirty: something was written since a sync last succeeded. A sync that fails may
	// drop what it was for, and the next one succeeds without it.
	dirty bool
}

func (o *fileOutput) send(_ context.Context, b *batch) error {
	if err := o.open(); err != nil {
		return err
	}
	info, err := o.f.Stat()
	if err != nil {
		return err
	}
	o.dirty = true
	if _, err = o.f.Write(b.buf); err == nil {
		return nil
	}
	// A part of a line would run into the next attempt's first one. If it cannot be cut
	// off now, opening the file anew does it, and what is not synced is sent again.
	if terr := o.f.Truncate(info.Size()); terr != nil {
		return errors.Join(err, terr, o.forget())
	}
	return err
}

// open makes sure that f is the file that has the path now.
func (o *fileOutput) open() error {
	if o.f != nil {
		if named, err := os.Stat(o.path); err == nil {
			if open, err := o.f.Stat(); err == nil && os.SameFile(open, named) {
				return nil
			}
		}
		// Renamed or removed. What was written is still to be settled.
		err := o.f.Sync()
		if err == nil {
			o.dirty = false
		}
		if err = errors.Join(err, o.forget()); err != nil {
			return err
		}
	}
	// Opening a pipe that stands there would wait for its reader.
	if info, err := os.Stat(o.path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", o.path)
	}
	f, err := os.OpenFile(o.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(mendEnd(f), syncName(o.path)); err != nil {
		return errors.Join(err, f.Close())
	}
	o.f = f
	return nil
}

// syncName makes durable that a file has its name, for the case that it is new. A
// folder that we may write to and not read cannot be synced, nor can one on some
// network file systems: then it is up to those.
func syncName(path string) error {
	err := syncDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// lineStart is how every line of the log begins.
const lineStart = `{"eventVersion":`

// mendEnd cuts off a line without an end, which a crash or a full disk left. Its
// place was not kept, so it comes again whole.
func mendEnd(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	tail := make([]byte, min(size, audit.MaxLineBytes+1))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return err
	}
	if len(tail) == 0 || tail[len(tail)-1] == '\n' {
		return nil
	}
	rest := tail[bytes.LastIndexByte(tail, '\n')+1:]
	if bytes.HasPrefix(rest, []byte(lineStart[:min(len(rest), len(lineStart))])) {
		return f.Truncate(size - int64(len(rest)))
	}
	// None of ours, or the path is not the one that somebody meant.
	_, err = f.Write([]byte{'\n'})
	return err
}

func (o *fileOutput) settle(context.Context) error {
	dirty := o.dirty
	o.dirty = false // an error takes back what was written, and it is sent again
	if o.f == nil {
		if dirty {
			return fmt.Errorf("%s was closed before its last lines were synced", o.path)
		}
		return nil
	}
	if err := o.f.Sync(); err != nil {
		return errors.Join(err, o.forget())
	}
	return nil
}

func (o *fileOutput) forget() error {
	f := o.f
	o.f = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

func (o *fileOutput) doubt() time.Duration { return 0 }
func (o *fileOutput) close()               { _ = o.forget() } // settled as far as it is kept
func (o *fileOutput) String() string       { return "file " + o.path }
