package store_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"arca/internal/envelope"
	"arca/internal/store"
	"arca/internal/storetest"
)

var long = flag.Bool("long", false, "run the long versions of tests")

// fixedKey is a root key provider that two processes share: every parameter gives a
// key.
type fixedKey struct{ secret string }

func (k fixedKey) Kind() string { return "fixed" }

func (k fixedKey) Create(ctx context.Context) (*envelope.Key, []byte, error) {
	key, err := k.Open(ctx, nil)
	return key, nil, err
}

func (k fixedKey) Open(_ context.Context, params []byte) (*envelope.Key, error) {
	raw := sha256.Sum256([]byte(k.secret + string(params)))
	return envelope.NewKey(envelope.KeyID(raw[:16]), 1, raw[:])
}

func (k fixedKey) Renew(ctx context.Context) (*envelope.Key, []byte, error) {
	params := []byte(rand.Text())
	key, err := k.Open(ctx, params)
	return key, params, err
}

func (k fixedKey) Adopt(context.Context, []byte, []byte) error { return nil }

func (k fixedKey) Destroy(context.Context, []byte) error { return nil }

const (
	crashDirEnv  = "ARCA_STORE_CRASH_DIR"
	crashKeysEnv = "ARCA_STORE_CRASH_KEYS"
)

func crashConfig(dir string) store.Config {
	return store.Config{Dir: dir, RootKey: fixedKey{strings.Repeat("5a", 32)}}
}

// TestMain lets the test binary be the process that TestKill9 kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir, os.Getenv(crashKeysEnv)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// changeKeys rotates root key and storage key and seals anew, without a pause.
func changeKeys(s *store.Store, purge bool) error {
	for i := 0; ; i++ {
		if _, err := s.RotateStorageKey(context.Background()); err != nil {
			return err
		}
		for more := true; more; {
			p, err := s.Reseal(context.Background(), time.Now())
			if err != nil {
				return err
			}
			more = p.More
		}
		if _, err := s.RotateRootKey(context.Background()); err != nil {
			return err
		}
		if err := s.DestroyFormerRootKeys(context.Background()); err != nil {
			return err
		}
		if purge {
			if err := s.Purge(context.Background(), nil); err != nil {
				return err
			}
		}
		fmt.Printf("keys %d\n", i)
	}
}

// writeUntilKilled writes and says what was acknowledged.
func writeUntilKilled(dir, keys string) error {
	var h shelf
	s := store.New(crashConfig(dir))
	h.attach(s)
	if err := s.Open(context.Background()); err != nil {
		return err
	}
	failed := make(chan error, 10)
	go func() { failed <- s.Run(context.Background()) }()
	if keys != "" {
		go func() { failed <- changeKeys(s, keys == "purge") }()
	}
	acked := make(chan string, 1000)
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d", w)
				var n int
				c, err := s.Update(context.Background(), func(tx *store.Tx) error {
					n = 0
					if r, ok := h.things.Get(tx.Snap, at("a", id)); ok {
						n = r.N
					}
					n++
					h.things.Put(tx, at("a", id), &thing{N: n, Tags: []string{id}})
					h.blobs.Put(tx, at("a", id, "v"), &thing{N: n, Blob: make([]byte, 700)})
					tx.SetEffect(func([]store.Change) []byte { return []byte(id) })
					return nil
				})
				if err != nil {
					failed <- err
					return
				}
				acked <- fmt.Sprintf("%s %d", id, n)
				s.ReleaseEffect(c.Effect)
			}
		}()
	}
	for {
		select {
		case line := <-acked:
			fmt.Printf("ack %s\n", line)
		case err := <-failed:
			return err
		}
	}
}

// What was acknowledged before kill -9 is there afterwards, with its children.
func TestKill9(t *testing.T) { testKill9(t, false) }

// So it is if the keys were being changed meanwhile.
func TestKill9ChangingKeys(t *testing.T) { testKill9(t, true) }

func testKill9(t *testing.T, keys bool) {
	rounds, acks := 3, 150
	if *long {
		rounds, acks = 100, 400
	}
	dir := t.TempDir()
	want := map[string]int{}
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
		if keys {
			how := "rotate"
			if *long {
				how = "purge"
			}
			cmd.Env = append(cmd.Env, crashKeysEnv+"="+how)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r, seen := bufio.NewReader(out), 0
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				if err != io.EOF {
					t.Logf("read: %v", err)
				}
				break
			}
			var id string
			var n int
			if k, _ := fmt.Sscanf(line, "ack %s %d", &id, &n); k == 2 {
				want[id] = max(want[id], n)
				seen++
			} else if !strings.HasPrefix(line, "keys ") {
				t.Logf("writer says: %s", line)
			}
			if seen == acks+37*round%100 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Error("the writer ended by itself")
		}
		if seen < acks {
			t.Fatalf("round %d: the writer ended after %d writes", round, seen)
		}

		t.Run("round "+strconv.Itoa(round), func(t *testing.T) {
			var h shelf
			cfg := crashConfig(dir)
			cfg.Logger = storetest.Logger(t)
			s := storetest.Open(t, cfg, h.attach)
			view(t, s, func(v *store.Snap) {
				for id, n := range want {
					r, ok := h.things.Get(v, at("a", id))
					if !ok || r.N < n {
						t.Errorf("record %s = %+v, but %d was acknowledged", id, r, n)
						continue
					}
					b, err := h.blobs.Load(t.Context(), v, at("a", id, "v"))
					if err != nil || b.N != r.N {
						t.Errorf("record %s is at %d, its child at %+v, %v", id, r.N, b, err)
					}
				}
			})
			// What was under way at the kill left effects, at most one for each writer and
			// what had not been removed yet.
			err := s.Effects(t.Context(), func(seq uint64, data []byte) error {
				s.ReleaseEffect(seq)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if keys {
				reseal(t, s)
				if got := storageKeys(t, s); strings.Contains(got, "false") {
					t.Errorf("keys = %s", got)
				}
			}
		})
	}
}
