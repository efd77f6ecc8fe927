package app_test

import (
	"strings"
	"testing"
	"time"

	"arca/internal/api/arcaapi"
	"arca/internal/app"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/rootkey"
)

// A running server seals records anew, carries erasures out, and tells of its keys.
func TestKeyEngines(t *testing.T) {
	cfg := serverConfig(t, func(c *app.Config) { c.OpsListen = "127.0.0.1:0" })
	a, _ := start(t, cfg, app.ServerSecrets{})
	root := iam.RootPrincipal(loadCredentials(t, cfg.CredentialsFile).AccountID, "test")
	d := app.Dispatcher(a)
	newCall := func() *call.Call { return &call.Call{Caller: root, Region: "us-east-1", Now: time.Now()} }
	eventually := func(what string, reached func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within 30 seconds", what)
			}
		}
	}
	has := func(series string) func() bool {
		return func() bool {
			_, metrics := get(t, "http://"+a.OpsAddr()+"/metrics")
			return strings.Contains(metrics, "\n"+series+"\n")
		}
	}
	for _, series := range []string{
		`arca_keyring_keys{purpose="storage",state="active"} 1`, `arca_keyring_keys{purpose="storage",state="retired"} 0`,
		`arca_keyring_records_left 0`,
	} {
		if !has(series)() {
			t.Errorf("metrics lack %s", series)
		}
	}
	c := newCall()
	c.Op = arcaapi.OpRotateKeyring
	if _, err := d.Do(t.Context(), c, &arcaapi.RotateKeyringInput{}); err != nil {
		t.Fatal(err)
	}
	storageVersion := func() (version int32, keys int) {
		c := newCall()
		c.Op = arcaapi.OpDescribeKeyring
		out, err := d.Do(t.Context(), c, &arcaapi.DescribeKeyringInput{})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range out.(*arcaapi.DescribeKeyringOutput).Keys {
			if *k.Purpose == "storage" {
				keys++
				version = max(version, *k.Version)
			}
		}
		return version, keys
	}
	eventually("the old key is dropped", func() bool {
		version, keys := storageVersion()
		return version == 2 && keys == 1
	})
	if !has(`arca_keyring_keys{purpose="storage",state="retired"} 0`)() {
		t.Error("metrics still have a retired key")
	}
	c = newCall()
	c.Op = arcaapi.OpStartErase
	id := deployment(t, a, newCall())
	if _, err := d.Do(t.Context(), c, &arcaapi.StartEraseInput{DeploymentId: id}); err != nil {
		t.Fatal(err)
	}
	eventually("the erasure comes to its end", func() bool {
		c := newCall()
		c.Op = arcaapi.OpDescribeErase
		out, err := d.Do(t.Context(), c, &arcaapi.DescribeEraseInput{})
		if err != nil {
			t.Fatal(err)
		}
		e := out.(*arcaapi.DescribeEraseOutput).Erasure
		if e.Problem != nil {
			t.Fatalf("%s: %s", *e.Stage, *e.Problem)
		}
		return e.FinishedDate != nil
	})
}

func deployment(t *testing.T, a *app.App, c *call.Call) string {
	t.Helper()
	c.Op = arcaapi.OpDescribeErase
	out, err := app.Dispatcher(a).Do(t.Context(), c, &arcaapi.DescribeEraseInput{})
	if err != nil {
		t.Fatal(err)
	}
	return *out.(*arcaapi.DescribeEraseOutput).DeploymentId
}

// Data moves from one kind of root key to another and back; each time it opens with the
// new configuration only.
func TestMigrateRootKey(t *testing.T) {
	file := serverConfig(t)
	a, stop := start(t, file, app.ServerSecrets{})
	creds := loadCredentials(t, file.CredentialsFile)
	if err := works(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "some/name"); err != nil {
		t.Fatal(err)
	}
	stop()
	phrase := func() app.ServerSecrets {
		return app.ServerSecrets{Passphrase: plain("correct horse battery staple")}
	}
	other := serverConfig(t, passphrase, func(c *app.Config) { c.DataDir, c.CredentialsFile = file.DataDir, file.CredentialsFile })

	for name, tt := range map[string]struct {
		to   app.Config
		next app.ServerSecrets
		want string
	}{
		"no passphrase": {other, app.ServerSecrets{}, "ARCA_NEW_ROOT_PASSPHRASE"},
		"a short one":   {other, app.ServerSecrets{Passphrase: plain("short")}, "at least 16"},
		"other data":    {serverConfig(t), app.ServerSecrets{}, "name different data"},
		"the same key":  {file, app.ServerSecrets{}, "root key"},
	} {
		_, err := app.MigrateRootKey(t.Context(), file, tt.to, app.ServerSecrets{}, tt.next, discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	state, err := app.MigrateRootKey(t.Context(), file, other, app.ServerSecrets{}, phrase(), discard)
	if err != nil || state.Kind != rootkey.KindPassphrase || len(state.Former) != 1 || !state.Former[0].Elsewhere {
		t.Fatalf("to a passphrase: %+v, %v", state, err)
	}
	if _, err := app.OpenServer(t.Context(), file, app.ServerSecrets{}, discard); err == nil || !strings.Contains(err.Error(), `sealed with a root key of kind "passphrase"`) {
		t.Errorf("the former configuration: %v", err)
	}
	_, stop = start(t, other, phrase())
	stop()

	again := serverConfig(t, func(c *app.Config) { c.DataDir = file.DataDir })
	if state, err = app.MigrateRootKey(t.Context(), other, again, phrase(), app.ServerSecrets{}, discard); err != nil || state.Kind != rootkey.KindFile {
		t.Fatalf("to a file: %+v, %v", state, err)
	}
	_, stop = start(t, again, app.ServerSecrets{})
	stop()
}
