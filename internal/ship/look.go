package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"

	"arca/internal/audit"
	"arca/internal/merkle"
)

// look finds out where this log's copy is and what it holds. A folder that holds
// another log's is passed over: a former generation of this one, or one with lines
// that this machine has lost. It may be the only proof of them.
func (c *copier) look(ctx context.Context) error {
	for i := 1; i <= maxCopies; i++ {
		folder := c.node
		if i > 1 {
			folder = fmt.Sprintf("%s.%d", c.node, i)
		}
		err := c.lookAt(ctx, folder)
		if errors.Is(err, errOther) {
			if uint64(i) > c.others.Load() {
				c.logger.Error("audit copy: what is there is left as it is, and copying goes on beside it", "name", c.cfg.Name, "folder", folder, "error", err)
			}
			continue
		}
		c.others.Store(uint64(i - 1))
		c.known = err == nil
		return err
	}
	return fmt.Errorf("more than %d folders for this node, all of other logs", maxCopies)
}

func (c *copier) lookAt(ctx context.Context, folder string) error {
	c.folder = folder
	c.segments, c.small, c.last = make(map[uint64]form), make(map[string]bool), make(map[string]string)
	files, folders, err := c.place.list(ctx, folder)
	if err != nil {
		return err
	}
	if _, set := c.cursor.Next(); set && folder == c.node && len(files)+len(folders) == 0 && c.place.vanished() {
		return fmt.Errorf("the copy was there and is gone: mount its disk again, or remove %s to begin a new one", c.path)
	}
	if err := c.ours(ctx, files); err != nil {
		return err
	}
	segs, err := audit.Segments(c.dir)
	if err != nil {
		return err
	}
	if err := c.compare(segs, files); err != nil {
		return err
	}
	if err := c.findNext(ctx, segs); err != nil {
		return err
	}
	for _, name := range []string{checkpointsName, prunedName} {
		if !slices.Contains(folders, name) {
			continue
		}
		small, _, err := c.place.list(ctx, path.Join(folder, name))
		if err != nil {
			return err
		}
		for f := range small {
			c.small[path.Join(name, f)] = true
		}
	}
	if err := c.dropTails(ctx, files, folders); err != nil {
		return err
	}
	return c.copyLost(ctx, files)
}

// ours returns nil when the checkpoint in the copy is one of this log, or there is
// none: a copy gets its first one with its first lines.
func (c *copier) ours(ctx context.Context, files map[string]int64) error {
	if _, ok := files[checkpointName]; !ok {
		return nil
	}
	text, err := c.place.read(ctx, path.Join(c.folder, checkpointName))
	if err != nil {
		return err
	}
	there, err := merkle.UnverifiedCheckpoint(text)
	if err != nil {
		return fmt.Errorf("%s/%s: %w", c.folder, checkpointName, err)
	}
	if origin := c.log.Origin(); there.Origin != origin {
		return fmt.Errorf("it is %q, this is %q: %w", there.Origin, origin, errOther)
	}
	if size := c.log.Size(); there.Size > size {
		return fmt.Errorf("it has a checkpoint of %d lines, the log has %d: %w", there.Size, size, errOther)
	}
	root, err := c.log.RootAt(there.Size)
	if err != nil {
		return err
	}
	if root != there.Root {
		return fmt.Errorf("the first %d lines are not those of its checkpoint: %w", there.Size, errOther)
	}
	return nil
}

// compare notes which segments are in the copy whole, given the files there.
func (c *copier) compare(segs []audit.Segment, files map[string]int64) error {
	if len(segs) == 0 {
		return nil
	}
	last := segs[len(segs)-1]
	for name := range files {
		if first, isCompressed, ok := audit.ParseSegmentName(name); ok && (first > last.First || first == last.First && (isCompressed || c.place.wantsWhole())) {
			return fmt.Errorf("it has %s, and the newest segment begins with line %d: %w", name, last.First, errOther)
		}
	}
	for _, seg := range segs[:len(segs)-1] {
		if _, ok := files[audit.SegmentName(seg.First, true)]; ok {
			c.segments[seg.First] = compressed
		} else if size, ok := files[audit.SegmentName(seg.First, false)]; ok && (c.place.wantsWhole() || !seg.Compressed && size == seg.Bytes) {
			c.segments[seg.First] = plain
		}
	}
	return nil
}

// findNext finds the first line that the copy does not have.
func (c *copier) findNext(ctx context.Context, segs []audit.Segment) error {
	next := uint64(0)
	for i, seg := range segs {
		if c.segments[seg.First] != absent {
			continue
		}
		end := c.log.Size()
		if i+1 < len(segs) {
			end = segs[i+1].First
		}
		var err error
		if next, err = c.place.tail(ctx, c.folder, seg); err != nil {
			return err
		}
		if next > end {
			return fmt.Errorf("it has line %d of the segment that ends before %d: %w", next-1, end, errOther)
		}
		if next < end {
			break
		}
	}
	c.rewind(next)
	c.state.at(next)
	return nil
}

// dropTails removes what a crash or an outage left of tails that are there whole.
func (c *copier) dropTails(ctx context.Context, files map[string]int64, folders []string) error {
	var firsts []uint64
	for name := range files {
		if first, isCompressed, ok := audit.ParseSegmentName(name); ok && !isCompressed && c.segments[first] == compressed {
			firsts = append(firsts, first)
		}
	}
	if slices.Contains(folders, tailName) {
		_, tails, err := c.place.list(ctx, path.Join(c.folder, tailName))
		if err != nil {
			return err
		}
		for _, t := range tails {
			if first, err := strconv.ParseUint(t, 10, 64); err == nil && c.segments[first] != absent {
				firsts = append(firsts, first)
			}
		}
	}
	for _, first := range firsts {
		if err := c.place.dropTail(ctx, c.folder, first); err != nil {
			return err
		}
	}
	return nil
}

// lineOffset returns where line first+skip begins in a segment that begins with line
// first, or io.EOF when the segment ends before it.
func lineOffset(r *audit.SegmentReader, skip uint64) (int64, error) {
	buf := make([]byte, 256<<10)
	offset := int64(0)
	for skip > 0 {
		n, err := r.ReadAt(buf, offset)
		p := buf[:n]
		if here := uint64(bytes.Count(p, []byte{'\n'})); here < skip {
			skip -= here
			offset += int64(n)
			if err != nil {
				return offset, err
			}
			continue
		}
		for ; skip > 0; skip-- {
			i := bytes.IndexByte(p, '\n') + 1
			p = p[i:]
			offset += int64(i)
		}
	}
	return offset, nil
}

// same reports whether a segment holds the given bytes at an offset.
func same(r *audit.SegmentReader, offset int64, want []byte) (bool, error) {
	got := make([]byte, len(want))
	n, err := r.ReadAt(got, offset)
	if n < len(got) && err != io.EOF {
		return false, err
	}
	return bytes.Equal(got[:n], want), nil
}
