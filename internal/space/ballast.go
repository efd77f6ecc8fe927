package space

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ballastName is the file's name. Nothing reads it, and it may be deleted at any
// time: it is made anew when there is room.
const ballastName = "ballast"

// errNoAllocation: the file system cannot set space aside for a file.
var errNoAllocation = errors.New("the file system cannot reserve space")

// ballast is a file whose blocks are really allocated.
type ballast struct {
	path string
	// failed: the last attempt to make it failed, and there is none. Until one
	// succeeds, marks are judged without it.
	failed bool
	retry  time.Time // no attempt before
}

func newBallast(dir string) ballast { return ballast{path: filepath.Join(dir, ballastName)} }

// missing is how many bytes of the wanted ballast are not allocated. It is negative
// when there is more than wanted.
func (b *ballast) missing(want int64) int64 {
	if b.failed {
		return 0
	}
	return want - b.allocated()
}

// due reports whether build should run, given the room above the mark for writes.
// Small differences are left alone: on some file systems the size of the whole, of
// which the wanted size may be a share, changes all the time.
func (b *ballast) due(want, room int64, now time.Time) bool {
	missing := want - b.allocated()
	if b.failed {
		return now.After(b.retry) && missing <= room
	}
	return missing > want/8 || missing < -want/8
}

// allocated is the room that removing the file would make. File systems round up to
// blocks, so a file of the right length counts as that length.
func (b *ballast) allocated() int64 {
	info, err := os.Lstat(b.path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return min(info.Size(), int64(st.Blocks)*512)
}

// build makes the file hold exactly want bytes, or leaves none at all.
func (b *ballast) build(want int64, now time.Time) (err error) {
	if want == 0 {
		_, err := b.release()
		return err
	}
	defer func() {
		if err != nil {
			// A part of it would be of little use, and the log would repeat the error
			// at every step.
			_, rerr := b.release()
			err = errors.Join(err, rerr)
			b.failed, b.retry = true, now.Add(ballastRetry)
			if errors.Is(err, errNoAllocation) {
				b.retry = now.AddDate(100, 0, 0)
			}
		}
	}()
	f, err := os.OpenFile(b.path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(want); err != nil {
		return err
	}
	if err := allocate(f, want); err != nil {
		return err
	}
	if b.allocated() < want {
		return errNoAllocation // whatever it claimed
	}
	b.failed = false
	return nil
}

// release gives the room back at once and returns how much it was. On a full
// copy-on-write file system a file may have to be emptied before it can be removed.
// What is there under the name without being a file of ours stays.
func (b *ballast) release() (int64, error) {
	info, err := os.Lstat(b.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	had := b.allocated()
	terr := empty(b.path)
	if err := os.Remove(b.path); err != nil && terr != nil {
		return 0, errors.Join(terr, err)
	}
	return had, nil
}

// empty cuts a file to nothing. A link that has taken its place since it was looked
// at is not followed.
func empty(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return f.Close()
}
