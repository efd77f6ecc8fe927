package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/app"
)

func TestOpenDevRefuses(t *testing.T) {
	home := t.TempDir()
	for _, tt := range []struct {
		name string
		dc   app.DevConfig
		want string
	}{
		{"all addresses", app.DevConfig{Ephemeral: true, Listen: "0.0.0.0:0"}, "refusing to listen on 0.0.0.0:0: everybody knows the credentials"},
		{"all addresses, short", app.DevConfig{Ephemeral: true, Listen: ":0"}, "refusing to listen on :0"},
		{"all IPv6 addresses", app.DevConfig{Ephemeral: true, Listen: "[::]:0"}, "refusing to listen on [::]:0"},
		{"a public address", app.DevConfig{Ephemeral: true, Listen: "192.0.2.1:4566"}, "refusing to listen"},
		{"a name", app.DevConfig{Ephemeral: true, Listen: "example.com:4566"}, "refusing to listen"},
		{"a name that begins like loopback", app.DevConfig{Ephemeral: true, Listen: "localhost.example.com:0"}, "refusing to listen"},
		{"no port", app.DevConfig{Ephemeral: true, Listen: "localhost"}, `"localhost" is not of the form address:port`},
		{"no folder", app.DevConfig{Listen: "127.0.0.1:0"}, "no data directory is given"},
		{"folder and ephemeral", app.DevConfig{Home: home, Ephemeral: true, Listen: "127.0.0.1:0"}, "exclude each other"},
		{"bad host", app.DevConfig{Home: home, Listen: "127.0.0.1:0", Hosts: []string{"a b"}}, `hosts: "a b"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			d, err := app.OpenDev(t.Context(), tt.dc, discard)
			if err == nil {
				_ = d.Close()
				t.Fatal("it starts")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q in it", err, tt.want)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
				t.Errorf("%v, %v is left", left, err)
			}
		})
	}
}

func TestOpenDevListens(t *testing.T) {
	for _, dc := range []app.DevConfig{
		{Listen: "127.0.0.1:0"}, {Listen: "localhost:0"}, {Listen: "127.8.8.8:0"}, {Listen: "0.0.0.0:0", AllowRemote: true},
	} {
		dc.Ephemeral = true
		d, err := app.OpenDev(t.Context(), dc, discard)
		if err != nil {
			t.Errorf("%s: %v", dc.Listen, err)
			continue
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An ephemeral server's data is gone when it ends, however it ends.
func TestEphemeral(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	left := func(when string, want int) {
		t.Helper()
		if got, err := os.ReadDir(temp); err != nil || len(got) != want {
			t.Errorf("%s: folders %v, %v, want %d", when, got, err, want)
		}
	}
	dc := app.DevConfig{Ephemeral: true, Listen: "127.0.0.1:0"}
	d, err := app.OpenDev(t.Context(), dc, discard)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, d)
	left("while it runs", 1)
	if err := works(t, client(d.URL(), app.DevAccessKeyID, app.DevSecretAccessKey), "s"); err != nil {
		t.Error(err)
	}
	// A second one on the same address fails and takes its folder along.
	if _, err := app.OpenDev(t.Context(), app.DevConfig{Ephemeral: true, Listen: d.Addr()}, discard); err == nil {
		t.Error("two servers listen on one address")
	}
	left("after a failed start", 1)
	stop()
	left("after a stop", 0)
	if d, err = app.OpenDev(t.Context(), dc, discard); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	left("after Close", 0)
}

// Data in a folder is there again, with the same well-known credentials.
func TestDevHome(t *testing.T) {
	home := filepath.Join(t.TempDir(), "new", "home")
	dc := app.DevConfig{Home: home, Listen: "127.0.0.1:0"}
	for i, want := range []bool{true, false} {
		d, err := app.OpenDev(t.Context(), dc, discard)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, d)
		if err := works(t, client(d.URL(), app.DevAccessKeyID, app.DevSecretAccessKey), "s"); (err == nil) != want {
			t.Errorf("start %d: CreateSecret = %v", i, err)
		}
		stop()
	}
	if _, err := os.Stat(filepath.Join(home, "keys", "root-credentials.json")); err == nil {
		t.Error("a development server wrote credentials")
	}
}

func TestAnyCredentials(t *testing.T) {
	for _, anyone := range []bool{false, true} {
		d, err := app.OpenDev(t.Context(), app.DevConfig{Ephemeral: true, Listen: "127.0.0.1:0", AnyCredentials: anyone}, discard)
		if err != nil {
			t.Fatal(err)
		}
		run(t, d)
		if err := works(t, client(d.URL(), "AKIASTRANGER", "whatever"), "s"); (err == nil) != anyone {
			t.Errorf("any credentials %v: CreateSecret = %v", anyone, err)
		}
	}
}
