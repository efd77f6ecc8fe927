package storetest

import (
	"net/url"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// ExternalEtcd runs a member that listens on a unix socket and returns its endpoint.
func ExternalEtcd(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	socket := url.URL{Scheme: "unix", Path: filepath.Join(dir, "c")}
	c := embed.NewConfig()
	c.Name, c.Dir = "external", filepath.Join(dir, "data")
	c.TickMs, c.ElectionMs = 10, 50
	c.ListenPeerUrls = nil
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:1"}}
	c.ListenClientUrls = []url.URL{socket}
	c.AdvertiseClientUrls = []url.URL{socket}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return socket.String()
}
