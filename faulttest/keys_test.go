package faulttest

import (
	"bytes"
	"context"
	bits "encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// command runs the binary against a server, as an operator does.
func (p *process) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, binary, append(args, "--endpoint", p.url)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("arca %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (p *process) must(args ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	out, err := p.command(ctx, args...)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.log())
	}
	return out
}

// keyIDs are the id of the root key, and id and version of all storage keys, as they
// stand at the beginning of what is sealed under them.
func (p *process) keyIDs() (ids [][]byte) {
	p.t.Helper()
	var root struct{ RootKey struct{ KeyId string } }
	var ring struct {
		Keys []struct {
			Purpose, KeyId string
			Version        uint32
		}
	}
	if err := errors.Join(
		json.Unmarshal([]byte(p.must("root-key", "status", "--output", "json")), &root),
		json.Unmarshal([]byte(p.must("keyring", "status", "--output", "json")), &ring),
	); err != nil {
		p.t.Fatal(err)
	}
	decode := func(text string) []byte {
		id, err := hex.DecodeString(text)
		if err != nil || len(id) != 16 {
			p.t.Fatalf("key id %q: %v", text, err)
		}
		return id
	}
	ids = append(ids, decode(root.RootKey.KeyId))
	for _, k := range ring.Keys {
		if k.Purpose == "storage" {
			ids = append(ids, bits.BigEndian.AppendUint32(decode(k.KeyId), k.Version))
		}
	}
	return ids
}

// eachFile reads every file below a folder.
func eachFile(t *testing.T, dir string, fn func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed since it was listed
		}
		fn(path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// salts are those of every envelope that the files hold under a key: 16 random bytes
// that no other envelope has, wherever its bytes go.
func salts(t *testing.T, dir string, id []byte) [][]byte {
	t.Helper()
	const header, salt = 1 + 16 + 4, 16 // format, id, version
	begin := append([]byte{1}, id...)
	var all [][]byte
	eachFile(t, dir, func(_ string, content []byte) {
		for {
			at := bytes.Index(content, begin)
			if at < 0 || at+header+salt > len(content) {
				return
			}
			all = append(all, bytes.Clone(content[at+header:at+header+salt]))
			content = content[at+len(begin):]
		}
	})
	slices.SortFunc(all, bytes.Compare)
	return slices.CompactFunc(all, bytes.Equal)
}

// holding lists the files that hold one of some byte strings.
func holding(t *testing.T, dir string, what [][]byte) (paths []string) {
	t.Helper()
	eachFile(t, dir, func(path string, content []byte) {
		if slices.ContainsFunc(what, func(w []byte) bool { return bytes.Contains(content, w) }) {
			paths = append(paths, path)
		}
	})
	return paths
}

// TestErase deletes secrets and erases them. Somebody who has kept the root key of
// before then looks for anything it could still open: there is no key of that time in
// the files, and not one envelope.
func TestErase(t *testing.T) {
	home := t.TempDir()
	data := filepath.Join(home, "data")
	p := start(t, nil, "dev", "--data-dir", home, "--listen", "127.0.0.1:0")
	c := client(p.url, "test", "test")
	name := func(i int) *string { return aws.String(fmt.Sprintf("erase/%d", i)) }
	const secrets = 20
	for i := range secrets {
		if _, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
			Name: name(i), SecretString: aws.String(strings.Repeat("value ", 1+50*i)), ClientRequestToken: aws.String(fmt.Sprintf("%032d", i)),
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range secrets / 2 {
		if _, err := c.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: name(i), ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
	}
	ids := p.keyIDs()
	sealed := salts(t, data, ids[1])
	if len(holding(t, data, ids[:1])) == 0 || len(holding(t, data, ids[1:])) == 0 || len(sealed) < secrets {
		t.Fatalf("before the erasure the search finds too little: %d envelopes; it could not find what is left after it", len(sealed))
	}
	formerRoot, err := os.ReadFile(filepath.Join(home, "keys", "root.key"))
	if err != nil {
		t.Fatal(err)
	}

	t.Log(p.must("erase", "--yes"))

	look := func(when string) {
		t.Helper()
		if paths := holding(t, data, ids); len(paths) > 0 {
			t.Errorf("%s: former keys are named in %v", when, paths)
		}
		if paths := holding(t, data, sealed); len(paths) > 0 {
			t.Errorf("%s: what was sealed under the former key is in %v", when, paths)
		}
	}
	look("while the server runs")
	for i := secrets / 2; i < secrets; i++ {
		got, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: name(i)})
		if err != nil || aws.ToString(got.SecretString) != strings.Repeat("value ", 1+50*i) {
			t.Errorf("%s is not what it was: %v", *name(i), err)
		}
	}
	p.stop()
	look("after it has ended")
	eachFile(t, filepath.Join(home, "keys"), func(path string, content []byte) {
		if bytes.Contains(content, bytes.TrimSpace(formerRoot)) {
			t.Errorf("the former root key is still in %s", path)
		}
	})
	fsck(t, nil, "--data-dir", home)

	// With the former root key in its place nothing opens.
	now := filepath.Join(home, "keys", "root.key")
	if err := errors.Join(os.Rename(now, now+".aside"), os.WriteFile(now, formerRoot, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, "fsck", "--data-dir", home).CombinedOutput(); err == nil {
		t.Errorf("the former root key opens the store: %s", out)
	}
}

// TestKillDuringKeyChanges kills the server again and again while keys are exchanged
// under writers: the storage key, the root key, or all of them by an erasure. After
// every restart each secret holds its last acknowledged value, and what was cut off
// comes to its end.
func TestKillDuringKeyChanges(t *testing.T) {
	const writers = 4
	kills := 6
	if *long {
		kills = 60
	}
	home := t.TempDir()
	ledgers := make([]*ledger, writers)
	for i := range ledgers {
		ledgers[i] = &ledger{name: fmt.Sprintf("keys/%d", i)}
	}
	orders := [][]string{
		{"keyring", "rotate", "--wait"}, {"root-key", "rotate"}, {"erase", "--yes"},
	}
	var acknowledged, done atomic.Int64
	run := func() *process {
		p := start(t, nil, "dev", "--data-dir", home, "--listen", "127.0.0.1:0")
		c := client(p.url, "test", "test")
		for _, l := range ledgers {
			l.verify(t, c)
		}
		return p
	}
	for n := range kills {
		p := run()
		c := client(p.url, "test", "test")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, l := range ledgers {
			wg.Go(func() { acknowledged.Add(int64(l.write(ctx, t, c, n))) })
		}
		wg.Go(func() {
			// The command of this life first, so that each is cut off in its turn.
			for i := n; ctx.Err() == nil; i++ {
				if _, err := p.command(ctx, orders[i%len(orders)]...); err == nil {
					done.Add(1)
				}
			}
		})
		time.Sleep(time.Duration(100+rand.IntN(1500)) * time.Millisecond)
		p.kill()
		cancel()
		wg.Wait()
	}
	p := run()
	if out := p.must("erase", "status"); !strings.HasPrefix(out, "nothing") {
		p.must("erase", "status", "--wait")
	}
	p.must("keyring", "rotate", "--wait")
	p.must("root-key", "rotate")
	if out := p.must("keyring", "status"); strings.Contains(out, "retired") {
		t.Errorf("old keys are left:\n%s", out)
	}
	p.stop()
	fsck(t, nil, "--data-dir", home)
	p = run()
	p.stop()
	if acknowledged.Load() < int64(kills*writers) {
		t.Errorf("only %d writes were acknowledged over %d lives", acknowledged.Load(), kills)
	}
	t.Logf("%d kills, %d acknowledged writes, %d commands to their end", kills, acknowledged.Load(), done.Load())
}
