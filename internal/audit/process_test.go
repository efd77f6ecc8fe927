package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"arca/internal/audit"
)

// childDir names the environment variable that turns the test binary into a process
// that appends until it is killed.
const childDir = "ARCA_AUDIT_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, appendForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// appendForever prints the id of each line once it was acknowledged.
func appendForever(dir string) error {
	key, err := audit.NewNodeKey("arca/d1/n1", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		return err
	}
	l, err := audit.Open(audit.Config{Dir: dir, Node: "n1", MaxSegmentBytes: 64 << 10, Signer: key, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	errs := make(chan error)
	go func() { errs <- l.Run(context.Background()) }()
	begin := l.Size()
	var mu sync.Mutex
	for c := range 16 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", begin, c, i)
				if err := l.Append(context.Background(), line(id), line(id+"+")); err != nil {
					errs <- err
					return
				}
				mu.Lock()
				fmt.Println(id)
				mu.Unlock()
			}
		}()
	}
	return <-errs
}

// TestKill kills a process that appends, several times on the same log: every line
// that it knew to be on disk is there, and the log is sound.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var acknowledged []string
	for round := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(out)
		count := 0
		for {
			id, err := r.ReadString('\n')
			if err == io.EOF {
				break // a last line that was cut was acknowledged, too, but is not known by name
			}
			if err != nil {
				t.Fatal(err)
			}
			acknowledged = append(acknowledged, strings.TrimSpace(id))
			if count++; count == 150+37*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || count < 150 {
			t.Fatalf("child ended with %v after %d lines: %s", err, count, stderr.String())
		}
	}
	said := with(t, audit.Config{Dir: dir, Signer: testKey(t)}, func(l *audit.Log) { mustAppend(t, l, "last") })
	if c := checkpoint(t, filepath.Join(dir, "checkpoint")); c.Origin != "arca/d1/n1/1" || c.Root != rootOf(t, linesIn(t, dir)) {
		t.Errorf("checkpoint of %s with %d lines:\n%s", c.Origin, c.Size, said)
	}
	l, _ := open(t, audit.Config{Dir: dir})
	present := map[string]bool{}
	for _, id := range scan(t, dir, 0) {
		present[id] = true
	}
	for _, id := range acknowledged {
		if !present[id] || !present[id+"+"] {
			t.Errorf("acknowledged line %s is missing", id)
		}
	}
	if err := l.Check(t.Context(), func(p string) { t.Error(p) }); err != nil {
		t.Error(err)
	}
	t.Logf("%d lines acknowledged, %d present", 2*len(acknowledged), len(present))
}

// fill appends until the log refuses, makes room, and expects it to go on.
func fill(t *testing.T, dir string, want error, makeRoom func()) {
	l, log := start(t, audit.Config{Dir: dir})
	ids := []string{}
	for len(ids) < 10_000 {
		id := fmt.Sprint(len(ids))
		if err := l.Append(t.Context(), line(id)); err != nil {
			if !errors.Is(err, want) {
				t.Fatalf("Append = %v, want %v", err, want)
			}
			break
		}
		ids = append(ids, id)
	}
	for range 3 {
		time.Sleep(audit.RepairEvery)
		if err := l.Append(t.Context(), line("lost")); !errors.Is(err, want) {
			t.Fatalf("Append = %v, want %v", err, want)
		}
	}
	makeRoom()
	eventually(t, "healed", func() bool { return l.Append(t.Context(), line("after")) == nil })
	wants(t, dir, append(ids, "after")...)
	if !strings.Contains(log.String(), "writing again") {
		t.Errorf("log: %s", log)
	}
	t.Logf("%d lines fitted", len(ids))
}

// TestFileSizeLimit fills the room that a limit of the process leaves. It needs no
// privileges, so it runs where TestFullDisk cannot. It has a process of its own: the limit
// holds for every file of one, also for the log of files used that go test keeps.
func TestFileSizeLimit(t *testing.T) {
	const child = "ARCA_AUDIT_TEST_LIMITED"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFileSizeLimit$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("lines fitted")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	dir := t.TempDir()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := func(n uint64) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
	}
	limit(400_001)
	fill(t, dir, syscall.EFBIG, func() { limit(old.Cur) })
}
