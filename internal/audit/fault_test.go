package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
)

// faults injects errors into writes and syncs while they are set.
type faults struct {
	write, sync atomic.Pointer[error]
	part        atomic.Int64 // bytes that a failing write writes
}

func (f *faults) config(dir string) audit.Config {
	return audit.Config{
		Dir: dir,
		WriteFault: func(p []byte) (int, error) {
			if err := f.write.Load(); err != nil {
				return min(int(f.part.Load()), len(p)), *err
			}
			return len(p), nil
		},
		SyncFault: func() error {
			if err := f.sync.Load(); err != nil {
				return *err
			}
			return nil
		},
	}
}

// TestFaults: during a fault every Append fails; afterwards the log goes on by
// itself, and holds exactly the acknowledged lines.
func TestFaults(t *testing.T) {
	full, broken := error(syscall.ENOSPC), error(syscall.EIO)
	segments := func(firsts ...int) (out []string) {
		for _, n := range firsts {
			out = append(out, fmt.Sprintf("%020d.jsonl", n))
		}
		return out
	}
	tests := []struct {
		name   string
		before int // lines before the fault
		set    func(f *faults)
		want   error
		files  []string
	}{
		{"disk full, nothing written", 3, func(f *faults) { f.write.Store(&full) }, full, segments(0)},
		{"disk full, part of the line written", 3, func(f *faults) { f.write.Store(&full); f.part.Store(100) }, full, segments(0)},
		{"disk full, all but the newline written", 3, func(f *faults) { f.write.Store(&full); f.part.Store(int64(len(line("0")))) }, full, segments(0)},
		{"write error in an empty segment", 0, func(f *faults) { f.write.Store(&broken); f.part.Store(1) }, broken, segments(0)},
		{"sync fails", 3, func(f *faults) { f.sync.Store(&broken) }, broken, segments(0, 3)},
		{"sync fails beyond the first block", 9, func(f *faults) { f.sync.Store(&broken) }, broken, segments(0, 9)},
		{"sync fails in an empty segment", 0, func(f *faults) { f.sync.Store(&broken) }, broken, segments(0)},
		{"sync fails for want of space", 3, func(f *faults) { f.sync.Store(&full) }, full, segments(0, 3)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var f faults
			l, log := start(t, f.config(dir))
			ids := []string{}
			for i := range tt.before {
				ids = append(ids, fmt.Sprint(i))
				mustAppend(t, l, ids[i])
			}
			tt.set(&f)
			for i := range 3 {
				if err := l.Append(t.Context(), line(fmt.Sprint("lost", i))); !errors.Is(err, tt.want) {
					t.Errorf("Append = %v, want %v", err, tt.want)
				}
			}
			if !errors.Is(l.Err(), tt.want) {
				t.Errorf("Err() = %v, want %v", l.Err(), tt.want)
			}
			time.Sleep(2 * audit.RepairEvery)
			if err := l.Append(t.Context(), line("lost")); !errors.Is(err, tt.want) {
				t.Errorf("Append = %v, want %v", err, tt.want)
			}
			f.write.Store(nil)
			f.sync.Store(nil)
			eventually(t, "healed", func() bool { return l.Err() == nil })
			mustAppend(t, l, "after")
			wants(t, dir, append(ids, "after")...)
			if diff := cmp.Diff(tt.files, names(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if got := strings.Count(log.String(), "cannot write"); got != 1 {
				t.Errorf("the outage was reported %d times:\n%s", got, log)
			}
			if !strings.Contains(log.String(), "writing again") {
				t.Errorf("its end was not reported:\n%s", log)
			}
		})
	}
}

// An outage heals on the next Append, without waiting for the ticker.
func TestHealsWhenAsked(t *testing.T) {
	dir := t.TempDir()
	var f faults
	l, _ := start(t, f.config(dir))
	eio := error(syscall.EIO)
	f.sync.Store(&eio)
	if err := l.Append(t.Context(), line("lost")); err == nil {
		t.Fatal("Append = nil during a fault")
	}
	f.sync.Store(nil)
	mustAppend(t, l, "after")
	wants(t, dir, "after")
}

// After a failed sync, the block that the last acknowledged line shares with the
// failed batch may be damaged on disk. The repair writes it again.
func TestSyncFailureDamagesSharedBlock(t *testing.T) {
	for _, n := range []int{1, 3, 4, 9, 20} {
		t.Run(fmt.Sprint(n, " lines"), func(t *testing.T) {
			dir := t.TempDir()
			var f faults
			cfg := f.config(dir)
			path := filepath.Join(dir, firstSegment)
			var damage atomic.Bool
			inner := cfg.SyncFault
			eio := error(syscall.EIO)
			cfg.SyncFault = func() error {
				if damage.CompareAndSwap(true, false) {
					// As if the disk had dropped the last block.
					info, err := os.Stat(path)
					if err != nil {
						return err
					}
					acknowledged := int64(n * (len(line("00")) + 1))
					file, err := os.OpenFile(path, os.O_WRONLY, 0)
					if err != nil {
						return err
					}
					defer func() { _ = file.Close() }() // what it wrote is read afterwards
					block := acknowledged / 4096 * 4096
					if _, err := file.WriteAt(make([]byte, info.Size()-block), block); err != nil {
						return err
					}
					return eio
				}
				return inner()
			}
			l, _ := start(t, cfg)
			var ids []string
			for i := range n {
				ids = append(ids, fmt.Sprintf("%02d", i))
				mustAppend(t, l, ids[i])
			}
			damage.Store(true)
			if err := l.Append(t.Context(), line("lost")); !errors.Is(err, eio) {
				t.Fatalf("Append = %v, want %v", err, eio)
			}
			mustAppend(t, l, "after")
			wants(t, dir, append(ids, "after")...)
		})
	}
}

// TestInterference: what others do to the files in use is noticed within a second,
// reported, and as far as possible undone.
func TestInterference(t *testing.T) {
	tests := []struct {
		name string
		do   func(t *testing.T, dir, path string)
		log  string
		ids  []string // lines afterwards, before the next one
		bad  []string // problems found afterwards
	}{
		{"removed", func(t *testing.T, dir, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "removed or replaced", []string{"a", "b"}, nil},
		{"moved away", func(t *testing.T, dir, path string) {
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
		}, "removed or replaced", []string{"a", "b"}, nil},
		{"replaced by another file", func(t *testing.T, dir, path string) {
			put(t, path+".new", append(line("forged"), '\n'))
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}, "kept_as=", []string{"a", "b"}, nil},
		{"directory removed", func(t *testing.T, dir, path string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}, "removed or replaced", []string{"a", "b"}, nil},
		{"appended to", func(t *testing.T, dir, path string) {
			data := read(t, path)
			put(t, path, append(data, "forged\n"...))
		}, "not ours", []string{"a", "b"}, nil},
		{"permissions removed", func(t *testing.T, dir, path string) {
			if err := os.Chmod(path, 0); err != nil {
				t.Fatal(err)
			}
		}, "permissions", []string{"a", "b"}, nil},
		{"cut", func(t *testing.T, dir, path string) {
			if err := os.Truncate(path, int64(len(line("a"))+1)); err != nil {
				t.Fatal(err)
			}
		}, "lines are lost", nil, []string{"audit log: lines 1 to 1 are missing"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "audit")
			l, log := start(t, audit.Config{Dir: dir})
			mustAppend(t, l, "a")
			mustAppend(t, l, "b")
			tt.do(t, dir, filepath.Join(dir, firstSegment))
			began := time.Now()
			eventually(t, "noticed", func() bool { return strings.Contains(log.String(), tt.log) })
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("noticed after %v", took)
			}
			mustAppend(t, l, "c")
			if tt.bad != nil {
				if diff := cmp.Diff(tt.bad, problems(t, dir)); diff != "" {
					t.Errorf("problems (-want +got):\n%s", diff)
				}
				return
			}
			wants(t, dir, append(tt.ids, "c")...)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			again, _ := open(t, audit.Config{Dir: dir})
			if got, want := again.Size(), uint64(len(tt.ids)+1); got != want {
				t.Errorf("Size() after reopening = %d, want %d", got, want)
			}
		})
	}
}

// While the segment cannot be put back, nothing is acknowledged.
func TestRemovedOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	var f faults
	l, _ := start(t, f.config(dir))
	mustAppend(t, l, "a")
	full := error(syscall.ENOSPC)
	f.sync.Store(&full)
	if err := os.Remove(filepath.Join(dir, firstSegment)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "noticed", func() bool { return l.Err() != nil })
	if err := l.Append(t.Context(), line("lost")); !errors.Is(err, full) {
		t.Errorf("Append = %v, want %v", err, full)
	}
	f.sync.Store(nil)
	eventually(t, "healed", func() bool { return l.Err() == nil })
	mustAppend(t, l, "b")
	wants(t, dir, "a", "b")
	if diff := cmp.Diff([]string{firstSegment}, names(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// A segment that cannot be followed by another one stays in use.
func TestRotationBlocked(t *testing.T) {
	dir := t.TempDir()
	l, log := start(t, audit.Config{Dir: dir, MaxSegmentBytes: 1})
	put(t, filepath.Join(dir, "00000000000000000001.jsonl"), []byte("in the way\n"))
	mustAppend(t, l, "a")
	mustAppend(t, l, "b")
	if got := read(t, filepath.Join(dir, firstSegment)); strings.Count(string(got), "\n") != 2 {
		t.Errorf("first segment holds %q", got)
	}
	if !strings.Contains(log.String(), "already holds 11 bytes") {
		t.Errorf("log: %s", log)
	}
}
