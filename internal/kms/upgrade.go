package kms

import (
	"context"

	"arca/internal/store"
)

// upgradeBatch is how many records one transaction of Upgrade changes.
const upgradeBatch = 100

// Upgrade tells the aliases in data of a release that knew only default keys which
// account and region they are in. It changes nothing otherwise.
func (s *Service) Upgrade(ctx context.Context) error {
	for more := true; more; {
		_, err := s.store.Update(ctx, func(tx *store.Tx) error {
			n := 0
			// Without an account they come first.
			each(s.aliases, tx.Snap, byName, scope("", "")+"\x00", func(a *Alias) bool {
				key := s.find(tx.Snap, a.KeyID)
				if key == nil {
					return true // Check reports it
				}
				named := *a
				named.Account, named.Region = key.Account, key.Region
				named.Created, named.Updated = key.Created, key.Created
				s.aliases.Put(tx, aliasKey(key.scope(), a.Name), &named)
				n++
				return n < upgradeBatch
			})
			more = n == upgradeBatch
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
