package secrets_test

import (
	"strings"
	"testing"

	"arca/internal/api/kmsapi"
	"arca/internal/api/smapi"
	"arca/internal/secrets"
	"arca/internal/store"
)

// threeVersions makes a secret under a key ("" for the default one) with a version
// without labels, one with a label of its own, the previous and the current one.
func (b *bed) threeVersions(t testing.TB, key string) {
	t.Helper()
	b.create(t, "s", underKey(key))
	b.put(t, "s", 2)
	b.put(t, "s", 3, "MINE")
	b.put(t, "s", 4)
}

// readVersions reads all versions of the secret of threeVersions, or those that can be:
// "2:value 2 3:-".
func (b *bed) readVersions(t testing.TB, options ...callOption) string {
	t.Helper()
	var list []string
	for n := 1; n <= 4; n++ {
		got := "-"
		out, err := do[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: b.arn(t, "s"), VersionId: token(n)}, options...)
		if err == nil {
			got = string(*out.SecretString)
		}
		list = append(list, itoa(n)+":"+got)
	}
	return strings.Join(list, " ")
}

const allVersions = "1:value of s 2:value 2 3:value 3 4:value 4"

// A change of key takes the versions along that carry AWS's labels, and leaves their
// former key beside the new one, however the secret is stored.
func TestChangeOfKey(t *testing.T) {
	t.Run("now", func(t *testing.T) { testChangeOfKey(t, false) })
	t.Run("as former versions left it", func(t *testing.T) { testChangeOfKey(t, true) })
}

func testChangeOfKey(t *testing.T, format4 bool) {
	b := newHouse(t)
	defer b.check(t)
	const def = "DefaultEncryptionKey"
	a, z := b.key(t, ""), b.key(t, "")
	b.threeVersions(t, "")
	to := func(key, want string) {
		t.Helper()
		if format4 {
			b.asFormat4(t, "s")
		}
		must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", key))
		if got := b.versionKeys(t, "s"); got != want {
			t.Errorf("keys after the change to %q = %s, want %s", key, got, want)
		}
		if got := b.readVersions(t); got != allVersions {
			t.Errorf("after the change to %q: versions %s", key, got)
		}
		b.check(t)
	}
	to("", "1:"+def+" 2:"+def+" 3:"+def+" 4:"+def)
	to(a.id, "1:"+def+" 2:"+a.arn+","+def+" 3:"+def+" 4:"+a.arn+","+def)
	to(a.arn, "1:"+def+" 2:"+a.arn+","+def+" 3:"+def+" 4:"+a.arn+","+def) // another name of it
	to(z.arn, "1:"+def+" 2:"+z.arn+","+a.arn+" 3:"+def+" 4:"+z.arn+","+a.arn)
	to(a.arn, "1:"+def+" 2:"+a.arn+","+z.arn+" 3:"+def+" 4:"+a.arn+","+z.arn)
	// Either key opens a version that has two.
	b.disable(t, a)
	if got := b.readVersions(t); got != allVersions {
		t.Errorf("without the new key: versions %s", got)
	}
	b.enable(t, a)
	b.disable(t, z)
	if got := b.readVersions(t); got != allVersions {
		t.Errorf("without the former key: versions %s", got)
	}
	b.disable(t, a)
	if got := b.readVersions(t); got != "1:value of s 2:- 3:value 3 4:-" {
		t.Errorf("without both: versions %s", got)
	}
	// The key can be changed all the same; what cannot be opened stays where it is.
	to2 := "1:" + def + " 2:" + a.arn + "," + z.arn + " 3:" + def + " 4:" + a.arn + "," + z.arn
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", ""))
	if got := b.versionKeys(t, "s"); got != to2 || b.describe(t, "s").KmsKeyId != nil {
		t.Errorf("keys = %s, want %s", got, to2)
	}
	b.enable(t, z)
	to("", "1:"+def+" 2:"+def+","+z.arn+" 3:"+def+" 4:"+def+","+z.arn)
	b.put(t, "s", 5)
	if got := b.versionKeys(t, "s"); !strings.HasSuffix(got, " 5:"+def) {
		t.Errorf("keys = %s", got)
	}
}

// With a value, the change makes a version under the new key alone.
func TestChangeOfKeyWithValue(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	const def = "DefaultEncryptionKey"
	a := b.key(t, "")
	b.threeVersions(t, "")
	in := rekey("s", a.arn)
	in.ClientRequestToken, in.SecretString = token(5), sensitive("five")
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, in)
	if got, want := b.versionKeys(t, "s"), "1:"+def+" 2:"+def+" 3:"+def+" 4:"+a.arn+","+def+" 5:"+a.arn; got != want {
		t.Errorf("keys = %s, want %s", got, want)
	}
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, in) // a repeat
	if got := b.read(t, "s"); got != "five" {
		t.Errorf("value = %q", got)
	}

	// To a default key that nobody has used: it is made once.
	b = newHouse(t)
	defer b.check(t)
	a = b.key(t, "")
	b.threeVersions(t, a.arn)
	in = rekey("s", "")
	in.ClientRequestToken, in.SecretString = token(5), sensitive("five")
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, in)
	if got, want := b.versionKeys(t, "s"), "1:"+a.arn+" 2:"+a.arn+" 3:"+a.arn+" 4:"+def+","+a.arn+" 5:"+def; got != want {
		t.Errorf("keys = %s, want %s", got, want)
	}
}

// Who may not decrypt under the old key or not encrypt under the new one changes the key
// for new versions only.
func TestChangeOfKeyByPermission(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	a, z := b.key(t, ""), b.key(t, "")
	stays := "1:" + a.arn + " 2:" + a.arn
	moves := "1:" + z.arn + "," + a.arn + " 2:" + z.arn + "," + a.arn
	may := func(k customerKey, actions string) string {
		return `{"Effect":"Allow","Action":[` + actions + `],"Resource":"` + k.arn + `"}`
	}
	const use = `"kms:GenerateDataKey","kms:Decrypt"`
	for _, tc := range []struct {
		name   string
		allow  []string
		change string // the answer, "" for none
		want   string
	}{
		{"nothing", nil, keyDenied, stays},
		{"only the old key", []string{may(a, use)}, keyDenied, stays},
		{"only to generate", []string{may(a, use), may(z, `"kms:GenerateDataKey"`)}, keyDenied, stays},
		{"not to encrypt", []string{may(a, use), may(z, use)}, "", stays},
		{"not the old key", []string{may(z, use+`,"kms:Encrypt"`)}, "", stays},
		{"all of it", []string{may(a, `"kms:Decrypt"`), may(z, use+`,"kms:Encrypt"`)}, "", moves},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.create(t, "s", underKey(a.arn))
			b.put(t, "s", 2)
			u := b.user(t, bedAccount, strings.ReplaceAll(tc.name, " ", "-"), `{"Version":"2012-10-17","Statement":[`+
				strings.Join(append([]string{`{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*"}`}, tc.allow...), ",")+`]}`)
			n := len(b.keyRecords(t, 0))
			if tc.change != "" {
				refused(t, b, smapi.OpUpdateSecret, rekey("s", z.arn), tc.change, u)
			} else {
				must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", z.arn), u)
				if d := b.keyRecords(t, n)[0].Arca.Denied; d != nil {
					t.Errorf("audit record says %+v", d)
				}
				b.put(t, "s", 3, "NEW")
				if got := b.versionKeys(t, "s"); !strings.HasSuffix(got, " 3:"+z.arn) {
					t.Errorf("keys = %s, want the new version under the new key", got)
				}
				must[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "NEW", RemoveFromVersionId: token(3)})
			}
			if got := b.versionKeys(t, "s"); !strings.HasPrefix(got, tc.want) {
				t.Errorf("keys = %s, want %s", got, tc.want)
			}
			// Somebody who may can make up for it.
			if tc.change == "" {
				must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", z.arn))
				if got := b.versionKeys(t, "s"); !strings.HasPrefix(got, moves) {
					t.Errorf("keys = %s, want %s", got, moves)
				}
			}
			must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s", ForceDeleteWithoutRecovery: new(true)})
		})
	}
}

// A secret reaches another account when its policy, the key's policy and the policy of
// the caller all say so. Each one that is missing denies.
func TestKeyAcrossAccounts(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	const theirs = `{"Effect":"Allow","Principal":{"AWS":"` + otherAccount + `"},"Action":["kms:Decrypt","kms:GenerateDataKey"],"Resource":"*"}`
	const share = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + otherAccount + `"},"Action":["secretsmanager:GetSecretValue","secretsmanager:PutSecretValue","secretsmanager:UpdateSecret"],"Resource":"*"}}`
	k := b.key(t, "")
	b.alias(t, "alias/shared", k)
	b.create(t, "s", underKey(k.arn))
	id := b.arn(t, "s")
	ann := b.user(t, otherAccount, "ann", "")
	statement := func(action, resource string) string {
		return `{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}`
	}
	sm, decrypt := statement("secretsmanager:*", "*"), statement("kms:*", k.arn)

	for mask := range 16 {
		var own []string
		keyText, secretText := keyPolicy(), strings.ReplaceAll(share, otherAccount, bedAccount)
		if mask&1 != 0 {
			secretText = share
		}
		if mask&2 != 0 {
			keyText = keyPolicy(theirs)
		}
		if mask&4 != 0 {
			own = append(own, sm)
		}
		if mask&8 != 0 {
			own = append(own, decrypt)
		}
		if len(own) == 0 {
			own = []string{statement("s3:*", "*")}
		}
		b.putPolicy(t, "s", secretText)
		b.setKeyPolicy(t, k, keyText)
		b.setPolicy(t, otherAccount, "ann", `{"Version":"2012-10-17","Statement":[`+strings.Join(own, ",")+`]}`)
		_, err := b.call(smapi.OpGetSecretValue, get(id), ann)
		if mask == 15 {
			if err != nil {
				t.Errorf("all policies allow, and the answer is %v", err)
			}
			continue
		}
		want := "AccessDeniedException"
		if mask&5 == 5 {
			want = keyDenied // the secret's side is content
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("policies %04b: error %v, want %s", mask, err, want)
		}
	}

	// Now that all of them say so.
	must[smapi.PutSecretValueOutput](t, b, smapi.OpPutSecretValue, putInput(id, 2), ann)
	must[smapi.PutSecretValueOutput](t, b, smapi.OpPutSecretValue, putInput(id, 2), ann)
	if got := b.read(t, "s"); got != "value 2" {
		t.Errorf("value = %q", got)
	}
	// Keys that the two accounts name alike are not the same.
	for _, name := range []string{k.id, "alias/shared"} {
		refused(t, b, smapi.OpUpdateSecret, rekey(id, name), invalidKey+"the secret is in another account, so the key must be named by its ARN", ann)
	}
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey(id, aliasARN("alias/shared")), ann)
	const foreign = "InvalidRequestException: You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."
	must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "own", ClientRequestToken: token(1), SecretString: sensitive("x")}, root(otherAccount))
	for _, name := range []string{"", "alias/aws/secretsmanager", "arn:aws:kms:" + bedRegion + ":" + otherAccount + ":alias/aws/secretsmanager", aliasARN("alias/aws/secretsmanager")} {
		refused(t, b, smapi.OpUpdateSecret, rekey(id, name), foreign, ann)
	}

	// A key of the other account, for a secret of this one.
	theirKey := must[kmsapi.CreateKeyOutput](t, b, kmsapi.OpCreateKey, &kmsapi.CreateKeyInput{}, root(otherAccount)).KeyMetadata
	refused(t, b, smapi.OpUpdateSecret, rekey("s", *theirKey.Arn), keyDenied)
	must[kmsapi.PutKeyPolicyOutput](t, b, kmsapi.OpPutKeyPolicy, &kmsapi.PutKeyPolicyInput{KeyId: theirKey.KeyId, Policy: `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":["` + otherAccount + `","` + bedAccount + `"]},"Action":"kms:*","Resource":"*"}]}`}, root(otherAccount))
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", *theirKey.Arn))
	if got, want := b.versionKeys(t, "s"), "1:"+*theirKey.Arn+","+k.arn+" 2:"+*theirKey.Arn+","+k.arn; got != want {
		t.Errorf("keys = %s, want %s", got, want)
	}
	// Without its key, but with the former one.
	must[kmsapi.DisableKeyOutput](t, b, kmsapi.OpDisableKey, &kmsapi.DisableKeyInput{KeyId: theirKey.KeyId}, root(otherAccount))
	if got := b.read(t, "s"); got != "value 2" {
		t.Errorf("value = %q", got)
	}
}

// A grant lets a user in whom no policy does.
func TestKeyGrant(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	k := b.key(t, "")
	b.create(t, "s", underKey(k.arn))
	u := b.user(t, bedAccount, "u", allow(`"Action":"secretsmanager:*","Resource":"*"`))
	refused(t, b, smapi.OpGetSecretValue, get("s"), keyDenied, u)
	must[kmsapi.CreateGrantOutput](t, b, kmsapi.OpCreateGrant, &kmsapi.CreateGrantInput{
		KeyId: k.id, GranteePrincipal: new("arn:aws:iam::" + bedAccount + ":user/u"), Operations: []string{"Decrypt"},
		Constraints: &kmsapi.GrantConstraints{EncryptionContextSubset: map[string]string{"SecretARN": b.arn(t, "s")}},
	}, root(bedAccount))
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, get("s"), u)
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 2), keyDenied, u)
	b.create(t, "other", underKey(k.arn))
	refused(t, b, smapi.OpGetSecretValue, get("other"), keyDenied, u)
}

// What changes keys fails at each of its commits in every way, and converges.
func TestEveryCommitOfKeys(t *testing.T) {
	var k customerKey
	setup := func(t *testing.T, b *bed) { k = b.key(t, ""); b.create(t, "s"); b.put(t, "s", 2) }
	for _, tc := range []struct {
		name string
		do   func(t *testing.T, b *bed) error
		want func() string
	}{
		{"CreateSecret",
			func(t *testing.T, b *bed) error {
				return tried[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), SecretString: sensitive("v"), KmsKeyId: &k.id})
			},
			func() string { return "1:" + k.arn }},
		{"UpdateSecret",
			func(t *testing.T, b *bed) error {
				return tried[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", k.arn))
			},
			func() string { return "1:" + k.arn + ",DefaultEncryptionKey 2:" + k.arn + ",DefaultEncryptionKey" }},
		{"UpdateSecret with value",
			func(t *testing.T, b *bed) error {
				in := rekey("s", k.arn)
				in.ClientRequestToken, in.SecretString = token(3), sensitive("v")
				return tried[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, in)
			},
			func() string { return "1:DefaultEncryptionKey 2:" + k.arn + ",DefaultEncryptionKey 3:" + k.arn }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everyCommit(t, setup, tc.do, func(t *testing.T, b *bed) {
				name := "s"
				if tc.name == "CreateSecret" {
					name = "n"
				}
				if got := b.versionKeys(t, name); got != tc.want() {
					t.Errorf("keys = %s, want %s", got, tc.want())
				}
				b.read(t, name)
			})
		})
	}
}

// A data key that lies under another key than the version names does not open: the
// decision was about the key that is named.
func TestSwappedKey(t *testing.T) {
	b := newHouse(t)
	a, z := b.key(t, ""), b.key(t, "")
	b.create(t, "s", underKey(a.arn))
	b.spoil(t, "s", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
		sec.Versions[0].KMSKeyID = z.arn
		w.Secret(tx, sec)
	})
	refused(t, b, smapi.OpGetSecretValue, get("s"), noDecryption)
	if found := b.problems(t); len(found) != 1 || !strings.Contains(found[0], "does not open") {
		t.Errorf("problems = %q", found)
	}
	b.spoil(t, "s", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
		sec.Versions[0].KMSKeyID, sec.Versions[0].FormerKMSKeyIDs = a.arn, []string{z.arn}
		w.Secret(tx, sec)
	})
	if found := b.problems(t); len(found) != 1 || !strings.Contains(found[0], "former keys") {
		t.Errorf("problems = %q", found)
	}
	b.spoil(t, "s", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
		sec.Versions[0].FormerKMSKeyIDs = nil
		w.Secret(tx, sec)
	})
}
