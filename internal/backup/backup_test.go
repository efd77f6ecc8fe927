package backup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/backup"
	"arca/internal/envelope"
	"arca/internal/rootkey"
	"arca/internal/store"
	"arca/internal/storetest"
)

// note is a record of the tests.
type note struct {
	Text string `cbor:"1,keyasint"`
	N    int    `cbor:"2,keyasint,omitempty"`
}

// notes are the tables of the tests.
type notes struct{ a, b *store.Table[note] }

func (n *notes) attach(s *store.Store) {
	n.a = store.NewTable(s, store.TableSpec[note]{Name: "alpha", Format: 1})
	n.b = store.NewTable(s, store.TableSpec[note]{Name: "beta", Format: 2})
}

func (n *notes) all(t testing.TB, s *store.Store) map[string]note {
	t.Helper()
	out := map[string]note{}
	err := s.View(t.Context(), func(v *store.Snap) error {
		for _, table := range []*store.Table[note]{n.a, n.b} {
			if err := table.Walk(t.Context(), v, func(r *note) error { out[r.Text] = *r; return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (n *notes) fill(t testing.TB, s *store.Store, records int) {
	t.Helper()
	for base := 0; base < records; base += 50 {
		_, err := s.Update(t.Context(), func(tx *store.Tx) error {
			for i := base; i < min(records, base+50); i++ {
				n.a.Put(tx, store.Key{Scope: "s", Parent: fmt.Sprint(i)}, &note{Text: fmt.Sprint("a", i), N: i})
				n.b.Put(tx, store.Key{Scope: fmt.Sprint(i)}, &note{Text: fmt.Sprint("b", i)})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// fixedKey is a root key that is the same everywhere.
type fixedKey struct{ secret byte }

func (k fixedKey) Kind() string { return "fixed" }

func (k fixedKey) Open(context.Context, []byte) (*envelope.Key, error) {
	secret := bytes.Repeat([]byte{k.secret}, 32)
	return envelope.NewKey(envelope.KeyID(secret[:16]), 1, secret)
}

func (k fixedKey) Create(ctx context.Context) (*envelope.Key, []byte, error) {
	key, err := k.Open(ctx, nil)
	return key, []byte("fixed"), err
}

func (k fixedKey) Renew(context.Context) (*envelope.Key, []byte, error) {
	return nil, nil, errors.ErrUnsupported
}

func (k fixedKey) Adopt(context.Context, []byte, []byte) error { return nil }

func (k fixedKey) Destroy(context.Context, []byte) error { return nil }

func newStore(t testing.TB, key store.RootKey, records int) (*store.Store, *notes) {
	t.Helper()
	n := new(notes)
	s := storetest.Open(t, store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}, n.attach)
	n.fill(t, s, records)
	return s, n
}

var made = time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)

// file makes a whole backup: the header, and each frame.
func file(t testing.TB, m *backup.Maker, w backup.Wrapping) (h *backup.Header, frames [][]byte) {
	t.Helper()
	b, err := m.Begin(t.Context(), made, w)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	for cursor := b.Cursor; cursor != ""; {
		p, err := m.Read(t.Context(), b.Header, cursor, w)
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		frames = append(frames, p.Frame)
		cursor = p.Cursor
	}
	return b.Header, frames
}

func join(h *backup.Header, frames ...[]byte) []byte {
	return append(h.Bytes(), bytes.Join(frames, nil)...)
}

// maker makes backups of small frames.
func maker(s *store.Store, page int) *backup.Maker {
	m := backup.NewMaker(s, "test")
	m.SetPage(page)
	return m
}

func restore(t testing.TB, cfg store.Config, raw []byte, u backup.Unlock) (*backup.Summary, error) {
	t.Helper()
	s := store.New(cfg)
	new(notes).attach(s)
	return backup.Restore(t.Context(), s, bytes.NewReader(raw), u, func(backup.Stage, int64) {})
}

// verify reads a backup to its end.
func verify(raw []byte, u backup.Unlock) error {
	r, err := backup.NewReader(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	key, err := r.Header().Open(context.Background(), u)
	if err != nil {
		return err
	}
	defer key.Wipe()
	_, err = r.Verify(key, nil, func(int64) {})
	return err
}

func passphrase(text string) *rootkey.Passphrase {
	return rootkey.NewPassphrase(envelope.NewPlaintext([]byte(text)))
}

func TestRestore(t *testing.T) {
	const phrase = "a passphrase for this test"
	for _, tc := range []struct {
		name          string
		records, page int
		phrase        string
	}{
		{"nothing", 0, 1 << 20, ""},
		{"one frame", 20, 1 << 20, ""},
		{"many frames", 150, 500, ""},
		{"passphrase", 50, 2000, phrase},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, n := newStore(t, fixedKey{1}, tc.records)
			want := n.all(t, s)
			w, u, target := backup.Wrapping{}, backup.Unlock{RootKey: fixedKey{1}}, fixedKey{1}
			if tc.phrase != "" {
				key, params, err := passphrase(tc.phrase).Create(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				w = backup.Wrapping{Key: key, Params: params}
				u, target = backup.Unlock{Passphrase: passphrase(tc.phrase)}, fixedKey{2}
			}
			h, frames := file(t, maker(s, tc.page), w)
			raw := join(h, frames...)
			if h.Deployment != s.DeploymentID() || h.Version != "test" || !h.Created.Equal(made.Truncate(time.Second)) || h.Records != int64(2*tc.records) {
				t.Errorf("header = %+v", h)
			}
			sum, err := backup.Inspect(bytes.NewReader(raw), func(int64) {})
			if err != nil || sum.FileBytes != int64(len(raw)) || int(sum.Frames) != len(frames) {
				t.Errorf("Inspect = %+v, %v; want %d bytes, %d frames", sum, err, len(raw), len(frames))
			}
			cfg := store.Config{Dir: t.TempDir(), RootKey: target, Logger: storetest.Logger(t)}
			sum, err = restore(t, cfg, raw, u)
			if err != nil {
				t.Fatalf("Restore: %v", err)
			}
			if sum.Records != int64(2*tc.records) || sum.FileBytes != int64(len(raw)) {
				t.Errorf("Restore = %+v", sum)
			}
			n2 := new(notes)
			s2 := storetest.Open(t, cfg, n2.attach)
			if diff := cmp.Diff(want, n2.all(t, s2)); diff != "" {
				t.Errorf("restored (-want +got):\n%s", diff)
			}
			if name, yes, err := s2.Imported(t.Context()); name != h.Backup || !yes || err != nil {
				t.Errorf("Imported = %q, %v, %v", name, yes, err)
			}
			// A backup of what was restored is one, too.
			h, frames = file(t, maker(s2, 700), backup.Wrapping{})
			if err := verify(join(h, frames...), backup.Unlock{RootKey: target}); err != nil {
				t.Errorf("backup of what was restored: %v", err)
			}
		})
	}
}

// Every byte counts, and every frame at its place.
func TestDamage(t *testing.T) {
	s, _ := newStore(t, fixedKey{1}, 40)
	m := maker(s, 400)
	h, frames := file(t, m, backup.Wrapping{})
	raw := join(h, frames...)
	u := backup.Unlock{RootKey: fixedKey{1}}
	if err := verify(raw, u); err != nil || len(frames) < 4 {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	known := []error{backup.ErrNotBackup, backup.ErrNewer, backup.ErrDamaged, backup.ErrIncomplete, backup.ErrKey}
	refused := func(t *testing.T, raw []byte, what string) {
		t.Helper()
		err := verify(raw, u)
		for _, k := range known {
			if errors.Is(err, k) {
				return
			}
		}
		t.Errorf("%s: verify = %v, want one of the errors of a bad backup", what, err)
	}
	heads := map[int]bool{} // where a byte is a length, a number or a flag
	at := len(h.Bytes())
	for _, f := range frames {
		for i := range 12 {
			heads[at+i] = true
		}
		at += len(f)
	}
	for i := range raw {
		if i%5 != 0 && !heads[i] {
			continue
		}
		bad := bytes.Clone(raw)
		bad[i] ^= 1 << (i % 8)
		refused(t, bad, fmt.Sprintf("byte %d of %d changed", i, len(raw)))
	}
	for n := 0; n < len(raw); n += 1 + n%23 {
		refused(t, raw[:n], fmt.Sprintf("cut to %d bytes", n))
	}
	refused(t, append(bytes.Clone(raw), 0), "a byte more")
	refused(t, append(bytes.Clone(raw), frames[len(frames)-1]...), "the last frame twice")
	last := len(frames) - 1
	for i := range last {
		var without, twice, swapped [][]byte
		for j, f := range frames {
			if j != i {
				without = append(without, f)
			}
			twice = append(twice, f)
			if j == i {
				twice = append(twice, f)
			}
			switch j {
			case i:
				swapped = append(swapped, frames[i+1])
			case i + 1:
				swapped = append(swapped, frames[i])
			default:
				swapped = append(swapped, f)
			}
		}
		refused(t, join(h, without...), fmt.Sprintf("without frame %d", i))
		refused(t, join(h, twice...), fmt.Sprintf("frame %d twice", i))
		refused(t, join(h, swapped...), fmt.Sprintf("frames %d and %d swapped", i, i+1))
	}
	h2, other := file(t, m, backup.Wrapping{})
	for i := range frames {
		mixed := append([][]byte(nil), frames...)
		mixed[i] = other[i]
		refused(t, join(h, mixed...), fmt.Sprintf("frame %d of another backup", i))
	}
	refused(t, join(h2, frames...), "header of another backup")
	// The checksums are right and the lengths are not.
	for _, n := range []uint32{0, 1, 10, backup.MaxFrameBytes + 1, 1<<32 - 1} {
		bad := bytes.Clone(raw)
		binary.BigEndian.PutUint32(bad[len(h.Bytes()):], n)
		refused(t, bad, fmt.Sprintf("length %d", n))
	}
}

// A bad backup leaves an empty directory empty.
func TestRestoreWritesNothing(t *testing.T) {
	s, _ := newStore(t, fixedKey{1}, 40)
	h, frames := file(t, maker(s, 900), backup.Wrapping{})
	raw := join(h, frames...)
	damaged := bytes.Clone(raw)
	damaged[len(raw)-20] ^= 1
	for _, tc := range []struct {
		name string
		raw  []byte
		u    backup.Unlock
		want error
		text string
	}{
		{"damaged", damaged, backup.Unlock{RootKey: fixedKey{1}}, backup.ErrDamaged, ""},
		{"incomplete", raw[:len(raw)-1], backup.Unlock{RootKey: fixedKey{1}}, backup.ErrIncomplete, ""},
		{"empty", nil, backup.Unlock{RootKey: fixedKey{1}}, backup.ErrNotBackup, ""},
		{"another root key", raw, backup.Unlock{RootKey: fixedKey{3}}, backup.ErrKey, "03030303"},
		{"another kind", raw, backup.Unlock{RootKey: storetest.NewRootKey()}, backup.ErrKey, `of kind "fixed"`},
		{"no key", raw, backup.Unlock{Passphrase: passphrase("a passphrase of no use")}, nil, "--config"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir() + "/store"
			_, err := restore(t, store.Config{Dir: dir, RootKey: fixedKey{1}}, tc.raw, tc.u)
			if tc.want != nil && !errors.Is(err, tc.want) || err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("Restore = %v, want %v with %q", err, tc.want, tc.text)
			}
			exists(t, dir, false)
		})
	}
}

// Tables of another version of the binary are refused before anything is written.
func TestRestoreOfNewerRecords(t *testing.T) {
	s, _ := newStore(t, fixedKey{1}, 3)
	h, frames := file(t, maker(s, 900), backup.Wrapping{})
	older := store.New(store.Config{Dir: t.TempDir() + "/store", RootKey: fixedKey{1}})
	store.NewTable(older, store.TableSpec[note]{Name: "alpha", Format: 1})
	_, err := backup.Restore(t.Context(), older, bytes.NewReader(join(h, frames...)), backup.Unlock{RootKey: fixedKey{1}}, func(backup.Stage, int64) {})
	if err == nil || !strings.Contains(err.Error(), `table "beta" is not known`) || !strings.Contains(err.Error(), "made by arca test") {
		t.Errorf("Restore of an unknown table = %v", err)
	}
	older = store.New(store.Config{Dir: t.TempDir() + "/store", RootKey: fixedKey{1}})
	store.NewTable(older, store.TableSpec[note]{Name: "alpha", Format: 1})
	store.NewTable(older, store.TableSpec[note]{Name: "beta", Format: 1})
	_, err = backup.Restore(t.Context(), older, bytes.NewReader(join(h, frames...)), backup.Unlock{RootKey: fixedKey{1}}, func(backup.Stage, int64) {})
	if err == nil || !strings.Contains(err.Error(), "newer than this binary knows") {
		t.Errorf("Restore of a newer record = %v", err)
	}
}

// changing is a file that is replaced between the two readings.
type changing struct {
	*bytes.Reader
	next []byte
}

func (c *changing) Seek(offset int64, whence int) (int64, error) {
	if n, _ := c.Reader.Seek(0, io.SeekCurrent); n > 0 && c.next != nil {
		c.Reader, c.next = bytes.NewReader(c.next), nil
	}
	return c.Reader.Seek(offset, whence)
}

func TestFileChangesWhileItIsRestored(t *testing.T) {
	s, n := newStore(t, fixedKey{1}, 40)
	want := n.all(t, s)
	h, frames := file(t, maker(s, 900), backup.Wrapping{})
	h2, frames2 := file(t, maker(s, 900), backup.Wrapping{})
	good := join(h, frames...)
	damaged := bytes.Clone(good)
	damaged[len(good)-20] ^= 1
	u := backup.Unlock{RootKey: fixedKey{1}}
	cfg := store.Config{Dir: t.TempDir(), RootKey: fixedKey{1}, Logger: storetest.Logger(t)}
	attached := func() *store.Store {
		s := store.New(cfg)
		new(notes).attach(s)
		return s
	}
	_, err := backup.Restore(t.Context(), attached(), &changing{bytes.NewReader(good), join(h2, frames2...)}, u, func(backup.Stage, int64) {})
	if err == nil || !strings.Contains(err.Error(), "changed while it was read") {
		t.Errorf("Restore of a file that was replaced = %v", err)
	}
	_, err = backup.Restore(t.Context(), attached(), &changing{bytes.NewReader(good), damaged}, u, func(backup.Stage, int64) {})
	if !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("Restore of a file that was damaged meanwhile = %v, want ErrDamaged", err)
	}
	if err := attached().Open(t.Context()); !errors.Is(err, store.ErrUnfinishedImport) {
		t.Errorf("Open = %v, want ErrUnfinishedImport", err)
	}
	if _, err := restore(t, cfg, good, u); err != nil {
		t.Fatal(err)
	}
	n2 := new(notes)
	if diff := cmp.Diff(want, n2.all(t, storetest.Open(t, cfg, n2.attach))); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
}

// A cancelled restore ends, and leaves what says that it is unfinished.
func TestRestoreIsInterrupted(t *testing.T) {
	s, _ := newStore(t, fixedKey{1}, 300)
	h, frames := file(t, maker(s, 900), backup.Wrapping{})
	cfg := store.Config{Dir: t.TempDir(), RootKey: fixedKey{1}, Logger: storetest.Logger(t)}
	for _, stage := range []backup.Stage{backup.StageVerify, backup.StageWrite} {
		ctx, cancel := context.WithCancel(t.Context())
		st := store.New(cfg)
		new(notes).attach(st)
		_, err := backup.Restore(ctx, st, bytes.NewReader(join(h, frames...)), backup.Unlock{RootKey: fixedKey{1}}, func(at backup.Stage, n int64) {
			if at == stage && n > 10_000 {
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Restore = %v, want context.Canceled", stage, err)
		}
	}
	st := store.New(cfg)
	if err := st.Open(t.Context()); !errors.Is(err, store.ErrUnfinishedImport) {
		t.Errorf("Open = %v, want ErrUnfinishedImport", err)
	}
}
