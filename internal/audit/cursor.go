package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// maxCursorBytes bounds the file of a cursor.
const maxCursorBytes = 4 << 10

// Cursor is a place in a log that survives restarts: how far a copy, a sink or a
// receiver of events has come. Its methods may be called concurrently.
type Cursor struct {
	path string

	mu    sync.Mutex
	state cursorFile // guarded by mu
	set   bool       // guarded by mu
}

// cursorFile is the file's content.
type cursorFile struct {
	// Next is the number of the next line, not of the last one.
	Next uint64 `json:"next"`
	// Log is the origin of the log that the numbers belong to: a log that had to
	// begin anew counts from zero again. Empty for a log without a tree.
	Log string `json:"log,omitempty"`
}

// OpenCursor reads the cursor kept in a file. A file that does not exist is a cursor
// that was never set; one that cannot be understood is an error, since to guess
// would mean to leave lines out or to send all of them again.
func OpenCursor(path string) (*Cursor, error) { return openCursor(path, "") }

// OpenCursor reads a cursor that follows l. One that was set in a former generation
// of the log stands at the first line of this one.
func (l *Log) OpenCursor(path string) (*Cursor, error) { return openCursor(path, l.origin()) }

func openCursor(path, origin string) (*Cursor, error) {
	c := &Cursor{path: path, state: cursorFile{Log: origin}}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	} else if err != nil {
		return nil, fmt.Errorf("open audit cursor: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written through it
	text, err := io.ReadAll(io.LimitReader(f, maxCursorBytes))
	if err != nil {
		return nil, fmt.Errorf("read audit cursor: %w", err)
	}
	var state cursorFile
	if err := json.Unmarshal(text, &state); err != nil {
		return nil, fmt.Errorf("read audit cursor %s: %w", path, err)
	}
	c.set = true
	if origin == "" || state.Log == "" || state.Log == origin {
		c.state.Next = state.Next
	}
	return c, nil
}

// Next is the number of the line to go on with. It is false when the cursor was
// never set.
func (c *Cursor) Next() (n uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Next, c.set
}

// Set moves the cursor and returns when a crash cannot undo that. After an error the
// file holds the old place or the new one.
func (c *Cursor) Set(n uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := c.state
	state.Next = n
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := ReplaceFile(c.path, append(text, '\n')); err != nil {
		return fmt.Errorf("write audit cursor: %w", err)
	}
	c.state, c.set = state, true
	return nil
}

// ReplaceFile replaces a file in one step, durably. A crash leaves the old content or
// the new one, and maybe a file ending in .tmp that the next call replaces.
func ReplaceFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return err
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
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
	return syncDir(dir)
}
