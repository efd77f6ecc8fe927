package secrets

import (
	"strconv"

	"arca/internal/api/smapi"
	"arca/internal/policy"
)

// conditions are the condition keys that an operation adds to its question. A key
// whose member is absent from the request is left out: absence means something to a
// condition, so defaults are not filled in.
type conditions []policy.ContextKey

// contextKey is a condition key with its values.
func contextKey(name string, values ...string) policy.ContextKey {
	return policy.ContextKey{Name: name, Values: values}
}

func (k *conditions) text(name string, v *string) {
	if v != nil {
		*k = append(*k, contextKey(name, *v))
	}
}

func (k *conditions) flag(name string, v *bool) {
	if v != nil {
		*k = append(*k, contextKey(name, strconv.FormatBool(*v)))
	}
}

func (k *conditions) number(name string, v *int64) {
	if v != nil {
		*k = append(*k, contextKey(name, strconv.FormatInt(*v, 10)))
	}
}

// requestTags adds the tags of a request, one key for each and one with all names.
func (k *conditions) requestTags(tags []smapi.Tag) {
	if len(tags) == 0 {
		return
	}
	names := make([]string, 0, len(tags))
	for _, t := range tags {
		if t.Key == nil {
			continue
		}
		names = append(names, *t.Key)
		*k = append(*k, contextKey("aws:RequestTag/"+*t.Key, text(t.Value)))
	}
	*k = append(*k, contextKey("aws:TagKeys", names...))
}

// regions adds the replica regions asked for.
func (k *conditions) regions(list []smapi.ReplicaRegionType) {
	if len(list) == 0 {
		return
	}
	names := make([]string, 0, len(list))
	for _, r := range list {
		names = append(names, text(r.Region))
	}
	*k = append(*k, contextKey("secretsmanager:AddReplicaRegions", names...))
}

// text is an optional string, empty when absent.
func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
