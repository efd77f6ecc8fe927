package store_test

import (
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"

	"arca/internal/store"
)

func TestCacheIsBounded(t *testing.T) {
	const maxBytes = 10_000
	c := store.NewCache(maxBytes)
	for i := range 100 {
		c.Put(i, 1000)
		if c.Used() > maxBytes {
			t.Fatalf("cache uses %d bytes, at most %d", c.Used(), maxBytes)
		}
		if i > 0 && !c.Has(0) {
			t.Fatalf("the record used all the time was dropped at %d", i)
		}
	}
	if !c.Has(99) || c.Has(50) {
		t.Errorf("newest kept: %v, old one kept: %v", c.Has(99), c.Has(50))
	}
	c.Put(1000, maxBytes+1)
	if c.Has(1000) || !c.Has(99) {
		t.Error("a record larger than the cache displaced others")
	}
}

func TestShardsCoverTheTable(t *testing.T) {
	const prefix = "arca/1/things/"
	for _, n := range []int64{0, 1, 2000, 2001, 50_000, 1_000_000, 1 << 40} {
		r := store.ShardRanges(prefix, n)
		if len(r) == 0 || len(r) > 256 {
			t.Fatalf("%d records: %d shards", n, len(r))
		}
		at := prefix
		for _, s := range r {
			if s[0] != at || s[1] <= s[0] {
				t.Fatalf("%d records: shard %q follows %q", n, s, at)
			}
			at = s[1]
		}
		if at != "arca/1/things0" {
			t.Errorf("%d records: shards end at %q", n, at)
		}
	}
}

func TestEtcdLog(t *testing.T) {
	var out strings.Builder
	z := store.NewZapLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	z.Info("not of interest")
	z.Warn("simple token is not cryptographically signed")
	z.With(zap.String("b", "x")).Warn("slow", zap.Int("a", 1))
	z.Error("bad")
	want := "level=WARN msg=\"etcd: slow\" etcd.a=1 etcd.b=x\nlevel=ERROR msg=\"etcd: bad\"\n"
	if out.String() != want {
		t.Errorf("log = %q, want %q", out.String(), want)
	}
}
