package audit

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

	seekable "github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

const (
	// frameBytes is how many bytes of lines go into one compressed frame, which is what
	// has to be decompressed to read a single line.
	frameBytes = 128 << 10
	// compressShare: compressing takes at most one part in so many of a core's time.
	compressShare = 4

	compressingSuffix = ".tmp"
)

// compress replaces a closed segment by its compressed form. Until the last step the
// plain file is there and is what counts, so a crash at any moment leaves at worst an
// unfinished file, which the next attempt overwrites, or both files:
//
//  1. the frames are written to a file that is none of the log's, and synced;
//  2. it is read back and compared with the plain file, byte for byte;
//  3. it gets its name, and the directory is synced: both files are complete;
//  4. the plain one is removed.
//
// It takes its time, for the sake of the calls that are served meanwhile.
func (s Segment) compress(ctx context.Context) error {
	target := filepath.Join(s.dir(), SegmentName(s.First, true))
	tmp := target + compressingSuffix
	src, err := os.OpenFile(s.Path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // nothing was written through it
	before, err := src.Stat()
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	err = writeFrames(ctx, tmp, src, before)
	if err == nil {
		err = sameBytes(ctx, tmp, src, before.Size())
	}
	if err == nil {
		var after os.FileInfo
		if after, err = os.Lstat(s.Path); err == nil && (!os.SameFile(before, after) || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime())) {
			err = errors.New("the segment changed while it was compressed")
		}
	}
	if err == nil {
		err = os.Rename(tmp, target)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(tmp))
	}
	if err := syncDir(s.dir()); err != nil {
		return err
	}
	if err := os.Remove(s.Path); err != nil {
		return err
	}
	return syncDir(s.dir())
}

// writeFrames writes the compressed form of src to path and syncs it.
func writeFrames(ctx context.Context, path string, src *os.File, info os.FileInfo) (err error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// The reader of a log shipper may have been let in to the plain file; the age of
	// lines that nobody can read is told by the file's.
	if err := out.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	// On frames of audit lines, the fastest level also makes the smallest files.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, enc.Close()) }()
	w, err := seekable.NewWriter(out, &oneByOne{enc: enc})
	if err != nil {
		return err
	}
	buf := make([]byte, frameBytes)
	for offset := int64(0); offset < info.Size(); {
		started := time.Now()
		n, err := src.ReadAt(buf[:min(frameBytes, info.Size()-offset)], offset)
		if n == 0 {
			return fmt.Errorf("read segment at %d: %w", offset, err)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		offset += int64(n)
		if err := rest(ctx, time.Since(started)); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return os.Chtimes(path, info.ModTime(), info.ModTime())
}

// oneByOne compresses or decompresses one frame at a time, each into the memory of the one
// before: a server that writes much log would else allocate as much again for the frames.
type oneByOne struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
	buf []byte
}

// EncodeAll implements seekable.ZSTDEncoder.
func (o *oneByOne) EncodeAll(src, _ []byte) []byte {
	o.buf = o.enc.EncodeAll(src, o.buf[:0])
	return o.buf
}

// DecodeAll implements seekable.ZSTDDecoder.
func (o *oneByOne) DecodeAll(src, _ []byte) ([]byte, error) {
	out, err := o.dec.DecodeAll(src, o.buf[:0])
	if err == nil {
		o.buf = out
	}
	return out, err
}

// rest waits as much longer as the work took as leaves it its share of the time.
func rest(ctx context.Context, worked time.Duration) error {
	t := time.NewTimer(min(worked*(compressShare-1), time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sameBytes returns nil when the compressed file holds exactly the first size bytes
// of src.
func sameBytes(ctx context.Context, path string, src *os.File, size int64) error {
	r, err := openToCompare(path)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // nothing was written through it
	if r.Size() != size {
		return fmt.Errorf("read back %d bytes of %d", r.Size(), size)
	}
	want, got := make([]byte, frameBytes), make([]byte, frameBytes)
	for offset := int64(0); offset < size; {
		started := time.Now()
		n := min(frameBytes, size-offset)
		if _, err := src.ReadAt(want[:n], offset); err != nil {
			return err
		}
		if _, err := r.ReadAt(got[:n], offset); err != nil && err != io.EOF {
			return err
		}
		if !bytes.Equal(want[:n], got[:n]) {
			return fmt.Errorf("read back other bytes at %d", offset)
		}
		offset += n
		if err := rest(ctx, time.Since(started)); err != nil {
			return err
		}
	}
	return nil
}

// removeIfThere removes a file that may not exist.
func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
