package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	seekable "github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

const (
	segmentSuffix    = ".jsonl"
	compressedSuffix = ".jsonl.zst"
	segmentDigits    = 20
	tailDir          = "tail"

	// maxFrameBytes is the largest frame, compressed or not, that a reader takes from
	// a compressed segment. Ours hold frameBytes.
	maxFrameBytes = 4 << 20
	// maxTableBytes bounds the seek table at the end of a compressed segment: enough
	// for a hundred gigabytes of lines in frames of ours.
	maxTableBytes = 16 << 20
	// seekFooterBytes is the length of the fixed end of a seek table.
	seekFooterBytes = 9
)

// Segment is one file of consecutive lines in a node's directory or in a copy of it.
type Segment struct {
	First      uint64 // number of the first line, which is the file's name
	Path       string
	Compressed bool
	Bytes      int64 // on disk; of the newest, at the time of listing
}

// SegmentName is the name of the file whose first line has that number.
func SegmentName(first uint64, compressed bool) string {
	suffix := segmentSuffix
	if compressed {
		suffix = compressedSuffix
	}
	return fmt.Sprintf("%0*d%s", segmentDigits, first, suffix)
}

// ParseSegmentName is the inverse of SegmentName. A name that SegmentName does not
// give is none of a segment.
func ParseSegmentName(name string) (first uint64, compressed, ok bool) {
	digits, compressed := strings.CutSuffix(name, compressedSuffix)
	if !compressed {
		if digits, ok = strings.CutSuffix(name, segmentSuffix); !ok {
			return 0, false, false
		}
	}
	if len(digits) != segmentDigits || strings.Trim(digits, "0123456789") != "" {
		return 0, false, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, compressed, err == nil
}

// Segments lists the segments in dir by their first line, ascending. Where a crash
// left one both plain and compressed, it is the plain one that counts. Files with
// other names are none of ours.
//
// In a copy that was fetched from a bucket, a segment may be there in pieces, each a
// small segment, in the directory tail/<first line of the segment>. They count for as
// long as the segment itself is not there whole.
func Segments(dir string) ([]Segment, error) {
	names, err := segmentNames(dir)
	// A directory that changes while it is read may show neither the plain name nor the
	// compressed one that replaced it. A second reading, begun later, then shows more.
	for err == nil {
		var again []string
		if again, err = segmentNames(dir); slices.Equal(names, again) {
			break
		}
		names = again
	}
	if err != nil {
		return nil, err
	}
	segs := make([]Segment, 0, len(names))
	for _, name := range names {
		first, compressed, _ := ParseSegmentName(name)
		if n := len(segs); n > 0 && segs[n-1].First == first {
			continue // the plain name comes first
		}
		s := Segment{First: first, Path: filepath.Join(dir, name), Compressed: compressed}
		info, err := os.Stat(s.Path)
		if errors.Is(err, fs.ErrNotExist) && !compressed {
			s.Path, s.Compressed = filepath.Join(dir, SegmentName(first, true)), true
			info, err = os.Stat(s.Path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		} else if err != nil {
			return nil, err
		}
		s.Bytes = info.Size()
		segs = append(segs, s)
	}
	return withPieces(dir, segs)
}

// withPieces adds the pieces of segments that are not there whole.
func withPieces(dir string, segs []Segment) ([]Segment, error) {
	parts, err := os.ReadDir(filepath.Join(dir, tailDir))
	if errors.Is(err, fs.ErrNotExist) {
		return segs, nil // as in every directory that a log writes to
	} else if err != nil {
		return nil, err
	}
	whole := len(segs)
	for _, part := range parts {
		first, _, ok := ParseSegmentName(part.Name() + segmentSuffix)
		if _, there := slices.BinarySearchFunc(segs[:whole], first, func(s Segment, n uint64) int { return cmp.Compare(s.First, n) }); !ok || there {
			continue
		}
		pieces, err := os.ReadDir(filepath.Join(dir, tailDir, part.Name()))
		if err != nil {
			return nil, err
		}
		for _, p := range pieces {
			first, compressed, ok := ParseSegmentName(p.Name())
			if !ok {
				continue
			}
			info, err := p.Info()
			if err != nil {
				return nil, err
			}
			segs = append(segs, Segment{First: first, Path: filepath.Join(dir, tailDir, part.Name(), p.Name()), Compressed: compressed, Bytes: info.Size()})
		}
	}
	slices.SortStableFunc(segs, func(a, b Segment) int { return cmp.Compare(a.First, b.First) })
	return segs, nil
}

// segmentNames returns the names of segments in dir, sorted, which is by first line.
func segmentNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, _, ok := ParseSegmentName(name)
		return !ok
	})
	slices.Sort(names)
	return names, nil
}

// dir is the directory that the segment is in.
func (s Segment) dir() string { return filepath.Dir(s.Path) }

// name is the segment's file name, for messages.
func (s Segment) name() string { return filepath.Base(s.Path) }

// count reads the whole segment and returns the number of its lines.
func (s Segment) count() (uint64, error) {
	r, err := s.Open()
	if err != nil {
		return 0, err
	}
	_, lines, err := r.skipLines(math.MaxUint64)
	if err != io.EOF {
		return 0, errors.Join(fmt.Errorf("count lines of %s: %w", s.name(), err), r.Close())
	}
	return lines, r.Close()
}

// SegmentReader reads the lines' bytes of a segment, whichever way they are stored.
// ReadAt may be called concurrently.
type SegmentReader struct {
	f    *os.File
	size int64
	// Of a compressed segment; nil of a plain one.
	frames *seekable.Reader
	zstd   *zstd.Decoder
}

// Open opens the segment for reading. One that was compressed since it was listed is
// opened under its new name. An error that is fs.ErrNotExist says that the segment
// is gone: retention removed it, or somebody did.
func (s Segment) Open() (*SegmentReader, error) {
	r, err := openSegment(s.Path, s.Compressed)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	other := filepath.Join(s.dir(), SegmentName(s.First, !s.Compressed))
	if r, err2 := openSegment(other, !s.Compressed); err2 == nil {
		return r, nil
	} else if !errors.Is(err2, fs.ErrNotExist) {
		return nil, err2
	}
	return nil, err
}

func openSegment(path string, compressed bool) (*SegmentReader, error) {
	return openWith(path, compressed, func(d *zstd.Decoder) seekable.ZSTDDecoder { return d })
}

// openToCompare opens a compressed segment for somebody who reads it once, frame by frame.
func openToCompare(path string) (*SegmentReader, error) {
	return openWith(path, true, func(d *zstd.Decoder) seekable.ZSTDDecoder { return &oneByOne{dec: d} })
}

func openWith(path string, compressed bool, decoder func(*zstd.Decoder) seekable.ZSTDDecoder) (*SegmentReader, error) {
	// Without O_NONBLOCK, opening a pipe that somebody put there would hang.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	r := &SegmentReader{f: f}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("audit segment %s is not a regular file", filepath.Base(path))
	case compressed:
		if err = r.openFrames(info.Size(), decoder); err != nil {
			err = fmt.Errorf("open audit segment %s: %w", filepath.Base(path), err)
		}
	default:
		r.size = info.Size()
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// openFrames reads the seek table of a compressed segment. The table must account
// for every byte of the file, so that a tool that decompresses the file as a stream
// sees exactly the lines that we do.
func (r *SegmentReader) openFrames(stored int64, decoder func(*zstd.Decoder) seekable.ZSTDDecoder) error {
	var err error
	r.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxFrameBytes))
	if err != nil {
		return err
	}
	in := frameFile{r.f, stored}
	r.frames, err = seekable.NewReader(nil, decoder(r.zstd), seekable.WithReaderEnvironment(in))
	if err != nil {
		return err
	}
	table, err := r.frames.SeekTable()
	if err != nil {
		return err
	}
	var held uint64
	if n := table.NumFrames(); n > 0 {
		last, _ := table.EntryByID(n - 1)
		held = last.CompressedOffset + uint64(last.CompressedSize)
	}
	if tableBytes := seekTableBytes(table.NumFrames(), table.HasChecksums()); held+tableBytes != uint64(stored) {
		return fmt.Errorf("the seek table accounts for %d bytes of %d", held+tableBytes, stored)
	}
	r.size = int64(table.Size())
	return nil
}

// seekTableBytes is the length of a seek table: header, entries, footer.
func seekTableBytes(frames int64, checksums bool) uint64 {
	entry := uint64(8)
	if checksums {
		entry += 4
	}
	return 8 + uint64(frames)*entry + seekFooterBytes
}

// frameFile hands a file to the reader of frames, and keeps what the file claims
// about itself from claiming memory.
type frameFile struct {
	f    *os.File
	size int64
}

func (f frameFile) tail(n, limit int64) ([]byte, error) {
	if n > f.size || n > limit {
		return nil, fmt.Errorf("seek table of %d bytes in a file of %d", n, f.size)
	}
	p := make([]byte, n)
	_, err := f.f.ReadAt(p, f.size-n)
	return p, err
}

// ReadFooter implements seekable.ReaderEnvironment.
func (f frameFile) ReadFooter() ([]byte, error) { return f.tail(seekFooterBytes, maxTableBytes) }

// ReadSkipFrame implements seekable.ReaderEnvironment.
func (f frameFile) ReadSkipFrame(n int64) ([]byte, error) { return f.tail(n, maxTableBytes) }

// GetFrameByIndex implements seekable.ReaderEnvironment.
func (f frameFile) GetFrameByIndex(e seekable.FrameOffsetEntry) ([]byte, error) {
	if e.CompressedSize > maxFrameBytes || e.DecompressedSize > maxFrameBytes || e.CompressedOffset > uint64(f.size) {
		return nil, fmt.Errorf("frame %d of %d bytes at %d", e.ID, e.CompressedSize, e.CompressedOffset)
	}
	p := make([]byte, e.CompressedSize)
	if _, err := f.f.ReadAt(p, int64(e.CompressedOffset)); err == io.EOF {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	return p, nil
}

// ReadAt reads lines' bytes, uncompressed. Of a segment that is still written to,
// it reads what is there now, which may be more than Size.
func (r *SegmentReader) ReadAt(p []byte, offset int64) (int, error) {
	if r.frames != nil {
		return r.frames.ReadAt(p, offset)
	}
	return r.f.ReadAt(p, offset)
}

// Size is the number of uncompressed bytes when the segment was opened.
func (r *SegmentReader) Size() int64 { return r.size }

// Close releases the file. It must not be called while ReadAt runs.
func (r *SegmentReader) Close() error {
	if r.zstd != nil {
		r.zstd.Close()
	}
	return r.f.Close()
}

// lines returns a reader of the lines from offset on.
func (r *SegmentReader) lines(offset int64) *lineReader {
	return newLineReader(io.NewSectionReader(r, offset, 1<<62))
}
