package kms

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// A grant counts for everybody as soon as CreateGrant has answered, so nobody needs its
// token to use it. A token names a grant nevertheless, for RetireGrant; it is sealed, so
// that nobody can make one, and gives no permission by itself.
const (
	tokenPurpose = "page-token"
	tokenAD      = "kms-grant-token"
	grantIDBytes = 32
)

// grantToken seals the name of a grant.
func (s *Service) grantToken(g *Grant) (*api.SensitiveString, error) {
	sealed, err := s.store.Seal(tokenPurpose, append(g.KeyID[:], g.ID...), []byte(tokenAD))
	if err != nil {
		return nil, fmt.Errorf("seal grant token: %w", err)
	}
	return new(api.SensitiveString(base64.RawURLEncoding.EncodeToString(sealed))), nil
}

// namedGrant is what a token names.
type namedGrant struct {
	key envelope.KeyID
	id  string
}

// openTokens opens the grant tokens of a request.
func (s *Service) openTokens(tokens []api.SensitiveString) ([]namedGrant, error) {
	var all []namedGrant
	for _, t := range tokens {
		sealed, err := base64.RawURLEncoding.Strict().DecodeString(string(t))
		if err != nil {
			return nil, errToken()
		}
		plain, err := s.store.Unseal(tokenPurpose, sealed, []byte(tokenAD))
		if err != nil || plain.Len() != len(envelope.KeyID{})+2*grantIDBytes {
			return nil, errToken()
		}
		b := plain.Bytes()
		all = append(all, namedGrant{key: envelope.KeyID(b[:len(envelope.KeyID{})]), id: string(b[len(envelope.KeyID{}):])})
	}
	return all, nil
}

// errToken has a text of ours: AWS's is not known.
func errToken() error {
	return kmsapi.InvalidGrantTokenException.Errorf("The grant token is not valid.")
}

// grantOperations are those that a grant on a symmetric key can be for.
func grantOperations() []string {
	return []string{
		"CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
		"ReEncryptFrom", "ReEncryptTo", "RetireGrant",
	}
}

// CreateGrant lets a principal use a key for some operations.
func (s *Service) CreateGrant(ctx context.Context, c *call.Call, in *kmsapi.CreateGrantInput) (*kmsapi.CreateGrantOutput, error) {
	var random [grantIDBytes]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	id := hex.EncodeToString(random[:])
	var made *Grant
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		g := &Grant{
			ID: id, Name: text(in.Name), Operations: slices.Compact(slices.Sorted(slices.Values(in.Operations))),
			Created: c.Now.UnixMilli(), Issuer: iam.RootARN(c.Caller.Account),
		}
		if in.Constraints != nil {
			g.Subset, g.Equals = in.Constraints.EncryptionContextSubset, in.Constraints.EncryptionContextEquals
		}
		w := want{action: "CreateGrant", keyID: in.KeyId, foreign: true, keys: grantKeys(in), proposed: g}
		key, err := s.loadUsable(ctx, c, tx.Snap, &w, in.GrantTokens)
		if err != nil {
			return err
		}
		g.KeyID, g.Account, g.Region = key.ID, key.Account, key.Region
		if err := checkGrant(in); err != nil {
			return err
		}
		if g.Grantee, err = s.storedPrincipal(tx.Snap, text(in.GranteePrincipal)); err != nil {
			return err
		}
		if in.RetiringPrincipal != nil {
			if g.Retiring, err = s.storedPrincipal(tx.Snap, *in.RetiringPrincipal); err != nil {
				return err
			}
		}
		if err := errDryRun(in.DryRun); err != nil {
			return err
		}
		if made = s.sameGrant(tx.Snap, g); made != nil {
			return nil
		}
		if err := s.checkGrantQuota(tx.Snap, key); err != nil {
			return err
		}
		made = g
		if g.Name == "" {
			s.keys.Guard(tx, keyKey(key))
		} else {
			// That no such grant is there was read from a list, which says nothing of a
			// grant on its way: grants with names follow each other by writing the key.
			s.keys.Put(tx, keyKey(key), key)
		}
		s.grants.Put(tx, grantKey(key, id), g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	token, err := s.grantToken(made)
	if err != nil {
		return nil, err
	}
	return &kmsapi.CreateGrantOutput{GrantId: &made.ID, GrantToken: token}, nil
}

// grantKeys are the condition keys of a grant that is to be made.
func grantKeys(in *kmsapi.CreateGrantInput) []policy.ContextKey {
	keys := []policy.ContextKey{contextKey("kms:GrantOperations", in.Operations...), contextKey("kms:GrantIsForAWSResource", "false")}
	if in.GranteePrincipal != nil {
		keys = append(keys, contextKey("kms:GranteePrincipal", *in.GranteePrincipal))
	}
	if in.RetiringPrincipal != nil {
		keys = append(keys, contextKey("kms:RetiringPrincipal", *in.RetiringPrincipal))
	}
	if c := in.Constraints; c != nil {
		kind := contextKey("kms:GrantConstraintType")
		if c.EncryptionContextEquals != nil {
			kind.Values = append(kind.Values, "EncryptionContextEquals")
		}
		if c.EncryptionContextSubset != nil {
			kind.Values = append(kind.Values, "EncryptionContextSubset")
		}
		keys = append(keys, kind)
	}
	return keys
}

// The bounds of a grant's constraints.
// https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html
const (
	maxConstraintPairs = 8
	maxConstraintChars = 384
)

// checkGrant holds a grant to what AWS states, and refuses by name what is not served.
// The texts are ours.
func checkGrant(in *kmsapi.CreateGrantInput) error {
	switch {
	case in.GranteeServicePrincipal != nil:
		return kmsapi.ValidationException.Errorf("GranteeServicePrincipal is not supported: name the role that the service acts under.")
	case in.RetiringServicePrincipal != nil:
		return kmsapi.ValidationException.Errorf("RetiringServicePrincipal is not supported.")
	case in.Constraints != nil && in.Constraints.SourceArn != nil:
		return kmsapi.ValidationException.Errorf("SourceArn is not supported.")
	case in.GranteePrincipal == nil:
		return kmsapi.ValidationException.Errorf("GranteePrincipal is required.")
	case len(in.Operations) == 0:
		return kmsapi.ValidationException.Errorf("A grant must be for at least one operation.")
	}
	for _, op := range in.Operations {
		if !slices.Contains(grantOperations(), op) {
			return kmsapi.ValidationException.Errorf("Grant operation %s is not supported for a key with key spec %s.", op, symmetricDefault)
		}
	}
	if in.Constraints == nil {
		return nil
	}
	for _, pairs := range []map[string]string{in.Constraints.EncryptionContextEquals, in.Constraints.EncryptionContextSubset} {
		// No pairs at all would mean everything in one of the two, and nothing in the other.
		if pairs != nil && (len(pairs) == 0 || len(pairs) > maxConstraintPairs) {
			return kmsapi.ValidationException.Errorf("A grant constraint has 1 to %d encryption context pairs.", maxConstraintPairs)
		}
		for _, value := range pairs {
			if len(value) > maxConstraintChars {
				return kmsapi.ValidationException.Errorf("A value in a grant constraint has at most %d characters.", maxConstraintChars)
			}
		}
	}
	return nil
}

// storedPrincipal is the form in which the principal of a grant is kept.
func (s *Service) storedPrincipal(v *store.Snap, name string) (string, error) {
	p, err := policy.ParseAWSPrincipal(name)
	if err == nil && p.Kind != policy.AnyAWS && p.Kind != policy.UniqueID {
		if form, ok := s.iam.ResolvePrincipal(v, p); ok {
			return form, nil
		}
	}
	return "", kmsapi.InvalidArnException.Errorf("ARN does not refer to a valid principal: %s", name)
}

// shownPrincipal is the other way: its ARN, or the unique id of who is gone.
func (s *Service) shownPrincipal(v *store.Snap, stored string) string {
	p, err := policy.ParseAWSPrincipal(stored)
	if err != nil {
		return stored
	}
	shown, _ := s.iam.ShowPrincipal(v, p)
	return shown
}

// sameGrant finds a grant with this name and all else alike: a repeated call gets it
// again. Grants without a name are never the same.
func (s *Service) sameGrant(v *store.Snap, g *Grant) (same *Grant) {
	if g.Name == "" {
		return nil
	}
	each(s.grants, v, byGrantee, granteeKey(g.KeyID, g.Grantee), func(o *Grant) bool {
		if o.Name == g.Name && o.Retiring == g.Retiring && o.Issuer == g.Issuer && slices.Equal(o.Operations, g.Operations) &&
			maps.Equal(o.Equals, g.Equals) && maps.Equal(o.Subset, g.Subset) {
			same = o
		}
		return same == nil
	})
	return same
}

// checkGrantQuota counts the grants of a key, once there are enough of them anywhere.
func (s *Service) checkGrantQuota(v *store.Snap, key *Key) error {
	if s.grants.Count(key.scope()) < s.quotas.grants {
		return nil
	}
	n := 0
	each(s.grants, v, byKey, string(key.ID[:])+"\x00", func(*Grant) bool { n++; return n < s.quotas.grants })
	if n >= s.quotas.grants {
		return kmsapi.LimitExceededException.Errorf("You can't have more than %d grants for a KMS key.", s.quotas.grants)
	}
	return nil
}

// grantEntry is a grant as lists show it.
func (s *Service) grantEntry(v *store.Snap, g *Grant) kmsapi.GrantListEntry {
	e := kmsapi.GrantListEntry{
		KeyId: new(arnOf(g.Account, g.Region, "key/"+IDText(g.KeyID))), GrantId: &g.ID, CreationDate: timeOf(g.Created),
		GranteePrincipal: new(s.shownPrincipal(v, g.Grantee)), IssuingAccount: &g.Issuer, Operations: g.Operations,
	}
	if g.Name != "" {
		e.Name = &g.Name
	}
	if g.Retiring != "" {
		e.RetiringPrincipal = new(s.shownPrincipal(v, g.Retiring))
	}
	if g.Equals != nil || g.Subset != nil {
		e.Constraints = &kmsapi.GrantConstraints{EncryptionContextEquals: g.Equals, EncryptionContextSubset: g.Subset}
	}
	return e
}

// ListGrants lists the grants of a key.
func (s *Service) ListGrants(ctx context.Context, c *call.Call, in *kmsapi.ListGrantsInput) (*kmsapi.ListGrantsOutput, error) {
	p, err := s.newPager(c, in.Marker, in.Limit, 50, 100, in.KeyId, text(in.GrantId), text(in.GranteePrincipal))
	if err != nil {
		return nil, err
	}
	w := want{action: "ListGrants", keyID: in.KeyId, foreign: true, keys: []policy.ContextKey{contextKey("kms:GrantIsForAWSResource", "false")}}
	var list []kmsapi.GrantListEntry
	err = s.store.View(ctx, func(v *store.Snap) error {
		p.Begin()
		list = []kmsapi.GrantListEntry{}
		key, err := s.load(ctx, c, v, &w)
		if err != nil {
			return err
		}
		if in.GrantId != nil && !isGrantID(*in.GrantId) {
			return errGrantID(*in.GrantId)
		}
		index, prefix := byKey, string(key.ID[:])+"\x00"
		if in.GranteePrincipal != nil {
			grantee, err := s.storedPrincipal(v, *in.GranteePrincipal)
			if err != nil {
				return err
			}
			index, prefix = byGrantee, granteeKey(key.ID, grantee)
		}
		if in.GranteeServicePrincipal != nil {
			return nil // no grant names a service
		}
		from(s.grants, v, index, prefix, p.After(), func(position string, g *Grant) bool {
			if in.GrantId != nil && g.ID != *in.GrantId {
				return true
			}
			take, more := p.Offer(position)
			if take {
				list = append(list, s.grantEntry(v, g))
			}
			return more
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListGrantsOutput{Grants: list}
	out.Truncated, out.NextMarker, err = p.End()
	return out, err
}

// ListRetirableGrants lists the grants in the region that a principal of the caller's
// account may retire, whosever keys they are on.
func (s *Service) ListRetirableGrants(ctx context.Context, c *call.Call, in *kmsapi.ListRetirableGrantsInput) (*kmsapi.ListRetirableGrantsOutput, error) {
	p, err := s.newPager(c, in.Marker, in.Limit, 50, 100, text(in.RetiringPrincipal))
	if err != nil {
		return nil, err
	}
	var list []kmsapi.GrantListEntry
	err = s.store.View(ctx, func(v *store.Snap) error {
		p.Begin()
		list = []kmsapi.GrantListEntry{}
		if err := s.askAll(ctx, c, v, "ListRetirableGrants"); err != nil {
			return err
		}
		switch {
		case in.RetiringServicePrincipal != nil && in.RetiringPrincipal == nil:
			return nil // no grant names a service
		case in.RetiringPrincipal == nil || in.RetiringServicePrincipal != nil:
			return kmsapi.ValidationException.Errorf("Specify either RetiringPrincipal or RetiringServicePrincipal.")
		}
		retiring, err := s.storedPrincipal(v, *in.RetiringPrincipal)
		if err != nil {
			return err
		}
		if parsed, err := policy.ParseAWSPrincipal(*in.RetiringPrincipal); err != nil || parsed.ARN.Account != c.Caller.Account {
			return kmsapi.InvalidArnException.Errorf("ARN does not refer to a valid principal: %s", *in.RetiringPrincipal)
		}
		from(s.grants, v, byRetiring, retiringKey(c.Region, retiring), p.After(), func(position string, g *Grant) bool {
			take, more := p.Offer(position)
			if take {
				list = append(list, s.grantEntry(v, g))
			}
			return more
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListRetirableGrantsOutput{Grants: list}
	out.Truncated, out.NextMarker, err = p.End()
	return out, err
}

// isGrantID reports whether s has the form of a grant id.
func isGrantID(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == grantIDBytes && strings.ToLower(s) == s
}

func errGrantID(id string) error {
	return kmsapi.InvalidGrantIdException.Errorf("Invalid grant ID: %s", id)
}

func errNoGrant(key *Key, id string) error {
	return kmsapi.NotFoundException.Errorf("Grant ID %s not found for key %s", id, key.ARN())
}

// findGrant finds a grant of a key.
func (s *Service) findGrant(v *store.Snap, key *Key, id string) (*Grant, error) {
	if !isGrantID(id) {
		return nil, errGrantID(id)
	}
	g, ok := s.grants.Get(v, grantKey(key, id))
	if !ok {
		return nil, errNoGrant(key, id)
	}
	return g, nil
}

// deleteGrant removes a grant, guarding its key.
func (s *Service) deleteGrant(tx *store.Tx, key *Key, id string) {
	s.keys.Guard(tx, keyKey(key))
	s.grants.Delete(tx, grantKey(key, id))
}

// RevokeGrant ends a grant. Who may is up to the key's policy.
func (s *Service) RevokeGrant(ctx context.Context, c *call.Call, in *kmsapi.RevokeGrantInput) (*kmsapi.RevokeGrantOutput, error) {
	w := want{action: "RevokeGrant", keyID: in.KeyId, foreign: true, keys: []policy.ContextKey{contextKey("kms:GrantIsForAWSResource", "false")}}
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		key, err := s.load(ctx, c, tx.Snap, &w)
		if err != nil {
			return err
		}
		if _, err := s.findGrant(tx.Snap, key, in.GrantId); err != nil {
			return err
		}
		if err := errDryRun(in.DryRun); err != nil {
			return err
		}
		s.deleteGrant(tx, key, in.GrantId)
		return nil
	})
	return nil, err
}

// RetireGrant ends a grant, for those whom it concerns itself: its retiring principal,
// its grantee if it is for RetireGrant, and the account that made it.
func (s *Service) RetireGrant(ctx context.Context, c *call.Call, in *kmsapi.RetireGrantInput) (*kmsapi.RetireGrantOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		key, id, err := s.retired(tx.Snap, c, in)
		if err != nil {
			return err
		}
		w := want{action: "RetireGrant"}
		g, missing := s.findGrant(tx.Snap, key, id)
		q := s.questionFor(c, &w, key, "")
		s.complete(tx.Snap, q)
		q.Grant = policy.Grant{}
		if g != nil {
			q.Grant = g.retirableBy(&c.Caller)
		}
		c.NoteOwned(key.Account, keyType, key.ARN())
		if err := c.Authorize(ctx, &q.Check); err != nil {
			return err
		}
		c.NoteResource(key.Account, keyType, key.ARN())
		if missing != nil {
			return missing
		}
		if err := errDryRun(in.DryRun); err != nil {
			return err
		}
		s.deleteGrant(tx, key, id)
		return nil
	})
	return nil, err
}

// retired finds key and grant that a request names: by a token, or by the key's ARN and
// the grant's id.
func (s *Service) retired(v *store.Snap, c *call.Call, in *kmsapi.RetireGrantInput) (*Key, string, error) {
	w := want{action: "RetireGrant"}
	switch {
	case in.GrantToken != nil && in.KeyId == nil && in.GrantId == nil:
		tokens, err := s.openTokens([]api.SensitiveString{*in.GrantToken})
		if err != nil {
			return nil, "", err
		}
		key := s.find(v, tokens[0].key)
		if key == nil || key.Region != c.Region {
			return nil, "", deniedForeign(c, &w, arnOf(c.Caller.Account, c.Region, "key/"+IDText(tokens[0].key)))
		}
		return key, tokens[0].id, nil
	case in.GrantToken == nil && in.KeyId != nil && in.GrantId != nil:
		n, missing := s.resolve(v, callersOwn(c), *in.KeyId)
		switch {
		case n.arn == "":
			return nil, "", missing
		case n.alias != "":
			return nil, "", kmsapi.InvalidArnException.Errorf("Key Aliases are not supported for this operation")
		case n.key == nil:
			return nil, "", deniedForeign(c, &w, n.arn)
		}
		return n.key, *in.GrantId, nil
	}
	return nil, "", kmsapi.ValidationException.Errorf("Specify either the grant token, or the key ID and the grant ID.")
}

// retirableBy is the permission that a grant gives to retire it.
func (g *Grant) retirableBy(p *call.Principal) policy.Grant {
	for _, who := range principalsOf(p) {
		if g.Retiring == who.stored || g.Grantee == who.stored && slices.Contains(g.Operations, "RetireGrant") || g.Issuer == who.stored {
			return policy.Grant{Name: "grant " + g.ID, To: who.how}
		}
	}
	return policy.Grant{}
}
