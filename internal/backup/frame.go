package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// After the header come frames:
//
//	length of what follows (4) ‖ index (4) ‖ flags (1) ‖ cursor length (2) ‖ cursor ‖ envelope ‖ CRC-32C (4)
//
// Numbers are big endian. The checksum is over everything before it. It protects
// nothing from anybody, but tells a frame that was not written to its end, or that a
// disk has damaged, without the key.
const (
	frameFixed = 4 + 1 + 2
	crcBytes   = 4
	flagLast   = 1

	maxCursorBytes = 4096
	maxFrameBytes  = 8 << 20
)

// Frame is one part of a backup.
type Frame struct {
	Index uint32
	// Last is set on the frame after which the file ends.
	Last bool
	// Cursor is where to go on after this frame: a token of the server that made it. It
	// is empty on the last one.
	Cursor string

	sealed []byte
}

func castagnoli(parts ...[]byte) uint32 {
	t := crc32.MakeTable(crc32.Castagnoli) // made once by the library
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, t, p)
	}
	return sum
}

// appendFrame appends the bytes of a frame.
func appendFrame(dst []byte, f *Frame) ([]byte, error) {
	n := frameFixed + len(f.Cursor) + len(f.sealed) + crcBytes
	if len(f.Cursor) > maxCursorBytes || n > maxFrameBytes {
		return nil, fmt.Errorf("frame of %d bytes with a cursor of %d is too large", n, len(f.Cursor))
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(n))
	dst = binary.BigEndian.AppendUint32(dst, f.Index)
	flags := byte(0)
	if f.Last {
		flags = flagLast
	}
	dst = append(dst, flags)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(f.Cursor)))
	dst = append(dst, f.Cursor...)
	dst = append(dst, f.sealed...)
	return binary.BigEndian.AppendUint32(dst, castagnoli(dst[start:])), nil
}

// ParseFrame reads a frame that is all there is of raw.
func ParseFrame(raw []byte) (*Frame, error) {
	if len(raw) < 4 {
		return nil, fmt.Errorf("%w: a frame has no length", ErrIncomplete)
	}
	n := binary.BigEndian.Uint32(raw)
	body := raw[4:]
	switch {
	case n < frameFixed+crcBytes || n > maxFrameBytes:
		return nil, fmt.Errorf("%w: a frame has the length %d", ErrDamaged, n)
	case uint64(len(body)) < uint64(n):
		return nil, fmt.Errorf("%w: it ends in a frame", ErrIncomplete)
	case uint64(len(body)) > uint64(n):
		return nil, fmt.Errorf("%w: something follows a frame", ErrDamaged)
	}
	sum := binary.BigEndian.Uint32(body[n-crcBytes:])
	if castagnoli(raw[:4+n-crcBytes]) != sum {
		return nil, fmt.Errorf("%w: the checksum of a frame is wrong", ErrDamaged)
	}
	f := &Frame{Index: binary.BigEndian.Uint32(body)}
	switch body[4] {
	case 0:
	case flagLast:
		f.Last = true
	default:
		return nil, fmt.Errorf("%w: frame %d has unknown flags", ErrDamaged, f.Index)
	}
	cursor := int(binary.BigEndian.Uint16(body[5:]))
	rest := body[frameFixed : n-crcBytes]
	if cursor > maxCursorBytes || cursor > len(rest) || (cursor == 0) != f.Last {
		return nil, fmt.Errorf("%w: frame %d has a wrong cursor", ErrDamaged, f.Index)
	}
	f.Cursor, f.sealed = string(rest[:cursor]), rest[cursor:]
	return f, nil
}

// frames reads one frame after the other and checks that they are numbered without a
// gap, and that the file ends after the last.
type frames struct {
	r    io.Reader
	next uint32
	done bool
	// size is how many bytes the frames have that were read.
	size int64
}

// read returns the next frame, io.EOF after the last one.
func (fs *frames) read() (*Frame, error) {
	var length [4]byte
	n, err := io.ReadFull(fs.r, length[:])
	switch {
	case fs.done && err == io.EOF:
		return nil, io.EOF
	case fs.done && (err == nil || n > 0):
		return nil, fmt.Errorf("%w: something follows its last frame", ErrDamaged)
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: it ends after %d frames, before the last one", ErrIncomplete, fs.next)
	case err != nil:
		return nil, fmt.Errorf("read backup: %w", err)
	}
	size := binary.BigEndian.Uint32(length[:])
	if size < frameFixed+crcBytes || size > maxFrameBytes {
		return nil, fmt.Errorf("%w: frame %d has the length %d", ErrDamaged, fs.next, size)
	}
	raw := make([]byte, 4+size)
	copy(raw, length[:])
	if _, err := io.ReadFull(fs.r, raw[4:]); err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: it ends in frame %d", ErrIncomplete, fs.next)
	} else if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	f, err := ParseFrame(raw)
	if err != nil {
		return nil, fmt.Errorf("frame %d: %w", fs.next, err)
	}
	if f.Index != fs.next {
		return nil, fmt.Errorf("%w: frame %d stands where frame %d belongs", ErrDamaged, f.Index, fs.next)
	}
	fs.next++
	fs.done = f.Last
	fs.size += int64(len(raw))
	return f, nil
}
