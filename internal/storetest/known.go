package storetest

import (
	"context"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"arca/internal/envelope"
	"arca/internal/store"
)

// knownStore is a store as it lies in etcd. Another implementation has computed it
// (scripts/known-answers.py); every later version must open it.
//
//go:embed known.json
var knownStore []byte

// Known opens a store whose keys are always the same, so that what was sealed in it
// once must open in it for ever. more is laid into etcd besides, key by key, before the
// store is opened. All else is as with New.
func Known(t testing.TB, more map[string][]byte, attach func(s *store.Store), checks ...Check) *store.Store {
	t.Helper()
	var known struct {
		RootKey struct {
			ID      string
			Version uint32
			Secret  string
		} `json:"root_key"`
		Etcd map[string]string
	}
	if err := json.Unmarshal(knownStore, &known); err != nil {
		t.Fatalf("read the known store: %v", err)
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatalf("read the known store: %v", err)
		}
		return b
	}
	rootKey, err := envelope.NewKey(envelope.KeyID(unhex(known.RootKey.ID)), known.RootKey.Version, unhex(known.RootKey.Secret))
	if err != nil {
		t.Fatalf("read the known store: %v", err)
	}
	values := make(map[string][]byte)
	for key, value := range known.Etcd {
		values[string(unhex(key))] = unhex(value)
	}
	for key, value := range more {
		values[key] = value
	}
	provider := NewRootKey()
	provider.first, provider.keys["known"] = "known", rootKey
	return Open(t, store.Config{
		Dir: t.TempDir(), Endpoints: []string{filled(t, values)}, RootKey: provider, Logger: Logger(t),
	}, attach, checks...)
}

// filled runs an etcd member with the given contents until the test ends, and returns its
// endpoint.
func filled(t testing.TB, values map[string][]byte) string {
	t.Helper()
	// The path of a socket must be short; that of t.TempDir holds the test's name.
	dir, err := os.MkdirTemp("", "arca-known-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := url.URL{Scheme: "unix", Path: filepath.Join(dir, "c")}
	c := embed.NewConfig()
	c.Name, c.Dir = "known", filepath.Join(dir, "data")
	c.TickMs, c.ElectionMs = 10, 50
	c.ListenPeerUrls = nil
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:1"}}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{socket}, []url.URL{socket}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatalf("start etcd: %v", err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	client := v3client.New(e.Server)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for key, value := range values {
		if _, err := client.Put(ctx, key, string(value)); err != nil {
			t.Fatalf("fill etcd: %v", err)
		}
	}
	return socket.String()
}
