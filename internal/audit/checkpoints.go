package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"arca/internal/merkle"
)

// Names in a node's directory.
const (
	checkpointName = "checkpoint"  // the newest checkpoint
	closingDir     = "checkpoints" // those that close segments, by size
	keyFileName    = "key"         // the verifier key, for people
	breakName      = "break"       // why the next Open begins a new log
	lostPrefix     = "lost-"       // directories with what is left of former logs

	// maxNoteBytes bounds the small files that are read whole.
	maxNoteBytes = 64 << 10
)

func checkpointPath(dir string) string { return filepath.Join(dir, checkpointName) }

// closingPath is the file of the checkpoint that closes a segment.
func closingPath(dir string, size uint64) string {
	return filepath.Join(dir, closingDir, fmt.Sprintf("%0*d", segmentDigits, size))
}

// readNote reads a small file, which may be anything: others can write here.
func readNote(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written through it
	text, err := io.ReadAll(io.LimitReader(f, maxNoteBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxNoteBytes {
		return nil, fmt.Errorf("%s has more than %d bytes", filepath.Base(path), maxNoteBytes)
	}
	return text, nil
}

// readCheckpoint reads a checkpoint of the key's from a file; nil if there is none.
func readCheckpoint(path string, key note.Verifier) (*merkle.Checkpoint, error) {
	text, err := readNote(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	c, err := merkle.OpenCheckpoint(text, key)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint %s: %w", filepath.Base(path), err)
	}
	return &c, nil
}

// closings lists the sizes of the checkpoints that close segments, largest first.
func closings(dir string) (sizes []uint64) {
	entries, err := os.ReadDir(filepath.Join(dir, closingDir))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if len(e.Name()) != segmentDigits || strings.Trim(e.Name(), "0123456789") != "" {
			continue
		}
		if n, err := strconv.ParseUint(e.Name(), 10, 64); err == nil {
			sizes = append(sizes, n)
		}
	}
	slices.Sort(sizes)
	slices.Reverse(sizes)
	return sizes
}

// maxClosings is how many closing checkpoints are tried before the tree is made again
// from the first line on.
const maxClosings = 64

// closedTree is the tree at the end of the newest closed segment whose tiles are whole,
// not beyond limit, and an empty one if there is none. Tiles at that size are durable
// as soon as the next segment is closed as well.
func closedTree(dir string, tiles *merkle.Tiles, key note.Verifier, origin string, limit uint64) *merkle.Tree {
	tried := 0
	for _, size := range closings(dir) {
		if size > limit {
			continue
		}
		if tried++; tried > maxClosings {
			break
		}
		c, err := readCheckpoint(closingPath(dir, size), key)
		if err != nil || c == nil || c.Size != size || c.Origin != origin {
			continue
		}
		if t, err := merkle.OpenTree(tiles, size, c.Root); err == nil {
			return t
		}
	}
	return merkle.NewTree(tiles)
}

// errAltered means that the lines do not give the root that was signed.
var errAltered = errors.New("the lines are not those of the tree")

// mendTiles makes the tiles of a checkpoint again from the lines, beginning where a
// closing checkpoint shows them to be whole. Nothing is written before the lines are
// seen to give the root: tiles are all that is left of lines that somebody changed.
func mendTiles(ctx context.Context, dir string, tiles *merkle.Tiles, key note.Verifier, c merkle.Checkpoint) error {
	return makeTiles(ctx, dir, c, func() *merkle.Tree { return closedTree(dir, tiles, key, c.Origin, c.Size) })
}

// RebuildTiles makes all tiles of a log again, from its first line up to a checkpoint,
// for a log in dir in whose tiles damage was found. Nothing is written if the lines do
// not give the checkpoint's root. It may run beside the log in another process: the
// tiles that both write are the same.
func RebuildTiles(ctx context.Context, dir string, c merkle.Checkpoint) error {
	tiles := merkle.NewTiles(dir)
	err := makeTiles(ctx, dir, c, func() *merkle.Tree { return merkle.NewTree(tiles) })
	if err != nil {
		return fmt.Errorf("make hash tiles again: %w", err)
	}
	return nil
}

func makeTiles(ctx context.Context, dir string, c merkle.Checkpoint, begin func() *merkle.Tree) error {
	grown := begin()
	if err := growTo(ctx, dir, grown, c.Size, false); err != nil {
		return err
	}
	if grown.Root() != c.Root {
		return errAltered
	}
	if grown.Lost() {
		// There are more of them than a tree holds in memory.
		grown = begin()
		if err := growTo(ctx, dir, grown, c.Size, true); err != nil {
			return err
		}
	}
	if err := grown.Flush(); err != nil {
		return fmt.Errorf("write hash tiles: %w", err)
	}
	return nil
}

// growTo lets a tree grow to a size from the lines in dir.
func growTo(ctx context.Context, dir string, grown *merkle.Tree, size uint64, flush bool) error {
	n := 0
	return scanLeaves(ctx, dir, grown.Size(), size, func(h merkle.Hash) error {
		grown.Append(h)
		if n++; flush && n%leavesAtOnce == 0 {
			return grown.Flush()
		}
		return nil
	})
}

// mendTorn mends what a crash may have torn of the tiles. They are not synced before a
// segment ends.
func (t *tree) mendTorn(ctx context.Context) {
	c := t.published.Load()
	if c == nil {
		return
	}
	err := mendTiles(ctx, t.log.cfg.Dir, t.tiles, t.key.Verifier(), *c)
	_, gap := errors.AsType[brokenError](err)
	switch {
	case err == nil || ctx.Err() != nil:
	case gap || errors.Is(err, errAltered):
		// The tree holds what was signed, and goes on from there.
		t.log.damagedLines("lines in it are not those that were signed " + signedOn(c))
	default:
		t.log.cfg.Logger.Error("audit log: hash tiles cannot be compared with the lines", "error", err)
	}
}

// damagedLines reports that lines which were signed are gone or changed.
func (l *Log) damagedLines(what string) {
	l.metrics.damage.Inc()
	l.cfg.Logger.Error("audit log: "+what+"; arca audit verify tells which", "dir", l.cfg.Dir)
}

// writeBreak notes, durably, that the next Open begins a new log, and which one ends.
func writeBreak(dir, why, origin string) error {
	why = strings.ReplaceAll(why, "\n", "; ")
	return ReplaceFile(filepath.Join(dir, breakName), []byte(why+"\n"+origin+"\n"))
}

// readBreak returns what writeBreak has noted. The origin is not there in old notes.
func readBreak(dir string) (why, origin string, noted bool) {
	text, err := readNote(filepath.Join(dir, breakName))
	if err != nil {
		return "unknown", "", !errors.Is(err, fs.ErrNotExist)
	}
	why, origin, _ = strings.Cut(string(text), "\n")
	origin, _, _ = strings.Cut(origin, "\n")
	if why = strings.ToValidUTF8(why[:min(len(why), 500)], "?"); why == "" {
		why = "unknown"
	}
	return why, origin, true
}

// setFormerAside moves everything of a former log into a directory of its own. A crash
// leaves part of it moved, and the note that says so.
func setFormerAside(dir, name string) (moved bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	to := filepath.Join(dir, name)
	for _, e := range entries {
		if n := e.Name(); n == lockName || n == journalName || n == breakName || n == keyFileName || strings.HasPrefix(n, lostPrefix) {
			continue
		}
		if !moved {
			if err := makeDir(to); err != nil {
				return false, err
			}
			moved = true
		}
		place := filepath.Join(to, e.Name())
		for {
			// An attempt that a crash ended may have moved a file of this name.
			if _, err := os.Lstat(place); errors.Is(err, fs.ErrNotExist) {
				break
			}
			place += ".again"
		}
		if err := os.Rename(filepath.Join(dir, e.Name()), place); err != nil {
			return moved, err
		}
	}
	if moved {
		if err := syncDir(to); err != nil {
			return moved, err
		}
	}
	return moved, syncDir(dir)
}
