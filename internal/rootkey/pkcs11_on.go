//go:build pkcs11

package rootkey

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/miekg/pkcs11"

	"arca/internal/envelope"
)

// PKCS11BuiltIn says whether a root key can be kept in a device: whether the binary was
// built with the tag pkcs11.
const PKCS11BuiltIn = true

// moduleTimeout is how long a module may take for everything that one call asks of it.
const moduleTimeout = 30 * time.Second

// Check reads the PIN and looks for the module, and loads nothing.
func (p *PKCS11) Check() error {
	if err := p.checkModule(); err != nil {
		return err
	}
	_, wipe, err := p.pin()
	if err != nil {
		return err
	}
	wipe()
	return nil
}

func (p *PKCS11) checkModule() error {
	info, err := os.Stat(p.cfg.Module)
	if err != nil {
		return fmt.Errorf("root_key.module: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("root_key.module: %s is not a library", p.cfg.Module)
	}
	return nil
}

// Create makes a key object in the token and wraps a new root key with it. If no
// store comes to use it, the object stays in the token and protects nothing; it cannot
// be told there from that of another store.
func (p *PKCS11) Create(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	v := pkcs11Params{Format: paramsFormat, ID: textID(envelope.NewKeyID()), Token: p.cfg.TokenLabel, Label: p.cfg.KeyLabel}
	key, err = p.with(ctx, pkcs11.CKF_RW_SESSION, func(t *token) (*envelope.Key, error) {
		object, err := t.generate(v)
		if err != nil {
			return nil, err
		}
		key := envelope.GenerateKey(envelope.KeyID(v.ID), rootVersion)
		if v.Wrapped, err = t.wrap(object, v, key); err != nil {
			key.Wipe()
			// Nobody will ever ask for it.
			return nil, errors.Join(err, t.ctx.DestroyObject(t.session, object))
		}
		return key, nil
	})
	if err != nil {
		return nil, nil, err
	}
	params, err = encodeParams(key, v)
	if err != nil {
		return nil, nil, err
	}
	return key, params, nil
}

// Renew makes another key object and another root key.
func (p *PKCS11) Renew(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	return p.Create(ctx)
}

// Adopt does nothing: a root key is found by its id.
func (p *PKCS11) Adopt(context.Context, []byte, []byte) error { return nil }

// Open unwraps the root key with its key object. The error wraps ErrUnreachable if the
// token is not there or does not work, ErrMissing if the object is not, and
// ErrMismatch if the object is another one.
func (p *PKCS11) Open(ctx context.Context, params []byte) (*envelope.Key, error) {
	v, err := decodePKCS11Params(params)
	if err != nil {
		return nil, err
	}
	return p.with(ctx, 0, func(t *token) (*envelope.Key, error) {
		objects, err := t.find(v)
		if err != nil {
			return nil, err
		}
		if len(objects) == 0 {
			return nil, fmt.Errorf("%w: the token %q has no key object %s labelled %q; the data of this store cannot be read without it: restore it from the token's backup", ErrMissing, p.cfg.TokenLabel, envelope.KeyID(v.ID), p.cfg.KeyLabel)
		}
		return t.unwrap(objects[0], v)
	})
}

// Destroy destroys the key object.
func (p *PKCS11) Destroy(ctx context.Context, params []byte) error {
	v, err := decodePKCS11Params(params)
	if err != nil {
		return err
	}
	_, err = p.with(ctx, pkcs11.CKF_RW_SESSION, func(t *token) (*envelope.Key, error) {
		objects, err := t.find(v)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if err := t.ctx.DestroyObject(t.session, o); err != nil {
				return nil, t.explain("destroy key object", err)
			}
		}
		return nil, nil //nolint:nilnil // nothing is asked for but that it be gone
	})
	return err
}

// pinFile is the file that holds the PIN.
func (p *PKCS11) pinFile() kept {
	return kept{noun: "PIN file", path: p.cfg.PINFile, dataDir: p.cfg.DataDir}
}

// pin returns the PIN, and what overwrites it.
func (p *PKCS11) pin() (pin []byte, wipe func(), err error) {
	if p.cfg.PINFile == "" {
		if p.cfg.PIN.Len() == 0 {
			return nil, nil, errors.New("no PIN for the root key's token: set root_key.pin_file or ARCA_PKCS11_PIN")
		}
		return p.cfg.PIN.Bytes(), func() {}, nil
	}
	f := p.pinFile()
	if err := f.checkPlace(); err != nil {
		return nil, nil, err
	}
	if pin, wipe, err = f.line(); err != nil {
		return nil, nil, fmt.Errorf("read root_key.pin_file: %w", err)
	}
	return pin, wipe, nil
}

// bound is the additional data of a wrapped root key.
func (v pkcs11Params) bound() []byte {
	return append([]byte("arca/rootkey/pkcs11/1\x00"), v.ID[:]...)
}

// token is a session with the token, logged in.
type token struct {
	cfg     *PKCS11Config
	ctx     *pkcs11.Ctx
	session pkcs11.SessionHandle
}

// with runs fn with a session. A library cannot be told to stop: when ctx ends or the
// module takes too long, with returns and leaves it to itself.
func (p *PKCS11) with(ctx context.Context, flags uint, fn func(*token) (*envelope.Key, error)) (*envelope.Key, error) {
	type result struct {
		key *envelope.Key
		err error
	}
	timed, cancel := context.WithTimeout(ctx, moduleTimeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.turn <- struct{}{}:
	case <-timed.Done():
		return nil, p.gaveUp(ctx)
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-p.turn }()
		var r result
		r.key, r.err = p.run(flags, fn)
		done <- r
	}()
	select {
	case r := <-done:
		return r.key, r.err
	case <-timed.Done():
	}
	go func() {
		if r := <-done; r.key != nil {
			r.key.Wipe()
		}
	}()
	return nil, p.gaveUp(ctx)
}

// gaveUp says why a call ended without the module: the caller left, or it took too long.
func (p *PKCS11) gaveUp(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("%w: the module %s has not answered for %v", ErrUnreachable, p.cfg.Module, moduleTimeout)
}

// run loads the module, opens a session, logs in, and ends all of it again: while a
// server runs it has no door open to the token.
func (p *PKCS11) run(flags uint, fn func(*token) (*envelope.Key, error)) (_ *envelope.Key, err error) {
	if err := p.checkModule(); err != nil {
		return nil, err
	}
	pin, wipe, err := p.pin()
	if err != nil {
		return nil, err
	}
	defer wipe()
	t := &token{cfg: &p.cfg, ctx: pkcs11.New(p.cfg.Module)}
	if t.ctx == nil {
		return nil, fmt.Errorf("root_key.module: %s cannot be loaded as a PKCS#11 library", p.cfg.Module)
	}
	// The library stays loaded: some start threads, and crash what unloads them.
	if err := t.ctx.Initialize(); err != nil {
		return nil, t.explain("start", err)
	}
	defer func() { _ = t.ctx.Finalize() }() // logs out, too
	slot, err := t.slot()
	if err != nil {
		return nil, err
	}
	if t.session, err = t.ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|flags); err != nil {
		return nil, t.explain("open session", err)
	}
	defer func() { _ = t.ctx.CloseSession(t.session) }()
	// The string cannot be wiped; the library takes no other form of a PIN.
	if err := t.ctx.Login(t.session, pkcs11.CKU_USER, string(pin)); err != nil {
		return nil, t.explain("log in", err)
	}
	return fn(t)
}

// slot finds the token by its label. One that is not there may come: a network HSM
// that is down takes its slots away.
func (t *token) slot() (uint, error) {
	slots, err := t.ctx.GetSlotList(true)
	if err != nil {
		return 0, t.explain("list tokens", err)
	}
	var found []uint
	var labels []string
	for _, s := range slots {
		info, err := t.ctx.GetTokenInfo(s)
		if err != nil {
			return 0, t.explain("list tokens", err)
		}
		if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue
		}
		labels = append(labels, fmt.Sprintf("%q", info.Label))
		if info.Label == t.cfg.TokenLabel {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		there := "none"
		if len(labels) > 0 {
			there = strings.Join(labels, ", ")
		}
		return 0, fmt.Errorf("%w: the module %s shows no token labelled %q (root_key.token_label); there: %s", ErrUnreachable, t.cfg.Module, t.cfg.TokenLabel, there)
	}
	return 0, fmt.Errorf("root_key.token_label: the module %s shows %d tokens labelled %q", t.cfg.Module, len(found), t.cfg.TokenLabel)
}

// generate makes the key object in the token and makes sure that it stays there.
func (t *token) generate(v pkcs11Params) (pkcs11.ObjectHandle, error) {
	object, err := t.ctx.GenerateKey(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, keyBytes),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, false),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, false),
		pkcs11.NewAttribute(pkcs11.CKA_ID, v.ID[:]),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.cfg.KeyLabel),
	})
	if err != nil {
		return 0, t.explain("make key object", err)
	}
	got, err := t.ctx.GetAttributeValue(t.session, object, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, nil), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, nil),
	})
	switch {
	case err != nil:
		err = t.explain("look at key object", err)
	case !isBool(got[0], false) || !isBool(got[1], true):
		err = fmt.Errorf("the token %q makes keys that can be taken out of it", t.cfg.TokenLabel)
	default:
		return object, nil
	}
	return 0, errors.Join(err, t.ctx.DestroyObject(t.session, object))
}

// isBool reads a CK_BBOOL; what has another length is neither true nor false.
func isBool(a *pkcs11.Attribute, want bool) bool {
	return len(a.Value) == 1 && (a.Value[0] != 0) == want
}

func (t *token) find(v pkcs11Params) ([]pkcs11.ObjectHandle, error) {
	err := t.ctx.FindObjectsInit(t.session, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_ID, v.ID[:]),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.cfg.KeyLabel),
	})
	if err != nil {
		return nil, t.explain("look for key object", err)
	}
	objects, _, err := t.ctx.FindObjects(t.session, 8)
	if err := errors.Join(err, t.ctx.FindObjectsFinal(t.session)); err != nil {
		return nil, t.explain("look for key object", err)
	}
	return objects, nil
}

// wrap encrypts the root key in the token. A key object encrypts once in its life, so
// that no nonce can come twice. Some modules make the nonce themselves and say
// afterwards which.
func (t *token) wrap(object pkcs11.ObjectHandle, v pkcs11Params, key *envelope.Key) ([]byte, error) {
	nonce := make([]byte, gcmNonceBytes)
	rand.Read(nonce)
	gcm := pkcs11.NewGCMParams(nonce, v.bound(), gcmTagBytes*8)
	defer gcm.Free()
	if err := t.ctx.EncryptInit(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, gcm)}, object); err != nil {
		return nil, t.explain("wrap root key", err)
	}
	secret := key.Secret()
	defer secret.Wipe()
	sealed, err := t.ctx.Encrypt(t.session, secret.Bytes())
	if err != nil {
		return nil, t.explain("wrap root key", err)
	}
	v.Wrapped = append(gcm.IV(), sealed...)
	// What does not open now would lose the store.
	opened, err := t.unwrap(object, v)
	if err != nil {
		return nil, err
	}
	defer opened.Wipe()
	if got := opened.Secret(); !got.Equal(secret) {
		return nil, fmt.Errorf("the token %q does not give back what it encrypted", t.cfg.TokenLabel)
	}
	return v.Wrapped, nil
}

func (t *token) unwrap(object pkcs11.ObjectHandle, v pkcs11Params) (*envelope.Key, error) {
	sealed := len(v.Wrapped) - keyBytes - gcmTagBytes
	gcm := pkcs11.NewGCMParams(v.Wrapped[:sealed], v.bound(), gcmTagBytes*8)
	defer gcm.Free()
	if err := t.ctx.DecryptInit(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, gcm)}, object); err != nil {
		return nil, t.explain("unwrap root key", err)
	}
	secret, err := t.ctx.Decrypt(t.session, v.Wrapped[sealed:])
	defer clear(secret)
	switch code, _ := errors.AsType[pkcs11.Error](err); {
	case err == nil:
	case code == pkcs11.CKR_ENCRYPTED_DATA_INVALID, code == pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE,
		code == pkcs11.CKR_DATA_INVALID, code == pkcs11.CKR_SIGNATURE_INVALID, code == pkcs11.CKR_GENERAL_ERROR:
		// Modules do not agree on what a wrong tag is.
		return nil, fmt.Errorf("%w: the key object %s of the token %q does not open it, or the parameters beside the data were changed: %w", ErrMismatch, envelope.KeyID(v.ID), t.cfg.TokenLabel, err)
	default:
		return nil, t.explain("unwrap root key", err)
	}
	key, err := envelope.NewKey(envelope.KeyID(v.ID), rootVersion, secret)
	if err != nil {
		return nil, fmt.Errorf("unwrap root key: %w", err)
	}
	return key, nil
}

// explain says what to do about a module's error, and whether waiting may help.
func (t *token) explain(attempt string, err error) error {
	where := fmt.Sprintf("%s (module %s, token %q)", attempt, t.cfg.Module, t.cfg.TokenLabel)
	code, _ := errors.AsType[pkcs11.Error](err)
	switch code {
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE:
		return fmt.Errorf("%s: the PIN is wrong; it is not tried again, because tokens lock themselves after a few attempts: %w", where, err)
	case pkcs11.CKR_PIN_LOCKED:
		return fmt.Errorf("%s: the token has locked itself after wrong PINs; its security officer unlocks it: %w", where, err)
	case pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return fmt.Errorf("%s: the token's user needs a new PIN: %w", where, err)
	case pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_MECHANISM_PARAM_INVALID:
		return fmt.Errorf("%s: the token cannot do AES-GCM with 256-bit keys: %w", where, err)
	case pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_DEVICE_MEMORY,
		pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, pkcs11.CKR_SLOT_ID_INVALID,
		pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_SESSION_COUNT,
		pkcs11.CKR_FUNCTION_FAILED, pkcs11.CKR_FUNCTION_CANCELED, pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_HOST_MEMORY:
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, where, err)
	}
	return fmt.Errorf("%s: %w", where, err)
}
