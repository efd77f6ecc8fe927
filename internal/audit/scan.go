package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// clockSlack is how much the times of neighbouring lines may disagree: a call
// carries the time of its beginning, and lines are written at the end of calls.
const clockSlack = 15 * time.Minute

// cancelEvery is how many lines are read between looks at the context.
const cancelEvery = 1024

// Scan calls fn for each line from number from on, in order, with the line's number.
// The line is valid during the call only. Lines older than the oldest segment that
// is there are passed over; a gap between segments ends the scan with an error. A
// line that is still being written is not seen. fn's error is returned as it is.
//
// Scan may run while the log is written to, by this process or another. It then ends
// where the log ended at some moment during the call, and may have seen lines whose
// callers got an error.
func Scan(ctx context.Context, dir string, from uint64, fn func(n uint64, line []byte) error) error {
	segs, err := Segments(dir)
	if err != nil {
		return fmt.Errorf("scan audit log: %w", err)
	}
	begun := false
	for i, seg := range segs {
		last := i == len(segs)-1
		if !last && segs[i+1].First <= from {
			continue
		}
		next, err := seg.scan(ctx, from, math.MaxUint64, last, fn)
		if !begun && !last && errors.Is(err, fs.ErrNotExist) && removed(dir, seg) {
			continue
		}
		if err != nil {
			return err
		}
		begun = true
		if !last && next != segs[i+1].First {
			return fmt.Errorf("scan audit log: %w", gapError{next, segs[i+1].First})
		}
	}
	return nil
}

// removed reports whether retention has removed a segment since it was listed, which
// it does with the oldest ones.
func removed(dir string, seg Segment) bool {
	segs, err := Segments(dir)
	return err == nil && len(segs) > 0 && segs[0].First > seg.First
}

// gapError says that the segments do not join.
type gapError struct{ want, got uint64 }

func (e gapError) Error() string {
	if e.got < e.want {
		return fmt.Sprintf("lines %d to %d exist twice", e.got, e.want-1)
	}
	return fmt.Sprintf("lines %d to %d are missing", e.want, e.got-1)
}

// scan visits the lines of one segment from number from on that come before limit,
// and returns the number after the last one.
func (s Segment) scan(ctx context.Context, from, limit uint64, newest bool, fn func(n uint64, line []byte) error) (next uint64, err error) {
	f, err := s.Open()
	if err != nil {
		return s.First, fmt.Errorf("scan audit log: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written through it
	next = s.First
	var offset int64
	if from > next {
		var skipped uint64
		offset, skipped, err = f.skipLines(from - next)
		next += skipped
		if err == io.EOF {
			return next, nil
		}
		if err != nil {
			return next, fmt.Errorf("scan audit log: %s: %w", s.name(), err)
		}
	}
	for r := f.lines(offset); next < limit; next++ {
		if next%cancelEvery == 0 && ctx.Err() != nil {
			return next, context.Cause(ctx)
		}
		line, _, err := r.next()
		if err == io.EOF || err == io.ErrUnexpectedEOF && newest {
			return next, nil
		}
		if err != nil {
			return next, fmt.Errorf("scan audit log: line %d in %s: %w", next, s.name(), err)
		}
		if err := fn(next, line); err != nil {
			return next, err
		}
	}
	return next, nil
}

// Contains reports for each event id whether a line with it is on disk. It looks
// back as far as since, and somewhat further. It settles effects after a crash; a
// false answer then leads to a second line with the same id, so since should be the
// time of the oldest call in question.
func (l *Log) Contains(ctx context.Context, since time.Time, eventIDs []string) (map[string]bool, error) {
	found := make(map[string]bool, len(eventIDs))
	for _, id := range eventIDs {
		found[id] = false
	}
	missing := len(found)
	segs, err := Segments(l.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("search audit log: %w", err)
	}
	horizon := []byte(since.UTC().Add(-clockSlack).Format("2006-01-02T15:04:05Z"))
	limit := l.Size()
	for i := len(segs) - 1; i >= 0 && missing > 0; i-- {
		// The end of a segment tells whether it is worth reading, which matters for one
		// that has to be decompressed.
		if last, err := segs[i].lastTime(); i < len(segs)-1 && err == nil && last.Before(since.Add(-2*clockSlack)) {
			break
		}
		recent := false
		_, err := segs[i].scan(ctx, 0, limit, i == len(segs)-1, func(_ uint64, line []byte) error {
			// Times of one length in UTC compare as text.
			if !recent && bytes.Compare(between(line, bytes.Index, `"eventTime":"`), horizon) >= 0 {
				recent = true
			}
			id := between(line, bytes.LastIndex, `"eventID":"`)
			if seen, asked := found[string(id)]; asked && !seen && lineID(line) == string(id) {
				found[string(id)] = true
				missing--
			}
			return nil
		})
		if errors.Is(err, fs.ErrNotExist) && removed(l.cfg.Dir, segs[i]) {
			break
		}
		if err != nil {
			return nil, err
		}
		if !recent && segs[i].First < limit {
			break
		}
	}
	return found, nil
}

// between returns the rest of the string that follows name, at its first or last
// place in the line. In strings, the quotes of name would be escaped; so only a
// nested member can be taken for it. The only members with names that strangers
// choose are in the request's parameters, which come after eventTime and before
// eventID.
func between(line []byte, index func(s, sep []byte) int, name string) []byte {
	i := index(line, []byte(name))
	if i < 0 {
		return nil
	}
	rest := line[i+len(name):]
	j := bytes.IndexByte(rest, '"')
	if j < 0 {
		return nil
	}
	return rest[:j]
}

// summary is what checking needs of a line.
type summary struct {
	EventVersion string    `json:"eventVersion"`
	EventTime    time.Time `json:"eventTime"`
	EventName    string    `json:"eventName"`
	EventID      string    `json:"eventID"`
	Arca         struct {
		Node string `json:"node"`
	} `json:"arca"`
}

func parseSummary(line []byte) (summary, error) {
	var s summary
	if !utf8.Valid(line) { // Unmarshal would mend it
		return s, errors.New("not UTF-8")
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return s, err
	}
	switch {
	case s.EventVersion == "":
		return s, errors.New("no eventVersion")
	case s.EventTime.IsZero():
		return s, errors.New("no eventTime")
	case s.EventName == "":
		return s, errors.New("no eventName")
	case s.EventID == "":
		return s, errors.New("no eventID")
	case s.Arca.Node == "":
		return s, errors.New("no node")
	}
	return s, nil
}

func lineID(line []byte) string {
	s, err := parseSummary(line)
	if err != nil {
		return ""
	}
	return s.EventID
}

// Check reads the lines that are on disk and reports each that is not a record, each
// event id that occurs twice among some hundred thousand neighbours, each gap in the
// numbering, and each file of records that recovery cut off. Problems end up in
// report, in the log's order; the error is for a check that could not be carried out.
// It runs beside Append.
func (l *Log) Check(ctx context.Context, report func(problem string)) error {
	l.checkTree(report)
	return check(ctx, l.cfg.Dir, l.Size(), report)
}

// CheckDir is Check for a log that no process of ours has open, or a copy.
func CheckDir(ctx context.Context, dir string, report func(problem string)) error {
	return check(ctx, dir, math.MaxUint64, report)
}

func check(ctx context.Context, dir string, limit uint64, report func(problem string)) error {
	segs, err := Segments(dir)
	if err != nil {
		return fmt.Errorf("check audit log: %w", err)
	}
	var ids recentIDs
	for i, seg := range segs {
		if seg.First > limit {
			break // begun after the check
		}
		last := i == len(segs)-1
		next, err := seg.scan(ctx, 0, limit, last, func(n uint64, line []byte) error {
			s, err := parseSummary(line)
			if err != nil {
				report(fmt.Sprintf("audit line %d: %v", n, err))
				return nil
			}
			if before, double := ids.add(s.EventID, n); double {
				report(fmt.Sprintf("audit line %d: event id %q is already on line %d", n, s.EventID, before))
			}
			return nil
		})
		if errors.Is(err, io.ErrUnexpectedEOF) {
			report(fmt.Sprintf("audit segment %s ends within line %d", seg.name(), next))
			next++
		} else if errors.Is(err, fs.ErrNotExist) && removed(dir, seg) {
			continue
		} else if err != nil && ctx.Err() != nil {
			return err
		} else if err != nil {
			report(fmt.Sprintf("audit segment %s cannot be read from line %d on: %v", seg.name(), next, err))
			continue
		}
		want := limit
		if !last && segs[i+1].First <= limit {
			want = segs[i+1].First
		}
		if want != math.MaxUint64 && next != want {
			report("audit log: " + gapError{next, want}.Error())
		}
	}
	return checkCuts(dir, report)
}

// checkCuts reports what recovery moved aside if there are whole records in it. After
// a power failure nobody was told about them. But zeros can also come from a disk
// that lost a block, or from somebody, and then the records were acknowledged.
func checkCuts(dir string, report func(problem string)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("check audit log: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), journalAside) {
			report(fmt.Sprintf("audit log: a start did not use %s, which did not fit its segment: compare the two; then the file can be removed", e.Name()))
		}
		if !strings.Contains(e.Name(), segmentSuffix+cutInfix) {
			continue
		}
		n, err := countRecords(filepath.Join(dir, e.Name()))
		if err != nil {
			return fmt.Errorf("check audit log: %w", err)
		}
		if n > 0 {
			report(fmt.Sprintf("audit log: recovery moved %d whole records behind a damaged one into %s: "+
				"expected only after a power failure, and then the file can be removed", n, e.Name()))
		}
	}
	return nil
}

func countRecords(path string) (n int, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // nothing was written through it
	r := newLineReader(f)
	for {
		line, _, err := r.next()
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if lineID(line) != "" {
			n++
		}
	}
}

// recentIDs remembers at least the last idGeneration ids, and at most twice as many.
type recentIDs struct{ young, old map[string]uint64 }

const idGeneration = 1 << 17

func (r *recentIDs) add(id string, n uint64) (before uint64, double bool) {
	if before, double = r.young[id]; double {
		return before, true
	}
	if before, double = r.old[id]; double {
		return before, true
	}
	if r.young == nil || len(r.young) >= idGeneration {
		r.young, r.old = make(map[string]uint64), r.young
	}
	r.young[id] = n
	return 0, false
}
