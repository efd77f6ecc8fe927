package store_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"arca/internal/store"
	"arca/internal/storetest"
)

// startLog opens a store and returns what it said about the way it read its records.
func startLog(t *testing.T, cfg store.Config, h *shelf) (*store.Store, string) {
	t.Helper()
	var out bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := store.New(cfg)
	h.attach(s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeLater(t, s)
	return s, out.String()
}

const (
	readFromFile = "records read from the database file"
	askedEtcd    = "asking etcd for them all"
)

// wantAsEtcd compares the mirror with what etcd lists, and looks that the store works.
func wantAsEtcd(t *testing.T, s *store.Store, h *shelf) {
	t.Helper()
	differences, err := s.AgainstEtcd(t.Context())
	if err != nil || len(differences) > 0 {
		t.Errorf("mirror: %v, %s", err, differences)
	}
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("acct", "after"), &thing{Name: "after"}) })
	var problems []string
	if err := s.Check(t.Context(), func(p string) { problems = append(problems, p) }); err != nil || len(problems) > 0 {
		t.Errorf("check: %v, %v", err, problems)
	}
}

// churn leaves records of every fate: changed, deleted alone and with all below, made
// again, large ones.
func churn(t *testing.T, s *store.Store, h *shelf, n int) {
	t.Helper()
	fillShelf(t, s, h, n)
	for i := range n / 5 {
		id := fmt.Sprint(5 * i)
		mustUpdate(t, s, func(tx *store.Tx) {
			switch i % 4 {
			case 0:
				h.things.Put(tx, at("acct", id), &thing{Name: id + " changed", N: -i})
				h.parts.Put(tx, at("acct", id, "q"), &thing{N: i})
			case 1:
				h.things.Delete(tx, at("acct", id))
				h.parts.DeleteChildren(tx, "acct", id)
				h.blobs.DeleteChildren(tx, "acct", id)
			case 2:
				h.things.Delete(tx, at("acct", id))
				h.parts.DeleteChildren(tx, "acct", id)
				h.blobs.DeleteChildren(tx, "acct", id)
			case 3:
				h.things.Put(tx, at("other "+id), &thing{Name: "of another scope"})
			}
		})
		if i%4 == 2 {
			mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("acct", id), &thing{Name: id + " again"}) })
		}
	}
}

// A start reads the records from the database file, before etcd can be asked, and has
// what etcd has.
func TestStartReadsTheDatabaseFile(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		t.Run(fmt.Sprint("compacted=", compacted), func(t *testing.T) {
			cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()}
			var h shelf
			s := store.New(cfg)
			h.attach(s)
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			churn(t, s, &h, 2500)
			if compacted {
				if err := s.CompactAll(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			mustClose(t, s)
			h = shelf{}
			s, said := startLog(t, cfg, &h)
			if !strings.Contains(said, readFromFile) || strings.Contains(said, askedEtcd) {
				t.Errorf("the start said %s", said)
			}
			wantAsEtcd(t, s, &h)
		})
	}
}

// Records that are not kept in memory are not copied out of the file either: all of them
// may be more than there is.
func TestLargeRecordsStayInTheFile(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()}
	var h shelf
	s, _ := startLog(t, cfg, &h)
	const large, size = 40, 30_000
	for i := range large {
		mustUpdate(t, s, func(tx *store.Tx) {
			h.things.Put(tx, at("acct", fmt.Sprint(i)), &thing{Name: "of a large one"})
			h.blobs.Put(tx, at("acct", fmt.Sprint(i), "b"), &thing{Blob: bytes.Repeat([]byte{1}, size)})
		})
	}
	mustClose(t, s)
	closed := store.New(cfg)
	h = shelf{}
	h.attach(closed)
	if n, err := closed.CopiedBytes(); err != nil || n == 0 || n > large*1000 {
		t.Errorf("a start copies %d bytes, %v; want below %d", n, err, large*1000)
	}
	h = shelf{}
	s, said := startLog(t, cfg, &h)
	if !strings.Contains(said, readFromFile) {
		t.Errorf("the start said %s", said)
	}
	wantAsEtcd(t, s, &h)
	view(t, s, func(v *store.Snap) {
		if r, err := h.blobs.Load(t.Context(), v, at("acct", "7", "b")); err != nil || len(r.Blob) != size {
			t.Errorf("a large record: %v, %v", r, err)
		}
	})
}

// snapDir is where the database file is.
func snapDir(dir string) string { return filepath.Join(dir, "etcd", "member", "snap") }

// What a crash leaves: a database file that lacks what was written last, and a log that
// has it. The rest comes from etcd, by the watch, or all anew if the versions in between
// are compacted away.
func TestStartWithAFileThatLags(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		t.Run(fmt.Sprint("compacted=", compacted), func(t *testing.T) {
			cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()}
			var h shelf
			s, _ := startLog(t, cfg, &h)
			churn(t, s, &h, 600)
			_ = s.Close()
			early, err := os.ReadFile(filepath.Join(snapDir(cfg.Dir), "db"))
			if err != nil {
				t.Fatal(err)
			}

			h = shelf{}
			s, _ = startLog(t, cfg, &h)
			for i := range 50 {
				mustUpdate(t, s, func(tx *store.Tx) {
					id := fmt.Sprint(3 * i)
					if i%3 == 0 {
						h.things.Delete(tx, at("acct", id))
						h.parts.DeleteChildren(tx, "acct", id)
						h.blobs.DeleteChildren(tx, "acct", id)
						return
					}
					h.things.Put(tx, at("acct", id), &thing{Name: "late"})
				})
			}
			if compacted {
				if err := s.CompactAll(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			_ = s.Close()

			if err := os.WriteFile(filepath.Join(snapDir(cfg.Dir), "db"), early, 0o600); err != nil {
				t.Fatal(err)
			}
			h = shelf{}
			s, said := startLog(t, cfg, &h)
			if !strings.Contains(said, readFromFile) || strings.Contains(said, askedEtcd) != compacted {
				t.Errorf("the start said %s", said)
			}
			wantAsEtcd(t, s, &h)
			view(t, s, func(v *store.Snap) {
				if r, ok := h.things.Get(v, at("acct", "3")); !ok || r.Name != "late" {
					t.Errorf("record written last = %+v, %v", r, ok)
				}
				if _, ok := h.things.Get(v, at("acct", "9")); ok {
					t.Error("a record deleted last is there")
				}
			})
		})
	}
}

// The reader of etcd's own message agrees with etcd's.
func FuzzKeyValue(f *testing.F) {
	for _, kv := range []*mvccpb.KeyValue{{}, {Key: []byte("k"), Value: []byte("v"), ModRevision: 3, Lease: 7}, {Value: []byte{0}}} {
		raw, err := proto.Marshal(kv)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var kv mvccpb.KeyValue
		wrong := proto.Unmarshal(raw, &kv)
		again, err := proto.Marshal(&kv)
		if wrong != nil || err != nil || !bytes.Equal(raw, again) {
			_, _ = store.KeyOf(raw) // anything but a crash
			_, _ = store.ValueOf(raw)
			return // etcd writes each field once, in order
		}
		key, kerr := store.KeyOf(raw)
		value, verr := store.ValueOf(raw)
		if kerr != nil || verr != nil || !bytes.Equal(key, kv.Key) || !bytes.Equal(value, kv.Value) {
			t.Errorf("%x: key %x, %v; value %x, %v; want %x and %x", raw, key, kerr, value, verr, kv.Key, kv.Value)
		}
	})
}

func TestRevisionOf(t *testing.T) {
	const revision = "\x00\x00\x00\x00\x00\x00\x01\x02_\x00\x00\x00\x00\x00\x00\x00\x03"
	for _, tc := range []struct {
		at      string
		rev     int64
		deleted bool
		ok      bool
	}{
		{revision, 258, false, true},
		{revision + "t", 258, true, true},
		{revision + "u", 0, false, false},
		{revision[:16], 0, false, false},
		{"", 0, false, false},
	} {
		rev, deleted, err := store.RevisionOf([]byte(tc.at))
		if rev != tc.rev || deleted != tc.deleted || (err == nil) != tc.ok {
			t.Errorf("RevisionOf(%q) = %d, %v, %v", tc.at, rev, deleted, err)
		}
	}
}
