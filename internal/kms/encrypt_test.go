package kms_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/envelope"
)

const missingKey = "11111111-2222-4333-8444-555555555555"

var ctx1 = map[string]string{"app": "billing", "stage": "prod"}

// What is encrypted under a key, by whatever name, comes back with its context alone.
func TestEncryptDecrypt(t *testing.T) {
	h := newHouse(t)
	id, arn := h.key(t)
	h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/app", TargetKeyId: id})
	for _, name := range []string{id, arn, "alias/app", "arn:aws:kms:eu-west-1:123456789012:alias/app"} {
		out := must[kmsapi.EncryptOutput](t, h, kmsapi.OpEncrypt, &kmsapi.EncryptInput{KeyId: name, Plaintext: []byte("attack at dawn"), EncryptionContext: ctx1})
		if *out.KeyId != arn || *out.EncryptionAlgorithm != "SYMMETRIC_DEFAULT" {
			t.Errorf("Encrypt with %s = key %s, %s", name, *out.KeyId, *out.EncryptionAlgorithm)
		}
		for _, keyID := range []*string{nil, &name} {
			plain := must[kmsapi.DecryptOutput](t, h, kmsapi.OpDecrypt, &kmsapi.DecryptInput{CiphertextBlob: out.CiphertextBlob, EncryptionContext: ctx1, KeyId: keyID})
			if string(plain.Plaintext) != "attack at dawn" || *plain.KeyId != arn || len(*plain.KeyMaterialId) != 64 {
				t.Errorf("Decrypt with %v = %+v", keyID, plain)
			}
		}
	}
	log := h.audited(t)
	for _, secret := range []string{"attack at dawn", base64.StdEncoding.EncodeToString([]byte("attack at dawn"))} {
		if strings.Contains(log, secret) {
			t.Error("the plaintext is in the audit log")
		}
	}
	if !strings.Contains(log, `"encryptionContext":{"app":"billing","stage":"prod"}`) || !strings.Contains(log, `"resources":[{"accountId":"123456789012","type":"AWS::KMS::Key","ARN":"`+arn+`"}]`) {
		t.Errorf("context or key is not in the audit log:\n%s", log)
	}
}

// Whatever is wrong with a ciphertext, the answer is the same; only a key that is not
// its own is told apart, to those who may use that key.
func TestDecryptRefused(t *testing.T) {
	h := newHouse(t)
	id, arn := h.key(t)
	other, _ := h.key(t)
	blob := h.encrypt(t, id, "x", ctx1)
	wrapped := func() []byte { // a data key of another service's, under the same key
		k, err := envelope.NewKey(envelope.KeyID(blob[1:17]), 1, make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := k.Seal("kms-data-key", make([]byte, 32), envelope.Context(ctx1))
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}()
	changed := func(at int) []byte {
		b := bytes.Clone(blob)
		b[at] ^= 1
		return b
	}
	const (
		bad     = "InvalidCiphertextException: "
		noKey   = "AccessDeniedException: User: arn:aws:iam::123456789012:root is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
		another = "IncorrectKeyException: The key ID in the request does not identify a CMK that can perform this operation."
	)
	for _, tt := range []struct {
		name string
		in   kmsapi.DecryptInput
		want string
	}{
		{"other context", kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"app": "billing", "stage": "test"}}, bad},
		{"context in another case", kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"App": "billing", "stage": "prod"}}, bad},
		{"less context", kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"app": "billing"}}, bad},
		{"no context", kmsapi.DecryptInput{CiphertextBlob: blob}, bad},
		{"first byte", kmsapi.DecryptInput{CiphertextBlob: changed(0), EncryptionContext: ctx1}, bad},
		{"key id", kmsapi.DecryptInput{CiphertextBlob: changed(5), EncryptionContext: ctx1}, noKey},
		{"version", kmsapi.DecryptInput{CiphertextBlob: changed(20), EncryptionContext: ctx1}, bad},
		{"salt", kmsapi.DecryptInput{CiphertextBlob: changed(25), EncryptionContext: ctx1}, bad},
		{"nonce", kmsapi.DecryptInput{CiphertextBlob: changed(40), EncryptionContext: ctx1}, bad},
		{"last byte", kmsapi.DecryptInput{CiphertextBlob: changed(len(blob) - 1), EncryptionContext: ctx1}, bad},
		{"cut", kmsapi.DecryptInput{CiphertextBlob: blob[:len(blob)-1], EncryptionContext: ctx1}, bad},
		{"longer", kmsapi.DecryptInput{CiphertextBlob: append(bytes.Clone(blob), 0), EncryptionContext: ctx1}, bad},
		{"one byte", kmsapi.DecryptInput{CiphertextBlob: []byte{1}, EncryptionContext: ctx1}, bad},
		{"rubbish with a key", kmsapi.DecryptInput{CiphertextBlob: []byte("rubbish"), KeyId: &id}, bad},
		{"a service's data key", kmsapi.DecryptInput{CiphertextBlob: wrapped, EncryptionContext: ctx1}, bad},
		{"another key", kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: ctx1, KeyId: &other}, another},
		{"no such key", kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: ctx1, KeyId: new(missingKey)}, "NotFoundException: Key 'arn:aws:kms:eu-west-1:123456789012:key/" + missingKey + "' does not exist"},
		{"other algorithm", kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: ctx1, EncryptionAlgorithm: new("RSAES_OAEP_SHA_256")}, "InvalidKeyUsageException: Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT."},
		{"recipient", kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: ctx1, Recipient: &kmsapi.RecipientInfo{}}, "ValidationException: Recipient is not supported."},
		{"nothing", kmsapi.DecryptInput{EncryptionContext: ctx1}, "ValidationException: 1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint: Member must not be null"},
		{"token", kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: ctx1, GrantTokens: []api.SensitiveString{"x"}}, "InvalidGrantTokenException: The grant token is not valid."},
	} {
		t.Run(tt.name, func(t *testing.T) { h.refused(t, tt.want, kmsapi.OpDecrypt, &tt.in) })
	}
	h.refused(t, noKey, kmsapi.OpDecrypt, &kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: ctx1}, inRegion("us-east-1"))
	h.refused(t, "NotFoundException: Invalid arn eu-west-1", kmsapi.OpDecrypt, &kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: ctx1, KeyId: &arn}, inRegion("us-east-1"))
}

func TestEncryptRefused(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	x := api.SensitiveBytes("x")
	for _, tt := range []struct {
		name string
		in   kmsapi.EncryptInput
		want string
	}{
		{"no such key", kmsapi.EncryptInput{KeyId: missingKey, Plaintext: x}, "NotFoundException: Key 'arn:aws:kms:eu-west-1:123456789012:key/" + missingKey + "' does not exist"},
		{"no such alias", kmsapi.EncryptInput{KeyId: "alias/none", Plaintext: x}, "NotFoundException: Alias arn:aws:kms:eu-west-1:123456789012:alias/none is not found."},
		{"malformed", kmsapi.EncryptInput{KeyId: "none", Plaintext: x}, "NotFoundException: Invalid keyId 'none'"},
		{"malformed ARN", kmsapi.EncryptInput{KeyId: "arn:aws:s3:::x", Plaintext: x}, "InvalidArnException: Invalid arn arn:aws:s3:::x"},
		{"other partition", kmsapi.EncryptInput{KeyId: "arn:aws-cn:kms:eu-west-1:123456789012:key/" + id, Plaintext: x}, "NotFoundException: Invalid arn eu-west-1"},
		{"algorithm", kmsapi.EncryptInput{KeyId: id, Plaintext: x, EncryptionAlgorithm: new("SM2PKE")}, "InvalidKeyUsageException: Algorithm SM2PKE is incompatible with key spec SYMMETRIC_DEFAULT."},
		{"too long", kmsapi.EncryptInput{KeyId: id, Plaintext: make([]byte, 4097)}, "ValidationException: 1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"},
		{"dry run", kmsapi.EncryptInput{KeyId: id, Plaintext: x, DryRun: new(true)}, "DryRunOperationException: The request would have succeeded, but the DryRun option is set."},
		{"token", kmsapi.EncryptInput{KeyId: id, Plaintext: x, GrantTokens: []api.SensitiveString{"AAAA"}}, "InvalidGrantTokenException: The grant token is not valid."},
	} {
		t.Run(tt.name, func(t *testing.T) { h.refused(t, tt.want, kmsapi.OpEncrypt, &tt.in) })
	}
	if out := h.encrypt(t, id, strings.Repeat("x", 4096), nil); len(out) > 6144 {
		t.Errorf("a ciphertext of %d bytes cannot be sent back", len(out))
	}
}

// ReEncrypt changes key and context without showing the plaintext.
func TestReEncrypt(t *testing.T) {
	h := newHouse(t)
	from, fromARN := h.key(t)
	to, toARN := h.key(t)
	blob := h.encrypt(t, from, "x", ctx1)
	ctx2 := map[string]string{"moved": "yes"}
	in := kmsapi.ReEncryptInput{CiphertextBlob: blob, SourceEncryptionContext: ctx1, DestinationKeyId: to, DestinationEncryptionContext: ctx2}
	out := must[kmsapi.ReEncryptOutput](t, h, kmsapi.OpReEncrypt, &in)
	if *out.SourceKeyId != fromARN || *out.KeyId != toARN || *out.SourceKeyMaterialId == *out.DestinationKeyMaterialId {
		t.Errorf("ReEncrypt = %+v", out)
	}
	h.decrypts(t, out.CiphertextBlob, ctx2, "x")
	h.decrypts(t, blob, ctx1, "x")

	with := func(change func(in *kmsapi.ReEncryptInput)) *kmsapi.ReEncryptInput {
		c := in
		change(&c)
		return &c
	}
	for _, tt := range []struct {
		name string
		in   *kmsapi.ReEncryptInput
		want string
	}{
		{"wrong context", with(func(in *kmsapi.ReEncryptInput) { in.SourceEncryptionContext = ctx2 }), "InvalidCiphertextException: "},
		{"wrong source", with(func(in *kmsapi.ReEncryptInput) { in.SourceKeyId = &to }), "IncorrectKeyException: The key ID in the request does not identify a CMK that can perform this operation."},
		{"no destination", with(func(in *kmsapi.ReEncryptInput) { in.DestinationKeyId = missingKey }), "NotFoundException: Key 'arn:aws:kms:eu-west-1:123456789012:key/" + missingKey + "' does not exist"},
		{"algorithm", with(func(in *kmsapi.ReEncryptInput) { in.DestinationEncryptionAlgorithm = new("SM2PKE") }), "InvalidKeyUsageException: Algorithm SM2PKE is incompatible with key spec SYMMETRIC_DEFAULT."},
		{"dry run", with(func(in *kmsapi.ReEncryptInput) { in.DryRun = new(true) }), "DryRunOperationException: The request would have succeeded, but the DryRun option is set."},
		{"token", with(func(in *kmsapi.ReEncryptInput) { in.GrantTokens = []api.SensitiveString{"x"} }), "InvalidGrantTokenException: The grant token is not valid."},
		{"nothing to open", with(func(in *kmsapi.ReEncryptInput) { in.CiphertextBlob = nil }), "ValidationException: 1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint: Member must not be null"},
	} {
		t.Run(tt.name, func(t *testing.T) { h.refused(t, tt.want, kmsapi.OpReEncrypt, tt.in) })
	}
}

// A policy can tell encrypting anew under the same key from moving to another one, and
// learns nothing that way of other accounts' keys.
func TestReEncryptOnSameKey(t *testing.T) {
	h := newHouse(t)
	id, arn := h.key(t)
	other, _ := h.key(t)
	h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/a", TargetKeyId: id})
	same := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"Bool":{"kms:ReEncryptOnSameKey":"true"}}}}`
	alice := h.user(t, account, "alice", same)
	blob := h.encrypt(t, id, "x", nil)
	for _, tt := range []struct {
		name   string
		source *string
		to     string
		ok     bool
	}{
		{"itself", nil, id, true}, {"its ARN", nil, arn, true}, {"its alias", nil, "alias/a", true},
		{"named twice", &id, "alias/a", true}, {"another", nil, other, false}, {"named, and another", &id, other, false},
	} {
		_, err := h.call(kmsapi.OpReEncrypt, &kmsapi.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: tt.source, DestinationKeyId: tt.to}, as(alice))
		if err == nil != tt.ok {
			t.Errorf("%s: %s, want allowed: %v", tt.name, shown(err), tt.ok)
		}
	}
	// To a stranger, an alias of the key and one of nothing look the same.
	stranger := h.user(t, otherAccount, "stranger", same)
	var answers []string
	for _, alias := range []string{"alias/a", "alias/none"} {
		_, err := h.call(kmsapi.OpReEncrypt, &kmsapi.ReEncryptInput{SourceKeyId: &arn, CiphertextBlob: blob, DestinationKeyId: keyARNs + alias}, as(stranger))
		answers = append(answers, shown(err))
	}
	if answers[0] != answers[1] {
		t.Errorf("a stranger learns of an alias:\n %s\n %s", answers[0], answers[1])
	}
}

// A dry run tells what the real call would say, and does nothing.
func TestDryRun(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	blob := h.encrypt(t, id, "x", ctx1)
	const ok = "DryRunOperationException: The request would have succeeded, but the DryRun option is set."
	yes, ignore := new(true), []string{"IGNORE_CIPHERTEXT"}
	for _, tt := range []struct {
		name string
		in   kmsapi.DecryptInput
		want string
	}{
		{"right", kmsapi.DecryptInput{CiphertextBlob: blob, EncryptionContext: ctx1, DryRun: yes}, ok},
		{"wrong context", kmsapi.DecryptInput{CiphertextBlob: blob, DryRun: yes}, "InvalidCiphertextException: "},
		{"wrong context, not looked at", kmsapi.DecryptInput{CiphertextBlob: blob, DryRun: yes, DryRunModifiers: ignore}, ok},
		{"nothing but a key", kmsapi.DecryptInput{KeyId: &id, DryRun: yes, DryRunModifiers: ignore}, ok},
		{"nothing at all", kmsapi.DecryptInput{DryRun: yes, DryRunModifiers: ignore}, "ValidationException: The key must be specified when IGNORE_CIPHERTEXT is."},
		{"modifier alone", kmsapi.DecryptInput{CiphertextBlob: blob, DryRunModifiers: ignore}, "ValidationException: DryRunModifiers can be specified only with DryRun."},
	} {
		t.Run(tt.name, func(t *testing.T) { h.refused(t, tt.want, kmsapi.OpDecrypt, &tt.in) })
	}
	h.refused(t, ok, kmsapi.OpReEncrypt, &kmsapi.ReEncryptInput{SourceKeyId: &id, DestinationKeyId: id, DryRun: yes, DryRunModifiers: ignore})
}

func TestGenerateDataKeyOperation(t *testing.T) {
	h := newHouse(t)
	id, arn := h.key(t)
	for _, tt := range []struct {
		name  string
		spec  *string
		bytes *int32
		want  int
	}{
		{"AES-256", new("AES_256"), nil, 32},
		{"AES-128", new("AES_128"), nil, 16},
		{"bytes", nil, new(int32(1024)), 1024},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := &kmsapi.GenerateDataKeyInput{KeyId: id, KeySpec: tt.spec, NumberOfBytes: tt.bytes, EncryptionContext: ctx1}
			out := must[kmsapi.GenerateDataKeyOutput](t, h, kmsapi.OpGenerateDataKey, in)
			if len(out.Plaintext) != tt.want || *out.KeyId != arn {
				t.Errorf("GenerateDataKey = %d bytes of %s, want %d", len(out.Plaintext), *out.KeyId, tt.want)
			}
			h.decrypts(t, out.CiphertextBlob, ctx1, string(out.Plaintext))
			again := must[kmsapi.GenerateDataKeyOutput](t, h, kmsapi.OpGenerateDataKey, in)
			if bytes.Equal(out.Plaintext, again.Plaintext) {
				t.Error("two data keys are the same")
			}
			hidden := must[kmsapi.GenerateDataKeyWithoutPlaintextOutput](t, h, kmsapi.OpGenerateDataKeyWithoutPlaintext,
				&kmsapi.GenerateDataKeyWithoutPlaintextInput{KeyId: id, KeySpec: tt.spec, NumberOfBytes: tt.bytes, EncryptionContext: ctx1})
			plain := must[kmsapi.DecryptOutput](t, h, kmsapi.OpDecrypt, &kmsapi.DecryptInput{CiphertextBlob: hidden.CiphertextBlob, EncryptionContext: ctx1})
			if len(plain.Plaintext) != tt.want || *hidden.KeyMaterialId != *plain.KeyMaterialId {
				t.Errorf("GenerateDataKeyWithoutPlaintext made %d bytes, want %d", len(plain.Plaintext), tt.want)
			}
		})
	}
	const which = "ValidationException: Please specify either number of bytes or key spec."
	const dry = "DryRunOperationException: The request would have succeeded, but the DryRun option is set."
	const token = "InvalidGrantTokenException: The grant token is not valid."
	tokens := []api.SensitiveString{"x"}
	h.refused(t, which, kmsapi.OpGenerateDataKey, &kmsapi.GenerateDataKeyInput{KeyId: id})
	h.refused(t, which, kmsapi.OpGenerateDataKey, &kmsapi.GenerateDataKeyInput{KeyId: id, KeySpec: new("AES_256"), NumberOfBytes: new(int32(1))})
	h.refused(t, which, kmsapi.OpGenerateDataKeyWithoutPlaintext, &kmsapi.GenerateDataKeyWithoutPlaintextInput{KeyId: id})
	h.refused(t, dry, kmsapi.OpGenerateDataKey, &kmsapi.GenerateDataKeyInput{KeyId: id, KeySpec: new("AES_256"), DryRun: new(true)})
	h.refused(t, dry, kmsapi.OpGenerateDataKeyWithoutPlaintext, &kmsapi.GenerateDataKeyWithoutPlaintextInput{KeyId: id, KeySpec: new("AES_256"), DryRun: new(true)})
	h.refused(t, token, kmsapi.OpGenerateDataKey, &kmsapi.GenerateDataKeyInput{KeyId: id, KeySpec: new("AES_256"), GrantTokens: tokens})
	h.refused(t, token, kmsapi.OpGenerateDataKeyWithoutPlaintext, &kmsapi.GenerateDataKeyWithoutPlaintextInput{KeyId: id, KeySpec: new("AES_256"), GrantTokens: tokens})
	h.refused(t, "ValidationException: Recipient is not supported.", kmsapi.OpGenerateDataKey, &kmsapi.GenerateDataKeyInput{KeyId: id, KeySpec: new("AES_256"), Recipient: &kmsapi.RecipientInfo{}})
}

func TestGenerateRandom(t *testing.T) {
	h := newHouse(t)
	for _, n := range []int32{1, 32, 1024} {
		a := must[kmsapi.GenerateRandomOutput](t, h, kmsapi.OpGenerateRandom, &kmsapi.GenerateRandomInput{NumberOfBytes: &n})
		b := must[kmsapi.GenerateRandomOutput](t, h, kmsapi.OpGenerateRandom, &kmsapi.GenerateRandomInput{NumberOfBytes: &n})
		if len(a.Plaintext) != int(n) || n > 16 && bytes.Equal(a.Plaintext, b.Plaintext) {
			t.Errorf("GenerateRandom(%d) = %d bytes, or twice the same", n, len(a.Plaintext))
		}
	}
	h.refused(t, "ValidationException: NumberOfBytes is required.", kmsapi.OpGenerateRandom, &kmsapi.GenerateRandomInput{})
	h.refused(t, "CustomKeyStoreNotFoundException: Custom key store cks-1 does not exist.", kmsapi.OpGenerateRandom, &kmsapi.GenerateRandomInput{NumberOfBytes: new(int32(1)), CustomKeyStoreId: new("cks-1")})
	h.refused(t, "UnsupportedOperationException: Recipient is not supported.", kmsapi.OpGenerateRandom, &kmsapi.GenerateRandomInput{NumberOfBytes: new(int32(1)), Recipient: &kmsapi.RecipientInfo{}})
}

// Whatever is done to keys and ciphertexts, in whatever order, each ciphertext opens
// with its own context, and with no other, as long as its key is enabled.
func TestAnyRotations(t *testing.T) {
	h := newHouse(t)
	rapid.Check(t, func(rt *rapid.T) {
		id, _ := h.key(t)
		type sealed struct {
			blob []byte
			text string
			ctx  map[string]string
		}
		var all []sealed
		rt.Repeat(map[string]func(*rapid.T){
			"encrypt": func(rt *rapid.T) {
				s := sealed{text: rapid.StringN(1, 20, 64).Draw(rt, "text"), ctx: rapid.MapOfN(rapid.StringMatching(`[a-c]{1,2}`), rapid.StringMatching(`[a-c]{0,2}`), 0, 3).Draw(rt, "ctx")}
				s.blob = h.encrypt(t, id, s.text, s.ctx)
				all = append(all, s)
			},
			"rotate": func(rt *rapid.T) {
				_, err := h.call(kmsapi.OpRotateKeyOnDemand, &kmsapi.RotateKeyOnDemandInput{KeyId: id})
				if err != nil && !strings.Contains(err.Error(), "on-demand rotations limit") {
					rt.Fatal(err)
				}
			},
			"reencrypt": func(rt *rapid.T) {
				if len(all) == 0 {
					rt.Skip("nothing")
				}
				s := &all[rapid.IntRange(0, len(all)-1).Draw(rt, "which")]
				s.blob = must[kmsapi.ReEncryptOutput](t, h, kmsapi.OpReEncrypt, &kmsapi.ReEncryptInput{
					CiphertextBlob: s.blob, SourceEncryptionContext: s.ctx, DestinationKeyId: id, DestinationEncryptionContext: s.ctx,
				}).CiphertextBlob
			},
			"disable and enable": func(rt *rapid.T) {
				h.run(t, kmsapi.OpDisableKey, &kmsapi.DisableKeyInput{KeyId: id})
				if len(all) > 0 {
					s := all[0]
					if _, err := h.call(kmsapi.OpDecrypt, &kmsapi.DecryptInput{CiphertextBlob: s.blob, EncryptionContext: s.ctx}); err == nil {
						rt.Fatal("a disabled key decrypts")
					}
				}
				h.run(t, kmsapi.OpEnableKey, &kmsapi.EnableKeyInput{KeyId: id})
			},
			"": func(rt *rapid.T) {
				if len(all) > 0 {
					s := all[rapid.IntRange(0, len(all)-1).Draw(rt, "which")]
					h.decrypts(t, s.blob, s.ctx, s.text)
					if _, err := h.call(kmsapi.OpDecrypt, &kmsapi.DecryptInput{CiphertextBlob: s.blob, EncryptionContext: map[string]string{"z": "z"}}); err == nil {
						rt.Fatal("a ciphertext opens with another context")
					}
				}
			},
		})
	})
}
