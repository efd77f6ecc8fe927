package ship_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"arca/internal/audit"
	"arca/internal/ship"
)

// TestCopyUnderTraffic: a round ends, with a checkpoint, while the log never rests.
func TestCopyUnderTraffic(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	dir := t.TempDir()
	cfg := b.config()
	cfg.Copies = []ship.CopyConfig{{Name: "dir", Dir: dir}}
	s := newShipper(t, cfg)
	b.append(300)
	for round := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		// Whenever lines are copied, there is another one.
		pieces := 0
		s.BeforeExtend(func() {
			if pieces++; pieces > 50 {
				cancel()
				return
			}
			b.append(1)
		})
		if err := s.CopyNow(ctx); err != nil {
			t.Fatalf("round %d: %v, after %d pieces", round, err, pieces)
		}
		cancel()
		if pieces == 0 {
			t.Errorf("round %d copied nothing", round)
		}
	}
	if s.Held() == 0 {
		t.Error("held did not move")
	}
	s.BeforeExtend(func() {})
	now(t, b, s)
	if got, want := verify(t, b, filepath.Join(dir, "node-1")), b.log.Size(); got != want {
		t.Errorf("the checkpoint covers %d lines, want %d", got, want)
	}
}

// TestCopyLinks: who can write to the copy's directory cannot make us write anywhere
// else, nor into a file of his choice.
func TestCopyLinks(t *testing.T) {
	link := func(t *testing.T, to, at string) {
		t.Helper()
		if err := os.RemoveAll(at); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		// plant does it, in the folder of a copy that was whole. newest is the name of the
		// newest segment there, victim a file elsewhere, inside one in the same folder.
		plant   func(t *testing.T, dir, newest, victim, inside string)
		refused bool
	}{
		{"segment", func(t *testing.T, dir, newest, victim, _ string) { link(t, victim, filepath.Join(dir, newest)) }, true},
		{"segment, within the folder", func(t *testing.T, dir, newest, _, inside string) {
			link(t, filepath.Base(inside), filepath.Join(dir, newest))
		}, true},
		{"dangling segment", func(t *testing.T, dir, newest, victim, _ string) {
			link(t, victim+".none", filepath.Join(dir, newest))
		}, true},
		{"segment is a pipe", func(t *testing.T, dir, newest, _, _ string) {
			at := filepath.Join(dir, newest)
			if err := os.Remove(at); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mkfifo(at, 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"temporary checkpoint", func(t *testing.T, dir, _, victim, _ string) {
			link(t, victim, filepath.Join(dir, "checkpoint.tmp"))
		}, false},
		{"temporary checkpoint, within the folder", func(t *testing.T, dir, _, _, inside string) {
			link(t, filepath.Base(inside), filepath.Join(dir, "checkpoint.tmp"))
		}, false},
		{"temporary checkpoint is another name of a file", func(t *testing.T, dir, _, victim, _ string) {
			if err := os.Link(victim, filepath.Join(dir, "checkpoint.tmp")); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"checkpoint", func(t *testing.T, dir, _, victim, _ string) { link(t, victim, filepath.Join(dir, "checkpoint")) }, false},
		{"checkpoints", func(t *testing.T, dir, _, victim, _ string) {
			link(t, filepath.Dir(victim), filepath.Join(dir, "checkpoints"))
		}, true},
		{"the folder", func(t *testing.T, dir, _, victim, _ string) { link(t, filepath.Dir(victim), dir) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			root, elsewhere := t.TempDir(), t.TempDir()
			cfg := b.config()
			cfg.Copies = []ship.CopyConfig{{Name: "dir", Dir: root}}
			s := newShipper(t, cfg)
			b.append(30)
			now(t, b, s)
			dir := filepath.Join(root, "node-1")
			segs, err := audit.Segments(dir)
			if err != nil {
				t.Fatal(err)
			}
			newest := filepath.Base(segs[len(segs)-1].Path)
			// It looks like the lines that are there, so that only its being a link is wrong.
			text := readFile(t, filepath.Join(dir, newest)) + "and more"
			victim := writeFile(t, filepath.Join(elsewhere, "victim"), text)
			inside := writeFile(t, filepath.Join(dir, "inside"), text)
			tt.plant(t, dir, newest, victim, inside)
			if tt.refused { // something for every folder of the copy
				if err := os.MkdirAll(filepath.Join(b.dir, "checkpoints"), 0o700); err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(b.dir, "checkpoints", "note"), "x")
			}
			b.append(30)
			for range 2 {
				s.LookAgain()
				if err := s.CopyNow(t.Context()); tt.refused && err == nil {
					t.Error("the round succeeded")
				} else if !tt.refused && err != nil {
					t.Error(err)
				}
			}
			if got := readFile(t, victim); got != text {
				t.Errorf("the file elsewhere was changed to %d bytes, had %d", len(got), len(text))
			}
			if got := tree(t, elsewhere); got != fmt.Sprintf("victim %d\n", len(text)) {
				t.Errorf("elsewhere there is now\n%s", got)
			}
			if got := readFile(t, inside); got != text && got != "" { // gone with its folder
				t.Errorf("the file in the folder was changed to %d bytes, had %d", len(got), len(text))
			}
			if !tt.refused {
				now(t, b, s)
				if err := os.Remove(inside); err != nil {
					t.Fatal(err)
				}
				if got := lines(t, dir); !slices.Equal(got, seq(60)) {
					t.Errorf("lines %v", got)
				}
				verify(t, b, dir)
			}
		})
	}
}

// TestFileSyncFailed: lines whose sync failed are taken back once, whoever noticed.
func TestFileSyncFailed(t *testing.T) {
	tests := []struct {
		name string
		// after the file was made unusable behind two lines
		do func(t *testing.T, o *ship.FileOutput)
	}{
		{"noticed by settling", func(*testing.T, *ship.FileOutput) {}},
		{"noticed by the next send", func(t *testing.T, o *ship.FileOutput) {
			if err := o.Send(2, line(2)); err == nil {
				t.Error("a send to a file that cannot be synced succeeded")
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := ship.NewFileOutput(filepath.Join(t.TempDir(), "f"))
			defer o.Close()
			if err := o.Settle(); err != nil {
				t.Errorf("settle nothing: %v", err)
			}
			for n := range 2 {
				if err := o.Send(uint64(n), line(n)); err != nil {
					t.Fatal(err)
				}
			}
			if err := o.Break(); err != nil {
				t.Fatal(err)
			}
			tt.do(t, o)
			if err := o.Settle(); err == nil {
				t.Error("lines that were never synced are settled")
			}
			if err := o.Settle(); err != nil {
				t.Errorf("settle again: %v", err)
			}
			if err := o.Send(0, line(0)); err != nil {
				t.Fatal(err)
			}
			if err := o.Settle(); err != nil {
				t.Errorf("settle what was sent again: %v", err)
			}
		})
	}
}

// TestLagOfWhoCannotRead: whoever fails before the first line is late all the same, and
// nobody is without lines.
func TestLagOfWhoCannotRead(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if err := os.MkdirAll(b.state, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(b.state, "sink-out.json"), "{")
	writeFile(t, filepath.Join(b.state, "copy-dir.json"), "{")
	cfg := b.config()
	cfg.Stdout = &syncBuffer{}
	cfg.Sinks = []ship.SinkConfig{{Name: "out", Kind: "stdout"}}
	cfg.Copies = []ship.CopyConfig{{Name: "dir", Dir: t.TempDir()}}
	s, _ := b.start(cfg)
	failing := func() bool { st := s.Status(); return st[0].Failing != "" && st[1].Failing != "" }
	eventually(t, "failing", failing)
	for _, st := range s.Status() {
		if st.Lag != 0 {
			t.Errorf("%s is late without lines: %+v", st.Kind, st)
		}
	}
	b.append(1)
	eventually(t, "both late", func() bool { st := s.Status(); return st[0].Lag > 0 && st[1].Lag > 0 })
}

// TestBucketListing: a store that lists without an end, or too much, is an error.
func TestBucketListing(t *testing.T) {
	tests := []struct {
		name string
		page func(n int) string // what is in page n; there is always one more
		want string
	}{
		{"the same page for ever", func(int) string { return `<Contents><Key>arca/node-1/a</Key><Size>1</Size></Contents>` }, "nothing new"},
		{"the same folder for ever", func(int) string {
			return `<CommonPrefixes><Prefix>arca/node-1/a/</Prefix></CommonPrefixes>`
		}, "nothing new"},
		{"empty pages for ever", func(int) string { return "" }, "nothing new"},
		{"new names for ever", func(n int) string {
			return fmt.Sprintf(`<Contents><Key>arca/node-1/%d</Key><Size>1</Size></Contents>`, n)
		}, "more than 50 objects"},
		{"new folders for ever", func(n int) string {
			return fmt.Sprintf(`<CommonPrefixes><Prefix>arca/node-1/%d/</Prefix></CommonPrefixes>`, n)
		}, "more than 50 objects"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n++
				w.Header().Set("Content-Type", "application/xml")
				_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t%d</NextContinuationToken>%s</ListBucketResult>`, n, tt.page(n))
			}))
			t.Cleanup(server.Close)
			creds := writeFile(t, filepath.Join(t.TempDir(), "c"), "[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
			b := newBed(t)
			cfg := b.config()
			cfg.Copies = []ship.CopyConfig{{Name: "bucket", Bucket: "b", Prefix: "arca", Endpoint: server.URL, PathStyle: true, CredentialsFile: creds}}
			s := newShipper(t, cfg)
			s.LimitKeys(50)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := s.CopyNow(ctx); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("round = %v, want %q", err, tt.want)
			}
		})
	}
}
