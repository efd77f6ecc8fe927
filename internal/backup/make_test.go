package backup_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/backup"
	"arca/internal/envelope"
	"arca/internal/storetest"
)

func exists(t *testing.T, path string, want bool) {
	t.Helper()
	if _, err := os.Lstat(path); (err == nil) != want {
		t.Errorf("%s: %v, want that it exists: %v", path, err, want)
	}
}

// Whoever reads a page twice, as after an answer that was lost, may use either.
func TestPagesCanBeReadAgain(t *testing.T) {
	s, _ := newStore(t, fixedKey{1}, 60)
	u := backup.Unlock{RootKey: fixedKey{1}}
	large, small := maker(s, 1500), maker(s, 600)
	b, err := large.Begin(t.Context(), made, backup.Wrapping{})
	if err != nil {
		t.Fatal(err)
	}
	var frames, lost [][]byte
	for cursor, i := b.Cursor, 0; cursor != ""; i++ {
		use, other := large, small
		if i%2 == 1 {
			use, other = small, large
		}
		p, err := use.Read(t.Context(), b.Header, cursor, backup.Wrapping{})
		if err != nil {
			t.Fatal(err)
		}
		q, err := other.Read(t.Context(), b.Header, cursor, backup.Wrapping{})
		if err != nil {
			t.Fatal(err)
		}
		frames, lost = append(frames, p.Frame), append(lost, q.Frame)
		cursor = p.Cursor
	}
	if err := verify(join(b.Header, frames...), u); err != nil {
		t.Errorf("verify: %v", err)
	}
	// Only one of the two goes with the frame after it: the other ends elsewhere.
	for i := 0; i+1 < len(frames)-1; i++ {
		mixed := append([][]byte(nil), frames...)
		mixed[i] = lost[i]
		if err := verify(join(b.Header, mixed...), u); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("frame %d as it was read the other time: verify = %v, want ErrDamaged", i, err)
		}
	}
}

func TestBackupCannotGoOn(t *testing.T) {
	t.Run("root key rotated", func(t *testing.T) {
		s, _ := newStore(t, storetest.NewRootKey(), 20)
		m := maker(s, 300)
		key := envelope.GenerateKey(envelope.NewKeyID(), 1)
		withPhrase := backup.Wrapping{Key: key, Params: []byte("{}")}
		b1, err := m.Begin(t.Context(), made, backup.Wrapping{})
		if err != nil {
			t.Fatal(err)
		}
		b2, err := m.Begin(t.Context(), made, withPhrase)
		if err != nil {
			t.Fatal(err)
		}
		p2, err := m.Read(t.Context(), b2.Header, b2.Cursor, withPhrase)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.RotateRootKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Read(t.Context(), b1.Header, b1.Cursor, backup.Wrapping{}); !errors.Is(err, backup.ErrGone) {
			t.Errorf("Read after the root key was rotated = %v, want ErrGone", err)
		}
		// The keyring was read before, and the rest has nothing to do with the root key.
		for cursor := p2.Cursor; cursor != ""; {
			if p2, err = m.Read(t.Context(), b2.Header, cursor, withPhrase); err != nil {
				t.Fatal(err)
			}
			cursor = p2.Cursor
		}
		h, frames := file(t, m, backup.Wrapping{})
		if len(frames) < 2 || h.Root == nil || bytes.Equal(h.Root.KEK, b1.Header.Root.KEK) {
			t.Error("a backup after the rotation is sealed like one before it")
		}
	})
	t.Run("storage key rotated away", func(t *testing.T) {
		s, _ := newStore(t, storetest.NewRootKey(), 20)
		m := maker(s, 300)
		b, err := m.Begin(t.Context(), made, backup.Wrapping{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.RotateStorageKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Until the former key is dropped, the backup goes on.
		p, err := m.Read(t.Context(), b.Header, b.Cursor, backup.Wrapping{})
		if err != nil || p.Cursor == "" {
			t.Fatalf("Read beside a rotation = %v", err)
		}
	})
	t.Run("others", func(t *testing.T) {
		s, _ := newStore(t, fixedKey{1}, 20)
		o, _ := newStore(t, fixedKey{1}, 20)
		m, other := maker(s, 300), maker(o, 300)
		b, err := m.Begin(t.Context(), made, backup.Wrapping{})
		if err != nil {
			t.Fatal(err)
		}
		b2, err := m.Begin(t.Context(), made, backup.Wrapping{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Read(t.Context(), b.Header, b.Cursor, backup.Wrapping{}); !errors.Is(err, backup.ErrGone) {
			t.Errorf("Read of another deployment = %v, want ErrGone", err)
		}
		for name, cursor := range map[string]string{"of another backup": b2.Cursor, "made up": "made up", "empty": ""} {
			if _, err := m.Read(t.Context(), b.Header, cursor, backup.Wrapping{}); !errors.Is(err, backup.ErrGone) {
				t.Errorf("Read at a cursor %s = %v, want ErrGone", name, err)
			}
		}
		key := envelope.GenerateKey(envelope.NewKeyID(), 1)
		if _, err := m.Read(t.Context(), b.Header, b.Cursor, backup.Wrapping{Key: key}); !errors.Is(err, backup.ErrKey) {
			t.Errorf("Read with another kind of key = %v, want ErrKey", err)
		}
		w := backup.Wrapping{Key: key, Params: []byte("{}")}
		b3, err := m.Begin(t.Context(), made, w)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Read(t.Context(), b3.Header, b3.Cursor, backup.Wrapping{}); !errors.Is(err, backup.ErrKey) {
			t.Errorf("Read without the key = %v, want ErrKey", err)
		}
		wrong := backup.Wrapping{Key: envelope.GenerateKey(key.ID(), 1)}
		if _, err := m.Read(t.Context(), b3.Header, b3.Cursor, wrong); !errors.Is(err, backup.ErrKey) {
			t.Errorf("Read with another key = %v, want ErrKey", err)
		}
		// A header that somebody changed does not open the key in it.
		raw := bytes.Replace(b.Header.Bytes(), []byte(`"version":"test"`), []byte(`"version":"tess"`), 1)
		forged, err := backup.ParseHeader(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Read(t.Context(), forged, b.Cursor, backup.Wrapping{}); !errors.Is(err, backup.ErrKey) {
			t.Errorf("Read with a changed header = %v, want ErrKey", err)
		}
	})
}

// A file that was cut at any place is taken up at its last whole frame.
func TestFileGoesOn(t *testing.T) {
	s, n := newStore(t, fixedKey{1}, 30)
	m := maker(s, 700)
	h, frames := file(t, m, backup.Wrapping{})
	raw := join(h, frames...)
	dir := t.TempDir()
	for cut := 0; cut <= len(raw); cut += 1 + cut%97 {
		path := filepath.Join(dir, "file")
		tail := []byte(nil)
		if cut%2 == 1 {
			tail = []byte("torn") // what a crash can leave beyond
		}
		if err := os.WriteFile(backup.PartialPath(path), append(raw[:cut:cut], tail...), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := backup.OpenFile(path)
		if err != nil {
			t.Fatalf("cut to %d: OpenFile: %v", cut, err)
		}
		if (f.Header() != nil) != (cut >= len(h.Bytes())) {
			t.Fatalf("cut to %d: a header was found: %v", cut, f.Header() != nil)
		}
		b := &backup.Begun{Header: f.Header(), Cursor: f.Cursor()}
		if !f.Whole() && b.Cursor == "" {
			if b, err = m.Begin(t.Context(), made, backup.Wrapping{}); err != nil {
				t.Fatal(err)
			}
			if err := f.Start(b.Header); err != nil {
				t.Fatal(err)
			}
		}
		for cursor := b.Cursor; cursor != ""; {
			p, err := m.Read(t.Context(), b.Header, cursor, backup.Wrapping{})
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Append(p.Frame); err != nil {
				t.Fatal(err)
			}
			cursor = p.Cursor
		}
		if err := errors.Join(f.Finish(), f.Close()); err != nil {
			t.Fatalf("cut to %d: %v", cut, err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(got, backup.Unlock{RootKey: fixedKey{1}}); err != nil {
			t.Fatalf("cut to %d: verify: %v", cut, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() != f.Size() {
			t.Fatalf("cut to %d: %v, %v", cut, info, err)
		}
		exists(t, backup.PartialPath(path), false)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(60, len(n.all(t, s))); diff != "" {
		t.Error(diff)
	}
}

func TestFileRefuses(t *testing.T) {
	s, _ := newStore(t, fixedKey{1}, 30)
	h, frames := file(t, maker(s, 700), backup.Wrapping{})
	path := filepath.Join(t.TempDir(), "file")
	f, err := backup.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.OpenFile(path); err == nil {
		t.Error("two commands write one file")
	}
	if err := f.Append(frames[0]); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("Append without a header = %v, want ErrDamaged", err)
	}
	if err := f.Start(h); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"the second frame": frames[1], "half a frame": frames[0][:20], "two frames": append(bytes.Clone(frames[0]), frames[1]...), "nothing": nil} {
		if err := f.Append(raw); !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrIncomplete) {
			t.Errorf("Append of %s = %v, want ErrDamaged or ErrIncomplete", name, err)
		}
	}
	if err := f.Finish(); !errors.Is(err, backup.ErrIncomplete) {
		t.Errorf("Finish of a header = %v, want ErrIncomplete", err)
	}
	for _, raw := range frames {
		if err := f.Append(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); !errors.Is(err, backup.ErrExists) {
		t.Errorf("Finish over a file = %v, want ErrExists", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.OpenFile(path); !errors.Is(err, backup.ErrExists) {
		t.Errorf("OpenFile over a file = %v, want ErrExists", err)
	}
	if err := errors.Join(os.Remove(path), os.Rename(backup.PartialPath(path), path+".else"), os.Symlink(path+".else", backup.PartialPath(path))); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.OpenFile(path); err == nil {
		t.Error("OpenFile follows a symbolic link")
	}
	empty := filepath.Join(t.TempDir(), "file")
	if f, err = backup.OpenFile(empty); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	exists(t, backup.PartialPath(empty), false)
}

func TestStream(t *testing.T) {
	s, _ := newStore(t, fixedKey{1}, 30)
	h, frames := file(t, maker(s, 700), backup.Wrapping{})
	var out bytes.Buffer
	w := backup.NewStream(&out)
	if err := w.Start(h); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(frames[1]); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("Append of the second frame = %v, want ErrDamaged", err)
	}
	if err := w.Finish(); !errors.Is(err, backup.ErrIncomplete) {
		t.Errorf("Finish = %v, want ErrIncomplete", err)
	}
	for _, raw := range frames {
		if err := w.Append(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil || !bytes.Equal(out.Bytes(), join(h, frames...)) || w.Size() != int64(out.Len()) {
		t.Errorf("Finish = %v; %d bytes", err, out.Len())
	}
	if err := w.Start(h); err == nil {
		t.Error("a stream begins again")
	}
	if err := backup.NewStream(failing{}).Start(h); err == nil {
		t.Error("a stream that cannot be written says nothing")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }
