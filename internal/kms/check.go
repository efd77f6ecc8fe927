package kms

import (
	"context"
	"fmt"

	"arca/internal/store"
)

// Check reports keys whose material does not open, keys of AWS's kind that no alias
// names, and aliases and grants whose key does not exist.
func (s *Service) Check(v *store.Snap, report func(problem string)) {
	s.keys.Ascend(v, byID, "", func(_ string, k *Key) bool {
		if len(k.Material) == 0 {
			report("key " + IDText(k.ID) + " has no material")
		}
		for i := range k.Material {
			if i > 0 && k.Material[i].Version <= k.Material[i-1].Version {
				report("versions of key " + IDText(k.ID) + " are not in order")
			}
			fresh, err := s.unseal(k, &k.Material[i])
			if err != nil {
				report(err.Error())
				continue
			}
			fresh.Wipe()
		}
		if id, _ := s.DefaultKeyID(v, k.Account, k.Region); k.IsDefault() && id != IDText(k.ID) {
			report("key " + IDText(k.ID) + " of " + k.scope() + " is not the one " + SecretsManagerAlias + " names there")
		}
		return true
	})
	// Aliases and grants lie in memory like keys: nothing is waited for.
	err := s.aliases.Walk(context.Background(), v, func(a *Alias) error {
		if s.find(v, a.KeyID) == nil {
			report("alias " + a.Name + " names key " + IDText(a.KeyID) + ", which does not exist")
		}
		return nil
	})
	if err != nil {
		report("aliases cannot be read: " + err.Error())
	}
	err = s.grants.Walk(context.Background(), v, func(g *Grant) error {
		if k := s.find(v, g.KeyID); k == nil || k.Account != g.Account || k.Region != g.Region {
			report(fmt.Sprintf("grant %s is on key %s, which does not exist in %s", g.ID, IDText(g.KeyID), scope(g.Account, g.Region)))
		}
		return nil
	})
	if err != nil {
		report("grants cannot be read: " + err.Error())
	}
}
