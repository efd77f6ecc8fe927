package runner

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// dataHeadroom is how much more memory may be reserved than used: threads reserve
	// stacks, and collectors reserve heaps. What is used is counted by the supervisor;
	// this bounds what can be grabbed between two looks.
	dataHeadroom = 512 << 20
	// niceness puts functions behind the server when there is little processor time.
	niceness = 5
	// supervisorTasks are the threads of the supervisor, which has the same user id.
	supervisorTasks = 64
)

// confine gives up what a function must not have and becomes the function. It returns
// only when something failed, and has told the supervisor.
func confine() error {
	err := becomeFunction()
	f := os.NewFile(reportFD, "reports")
	_, _ = f.WriteString(err.Error())
	return err
}

func becomeFunction() error {
	t, err := readTask(bufio.NewReader(os.Stdin))
	if err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	unix.Umask(0o077)
	if err := limit(t); err != nil {
		return err
	}
	// Both only ever make the function less important, so failing changes nothing else.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, niceness)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	if err := os.Chdir(t.Dir); err != nil {
		return err
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	if err := unix.Dup3(null, 0, 0); err != nil {
		return fmt.Errorf("replace standard input: %w", err)
	}
	if err := restrictFiles(t); err != nil {
		return err
	}
	if err := closeAllOnExec(); err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", t.Path, syscall.Exec(t.Path, t.Args, t.Env))
}

// limit sets what the kernel enforces for each process.
func limit(t *task) error {
	// The kernel counts by user id. Root is exempt from this.
	tasks := t.Tasks + supervisorTasks
	if !t.OwnUser {
		tasks += tasksOf(os.Getuid())
	}
	limits := []struct {
		name     string
		resource int
		n        uint64
	}{
		{"core files", unix.RLIMIT_CORE, 0},
		{"open files", unix.RLIMIT_NOFILE, t.Files},
		{"file size", unix.RLIMIT_FSIZE, uint64(t.DiskBytes)},
		{"data", unix.RLIMIT_DATA, uint64(t.MemoryBytes) + dataHeadroom},
		{"locked memory", unix.RLIMIT_MEMLOCK, 64 << 10},
		{"processes", unix.RLIMIT_NPROC, uint64(tasks)},
	}
	for _, l := range limits {
		var have syscall.Rlimit
		if err := syscall.Getrlimit(l.resource, &have); err != nil {
			return fmt.Errorf("limit %s: %w", l.name, err)
		}
		n := min(l.n, have.Max)
		// By package syscall: it knows then that the limit is not its own to restore.
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("limit %s: %w", l.name, err)
		}
	}
	return nil
}

// dropCapabilities takes every privilege from the calling thread, and from what it
// becomes once it may not gain new ones: those of a superuser, and those that a server
// which is not root passes on.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	// This empties the ambient set, too, which is always within the others.
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return nil
}

// closeAllOnExec keeps every descriptor but the standard ones from the function.
func closeAllOnExec() error {
	err := unix.CloseRange(3, ^uint(0)>>33, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	for _, n := range names {
		var fd int
		if _, err := fmt.Sscan(n.Name(), &fd); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// systemRead are the folders and files of the system that a function may read, and run
// programs from: programs and libraries, and the settings that libraries look at. Not
// /etc as a whole, which holds the settings of other services.
var systemRead = []string{
	"/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/opt", "/nix/store",
	"/etc/ssl", "/etc/ca-certificates", "/etc/pki", "/etc/crypto-policies", "/etc/resolv.conf", "/etc/hosts",
	"/etc/host.conf", "/etc/gai.conf", "/etc/nsswitch.conf", "/etc/services", "/etc/protocols", "/etc/passwd",
	"/etc/group", "/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/ld.so.cache", "/etc/ld.so.conf",
	"/etc/ld.so.conf.d", "/etc/alternatives", "/etc/locale.conf", "/etc/os-release", "/etc/my.cnf", "/etc/mysql",
	"/run/systemd/resolve", "/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/sys/kernel/mm",
}

// systemWrite are devices that are nobody's.
var systemWrite = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// Rights to files by version of Landlock in which they came.
const (
	rightsRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	rightsFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	rights1 = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	rights2 = unix.LANDLOCK_ACCESS_FS_REFER
	rights3 = unix.LANDLOCK_ACCESS_FS_TRUNCATE
	rights5 = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// landlockVersion is what the kernel has of Landlock; 0 for nothing.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// restrictFiles confines the calling thread, and what it becomes and starts, to the files
// of the system, its code and its temporary folder, as far as the kernel can. From then
// on it also cannot look into processes that are not its own or, with kernels that know
// that, signal them.
// https://docs.kernel.org/userspace-api/landlock.html
func restrictFiles(t *task) error {
	v := landlockVersion()
	if v == 0 {
		return nil // the server says at its start what is missing
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: rights1}
	if v >= 2 {
		attr.Handled_access_fs |= rights2
	}
	if v >= 3 {
		attr.Handled_access_fs |= rights3
	}
	if v >= 5 {
		attr.Handled_access_fs |= rights5
	}
	if v >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	// Kernels refuse what is longer than they know, unless the rest is zero.
	size := unsafe.Offsetof(attr.Quiet_access_fs)
	if v < 6 {
		size = unsafe.Offsetof(attr.Scoped)
	}
	if v < 4 {
		size = unsafe.Offsetof(attr.Handled_access_net)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("restrict files: %w", errno)
	}
	ruleset := int(fd)
	defer unix.Close(ruleset)
	// A folder that is missing needs no rule; the function's own must be there.
	for _, path := range append(systemRead, t.Read...) {
		if err := allow(ruleset, path, rightsRead&attr.Handled_access_fs); err != nil && err != unix.ENOENT && err != unix.ENOTDIR && err != unix.EACCES {
			return fmt.Errorf("restrict files: %s: %w", path, err)
		}
	}
	for _, path := range systemWrite {
		if err := allow(ruleset, path, attr.Handled_access_fs); err != nil && err != unix.ENOENT {
			return fmt.Errorf("restrict files: %s: %w", path, err)
		}
	}
	if err := allow(ruleset, t.Dir, rightsRead&attr.Handled_access_fs); err != nil {
		return fmt.Errorf("restrict files: %s: %w", t.Dir, err)
	}
	if err := allow(ruleset, t.Tmp, attr.Handled_access_fs); err != nil {
		return fmt.Errorf("restrict files: %s: %w", t.Tmp, err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return fmt.Errorf("restrict files: %w", errno)
	}
	return nil
}

// allow adds a rule. A file gets those of the rights that files can have.
func allow(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= rightsFile
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
