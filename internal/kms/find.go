package kms

import (
	"strings"

	"arca/internal/api/kmsapi"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/store"
)

// Records that finders return are shared and must not be modified.

// Owner is to whom something encrypted belongs: an account in a region. What names a
// key without naming its account means the owner's.
type Owner struct{ Account, Region string }

// named is what a KeyId names.
type named struct {
	key *Key
	// alias is the name by which the key was asked for, if it was.
	alias string
	// arn and account are those of the key or, if it does not exist, what it would be
	// called: the ARN of an alias when that is unknown.
	arn     string
	account string
}

// resolve finds what a KeyId names, as AWS's clients write it: a key id, an alias with
// its prefix, or the ARN of either. Keys of other accounts can be named by ARN only. The
// key is nil when there is none; missing is then what a caller is told who may know it.
func (s *Service) resolve(v *store.Snap, owner Owner, keyID string) (n named, missing error) {
	account, resource := owner.Account, keyID
	if arn.IsARN(keyID) {
		a, err := arn.Parse(keyID)
		if err != nil || a.Service != "kms" || !arn.ValidAccount(a.Account) {
			return named{}, kmsapi.InvalidArnException.Errorf("Invalid arn %s", keyID)
		}
		if a.Region != owner.Region || arnOf(a.Account, a.Region, a.Resource) != keyID {
			return named{}, kmsapi.NotFoundException.Errorf("Invalid arn %s", a.Region)
		}
		account, resource = a.Account, a.Resource
		if !isAlias(resource) {
			id, ok := strings.CutPrefix(resource, "key/")
			if !ok {
				return named{}, kmsapi.InvalidArnException.Errorf("Invalid arn %s", keyID)
			}
			resource = id
		}
	}
	n = named{account: account}
	if isAlias(resource) {
		n.alias, n.arn = resource, arnOf(account, owner.Region, resource)
		a, ok := s.aliases.Get(v, aliasKey(scope(account, owner.Region), resource))
		if !ok {
			return n, kmsapi.NotFoundException.Errorf("Alias %s is not found.", n.arn)
		}
		if n.key = s.find(v, a.KeyID); n.key != nil {
			n.arn = n.key.ARN()
			return n, nil
		}
		return n, kmsapi.NotFoundException.Errorf("Alias %s is not found.", n.arn)
	}
	id, ok := parseID(resource)
	if !ok {
		return named{}, kmsapi.NotFoundException.Errorf("Invalid keyId '%s'", resource)
	}
	n.arn = arnOf(account, owner.Region, "key/"+resource)
	if k := s.find(v, id); k != nil && k.Account == account && k.Region == owner.Region {
		n.key = k
		return n, nil
	}
	return n, kmsapi.NotFoundException.Errorf("Key '%s' does not exist", n.arn)
}

func isAlias(s string) bool { return strings.HasPrefix(s, "alias/") }

// Find returns the key that the owner of something names: "" and the alias
// SecretsManagerAlias mean the owner's default key, which is nil until it is first used;
// else a key id, the name of an alias, or the ARN of either, which may be another
// account's. The error is an *api.Error of KMS that says there is no such key. Whether
// the caller may know that, Use has to be asked for first.
func (s *Service) Find(v *store.Snap, owner Owner, keyID string) (*Key, error) {
	if keyID == "" {
		keyID = SecretsManagerAlias
	}
	n, missing := s.resolve(v, owner, keyID)
	if n.key == nil && n.alias == SecretsManagerAlias && n.account == owner.Account {
		return nil, nil
	}
	return n.key, missing
}

// callersOwn is what names in a request of the caller are relative to.
func callersOwn(c *call.Call) Owner { return Owner{Account: c.Caller.Account, Region: c.Region} }

// DefaultKeyID returns the id of the account's aws/secretsmanager key, if it has
// been used yet.
func (s *Service) DefaultKeyID(v *store.Snap, account, region string) (string, bool) {
	a, ok := s.aliases.Get(v, aliasKey(scope(account, region), SecretsManagerAlias))
	if !ok {
		return "", false
	}
	return IDText(a.KeyID), true
}

func (s *Service) find(v *store.Snap, id envelope.KeyID) (found *Key) {
	want := string(id[:])
	s.keys.Ascend(v, byID, want, func(k string, r *Key) bool {
		if k == want {
			found = r
		}
		return false
	})
	return found
}

// aliasesOf visits the aliases of a key in the order of their names while fn returns
// true.
func (s *Service) aliasesOf(v *store.Snap, key *Key, fn func(a *Alias) bool) {
	each(s.aliases, v, byKey, string(key.ID[:])+"\x00", fn)
}

// each visits the records whose index key begins with prefix.
func each[T any](t *store.Table[T], v *store.Snap, index, prefix string, fn func(r *T) bool) {
	t.Ascend(v, index, prefix, func(k string, r *T) bool { return strings.HasPrefix(k, prefix) && fn(r) })
}

// from visits the records whose index key begins with prefix, after the position that
// follows the prefix in a key, with their positions.
func from[T any](t *store.Table[T], v *store.Snap, index, prefix, after string, fn func(position string, r *T) bool) {
	t.Ascend(v, index, prefix+after, func(k string, r *T) bool {
		position, ok := strings.CutPrefix(k, prefix)
		return ok && fn(position, r)
	})
}
