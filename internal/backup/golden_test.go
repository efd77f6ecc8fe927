package backup_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/backup"
	"arca/internal/store"
	"arca/internal/storetest"
)

// goldenKey is the root key of testdata/format1-root.backup.
var goldenKey = fixedKey{0x5a}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Files that were made once must be restored for ever: if this fails, the backups that
// people keep cannot be read any more.
func TestFormat1(t *testing.T) {
	for _, tc := range []struct {
		file string
		u    backup.Unlock
	}{
		{"format1-root.backup", backup.Unlock{RootKey: goldenKey}},
		{"format1-passphrase.backup", backup.Unlock{Passphrase: passphrase("open this for ever and ever")}},
	} {
		t.Run(tc.file, func(t *testing.T) {
			raw := golden(t, tc.file)
			cfg := store.Config{Dir: t.TempDir(), RootKey: goldenKey, Logger: storetest.Logger(t)}
			sum, err := restore(t, cfg, raw, tc.u)
			if err != nil {
				t.Fatal(err)
			}
			if sum.Records != 10 || sum.Frames < 2 || sum.Header.Version != "test" || !strings.HasPrefix(string(raw), "arca backup, format 1\n{") {
				t.Errorf("summary = %+v of %+v", sum, sum.Header)
			}
			n := new(notes)
			s := storetest.Open(t, cfg, n.attach)
			want := map[string]note{}
			for i := range 5 {
				want[fmt.Sprint("a", i)] = note{Text: fmt.Sprint("a", i), N: i}
				want[fmt.Sprint("b", i)] = note{Text: fmt.Sprint("b", i)}
			}
			if diff := cmp.Diff(want, n.all(t, s)); diff != "" {
				t.Errorf("restored (-want +got):\n%s", diff)
			}
			err = s.View(t.Context(), func(v *store.Snap) error {
				if r, ok := n.a.Get(v, store.Key{Scope: "s", Parent: "3"}); !ok || r.N != 3 {
					t.Errorf("a record is not found under its name: %+v", r)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// goldenFrames cuts a golden file into its header and frames.
func goldenFrames(t testing.TB) (h *backup.Header, frames [][]byte) {
	t.Helper()
	raw := golden(t, "format1-root.backup")
	r, err := backup.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return r.Header(), backup.SplitFrames(raw[len(r.Header().Bytes()):])
}
