package store_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"arca/internal/store"
	"arca/internal/storetest"
)

func TestImportIsFinishedOrRefused(t *testing.T) {
	var h shelf
	key := storetest.NewRootKey()
	s := storetest.Open(t, store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}, h.attach)
	fillShelf(t, s, &h, 1200)
	want := contents(t, s, &h)
	im := exported(t, s, 1<<20)
	var records []store.ExportRecord
	for r := range im.Records {
		records = append(records, r)
	}
	cfg := store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}
	for _, n := range []int{0, 1, 700, len(records)} {
		part := im
		part.Records = each(records[:n], errors.New("cut off"))
		if err := importInto(t, cfg, part); err == nil || err.Error() != "cut off" {
			t.Fatalf("Import of %d records = %v", n, err)
		}
		other := store.New(cfg)
		new(shelf).attach(other)
		if err := other.Open(t.Context()); !errors.Is(err, store.ErrUnfinishedImport) {
			t.Fatalf("Open after %d records = %v, want ErrUnfinishedImport", n, err)
		}
	}
	if err := importInto(t, cfg, im); err != nil {
		t.Fatal(err)
	}
	var h2 shelf
	s2 := storetest.Open(t, cfg, h2.attach)
	if diff := cmp.Diff(want, contents(t, s2, &h2)); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
}

func TestImportRefuses(t *testing.T) {
	var h shelf
	key := storetest.NewRootKey()
	cfg := store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}
	s := store.New(cfg)
	h.attach(s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	fillShelf(t, s, &h, 10)
	im := exported(t, s, 1<<20)
	want := contents(t, s, &h)
	mustClose(t, s)

	if err := importInto(t, cfg, im); !errors.Is(err, store.ErrNotEmpty) {
		t.Errorf("Import into a store with data = %v, want ErrNotEmpty", err)
	}
	var h2 shelf
	s2 := storetest.Open(t, cfg, h2.attach)
	if diff := cmp.Diff(want, contents(t, s2, &h2)); diff != "" {
		t.Errorf("after a refused import (-want +got):\n%s", diff)
	}

	for _, tc := range []struct {
		name string
		edit func(im *store.Import)
		want string
	}{
		{"deployment", func(im *store.Import) { im.Deployment = "x" }, "deployment id"},
		{"no index key", func(im *store.Import) {
			im.Keys = slices.DeleteFunc(slices.Clone(im.Keys), func(k store.ExportKey) bool { return k.Purpose == "index" })
		}, "no active index key"},
		{"two keys", func(im *store.Import) { im.Keys = append(slices.Clone(im.Keys), im.Keys[0]) }, "2 active"},
		{"storage key", func(im *store.Import) {
			k := im.Keys[0]
			k.Purpose = "storage"
			im.Keys = append(slices.Clone(im.Keys), k)
		}, "storage key"},
		{"key length", func(im *store.Import) {
			im.Records = each([]store.ExportRecord{{Table: "things", Key: "short", Sequence: 1}}, nil)
		}, "wrong length"},
		{"no sequence", func(im *store.Import) {
			im.Records = each([]store.ExportRecord{{Table: "things", Key: strings.Repeat("k", 16)}}, nil)
		}, "no sequence"},
		{"newer record", func(im *store.Import) {
			im.Records = each([]store.ExportRecord{{Table: "things", Key: strings.Repeat("k", 16), Sequence: 1, Plain: []byte{0x82, 4, 0xa0}}}, nil)
		}, "newer than this binary"},
		{"no record", func(im *store.Import) {
			im.Records = each([]store.ExportRecord{{Table: "things", Key: strings.Repeat("k", 16), Sequence: 1, Plain: []byte{0x82, 3, 0x01}}}, nil)
		}, "not well-formed"},
		{"a record twice", func(im *store.Import) {
			r := store.ExportRecord{Table: "things", Key: strings.Repeat("k", 16), Sequence: 1, Plain: []byte{0x82, 3, 0xa1, 1, 0x60}}
			im.Records = each([]store.ExportRecord{r, r}, nil)
		}, "etcd"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad := im
			tc.edit(&bad)
			err := importInto(t, store.Config{Dir: t.TempDir(), RootKey: key}, bad)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Import = %v, want %q", err, tc.want)
			}
		})
	}
	t.Run("directory of others", func(t *testing.T) {
		other := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()}
		o := store.New(other)
		if err := o.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, o)
		if err := importInto(t, other, im); err == nil || !strings.Contains(err.Error(), "belongs to deployment") {
			t.Errorf("Import into another deployment's directory = %v", err)
		}
	})
}

// The same backup fills an external cluster, whatever it was made from, and a second
// restore that begins meanwhile ends the first.
func TestImportIntoExternalEtcd(t *testing.T) {
	var h shelf
	key := storetest.NewRootKey()
	s := storetest.Open(t, store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}, h.attach)
	fillShelf(t, s, &h, 400)
	want := contents(t, s, &h)
	im := exported(t, s, 1<<20)

	cfg := store.Config{Endpoints: []string{storetest.ExternalEtcd(t)}, RootKey: key, Logger: storetest.Logger(t)}
	slow := im
	slow.Records = func(yield func(store.ExportRecord, error) bool) {
		first := true
		for r, err := range im.Records {
			if first {
				first = false
				if err := importInto(t, cfg, im); err != nil {
					t.Errorf("the second import: %v", err)
				}
			}
			if !yield(r, err) {
				return
			}
		}
	}
	if err := importInto(t, cfg, slow); err == nil || !strings.Contains(err.Error(), "another restore") && !strings.Contains(err.Error(), "etcd holds") {
		t.Errorf("the first import = %v, want that another has begun", err)
	}
	var h2 shelf
	s2 := storetest.Open(t, cfg, h2.attach)
	if diff := cmp.Diff(want, contents(t, s2, &h2)); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	again := exported(t, s2, 1000)
	n := 0
	for range again.Records {
		n++
	}
	if total := len(want["things"]) + len(want["parts"]) + len(want["blobs"]); n != total {
		t.Errorf("an export of the external cluster has %d records, want %d", n, total)
	}
}

// Nothing of the old storage key comes along.
func TestImportHasFreshKeys(t *testing.T) {
	var h shelf
	key := storetest.NewRootKey()
	s := storetest.Open(t, store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}, h.attach)
	fillShelf(t, s, &h, 10)
	old := get(t, s, h.things.EtcdKey(at("acct", "1")))
	cfg := store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}
	if err := importInto(t, cfg, exported(t, s, 1<<20)); err != nil {
		t.Fatal(err)
	}
	var h2 shelf
	s2 := storetest.Open(t, cfg, h2.attach)
	if _, _, err := s2.Plain(h2.things.EtcdKey(at("acct", "1")), []byte(old)); err == nil {
		t.Error("a record of the old store opens in the restored one")
	}
	got, err := s2.Client().Get(t.Context(), "arca/1/meta/restore", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Key) != "arca/1/meta/restored" {
		t.Errorf("marks after the import: %v, %v", got.Kvs, err)
	}
}
