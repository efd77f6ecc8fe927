package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/audit"
)

// next returns what the follower says next: an event id, "gone a-b", or an error.
func next(t testing.TB, f *audit.Follower) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	before := f.Position()
	n, line, err := f.Next(ctx)
	if gone, ok := errors.AsType[*audit.PrunedError](err); ok {
		return fmt.Sprintf("gone %d-%d", gone.From, gone.To)
	}
	if err != nil {
		return "error: " + err.Error()
	}
	if n != before {
		t.Errorf("Next returned line %d, the position was %d", n, before)
	}
	return eventID(line)
}

func eventID(line []byte) string {
	_, rest, _ := strings.Cut(string(line), `"eventID":"`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

func follow(t testing.TB, l *audit.Log, from uint64) *audit.Follower {
	t.Helper()
	f := l.Follow(from)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close follower: %v", err)
		}
	})
	return f
}

func wantNext(t testing.TB, f *audit.Follower, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := next(t, f); got != w {
			t.Fatalf("line %d: got %s, want %s", f.Position(), got, w)
		}
	}
}

func TestFollow(t *testing.T) {
	l, _ := start(t, audit.Config{Dir: t.TempDir(), MaxSegmentBytes: int64(3 * len(line("00")))})
	f := follow(t, l, 0)
	middle := follow(t, l, 5)
	for i := range 10 {
		id := fmt.Sprintf("%02d", i)
		mustAppend(t, l, id)
		wantNext(t, f, id)
		if f.Ready() {
			t.Errorf("Ready after the last line")
		}
	}
	wantNext(t, middle, "05", "06", "07", "08", "09")
	again := follow(t, l, 0)
	for i := range 10 {
		wantNext(t, again, fmt.Sprintf("%02d", i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := f.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next after cancel = %v", err)
	}
}

// TestFollowWaits shows that a waiting follower is woken by each line, and by Close.
func TestFollowWaits(t *testing.T) {
	l, _ := start(t, audit.Config{Dir: t.TempDir()})
	f := follow(t, l, 0)
	got := make(chan string)
	go func() {
		for {
			s := next(t, f)
			got <- s
			if strings.HasPrefix(s, "error") {
				return
			}
		}
	}()
	for i := range 20 {
		id := fmt.Sprint(i)
		mustAppend(t, l, id)
		if s := <-got; s != id {
			t.Fatalf("got %s, want %s", s, id)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if s, want := <-got, "error: "+audit.ErrClosed.Error(); s != want {
		t.Errorf("after Close: %s, want %s", s, want)
	}
}

func TestFollowGaps(t *testing.T) {
	dir := t.TempDir()
	l, _ := start(t, audit.Config{Dir: dir, MaxSegmentBytes: int64(2 * len(line("0")))})
	for i := range 9 {
		mustAppend(t, l, fmt.Sprint(i))
	}
	// Segments begin with 0, 2, 4, 6, 8.
	remove(t, segment(dir, 0))
	remove(t, segment(dir, 4))
	torn := line("7")
	if err := os.Truncate(segment(dir, 6), int64(len(line("6"))+1+len(torn)/2)); err != nil {
		t.Fatal(err)
	}
	f := follow(t, l, 0)
	wantNext(t, f, "gone 0-1", "2", "3", "gone 4-5", "6", "gone 7-7", "8")
	mustAppend(t, l, "9")
	wantNext(t, f, "9")
}

func segment(dir string, first uint64) string {
	return filepath.Join(dir, audit.SegmentName(first, false))
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestFollowReplaced removes the segment in use: the log writes it again, and the
// follower goes on in the new file.
func TestFollowReplaced(t *testing.T) {
	dir := t.TempDir()
	l, _ := start(t, audit.Config{Dir: dir})
	f := follow(t, l, 0)
	mustAppend(t, l, "a", "b")
	wantNext(t, f, "a", "b")
	remove(t, segment(dir, 0))
	waitFor(t, func() bool { _, err := os.Stat(segment(dir, 0)); return err == nil })
	mustAppend(t, l, "c")
	wantNext(t, f, "c")
}

func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// TestFollowFailedSync checks that a follower never shows a line whose Append failed,
// although its bytes were in the file for a while.
func TestFollowFailedSync(t *testing.T) {
	dir := t.TempDir()
	var f faults
	l, _ := start(t, f.config(dir))
	fo := follow(t, l, 0)
	mustAppend(t, l, "a")
	wantNext(t, fo, "a")
	broken := errors.New("input/output error")
	f.sync.Store(&broken)
	if err := l.Append(t.Context(), line("lost")); err == nil {
		t.Fatal("Append succeeded")
	}
	if fo.Ready() {
		t.Error("Ready after a failed Append")
	}
	f.sync.Store(nil)
	waitFor(t, func() bool { return l.Append(t.Context(), line("b")) == nil })
	wantNext(t, fo, "b")
}

func TestFollowLongForeignLine(t *testing.T) {
	dir := t.TempDir()
	long := bytes.Repeat([]byte("x"), audit.MaxLineBytes+300<<10)
	put(t, segment(dir, 0), bytes.Join([][]byte{line("a"), long, line("b"), nil}, []byte("\n")))
	l, _ := start(t, audit.Config{Dir: dir})
	f := follow(t, l, 0)
	wantNext(t, f, "a")
	_, got, err := f.Next(t.Context())
	if err != nil || len(got) != audit.MaxLineBytes {
		t.Fatalf("Next = %d bytes, %v", len(got), err)
	}
	wantNext(t, f, "b")
	mustAppend(t, l, "c")
	wantNext(t, f, "c")
}

// TestFollowAnyPath lets lines, followers and readings come in any order: a follower
// returns every line from its beginning on, once, in order.
func TestFollowAnyPath(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		l, _ := open(t, audit.Config{Dir: dir, MaxSegmentBytes: int64(rapid.IntRange(500, 9000).Draw(rt, "segment"))})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		defer func() { cancel(); <-done }()
		written := 0
		var all []*audit.Follower
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				var ids []string
				for range rapid.IntRange(1, 8).Draw(rt, "lines") {
					ids = append(ids, fmt.Sprint(written))
					written++
				}
				mustAppend(t, l, ids...)
			},
			"compress": func(rt *rapid.T) {
				if _, err := l.Maintain(t.Context(), audit.RetainConfig{Compress: true}, time.Now()); err != nil {
					rt.Fatal(err)
				}
			},
			"follow": func(rt *rapid.T) {
				if len(all) < 4 {
					all = append(all, l.Follow(uint64(rapid.IntRange(0, written).Draw(rt, "from"))))
				}
			},
			"read": func(rt *rapid.T) {
				if len(all) == 0 {
					return
				}
				f := rapid.SampledFrom(all).Draw(rt, "follower")
				for range rapid.IntRange(1, 10).Draw(rt, "reads") {
					if !f.Ready() {
						break
					}
					if got, want := next(t, f), fmt.Sprint(f.Position()-1); got != want {
						rt.Fatalf("got %s, want %s", got, want)
					}
				}
			},
			"": func(rt *rapid.T) {},
		})
		for _, f := range all {
			for f.Ready() {
				if got, want := next(t, f), fmt.Sprint(f.Position()-1); got != want {
					rt.Fatalf("got %s, want %s", got, want)
				}
			}
			if f.Position() != uint64(written) {
				rt.Errorf("follower stopped at %d of %d", f.Position(), written)
			}
			_ = f.Close()
		}
	})
}

func TestCursor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "delivery", "sink-a.json")
	c, err := audit.OpenCursor(path)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := c.Next(); ok || n != 0 {
		t.Errorf("new cursor: %d, %v", n, ok)
	}
	for _, n := range []uint64{0, 7, 1 << 62} {
		if err := c.Set(n); err != nil {
			t.Fatal(err)
		}
		again, err := audit.OpenCursor(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []*audit.Cursor{c, again} {
			if got, ok := c.Next(); !ok || got != n {
				t.Errorf("Next = %d, %v, want %d", got, ok, n)
			}
		}
	}
	if diff := cmp.Diff([]string{"sink-a.json"}, names(t, filepath.Dir(path))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	put(t, path, []byte("{"))
	if _, err := audit.OpenCursor(path); err == nil {
		t.Error("OpenCursor of a damaged file succeeded")
	}
}
