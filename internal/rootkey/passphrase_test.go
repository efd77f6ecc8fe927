package rootkey_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/envelope"
	"arca/internal/rootkey"
)

func phrase(s string) *rootkey.Passphrase {
	return rootkey.NewPassphrase(envelope.NewPlaintext([]byte(s)))
}

const good = "five words are not enough"

func TestPassphrase(t *testing.T) {
	key, params := create(t, phrase(good))
	opened, err := phrase(good).Open(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if !same(opened, key) {
		t.Errorf("Open = %v, want %v", opened, key)
	}
	if bytes.Contains(params, []byte(good)) {
		t.Error("the parameters hold the passphrase")
	}
	const wrong = good + "\n"
	_, err = phrase(wrong).Open(t.Context(), params)
	if !errors.Is(err, rootkey.ErrWrongPassphrase) {
		t.Errorf("Open with another passphrase: error = %v, want ErrWrongPassphrase", err)
	}
	if err != nil && strings.Contains(err.Error(), good) {
		t.Errorf("the error quotes the passphrase: %v", err)
	}
	if _, err := phrase("").Open(t.Context(), params); err == nil || errors.Is(err, rootkey.ErrWrongPassphrase) {
		t.Errorf("Open without a passphrase: error = %v, want one that says so", err)
	}

	other, _ := create(t, phrase(good))
	if other.Secret().Equal(key.Secret()) || other.ID() == key.ID() {
		t.Error("the same passphrase gives two stores the same key")
	}
}

func TestPassphraseWipe(t *testing.T) {
	raw := []byte(good)
	p := rootkey.NewPassphrase(envelope.NewPlaintext(raw))
	p.Wipe()
	if !bytes.Equal(raw, make([]byte, len(raw))) {
		t.Errorf("after Wipe the passphrase is %q", raw)
	}
	if _, err := p.Open(t.Context(), goldenParams(t)[0].Params); err == nil {
		t.Error("Open works after Wipe")
	}
	if _, _, err := p.Create(t.Context()); err == nil {
		t.Error("Create works after Wipe")
	}
}

func TestPassphraseTooWeak(t *testing.T) {
	for name, s := range map[string]string{
		"empty":                    "",
		"15 characters":            "123456789012345",
		"15 characters of 4 bytes": strings.Repeat("🔑", 15),
		"not UTF-8":                strings.Repeat("\xff", 20),
	} {
		if _, _, err := phrase(s).Create(t.Context()); err == nil {
			t.Errorf("Create with passphrase %s is accepted", name)
		}
	}
}

// Parameters lie beside the data. Whoever can write them must not get at memory,
// time or another key.
func TestPassphraseHostileParams(t *testing.T) {
	g := goldenParams(t)[0]
	tests := []struct {
		name   string
		change func(all, kdf map[string]any)
	}{
		{"all memory", func(_, kdf map[string]any) { kdf["memory_kib"] = uint32(1<<32 - 1) }},
		{"memory beyond its type", func(_, kdf map[string]any) { kdf["memory_kib"] = 1 << 40 }},
		{"no memory", func(_, kdf map[string]any) { kdf["memory_kib"] = 0 }},
		{"little memory", func(_, kdf map[string]any) { kdf["memory_kib"] = 8 }},
		{"endless passes", func(_, kdf map[string]any) { kdf["passes"] = 1 << 30 }},
		{"no passes", func(_, kdf map[string]any) { kdf["passes"] = 0 }},
		{"no lanes", func(_, kdf map[string]any) { kdf["lanes"] = 0 }},
		{"many lanes", func(_, kdf map[string]any) { kdf["lanes"] = 255 }},
		{"rounds of the other function", func(_, kdf map[string]any) { kdf["rounds"] = 700_000 }},
		{"short salt", func(_, kdf map[string]any) { kdf["salt"] = []byte("short") }},
		{"no salt", func(_, kdf map[string]any) { delete(kdf, "salt") }},
		{"unknown function", func(_, kdf map[string]any) { kdf["name"] = "md5" }},
		{"no function", func(all, _ map[string]any) { delete(all, "kdf") }},
		{"weak other function", func(all, kdf map[string]any) {
			all["kdf"] = map[string]any{"name": "pbkdf2-sha512", "salt": kdf["salt"], "rounds": 1}
		}},
		{"endless other function", func(all, kdf map[string]any) {
			all["kdf"] = map[string]any{"name": "pbkdf2-sha512", "salt": kdf["salt"], "rounds": 4_000_000_000}
		}},
		{"both functions", func(all, kdf map[string]any) {
			kdf["name"], kdf["rounds"] = "pbkdf2-sha512", 600_000
		}},
		{"another id", func(all, _ map[string]any) { all["id"] = envelope.NewKeyID().String() }},
		{"other passes", func(_, kdf map[string]any) { kdf["passes"] = 2 }},
		{"no check", func(all, _ map[string]any) { delete(all, "check") }},
		{"unknown member", func(all, _ map[string]any) { all["hint"] = "x" }},
		{"other format", func(all, _ map[string]any) { all["format"] = 2 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var all map[string]any
			if err := json.Unmarshal(g.Params, &all); err != nil {
				t.Fatal(err)
			}
			tt.change(all, all["kdf"].(map[string]any))
			changed, err := json.Marshal(all)
			if err != nil {
				t.Fatal(err)
			}
			if key, err := phrase(g.Passphrase).Open(t.Context(), changed); err == nil {
				t.Errorf("Open with parameters %s = %v", changed, key)
			}
		})
	}
}

type golden struct {
	Passphrase string          `json:"passphrase"`
	Secret     []byte          `json:"secret"`
	Params     json.RawMessage `json:"params"`
}

// goldenParams reads parameters that the first version of this package wrote, without
// and with FIPS mode.
func goldenParams(t *testing.T) []golden {
	t.Helper()
	raw, err := os.ReadFile("testdata/passphrase.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []golden
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Fatalf("%d golden parameters, want 2", len(all))
	}
	return all
}

func TestPassphraseGolden(t *testing.T) {
	for _, g := range goldenParams(t) {
		if fips140.Enabled() && bytes.Contains(g.Params, []byte("argon2id")) {
			continue // refused: see TestPassphraseFIPS
		}
		key, err := phrase(g.Passphrase).Open(t.Context(), g.Params)
		if err != nil {
			t.Errorf("Open(%s): %v", g.Params, err)
			continue
		}
		secret := key.Secret()
		if !bytes.Equal(secret.Bytes(), g.Secret) {
			t.Errorf("Open(%s): secret = %x, want %x", g.Params, secret.Bytes(), g.Secret)
		}
	}
}

// In FIPS mode only the approved function is used, and a store made outside of it is
// refused with a sentence that says why.
func TestPassphraseFIPS(t *testing.T) {
	const paramsVar = "ARCA_TEST_PARAMS"
	if params := os.Getenv(paramsVar); params != "" {
		if _, made := create(t, phrase(good)); !bytes.Contains(made, []byte(`"pbkdf2-sha512"`)) {
			t.Errorf("Create in FIPS mode uses %s", made)
		}
		if _, err := phrase(good).Open(t.Context(), []byte(params)); err == nil || !strings.Contains(err.Error(), "FIPS") {
			t.Errorf("Open of an argon2id store in FIPS mode: error = %v", err)
		}
		return
	}
	params := goldenParams(t)[0].Params
	if !bytes.Contains(params, []byte("argon2id")) {
		t.Fatalf("the first golden parameters are %s", params)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPassphraseFIPS$", "-test.count=1")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only", paramsVar+"="+string(params))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("with fips140=only: %v\n%s", err, out)
	}
}

// Whatever lies beside the data, nothing but an error comes of it: without a
// passphrase and without a file, reading stops before any key is derived.
func FuzzParams(f *testing.F) {
	file := rootkey.NewFile(filepath.Join(f.TempDir(), "no.key"), "")
	f.Add([]byte(`{"format":1,"id":"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"}`))
	f.Add([]byte(`{"format":1,"id":"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf","kdf":{"name":"argon2id","salt":"vChsKtcjnpgff+sbAoJZdg==","memory_kib":65536,"passes":3,"lanes":4},"check":"AWWB"}`))
	f.Add([]byte(`{"format":1,"id":"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf","kdf":{"name":"pbkdf2-sha512","salt":"vChsKtcjnpgff+sbAoJZdg==","rounds":600000}}`))
	f.Fuzz(func(t *testing.T, params []byte) {
		for _, p := range []rootkey.Provider{file, phrase("")} {
			if key, err := p.Open(t.Context(), params); err == nil {
				t.Errorf("%s: Open(%q) = %v", p.Kind(), params, key)
			}
		}
	})
}

func TestKinds(t *testing.T) {
	// The kind is stored with the data: it must never change.
	if got := rootkey.NewFile("x", "").Kind(); got != "file" {
		t.Errorf("File.Kind = %q", got)
	}
	if got := phrase("x").Kind(); got != "passphrase" {
		t.Errorf("Passphrase.Kind = %q", got)
	}
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, p := range []rootkey.Provider{rootkey.NewFile(filepath.Join(t.TempDir(), "root.key"), ""), phrase(good)} {
		if _, _, err := p.Create(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Create error = %v, want context.Canceled", p.Kind(), err)
		}
		if _, err := p.Open(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Open error = %v, want context.Canceled", p.Kind(), err)
		}
	}
}
