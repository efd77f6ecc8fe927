//go:build pkcs11

package rootkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/pkcs11"

	"arca/internal/envelope"
	"arca/internal/rootkey"
)

// softHSM is where Debian puts SoftHSM2.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

const pin = "open sesame"

// hsm is a token of SoftHSM2 in a folder of the test's.
type hsm struct {
	t *testing.T
	rootkey.PKCS11Config
}

func newHSM(t *testing.T) *hsm {
	t.Helper()
	if _, err := os.Stat(softHSM); err != nil {
		t.Fatalf("%v: make test-deps installs it", err)
	}
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	put(t, conf, fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens))
	t.Setenv("SOFTHSM2_CONF", conf)
	h := &hsm{t: t, PKCS11Config: rootkey.PKCS11Config{
		Module: softHSM, TokenLabel: "arca", KeyLabel: "arca-root-key", PIN: plain(pin),
	}}
	h.initToken("arca")
	return h
}

func plain(s string) envelope.Plaintext { return envelope.NewPlaintext([]byte(s)) }

func (h *hsm) initToken(label string) {
	h.t.Helper()
	cmd := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "security officer", "--pin", pin)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
}

// root is the root key of the configuration, changed.
func (h *hsm) root(change ...func(c *rootkey.PKCS11Config)) *rootkey.PKCS11 {
	cfg := h.PKCS11Config
	for _, c := range change {
		c(&cfg)
	}
	return rootkey.NewPKCS11(cfg)
}

// objects lists the ids of the key objects in the token, as the vendor's tools see
// them, and expects each to be one that stays in the token.
func (h *hsm) objects() (ids []string) {
	h.t.Helper()
	ctx := pkcs11.New(softHSM)
	must(h.t)(nil, ctx.Initialize())
	defer func() { must(h.t)(nil, ctx.Finalize()) }()
	slots, err := ctx.GetSlotList(true)
	must(h.t)(slots, err)
	for _, slot := range slots {
		info, err := ctx.GetTokenInfo(slot)
		must(h.t)(info, err)
		if info.Label != h.TokenLabel {
			continue
		}
		session, err := ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		must(h.t)(session, err)
		must(h.t)(nil, ctx.Login(session, pkcs11.CKU_USER, pin))
		must(h.t)(nil, ctx.FindObjectsInit(session, nil))
		found, _, err := ctx.FindObjects(session, 100)
		must(h.t)(found, err)
		must(h.t)(nil, ctx.FindObjectsFinal(session))
		for _, o := range found {
			a, err := ctx.GetAttributeValue(session, o, []*pkcs11.Attribute{
				pkcs11.NewAttribute(pkcs11.CKA_ID, nil), pkcs11.NewAttribute(pkcs11.CKA_LABEL, nil),
				pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, nil), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, nil),
				pkcs11.NewAttribute(pkcs11.CKA_NEVER_EXTRACTABLE, nil), pkcs11.NewAttribute(pkcs11.CKA_LOCAL, nil),
			})
			must(h.t)(a, err)
			ids = append(ids, fmt.Sprintf("%x", a[0].Value))
			if string(a[1].Value) != h.KeyLabel || a[2].Value[0] != 1 || a[3].Value[0] != 0 || a[4].Value[0] != 1 || a[5].Value[0] != 1 {
				h.t.Errorf("key object %x has attributes %v", a[0].Value, a)
			}
			if value, err := ctx.GetAttributeValue(session, o, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)}); err == nil {
				h.t.Errorf("the token gives key object %x away: %v", a[0].Value, value)
			}
		}
	}
	return ids
}

func TestPKCS11(t *testing.T) {
	h := newHSM(t)
	r := h.root()
	if r.Kind() != "pkcs11" {
		t.Errorf("Kind = %q", r.Kind())
	}
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	first, firstParams := create(t, r)
	secret := first.Secret()
	if bytes.Contains(firstParams, secret.Bytes()) || bytes.Contains(firstParams, []byte(pin)) {
		t.Error("the parameters hold a secret")
	}
	opens(t, r, firstParams, first)
	r.Wipe()
	opens(t, r, firstParams, first)
	opens(t, h.root(), firstParams, first)

	second, secondParams := renew(t, r)
	if same(first, second) {
		t.Fatal("Renew returns the key in use")
	}
	adopt(t, r, secondParams, firstParams)
	opens(t, r, firstParams, first) // of a backup
	opens(t, r, secondParams, second)
	if got := h.objects(); len(got) != 2 {
		t.Errorf("key objects = %v, want two", got)
	}
	for range 2 {
		if err := r.Destroy(t.Context(), firstParams); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{second.ID().String()}, h.objects()); diff != "" {
			t.Errorf("key objects after Destroy (-want +got):\n%s", diff)
		}
	}
	_, err := r.Open(t.Context(), firstParams)
	refusal(t, err, rootkey.ErrMissing, first.ID().String(), "arca-root-key", "restore it")
	opens(t, r, secondParams, second)
}

func TestPKCS11PIN(t *testing.T) {
	h := newHSM(t)
	key, params := create(t, h.root())
	_, err := h.root(func(c *rootkey.PKCS11Config) { c.PIN = plain("wrong pin") }).Open(t.Context(), params)
	refusal(t, err, nil, "the PIN is wrong", `token "arca"`)
	if strings.Contains(err.Error(), "wrong pin") {
		t.Errorf("the error quotes the PIN: %v", err)
	}
	_, err = h.root(func(c *rootkey.PKCS11Config) { c.PIN = envelope.Plaintext{} }).Open(t.Context(), params)
	refusal(t, err, nil, "root_key.pin_file", "ARCA_PKCS11_PIN")

	path := filepath.Join(t.TempDir(), "pin")
	fromFile := func(c *rootkey.PKCS11Config) { c.PIN, c.PINFile = envelope.Plaintext{}, path }
	refusal(t, h.root(fromFile).Check(), os.ErrNotExist, "read root_key.pin_file")
	put(t, path, pin+"\n")
	if err := h.root(fromFile).Check(); err != nil {
		t.Error(err)
	}
	opens(t, h.root(fromFile), params, key)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = h.root(fromFile).Open(t.Context(), params)
	refusal(t, err, nil, "0644")
	inData := func(c *rootkey.PKCS11Config) { fromFile(c); c.DataDir = filepath.Dir(path) }
	_, err = h.root(inData).Open(t.Context(), params)
	refusal(t, err, nil, "inside the data directory")
}

func TestPKCS11Missing(t *testing.T) {
	h := newHSM(t)
	key, params := create(t, h.root())
	h.initToken("another")
	for _, tt := range []struct {
		name   string
		change func(c *rootkey.PKCS11Config)
		is     error
		words  []string
	}{
		{"token", func(c *rootkey.PKCS11Config) { c.TokenLabel = "gone" }, rootkey.ErrUnreachable, []string{`"gone"`, "root_key.token_label", `"arca"`, `"another"`}},
		{"key object", func(c *rootkey.PKCS11Config) { c.TokenLabel = "another" }, rootkey.ErrMissing, []string{`"another"`, key.ID().String()}},
		{"label of the key object", func(c *rootkey.PKCS11Config) { c.KeyLabel = "mine" }, rootkey.ErrMissing, []string{`"mine"`}},
		{"module", func(c *rootkey.PKCS11Config) { c.Module = "/nowhere/libhsm.so" }, os.ErrNotExist, []string{"root_key.module", "/nowhere/libhsm.so"}},
		{"library in the module's place", func(c *rootkey.PKCS11Config) { c.Module = "testdata/root.key" }, nil, []string{"root_key.module"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := h.root(tt.change)
			_, err := r.Open(t.Context(), params)
			refusal(t, err, tt.is, tt.words...)
		})
	}
	h.initToken("arca")
	_, err := h.root().Open(t.Context(), params)
	refusal(t, err, nil, "shows 2 tokens")
}

// A token that is not initialised yet, or gone altogether, may come.
func TestPKCS11NoToken(t *testing.T) {
	h := newHSM(t)
	_, params := create(t, h.root())
	empty := t.TempDir()
	conf := filepath.Join(t.TempDir(), "softhsm2.conf")
	put(t, conf, "directories.tokendir = "+empty+"\nobjectstore.backend = file\n")
	t.Setenv("SOFTHSM2_CONF", conf)
	_, err := h.root().Open(t.Context(), params)
	refusal(t, err, rootkey.ErrUnreachable, "there: none")
}

// The key object of another store, and changed parameters, end in a refusal.
func TestPKCS11OtherStore(t *testing.T) {
	h := newHSM(t)
	r := h.root()
	_, params := create(t, r)
	_, others := create(t, r)
	var v, other map[string]any
	for raw, into := range map[*[]byte]*map[string]any{&params: &v, &others: &other} {
		if err := json.Unmarshal(*raw, into); err != nil {
			t.Fatal(err)
		}
	}
	with := func(name string, value any) []byte {
		changed := map[string]any{}
		for k, old := range v {
			changed[k] = old
		}
		changed[name] = value
		raw, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	wrapped, err := base64Decode(v["wrapped"])
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(wrapped)
	flipped[len(flipped)-1] ^= 1
	for _, tt := range []struct {
		name   string
		params []byte
		is     error
	}{
		{"wrapped key of another store", with("wrapped", other["wrapped"]), rootkey.ErrMismatch},
		{"key object of another store", with("id", other["id"]), rootkey.ErrMismatch},
		{"key object that is not there", with("id", envelope.NewKeyID().String()), rootkey.ErrMissing},
		{"one bit", with("wrapped", flipped), rootkey.ErrMismatch},
		{"cut", with("wrapped", wrapped[:30]), nil},
		{"long", with("wrapped", append(bytes.Clone(wrapped), make([]byte, 200)...)), nil},
		{"unknown member", with("module", "/mine.so"), nil},
		{"other format", with("format", 2), nil},
		{"none", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.Open(t.Context(), tt.params)
			refusal(t, err, tt.is)
		})
	}
}

func base64Decode(v any) (raw []byte, err error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return raw, json.Unmarshal(text, &raw)
}

// Calls at the same time wait for each other.
func TestPKCS11Concurrent(t *testing.T) {
	h := newHSM(t)
	r := h.root()
	key, params := create(t, r)
	done := make(chan error)
	for range 8 {
		go func() {
			got, err := r.Open(t.Context(), params)
			if err == nil && !same(got, key) {
				err = fmt.Errorf("Open = %v, want %v", got, key)
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Open(ctx, params); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v, want context.Canceled", err)
	}
}
