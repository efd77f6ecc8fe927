package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// progress tells how far something long has got: in one line that changes on a
// terminal, in a line now and then elsewhere. What is over quickly says nothing.
type progress struct {
	w     io.Writer
	live  bool
	doing string
	unit  string
	total int64 // of units; 0 if there are none to count
	bytes int64 // in all; 0 if not known
	start time.Time
	last  time.Time
	width int // of the line on the terminal
}

const (
	liveEvery = 100 * time.Millisecond
	lineEvery = 10 * time.Second
)

func newProgress(w io.Writer, doing, unit string, total int64) *progress {
	now := time.Now()
	return &progress{w: w, live: isTerminal(w), doing: doing, unit: unit, total: total, start: now, last: now}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), ioctlReadTermios)
	return err == nil
}

// show tells of units and bytes done, if it is time to.
func (p *progress) show(done, bytes int64) {
	now := time.Now()
	if now.Sub(p.last) < p.every() {
		return
	}
	p.last = now
	p.write(p.line(done, bytes, now.Sub(p.start)))
}

// say tells a line of the caller's, if it is time to.
func (p *progress) say(line string) {
	now := time.Now()
	if now.Sub(p.last) < p.every() {
		return
	}
	p.last = now
	p.write(line)
}

func (p *progress) every() time.Duration {
	if p.live {
		return liveEvery
	}
	return lineEvery
}

func (p *progress) write(line string) {
	if !p.live {
		fmt.Fprintln(p.w, line)
		return
	}
	fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(0, p.width-len(line))))
	p.width = len(line)
}

func (p *progress) line(done, bytes int64, since time.Duration) string {
	var b strings.Builder
	b.WriteString(p.doing)
	b.WriteString(": ")
	share := 0.0
	switch {
	case p.total > 0:
		fmt.Fprintf(&b, "%d of %d %s, ", done, p.total, p.unit)
		share = float64(done) / float64(p.total)
	case p.bytes > 0:
		share = float64(bytes) / float64(p.bytes)
	}
	b.WriteString(mib(bytes))
	if p.total == 0 && p.bytes > 0 {
		fmt.Fprintf(&b, " of %s", mib(p.bytes))
	}
	if seconds := since.Seconds(); seconds > 0 {
		fmt.Fprintf(&b, ", %s/s", mib(int64(float64(bytes)/seconds)))
	}
	if share > 0.01 && share < 1 {
		left := time.Duration(float64(since) * (1 - share) / share)
		fmt.Fprintf(&b, ", %s left", left.Round(time.Second))
	}
	return b.String()
}

// end clears the line of a terminal.
func (p *progress) end() {
	if p.live && p.width > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.width))
		p.width = 0
	}
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
