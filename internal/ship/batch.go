package ship

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// batch is a run of consecutive lines of the log, without those that a sink does not
// want. It is reused: what it holds is valid until the next reset.
type batch struct {
	first uint64 // the number of the first line that was looked at
	next  uint64 // the number after the last one
	buf   []byte // the lines, each with its newline
	ends  []int  // of each line in buf, behind its newline
	nums  []uint64
}

func (b *batch) reset(first uint64) {
	b.first, b.next = first, first
	b.buf, b.ends, b.nums = b.buf[:0], b.ends[:0], b.nums[:0]
}

func (b *batch) add(n uint64, line []byte) {
	b.buf = append(append(b.buf, line...), '\n')
	b.ends = append(b.ends, len(b.buf))
	b.nums = append(b.nums, n)
}

func (b *batch) len() int { return len(b.ends) }

// line returns line i without its newline.
func (b *batch) line(i int) []byte {
	start := 0
	if i > 0 {
		start = b.ends[i-1]
	}
	return b.buf[start : b.ends[i]-1]
}

// cut returns the lines from i to before j, newlines included.
func (b *batch) cut(i, j int) []byte {
	start := 0
	if i > 0 {
		start = b.ends[i-1]
	}
	return b.buf[start:b.ends[j-1]]
}

// filter says which lines a sink wants.
type filter struct {
	sources    []string
	writesOnly bool
}

// wants reports whether a line passes. One that cannot be read does: it is a sink's
// task to show what the log holds.
func (f filter) wants(line []byte) bool {
	if len(f.sources) == 0 && !f.writesOnly {
		return true
	}
	var s struct {
		EventSource string `json:"eventSource"`
		ReadOnly    bool   `json:"readOnly"`
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return true
	}
	if f.writesOnly && s.ReadOnly {
		return false
	}
	return len(f.sources) == 0 || slices.Contains(f.sources, s.EventSource)
}

const eventTimeMember = `"eventTime":"`

// eventTime returns the time of a line as it stands there and as a time. What stands
// before it in a line is the caller's identity, strings and objects in which that
// name occurs nowhere else.
func eventTime(line []byte) (text []byte, t time.Time, ok bool) {
	_, rest, found := bytes.Cut(line, []byte(eventTimeMember))
	if !found {
		return nil, time.Time{}, false
	}
	i := bytes.IndexByte(rest, '"')
	if i < 0 {
		return nil, time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, string(rest[:i]))
	return rest[:i], t, err == nil
}
