package backup

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"arca/internal/envelope"
)

// A backup begins with three lines of text: the format, the header as JSON, and the
// key of the backup, sealed, in base64. Text, so that whoever finds the file years
// later can see with any tool what it is and which key it needs.
const (
	formatPrefix = "arca backup, format "
	formatLine   = formatPrefix + "1\n"

	maxFormatLine = 64
	maxHeaderLine = 16 << 10
	maxKeyLine    = 1 << 10
	// MaxHeaderBytes bounds the three lines together.
	MaxHeaderBytes = maxFormatLine + maxHeaderLine + maxKeyLine
)

// Header says in the clear what a backup is of and how it is sealed. Every byte of it
// is bound to the key of the backup.
type Header struct {
	// Version of arca that made the backup.
	Version string    `json:"version"`
	Created time.Time `json:"created"`
	// Deployment is the id of the data, Backup that of this backup, both 32 hexadecimal
	// digits.
	Deployment string `json:"deployment"`
	Backup     string `json:"backup"`
	// Revision of the store whose state this is.
	Revision int64 `json:"revision"`
	// Records that the store had then.
	Records int64 `json:"records"`
	// Root is set when the backup opens with the root key of the store, Passphrase, the
	// parameters of its derivation, when it opens with a passphrase of its own.
	Root       *Root  `json:"root,omitempty"`
	Passphrase []byte `json:"passphrase,omitempty"`

	text string // the first two lines
	key  []byte // envelope of the backup's key
}

// Root names the root key and holds what it wraps.
type Root struct {
	Kind   string `json:"kind"`
	Params []byte `json:"params"`
	KEK    []byte `json:"kek"`
}

// KeyID is the id of the root key, as far as the header can tell.
func (r *Root) KeyID() envelope.KeyID {
	id, _, err := envelope.Header(r.KEK)
	if err != nil {
		return envelope.KeyID{}
	}
	return id
}

// keyAD binds the key of the backup to all that the header says.
func (h *Header) keyAD() []byte {
	return envelope.Context(map[string]string{"use": "backup key", "header": h.text})
}

// render fixes the text of the header. The key is sealed afterwards, since the text is
// its additional data.
func (h *Header) render() error {
	line, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode header: %w", err)
	}
	if len(line) >= maxHeaderLine {
		return fmt.Errorf("encode header: %d bytes are too many", len(line))
	}
	h.text = formatLine + string(line) + "\n"
	return nil
}

// Bytes are the three lines.
func (h *Header) Bytes() []byte {
	return append([]byte(h.text), base64.StdEncoding.EncodeToString(h.key)+"\n"...)
}

// ParseHeader reads the three lines of text and not more.
func ParseHeader(raw []byte) (*Header, error) {
	r := bufio.NewReader(bytes.NewReader(raw))
	h, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	if _, err := r.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("%w: something follows the header", ErrDamaged)
	}
	return h, nil
}

func readHeader(r *bufio.Reader) (*Header, error) {
	first, err := readLine(r, maxFormatLine)
	if err != nil || !strings.HasPrefix(first, formatPrefix) {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		return nil, ErrNotBackup
	}
	if first != formatLine {
		number := strings.TrimSuffix(strings.TrimPrefix(first, formatPrefix), "\n")
		if number == "" || strings.Trim(number, "0123456789") != "" {
			return nil, ErrNotBackup
		}
		return nil, fmt.Errorf("%w: its format is %s, and this version knows 1", ErrNewer, number)
	}
	second, err := readLine(r, maxHeaderLine)
	if err != nil {
		return nil, headerError(err)
	}
	h := &Header{text: first + second}
	d := json.NewDecoder(strings.NewReader(second))
	d.DisallowUnknownFields()
	if err := d.Decode(h); err != nil {
		return nil, fmt.Errorf("%w: read header: %w", ErrDamaged, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: the header is more than one value", ErrDamaged)
	}
	third, err := readLine(r, maxKeyLine)
	if err != nil {
		return nil, headerError(err)
	}
	if h.key, err = base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(third, "\n")); err != nil {
		return nil, fmt.Errorf("%w: the key in the header is not base64", ErrDamaged)
	}
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return h, nil
}

func headerError(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends in its header", ErrIncomplete)
	}
	return err
}

// readLine reads up to a line end, which belongs to the line. What begins like a line
// and does not end is damaged, or io.EOF.
func readLine(r *bufio.Reader, most int) (string, error) {
	var line []byte
	for len(line) < most {
		b, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if line = append(line, b); b == '\n' {
			return string(line), nil
		}
	}
	return "", fmt.Errorf("%w: a line of its header is longer than %d bytes", ErrDamaged, most)
}

func (h *Header) check() error {
	for _, id := range []string{h.Deployment, h.Backup} {
		if raw, err := hex.DecodeString(id); err != nil || len(raw) != 16 || hex.EncodeToString(raw) != id {
			return errors.New("an id in the header is not 32 lower-case hexadecimal digits")
		}
	}
	if h.Revision <= 0 || h.Records < 0 {
		return errors.New("the header has a negative number")
	}
	if (h.Root == nil) == (len(h.Passphrase) == 0) {
		return errors.New("the header names neither root key nor passphrase, or both")
	}
	if _, _, err := envelope.Header(h.key); err != nil {
		return fmt.Errorf("the key in the header: %w", err)
	}
	return nil
}
