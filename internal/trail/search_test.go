package trail_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
	"arca/internal/trail"
)

// fill writes 300 events over several segments: every third by bob, every tenth failed,
// every 25th about another secret, every 50th in another account.
func fill(b *bed) {
	b.append(300, func(n int, r *audit.Record) {
		if n%3 == 0 {
			r.Identity.UserName, r.Identity.AccessKeyID = "bob", "AKIABOB"
		}
		if n%10 == 0 {
			r.ErrorCode, r.ErrorMessage = "AccessDeniedException", "no"
		}
		if n%25 == 0 {
			r.EventName, r.ReadOnly = "PutSecretValue", false
			r.RequestParameters = []byte(`{"secretId":"arn:aws:secretsmanager:eu-central-1:111122223333:secret:api/key-AbCdEf"}`)
		}
		if n%50 == 0 {
			r.RecipientAccountID, r.Region = "999988887777", "us-east-1"
		}
		if n%60 == 7 {
			r.EventSource, r.EventName = "kms.amazonaws.com", "Decrypt"
			r.Resources = []audit.Resource{{AccountID: "111122223333", Type: "AWS::KMS::Key", ARN: "arn:aws:kms:eu-central-1:111122223333:key/k1"}}
			r.SourceIP = "secretsmanager.amazonaws.com"
		}
	})
}

func where(n int, ok func(i int) bool) []uint64 {
	lines := []uint64{}
	for i := n - 1; i >= 0; i-- {
		if ok(i) {
			lines = append(lines, uint64(i))
		}
	}
	return lines
}

func TestSearch(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	fill(b)
	if n := len(b.segments()); n < 5 {
		t.Fatalf("%d segments, want several", n)
	}
	kms := func(i int) bool { return i%60 == 7 }
	other := func(i int) bool { return i%25 == 0 }
	tests := []struct {
		name   string
		filter trail.Filter
		want   func(i int) bool
	}{
		{"everything", trail.Filter{}, func(int) bool { return true }},
		{"account", trail.Filter{Account: "999988887777"}, func(i int) bool { return i%50 == 0 }},
		{"region", trail.Filter{Region: "eu-central-1"}, func(i int) bool { return i%50 != 0 }},
		{"no such account", trail.Filter{Account: "000000000000"}, func(int) bool { return false }},
		{"user", trail.Filter{UserName: "bob"}, func(i int) bool { return i%3 == 0 }},
		{"user in account", trail.Filter{Account: "111122223333", Region: "eu-central-1", UserName: "bob"},
			func(i int) bool { return i%3 == 0 && i%50 != 0 }},
		{"nobody", trail.Filter{UserName: "carol"}, func(int) bool { return false }},
		{"key", trail.Filter{AccessKeyID: "AKIABOB"}, func(i int) bool { return i%3 == 0 }},
		{"name", trail.Filter{EventName: "PutSecretValue"}, func(i int) bool { return other(i) && !kms(i) }},
		{"source", trail.Filter{EventSource: "kms.amazonaws.com"}, kms},
		{"writes", trail.Filter{ReadOnly: new(false)}, other},
		{"reads", trail.Filter{ReadOnly: new(true)}, func(i int) bool { return !other(i) }},
		{"resource type", trail.Filter{ResourceType: "AWS::KMS::Key"}, kms},
		{"resource name", trail.Filter{ResourceName: "arn:aws:kms:eu-central-1:111122223333:key/k1"}, kms},
		{"part of a resource name", trail.Filter{ResourceName: "k1"}, func(int) bool { return false }},
		{"resource by end", trail.Filter{Resource: "k1"}, kms},
		{"secret by name", trail.Filter{Resource: "api/key"}, func(i int) bool { return other(i) && !kms(i) }},
		{"secret by ARN, named by name", trail.Filter{Resource: "arn:aws:secretsmanager:eu-central-1:111122223333:secret:db/password-XyZabc"},
			func(i int) bool { return !other(i) && !kms(i) }},
		{"secret of another account", trail.Filter{Resource: "arn:aws:secretsmanager:eu-central-1:444455556666:secret:db/password-XyZabc"},
			func(int) bool { return false }},
		{"error", trail.Filter{ErrorCode: "AccessDeniedException"}, func(i int) bool { return i%10 == 0 }},
		{"failed", trail.Filter{Failed: true, UserName: "alice"}, func(i int) bool { return i%10 == 0 && i%3 != 0 }},
		{"address", trail.Filter{SourceIP: "10.1.2.3"}, func(i int) bool { return !kms(i) }},
		{"network", trail.Filter{SourceIP: "10.1.0.0/16"}, func(i int) bool { return !kms(i) }},
		{"principal", trail.Filter{Principal: "arn:aws:iam::111122223333:user/alice"}, func(int) bool { return true }},
		{"text", trail.Filter{Text: "API/KEY"}, other},
		{"several", trail.Filter{UserName: "bob", ErrorCode: "AccessDeniedException", EventName: "PutSecretValue"},
			func(i int) bool { return i%3 == 0 && i%10 == 0 && other(i) && !kms(i) }},
		{"time", trail.Filter{From: epoch.Add(100 * time.Second), To: epoch.Add(110 * time.Second)}, func(i int) bool { return i >= 100 && i <= 110 }},
		{"time and user", trail.Filter{From: epoch.Add(100 * time.Second), UserName: "bob"}, func(i int) bool { return i >= 100 && i%3 == 0 }},
		{"time within a second", trail.Filter{From: epoch.Add(100*time.Second + 1), To: epoch.Add(102 * time.Second)}, func(i int) bool { return i == 101 || i == 102 }},
		{"id", trail.Filter{EventID: event(123).EventID}, func(i int) bool { return i == 123 }},
	}
	check := func(t *testing.T, tr *trail.Trail) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				want := where(300, test.want)
				for _, limit := range []int{1, 7, 50, 1000} {
					if limit == 1 && len(want) > 40 {
						continue
					}
					if diff := cmp.Diff(want, all(t, tr, test.filter, false, limit)); diff != "" {
						t.Errorf("newest first, pages of %d (-want +got):\n%s", limit, diff)
					}
				}
				slices.Reverse(want)
				if diff := cmp.Diff(want, all(t, tr, test.filter, true, 13)); diff != "" {
					t.Errorf("oldest first (-want +got):\n%s", diff)
				}
			})
		}
	}
	t.Run("live", func(t *testing.T) { check(t, b.trail) })
	t.Run("after a restart", func(t *testing.T) {
		b.close()
		b.open()
		check(t, b.trail)
	})
	t.Run("without indexes", func(t *testing.T) {
		b.close()
		if err := os.RemoveAll(filepath.Join(b.dir, "index")); err != nil {
			t.Fatal(err)
		}
		b.open()
		check(t, b.trail)
	})
	t.Run("offline", func(t *testing.T) {
		dirs, err := trail.Dirs(filepath.Dir(b.dir))
		if err != nil {
			t.Fatal(err)
		}
		tr, err := trail.Open(trail.Config{Dirs: dirs})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
		}()
		check(t, tr)
	})
}

func TestSearchSeesWhatIsSynced(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	for i := range 100 {
		b.append(1, nil)
		e, err := b.trail.Find(t.Context(), event(i).EventID)
		if err != nil {
			t.Fatal(err)
		}
		if e.Line != uint64(i) || e.Dir != b.dir || e.Node != "n1" {
			t.Fatalf("Find = line %d of %s, want %d of %s", e.Line, e.Dir, i, b.dir)
		}
	}
	if _, err := b.trail.Find(t.Context(), event(100).EventID); !errors.Is(err, trail.ErrNotFound) {
		t.Errorf("Find of a missing event = %v, want ErrNotFound", err)
	}
}

// TestPagesStay: what is written between two pages does not move them.
func TestPagesStay(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	b.append(40, nil)
	page, err := b.trail.Search(t.Context(), trail.Filter{}, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	b.append(40, nil)
	page, err = b.trail.Search(t.Context(), trail.Filter{}, page.Next, 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := page.Events[0].Line; got != 29 {
		t.Errorf("second page begins with line %d, want 29", got)
	}
}

// TestFollow: a search forward that came to the end goes on there.
func TestFollow(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	b.append(20, nil)
	at := b.trail.End()
	page, err := b.trail.Search(t.Context(), trail.Filter{}, at, 5)
	if err != nil || len(page.Events) != 5 || page.Events[0].Line != 19 {
		t.Fatalf("Search at the end = %d events, %v, want the newest five", len(page.Events), err)
	}
	for want := uint64(20); want < 80; want++ {
		b.append(1, func(n int, r *audit.Record) { r.Identity.UserName = []string{"alice", "bob"}[n%2] })
		page, err := b.trail.SearchForward(t.Context(), trail.Filter{UserName: "bob"}, at, 10)
		if err != nil {
			t.Fatal(err)
		}
		if page.More {
			t.Fatal("more events than there are")
		}
		if want%2 == 0 {
			if len(page.Events) != 0 {
				t.Fatalf("after line %d: %d events, want none", want, len(page.Events))
			}
		} else if len(page.Events) != 1 || page.Events[0].Line != want {
			t.Fatalf("after line %d: %d events, want that one", want, len(page.Events))
		}
		at = page.Next
	}
}

func TestSeveralDirectories(t *testing.T) {
	root := t.TempDir()
	one := newBed(t, filepath.Join(root, "n1"))
	two := newBed(t, filepath.Join(root, "n2"))
	lost := newBed(t, filepath.Join(root, "n1", "lost-20260101"))
	for i := range 90 {
		b := []*bed{one, two, lost}[i%3]
		b.n = i
		b.append(1, nil)
	}
	for _, b := range []*bed{one, two, lost} {
		b.close()
	}
	dirs, err := trail.Dirs(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{one.dir, lost.dir, two.dir}
	if diff := cmp.Diff(want, dirs); diff != "" {
		t.Fatalf("Dirs (-want +got):\n%s", diff)
	}
	tr, err := trail.Open(trail.Config{Dirs: dirs})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tr.Close() }()
	var at trail.Position
	next := 89
	for {
		page, err := tr.Search(t.Context(), trail.Filter{}, at, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			if e.ID != event(next).EventID {
				t.Fatalf("event %s, want number %d", e.ID, next)
			}
			if wantNode := []string{"n1", "n2", "n1/lost-20260101"}[next%3]; e.Node != wantNode {
				t.Errorf("event %d is in %s, want %s", next, e.Node, wantNode)
			}
			next--
		}
		if !page.More {
			break
		}
		at = page.Next
	}
	if next != -1 {
		t.Errorf("the search ended before number %d", next)
	}
}

// TestDamagedIndex: whatever becomes of the files, searches answer the same.
func TestDamagedIndex(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, path string)
	}{
		{"removed", func(t *testing.T, path string) { must(t, os.Remove(path)) }},
		{"empty", func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) }},
		{"cut", func(t *testing.T, path string) { must(t, os.Truncate(path, 4096)) }},
		{"first page", func(t *testing.T, path string) { flip(t, path, 9) }},
		{"later pages", func(t *testing.T, path string) {
			info, err := os.Stat(path)
			must(t, err)
			for at := int64(4096 + 100); at < info.Size(); at += 4096 {
				flip(t, path, at)
			}
		}},
		{"another one", func(t *testing.T, path string) {
			other, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.idx"))
			must(t, err)
			raw, err := os.ReadFile(other[0])
			must(t, err)
			must(t, os.WriteFile(path, raw, 0o600))
		}},
		{"a directory", func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o700)) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBed(t, filepath.Join(t.TempDir(), "n1"))
			fill(b)
			filter := trail.Filter{UserName: "bob"}
			want := all(t, b.trail, filter, false, 50)
			b.close()
			files := indexFiles(t, b.dir)
			if len(files) < 5 {
				t.Fatalf("%d indexes, want several", len(files))
			}
			for _, path := range files[1:] {
				test.damage(t, path)
			}
			b.open()
			for range 2 {
				if diff := cmp.Diff(want, all(t, b.trail, filter, false, 50)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestStaleIndex: an index of a segment that has become another one is made anew.
func TestStaleIndex(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	fill(b)
	all(t, b.trail, trail.Filter{}, false, 1000)
	b.close()
	seg := b.segments()[1]
	raw, err := os.ReadFile(seg.Path)
	must(t, err)
	line := append(event(7777).AppendLine(nil, "n1"), '\n')
	must(t, os.WriteFile(seg.Path, append(line, raw...), 0o600))
	b.open()
	e, err := b.trail.Find(t.Context(), event(7777).EventID)
	if err != nil || e.Line != seg.First {
		t.Errorf("Find = %d, %v, want line %d", e.Line, err, seg.First)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	raw, err := os.ReadFile(path)
	must(t, err)
	raw[at] ^= 0x40
	must(t, os.WriteFile(path, raw, 0o600))
}

func TestPosition(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	b.append(3, nil)
	for _, at := range []trail.Position{"x", "n1=-1", "n1=1&n1=2", "%zz", "n1=99999999999999999999"} {
		if _, err := b.trail.Search(t.Context(), trail.Filter{}, at, 1); !errors.Is(err, trail.ErrPosition) {
			t.Errorf("Search at %q = %v, want ErrPosition", at, err)
		}
	}
}

// FuzzPosition: a position is one that a search has returned, or is refused.
func FuzzPosition(f *testing.F) {
	for _, at := range []string{"", "n1=5", "n1=5&n1%2Flost-1=7", "n1=-1", "=", "%zz", "n1=18446744073709551615"} {
		f.Add(at)
	}
	tr, err := trail.Open(trail.Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = tr.Close() })
	f.Fuzz(func(t *testing.T, at string) {
		page, err := tr.Search(t.Context(), trail.Filter{}, trail.Position(at), 1)
		if err != nil && !errors.Is(err, trail.ErrPosition) || len(page.Events) != 0 || page.More {
			t.Fatalf("Search at %q = %+v, %v", at, page, err)
		}
	})
}
