package ship_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"pgregory.net/rapid"

	"arca/internal/audit"
	"arca/internal/ship"
)

// trusting is an HTTP client that trusts an authority.
func trusting(t testing.TB, caFile string) *awshttp.BuildableClient {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(readFile(t, caFile)))
	return awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	})
}

// target is a place for copies in a test.
type target struct {
	cfg ship.CopyConfig
	// look returns a folder that holds what the place holds now.
	look func() string
	// down makes the place unreachable until up.
	down, up func()
}

func targets(t testing.TB) map[string]func(t testing.TB) target {
	return map[string]func(t testing.TB) target{
		"directory": func(t testing.TB) target {
			dir := t.TempDir()
			return target{
				cfg:  ship.CopyConfig{Name: "dir", Dir: dir},
				look: func() string { return dir },
				down: func() { rename(t, dir, dir+".away") },
				up:   func() { rename(t, dir+".away", dir) },
			}
		},
		"bucket": func(t testing.TB) target {
			o := newObjectStore(t, false)
			return target{cfg: o.copyConfig(), look: o.download, down: o.stop, up: o.start}
		},
		"locked bucket": func(t testing.TB) target {
			o := newObjectStore(t, true)
			return target{cfg: o.copyConfig(), look: o.download, down: o.stop, up: o.start}
		},
	}
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// verify checks a copy with its own checkpoint, as somebody would who has nothing
// else, and returns how many lines it holds.
func verify(t testing.TB, b *bed, dir string) uint64 {
	t.Helper()
	report, err := audit.Verify(t.Context(), audit.VerifyOptions{Dir: dir, Keys: []string{b.key}})
	if err != nil {
		t.Fatalf("verify %s: %v\n%s", dir, err, tree(t, dir))
	}
	for _, p := range report.Problems {
		t.Errorf("verify: %+v\n%s", p, tree(t, dir))
	}
	return report.Size
}

// tree lists the files below a folder.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			fmt.Fprintf(&b, "%s %d\n", rel, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// lines returns what a copy holds, in the order of a reader of the log.
func lines(t testing.TB, dir string) []int {
	t.Helper()
	var text strings.Builder
	if err := audit.Scan(t.Context(), dir, 0, func(_ uint64, l []byte) error {
		text.Write(l)
		text.WriteByte('\n')
		return nil
	}); err != nil {
		t.Fatalf("scan %s: %v\n%s", dir, err, tree(t, dir))
	}
	return numbers(t, text.String())
}

// now brings a copy up to date, with the newest checkpoint of the log.
func now(t testing.TB, b *bed, s *ship.Shipper) {
	t.Helper()
	eventually(t, "a checkpoint of every line", func() bool {
		cp, ok := b.log.Checkpoint()
		return ok && cp.Size == b.log.Size()
	})
	if err := s.CopyNow(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func newShipper(t testing.TB, cfg ship.Config) *ship.Shipper {
	t.Helper()
	s, err := ship.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCopy: a copy verifies by itself at every moment at which a round has ended, and
// holds every line of that moment.
func TestCopy(t *testing.T) {
	for name, make := range targets(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := make(t)
			b := newBed(t)
			cfg := b.config()
			cfg.Copies = []ship.CopyConfig{to.cfg}
			s := newShipper(t, cfg)
			check := func() {
				t.Helper()
				dir := filepath.Join(to.look(), "node-1")
				if got := lines(t, dir); !slices.Equal(got, seq(b.n)) {
					t.Fatalf("the copy has lines %v, want those before %d\n%s", got, b.n, tree(t, dir))
				}
				if got := verify(t, b, dir); got != uint64(b.n) {
					t.Fatalf("the checkpoint covers %d lines, want %d", got, b.n)
				}
			}
			for _, n := range []int{1, 3, 200, 500, 1} {
				b.append(n)
				now(t, b, s)
				check()
			}
			// As after a start: what is there is found again, and nothing is put twice.
			before := tree(t, to.look())
			s.LookAgain()
			now(t, b, s)
			if after := tree(t, to.look()); after != before {
				t.Errorf("looking again changed\n%s to\n%s", before, after)
			}
			b.append(10)
			now(t, b, s)
			check()
			// Segments are compressed by and by.
			compress(t, b)
			now(t, b, s)
			check()
			s.LookAgain()
			b.append(100)
			now(t, b, s)
			check()
			segs, err := audit.Segments(b.dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, seg := range segs[:len(segs)-1] {
				if !seg.Compressed {
					continue
				}
				if !strings.Contains(tree(t, to.look()), "node-1/"+audit.SegmentName(seg.First, true)+" ") {
					t.Errorf("segment %d is compressed in the log and not in the copy\n%s", seg.First, tree(t, to.look()))
				}
			}
			if held := s.Held(); held < segs[len(segs)-1].First && name == "directory" {
				t.Errorf("Held() = %d, want %d", held, segs[len(segs)-1].First)
			}
		})
	}
}

// compress compresses the closed segments of the log.
func compress(t testing.TB, b *bed) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = b.log.Maintain(t.Context(), audit.RetainConfig{Compress: true}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCopyOutage: while the place is away nothing is lost, and afterwards the copy is
// whole.
func TestCopyOutage(t *testing.T) {
	for name, make := range targets(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := make(t)
			b := newBed(t)
			cfg := b.config()
			cfg.Copies = []ship.CopyConfig{to.cfg}
			s, stop := b.start(cfg)
			b.append(300)
			eventually(t, "copied", func() bool { return s.Status()[0].LagLines == 0 })
			to.down()
			b.append(300)
			eventually(t, "failing and behind", func() bool {
				st := s.Status()[0]
				return st.Failing != "" && st.LagLines == 300 && st.Lag > 0
			})
			to.up()
			eventually(t, "copied again", func() bool { return s.Status()[0].LagLines == 0 && s.Status()[0].Failing == "" })
			b.append(1)
			stop() // brings the copy up to date
			dir := filepath.Join(to.look(), "node-1")
			if got := lines(t, dir); !slices.Equal(got, seq(b.n)) {
				t.Errorf("the copy has lines %v\n%s", got, tree(t, dir))
			}
			verify(t, b, dir)
		})
	}
}

// TestCopyOfAnotherLog: what the log does not have is never written over.
func TestCopyOfAnotherLog(t *testing.T) {
	for name, make := range targets(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := make(t)
			b := newBed(t)
			b.append(300)
			b.close()
			snapshot := t.TempDir()
			if err := os.CopyFS(snapshot, os.DirFS(b.dir)); err != nil {
				t.Fatal(err)
			}
			b.open()
			cfg := b.config()
			cfg.Copies = []ship.CopyConfig{to.cfg}
			s := newShipper(t, cfg)
			b.append(100)
			now(t, b, s)
			b.close()
			before := tree(t, filepath.Join(to.look(), "node-1"))

			// The machine is set back to the snapshot, and the database with it. Nobody but
			// the copy knows of the hundred lines.
			if err := os.RemoveAll(b.dir); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(b.dir, os.DirFS(snapshot)); err != nil {
				t.Fatal(err)
			}
			b.n, b.agent = 300, "other"
			b.open()
			cfg.Log = b.log
			s = newShipper(t, cfg)
			b.append(5)
			now(t, b, s)
			if after := tree(t, filepath.Join(to.look(), "node-1")); after != before {
				t.Errorf("the copy was changed from\n%s to\n%s", before, after)
			}
			beside := filepath.Join(to.look(), "node-1.2")
			if got := lines(t, beside); !slices.Equal(got, seq(b.n)) {
				t.Errorf("the copy beside it has lines %v\n%s", got, tree(t, to.look()))
			}
			verify(t, b, beside)
			if !strings.Contains(b.out.String(), "copying goes on beside it") {
				t.Errorf("log: %s", b.out)
			}
			// And it stays so, also when the log has as many lines again.
			b.append(200)
			s = newShipper(t, cfg)
			now(t, b, s)
			if after := tree(t, filepath.Join(to.look(), "node-1")); after != before {
				t.Errorf("the copy was changed from\n%s to\n%s", before, after)
			}
			verify(t, b, filepath.Join(to.look(), "node-1.2"))
		})
	}
}

// TestCopyTorn: a copy in a directory whose end a crash of the other machine damaged
// is mended.
func TestCopyTorn(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, path string)
	}{
		{"half a line", func(t *testing.T, path string) { cut(t, path, -20) }},
		{"some lines", func(t *testing.T, path string) { cut(t, path, -3000) }},
		{"everything", func(t *testing.T, path string) { cut(t, path, 0) }},
		{"removed", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		{"a part of a write", func(t *testing.T, path string) {
			writeFile(t, path, readFile(t, path)+`{"eventVersion":"1`)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			dir := t.TempDir()
			cfg := b.config()
			cfg.Copies = []ship.CopyConfig{{Name: "dir", Dir: dir}}
			s := newShipper(t, cfg)
			b.append(250)
			now(t, b, s)
			segs, err := audit.Segments(filepath.Join(dir, "node-1"))
			if err != nil {
				t.Fatal(err)
			}
			tt.damage(t, segs[len(segs)-1].Path)
			b.append(10)
			for range 3 { // the first attempt may find the damage
				if err = s.CopyNow(t.Context()); err == nil {
					break
				}
				s.LookAgain()
			}
			now(t, b, s)
			if got := lines(t, filepath.Join(dir, "node-1")); !slices.Equal(got, seq(260)) {
				t.Errorf("lines %v", got)
			}
			verify(t, b, filepath.Join(dir, "node-1"))
		})
	}
}

// cut makes a file as long as size, or shorter by -size.
func cut(t *testing.T, path string, size int64) {
	t.Helper()
	if size < 0 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// TestCopyProperty: whatever happens, in whatever order, a round that succeeds leaves
// exactly the log's lines.
func TestCopyProperty(t *testing.T) {
	t.Parallel()
	// Every run syncs a lot.
	if err := flag.Set("rapid.checks", "25"); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		b := newBed(t)
		defer b.close()
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		cfg := b.config()
		cfg.StateDir = filepath.Join(dir, "state")
		cfg.Copies = []ship.CopyConfig{{Name: "dir", Dir: dir}}
		s := newShipper(t, cfg)
		newest := func() string {
			segs, err := audit.Segments(filepath.Join(dir, "node-1"))
			if err != nil || len(segs) == 0 {
				return ""
			}
			return segs[len(segs)-1].Path
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) { b.append(rapid.IntRange(1, 150).Draw(rt, "lines")) },
			"round": func(rt *rapid.T) {
				for i := 0; ; i++ {
					err := s.CopyNow(t.Context())
					if err == nil {
						break
					}
					if i == 2 {
						rt.Fatalf("round: %v", err)
					}
					s.LookAgain()
				}
				if got := lines(t, filepath.Join(dir, "node-1")); b.n > 0 && !slices.Equal(got, seq(b.n)) {
					rt.Fatalf("%d lines, want %d\n%s", len(got), b.n, tree(t, dir))
				}
			},
			"start again": func(*rapid.T) { s = newShipper(t, cfg) },
			"compress":    func(*rapid.T) { compress(t, b) },
			"cut": func(rt *rapid.T) {
				path := newest()
				if path == "" || strings.HasSuffix(path, ".zst") {
					return
				}
				info, err := os.Stat(path)
				if err != nil {
					rt.Fatal(err)
				}
				if err := os.Truncate(path, rapid.Int64Range(0, info.Size()).Draw(rt, "size")); err != nil {
					rt.Fatal(err)
				}
			},
			"torn write": func(*rapid.T) {
				if path := newest(); path != "" && !strings.HasSuffix(path, ".zst") {
					writeFile(t, path, readFile(t, path)+`{"eventVersion":"1`)
				}
			},
		})
	})
}

// A disk that is not mounted shows an empty folder. Filling that would fill the disk
// below it.
func TestCopyNotMounted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	dir := t.TempDir()
	cfg := b.config()
	cfg.Copies = []ship.CopyConfig{{Name: "dir", Dir: dir}}
	s := newShipper(t, cfg)
	b.append(5)
	now(t, b, s)
	rename(t, dir, dir+".away")
	s = newShipper(t, cfg)
	if err := s.CopyNow(t.Context()); !os.IsNotExist(err) {
		t.Errorf("without the folder: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(b.state, "copy-dir.json")
	if err := s.CopyNow(t.Context()); err == nil || !strings.Contains(err.Error(), state) {
		t.Errorf("with an empty folder: %v", err)
	}
	if got := tree(t, dir); got != "" {
		t.Errorf("written there: %s", got)
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	s = newShipper(t, cfg)
	now(t, b, s)
	verify(t, b, filepath.Join(dir, "node-1"))
}

// Under whatever name, the log is not copied onto itself.
func TestCopyOntoItself(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	cfg := b.config()
	for _, dir := range []string{filepath.Dir(b.dir), b.dir, filepath.Join(b.dir, "copy"), filepath.Dir(b.dir) + "/x/.."} {
		cfg.Copies = []ship.CopyConfig{{Name: "dir", Dir: dir}}
		if _, err := ship.New(cfg); err == nil || !strings.Contains(err.Error(), "the log itself") {
			t.Errorf("New with %s = %v", dir, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(b.dir), link); err != nil {
		t.Fatal(err)
	}
	cfg.Copies = []ship.CopyConfig{{Name: "dir", Dir: link}}
	b.append(1)
	if err := newShipper(t, cfg).CopyNow(t.Context()); err == nil || !strings.Contains(err.Error(), "the log itself") {
		t.Errorf("a link to the log's folder: %v", err)
	}
}

// A bucket that was emptied is filled again with everything that the log still has.
func TestBucketEmptied(t *testing.T) {
	t.Parallel()
	o := newObjectStore(t, false)
	b := newBed(t)
	cfg := b.config()
	cfg.Copies = []ship.CopyConfig{o.copyConfig()}
	s := newShipper(t, cfg)
	b.append(400)
	now(t, b, s)
	compress(t, b)
	now(t, b, s)
	o.empty()
	s.LookAgain()
	now(t, b, s)
	dir := filepath.Join(o.download(), "node-1")
	if got := lines(t, dir); !slices.Equal(got, seq(400)) {
		t.Errorf("lines %v\n%s", got, tree(t, dir))
	}
	verify(t, b, dir)
}

// A quiet log does not leave an object for every few lines.
func TestBucketPieces(t *testing.T) {
	t.Parallel()
	o := newObjectStore(t, false)
	b := newBed(t)
	cfg := b.config()
	cfg.Copies = []ship.CopyConfig{o.copyConfig()}
	s := newShipper(t, cfg)
	for range 30 {
		b.append(1)
		if err := s.CopyNow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(tree(t, o.download()), "tail/"); got != 1 {
		t.Errorf("%d pieces, want 1\n%s", got, tree(t, o.download()))
	}
	b.append(ship.GrowBytes / 500)
	now(t, b, s)
	b.append(1)
	now(t, b, s)
	if got := strings.Count(tree(t, o.download()), "tail/"); got != 2 {
		t.Errorf("%d pieces, want 2\n%s", got, tree(t, o.download()))
	}
}

func TestReadCredentials(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "c"), "[default]\naws_access_key_id = A\naws_secret_access_key = B\n[other]\naws_access_key_id = C\naws_secret_access_key = D\n[none]\nregion = x\n")
	for _, tt := range []struct{ file, profile, want string }{
		{file, "", "A"}, {file, "other", "C"}, {file, "none", ""}, {file, "missing", ""}, {filepath.Join(dir, "nothing"), "", ""},
	} {
		got, err := ship.ReadCredentials(context.Background(), tt.file, tt.profile)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("ReadCredentials(%s, %q) = %q, %v, want %q", filepath.Base(tt.file), tt.profile, got, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "B") && strings.Contains(err.Error(), "= ") {
			t.Errorf("the error repeats the file: %v", err)
		}
	}
	// Without a file it is what the SDK finds.
	t.Setenv("AWS_ACCESS_KEY_ID", "E")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "F")
	if got, err := ship.ReadCredentials(context.Background(), "", ""); got != "E" {
		t.Errorf("ReadCredentials of the environment = %q, %v", got, err)
	}
}

func transport(t testing.TB, caFile string) *http.Transport {
	t.Helper()
	return trusting(t, caFile).GetTransport()
}
