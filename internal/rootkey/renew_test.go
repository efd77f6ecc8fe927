package rootkey_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/envelope"
	"arca/internal/rootkey"
)

func renew(t *testing.T, p rootkey.Provider) (*envelope.Key, []byte) {
	t.Helper()
	key, params, err := p.Renew(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return key, params
}

func adopt(t *testing.T, p rootkey.Provider, params, former []byte) {
	t.Helper()
	if err := p.Adopt(t.Context(), params, former); err != nil {
		t.Fatal(err)
	}
}

// opens expects p to return key for params.
func opens(t *testing.T, p rootkey.Provider, params []byte, key *envelope.Key) {
	t.Helper()
	got, err := p.Open(t.Context(), params)
	if err != nil {
		t.Errorf("Open = %v, want %v", err, key)
	} else if !same(got, key) {
		t.Errorf("Open = %v, want %v", got, key)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// names are the files in a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestFileRenew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "root.key")
	f := rootkey.NewFile(path, filepath.Join(dir, "data"))
	first, firstParams := create(t, f)
	firstLine := content(t, path)

	second, secondParams := renew(t, f)
	if same(first, second) || bytes.Equal(firstParams, secondParams) {
		t.Fatal("Renew returns the key in use")
	}
	if got, want := names(t, dir), "root.key root.key.next"; got != want {
		t.Errorf("after Renew: %s, want %s", got, want)
	}
	// Both open until it is decided which of them the store is under.
	opens(t, f, firstParams, first)
	opens(t, f, secondParams, second)
	// A Renew that came to nothing is repeated with the same key.
	if again, _ := renew(t, f); !same(again, second) {
		t.Errorf("second Renew = %v, want %v", again, second)
	}

	for range 2 {
		adopt(t, f, secondParams, firstParams)
		if got, want := names(t, dir), "root.key root.key."+first.ID().String()[:8]+".former"; got != want {
			t.Errorf("after Adopt: %s, want %s", got, want)
		}
	}
	former := rootkey.FormerFile(path, first.ID())
	if content(t, former) != firstLine {
		t.Error("Adopt changed the former key")
	}
	for _, p := range []string{path, former} {
		if info, err := os.Stat(p); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", p, info.Mode(), err)
		}
	}
	opens(t, f, secondParams, second)
	opens(t, f, firstParams, first) // of a backup

	// A restored backup is adopted in turn, and the other way round.
	adopt(t, f, firstParams, nil)
	if content(t, path) != firstLine {
		t.Error("Adopt of the former key does not put it back")
	}
	opens(t, f, secondParams, second)
	adopt(t, f, secondParams, nil)

	if err := f.Destroy(t.Context(), secondParams); !errors.Is(err, rootkey.ErrInUse) {
		t.Errorf("Destroy of the key in use = %v, want ErrInUse", err)
	}
	opens(t, f, secondParams, second)
	for range 2 {
		if err := f.Destroy(t.Context(), firstParams); err != nil {
			t.Fatal(err)
		}
		if got := names(t, dir); got != "root.key" {
			t.Errorf("after Destroy: %s, want root.key", got)
		}
	}
	if _, err := f.Open(t.Context(), firstParams); !errors.Is(err, rootkey.ErrMismatch) {
		t.Errorf("Open of a destroyed key = %v, want ErrMismatch", err)
	}
}

// Destroy overwrites the blocks, not only the name.
func TestFileDestroyOverwrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "root.key")
	f := rootkey.NewFile(path, "")
	first, firstParams := create(t, f)
	_, secondParams := renew(t, f)
	adopt(t, f, secondParams, firstParams)
	former := rootkey.FormerFile(path, first.ID())
	if err := os.Chmod(former, 0o400); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "another name of the same file")
	if err := os.Link(former, other); err != nil {
		t.Fatal(err)
	}
	if err := f.Destroy(t.Context(), firstParams); err != nil {
		t.Fatal(err)
	}
	if got := strings.Trim(content(t, other), "\x00"); got != "" {
		t.Errorf("the file still holds %q", got)
	}
}

// Whatever moment a crash picks, the key the store is under is there, and the next
// start puts it in its place.
func TestFileAdoptAfterCrash(t *testing.T) {
	for _, tt := range []struct {
		name  string
		crash func(t *testing.T, path, former string)
	}{
		{"before Adopt", func(*testing.T, string, string) {}},
		{"the former one has two names", func(t *testing.T, path, former string) {
			if err := os.Link(path, former); err != nil {
				t.Fatal(err)
			}
		}},
		{"the operator has copied the former one himself", func(t *testing.T, path, former string) {
			put(t, former, content(t, path)+"\n")
		}},
		{"the new one was copied to its place, from another node", func(t *testing.T, path, former string) {
			next := content(t, path+".next")
			if err := os.Rename(path, former); err != nil {
				t.Fatal(err)
			}
			put(t, path, next)
			if err := os.Remove(path + ".next"); err != nil {
				t.Fatal(err)
			}
		}},
		{"the usual one was moved away", func(t *testing.T, path, former string) {
			if err := os.Rename(path, former); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "root.key")
			f := rootkey.NewFile(path, "")
			first, firstParams := create(t, f)
			second, secondParams := renew(t, f)
			tt.crash(t, path, rootkey.FormerFile(path, first.ID()))
			opens(t, f, secondParams, second)
			adopt(t, f, secondParams, nil)
			opens(t, f, secondParams, second)
			opens(t, f, firstParams, first)
			if got, want := names(t, dir), "root.key root.key."+first.ID().String()[:8]+".former"; got != want {
				t.Errorf("after Adopt: %s, want %s", got, want)
			}
			third, thirdParams := renew(t, f)
			adopt(t, f, thirdParams, secondParams)
			opens(t, f, thirdParams, third)
			opens(t, f, secondParams, second)
			opens(t, f, firstParams, first)
		})
	}
}

// What is in the way is never replaced, and the error names it.
func TestFileRenewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, path, former string)
		want  string
	}{
		{"something else in the way of the new one", func(t *testing.T, path, _ string) { put(t, path+".next", "hello") }, "root.key.next"},
		{"the key in use again", func(t *testing.T, path, _ string) { put(t, path+".next", content(t, path)) }, "is in"},
		{"the new one open to others", func(t *testing.T, path, _ string) {
			put(t, path+".next", content(t, "testdata/root.key"))
			if err := os.Chmod(path+".next", 0o644); err != nil {
				t.Fatal(err)
			}
		}, "0644"},
		{"a link in a mounted volume", func(t *testing.T, path, _ string) {
			real := filepath.Join(filepath.Dir(path), "..data")
			if err := errors.Join(os.Rename(path, real), os.Symlink("..data", path)); err != nil {
				t.Fatal(err)
			}
		}, "arca root-key migrate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "root.key")
			f := rootkey.NewFile(path, "")
			key, params := create(t, f)
			tt.spoil(t, path, rootkey.FormerFile(path, key.ID()))
			before := names(t, dir)
			if _, _, err := f.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Renew = %v, want %q in it", err, tt.want)
			}
			if got := names(t, dir); got != before {
				t.Errorf("a refused Renew leaves %s, want %s", got, before)
			}
			opens(t, f, params, key)
		})
	}
}

// A key that was once in use does not come back as a new one.
func TestFileRenewRefusesFormer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	f := rootkey.NewFile(path, "")
	first, firstParams := create(t, f)
	_, secondParams := renew(t, f)
	adopt(t, f, secondParams, firstParams)
	put(t, path+".next", content(t, rootkey.FormerFile(path, first.ID())))
	if _, _, err := f.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), "not new") {
		t.Errorf("Renew = %v, want a refusal", err)
	}
}

func TestFileAdoptRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, path, former string)
		is    error
	}{
		{"another file in the place of the former one", func(t *testing.T, _, former string) { put(t, former, content(t, "testdata/root.key")) }, nil},
		{"a damaged file in the usual place", func(t *testing.T, path, _ string) { put(t, path, "hello") }, nil},
		{"the new one is gone", func(t *testing.T, path, _ string) {
			if err := os.Remove(path + ".next"); err != nil {
				t.Fatal(err)
			}
		}, rootkey.ErrMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "root.key")
			f := rootkey.NewFile(path, "")
			first, firstParams := create(t, f)
			_, secondParams := renew(t, f)
			tt.spoil(t, path, rootkey.FormerFile(path, first.ID()))
			usual := content(t, path)
			err := f.Adopt(t.Context(), secondParams, firstParams)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("Adopt = %v, want a refusal (%v)", err, tt.is)
			}
			if content(t, path) != usual {
				t.Error("a refused Adopt replaces the file")
			}
		})
	}
}

// A folder that only root may write, as for systemd credentials: what needs no change
// needs no permission.
func TestFileReadOnlyFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	f := rootkey.NewFile(filepath.Join(dir, "root.key"), "")
	key, params := create(t, f)
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	opens(t, f, params, key)
	adopt(t, f, params, nil)
	if _, _, err := f.Renew(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Renew = %v, want a permission error", err)
	}
}

const other = "five more words are enough"

func TestPassphraseFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "passphrase")
	p := rootkey.NewPassphraseFile(path, filepath.Join(dir, "data"))
	if err := p.Check(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check without a file = %v", err)
	}
	put(t, path, good+"\r\n")
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	first, firstParams := create(t, p)
	opens(t, phrase(good), firstParams, first)

	if _, _, err := p.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), path+".next") {
		t.Errorf("Renew without a new passphrase = %v, want one that says where it goes", err)
	}
	put(t, path+".next", good+"\n")
	if _, _, err := p.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Renew with the same passphrase = %v", err)
	}
	put(t, path+".next", other+"\n")
	second, secondParams := renew(t, p)
	opens(t, p, secondParams, second)
	// Not committed: nothing moves.
	adopt(t, p, firstParams, nil)
	if content(t, path) != good+"\r\n" {
		t.Error("Adopt of the passphrase in use replaces it")
	}

	for range 2 {
		adopt(t, p, secondParams, firstParams)
		if got := content(t, path); got != other+"\n" {
			t.Errorf("after Adopt the file holds %q", got)
		}
		if got, want := names(t, dir), "passphrase passphrase."+first.ID().String()[:8]+".former"; got != want {
			t.Errorf("after Adopt: %s, want %s", got, want)
		}
	}
	opens(t, p, secondParams, second)
	opens(t, p, firstParams, first) // of a backup
	for range 2 {
		if err := p.Destroy(t.Context(), firstParams); !errors.Is(err, rootkey.ErrCannotDestroy) {
			t.Errorf("Destroy = %v, want ErrCannotDestroy", err)
		}
		if got := names(t, dir); got != "passphrase" {
			t.Errorf("after Destroy: %s", got)
		}
	}
	if _, err := p.Open(t.Context(), firstParams); !errors.Is(err, rootkey.ErrWrongPassphrase) {
		t.Errorf("Open with the passphrase that followed = %v, want ErrWrongPassphrase", err)
	}
}

// The former parameters may be of another kind, or lost.
func TestPassphraseFileAdoptKeepsUnnamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "passphrase")
	p := rootkey.NewPassphraseFile(path, "")
	put(t, path, good)
	put(t, path+".next", other)
	second, params := renew(t, p)
	adopt(t, p, params, []byte(`{"format":1}`))
	if got, want := names(t, dir), "passphrase passphrase.before-"+second.ID().String()[:8]+".former"; got != want {
		t.Errorf("after Adopt: %s, want %s", got, want)
	}
}

func TestPassphraseFileRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, text string
		mode       fs.FileMode
		want       string
	}{
		{"empty", "\n", 0o600, "is empty"},
		{"short", "hunter2", 0o600, "7 characters"},
		{"open to others", good, 0o644, "0644"},
		{"long", strings.Repeat("x", 1<<13), 0o600, "4096 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.name)
			put(t, path, tt.text)
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, _, err := rootkey.NewPassphraseFile(path, "").Create(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Create = %v, want %q in it", err, tt.want)
			}
		})
	}
	inside := rootkey.NewPassphraseFile(filepath.Join(dir, "data", "p"), filepath.Join(dir, "data"))
	if _, _, err := inside.Create(t.Context()); err == nil || !strings.Contains(err.Error(), "inside the data directory") {
		t.Errorf("Create with a passphrase inside the data = %v", err)
	}
}

func TestPassphraseCannotRenew(t *testing.T) {
	p := phrase(good)
	params := goldenParams(t)[0].Params
	if _, _, err := p.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), "arca root-key migrate") {
		t.Errorf("Renew = %v, want one that says what to do", err)
	}
	adopt(t, p, params, nil)
	if err := p.Destroy(t.Context(), params); !errors.Is(err, rootkey.ErrCannotDestroy) {
		t.Errorf("Destroy = %v, want ErrCannotDestroy", err)
	}
}

// A store that is migrated gets the first key of the new kind.
func TestTarget(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "root.key")
	target := rootkey.Target{Provider: rootkey.NewFile(path, "")}
	key, params := renew(t, target)
	if again, _ := renew(t, target); !same(again, key) {
		t.Errorf("second Renew = %v, want %v", again, key)
	}
	adopt(t, target, params, []byte(`{"of":"another kind"}`))
	opens(t, target, params, key)
	if got := names(t, dir); got != "root.key" {
		t.Errorf("after a migration: %s", got)
	}
}

func TestCannotDestroy(t *testing.T) {
	for kind, can := range map[string]bool{
		rootkey.KindFile: true, rootkey.KindPKCS11: true, rootkey.KindPassphrase: false, rootkey.KindKMS: false, "new": false,
	} {
		if got := rootkey.CannotDestroy(kind); (got == "") != can {
			t.Errorf("CannotDestroy(%s) = %q", kind, got)
		}
	}
}

// Parameters come from beside the data: whatever stands there ends in an error or in
// the one key there is.
func FuzzOtherParams(f *testing.F) {
	dir := f.TempDir()
	file := rootkey.NewFile(filepath.Join(dir, "root.key"), "")
	made, params, err := file.Create(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(params)
	f.Add([]byte(`{"format":1,"id":"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"}`))
	f.Add([]byte(`{"format":1,"id":"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf","key":"arn:aws:kms:us-east-1:1:key/k","region":"us-east-1","data_key":"AQID"}`))
	f.Add([]byte(`{"format":1,"id":"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf","token":"t","label":"l","wrapped":"AQID"}`))
	f.Fuzz(func(t *testing.T, params []byte) {
		if key, err := file.Open(t.Context(), params); err == nil && !same(key, made) {
			t.Errorf("Open(%q) = %v, want %v", params, key, made)
		}
		rootkey.CheckParams(params)
	})
}

// A process that dies while it makes a key file can leave a second copy of the key.
func TestFileDestroyFindsCopies(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "root.key")
	f := rootkey.NewFile(path, "")
	_, firstParams := create(t, f)
	put(t, filepath.Join(dir, ".root.key.new-1"), content(t, path))
	put(t, filepath.Join(dir, ".root.key.new-2"), content(t, path)[:20])
	second, secondParams := renew(t, f)
	put(t, filepath.Join(dir, ".root.key.next.new-3"), content(t, path+".next"))
	adopt(t, f, secondParams, firstParams)
	if err := f.Destroy(t.Context(), firstParams); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), ".root.key.new-2 .root.key.next.new-3 root.key"; got != want {
		t.Errorf("after Destroy of the first: %s, want %s", got, want)
	}
	_, thirdParams := renew(t, f)
	adopt(t, f, thirdParams, secondParams)
	if err := f.Destroy(t.Context(), secondParams); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), ".root.key.new-2 root.key"; got != want {
		t.Errorf("after Destroy of the second: %s, want %s", got, want)
	}
	if _, err := f.Open(t.Context(), secondParams); err == nil {
		t.Errorf("%v still opens", second)
	}
}
