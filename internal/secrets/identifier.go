package secrets

import (
	"context"
	"strings"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

const (
	suffixLength = 6
	// anySuffix stands for the suffix of a secret that does not exist when the
	// authorizer is asked about it: policies end in it or in a star.
	anySuffix = "??????"
	arnPrefix = "arn:"
)

// identifier is a SecretId as it was sent, taken apart: a name, a full ARN or an ARN
// without its suffix.
type identifier struct {
	raw       string
	partition string
	account   string
	region    string
	name      string
	suffix    string // of a full ARN; empty otherwise
	foreign   bool   // cannot name a secret of this region: an ARN of something else
	others    bool   // of another account than the caller's
}

// checkName refuses a name, or a SecretId that is not an ARN, with characters that
// no name has. AWS answers so on every operation.
func checkName(name string) error {
	for i := range len(name) {
		if !nameCharacter(name[i]) {
			return smapi.ValidationException.Errorf("Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
		}
	}
	return nil
}

func nameCharacter(b byte) bool {
	return alphanumeric(b) || strings.IndexByte("-/_+=.@!", b) >= 0
}

func alphanumeric(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

// parseIdentifier takes a SecretId apart as seen by the caller: a bare name is one of
// the caller's account and region.
func parseIdentifier(c *call.Call, raw string) (identifier, error) {
	id := identifier{raw: raw, partition: c.Partition, account: c.Caller.Account, region: c.Region}
	if !strings.HasPrefix(raw, arnPrefix) {
		id.name = raw
		return id, checkName(raw)
	}
	// arn:partition:secretsmanager:region:account:secret:name-suffix
	part := strings.SplitN(raw, ":", 7)
	if len(part) >= 5 && accountID(part[4]) {
		id.account = part[4]
		id.others = id.account != c.Caller.Account
	}
	if len(part) != 7 || part[1] != c.Partition || part[2] != "secretsmanager" || part[3] != c.Region || id.account != part[4] || part[5] != "secret" {
		id.foreign = true
		return id, nil
	}
	id.name = part[6]
	// A name that itself ends in a hyphen and six characters makes its ARN without
	// suffix look like a full one. AWS reads it so, and does not find the secret.
	if cut := len(id.name) - suffixLength - 1; cut > 0 && id.name[cut] == '-' && allAlphanumeric(id.name[cut+1:]) {
		id.name, id.suffix = id.name[:cut], id.name[cut+1:]
	}
	return id, nil
}

func accountID(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func allAlphanumeric(s string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) {
			return false
		}
	}
	return true
}

// wouldBeARN is the resource the authorizer is asked about when nothing is found.
func (id *identifier) wouldBeARN() string {
	if id.foreign {
		return id.raw
	}
	suffix := id.suffix
	if suffix == "" {
		suffix = anySuffix
	}
	return secretARN(id.partition, id.region, id.account, id.name, suffix)
}

// find looks a secret up in the mirror. It decides nothing: what it finds must not
// show before the authorizer was asked.
func (s *Service) find(v *store.Snap, id *identifier) *Secret {
	if id.foreign || id.name == "" {
		return nil
	}
	sec := s.byNameKey(v, id.account+"/"+id.region+"\x00"+id.name)
	if sec == nil || id.suffix != "" && sec.Suffix != id.suffix {
		return nil
	}
	return sec
}

// byUID looks a secret up by its identity; nil when there is none. Lists and engines do so
// for many, which does not count as asking for one.
func (s *Service) byUID(v *store.Snap, scope string, uid UID) *Secret {
	for _, parent := range []string{uid.name(), uid.String()} {
		if sec, ok := s.secrets.Peek(v, store.Key{Scope: scope, Parent: parent}); ok && sec.UID == uid {
			return sec
		}
	}
	return nil
}

// byName looks a secret up by its exact name; nil when there is none.
func (s *Service) byName(v *store.Snap, scope, name string) *Secret {
	return s.byNameKey(v, nameKey(scope, name))
}

// byNameKey looks a secret up by its key in the index of names; nil when there is none.
// Among very many, the key of its record is found more quickly than its place in the index.
func (s *Service) byNameKey(v *store.Snap, key string) *Secret {
	scope, name, _ := strings.Cut(key, "\x00")
	if sec, ok := s.secrets.Get(v, store.Key{Scope: scope, Parent: parentOf(nameHash(s.store, key))}); ok && sec.Name == name {
		return sec
	}
	found, _ := s.secrets.Find(v, indexName, key) // record formats 1 to 4
	return found
}

// load finds the secret that a SecretId names and asks whether the caller may do
// action to it; keys are the operation's own condition keys. The order is that of
// AWS: form of the name, permission, existence. A secret that is missing is asked
// about too, so that only those who may act on it learn that it is not there.
//
// The record is shared: clone before changing it.
func (s *Service) load(ctx context.Context, c *call.Call, v *store.Snap, action, secretID string, keys ...policy.ContextKey) (*Secret, error) {
	sec, _, err := s.loadNamed(ctx, c, v, action, secretID, keys...)
	return sec, err
}

// loadNamed is load for operations that need the secret's ARN as well.
func (s *Service) loadNamed(ctx context.Context, c *call.Call, v *store.Snap, action, secretID string, keys ...policy.ContextKey) (sec *Secret, arn string, err error) {
	id, err := parseIdentifier(c, secretID)
	if err != nil {
		return nil, "", err
	}
	sec = s.find(v, &id)
	if sec != nil {
		s.mark(c, &id, sec)
	}
	ck := check(v, action, &id, sec, keys...)
	if err := c.Authorize(ctx, ck); err != nil {
		return nil, "", err
	}
	if sec == nil {
		return nil, "", errNoSecret()
	}
	return sec, ck.Resource, nil
}

// secretType is the name that secrets have among the resources of a record.
const secretType = "AWS::SecretsManager::Secret"

// A secret with this tag is a decoy: whoever asks for its value is looking for what is
// not his.
const (
	decoyTag   = "arca:decoy"
	decoyValue = "true"
)

// mark tells the record of c what the decision does not change: whose secret it is
// about, and whether its value is one that nobody should ask for.
func (s *Service) mark(c *call.Call, id *identifier, sec *Secret) {
	if id.others {
		c.NoteOwned(sec.Account, secretType, sec.ARN())
	}
	if c.Op == smapi.OpGetSecretValue && sec.isDecoy() {
		c.MarkDecoy()
	}
}

func (sec *Secret) isDecoy() bool {
	for i := range sec.Tags {
		if sec.Tags[i].Key == decoyTag {
			return sec.Tags[i].Value == decoyValue
		}
	}
	return false
}

// loadUsable is load for operations that a scheduled deletion forbids.
func (s *Service) loadUsable(ctx context.Context, c *call.Call, v *store.Snap, action, secretID string, keys ...policy.ContextKey) (*Secret, error) {
	sec, err := s.load(ctx, c, v, action, secretID, keys...)
	if err != nil {
		return nil, err
	}
	if sec.scheduled() {
		return nil, errScheduled()
	}
	return sec, nil
}

func errNoSecret() error {
	return smapi.ResourceNotFoundException.Errorf("Secrets Manager can't find the specified secret.")
}

func errScheduled() error {
	return smapi.InvalidRequestException.Errorf("You can't perform this operation on the secret because it was marked for deletion.")
}
