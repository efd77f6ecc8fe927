package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mostRestarts is how often a server is stopped, and killed, to see how long it takes to
// come back, unless there are fewer rounds.
const mostRestarts = 3

// scaleRun is what was measured at one size, beside the smallest.
type scaleRun struct {
	size, base int
	// Of the smallest and this, reads of secrets that have been read before, and the
	// first reads of them.
	reads, firstReads [2]result
	lists             []*listResult
	memory            [2]memory
	stopped           []comeback // after SIGTERM
	killed            []comeback // after SIGKILL
	fsck              time.Duration
	disk              diskUse
	connections       int
}

// memory is anonymous memory in bytes.
type memory struct{ started, worked, highest int64 }

// scale fills a home for each size and measures each beside the smallest.
func scale(ctx context.Context, o options) error {
	sizes, err := parseSizes(o.scale)
	if err != nil {
		return err
	}
	if only, err := regexp.Compile(o.only); err != nil || !slices.ContainsFunc(scaleParts, only.MatchString) {
		return fmt.Errorf("-only wants a regular expression for %s", strings.Join(scaleParts, ", "))
	}
	var homes []scaleHome
	for _, n := range sizes {
		h := scaleHome{dir: filepath.Join(o.scaleDir, strconv.Itoa(n)), size: n}
		if err := h.fill(ctx, o); err != nil {
			return err
		}
		homes = append(homes, h)
	}
	var runs []*scaleRun
	for _, h := range homes[1:] {
		run, err := h.measure(ctx, o, homes[0])
		if err != nil {
			return err
		}
		runs = append(runs, run)
		fmt.Print(run)
	}
	if o.doc != "" && o.only == "" && len(runs) > 0 {
		return writeScaleDoc(ctx, o.doc, runs)
	}
	return nil
}

func (h scaleHome) measure(ctx context.Context, o options, base scaleHome) (run *scaleRun, err error) {
	run = &scaleRun{size: h.size, base: base.size, connections: o.connections}
	if o.part("restarts") {
		if err := h.measureRestarts(ctx, o, run); err != nil {
			return nil, err
		}
	}
	if o.part("reads") || o.part("lists") {
		if err := h.measureBeside(ctx, o, base, run); err != nil {
			return nil, err
		}
	}
	if run.disk, err = h.disk(); err != nil {
		return nil, err
	}
	if o.part("fsck") {
		run.fsck, err = h.fsck(ctx, o)
	}
	return run, err
}

// measureBeside measures everything that takes both servers.
func (h scaleHome) measureBeside(ctx context.Context, o options, base scaleHome, run *scaleRun) (err error) {
	var servers [2]*scaleServer
	for i, home := range []scaleHome{base, h} {
		if servers[i], err = home.start(ctx, o); err != nil {
			return err
		}
		defer servers[i].stop()
		if err := servers[i].tagPilots(); err != nil {
			return err
		}
		if run.memory[i].started, err = servers[i].quiet(); err != nil {
			return err
		}
	}
	watched := servers[1].watchMemory()
	if o.part("reads") {
		if run.firstReads, err = measureFirstReads(ctx, o, servers); err != nil {
			return err
		}
		if run.reads, err = measureReads(ctx, o, servers); err != nil {
			return err
		}
	}
	if o.part("lists") {
		if run.lists, err = measureLists(ctx, o, servers); err != nil {
			return err
		}
	}
	run.memory[1].highest = watched()
	for i, s := range servers {
		if run.memory[i].worked, err = s.quiet(); err != nil {
			return err
		}
	}
	return nil
}

// measureRestarts stops and kills the server of a home in turns.
func (h scaleHome) measureRestarts(ctx context.Context, o options, run *scaleRun) error {
	s, err := h.start(ctx, o)
	if err != nil {
		return err
	}
	for n := range 2 * min(o.rounds, mostRestarts) {
		var stop time.Duration
		if n%2 == 0 {
			stop = s.stop()
		} else if err := s.kill(ctx, o); err != nil {
			return fmt.Errorf("kill %s: %w", h.dir, err)
		}
		var c comeback
		if s, c, err = h.comeBack(ctx, o); err != nil {
			return fmt.Errorf("start %s again: %w", h.dir, err)
		}
		c.stop = stop
		fmt.Printf("restart %d: %+v\n", n, c)
		if n%2 == 0 {
			run.stopped = append(run.stopped, c)
		} else {
			run.killed = append(run.killed, c)
		}
	}
	s.stop()
	return nil
}

// tagPilots gives ten secrets a tag that no other has.
func (s *scaleServer) tagPilots() error {
	for _, i := range pilots(s.home.size) {
		in := map[string]any{"SecretId": scaleName(i), "Tags": []scaleTag{{pilotTag, pilotValue}}}
		if err := s.caller().do(secretsManager, "TagResource", in); err != nil {
			return err
		}
	}
	return nil
}

// watchMemory samples the server's anonymous memory until the function that it returns
// is called, which returns the most that was seen.
func (s *scaleServer) watchMemory() (highest func() int64) {
	done, most := make(chan struct{}), make(chan int64)
	go func() {
		var seen int64
		for {
			if now, err := s.proc.anonymous(); err == nil {
				seen = max(seen, now)
			}
			select {
			case <-time.After(250 * time.Millisecond):
			case <-done:
				most <- seen
				return
			}
		}
	}()
	return func() int64 { close(done); return <-most }
}

// scaleParts are what -only may choose of -scale.
var scaleParts = []string{"restarts", "reads", "lists", "fsck"}

// part says whether a part of -scale is to be measured. -only is known to be well-formed.
func (o *options) part(name string) bool { return regexp.MustCompile(o.only).MatchString(name) }

// do makes a call whose answer is of no interest.
func (c caller) do(s service, operation string, in any) error {
	req, err := c.signed(s, operation, in)
	if err != nil {
		return err
	}
	if _, err := fetch(req); err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// freeAddress is an address of this machine that nobody listens at for now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// parseSizes reads the numbers of -scale.
func parseSizes(text string) (sizes []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || len(sizes) > 0 && n <= sizes[len(sizes)-1] {
			return nil, fmt.Errorf("-scale wants ascending numbers: %q", text)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}
