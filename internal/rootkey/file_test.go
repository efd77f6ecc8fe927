package rootkey_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"arca/internal/envelope"
	"arca/internal/rootkey"
)

func create(t *testing.T, p rootkey.Provider) (*envelope.Key, []byte) {
	t.Helper()
	key, params, err := p.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return key, params
}

func same(a, b *envelope.Key) bool {
	return a.ID() == b.ID() && a.Version() == b.Version() && a.Secret().Equal(b.Secret())
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "root.key")
	f := rootkey.NewFile(path, filepath.Join(dir, "data"))
	key, params := create(t, f)

	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != 0o600 {
		t.Errorf("mode = %v, want 0600", got)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("Create leaves %v, want the key file only", entries)
	}
	secret := key.Secret()
	if bytes.Contains(params, secret.Bytes()) {
		t.Error("the parameters hold the secret")
	}

	opened, err := rootkey.NewFile(path, "").Open(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if !same(opened, key) {
		t.Errorf("Open = %v, want %v", opened, key)
	}

	// A start that was interrupted before the store existed is simply repeated.
	again, againParams := create(t, f)
	if !same(again, key) || !bytes.Equal(againParams, params) {
		t.Errorf("second Create = %v, want %v", again, key)
	}
}

func TestFileRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	key, params := create(t, rootkey.NewFile("root.key", "data"))
	opened, err := rootkey.NewFile("./root.key", "data").Open(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if !same(opened, key) {
		t.Errorf("Open = %v, want %v", opened, key)
	}
}

func TestFileCreatedTwiceAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	keys := make([]*envelope.Key, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			key, _, err := rootkey.NewFile(path, "").Create(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = key
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, k := range keys {
		if !same(k, keys[0]) {
			t.Errorf("one Create = %v, another %v", keys[0], k)
		}
	}
}

func TestFileMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	f := rootkey.NewFile(path, "")
	key, params := create(t, f)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err := f.Open(t.Context(), params)
	if !errors.Is(err, rootkey.ErrMissing) {
		t.Fatalf("Open error = %v, want ErrMissing", err)
	}
	for _, want := range []string{path, key.ID().String(), "cannot be read without it"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Open error = %q, want it to contain %q", err, want)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Open made a file")
	}
}

func TestFileOfAnotherStore(t *testing.T) {
	dir := t.TempDir()
	a := rootkey.NewFile(filepath.Join(dir, "a"), "")
	b := rootkey.NewFile(filepath.Join(dir, "b"), "")
	keyA, paramsA := create(t, a)
	keyB, _ := create(t, b)
	_, err := b.Open(t.Context(), paramsA)
	if !errors.Is(err, rootkey.ErrMismatch) {
		t.Fatalf("Open error = %v, want ErrMismatch", err)
	}
	for _, want := range []string{keyA.ID().String(), keyB.ID().String(), filepath.Join(dir, "b")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Open error = %q, want it to contain %q", err, want)
		}
	}
}

func TestFileRefusesPlace(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(filepath.Join(data, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	// A whole key in the data directory, so that only its place can be the objection.
	line, err := os.ReadFile("testdata/root.key")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "root.key"), line, 0o600); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(dir, "outside.key")
	if err := os.Symlink(filepath.Join(data, "root.key"), outside); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path, dataDir string
	}{
		{"no path", "", data},
		{"in it", filepath.Join(data, "root.key"), data},
		{"below it", filepath.Join(data, "sub", "root.key"), data},
		{"below a directory in it that is not there", filepath.Join(data, "x", "y", "root.key"), data},
		{"it", data, data},
		{"around a corner", filepath.Join(data, "..", "data", "root.key"), data},
		{"through a link", filepath.Join(link, "root.key"), data},
		{"data through a link", filepath.Join(data, "root.key"), link},
		{"link into it", outside, data},
		{"in data that is not there yet", filepath.Join(dir, "new", "root.key"), filepath.Join(dir, "new")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := rootkey.NewFile(tt.path, tt.dataDir)
			if _, _, err := f.Create(t.Context()); err == nil {
				t.Error("Create succeeds")
			}
			params := fmt.Sprintf(`{"format":1,"id":"%v"}`, envelope.NewKeyID())
			_, err := f.Open(t.Context(), []byte(params))
			if err == nil || errors.Is(err, rootkey.ErrMissing) {
				t.Errorf("Open error = %v, want a refusal of the place", err)
			}
		})
	}
	beside := filepath.Join(dir, "data.key")
	if _, _, err := rootkey.NewFile(beside, data).Create(t.Context()); err != nil {
		t.Errorf("Create beside the data directory: %v", err)
	}
}

func TestFileRefusesAccess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	f := rootkey.NewFile(path, "")
	_, params := create(t, f)
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o620, 0o601, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := f.Open(t.Context(), params)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%04o", mode)) {
			t.Errorf("Open with mode %04o: error = %v", mode, err)
		}
		if _, _, err := f.Create(t.Context()); err == nil {
			t.Errorf("Create with a file of mode %04o is accepted", mode)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(t.Context(), params); err != nil {
		t.Errorf("Open with mode 0400: %v", err)
	}
}

func TestCheckModeOwner(t *testing.T) {
	const root, self, other = 0, 1000, 1001
	tests := []struct {
		name        string
		mode        fs.FileMode
		owner, self uint32
		ok          bool
	}{
		{"own, private", 0o600, self, self, true},
		{"own, read only", 0o400, self, self, true},
		{"own, group may read", 0o640, self, self, false},
		{"own, all may read", 0o644, self, self, false},
		{"root's, read by group", 0o440, root, self, true},
		{"root's, group may write", 0o460, root, self, false},
		{"root's, all may read", 0o444, root, self, false},
		{"root's, run by root, group may read", 0o440, root, root, false},
		{"somebody else's", 0o600, other, self, false},
		{"somebody else's, run by root", 0o600, other, root, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := rootkey.CheckModeOwner(tt.mode, tt.owner, tt.self); (err == nil) != tt.ok {
				t.Errorf("CheckModeOwner(%04o, %d, %d) = %v, want ok: %t", tt.mode, tt.owner, tt.self, err, tt.ok)
			}
		})
	}
}

func TestFileLinks(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real", "root.key")
	if err := os.Mkdir(filepath.Dir(real), 0o700); err != nil {
		t.Fatal(err)
	}
	key, params := create(t, rootkey.NewFile(real, ""))

	out := filepath.Join(dir, "real", "sub", "out.key")
	if err := os.Mkdir(filepath.Dir(out), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, out); err != nil {
		t.Fatal(err)
	}
	if _, err := rootkey.NewFile(out, "").Open(t.Context(), params); err == nil || !strings.Contains(err.Error(), real) {
		t.Errorf("Open of a link out of its directory: error = %v, want one that names %s", err, real)
	}

	// A volume of a Kubernetes Secret: root.key → ..data/root.key, ..data → a directory.
	in := filepath.Join(dir, "root.key")
	if err := os.Symlink("real", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("..data", "root.key"), in); err != nil {
		t.Fatal(err)
	}
	opened, err := rootkey.NewFile(in, "").Open(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if !same(opened, key) {
		t.Errorf("Open = %v, want %v", opened, key)
	}

	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	if _, err := rootkey.NewFile(dangling, "").Open(t.Context(), params); !errors.Is(err, rootkey.ErrMissing) {
		t.Errorf("Open of a dangling link: error = %v, want ErrMissing", err)
	}
	if _, _, err := rootkey.NewFile(dangling, "").Create(t.Context()); err == nil {
		t.Error("Create writes through a dangling link")
	}
}

func TestFileNotRegular(t *testing.T) {
	dir := t.TempDir()
	_, params := create(t, rootkey.NewFile(filepath.Join(dir, "root.key"), ""))
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, pipe, os.DevNull} {
		if _, err := rootkey.NewFile(path, "").Open(t.Context(), params); err == nil {
			t.Errorf("Open of %s is accepted", path)
		}
	}
}

func TestFileContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	f := rootkey.NewFile(path, "")
	key, params := create(t, f)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSpace(string(good))
	fields := strings.Split(line, ":")
	secret := fields[3]
	join := func(change func(f []string)) string {
		c := append([]string(nil), fields...)
		change(c)
		return strings.Join(c, ":")
	}
	tests := []struct {
		name, content string
		ok            bool
	}{
		{"as written", string(good), true},
		{"no line end", line, true},
		{"line end of Windows, blank lines", "\n" + line + "\r\n\n", true},
		{"empty", "", false},
		{"something else", "-----BEGIN PRIVATE KEY-----", false},
		{"bare secret", secret, false},
		{"format of the future", join(func(f []string) { f[1] = "2" }), false},
		{"no format", join(func(f []string) { f[1] = "" }), false},
		{"cut", line[:60], false},
		{"one digit of the secret changed", join(func(f []string) {
			b := []byte(f[3])
			b[7] ^= 1
			f[3] = string(b)
		}), false},
		{"id of another key", join(func(f []string) { f[2] = strings.Repeat("0", 32) }), false},
		{"two keys", line + "\n" + line, false},
		{"far too long", line + strings.Repeat(" ", 1<<16), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			opened, err := f.Open(t.Context(), params)
			if (err == nil) != tt.ok {
				t.Fatalf("Open error = %v, want ok: %t", err, tt.ok)
			}
			if err == nil && !same(opened, key) {
				t.Errorf("Open = %v, want %v", opened, key)
			}
			if err != nil {
				if strings.Contains(err.Error(), secret[10:20]) {
					t.Errorf("the error quotes the file: %v", err)
				}
				if !strings.Contains(err.Error(), path) {
					t.Errorf("the error does not name the file: %v", err)
				}
			}
			// A damaged file may be the only trace of a key: Create never replaces it.
			if _, _, err := f.Create(t.Context()); (err == nil) != tt.ok {
				t.Errorf("Create error = %v, want ok: %t", err, tt.ok)
			}
			if now, _ := os.ReadFile(path); string(now) != tt.content {
				t.Error("Create changed the file")
			}
		})
	}
}

func TestFileParams(t *testing.T) {
	f := rootkey.NewFile(filepath.Join(t.TempDir(), "root.key"), "")
	_, params := create(t, f)
	id := envelope.NewKeyID()
	for name, p := range map[string]string{
		"none":           "",
		"not JSON":       "\xa1\x00",
		"other format":   fmt.Sprintf(`{"format":2,"id":"%v"}`, id),
		"no format":      fmt.Sprintf(`{"id":"%v"}`, id),
		"bad id":         `{"format":1,"id":"zz"}`,
		"unknown member": fmt.Sprintf(`{"format":1,"id":"%v","x":1}`, id),
		"two values":     string(params) + string(params),
		"long":           string(params) + strings.Repeat(" ", 5000),
	} {
		if _, err := f.Open(t.Context(), []byte(p)); err == nil || errors.Is(err, rootkey.ErrMissing) {
			t.Errorf("Open with parameters %s: error = %v", name, err)
		}
	}
}

// The golden line was written by the first version of this package.
func TestFileGolden(t *testing.T) {
	line, err := os.ReadFile("testdata/root.key")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "root.key")
	if err := os.WriteFile(path, line, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := rootkey.NewFile(path, "").Open(t.Context(), []byte(`{"format":1,"id":"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"}`))
	if err != nil {
		t.Fatal(err)
	}
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = byte(i)
	}
	if got := key.Secret(); !bytes.Equal(got.Bytes(), secret) {
		t.Errorf("secret = %x, want %x", got.Bytes(), secret)
	}
}

func FuzzDecodeFile(f *testing.F) {
	line, err := os.ReadFile("testdata/root.key")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.TrimSpace(line))
	f.Add(line)
	f.Add([]byte("arca-root-key:1:::"))
	f.Add([]byte("arca-root-key:2:x"))
	f.Add([]byte("arca-root-key"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := rootkey.DecodeFile(text)
		if err != nil {
			return
		}
		if key.Secret().Len() != 32 || !bytes.Contains(text, []byte(key.ID().String())) {
			t.Errorf("DecodeFile(%q) = %v", text, key)
		}
	})
}
