package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"arca/internal/audit"
)

// maxStateBytes bounds a state file: the queue of a target is the longest.
const maxStateBytes = 64 << 20

// readState reads a JSON file and reports whether it is there. One that cannot be
// understood is an error: to begin anew would leave out events without saying so.
func readState(path string, into any) (found bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read state of events: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written through it
	text, err := io.ReadAll(io.LimitReader(f, maxStateBytes))
	if err != nil {
		return false, fmt.Errorf("read state of events: %w", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return false, fmt.Errorf("read state of events in %s (removed, it begins at the end of the log): %w", path, err)
	}
	return true, nil
}

// writeState replaces a JSON file in one step. A crash leaves the old content or the
// new one. What readState would not take is not written.
func writeState(path string, v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // no browser reads it, and what strangers sent would grow
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write state of events: %w", err)
	}
	if text.Len() > maxStateBytes {
		return fmt.Errorf("write state of events: %d bytes for %s, the limit is %d", text.Len(), filepath.Base(path), maxStateBytes)
	}
	if err := audit.ReplaceFile(path, text.Bytes()); err != nil {
		return fmt.Errorf("write state of events: %w", err)
	}
	return nil
}
