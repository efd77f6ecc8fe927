package audit_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
)

const journalFile = "journal"

// journaled starts a log and appends lines until it syncs them in its journal. It
// returns the lines' ids.
func journaled(t testing.TB, cfg audit.Config) (*audit.Log, *logBuffer, []string) {
	t.Helper()
	cfg.JournalAfter = 1
	l, log := start(t, cfg)
	var ids []string
	eventually(t, "journal in use", func() bool {
		ids = append(ids, fmt.Sprint("j", len(ids)))
		mustAppend(t, l, ids[len(ids)-1])
		return l.Journaling()
	})
	return l, log, ids
}

// crashed is a copy of the log's directory as a power failure leaves it: of the newest
// segment, what do makes of it.
func crashed(t testing.TB, dir, segment string, do func(data []byte) []byte) (copied string) {
	t.Helper()
	copied = t.TempDir()
	for _, name := range names(t, dir) {
		data := read(t, filepath.Join(dir, name))
		if name == segment {
			data = do(data)
		}
		put(t, filepath.Join(copied, name), data)
	}
	return copied
}

// recovered opens the directory and returns the ids of its lines.
func recovered(t testing.TB, dir string) (ids []string, log *logBuffer) {
	t.Helper()
	l, log := open(t, audit.Config{Dir: dir})
	defer func() { _ = l.Close() }() // Cleanup looks at the error
	return scan(t, dir, 0), log
}

// Whatever the segment has lost that was not synced there, the journal brings back.
func TestJournalRecovers(t *testing.T) {
	dir := t.TempDir()
	l, _, ids := journaled(t, audit.Config{Dir: dir})
	path := filepath.Join(dir, firstSegment)
	synced := len(read(t, path))
	for i := range 40 {
		ids = append(ids, fmt.Sprint("more", i))
		mustAppend(t, l, ids[len(ids)-1])
	}
	size := len(read(t, path))
	for at := synced; at <= size; at += 4093 {
		for _, lost := range []struct {
			name string
			do   func(data []byte) []byte
		}{
			{"shorter", func(data []byte) []byte { return data[:at] }},
			{"zeros", func(data []byte) []byte { clear(data[at:]); return data }},
			{"a block of zeros", func(data []byte) []byte { clear(data[at:min(at+audit.BlockBytes, len(data))]); return data }},
			{"more behind", func(data []byte) []byte { return append(data[:at], make([]byte, size)...) }},
		} {
			got, _ := recovered(t, crashed(t, dir, firstSegment, lost.do))
			if diff := cmp.Diff(ids, got); diff != "" {
				t.Fatalf("%s at %d of %d (-want +got):\n%s", lost.name, at, size, diff)
			}
		}
	}
	if !l.Journaling() {
		t.Error("the journal is no longer in use")
	}
}

// An entry that was being written is no entry, and those before it count.
func TestJournalTorn(t *testing.T) {
	dir := t.TempDir()
	l, _, ids := journaled(t, audit.Config{Dir: dir})
	path := filepath.Join(dir, firstSegment)
	synced := len(read(t, path))
	mustAppend(t, l, "last but one")
	mustAppend(t, l, "last")
	cut := func(data []byte) []byte { return data[:synced] }
	for _, at := range []int{0, 20, 100, len(line("last")) + 55} {
		copied := crashed(t, dir, firstSegment, cut)
		journal := read(t, filepath.Join(copied, journalFile))
		begin := bytes.LastIndex(journal, line("last")) - 56
		journal[begin+at] ^= 1
		put(t, filepath.Join(copied, journalFile), journal)
		got, _ := recovered(t, copied)
		if diff := cmp.Diff(append(ids[:len(ids):len(ids)], "last but one"), got); diff != "" {
			t.Errorf("byte %d (-want +got):\n%s", at, diff)
		}
	}
	for _, size := range []int{0, 100, audit.JournalBytes - 1, audit.JournalBytes + 1} {
		copied := crashed(t, dir, firstSegment, cut)
		put(t, filepath.Join(copied, journalFile), make([]byte, size))
		got, log := recovered(t, copied)
		if diff := cmp.Diff(ids, got); diff != "" {
			t.Errorf("%d bytes of something else (-want +got):\n%s", size, diff)
		}
		if !strings.Contains(log.String(), "journal cannot be used") {
			t.Errorf("%d bytes of something else: logged %q", size, log)
		}
	}
}

// The journal is written over many times, the segment followed by others, and what a crash
// takes off the newest one comes back.
func TestJournalGoesRound(t *testing.T) {
	if testing.Short() {
		t.Skip("writes some 100 MB")
	}
	for _, segmentBytes := range []int64{1 << 30, 11 << 20} {
		dir := t.TempDir()
		l, _, ids := journaled(t, audit.Config{Dir: dir, MaxSegmentBytes: segmentBytes})
		for round := range 3 {
			for i := range 45 {
				id := fmt.Sprint("r", round, "n", i)
				ids = append(ids, id)
				// 0.3 MB, or two of that, or more than a half can take twice.
				long := func() []byte {
					return bytes.Replace(line(id), []byte(`"eventID"`), fmt.Appendf(nil, `"x":"%s","eventID"`, strings.Repeat("x", 300<<10)), 1)
				}
				lines := [][]byte{long()}
				for n := range []int{0, 1, 8}[i%3] {
					id = fmt.Sprint(ids[len(ids)-1], "+", n)
					ids = append(ids, id)
					lines = append(lines, long())
				}
				if err := l.Append(t.Context(), lines...); err != nil {
					t.Fatal(err)
				}
			}
			segs, err := audit.Segments(dir)
			if err != nil {
				t.Fatal(err)
			}
			newest := filepath.Base(segs[len(segs)-1].Path)
			if len(segs) == 1 != (segmentBytes == 1<<30) {
				t.Fatalf("%d segments", len(segs))
			}
			got, log := recovered(t, crashed(t, dir, newest, func(data []byte) []byte { return data[:max(0, len(data)-4<<20)] }))
			if strings.Contains(log.String(), "journal") {
				t.Errorf("round %d: what was written over is no damage: %s", round, log)
			}
			if diff := cmp.Diff(ids, got); diff != "" {
				t.Fatalf("round %d (-want +got):\n%s", round, diff)
			}
		}
		if !l.Journaling() {
			t.Error("the journal is no longer in use")
		}
	}
}

// What was written to the segment by somebody who does not know the journal, such as an
// older version after a crash, stays.
func TestJournalOfAnotherTime(t *testing.T) {
	dir := t.TempDir()
	l, _, ids := journaled(t, audit.Config{Dir: dir})
	mustAppend(t, l, "journaled")
	other := append(line("another"), '\n')
	copied := crashed(t, dir, firstSegment, func(data []byte) []byte {
		return append(data[:len(data)-len(line("journaled"))-1], other...)
	})
	got, log := recovered(t, copied)
	if diff := cmp.Diff(append(ids[:len(ids):len(ids)], "another"), got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if !strings.Contains(log.String(), "kept_as=journal.aside-") {
		t.Errorf("logged %q", log)
	}
	if got := problems(t, copied); len(got) != 1 || !strings.Contains(got[0], "journal.aside-") {
		t.Errorf("problems: %q", got)
	}
	got, _ = recovered(t, copied) // again
	if diff := cmp.Diff(append(ids[:len(ids):len(ids)], "another"), got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// A copy of the directory has the segment as it was before, and the journal as it was
// after it was copied: what lies between is in neither.
func TestJournalYoungerThanSegment(t *testing.T) {
	dir := t.TempDir()
	_, _, ids := journaled(t, audit.Config{Dir: dir})
	copied := crashed(t, dir, firstSegment, func(data []byte) []byte { return data[:len(line(ids[0]))+1-10] })
	got, log := recovered(t, copied)
	if len(got) != 0 || !strings.Contains(log.String(), "kept_as=journal.aside-") {
		t.Errorf("lines %q, logged %s", got, log)
	}
}

// An entry that was damaged after it was written is told, and takes only its own lines
// along.
func TestJournalGap(t *testing.T) {
	dir := t.TempDir()
	l, _, ids := journaled(t, audit.Config{Dir: dir})
	synced := len(read(t, filepath.Join(dir, firstSegment)))
	for _, id := range []string{"x", "y", "z"} {
		mustAppend(t, l, id)
	}
	ids = append(ids, "x")
	copied := crashed(t, dir, firstSegment, func(data []byte) []byte { return data[:synced] })
	journal := read(t, filepath.Join(copied, journalFile))
	journal[bytes.Index(journal, line("y"))+10] ^= 1
	put(t, filepath.Join(copied, journalFile), journal)
	got, log := recovered(t, copied)
	if len(got) < len(ids) || !cmp.Equal(got[:len(ids)], ids) || !strings.Contains(log.String(), "not what was written") {
		t.Errorf("lines %q, logged %s", got, log)
	}
}

// After a clean end nothing of the journal counts any more, and the next run uses it at
// once.
func TestJournalAfterAClose(t *testing.T) {
	dir := t.TempDir()
	l, _, ids := journaled(t, audit.Config{Dir: dir})
	mustAppend(t, l, "last")
	ids = append(ids, "last")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if lines, err := audit.JournalLines(read(t, filepath.Join(dir, journalFile)), 0); err != nil || lines != nil {
		t.Errorf("the journal has %d entries, error %v", len(lines), err)
	}
	cut := crashed(t, dir, firstSegment, func(data []byte) []byte { return data[:len(data)-len(line("last"))-1] })
	if got, _ := recovered(t, cut); len(got) != len(ids)-1 {
		t.Errorf("%d lines, want %d", len(got), len(ids)-1)
	}
	again, _ := start(t, audit.Config{Dir: dir})
	if !again.Journaling() {
		t.Error("the journal is not in use")
	}
	mustAppend(t, again, "next")
	cut = crashed(t, dir, firstSegment, func(data []byte) []byte { return data[:len(data)-10] })
	if got, _ := recovered(t, cut); !cmp.Equal(got, append(ids, "next")) {
		t.Errorf("got %q", got)
	}
	without, _ := start(t, audit.Config{Dir: crashed(t, dir, firstSegment, func(data []byte) []byte { return data[:len(data)-10] }), JournalAfter: -1})
	if without.Journaling() || without.Size() != uint64(len(ids)+1) {
		t.Errorf("without a journal: %d lines, journal in use: %v", without.Size(), without.Journaling())
	}
}

// With a journal in use, a fault refuses calls as it does without, and afterwards the
// segment holds what was acknowledged, by itself.
func TestJournalFaults(t *testing.T) {
	full, broken := error(syscall.ENOSPC), error(syscall.EIO)
	for _, tt := range []struct {
		name string
		set  func(f *faults, dir string)
		want error
	}{
		{"disk full", func(f *faults, _ string) { f.write.Store(&full); f.part.Store(100) }, full},
		{"sync fails", func(f *faults, _ string) { f.sync.Store(&broken) }, broken},
		{"both fail", func(f *faults, _ string) { f.sync.Store(&broken); f.write.Store(&full) }, nil},
		{"segment removed while the sync fails", func(f *faults, dir string) {
			f.sync.Store(&broken)
			_ = os.Remove(filepath.Join(dir, firstSegment))
		}, broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var f faults
			l, _, ids := journaled(t, f.config(dir))
			tt.set(&f, dir)
			for range 3 {
				if err := l.Append(t.Context(), line("lost")); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("Append = %v, want %v", err, tt.want)
				}
			}
			f.write.Store(nil)
			f.sync.Store(nil)
			eventually(t, "healed", func() bool { return l.Err() == nil })
			mustAppend(t, l, "after")
			ids = append(ids, "after")
			wants(t, dir, ids...)
			eventually(t, "journal in use again", func() bool {
				ids = append(ids, fmt.Sprint("k", len(ids)))
				mustAppend(t, l, ids[len(ids)-1])
				return l.Journaling()
			})
			wants(t, dir, ids...)
			got, _ := recovered(t, crashed(t, dir, "", nil))
			if diff := cmp.Diff(ids, got); diff != "" {
				t.Errorf("after a crash (-want +got):\n%s", diff)
			}
		})
	}
}

// When the disk fails in syncing the segment, what it dropped of acknowledged lines is
// written again from the journal.
func TestJournalMendsSegment(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, firstSegment)
	var fail atomic.Int64 // how many syncs
	eio := error(syscall.EIO)
	fail.Store(-1)
	var from int64
	full := 3 // writes that fail while the segment is mended
	cfg := audit.Config{Dir: dir, WriteFault: func(p []byte) (int, error) {
		if fail.Load() == 0 && full > 0 {
			full--
			return 0, syscall.ENOSPC
		}
		return len(p), nil
	}, SyncFault: func() error {
		switch fail.Add(-1) {
		case 1: // of the journal
			return eio
		case 0: // of the segment, which is synced since the journal failed
			return errors.Join(zero(path, from), eio)
		}
		return nil
	}}
	l, _, ids := journaled(t, cfg)
	from = int64(len(read(t, path))) / audit.BlockBytes * audit.BlockBytes
	for i := range 30 {
		ids = append(ids, fmt.Sprint("more", i))
		mustAppend(t, l, ids[len(ids)-1])
	}
	fail.Store(2)
	if err := l.Append(t.Context(), line("lost")); !errors.Is(err, eio) {
		t.Fatalf("Append = %v, want %v", err, eio)
	}
	eventually(t, "healed", func() bool { return fail.Load() < 0 && l.Err() == nil })
	mustAppend(t, l, "after")
	wants(t, dir, append(ids, "after")...)
	if full != 0 {
		t.Errorf("%d of the writes that should have failed were not tried", full)
	}
}

// zero overwrites the end of a file with zeros, as a disk does that drops it.
func zero(path string, from int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, info.Size()-from), from)
	return errors.Join(err, f.Close())
}

// What others do to the journal while it is in use is noticed, and what only it had on disk
// is synced.
func TestJournalInterference(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(path string) error
	}{
		{"removed", os.Remove},
		{"cut", func(path string) error { return os.Truncate(path, 100) }},
		{"overwritten", func(path string) error { return os.WriteFile(path, make([]byte, audit.JournalBytes), 0o600) }},
		{"a directory in its place", func(path string) error {
			return errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "in", "the", "way"), 0o700))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l, log, ids := journaled(t, audit.Config{Dir: dir})
			path := filepath.Join(dir, journalFile)
			if err := tt.do(path); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, "more")
			mustAppend(t, l, "more")
			eventually(t, "noticed", func() bool { return strings.Contains(log.String(), "lost its journal") })
			for i := range 5 {
				ids = append(ids, fmt.Sprint("k", i))
				mustAppend(t, l, ids[len(ids)-1])
			}
			wants(t, dir, ids...)
			if strings.Contains(log.String(), "cannot write") {
				t.Errorf("it counts as an outage: %s", log)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			again, _ := start(t, audit.Config{Dir: dir})
			mustAppend(t, again, "again")
			wants(t, dir, append(ids, "again")...)
		})
	}
}

// What others cut off the segment comes back if only the journal has it on disk.
func TestJournalAfterACut(t *testing.T) {
	dir := t.TempDir()
	l, log, ids := journaled(t, audit.Config{Dir: dir})
	path := filepath.Join(dir, firstSegment)
	before := int64(len(read(t, path)))
	ids = append(ids, "cut")
	mustAppend(t, l, "cut")
	if err := os.Truncate(path, before+10); err != nil {
		t.Fatal(err)
	}
	eventually(t, "noticed", func() bool { return strings.Contains(log.String(), "written again from the journal") })
	mustAppend(t, l, "after")
	wants(t, dir, append(ids, "after")...)
}

// A log that is seldom written to makes no journal, nor one that is to have none.
func TestNoJournal(t *testing.T) {
	for _, after := range []int{0, -1} {
		dir := t.TempDir()
		l, _ := start(t, audit.Config{Dir: dir, JournalAfter: after})
		for i := range 20 {
			mustAppend(t, l, fmt.Sprint(i))
		}
		if diff := cmp.Diff([]string{firstSegment}, names(t, dir)); diff != "" || l.Journaling() {
			t.Errorf("after %d: files (-want +got):\n%s", after, diff)
		}
	}
}

// Whatever is written over a journal, its entries are some of those that were written.
func FuzzJournal(f *testing.F) {
	dir := f.TempDir()
	l, _, _ := journaled(f, audit.Config{Dir: dir})
	for i := range 10 {
		mustAppend(f, l, fmt.Sprint("more", i))
	}
	whole := read(f, filepath.Join(dir, journalFile))
	lines, err := audit.JournalLines(whole, 0)
	if err != nil || len(lines) < 10 {
		f.Fatalf("%d entries, error %v", len(lines), err)
	}
	known := make(map[string]bool)
	for _, l := range lines {
		known[l] = true
	}
	f.Add(uint32(0), []byte("x"))
	f.Add(uint32(len("arca audit journal 1\n")), make([]byte, 16))
	f.Add(uint32(audit.BlockBytes+48), binary.BigEndian.AppendUint32(nil, 1<<31))
	f.Add(uint32(audit.BlockBytes+100), []byte("{}"))
	f.Add(uint32(audit.JournalHalf), whole[audit.BlockBytes:2*audit.BlockBytes])
	f.Add(uint32(audit.JournalBytes-audit.BlockBytes), whole[audit.BlockBytes:2*audit.BlockBytes])
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		data := bytes.Clone(whole)
		copy(data[int(at)%len(data):], patch)
		got, err := audit.JournalLines(data, 0)
		if err != nil && len(got) > 0 {
			t.Fatalf("%d entries and error %v", len(got), err)
		}
		for _, line := range got {
			if !known[line] {
				t.Fatalf("an entry that nobody has written: %q", line)
			}
		}
	})
}
