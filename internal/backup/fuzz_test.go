package backup_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"arca/internal/backup"
)

func FuzzParseHeader(f *testing.F) {
	h, _ := goldenFrames(f)
	f.Add(h.Bytes())
	f.Add([]byte("arca backup, format 2\n"))
	f.Add([]byte("arca backup, format 1\n{}\n\n"))
	f.Add([]byte("arca backup, format 1\n" + `{"deployment":"00","root":{"kind":"","params":"","kek":""},"passphrase":"AA=="}` + "\nAQ==\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := backup.ParseHeader(raw)
		if err != nil {
			if h != nil {
				t.Error("a header beside an error")
			}
			return
		}
		if !bytes.Equal(h.Bytes(), raw) {
			t.Errorf("header %q has a second spelling %q", raw, h.Bytes())
		}
		if _, err := h.Open(t.Context(), backup.Unlock{RootKey: fixedKey{2}}); err == nil {
			t.Error("a header opens with a key that it was not sealed under")
		}
	})
}

func FuzzParseFrame(f *testing.F) {
	_, frames := goldenFrames(f)
	for _, raw := range frames {
		f.Add(raw)
	}
	f.Add([]byte{0, 0, 0, 11, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		fr, err := backup.ParseFrame(raw)
		if err == nil && (fr.Last != (fr.Cursor == "") || len(fr.Cursor) > backup.MaxCursorBytes) {
			t.Errorf("ParseFrame(%x) = %+v", raw, fr)
		}
	})
}

// FuzzFile reads whole files that are like backups up to their frames.
func FuzzFile(f *testing.F) {
	h, frames := goldenFrames(f)
	f.Add(join(h, frames...)[len(h.Bytes()):])
	f.Add(frames[0])
	f.Add(frames[len(frames)-1])
	f.Add([]byte{0, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := backup.Inspect(bytes.NewReader(append(h.Bytes(), body...)), func(int64) {})
		if err != nil && !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrIncomplete) {
			t.Errorf("Inspect = %v, want ErrDamaged or ErrIncomplete", err)
		}
	})
}

// FuzzContent is what somebody could do who has the key of a backup: seal anything.
func FuzzContent(f *testing.F) {
	h, frames := goldenFrames(f)
	key, err := h.Open(f.Context(), backup.Unlock{RootKey: goldenKey})
	if err != nil {
		f.Fatal(err)
	}
	plain, err := backup.OpenFrame(key, frames[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain, true)
	f.Add(plain, false)
	f.Add([]byte{0xa2, 1, 0x82, 0x60, 0x40, 2, 0x82, 0x60, 0x40}, true)
	f.Add([]byte{0xa1, 3, 0x9a, 0xff, 0xff, 0xff, 0xff}, true)
	f.Fuzz(func(t *testing.T, plain []byte, last bool) {
		cursor := "c"
		if last {
			cursor = ""
		}
		raw, err := backup.AppendFrame(h.Bytes(), key, 0, last, cursor, plain)
		if err != nil {
			t.Skip()
		}
		r, err := backup.NewReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		c, err := r.Next(key)
		switch {
		case err == io.EOF:
			t.Error("the end before the first frame")
		case err != nil && !errors.Is(err, backup.ErrDamaged):
			t.Errorf("Next = %v, want ErrDamaged", err)
		case err == nil && (c.Totals != nil) != last:
			t.Errorf("Next = %+v, last %v", c, last)
		}
	})
}
