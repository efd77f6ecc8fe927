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
	if err := replace(path, text.Bytes()); err != nil {
		return fmt.Errorf("write state of events: %w", err)
	}
	return nil
}

func replace(path string, content []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
