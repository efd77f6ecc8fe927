package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// minUsers is one for the sweeper and one for a process, at the very least.
const minUsers = 2

// users gives each process a user id of its own, so that processes can neither see nor
// stop each other, and a process that got away is known by its owner.
type users struct {
	all     UserRange
	command []string
	// sweeper is the first id of the range. No function ever has it.
	sweeper int

	sweeping sync.Mutex // one sweeper at a time: they could kill each other

	mu     sync.Mutex
	free   []int        // user ids, those least recently used first (guarded by mu)
	groups map[int]bool // group ids of code (guarded by mu)
}

func newUsers(r UserRange, command []string) *users {
	u := &users{all: r, command: command, sweeper: r.First, groups: make(map[int]bool)}
	for id := r.First + 1; id <= r.Last; id++ {
		u.free = append(u.free, id)
	}
	return u
}

// errUsers: the range is smaller than what runs at once.
var errUsers = errors.New("no user id of functions.uid_range is free")

func (u *users) take() (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.free) == 0 {
		return 0, errUsers
	}
	id := u.free[0]
	u.free = u.free[1:]
	return id, nil
}

// giveBack returns an id whose processes are all gone.
func (u *users) giveBack(id int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.free = append(u.free, id)
}

func (u *users) takeGroup() (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id := u.all.First; id <= u.all.Last; id++ {
		if !u.groups[id] {
			u.groups[id] = true
			return id, nil
		}
	}
	return 0, errUsers
}

func (u *users) giveBackGroup(id int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.groups, id)
}

const (
	// sweepTime bounds one sweep, sweepTries how often one is tried.
	sweepTime  = 20 * time.Second
	sweepTries = 5
)

// sweep kills every process that has a user id and empties a folder of its, "" for none.
// It returns nil when there is no such process any more.
func (u *users) sweep(id int, tmp string) error {
	u.sweeping.Lock()
	defer u.sweeping.Unlock()
	var err error
	for range sweepTries {
		if err = u.sweepOnce(id, tmp); err == nil && !u.inUse(id) {
			return nil
		}
	}
	if err == nil {
		err = errors.New("processes remain")
	}
	return fmt.Errorf("end processes of user id %d: %w", id, err)
}

func (u *users) sweepOnce(id int, tmp string) error {
	ctx, cancel := context.WithTimeout(context.Background(), sweepTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append(u.command[:len(u.command):len(u.command)], roleSweep, strconv.Itoa(u.sweeper), strconv.Itoa(id), tmp)
	cmd.Env = []string{}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out[:min(len(out), 300)])))
	}
	return nil
}

// inUse reports whether a live process has a user id.
func (u *users) inUse(id int) bool {
	found := false
	u.each(func(_, owner int) bool {
		found = owner == id
		return !found
	})
	return found
}

// each visits the live processes of the range.
func (u *users) each(visit func(pid, uid int) bool) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/status")
		if err != nil {
			continue
		}
		uid := int(field(text, "Uid:"))
		if uid < u.all.First || uid > u.all.Last || strings.Contains(string(text), "\nState:\tZ") {
			continue
		}
		if !visit(pid, uid) {
			return
		}
	}
}

// sweepAll ends what an earlier run of the server has left.
func (u *users) sweepAll() error {
	left := make(map[int]bool)
	u.each(func(_, uid int) bool {
		left[uid] = true
		return true
	})
	var errs []error
	for uid := range left {
		if uid != u.sweeper {
			errs = append(errs, u.sweep(uid, ""))
		}
	}
	return errors.Join(errs...)
}

// probe looks whether a process of the range can be started and can reach paths.
func (u *users) probe(paths ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), sweepTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append(append(u.command[:len(u.command):len(u.command)], roleProbe), paths...)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.credential(u.all.Last, -1)}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("processes cannot be started under user id %d: the server needs CAP_SETUID, CAP_SETGID and CAP_CHOWN: %w", u.all.Last, err)
	case err != nil:
		return fmt.Errorf("a process of user id %d cannot work here: %w: %s", u.all.Last, err, strings.TrimSpace(string(out[:min(len(out), 300)])))
	}
	return nil
}

// credential is what a process of a user id is started with. Its group is its own; the
// only other one lets it read its code.
func (u *users) credential(uid, codeGroup int) *syscall.Credential {
	c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	if codeGroup >= 0 {
		c.Groups = []uint32{uint32(codeGroup)}
	}
	return c
}

// sweepHelper kills every process of a user id. args are the sweeper's id, the user id,
// and a folder to empty. The kernel lets a process kill those whose real or saved user id
// is its own real or effective one. So this one takes the user id as its effective one
// only, which nobody of that id can kill it by, and is otherwise somebody who has no
// processes but this. The kernel kills all of them in one go: none can fork meanwhile.
func sweepHelper(args []string) error {
	if len(args) != 3 {
		return errors.New("sweep: wrong number of arguments")
	}
	self, err1 := strconv.ParseUint(args[0], 10, 31)
	target, err2 := strconv.ParseUint(args[1], 10, 31)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if self == 0 || target == 0 || self == target {
		return errors.New("sweep: not user ids of a range for functions")
	}
	// On this thread only, which is all that acts from here on.
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS, 0, 0, 0},
		{unix.SYS_SETRESGID, uintptr(self), uintptr(self), uintptr(self)},
		{unix.SYS_SETRESUID, uintptr(self), uintptr(target), uintptr(self)},
	} {
		if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return fmt.Errorf("sweep: become the owner: %w", errno)
		}
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	if os.Geteuid() != int(target) || os.Getuid() != int(self) {
		return errors.New("sweep: did not become the owner")
	}
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return fmt.Errorf("sweep: %w", err)
	}
	if args[2] == "" {
		return nil
	}
	return wipe(args[2])
}

// wipe empties a folder whose owner the caller is, whatever modes its folders have.
func wipe(dir string) error {
	var err error
	for range 3 { // what was killed may have been in the middle of something
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(path, 0o700) // before it is read
			}
			return err
		})
		entries, readErr := os.ReadDir(dir)
		if err == nil {
			err = readErr
		}
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
		if err == nil {
			return nil
		}
	}
	return err
}
