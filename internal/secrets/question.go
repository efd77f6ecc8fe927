package secrets

import (
	"strings"

	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// question is one that the authorizer is asked about a secret: the check itself, and the
// condition keys that are worked out when a policy asks for them. A secret can have fifty
// tags, each of which is two condition keys, and few policies look at any.
type question struct {
	call.Check
	secretID string  // as it was sent
	sec      *Secret // nil when there is none
}

// check is the one question about a resource, to be decided on the state that the
// operation sees. sec is nil when id names nothing; keys are the operation's own.
func check(v *store.Snap, action string, id *identifier, sec *Secret, keys ...policy.ContextKey) *call.Check {
	q := &question{secretID: id.raw, sec: sec}
	q.Action, q.Account, q.Snap = "secretsmanager:"+action, id.account, v
	q.Keys, q.Context = keys, q
	if sec == nil {
		q.Resource, q.Shown = id.wouldBeARN(), id.raw
		return &q.Check
	}
	q.Resource, q.Account, q.ResourcePolicy = sec.ARN(), sec.Account, sec.ResourcePolicy
	if id.others {
		q.Shown = id.raw // the whole ARN would tell that it exists
	}
	return &q.Check
}

// The condition keys of a secret. Those of tags are followed by the key of the tag, and
// there are two for each.
const (
	secretIDKey       = "secretsmanager:SecretId"
	primaryRegionKey  = "secretsmanager:SecretPrimaryRegion"
	rotationLambdaKey = "secretsmanager:resource/AllowRotationLambdaArn"

	resourceTagKey = "aws:ResourceTag/"
	secretTagKey   = "secretsmanager:ResourceTag/"
)

// Lookup implements policy.Context: it finds what is in conditionKeys.
func (q *question) Lookup(dst []string, key string) ([]string, bool) {
	if strings.EqualFold(key, secretIDKey) {
		return append(dst, q.secretID), true
	}
	if q.sec == nil {
		return dst, false
	}
	if strings.EqualFold(key, primaryRegionKey) {
		return append(dst, q.sec.Region), true
	}
	// Nothing else is a slash in another case, so what stands before the first one can be
	// compared by itself.
	slash := strings.IndexByte(key, '/') + 1
	if prefix := key[:slash]; strings.EqualFold(prefix, resourceTagKey) || strings.EqualFold(prefix, secretTagKey) {
		return q.tagValues(dst, key[slash:])
	}
	if r := q.sec.Rotation; r != nil && strings.EqualFold(key, rotationLambdaKey) {
		return append(dst, r.LambdaARN), true
	}
	return dst, false
}

// tagValues are the values of the tags with a key, which policies compare without case:
// of tags that differ in nothing else, all count.
func (q *question) tagValues(dst []string, name string) ([]string, bool) {
	before := len(dst)
	for i := range q.sec.Tags {
		if t := &q.sec.Tags[i]; strings.EqualFold(t.Key, name) {
			dst = append(dst, t.Value)
		}
	}
	return dst, len(dst) > before
}

// conditionKeys lists the condition keys that Lookup finds, for who wants to see all.
func (q *question) conditionKeys() []policy.ContextKey {
	keys := []policy.ContextKey{contextKey(secretIDKey, q.secretID)}
	if q.sec == nil {
		return keys
	}
	// A secret without replicas is its own primary.
	keys = append(keys, contextKey(primaryRegionKey, q.sec.Region))
	if r := q.sec.Rotation; r != nil {
		keys = append(keys, contextKey(rotationLambdaKey, r.LambdaARN))
	}
	return appendTagKeys(keys, q.sec.Tags)
}

// appendTagKeys adds the tags of a resource under both names that AWS has for them.
func appendTagKeys(keys []policy.ContextKey, tags []Tag) []policy.ContextKey {
	for _, t := range tags {
		keys = append(keys, contextKey(resourceTagKey+t.Key, t.Value), contextKey(secretTagKey+t.Key, t.Value))
	}
	return keys
}

var _ policy.Context = (*question)(nil)
