// Package trail finds events in the audit log: by the attributes of CloudTrail's event
// history and by more, the newest first or the oldest first, page by page, over the
// directories of several nodes.
//
// It keeps an index for each segment, made in the background from the bytes on disk: no
// call waits for it. An index is a file that can be removed at any time, and that is made
// again when it is missing, damaged, or of a segment with another size. What is found is
// compared, on the line itself, with what was asked for.
//
// It trusts the segments. Who can change these, or the indexes, can hide events from
// searches; package audit finds that, by the tree, and this package does not. Foreign
// bytes in either make it miss events and cost time; they never make it show what is not
// in the log.
//
// The index and its measures are described in docs/design/trail.md.
package trail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"arca/internal/audit"
)

// Config says where the log is.
type Config struct {
	// Dirs are the directories to search; see Dirs. That of Log need not be among them.
	Dirs []string
	// Log is the log that this process writes, in LogDir. Nil searches the files as they
	// are, and leaves the directories as they are: indexes that are missing are made in a
	// temporary directory.
	Log    *audit.Log
	LogDir string
	Logger *slog.Logger
}

// Trail searches logs. Its methods may be called concurrently.
type Trail struct {
	folders []*folder
	log     *slog.Logger
	scratch string // "" with Log
	closing sync.Once
}

// lostPrefix begins the names of directories of former generations of a node's log.
const lostPrefix = "lost-"

// lostFound is what file systems have where they are mounted. Only root may read it.
const lostFound = "lost+found"

// Dirs lists the directories with segments: dir itself, or those of the nodes in it, and
// in each of them those of former generations of its log.
func Dirs(dir string) ([]string, error) {
	found, err := nodeDirs(dir)
	if err != nil {
		return nil, fmt.Errorf("look for audit logs: %w", err)
	}
	if len(found) > 0 {
		return found, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look for audit logs: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == lostFound {
			continue
		}
		more, err := nodeDirs(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("look for audit logs: %w", err)
		}
		found = append(found, more...)
	}
	return found, nil
}

// nodeDirs lists the directory of a node and those of former generations in it, as far
// as there are segments in them.
func nodeDirs(dir string) ([]string, error) {
	lost, err := filepath.Glob(filepath.Join(escapeGlob(dir), lostPrefix+"*"))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, d := range append([]string{dir}, lost...) {
		segs, err := audit.Segments(d)
		if err != nil && d == dir {
			return nil, err
		}
		if len(segs) > 0 {
			found = append(found, d)
		}
	}
	return found, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// Open makes the directories searchable. It reads next to nothing yet.
func Open(cfg Config) (*Trail, error) {
	t := &Trail{log: cfg.Logger}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Log == nil {
		var err error
		if t.scratch, err = os.MkdirTemp("", "arca-index-"); err != nil {
			return nil, fmt.Errorf("open audit trail: %w", err)
		}
	}
	dirs := make([]string, len(cfg.Dirs))
	for i, dir := range cfg.Dirs {
		dirs[i] = filepath.Clean(dir)
	}
	if cfg.Log != nil && !slices.Contains(dirs, filepath.Clean(cfg.LogDir)) {
		dirs = append(dirs, cfg.LogDir)
	}
	names := make(map[string]bool)
	for i, dir := range dirs {
		dir = filepath.Clean(dir)
		f := &folder{dir: dir, name: folderName(dir), slog: t.log, write: filepath.Join(dir, indexDir)}
		if names[f.name] {
			return nil, errors.Join(fmt.Errorf("open audit trail: two directories are called %s", f.name), t.Close())
		}
		names[f.name] = true
		if cfg.Log == nil {
			f.write = filepath.Join(t.scratch, strconv.Itoa(i))
		} else if dir == filepath.Clean(cfg.LogDir) {
			f.log = cfg.Log
		}
		t.folders = append(t.folders, f)
	}
	return t, nil
}

func folderName(dir string) string {
	name := filepath.Base(dir)
	if strings.HasPrefix(name, lostPrefix) {
		name = filepath.Base(filepath.Dir(dir)) + "/" + name
	}
	return name
}

// Close saves what was indexed, or removes the temporary directory. No search may run.
func (t *Trail) Close() error {
	var err error
	t.closing.Do(func() {
		if t.scratch != "" {
			err = os.RemoveAll(t.scratch)
			return
		}
		for _, f := range t.folders {
			f.close()
		}
	})
	return err
}

const (
	// advanceEvery is how often new lines are indexed.
	advanceEvery = 200 * time.Millisecond
	// tendEvery is how often old segments are looked at.
	tendEvery = 30 * time.Second
	// restFactor is how many times as long as it took to make the index of an old segment
	// Run rests after it: there may be many after an upgrade.
	restFactor = 3
)

// Run keeps the indexes until ctx ends. A Trail without Log has nothing to run; its
// searches make the indexes that they need.
func (t *Trail) Run(ctx context.Context) error {
	if t.scratch != "" {
		<-ctx.Done()
		return nil
	}
	for _, f := range t.folders {
		// Which segments are old shows only then. An error comes again below.
		_ = f.advance(ctx)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.tendAll(ctx)
	}()
	defer func() { <-done }()
	tick := time.NewTicker(advanceEvery)
	defer tick.Stop()
	failing := false
	for {
		var errs []error
		for _, f := range t.folders {
			errs = append(errs, f.advance(ctx))
		}
		switch err := errors.Join(errs...); {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			t.log.Error("audit log cannot be indexed; searches do not work", "error", err.Error())
			failing = true
		case err == nil:
			failing = false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (t *Trail) tendAll(ctx context.Context) {
	for {
		for _, f := range t.folders {
			if err := f.tend(ctx); err != nil && ctx.Err() == nil {
				t.log.Warn("index of the audit log is made later", "directory", f.dir, "error", err.Error())
			}
		}
		if !pause(ctx, tendEvery) {
			return
		}
	}
}

// pause returns false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// tend makes the indexes that old segments lack and removes those of segments that are
// gone.
func (f *folder) tend(ctx context.Context) error {
	segs, err := audit.Segments(f.dir)
	if err != nil {
		return err
	}
	if err := f.removeStray(segs); err != nil {
		return err
	}
	for i := len(segs) - 1; i >= 0 && ctx.Err() == nil; i-- {
		if f.isLive(segs[i].First) {
			continue
		}
		if file, done, err := f.openFile(segs[i].First); err == nil {
			covers := file.covers(segs[i], nextFirst(segs, i))
			done()
			if covers {
				continue
			}
		}
		start := time.Now()
		_, done, err := f.build(ctx, segs[i], nextFirst(segs, i))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil && ctx.Err() == nil && isDamage(err) {
			f.complain(segs[i].First, err)
			continue
		}
		if err != nil {
			return err
		}
		done()
		if !pause(ctx, restFactor*time.Since(start)) {
			return nil
		}
	}
	return nil
}

func nextFirst(segs []audit.Segment, i int) uint64 {
	if i+1 < len(segs) {
		return segs[i+1].First
	}
	return math.MaxUint64
}

// isLive reports whether the segment is one whose lines advance indexes, now or later.
func (f *folder) isLive(first uint64) bool {
	if f.log == nil {
		return false
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.live == nil || first >= f.live.first
}

// removeStray removes indexes without segment, and what writes that a crash ended left.
func (f *folder) removeStray(segs []audit.Segment) error {
	entries, err := os.ReadDir(f.write)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	// Segments are begun before they are indexed, so one that is not in segs though its
	// index is there may only have been begun since: the newest is left alone.
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tempSuffix) {
			if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > time.Hour {
				_ = os.Remove(filepath.Join(f.write, e.Name())) // tried again later
			}
			continue
		}
		digits, ok := strings.CutSuffix(e.Name(), indexSuffix)
		first, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || len(segs) == 0 || first > segs[len(segs)-1].First {
			continue
		}
		if !slices.ContainsFunc(segs, func(s audit.Segment) bool { return s.First == first }) {
			_ = os.Remove(filepath.Join(f.write, e.Name())) // likewise
		}
	}
	return nil
}
