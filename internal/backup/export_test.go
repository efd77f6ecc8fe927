package backup

import (
	"encoding/binary"

	"arca/internal/envelope"
)

// SetPage makes the maker's frames small.
func (m *Maker) SetPage(bytes int) { m.page = bytes }

// Bounds of frames.
const (
	MaxFrameBytes  = maxFrameBytes
	MaxCursorBytes = maxCursorBytes
)

// AppendFrame seals any plaintext as a frame, as somebody with the key could.
func AppendFrame(dst []byte, key *envelope.Key, index uint32, last bool, cursor string, plain []byte) ([]byte, error) {
	f := &Frame{Index: index, Last: last, Cursor: cursor}
	var err error
	if f.sealed, err = key.Seal(keyLabel, plain, frameAD(f)); err != nil {
		return nil, err
	}
	return appendFrame(dst, f)
}

// OpenFrame returns the plaintext of a frame.
func OpenFrame(key *envelope.Key, raw []byte) ([]byte, error) {
	f, err := ParseFrame(raw)
	if err != nil {
		return nil, err
	}
	p, err := key.Open(keyLabel, f.sealed, frameAD(f))
	return p.Bytes(), err
}

// SplitFrames cuts the frames of a good backup apart.
func SplitFrames(raw []byte) (frames [][]byte) {
	for len(raw) > 0 {
		n := 4 + int(binary.BigEndian.Uint32(raw))
		frames, raw = append(frames, raw[:n]), raw[n:]
	}
	return frames
}
