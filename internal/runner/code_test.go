package runner_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/lambda"
	"arca/internal/runner"
)

// entry is one entry of an archive, as hostile as it may be.
type entry struct {
	name string
	mode fs.FileMode
	text string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestUnpack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "task")
	size, err := runner.Unpack(archive(t,
		entry{"index.py", 0o600, "code"}, entry{"bin/", fs.ModeDir | 0o700, ""}, entry{"bin/tool", 0o700, "#!/bin/sh"},
		entry{"deep/er/est", 0o4777, "x"},
	), dir, 1<<20)
	if err != nil || size != int64(len("code#!/bin/shx")) {
		t.Fatalf("Unpack = %d, %v", size, err)
	}
	for name, want := range map[string]fs.FileMode{
		".": fs.ModeDir | 0o755, "index.py": 0o644, "bin": fs.ModeDir | 0o755, "bin/tool": 0o755, "deep/er": fs.ModeDir | 0o755, "deep/er/est": 0o755,
	} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	const most = 1 << 20
	bomb := archive(t, entry{"a", 0o644, strings.Repeat("\x00", 1<<19)}, entry{"b", 0o644, strings.Repeat("\x00", 1<<19+1)})
	for _, tc := range []struct {
		name string
		zip  []byte
	}{
		{"what is no archive", []byte("PK not really")},
		{"a path above", archive(t, entry{"../evil", 0o644, "x"})},
		{"a path above, later", archive(t, entry{"a/../../evil", 0o644, "x"})},
		{"an absolute path", archive(t, entry{"/etc/evil", 0o644, "x"})},
		{"a backslash", archive(t, entry{`..\evil`, 0o644, "x"})},
		{"no name", archive(t, entry{"", 0o644, "x"})},
		{"a dot", archive(t, entry{"./a", 0o644, "x"})},
		{"a name that is not text", archive(t, entry{"\xff\xfe", 0o644, "x"})},
		{"a long name", archive(t, entry{strings.Repeat("a", 300), 0o644, "x"})},
		{"a symbolic link", archive(t, entry{"link", fs.ModeSymlink | 0o777, "/etc/passwd"})},
		{"a device", archive(t, entry{"dev", fs.ModeDevice | 0o666, ""})},
		{"a pipe", archive(t, entry{"pipe", fs.ModeNamedPipe | 0o666, ""})},
		{"one file twice", archive(t, entry{"a", 0o644, "1"}, entry{"a", 0o644, "2"})},
		{"a file that is a folder", archive(t, entry{"a", 0o644, "1"}, entry{"a/b", 0o644, "2"})},
		{"too much", bomb},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := runner.Unpack(tc.zip, filepath.Join(dir, "task"), most); !errors.Is(err, lambda.ErrCode) {
				t.Errorf("Unpack = %v, want ErrCode", err)
			}
			if found, _ := filepath.Glob(filepath.Join(dir, "*evil*")); found != nil {
				t.Errorf("it wrote %v", found)
			}
		})
	}
}

// FuzzUnpack: whatever an archive holds, nothing appears outside the folder.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, entry{"a/b", 0o755, "text"}, entry{"c/", fs.ModeDir | 0o755, ""}))
	f.Add(archive(f, entry{"../evil", 0o644, "x"}))
	f.Add(archive(f, entry{"link", fs.ModeSymlink | 0o777, ".."}, entry{"link/evil", 0o644, "x"}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		_, _ = runner.Unpack(data, filepath.Join(dir, "task"), 1<<20)
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "task" {
			t.Fatalf("outside the folder: %v, %v", entries, err)
		}
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type()&^fs.ModeDir != 0 {
				t.Errorf("%s is a %v", path, d.Type())
			}
			return err
		})
	})
}

// TestCode: errors of the archive are the function's, others are not.
func TestCode(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	f := python(b, "def lambda_handler(e, c):\n    return 1\n")
	inv := f.invocation(`{}`)
	inv.Code = func(context.Context) ([]byte, error) { return []byte("other code"), nil }
	if _, err := b.Invoke(t.Context(), inv); err == nil || errors.Is(err, lambda.ErrCode) {
		t.Errorf("Invoke with code of another hash = %v", err)
	}
	missing := b.function("provided.al2023", "x", files{"main!": "#!/bin/sh\n"}, nil)
	if _, err := b.Invoke(t.Context(), missing.invocation(`{}`)); !errors.Is(err, lambda.ErrCode) {
		t.Errorf("Invoke without bootstrap = %v, want ErrCode", err)
	}
	ruby := b.function("ruby3.4", "x", files{"x.rb": ""}, nil)
	if _, err := b.Invoke(t.Context(), ruby.invocation(`{}`)); !errors.Is(err, lambda.ErrRuntime) {
		t.Errorf("Invoke of ruby = %v, want ErrRuntime", err)
	}
}

func TestMissingInterpreter(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *runner.ProcessConfig) {
		c.Runtimes.Interpreters = map[string]string{"python3.12": "/no/such/python"}
	})
	f := python(b, "")
	f.Runtime = "python3.12"
	if _, err := b.Invoke(t.Context(), f.invocation(`{}`)); !errors.Is(err, lambda.ErrRuntime) || !strings.Contains(err.Error(), "/no/such/python") {
		t.Errorf("Invoke = %v, want ErrRuntime with the path", err)
	}
}

// TestFolder: a folder that holds something else is not emptied.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := runner.ProcessConfig{Dir: dir, Command: []string{"arca", helperCommand}, Logger: newBedLogger(), Endpoint: func() runner.Endpoint { return runner.Endpoint{} }}
	if _, err := runner.NewProcess(cfg); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("NewProcess = %v, want a refusal", err)
	}
	cfg.Dir = filepath.Join(dir, "own")
	for range 2 {
		p, err := runner.NewProcess(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(cfg.Dir, "left"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const socketTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11111 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 22222 1 0 20 4 30 10 -1
   2: 0000000000000000FFFF00000100007F:C351 0000000000000000FFFF00000100007F:1F90 01 00000000:00000000 00:00000000 00000000  1002        0 33333 1 0 20 4 30 10 -1
   3: 0100007F:C352 0100007F:1F90 06 00000000:00000000 00:00000000 00000000  0        0 0 1 0 20 4 30 10 -1
`

func TestFindSocket(t *testing.T) {
	server := netip.MustParseAddrPort("127.0.0.1:8080")
	for _, tc := range []struct {
		local string
		uid   int
		inode uint64
		ok    bool
	}{
		{"127.0.0.1:50000", 1001, 22222, true},
		{"127.0.0.1:50001", 1002, 33333, true}, // IPv4 in an IPv6 socket
		{"127.0.0.1:50002", 0, 0, false},       // has ended
		{"127.0.0.1:50003", 0, 0, false},
		{"127.0.0.1:8080", 0, 0, false}, // the listener
	} {
		uid, inode, ok := runner.FindSocket(socketTable, netip.MustParseAddrPort(tc.local), server)
		if uid != tc.uid || inode != tc.inode || ok != tc.ok {
			t.Errorf("FindSocket(%s) = %d, %d, %v", tc.local, uid, inode, ok)
		}
	}
}

func FuzzFindSocket(f *testing.F) {
	f.Add(socketTable)
	f.Add("x: 0100007F 0100007F:1F90")
	f.Fuzz(func(_ *testing.T, table string) {
		runner.FindSocket(table, netip.MustParseAddrPort("127.0.0.1:50000"), netip.MustParseAddrPort("127.0.0.1:8080"))
	})
}
