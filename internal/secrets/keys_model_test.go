package secrets_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/api/smapi"
)

// Whatever is done to a secret and its keys: a version opens when, and only when, one of
// the keys can be used that it was sealed or put under.
func TestKeysModel(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	keys := []customerKey{{arn: ""}, b.key(t, ""), b.key(t, "")} // 0 is the default key
	secret := 0
	rapid.Check(t, func(rt *rapid.T) {
		secret++
		name := "s" + itoa(secret)
		disabled := make([]bool, len(keys))
		for _, k := range keys[1:] {
			b.enable(t, k)
		}
		var versions [][]int // their keys, the newest first
		current, previous := -1, -1
		key := rapid.IntRange(0, 2).Draw(rt, "first key")
		b.create(t, name, underKey(keys[key].arn))
		versions, current = append(versions, []int{key}), 0

		draw := func(rt *rapid.T) int { return rapid.IntRange(0, 2).Draw(rt, "key") }
		expect := func(rt *rapid.T, got string, want string) {
			if got != want {
				rt.Fatalf("code %q, want %q", got, want)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"disable": func(rt *rapid.T) {
				if k := draw(rt); k > 0 {
					b.disable(t, keys[k])
					disabled[k] = true
				}
			},
			"enable": func(rt *rapid.T) {
				if k := draw(rt); k > 0 {
					b.enable(t, keys[k])
					disabled[k] = false
				}
			},
			"put": func(rt *rapid.T) {
				if len(versions) >= 8 {
					rt.Skip("enough versions")
				}
				got := b.code(t, smapi.OpPutSecretValue, putInput(name, len(versions)+1))
				if disabled[key] {
					expect(rt, got, "EncryptionFailure")
					return
				}
				expect(rt, got, "")
				versions = append(versions, []int{key})
				previous, current = current, len(versions)-1
			},
			"change the key": func(rt *rapid.T) {
				to := draw(rt)
				got := b.code(t, smapi.OpUpdateSecret, rekey(name, keys[to].arn))
				if disabled[to] && to != key {
					expect(rt, got, "EncryptionFailure")
					return
				}
				expect(rt, got, "")
				key = to
				for _, n := range []int{current, previous} {
					if n < 0 || versions[n][0] == to || disabled[to] {
						continue
					}
					i := slices.IndexFunc(versions[n], func(k int) bool { return k != to && !disabled[k] })
					if i >= 0 {
						versions[n] = []int{to, versions[n][i]}
					}
				}
			},
			"": func(rt *rapid.T) {
				n := rapid.IntRange(0, len(versions)-1).Draw(rt, "version")
				want := "DecryptionFailure"
				if slices.ContainsFunc(versions[n], func(k int) bool { return !disabled[k] }) {
					want = ""
				}
				expect(rt, b.code(t, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: name, VersionId: token(n + 1)}), want)
			},
		})
	})
}
