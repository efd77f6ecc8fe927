package space_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"arca/internal/space"
)

// TestFullDisk fills a real file system to the last byte: giving up the ballast lets
// others finish. Mounting takes privileges; without them the pretended disks remain.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=8m")
	if errors.Is(err, unix.EPERM) {
		t.Skip("mounting a file system is not permitted here")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w, err := space.New(space.Config{Paths: []space.Path{{Role: "the database", Dir: disk}}, WriteMark: space.Mark{Bytes: 2 * mib},
		ReadMark: space.Mark{Bytes: mib}, BallastBytes: 2 * mib, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	step := func(want space.Level) {
		t.Helper()
		if err := w.Step(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if w.Level() != want {
			t.Fatalf("level %v with %d free, want %v", w.Level(), w.Free(), want)
		}
	}
	write := func(name string, size int) error {
		return os.WriteFile(filepath.Join(disk, name), make([]byte, size), 0o600)
	}
	step(space.OK)
	if err := write("hog", 8*mib); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("writing 8 MiB beside the ballast: %v, want ENOSPC", err)
	}
	if err := write("finish", mib); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("writing to the full disk: %v, want ENOSPC", err)
	}
	step(space.ReadsRefused)
	if err := write("finish", mib); err != nil {
		t.Fatalf("writing after the ballast was given up: %v", err)
	}
	step(space.ReadsRefused)
	if err := os.Remove(filepath.Join(disk, "hog")); err != nil {
		t.Fatal(err)
	}
	step(space.OK)
	if err := write("hog", 6*mib); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the ballast was not made anew: %v", err)
	}
}
