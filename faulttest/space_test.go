package faulttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func asError[T error](err error, target *T) bool { return errors.As(err, target) }

// inNamespace is set in the child that has a mount namespace of its own.
const inNamespace = "ARCA_FAULT_NAMESPACE"

// smallDisk returns a file system of its own of the given size. The test runs again
// in a child with a private mount namespace (and, without root, a user namespace), so
// that nothing is mounted outside and everything is gone afterwards.
func smallDisk(t *testing.T, size string) (dir string, ok bool) {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.timeout=5m"}
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		if os.Getuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("the test needs a mount namespace (root, or unprivileged user namespaces): %v\n%s", err, out)
		}
		t.Logf("%s", out)
		return "", false
	}
	dir = t.TempDir()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir, true
}

const mib = 1 << 20

// leave fills the file system until about the given number of bytes is free.
func leave(t *testing.T, dir string, free uint64) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	have := st.Bavail * uint64(st.Bsize)
	if have <= free {
		return
	}
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, mib)
	for left := have - free; left > 0; {
		n := min(left, uint64(len(chunk)))
		if _, err := f.Write(chunk[:n]); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return
			}
			t.Fatal(err)
		}
		left -= n
	}
}

func eventually(t *testing.T, what string, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestDiskRunsFull takes the free space away in steps: first writes are refused, then
// reads, with an error that says why; with space back everything works and nothing is
// lost. At the end another process takes the last byte.
func TestDiskRunsFull(t *testing.T) {
	disk, ok := smallDisk(t, "600m")
	if !ok {
		return
	}
	config := filepath.Join(disk, "arca.toml")
	text := fmt.Sprintf("data_dir = %q\nlisten = \"127.0.0.1:0\"\naccount = \"123456789012\"\n[tls]\noff = true\n[space]\nwrite_mark = \"%d\"\nread_mark = \"%d\"\nballast = \"%d\"\n",
		filepath.Join(disk, "data"), 100*mib, 40*mib, 20*mib)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"ARCA_ROOT_ACCESS_KEY_ID=AKIAFAULTTEST", "ARCA_ROOT_SECRET_ACCESS_KEY=fault-test-secret"}
	p := start(t, env, "server", "--config", config)
	c := client(p.url, "AKIAFAULTTEST", "fault-test-secret")
	ctx := t.Context()
	const kept = "full/kept"
	create := func(name string) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("value of " + name)})
		return err
	}
	read := func(name string) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		got, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
		if err == nil && aws.ToString(got.SecretString) != "value of "+name {
			return fmt.Errorf("%s holds %q", name, aws.ToString(got.SecretString))
		}
		return err
	}
	refused := func(err error) error {
		if err == nil {
			return errors.New("it was not refused")
		}
		if !strings.Contains(err.Error(), "free") || !strings.Contains(err.Error(), "InternalServiceError") {
			return fmt.Errorf("refused without saying why: %w", err)
		}
		return nil
	}
	if err := create(kept); err != nil {
		t.Fatal(err)
	}

	n := 0
	fresh := func() string { n++; return fmt.Sprintf("full/new-%d", n) }
	leave(t, disk, 70*mib)
	eventually(t, "writes are refused", func() error { return refused(create(fresh())) })
	if err := read(kept); err != nil {
		t.Errorf("read below the write mark: %v", err)
	}
	leave(t, disk, 10*mib)
	eventually(t, "reads are refused", func() error { return refused(read(kept)) })

	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "reads work again", func() error { return read(kept) })
	eventually(t, "writes work again", func() error { return create(fresh()) })

	// The last byte goes while calls keep coming. The process may end (etcd ends it
	// when it cannot write) or live on refusing; either way nothing acknowledged is
	// lost once there is space.
	var acked []string
	stop := time.Now().Add(4 * time.Second)
	leave(t, disk, 0)
	for time.Now().Before(stop) && p.alive() {
		name := fresh()
		if create(name) == nil {
			acked = append(acked, name)
		}
		leave(t, disk, 0) // whatever the server gave up is taken, too
	}
	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	if !p.alive() {
		t.Logf("the process ended on the full disk:\n%s", p.log())
		p = start(t, env, "server", "--config", config)
		c = client(p.url, "AKIAFAULTTEST", "fault-test-secret")
	}
	for _, name := range append(acked, kept) {
		eventually(t, "read "+name+" after the disk was full", func() error { return read(name) })
	}
	eventually(t, "write after the disk was full", func() error { return create(fresh()) })
	p.stop()
	fsck(t, env, "--config", config)
}
